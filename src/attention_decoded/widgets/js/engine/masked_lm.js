/**
 * The masked language model of chapter 7, forward pass only: the mirror of `masked_lm.py`.
 *
 *   x = token[ids] + position;   x += attention(norm(x));   x += ff(norm(x));   logits = norm(x) tokenᵀ + bias
 *
 * Everything in the middle comes out (queries, keys, values, scores, weights), and every head can be
 * changed on its way: its scale, its temperature, where it may look, and which matrices it uses.
 */

import { attend } from "./attention.js";
import { addTo, layerNorm, linear, relu } from "./ops.js";

/**
 * Which projections a head uses.
 *   "two"  as trained: q = W_Q x, k = W_K x.
 *   "one"  the key matrix is replaced by the query matrix, k = W_Q x: the scores become symmetric.
 *   "none" Q = K = V = X. The head compares the normed vectors x themselves (width d_model, so its scale
 *          is 1/√d_model) and averages them. W_V and W_O play no part: the average, divided by the number
 *          of heads, is added to the stream as it is. A layer whose heads are all without matrices thus
 *          adds exactly one average of x, the A·X of the textbook formula.
 * @typedef {"two" | "one" | "none"} Matrices
 */

/**
 * What is done to one head. Absent means: as trained.
 * @typedef {object} HeadEdit
 * @property {number} [scale]        factor on 1/√d_head (0 switches the scores off, 1 is as trained)
 * @property {number} [temperature]  divides the scores
 * @property {Uint8Array | null} [mask]  [n, n], 1 where a query may look
 * @property {Matrices} [matrices]
 */

/** @typedef {(layer: number, head: number) => HeadEdit | null} Edits */

/**
 * One head's pass. In mode "none" q, k and v are x itself and `width` is d_model.
 * @typedef {import("./attention.js").Attended & {
 *   width: number, scale: number, q: Float32Array, k: Float32Array, v: Float32Array
 * }} HeadRun
 */

/**
 * @typedef {object} LayerRun
 * @property {Float32Array} x         [n, d_model] the normed vectors that the layer's heads read
 * @property {HeadRun[]} heads
 * @property {Float32Array} residual  [n, d_model] the stream after this layer
 */

/**
 * @typedef {object} Run
 * @property {number[]} ids
 * @property {LayerRun[]} layers
 * @property {Float32Array} hidden  [n, d_model] the contextual vectors, after the last norm
 */

/** @typedef {{ n_vocab: number, d_model: number, n_heads: number, n_layers: number, d_ff: number, max_len: number }} Config */

