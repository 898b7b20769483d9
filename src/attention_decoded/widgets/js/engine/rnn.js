/**
 * The RNN translators of chapters 5 and 6, forward pass only: the mirror of `RNNTranslator` in `rnn.py`, for
 * one sentence at a time. With attention, its weights come out as the one head of one "cross" layer, and its
 * scores can be edited; the machine with a fixed code has nothing to edit.
 */

import { scoreBias } from "./edits.js";
import { linear } from "./ops.js";
import { checkIds, linearShapes, readConfig, Weights } from "./weights.js";

/** @typedef {import("./edits.js").Edits} Edits */
/** @typedef {import("./heads.js").Looks} Looks */

/**
 * What has been read: the source, and the first `n` tokens of the target. It never changes.
 * @typedef {object} State
 * @property {number} n
 * @property {Float32Array} hidden  [d_hidden]
 * @property {Float32Array} code    [2 · d_hidden] the fixed code
 * @property {Float32Array} memory  [source, 2 · d_hidden] what the encoder made of each source token
 * @property {Float32Array} keys    [source, d_hidden] the memory as it is compared; empty without attention
 * @property {Edits} edits
 */

/** @typedef {{ logits: Float32Array, state: State, cross: Looks[] }} Step  logits [tokens fed, vocab] */

const SIZES = { n_source_vocab: null, n_target_vocab: null, d_embedding: 192, d_hidden: 256 };

export class RNNTranslator {
  /** @param {import("./safetensors.js").Safetensors} file */
  constructor(file) {
    const config = readConfig(file, SIZES, { attention: [true, false] });
    const { n_source_vocab, n_target_vocab, d_embedding: d, d_hidden: h, attention } = config;
    this.config = config;
    this.weights = new Weights(file, {
      "source_embedding.weight": [n_source_vocab, d],
      "target_embedding.weight": [n_target_vocab, d],
      ...gruShapes("encoder", "_l0", d, h),
      ...gruShapes("encoder", "_l0_reverse", d, h),
      ...gruShapes("cell", "", d + 2 * h, h),
      ...linearShapes("to_start", h, 2 * h),
      ...linearShapes("readout", 2 * d, 3 * h + d),
      ...linearShapes("to_vocab", n_target_vocab, d),
      ...(attention && {
        ...linearShapes("attention.to_q", h, h, false),
        ...linearShapes("attention.to_k", h, 2 * h),
        ...linearShapes("attention.to_score", 1, h, false),
      }),
    });
  }

  /**
   * Read the source; the state before the first target token.
   * @param {readonly number[]} source @param {Edits} [edits] @returns {State}
   */
  start(source, edits = {}) {
    const { n_source_vocab, d_hidden, attention } = this.config;
    checkIds(source, n_source_vocab);
    if (edits.noPositions) throw new Error("An RNN reads one word after the other: it has no positions to take away.");
    if (!attention && (edits.bias || edits.gate)) throw new Error("This RNN has no attention to edit.");
    const n = source.length;
    const x = this.embed("source_embedding", source);
    const memory = new Float32Array(n * 2 * d_hidden);
    const code = new Float32Array(2 * d_hidden);
    [source.map((_, i) => i), source.map((_, i) => n - 1 - i)].forEach((order, side) => {
      const suffix = side ? "_l0_reverse" : "_l0";
      const gates = this.gate("encoder", `ih${suffix}`, x, n);
      let hidden = new Float32Array(d_hidden);
      for (const i of order) {
        const fromInput = gates.subarray(i * 3 * d_hidden, (i + 1) * 3 * d_hidden);
        hidden = gru(fromInput, this.gate("encoder", `hh${suffix}`, hidden, 1), hidden);
        memory.set(hidden, (2 * i + side) * d_hidden);
      }
      code.set(hidden, side * d_hidden);
    });
    const hidden = this.weights.linear(code, 1, "to_start").map(Math.tanh);
    const keys = attention ? this.weights.linear(memory, n, "attention.to_k") : new Float32Array(0);
    return { n: 0, hidden, code, memory, keys, edits };
  }

  /** Feed one target token; logits of the next. @param {number} id @param {State} state @returns {Step} */
  step(id, state) {
    checkIds([id], this.config.n_target_vocab, { padding: true, past: state.n });
    /** @type {Looks[]} */
    const cross = this.config.attention ? [this.look(state)] : [];
    const c = cross.length ? average(cross[0], state.edits.gate?.("cross", 0, 0) ?? 1) : state.code;
    const embedded = this.embed("target_embedding", [id]);
    const gates = this.gate("cell", "ih", concatenate(embedded, c), 1);
    const hidden = gru(gates, this.gate("cell", "hh", state.hidden, 1), state.hidden);
    const readout = maxout(this.weights.linear(concatenate(hidden, c, embedded), 1, "readout"));
    const logits = this.weights.linear(readout, 1, "to_vocab");
    return { logits, state: { ...state, n: state.n + 1, hidden }, cross };
  }

