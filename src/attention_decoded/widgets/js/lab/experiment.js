/**
 * One experiment: the model reads the sentence as it was trained, and once more with the reader's
 * changes; what differs is what the changes do.
 */

import { asymmetry, mayLook } from "../engine/attention.js";
import { cosine, softmax, topIndices } from "../engine/ops.js";
import { MASK, UNK } from "../engine/tokenizer.js";
import { editsAttention } from "./state.js";

/** @typedef {import("../engine/masked_lm.js").MaskedLanguageModel} Model */
/** @typedef {import("../engine/masked_lm.js").Run} Run */
/** @typedef {import("../engine/masked_lm.js").HeadRun} HeadRun */
/** @typedef {import("./state.js").Changes} Changes */
/** @typedef {{ id: number, probability: number, before: number }} Guess  `before`: its probability without the changes */

/**
 * @typedef {object} Outcome
 * @property {Run} trained   the run without changes to the attention (hidden tokens are hidden in both)
 * @property {Run} changed   the run with them; the same object when there are none
 * @property {number[]} moved  per token: 1 − cosine between its contextual vector with and without the changes
 */

/** The places where the changes apply. @param {Changes} changes @param {number} layer @param {number} head */
export function applies({ scope }, layer, head) {
  return (/** @type {number} */ l, /** @type {number} */ h) =>
    scope === "all" || (l === layer && (scope === "layer" || h === head));
}

export class Experiment {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    /** @type {{ key: string, run: Run } | null} the last run without changes: it stays while a slider moves */
    this.cached = null;
    /** Probabilities of the run without changes, by position: they stay while a slider moves, too. */
    this.before = { run: /** @type {Run | null} */ (null), at: /** @type {Map<number, Float32Array>} */ (new Map()) };
  }

  /** @param {Run} run the run without changes @param {number} position */
  unedited(run, position) {
    if (this.before.run !== run) this.before = { run, at: new Map() };
    let probabilities = this.before.at.get(position);
    if (!probabilities) {
      probabilities = softmax(this.model.logits(run, position));
      this.before.at.set(position, probabilities);
    }
    return probabilities;
  }

  /**
   * @param {readonly number[]} ids  of the sentence, nothing hidden
   * @param {Changes} changes @param {number} layer @param {number} head  the head on show
   * @returns {Outcome}
   */
  run(ids, changes, layer, head) {
    const hidden = new Set(changes.hidden);
    const read = ids.map((id, i) => (hidden.has(i) ? MASK : id));
    const key = read.join();
    if (this.cached?.key !== key) this.cached = { key, run: this.model.forward(read) };
    const trained = this.cached.run;
    if (!editsAttention(changes)) return { trained, changed: trained, moved: read.map(() => 0) };
    const { scale, temperature, matrices } = changes;
    const edit = { scale, temperature, matrices, mask: mayLook(read.length, changes) };
    const here = applies(changes, layer, head);
    const changed = this.model.forward(read, (l, h) => (here(l, h) ? edit : null));
    const d = this.model.config.d_model;
    const vector = (/** @type {Run} */ run, /** @type {number} */ i) => run.hidden.subarray(i * d, (i + 1) * d);
    return { trained, changed, moved: read.map((_, i) => Math.max(0, 1 - cosine(vector(changed, i), vector(trained, i)))) };
  }

  /**
   * The model's best guesses for one position, special tokens aside.
   * @param {Outcome} outcome @param {number} position @param {number} [count] @returns {Guess[]}
   */
  guesses({ trained, changed }, position, count = 5) {
    const before = this.unedited(trained, position);
    const now = changed === trained ? before : softmax(this.model.logits(changed, position));
    return topIndices(now, count, (id) => id > MASK || id === UNK).map((id) => ({
      id,
      probability: now[id],
      before: before[id],
    }));
  }

  /**
   * One token's chance at a position, before and after the changes.
   * @param {Outcome} outcome @param {number} position @param {number} id @returns {Guess}
   */
  guess({ trained, changed }, position, id) {
    const before = this.unedited(trained, position);
    const now = changed === trained ? before : softmax(this.model.logits(changed, position));
    return { id, probability: now[id], before: before[id] };
  }
}

/**
 * How symmetric the scores and the weights of one head are: max |S − Sᵀ| of each.
 * @param {HeadRun} run @param {number} n
 */
export const symmetry = (run, n) => ({ scores: asymmetry(run.scores, n), weights: asymmetry(run.weights, n) });

/**
 * The strongest look of one token at another one, for the first picture; [0, 0] for a single token.
 * @param {Float32Array} weights @param {number} n @returns {[number, number]}
 */
export function strongestEdge(weights, n) {
  let best = n > 1 ? 1 : 0;
  for (let at = 0; at < n * n; at++) if (at % (n + 1) && weights[at] > weights[best]) best = at;
  return [Math.floor(best / n), best % n];
}
