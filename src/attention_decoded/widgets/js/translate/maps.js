/** Attention maps: averaged over heads and layers, and packed small for the example that a page carries. */

import { fromBase64 } from "../engine/assets.js";

/** @typedef {import("../engine/heads.js").Looks} Looks */
/** @typedef {{ nHeads: number, nQuery: number, nKey: number, weights: Float32Array } & Partial<Looks>} Layer  a layer's maps; q, k, v only from a run */
/** @typedef {{ encoder: Layer[], decoder: Layer[], cross: Layer[] }} Stacks */
/** @typedef {{ nHeads: number, nQuery: number, nKey: number, weights: string }} PackedLayer  base64 of weight · 255, a byte each */

/**
 * The mean over all heads of all layers.
 * @param {readonly Layer[]} layers @returns {{ nQuery: number, nKey: number, weights: Float32Array }} [query, key]
 */
export function mean(layers) {
  const { nQuery, nKey } = layers[0];
  const size = nQuery * nKey;
  const sum = new Float32Array(size);
  let count = 0;
  for (const { nHeads, weights } of layers) {
    for (let at = 0; at < nHeads * size; at++) sum[at % size] += weights[at];
    count += nHeads;
  }
  return { nQuery, nKey, weights: sum.map((x) => x / count) };
}

/** @param {Layer} layer @returns {PackedLayer} */
export function pack({ nHeads, nQuery, nKey, weights }) {
  let text = "";
  for (const weight of weights) text += String.fromCharCode(Math.round(weight * 255));
  return { nHeads, nQuery, nKey, weights: btoa(text) };
}

/** @param {PackedLayer} layer @returns {Layer} */
export function unpack({ nHeads, nQuery, nKey, weights }) {
  return { nHeads, nQuery, nKey, weights: Float32Array.from(fromBase64(weights), (byte) => byte / 255) };
}
