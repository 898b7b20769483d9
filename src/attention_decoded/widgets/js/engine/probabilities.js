/**
 * From logits to a token: log-probabilities, the likeliest tokens, and a draw by chance. The mirror of
 * `reshape` and its neighbours in `decoding.py`. Logarithms are natural.
 */

import { topIndices } from "./ops.js";
import { uniformGenerator } from "./random.js";

/** @typedef {{ id: number, logProb: number }} Choice */

/** @param {Float32Array} logits @returns {Float32Array} */
export function logSoftmax(logits) {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  const total = max + Math.log(sum);
  return logits.map((x) => x - total);
}

/**
 * The log-probability of each given token where it stands: what a change in the model does to a known text.
 * @param {Float32Array} logits [target, vocab] of `forward` @param {readonly number[]} targetOut @returns {number[]}
 */
export function logProbsOf(logits, targetOut) {
  const nVocab = logits.length / targetOut.length;
  return targetOut.map((id, i) => logSoftmax(logits.subarray(i * nVocab, (i + 1) * nVocab))[id]);
}

/**
 * The model's log-probabilities, of its full softmax, with −∞ at what must not be written.
 * @param {Float32Array} logits @param {number} eos @param {readonly number[]} forbidden @returns {Float32Array}
 */
export function allowedLogProbs(logits, eos, forbidden) {
  if (eos >= logits.length) throw new Error(`Token ${eos}, the end, is not among the model's ${logits.length} tokens.`);
  const logProbs = logSoftmax(logits);
  if (Number.isNaN(logProbs[eos])) throw new Error("The model's logits are no numbers: its weights are broken.");
  for (const id of forbidden) if (id < logProbs.length) logProbs[id] = -Infinity;
  return logProbs;
}

/** @param {Float32Array} logProbs @returns {number} of equally likely tokens the smallest id */
export const mostLikely = (logProbs) => topIndices(logProbs, 1)[0];

/** @param {Float32Array} logProbs @param {number} count @returns {Choice[]} best first, without those of probability 0 */
export function likeliest(logProbs, count) {
  const ids = count ? topIndices(logProbs, count) : [];
  return ids.map((id) => ({ id, logProb: logProbs[id] })).filter(({ logProb }) => logProb > -Infinity);
}

/**
 * @typedef {object} Cuts
 * @property {number} [temperature]  divides the logits
 * @property {number | null} [topK]  keep so many of the likeliest; null keeps all
 * @property {number} [topP]         of those, keep the fewest whose probabilities reach it
 */

/**
 * The probabilities to draw from. The likeliest token always stays; of equally likely ones those with
 * smaller ids are kept first.
 * @param {ArrayLike<number>} logits @param {Cuts} [cuts] @returns {Float64Array}
 */
export function reshape(logits, { temperature = 1, topK = null, topP = 1 } = {}) {
  if (!(temperature > 0 && temperature < Infinity)) {
    throw new Error(`The temperature ${temperature} must be above 0; what it tends to at 0 is greedy.`);
  }
  if (topK !== null && !(topK >= 1)) throw new Error(`top_k = ${topK} must be at least 1.`);
  if (!(topP > 0 && topP <= 1)) throw new Error(`top_p = ${topP} must lie above 0, and at most at 1.`);
  const scaled = Float64Array.from(logits, (x) => x / temperature);
  const max = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const probabilities = scaled.map((x) => Math.exp(x - max));
  if (topK !== null || topP < 1) {
    const order = Array.from(scaled, (_, id) => id).sort((a, b) => scaled[b] - scaled[a] || a - b);
    const kept = order.slice(0, topK ?? order.length);
    for (const id of order.slice(kept.length)) probabilities[id] = 0;
    const total = kept.reduce((sum, id) => sum + probabilities[id], 0);
    let before = 0; // what the likelier tokens hold together
    for (const id of kept) {
      const p = probabilities[id];
      if (topP < 1 && before >= topP * total) probabilities[id] = 0;
      before += p;
    }
  }
  const total = probabilities.reduce((sum, p) => sum + p, 0);
  return probabilities.map((p) => p / total);
}

/**
 * A way to choose by chance: the same seed draws the same from the same probabilities.
 * @param {Cuts & { seed?: number }} [chance] @returns {(logProbs: Float32Array) => number}
 */
export function drawing({ seed = 0, ...cuts } = {}) {
  reshape([0], cuts); // refuses what is out of range before anything is written
  const uniform = uniformGenerator(seed);
  return (logProbs) => {
    const probabilities = reshape(logProbs, cuts);
    let left = uniform();
    let chosen = mostLikely(logProbs);
    for (let id = 0; id < probabilities.length && left >= 0; id++) {
      if (probabilities[id]) chosen = id;
      left -= probabilities[id];
    }
    return chosen;
  };
}