  /**
   * Feed several, one after the other; a row of logits for what follows each.
   * @param {readonly number[]} ids @param {State} state @returns {Step}
   */
  read(ids, state) {
    checkIds(ids, this.config.n_target_vocab, { padding: true, past: state.n });
    /** @type {Step[]} */
    const steps = [];
    for (const id of ids) steps.push(this.step(id, steps.at(-1)?.state ?? state));
    const looks = steps.flatMap(({ cross }) => cross);
    const all = (/** @type {"q" | "weights"} */ name) => concatenate(...looks.map((look) => look[name]));
    const biases = looks.flatMap(({ bias }) => bias ?? []);
    const bias = biases.length ? concatenate(...biases) : null;
    const cross = looks.length ? [{ ...looks[0], nQuery: ids.length, bias, q: all("q"), weights: all("weights") }] : [];
    return { logits: concatenate(...steps.map(({ logits }) => logits)), state: steps[steps.length - 1].state, cross };
  }

  /**
   * Logits at every target position, the true tokens given (teacher forcing).
   * @param {readonly number[]} source @param {readonly number[]} targetIn begins with <bos>
   * @param {Edits} [edits] @returns {Step}
   */
  forward(source, targetIn, edits = {}) {
    return this.read(targetIn, this.start(source, edits));
  }

  /**
   * Where the decoder's state looks. The scores are additive, vᵀ tanh(q + k): the `q` and `k` that come out are
   * summed, not multiplied.
   * @param {State} state @returns {Looks}
   */
  look({ n, hidden, memory, keys, edits }) {
    const { d_hidden } = this.config;
    const nKey = keys.length / d_hidden;
    const q = this.weights.linear(hidden, 1, "attention.to_q");
    const toScore = this.weights.get("attention.to_score.weight");
    const bias = scoreBias({ stack: "cross", layer: 0, nHeads: 1, nQuery: 1, nKey, past: n, own: null, edits });
    const weights = new Float32Array(nKey);
    for (let j = 0; j < nKey; j++) {
      let score = 0;
      for (let c = 0; c < d_hidden; c++) score += toScore[c] * Math.tanh(q[c] + keys[j * d_hidden + c]);
      weights[j] = score + (bias ? bias[j] : 0);
    }
    const max = weights.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (let j = 0; j < nKey; j++) sum += weights[j] = max === -Infinity ? 0 : Math.exp(weights[j] - max);
    for (let j = 0; j < nKey && sum; j++) weights[j] /= sum;
    return { nHeads: 1, nQuery: 1, nKey, q, k: keys, v: memory, bias, weights };
  }

  /** @param {string} table @param {readonly number[]} ids @returns {Float32Array} [ids, d_embedding] */
  embed(table, ids) {
    const { d_embedding: d } = this.config;
    const vectors = this.weights.get(`${table}.weight`);
    return concatenate(...ids.map((id) => vectors.subarray(id * d, (id + 1) * d)));
  }

  /** One half of a GRU's gates. @param {string} cell @param {string} half @param {Float32Array} x @param {number} n */
  gate(cell, half, x, n) {
    return linear(x, n, this.weights.get(`${cell}.weight_${half}`), this.weights.get(`${cell}.bias_${half}`));
  }
}

/**
 * One GRU step, the reset gate inside as PyTorch has it.
 * @param {Float32Array} fromInput [3 · d_hidden] reset, update, new @param {Float32Array} fromState the same from the state
 * @param {Float32Array} hidden [d_hidden] @returns {Float32Array<ArrayBuffer>}
 */
function gru(fromInput, fromState, hidden) {
  const d = hidden.length;
  const next = new Float32Array(d);
  for (let c = 0; c < d; c++) {
    const reset = sigmoid(fromInput[c] + fromState[c]);
    const update = sigmoid(fromInput[d + c] + fromState[d + c]);
    const fresh = Math.tanh(fromInput[2 * d + c] + reset * fromState[2 * d + c]);
    next[c] = (1 - update) * fresh + update * hidden[c];
  }
  return next;
}

/** @param {number} x */
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** The larger of each two numbers. @param {Float32Array} x @returns {Float32Array} half as many */
const maxout = (x) => Float32Array.from({ length: x.length / 2 }, (_, c) => Math.max(x[2 * c], x[2 * c + 1]));

/** The weighted average of the values. @param {Looks} looks @param {number} factor @returns {Float32Array} */
function average({ v, weights, nKey }, factor) {
  const width = v.length / nKey;
  const sum = new Float32Array(width);
  for (let j = 0; j < nKey; j++) for (let c = 0; c < width; c++) sum[c] += weights[j] * factor * v[j * width + c];
  return sum;
}

/** @param {Float32Array[]} parts @returns {Float32Array} */
function concatenate(...parts) {
  const all = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * @param {string} name @param {string} suffix @param {number} dIn @param {number} dHidden
 * @returns {import("./weights.js").Shapes}
 */
const gruShapes = (name, suffix, dIn, dHidden) => ({
  [`${name}.weight_ih${suffix}`]: [3 * dHidden, dIn],
  [`${name}.weight_hh${suffix}`]: [3 * dHidden, dHidden],
  [`${name}.bias_ih${suffix}`]: [3 * dHidden],
  [`${name}.bias_hh${suffix}`]: [3 * dHidden],
});
