/**
 * What a reader may change in a model's attention while it runs: numbers added to scores, heads turned
 * down, positions taken away.
 *
 * Positions of queries and keys are counted from 0 in the sequence they stand in: the source for the
 * encoder, the tokens fed to the decoder (<bos> is 0) for the decoder; in "cross" the query stands in the
 * target and the key in the source. A decoder-only model has the stack "decoder" alone.
 */

/** @typedef {"encoder" | "decoder" | "cross"} Stack */

/**
 * @typedef {object} Edits
 * @property {(stack: Stack, layer: number, head: number, query: number, key: number) => number} [bias]
 *   added to the score; at or below `CUT` the query may not look there, and the weight is exactly 0
 * @property {(stack: Stack, layer: number, head: number) => number} [gate]
 *   factor on what the head gives; 0 switches it off, its weights stay to be seen
 * @property {boolean} [noPositions]  the model is not told the order
 */

/** A bias this low forbids the look altogether, as False does in a mask. */
export const CUT = -5e3;

/**
 * One thing cut. What is absent stands for all: { stack, query, key } is a token pair in all heads and
 * layers, { stack, key } a column everywhere, { stack, layer, head } a head, { stack, layer } a layer.
 * @typedef {{ stack: Stack, layer?: number, head?: number, query?: number, key?: number }} LookCut
 * @typedef {LookCut | { positions: true }} Cut
 */

const STACKS = ["encoder", "decoder", "cross"];
const PLACES = /** @type {const} */ (["layer", "head", "query", "key"]);

/**
 * The edits that make these cuts. A head, or a layer's heads, are switched off by their gate; whatever names a
 * query or a key is cut by its score. Throws an Error for what is not a cut: lists may come from a link.
 * @param {readonly Cut[]} cuts @returns {Edits}
 */
export function cutting(cuts) {
  if (!Array.isArray(cuts)) throw new Error("A list of cuts is expected.");
  /** @type {LookCut[]} */
  const looks = [];
  for (const cut of cuts) if (!isPositions(cut)) looks.push(checked(cut));
  const whole = looks.filter((cut) => cut.query === undefined && cut.key === undefined);
  const partial = looks.filter((cut) => !whole.includes(cut));
  /** @param {LookCut} cut @param {Stack} stack @param {number} layer @param {number} head */
  const meets = (cut, stack, layer, head) =>
    cut.stack === stack && (cut.layer ?? layer) === layer && (cut.head ?? head) === head;
  return {
    ...(partial.length && {
      bias: (stack, layer, head, query, key) =>
        partial.some((cut) => {
          const here = (cut.query ?? query) === query && (cut.key ?? key) === key;
          return here && meets(cut, stack, layer, head);
        })
          ? 2 * CUT
          : 0,
    }),
    ...(whole.length && { gate: (stack, layer, head) => (whole.some((cut) => meets(cut, stack, layer, head)) ? 0 : 1) }),
    ...(looks.length < cuts.length && { noPositions: true }),
  };
}

/** @param {Cut} cut @returns {cut is { positions: true }} */
const isPositions = (cut) => Object(cut) === cut && "positions" in cut && cut.positions === true;

/** @param {LookCut} cut @returns {LookCut} */
function checked(cut) {
  if (Object(cut) !== cut || !STACKS.includes(cut.stack)) throw new Error(`A cut names one of ${STACKS.join(", ")}.`);
  for (const place of PLACES) {
    const at = cut[place];
    if (at === undefined || (Number.isSafeInteger(at) && at >= 0)) continue;
    throw new Error(`A cut's ${place} is a number from 0 up.`);
  }
  return cut;
}

/**
 * What is added to the scores of one layer: the model's own bias and the reader's; −∞ where a query may
 * not look. Null when it is zero everywhere.
 * @param {{ stack: Stack, layer: number, nHeads: number, nQuery: number, nKey: number, past: number,
 *   own: Float32Array | null, edits: Edits }} of
 *   `past`: the place of the first query; `own` [head, query, key] is left as it is
 * @returns {Float32Array | null} [head, query, key]
 */
export function scoreBias({ stack, layer, nHeads, nQuery, nKey, past, own, edits }) {
  if (!edits.bias) return own;
  const bias = own ? own.slice() : new Float32Array(nHeads * nQuery * nKey);
  let at = 0;
  for (let head = 0; head < nHeads; head++) {
    for (let query = past; query < past + nQuery; query++) {
      for (let key = 0; key < nKey; key++, at++) {
        const added = edits.bias(stack, layer, head, query, key);
        bias[at] = added > CUT ? bias[at] + added : -Infinity;
      }
    }
  }
  return bias;
}
