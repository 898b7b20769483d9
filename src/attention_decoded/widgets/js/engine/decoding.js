/**
 * One text from a model that writes one token after the other: the mirror of `greedy` and `sample` in
 * `decoding.py`, for one source at a time. `writing` stops after every token, so that a page can show the text
 * while it grows; `beam.js` has the search with several beginnings.
 */

import { allowedLogProbs, drawing, likeliest, mostLikely } from "./probabilities.js";
import { toTheEnd } from "./steps.js";
import { BOS, EOS, MASK, PAD, UNK } from "./tokenizer.js";

/** @typedef {import("./edits.js").Edits} Edits */
/** @typedef {import("./probabilities.js").Choice} Choice */
/** @typedef {import("./probabilities.js").Cuts} Cuts */

/** Ids that are never written unless the caller says so: they are no text. */
export const FORBIDDEN = Object.freeze([PAD, UNK, BOS, MASK]);
const MAX_LEN = 128;
export const IMPOSSIBLE = "The model gives probability 0 to every token that may be written.";

/**
 * A model that writes. No step changes the state it is given.
 * @template S, T
 * @typedef {object} Writer
 * @property {(source: readonly number[], edits?: Edits) => S} start
 * @property {(id: number, state: S) => T} step  T has the `logits` of the next token and the `state` that follows
 */

/**
 * @typedef {object} WriteOptions
 * @property {number} [maxLen]       tokens at most
 * @property {number | null} [bos]   fed first; null for a decoder-only model, whose source is a prompt to be continued
 * @property {number} [eos]
 * @property {readonly number[]} [prefix]     how the target begins after BOS: fed, not written
 * @property {readonly number[]} [forbidden]  ids that are never written
 * @property {number} [nAlternatives]         how many of the likeliest to put down for every token
 * @property {Edits} [edits]                  what is changed in the model's attention meanwhile
 */

/**
 * One text that a model wrote.
 * @typedef {object} Hypothesis
 * @property {number[]} ids        no BOS, no prefix; EOS is last if it is `finished`
 * @property {number[]} logProbs   the model's log-probability of each
 * @property {number} logProb      their sum
 * @property {number} score        `logProb` over the length penalty
 * @property {boolean} finished    false where `maxLen` cut the text off
 * @property {Choice[][]} alternatives  for every token the likeliest in its place, best first
 */

/** @typedef {"power" | "gnmt"} Penalty */

/**
 * What a sum of `length` log-probabilities is divided by: "power" length ** alpha,
 * "gnmt" ((5 + length) / 6) ** alpha; alpha = 0 leaves it as it is.
 * @param {number} length @param {Penalty} [kind] @param {number} [alpha] @returns {number}
 */
export function lengthPenalty(length, kind = "power", alpha = 1) {
  if (kind !== "power" && kind !== "gnmt") throw new Error(`The penalty ${String(kind)} is none of power, gnmt.`);
  return (kind === "power" ? length : (5 + length) / 6) ** alpha;
}

/**
 * Write one token after the other; each is handed out with the step that gave it, for its attention.
 * @template S
 * @template {{ logits: Float32Array, state: S }} T
 * @param {Writer<S, T>} model @param {readonly number[]} source
 * @param {(logProbs: Float32Array) => number} choose  an id by the log-probabilities, −∞ where forbidden
 * @param {WriteOptions} [options]
 * @returns {Generator<Choice & { alternatives: Choice[], step: T }, Hypothesis, void>}
 */
export function* writing(model, source, choose, options = {}) {
  const { maxLen, eos, forbidden, nAlternatives } = check(source, options);
  let { id, state } = begin(model, source, options);
  /** @type {Hypothesis} */
  const text = { ids: [], logProbs: [], logProb: 0, score: 0, finished: false, alternatives: [] };
  while (text.ids.length < maxLen && !text.finished) {
    const step = model.step(id, state);
    const logProbs = allowedLogProbs(step.logits, eos, forbidden);
    const alternatives = likeliest(logProbs, nAlternatives);
    id = choose(logProbs);
    state = step.state;
    const logProb = logProbs[id];
    if (logProb === -Infinity) throw new Error(IMPOSSIBLE);
    text.ids.push(id);
    text.logProbs.push(logProb);
    text.alternatives.push(alternatives);
    text.logProb += logProb;
    text.score = text.logProb / lengthPenalty(text.ids.length);
    text.finished = id === eos;
    yield { id, logProb, alternatives, step };
  }
  return text;
}

/**
 * The likeliest token at every step.
 * @template S
 * @template {{ logits: Float32Array, state: S }} T
 * @param {Writer<S, T>} model @param {readonly number[]} source @param {WriteOptions} [options] @returns {Hypothesis}
 */
export const greedy = (model, source, options) => toTheEnd(writing(model, source, mostLikely, options));

/**
 * Every token drawn by chance; the same seed and source give the same text.
 * @template S
 * @template {{ logits: Float32Array, state: S }} T
 * @param {Writer<S, T>} model @param {readonly number[]} source
 * @param {WriteOptions & Cuts & { seed?: number }} [options] @returns {Hypothesis}
 */
export function sample(model, source, { seed, temperature, topK, topP, ...options } = {}) {
  return toTheEnd(writing(model, source, drawing({ seed, temperature, topK, topP }), options));
}

/**
 * The token to feed first and the state to feed it in; all that comes before it has been read.
 * @template S
 * @template {{ logits: Float32Array, state: S }} T
 * @param {Writer<S, T>} model @param {readonly number[]} source @param {WriteOptions} options
 */
export function begin(model, source, { bos = BOS, prefix = [], edits = {} }) {
  const feed = [bos ?? source[source.length - 1], ...prefix];
  let state = model.start(bos === null ? source.slice(0, -1) : source, edits);
  for (const id of feed.slice(0, -1)) ({ state } = model.step(id, state));
  return { id: feed[feed.length - 1], state };
}

/** The options, complete and in range. @param {readonly number[]} source @param {WriteOptions} options */
export function check(source, { maxLen = MAX_LEN, eos = EOS, forbidden = FORBIDDEN, prefix = [], nAlternatives = 0 }) {
  if (!source.length) throw new Error("There is nothing to read.");
  if (!(maxLen >= 1)) throw new Error(`${maxLen} tokens are too few: a text has at least its end.`);
  if (!(nAlternatives >= 0)) throw new Error(`${nAlternatives} alternatives cannot be given.`);
  if (!(eos >= 0) || forbidden.includes(eos)) throw new Error(`Token ${eos}, the end, must be allowed.`);
  if (prefix.includes(PAD)) throw new Error("Token 0 is padding; no text begins with it.");
  return { maxLen, eos, forbidden, nAlternatives };
}
