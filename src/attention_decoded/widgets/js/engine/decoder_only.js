/**
 * The decoder-only Transformer of chapter 14: the mirror of `DecoderOnly` in `transformer.py`, for one text
 * at a time. It continues what it has read; there is no source.
 */

import { linear } from "./ops.js";
import { POSITION_KINDS } from "./positions.js";
import { NORMS, Stack, stackShapes } from "./stack.js";
import { checkIds, readConfig, Weights } from "./weights.js";

/** @typedef {import("./edits.js").Edits} Edits */

/**
 * The first n tokens, read; it never changes.
 * @typedef {{ n: number, cache: import("./stack.js").Cache[], edits: Edits }} State
 */

/**
 * Logits [tokens fed, vocab], and the looks per layer.
 * @typedef {{ logits: Float32Array, state: State, self: import("./heads.js").Looks[] }} Step
 */

const SIZES = { n_vocab: null, d_model: 192, n_heads: 6, d_ff: 768, n_layers: 4, max_len: 128 };

export class DecoderOnly {
  /** @param {import("./safetensors.js").Safetensors} file */
  constructor(file) {
    const config = readConfig(file, SIZES, { norm: NORMS, positions: POSITION_KINDS });
    /** @type {import("./stack.js").Names} */
    const names = {
      role: "decoder",
      nLayers: config.n_layers,
      blocks: "blocks",
      table: "token.weight",
      positions: "positions",
      lastNorm: "norm",
    };
    this.config = config;
    this.weights = new Weights(file, {
      "token.weight": [config.n_vocab, config.d_model],
      bias: [config.n_vocab],
      ...stackShapes(config, names),
    });
    this.stack = new Stack(this.weights, config, names);
  }

  /**
   * Read a prompt without its last token, which is fed first; nothing is left of a prompt of one.
   * @param {readonly number[]} prompt @param {Edits} [edits] @returns {State}
   */
  start(prompt, edits = {}) {
    const state = { n: 0, cache: this.stack.empty(), edits };
    if (!prompt.length) return state;
    checkIds(prompt, this.config.n_vocab);
    return { ...state, n: prompt.length, cache: this.stack.run(prompt, { edits }).cache };
  }

  /** Feed one token; logits of the next. @param {number} id @param {State} state @returns {Step} */
  step(id, state) {
    return this.read([id], state);
  }

  /**
   * Feed several at once; a row of logits for what follows each.
   * @param {readonly number[]} ids @param {State} state @returns {Step}
   */
  read(ids, state) {
    checkIds(ids, this.config.n_vocab, { padding: true, past: state.n });
    const { n: past, edits } = state;
    const { x, cache, self } = this.stack.run(ids, { past, cache: state.cache, edits });
    const logits = linear(x, ids.length, this.weights.get("token.weight"), this.weights.get("bias"));
    return { logits, state: { n: past + ids.length, cache, edits }, self };
  }

  /** Logits of what follows each token. @param {readonly number[]} ids @param {Edits} [edits] @returns {Step} */
  forward(ids, edits = {}) {
    return this.read(ids, this.start([], edits));
  }
}
