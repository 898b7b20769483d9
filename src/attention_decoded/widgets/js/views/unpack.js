/** Stacks of maps from the numbers that Python packs one after another (widgets/attention_map.py). */

/** @typedef {import("./scope.js").StackPicture} StackPicture */
/** @typedef {{ title: string, queries: import("./scope.js").Label[], keys: import("./scope.js").Label[], layers: number[], heads: number[], weights: number, q: number | null, k: number | null, bias: number | null, d_head: number }} Packed
 *   `weights`, `q`, `k` and `bias` (as the weights) are places in the numbers: [layer, head, query, key], [layer, head, query, d_head], [layer, head, key, d_head] */

/**
 * One stack as the views want it. Throws an Error when the numbers end too early.
 * @param {Packed} packed @param {Float32Array} numbers @returns {StackPicture}
 */
export function unpackStack({ title, queries, keys, layers, heads, weights, q, k, bias, d_head }, numbers) {
  const [nLayers, nHeads, nQuery, nKey] = [layers.length, heads.length, queries.length, keys.length];
  /** @param {number} from @param {number} size */
  const part = (from, size) => {
    if (from + size > numbers.length) throw new Error(`The numbers of “${title}” are incomplete.`);
    return numbers.subarray(from, from + size);
  };
  const size = nHeads * nQuery * nKey;
  /** @param {number | null} from @param {number} layer @param {number} n rows */
  const vectors = (from, layer, n) => (from === null ? null : sideBySide(part(from + layer * nHeads * n * d_head, nHeads * n * d_head), nHeads, n, d_head));
  return {
    title,
    queries,
    keys,
    nHeads,
    layers: Array.from({ length: nLayers }, (_, layer) => ({ weights: part(weights + layer * size, size), q: vectors(q, layer, nQuery), k: vectors(k, layer, nKey), bias: bias === null ? null : part(bias + layer * size, size) })),
    layerNumbers: layers,
    headNumbers: heads,
  };
}

/**
 * [head, row, d_head] as [row, head · d_head], the way the engine keeps it.
 * @param {Float32Array} x @param {number} nHeads @param {number} n @param {number} dHead
 */
function sideBySide(x, nHeads, n, dHead) {
  const out = new Float32Array(x.length);
  for (let head = 0; head < nHeads; head++)
    for (let row = 0; row < n; row++) out.set(x.subarray((head * n + row) * dHead, (head * n + row + 1) * dHead), (row * nHeads + head) * dHead);
  return out;
}
