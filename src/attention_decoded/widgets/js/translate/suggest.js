/** Which single cuts there are to be tried. */

/** @typedef {import("../engine/edits.js").Cut} Cut */
/** @typedef {import("../engine/edits.js").Stack} Stack */
/** @typedef {"column" | "pair" | "head" | "layer"} Kind */
/** @typedef {{ n_encoder_layers: number, n_decoder_layers: number, n_heads: number, nSource: number, nTarget: number }} Sizes */

const STACKS = /** @type {const} */ (["encoder", "decoder", "cross"]);

/**
 * All cuts of these kinds: columns of the cross-attention and its token pairs, each in all heads and layers; heads
 * and layers of all three stacks.
 * @param {readonly Kind[]} kinds @param {Sizes} sizes @returns {Cut[]}
 */
export function allCuts(kinds, { n_encoder_layers, n_decoder_layers, n_heads, nSource, nTarget }) {
  /** @type {{ stack: Stack, layer: number }[]} */
  const layers = STACKS.flatMap((stack) => upTo(stack === "encoder" ? n_encoder_layers : n_decoder_layers, (layer) => ({ stack, layer })));
  /** @type {Record<Kind, () => Cut[]>} */
  const all = {
    column: () => upTo(nSource, (key) => ({ stack: "cross", key })),
    pair: () => upTo(nTarget, (query) => upTo(nSource, (key) => ({ stack: /** @type {Stack} */ ("cross"), query, key }))).flat(),
    head: () => layers.flatMap((layer) => upTo(n_heads, (head) => ({ ...layer, head }))),
    layer: () => layers,
  };
  return kinds.flatMap((kind) => {
    if (!Object.hasOwn(all, kind)) throw new Error(`The kind of cut ${String(kind)} is none of ${Object.keys(all).join(", ")}.`);
    return all[kind]();
  });
}

/** @template T @param {number} n @param {(i: number) => T} make @returns {T[]} */
const upTo = (n, make) => Array.from({ length: n }, (_, i) => make(i));
