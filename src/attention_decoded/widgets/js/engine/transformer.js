/**
 * The encoder–decoder Transformer of chapter 10, forward pass only: the mirror of `Transformer` in
 * `transformer.py`, for one sentence at a time. Every attention weight comes out, with its queries, keys
 * and values; biases, switches and cuts go in (`edits.js`).
 */

import { linear } from "./ops.js";
import { POSITION_KINDS } from "./positions.js";
import { NORMS, Stack, stackShapes } from "./stack.js";
import { checkIds, readConfig, Weights } from "./weights.js";

/** @typedef {import("./edits.js").Edits} Edits */
/** @typedef {import("./heads.js").Looks} Looks */

/**
 * What has been read: the source, and the first `n` tokens of the target. It never changes: a step gives a
 * new one, and any earlier one can be continued in another way.
 * @typedef {object} State
 * @property {number} n
 * @property {import("./stack.js").Cache[]} cache
 * @property {import("./stack.js").Memory[]} memory
 * @property {Looks[]} encoder  per layer: how the source looked at itself
 * @property {Edits} edits
 */

/**
 * @typedef {object} Step
 * @property {Float32Array} logits  [tokens fed, vocab]
 * @property {State} state
 * @property {Looks[]} self   per decoder layer; queries are the tokens fed, keys all the tokens up to them
 * @property {Looks[]} cross  per decoder layer; keys are the source's tokens
 */

const LAYERS = { n_encoder_layers: 3, n_decoder_layers: 3 };
const SIZES = { n_source_vocab: null, n_target_vocab: null, d_model: 192, n_heads: 6, d_ff: 768, max_len: 128, ...LAYERS };

export class Transformer {
  /** @param {import("./safetensors.js").Safetensors} file */
  constructor(file) {
    const config = readConfig(file, SIZES, { norm: NORMS, positions: POSITION_KINDS, shared: [false, true] });
    const { n_source_vocab, n_target_vocab, d_model } = config;
    const source = config.shared ? "target" : "source";
    /** @type {import("./stack.js").Names} */
    const encoder = {
      role: "encoder",
      nLayers: config.n_encoder_layers,
      blocks: "encoder",
      table: `${source}.weight`,
      positions: "source_positions",
      lastNorm: "encoder_norm",
    };
    /** @type {import("./stack.js").Names} */
    const decoder = {
      role: "decoder",
      nLayers: config.n_decoder_layers,
      cross: true,
      blocks: "decoder",
      table: "target.weight",
      positions: "target_positions",
      lastNorm: "decoder_norm",
    };
    this.config = config;
    this.weights = new Weights(file, {
      [`${source}.weight`]: [n_source_vocab, d_model],
      "target.weight": [n_target_vocab, d_model],
      bias: [n_target_vocab],
      ...stackShapes(config, encoder),
      ...stackShapes(config, decoder),
    });
    this.encoder = new Stack(this.weights, config, encoder);
    this.decoder = new Stack(this.weights, config, decoder);
  }

  /**
   * Read the source; the state before the first target token.
   * @param {readonly number[]} source @param {Edits} [edits] @returns {State}
   */
  start(source, edits = {}) {
    checkIds(source, this.config.n_source_vocab);
    const { x, self } = this.encoder.run(source, { edits });
    const memory = this.decoder.memory(x, source.length);
    return { n: 0, cache: this.decoder.empty(), memory, encoder: self, edits };
  }

  /** Feed one target token; logits of the next. @param {number} id @param {State} state @returns {Step} */
  step(id, state) {
    return this.read([id], state);
  }

  /**
   * Feed several at once; a row of logits for what follows each.
   * @param {readonly number[]} ids @param {State} state @returns {Step}
   */
  read(ids, state) {
    checkIds(ids, this.config.n_target_vocab, { padding: true, past: state.n });
    const { n: past, memory, edits } = state;
    const { x, cache, self, cross } = this.decoder.run(ids, { past, cache: state.cache, memory, edits });
    const logits = linear(x, ids.length, this.weights.get("target.weight"), this.weights.get("bias"));
    return { logits, state: { ...state, n: past + ids.length, cache }, self, cross };
  }

  /**
   * Logits at every target position, the true tokens given (teacher forcing).
   * @param {readonly number[]} source @param {readonly number[]} targetIn begins with <bos>
   * @param {Edits} [edits] @returns {Step}
   */
  forward(source, targetIn, edits = {}) {
    return this.read(targetIn, this.start(source, edits));
  }
}