export class MaskedLanguageModel {
  /** @param {import("./safetensors.js").Safetensors} file */
  constructor({ tensors, metadata }) {
    if (!metadata.config) throw new Error("The model file carries no configuration.");
    const config = /** @type {Config} */ (JSON.parse(metadata.config));
    this.config = config;
    this.dHead = config.d_model / config.n_heads;
    this.tensors = tensors;
    for (const [name, shape] of Object.entries(expectedShapes(config))) {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`The model file lacks the tensor ${name}.`);
      if (tensor.shape.join() !== shape.join()) {
        throw new Error(`The tensor ${name} has the shape [${tensor.shape}]; [${shape}] is expected.`);
      }
    }
  }

  /** @param {string} name @returns {Float32Array} */
  weight(name) {
    return /** @type {import("./safetensors.js").Tensor} */ (this.tensors.get(name)).data;
  }

  /** @param {readonly number[]} ids @param {Edits} [edits] @returns {Run} */
  forward(ids, edits = () => null) {
    const { n_layers, n_vocab, d_model, max_len } = this.config;
    const n = ids.length;
    if (n < 1 || n > max_len) throw new Error(`The model reads 1 to ${max_len} tokens, not ${n}.`);
    const token = this.weight("token.weight");
    const position = this.weight("position.weight");
    const stream = new Float32Array(n * d_model);
    ids.forEach((id, i) => {
      if (!Number.isInteger(id) || id < 0 || id >= n_vocab) throw new Error(`There is no token with the number ${id}.`);
      for (let c = 0; c < d_model; c++) stream[i * d_model + c] = token[id * d_model + c] + position[i * d_model + c];
    });
    /** @type {LayerRun[]} */
    const layers = [];
    for (let layer = 0; layer < n_layers; layer++) {
      const block = `blocks.${layer}`;
      const x = this.norm(stream, `${block}.norm_attention`);
      const { heads, added } = this.attention(x, n, layer, edits);
      addTo(stream, added);
      const inner = relu(this.linear(this.norm(stream, `${block}.norm_ff`), n, `${block}.ff.0`));
      addTo(stream, this.linear(inner, n, `${block}.ff.2`));
      layers.push({ x, heads, residual: stream.slice() });
    }
    return { ids: [...ids], layers, hidden: this.norm(stream, "norm") };
  }

  /**
   * All heads of one layer, and what they add to the stream together.
   * @param {Float32Array} x @param {number} n @param {number} layer @param {Edits} edits
   */
  attention(x, n, layer, edits) {
    const { n_heads, d_model } = this.config;
    const { dHead } = this;
    const name = `blocks.${layer}.attention`;
    const projected = {
      q: this.linear(x, n, `${name}.to_q`),
      k: this.linear(x, n, `${name}.to_k`),
      v: this.linear(x, n, `${name}.to_v`),
    };
    const concatenated = new Float32Array(n * n_heads * dHead);
    const direct = new Float32Array(n * d_model);
    /** @type {HeadRun[]} */
    const heads = [];
    for (let head = 0; head < n_heads; head++) {
      const { scale: factor = 1, temperature = 1, mask = null, matrices = "two" } = edits(layer, head) ?? {};
      const bare = matrices === "none";
      const width = bare ? d_model : dHead;
      const [q, k, v] = bare
        ? [x, x, x]
        : [projected.q, matrices === "one" ? projected.q : projected.k, projected.v].map((all) =>
            columns(all, n, head * dHead, dHead),
          );
      const scale = factor / Math.sqrt(width);
      const run = attend(q, k, v, { nQuery: n, scale, temperature, mask });
      heads.push({ ...run, width, scale, q, k, v });
      if (bare) for (let i = 0; i < direct.length; i++) direct[i] += run.output[i] / n_heads;
      else
        for (let i = 0; i < n; i++)
          concatenated.set(run.output.subarray(i * dHead, (i + 1) * dHead), (i * n_heads + head) * dHead);
    }
    const added = addTo(this.linear(concatenated, n, `${name}.to_out`), direct);
    return { heads, added };
  }

  /**
   * The logits of one position over the whole vocabulary.
   * @param {Run} run @param {number} position @returns {Float32Array} [n_vocab]
   */
  logits(run, position) {
    const { d_model } = this.config;
    const row = run.hidden.subarray(position * d_model, (position + 1) * d_model);
    return linear(row, 1, this.weight("token.weight"), this.weight("bias"));
  }

  /** @param {Float32Array} x @param {string} name */
  norm(x, name) {
    return layerNorm(x, this.weight(`${name}.weight`), this.weight(`${name}.bias`));
  }

  /** @param {Float32Array} x @param {number} n @param {string} name */
  linear(x, n, name) {
    return linear(x, n, this.weight(`${name}.weight`), this.tensors.get(`${name}.bias`)?.data);
  }
}

/**
 * Columns from … from + width − 1 of a matrix of n rows.
 * @param {Float32Array} x @param {number} n @param {number} from @param {number} width
 */
function columns(x, n, from, width) {
  const stride = x.length / n;
  const part = new Float32Array(n * width);
  for (let i = 0; i < n; i++) part.set(x.subarray(i * stride + from, i * stride + from + width), i * width);
  return part;
}

/** @param {Config} config @returns {Record<string, number[]>} */
function expectedShapes({ n_vocab, d_model, n_layers, d_ff, max_len }) {
  /** @type {Record<string, number[]>} */
  const shapes = {
    "token.weight": [n_vocab, d_model],
    "position.weight": [max_len, d_model],
    "norm.weight": [d_model],
    "norm.bias": [d_model],
    bias: [n_vocab],
  };
  for (let layer = 0; layer < n_layers; layer++) {
    const block = `blocks.${layer}`;
    for (const norm of ["norm_attention", "norm_ff"]) {
      shapes[`${block}.${norm}.weight`] = [d_model];
      shapes[`${block}.${norm}.bias`] = [d_model];
    }
    for (const to of ["to_q", "to_k", "to_v", "to_out"]) shapes[`${block}.attention.${to}.weight`] = [d_model, d_model];
    shapes[`${block}.ff.0.weight`] = [d_ff, d_model];
    shapes[`${block}.ff.0.bias`] = [d_ff];
    shapes[`${block}.ff.2.weight`] = [d_model, d_ff];
    shapes[`${block}.ff.2.bias`] = [d_model];
  }
  return shapes;
}
