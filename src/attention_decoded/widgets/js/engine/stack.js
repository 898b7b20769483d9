/**
 * One stack of blocks: an encoder, a decoder, or a decoder without a source. The mirror of `Block` and of
 * the loops over blocks in `transformer.py`.
 *
 *   pre-norm    x += attention(norm(x));  x += cross(norm(x), memory);  x += ff(norm(x));  one last norm
 *   post-norm   x = norm(x + part(x)) for each of the three
 */

import { scoreBias } from "./edits.js";
import { attendHeads } from "./heads.js";
import { addTo, relu } from "./ops.js";
import { Positions, positionShapes } from "./positions.js";
import { Rows } from "./rows.js";
import { linearShapes, normShapes } from "./weights.js";

/** @typedef {import("./edits.js").Edits} Edits */
/** @typedef {import("./heads.js").Looks} Looks */
/** @typedef {{ k: Rows, v: Rows }} Cache  one layer's keys and values of what has been read */
/** @typedef {{ k: Float32Array, v: Float32Array }} Memory  one layer's keys and values of the source */

export const NORMS = /** @type {const} */ (["pre", "post"]);

/**
 * @typedef {object} StackConfig
 * @property {number} d_model
 * @property {number} n_heads
 * @property {number} d_ff
 * @property {number} max_len
 * @property {"pre" | "post"} norm
 * @property {import("./positions.js").PositionKind} positions
 */

/**
 * Where a stack's tensors are found, and what it is.
 * @typedef {object} Names
 * @property {"encoder" | "decoder"} role  an encoder sees everything, a decoder what stands before
 * @property {number} nLayers
 * @property {boolean} [cross]   whether its blocks look at a memory
 * @property {string} blocks     as `encoder` in `encoder.0.norm_ff.weight`
 * @property {string} table      the token vectors
 * @property {string} positions
 * @property {string} lastNorm   only where norm is "pre"
 */

/**
 * @typedef {object} StackRun
 * @property {Float32Array} x   [n, d_model] the last vectors
 * @property {Cache[]} cache    with what has been read now
 * @property {Looks[]} self     per layer
 * @property {Looks[]} cross    per layer; empty without a memory
 */

export class Stack {
  /** @param {import("./weights.js").Weights} weights @param {StackConfig} config @param {Names} names */
  constructor(weights, config, names) {
    const { positions: kind, n_heads: nHeads, d_model } = config;
    this.weights = weights;
    this.config = config;
    this.names = names;
    this.positions = new Positions(kind, {
      nHeads,
      width: kind === "rotary" ? d_model / nHeads : d_model,
      bidirectional: names.role === "encoder",
      table: Object.keys(positionShapes(kind, names.positions, config)).map((name) => weights.get(name))[0],
    });
    this.unordered = this.positions.without();
  }

  /** A cache of nothing. @returns {Cache[]} */
  empty() {
    const { d_model } = this.config;
    return Array.from({ length: this.names.nLayers }, () => ({ k: new Rows(d_model), v: new Rows(d_model) }));
  }

  /**
   * Every block's own keys and values of an encoder's output.
   * @param {Float32Array} x [n, d_model] @param {number} n @returns {Memory[]}
   */
  memory(x, n) {
    return Array.from({ length: this.names.nLayers }, (_, layer) => {
      const to = `${this.names.blocks}.${layer}.cross.to_`;
      return { k: this.weights.linear(x, n, `${to}k`), v: this.weights.linear(x, n, `${to}v`) };
    });
  }

