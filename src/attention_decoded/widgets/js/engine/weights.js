/**
 * A model's tensors and sizes, checked once against what the model's code expects, so that a file of
 * another model ends in one clear sentence and never in numbers that mean nothing.
 */

import { layerNorm, linear } from "./ops.js";

/** @typedef {import("./safetensors.js").Safetensors} Safetensors */
/** @typedef {Record<string, readonly number[]>} Shapes */

export class Weights {
  /** @param {Safetensors} file @param {Shapes} shapes of every tensor that is read */
  constructor({ tensors }, shapes) {
    this.tensors = tensors;
    for (const [name, shape] of Object.entries(shapes)) {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`The model file lacks the tensor ${name}.`);
      if (tensor.shape.join() !== shape.join()) {
        throw new Error(`The tensor ${name} has the shape [${tensor.shape}]; [${shape}] is expected.`);
      }
    }
  }

  /** @param {string} name @returns {Float32Array} */
  get(name) {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`The model file lacks the tensor ${name}.`);
    return tensor.data;
  }

  /** `nn.Linear`, its bias where it has one. @param {Float32Array} x @param {number} n rows @param {string} name */
  linear(x, n, name) {
    return linear(x, n, this.get(`${name}.weight`), this.tensors.get(`${name}.bias`)?.data);
  }

  /** `nn.LayerNorm`. @param {Float32Array} x @param {string} name */
  norm(x, name) {
    return layerNorm(x, this.get(`${name}.weight`), this.get(`${name}.bias`));
  }
}

/**
 * The configuration that the model file carries: every number a size, a whole number above 0, and every
 * setting one of those known here. What it leaves open is as in Python's config class; anything else in it
 * is left unread.
 * @template {string} Size
 * @template {Record<string, readonly unknown[]>} Settings
 * @param {Safetensors} file
 * @param {Record<Size, number | null>} sizes  with the defaults; null where there is none
 * @param {Settings} settings  the values known, the default first
 * @returns {Record<Size, number> & { [Name in keyof Settings]: Settings[Name][number] }}
 */
export function readConfig({ metadata }, sizes, settings) {
  /** @type {unknown} */
  let given;
  try {
    given = JSON.parse(metadata.config ?? "");
  } catch {
    throw new Error("The model file carries no configuration.");
  }
  /** @type {Record<string, any>} */
  const config = { ...sizes };
  for (const [name, [usual]] of Object.entries(settings)) config[name] = usual;
  Object.assign(config, given);
  const say = (/** @type {string} */ name) => `The model file says ${name}: ${JSON.stringify(config[name])}`;
  for (const name of Object.keys(sizes)) {
    if (!Number.isSafeInteger(config[name]) || config[name] < 1) throw new Error(`${say(name)}; a size is expected.`);
  }
  for (const [name, known] of Object.entries(settings)) {
    if (!known.includes(config[name])) throw new Error(`${say(name)}; known here: ${known.join(", ")}.`);
  }
  return /** @type {any} */ (config);
}

/**
 * The shapes of a linear layer.
 * @param {string} name @param {number} dOut @param {number} dIn @param {boolean} [bias] @returns {Shapes}
 */
export const linearShapes = (name, dOut, dIn, bias = true) => ({
  [`${name}.weight`]: [dOut, dIn],
  ...(bias && { [`${name}.bias`]: [dOut] }),
});

/** The shapes of a LayerNorm. @param {string} name @param {number} width @returns {Shapes} */
export const normShapes = (name, width) => ({ [`${name}.weight`]: [width], [`${name}.bias`]: [width] });

/** The longest sentence, in tokens: a bound on memory, since attention takes the square of it. */
export const LONGEST = 512;
const PAD = 0;

/**
 * Refuse what is no sentence for a model: nothing, too much, or numbers that are no tokens of it.
 * @param {readonly number[]} ids @param {number} nVocab
 * @param {{ padding?: boolean, past?: number }} [admit] `past`: how many tokens stand before these
 */
export function checkIds(ids, nVocab, { padding = false, past = 0 } = {}) {
  if (ids.length < 1) throw new Error("There is nothing to read.");
  const n = past + ids.length;
  if (n > LONGEST) throw new Error(`${n} tokens are too many: the longest text here has ${LONGEST}.`);
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= nVocab) throw new Error(`There is no token with the number ${id}.`);
    if (id === PAD && !padding) throw new Error("Token 0 is padding; it stands in no sentence.");
  }
}
