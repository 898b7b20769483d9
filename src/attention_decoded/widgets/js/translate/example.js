/**
 * The example that a page carries: a translation with all its maps and the effects of some cuts, computed while
 * the book was built by the code that the page runs. It is shown before the model arrives, and without it.
 */

import { cutText } from "./state.js";
import { pack, unpack } from "./maps.js";

/** @typedef {import("./state.js").Cut} Cut */
/** @typedef {import("./maps.js").Stacks} Stacks */
/** @typedef {import("./maps.js").PackedLayer} PackedLayer */
/** @typedef {import("../engine/beam.js").Candidate} Candidate */

/**
 * A translation as the figure shows it.
 * @typedef {object} Written
 * @property {number[]} ids
 * @property {string[]} pieces     of each token, as the vocabulary writes them
 * @property {number[]} logProbs  NaN where it is not known while the text is being written
 * @property {{ id: number, piece: string, logProb: number }[][]} alternatives  for every token, best first
 * @property {string} text
 * @property {boolean} finished
 * @property {Partial<Stacks> | null} looks   null while it is being written
 * @property {Candidate[][]} [tree]           of a beam search
 */

/** @typedef {{ written: Written, deltas: number[] }} Effect  deltas of the uncut translation's tokens, in nats */

/**
 * @typedef {object} Example
 * @property {string} sentence
 * @property {{ text: string, tokens: { id: number, text: string }[], labels: string[], notes: string[] }} reading
 * @property {Record<string, [string, string]>} lexicon  of its own tokens
 * @property {Written} base
 * @property {(Effect & { cut: Cut, changed: boolean, total: number })[]} effects  strongest first
 */

/** @param {Partial<Stacks>} looks @returns {Record<string, PackedLayer[]>} */
const packAll = (looks) => Object.fromEntries(Object.entries(looks).map(([stack, layers]) => [stack, layers.map(pack)]));

/** @param {Record<string, PackedLayer[]>} looks @returns {Partial<Stacks>} */
const unpackAll = (looks) => Object.fromEntries(Object.entries(looks).map(([stack, layers]) => [stack, layers.map(unpack)]));

/** Four digits are more than is shown. @param {number} x */
const rounded = (x) => Number(x.toFixed(4));

/** @param {Written} written @param {boolean} whole with the maps of all stacks, and not only of cross-attention */
function pressed({ ids, pieces, logProbs, alternatives, text, finished, looks }, whole) {
  return {
    ids, pieces, text, finished,
    logProbs: logProbs.map(rounded),
    alternatives: alternatives.map((row) => row.map(({ id, piece, logProb }) => ({ id, piece, logProb: rounded(logProb) }))),
    looks: packAll(whole ? (looks ?? {}) : { cross: looks?.cross ?? [] }),
  };
}

/** As JSON for the page. @param {Example} example */
export const packExample = (example) => ({
  ...example,
  base: pressed(example.base, true),
  effects: example.effects.map((effect) => ({ ...effect, total: rounded(effect.total), deltas: effect.deltas.map(rounded), written: pressed(effect.written, false) })),
});

/** @param {ReturnType<typeof packExample>} packed @returns {Example} */
export const unpackExample = (packed) => ({
  ...packed,
  base: { ...packed.base, looks: unpackAll(packed.base.looks) },
  effects: packed.effects.map((effect) => ({ ...effect, written: { ...effect.written, looks: unpackAll(effect.written.looks) } })),
});

/** The effect of exactly these cuts, if the example holds it. @param {Example} example @param {readonly Cut[]} cuts */
export const effectOf = (example, cuts) =>
  cuts.length === 1 ? example.effects.find(({ cut }) => cutText(cut) === cutText(cuts[0])) : undefined;