  /**
   * Read tokens after `past` others, whose keys and values are in the cache; the cache given stays as it is.
   * @param {readonly number[]} ids
   * @param {{ past?: number, cache?: Cache[], memory?: Memory[], edits?: Edits }} [after]
   * @returns {StackRun}
   */
  run(ids, { past = 0, cache = this.empty(), memory = [], edits = {} } = {}) {
    const { weights, names, config } = this;
    const n = ids.length;
    const positions = edits.noPositions ? this.unordered : this.positions;
    let x = this.embed(ids);
    positions.add(x, past);
    const bias = positions.bias(n, past + n);
    /** @type {StackRun} */
    const run = { x, cache: [], self: [], cross: [] };
    for (let layer = 0; layer < names.nLayers; layer++) {
      const block = `${names.blocks}.${layer}`;
      x = this.join(x, `${block}.norm_attention`, (y) => {
        const k = weights.linear(y, n, `${block}.attention.to_k`);
        const q = weights.linear(y, n, `${block}.attention.to_q`);
        positions.turn(k, past);
        positions.turn(q, past);
        const rows = {
          k: cache[layer].k.append(past, k),
          v: cache[layer].v.append(past, weights.linear(y, n, `${block}.attention.to_v`)),
        };
        run.cache.push(rows);
        const seen = { k: rows.k.first(past + n), v: rows.v.first(past + n) };
        return this.look(q, seen, { stack: names.role, layer, n, past, own: bias, edits }, run.self);
      });
      if (memory.length) {
        x = this.join(x, `${block}.norm_cross`, (y) => {
          const q = weights.linear(y, n, `${block}.cross.to_q`);
          return this.look(q, memory[layer], { stack: "cross", layer, n, past, own: null, edits }, run.cross);
        });
      }
      x = this.join(x, `${block}.norm_ff`, (y) =>
        weights.linear(relu(weights.linear(y, n, `${block}.ff.0`)), n, `${block}.ff.2`),
      );
    }
    run.x = config.norm === "pre" ? weights.norm(x, names.lastNorm) : x;
    return run;
  }

  /** Token vectors, √d_model times as long as stored. @param {readonly number[]} ids @returns {Float32Array} */
  embed(ids) {
    const { d_model } = this.config;
    const table = this.weights.get(this.names.table);
    const factor = Math.sqrt(d_model);
    const x = new Float32Array(ids.length * d_model);
    ids.forEach((id, i) => {
      for (let c = 0; c < d_model; c++) x[i * d_model + c] = table[id * d_model + c] * factor;
    });
    return x;
  }

  /**
   * The stream with one part added, normed before or after. @param {Float32Array} x
   * @param {string} norm @param {(y: Float32Array) => Float32Array} part
   */
  join(x, norm, part) {
    if (this.config.norm === "pre") return addTo(x, part(this.weights.norm(x, norm)));
    return this.weights.norm(addTo(part(x), x), norm);
  }

  /**
   * One layer's heads, mixed by W_O; what they look at is put down.
   * @typedef {{ stack: import("./edits.js").Stack, layer: number, n: number, past: number, edits: Edits }} Place
   * @param {Float32Array} q @param {Memory} seen @param {Place & { own: Float32Array | null }} where @param {Looks[]} put
   */
  look(q, { k, v }, { stack, layer, n, past, own, edits }, put) {
    const { n_heads: nHeads, d_model } = this.config;
    const nKey = k.length / d_model;
    const bias = scoreBias({ stack, layer, nHeads, nQuery: n, nKey, past, own, edits });
    const gate = (/** @type {number} */ head) => edits.gate?.(stack, layer, head) ?? 1;
    const { looks, output } = attendHeads(q, k, v, { nHeads, nQuery: n, nKey, causal: stack === "decoder", bias, gate });
    put.push(looks);
    const name = stack === "cross" ? "cross" : "attention";
    return this.weights.linear(output, n, `${this.names.blocks}.${layer}.${name}.to_out`);
  }
}

/**
 * The shapes of a stack's tensors.
 * @param {StackConfig} config @param {Names} names @returns {import("./weights.js").Shapes}
 */
export function stackShapes(config, names) {
  const { d_model, d_ff, n_heads, norm, positions } = config;
  if (d_model % n_heads) throw new Error(`A width of ${d_model} cannot be shared by ${n_heads} heads.`);
  /** @type {import("./weights.js").Shapes[]} */
  const shapes = [positionShapes(positions, names.positions, config)];
  if (norm === "pre") shapes.push(normShapes(names.lastNorm, d_model));
  for (let layer = 0; layer < names.nLayers; layer++) {
    const block = `${names.blocks}.${layer}`;
    for (const part of ["attention", ...(names.cross ? ["cross"] : [])]) {
      shapes.push(normShapes(`${block}.norm_${part}`, d_model));
      for (const to of ["to_q", "to_k", "to_v", "to_out"]) {
        shapes.push(linearShapes(`${block}.${part}.${to}`, d_model, d_model, false));
      }
    }
    shapes.push(normShapes(`${block}.norm_ff`, d_model));
    shapes.push(linearShapes(`${block}.ff.0`, d_ff, d_model), linearShapes(`${block}.ff.2`, d_model, d_ff));
  }
  return Object.assign({}, ...shapes);
}
