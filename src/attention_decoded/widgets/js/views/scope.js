/**
 * What one picture of attention is of: all heads or one, in words and in numbers; what is cut in it; and the
 * geometry of its lines. Nothing here touches the page.
 */

/** @typedef {import("../engine/edits.js").Cut} Cut */
/** @typedef {import("../engine/edits.js").LookCut} LookCut */
/** @typedef {import("../engine/edits.js").Stack} StackName */

/** @typedef {{ text: string, lang?: string, sub?: string, name?: string }} Label  `sub` stands small beside it (pinyin); `name` is what is read aloud, where the text is a sign */

/**
 * One layer's maps: `weights` alone, or all that the engine keeps of them (engine/heads.js, `Looks`).
 * @typedef {{ weights: Float32Array, q?: Float32Array | null, k?: Float32Array | null, bias?: Float32Array | null, dot?: boolean }} Layer
 *   weights [head, query, key]; q [query, head · d_head]; k [key, head · d_head]; bias [head, query, key]
 */

/**
 * One stack of layers. Row = query (who looks), column = key (who is looked at).
 * @typedef {object} StackPicture
 * @property {string} title
 * @property {Label[]} queries
 * @property {Label[]} keys
 * @property {number} nHeads
 * @property {readonly Layer[]} layers
 * @property {readonly number[]} [layerNumbers]  the layers' own numbers, from 0, where only some are shown
 * @property {readonly number[]} [headNumbers]   likewise the heads'
 */

/** @typedef {{ query: number | null, key: number | null }} Spot  a pair, or one word alone: the other is null then */

/** Numbers count from 1 where people read them. @param {StackPicture} stack @param {number} layer an index */
export const layerNumber = (stack, layer) => (stack.layerNumbers?.[layer] ?? layer) + 1;
/** @param {StackPicture} stack @param {number} head an index */
export const headNumber = (stack, head) => (stack.headNumbers?.[head] ?? head) + 1;

/** @param {StackPicture} stack @param {number | null} layer @returns {number[]} */
const layersOf = (stack, layer) => (layer === null ? stack.layers.map((_, i) => i) : [layer]);
/** @param {StackPicture} stack @param {number | null} head @returns {number[]} */
const headsOf = (stack, head) => (head === null ? Array.from({ length: stack.nHeads }, (_, i) => i) : [head]);

/**
 * The weights of one head, or the mean of several; null stands for all.
 * @param {StackPicture} stack @param {number | null} layer @param {number | null} head
 * @returns {Float32Array} [query, key]
 */
export function weightsOf(stack, layer, head) {
  const size = stack.queries.length * stack.keys.length;
  const [layers, heads] = [layersOf(stack, layer), headsOf(stack, head)];
  if (layers.length === 1 && heads.length === 1) return stack.layers[layers[0]].weights.subarray(heads[0] * size, (heads[0] + 1) * size);
  const mean = new Float32Array(size);
  for (const l of layers) {
    const { weights } = stack.layers[l];
    for (const head of heads) for (let at = 0; at < size; at++) mean[at] += weights[head * size + at];
  }
  const count = layers.length * heads.length;
  for (let at = 0; at < size; at++) mean[at] /= count;
  return mean;
}

/**
 * What is on show, in words: "layer 2, head 5", "layer 2, mean of 6 heads", "mean of 18 heads (3 layers × 6)".
 * @param {StackPicture} stack @param {number | null} layer @param {number | null} head
 */
export function scopeWords(stack, layer, head) {
  const [nLayers, { nHeads }] = [stack.layers.length, stack];
  const one = nHeads === 1 ? 0 : null;
  if (layer === null && nLayers > 1) {
    if (head !== null || one !== null) return `head ${headNumber(stack, head ?? 0)}, mean of ${nLayers} layers`;
    return `mean of ${nLayers * nHeads} heads (${nLayers} layers × ${nHeads})`;
  }
  const place = `layer ${layerNumber(stack, layer ?? 0)}`;
  if (head === null && one === null) return `${place}, mean of ${nHeads} heads`;
  return `${place}, head ${headNumber(stack, head ?? 0)}`;
}

/** Whether several heads are averaged. @param {StackPicture} stack @param {number | null} layer @param {number | null} head */
export const isMean = (stack, layer, head) => layersOf(stack, layer).length * headsOf(stack, head).length > 1;

/**
 * A layer and a head that this stack has; what it has not becomes the mean.
 * @param {StackPicture} stack @param {number | null} layer @param {number | null} head
 */
export function fitScope(stack, layer, head) {
  const inside = (/** @type {number | null} */ at, /** @type {number} */ n) => (n === 1 ? 0 : at !== null && at >= 0 && at < n ? at : null);
  return { layer: inside(layer, stack.layers.length), head: inside(head, stack.nHeads) };
}

/** The one weight in every head. @param {StackPicture} stack @param {number} query @param {number} key @returns {Float32Array} [layer, head] */
export function inEveryHead(stack, query, key) {
  const { nHeads, queries, keys } = stack;
  const size = queries.length * keys.length;
  const values = new Float32Array(stack.layers.length * nHeads);
  stack.layers.forEach(({ weights }, layer) => {
    for (let head = 0; head < nHeads; head++) values[layer * nHeads + head] = weights[head * size + query * keys.length + key];
  });
  return values;
}

/**
 * The cell that a picture begins with: the largest weight; of equals the first.
 * @param {Float32Array} weights [query, key] @param {number} nKey @returns {{ query: number, key: number }}
 */
export function strongest(weights, nKey) {
  let at = 0;
  for (let i = 1; i < weights.length; i++) if (weights[i] > weights[at]) at = i;
  return { query: Math.floor(at / nKey), key: at % nKey };
}

/**
 * The strongest looks of one word.
 * @param {Float32Array} weights [query, key] @param {number} nKey @param {Spot} spot @param {number} [most]
 * @returns {{ query: number, key: number, weight: number }[]} strongest first
 */
export function looksOf(weights, nKey, { query, key }, most = 5) {
  const nQuery = weights.length / nKey;
  const cells =
    query !== null
      ? Array.from({ length: nKey }, (_, j) => ({ query, key: j, weight: weights[query * nKey + j] }))
      : Array.from({ length: nQuery }, (_, i) => ({ query: i, key: key ?? 0, weight: weights[i * nKey + (key ?? 0)] }));
  return cells.sort((a, b) => b.weight - a.weight).slice(0, most);
}

/**
 * The numbers behind one weight of one head; null where q and k are not known. `closed` is true where the query may
 * not look at all.
 * @param {StackPicture} stack @param {number} layer @param {number} head @param {number} query @param {number} key
 */
export function cellNumbers(stack, layer, head, query, key) {
  const { nHeads, queries, keys } = stack;
  const { q, k, bias } = stack.layers[layer];
  if (!q || !k) return null;
  const width = q.length / queries.length;
  const dHead = width / nHeads;
  const ours = q.slice(query * width + head * dHead, query * width + (head + 1) * dHead);
  const theirs = k.slice(key * width + head * dHead, key * width + (head + 1) * dHead);
  const dot = ours.reduce((sum, x, c) => sum + x * theirs[c], 0);
  const scale = 1 / Math.sqrt(dHead);
  const added = bias ? bias[(head * queries.length + query) * keys.length + key] : 0;
  return { q: ours, k: theirs, dot, dHead, scale, bias: Number.isFinite(added) ? added : 0, closed: added === -Infinity, score: dot * scale + added };
}

/**
 * Whether a weight of zero is not a small one but none at all: its score would give it a share, but the query may not
 * look there (a mask). Only where q and k are known.
 * @param {StackPicture} stack @param {number} layer @param {number} head @param {number} query @param {number} key
 */
export function forbidden(stack, layer, head, query, key) {
  const nKey = stack.keys.length;
  const row = (head * stack.queries.length + query) * nKey;
  const { weights } = stack.layers[layer];
  if (weights[row + key] !== 0) return false;
  const score = (/** @type {number} */ j) => cellNumbers(stack, layer, head, query, j)?.score ?? NaN;
  let top = -Infinity;
  for (let j = 0; j < nKey; j++) if (weights[row + j] > 0) top = Math.max(top, score(j));
  return score(key) > top - 80; // a float32 holds e⁻⁸⁰
}

// ------------------------------------------------------------------ cuts

/** @param {Cut} cut @returns {cut is LookCut} */
const isLook = (cut) => !("positions" in cut);

/**
 * Whether a look is cut in all the heads on show ("whole"), in some ("part"), or in none ("").
 * @param {readonly Cut[]} cuts @param {StackName} name @param {StackPicture} stack
 * @param {number | null} layer @param {number | null} head @param {number} query @param {number} key
 * @returns {"whole" | "part" | ""}
 */
export function cutState(cuts, name, stack, layer, head, query, key) {
  const here = cuts.filter(
    (cut) =>
      isLook(cut) &&
      cut.stack === name &&
      (cut.query !== undefined || cut.key !== undefined) &&
      (cut.query ?? query) === query &&
      (cut.key ?? key) === key &&
      (layer === null || (cut.layer ?? layer) === layer) &&
      (head === null || (cut.head ?? head) === head),
  );
  if (here.length === 0) return "";
  const covered = layersOf(stack, layer).every((l) =>
    headsOf(stack, head).every((one) => here.some((cut) => isLook(cut) && (cut.layer ?? l) === l && (cut.head ?? one) === one)),
  );
  return covered ? "whole" : "part";
}

/**
 * Whether heads as a whole are switched off: all on show, some, or none.
 * @param {readonly Cut[]} cuts @param {StackName} name @param {StackPicture} stack @param {number | null} layer @param {number | null} head
 * @returns {"whole" | "part" | ""}
 */
export function offState(cuts, name, stack, layer, head) {
  const whole = cuts.filter((cut) => isLook(cut) && cut.stack === name && cut.query === undefined && cut.key === undefined);
  if (whole.length === 0) return "";
  let off = 0;
  let all = 0;
  for (const l of layersOf(stack, layer)) {
    for (const one of headsOf(stack, head)) {
      all++;
      if (whole.some((cut) => isLook(cut) && (cut.layer ?? l) === l && (cut.head ?? one) === one)) off++;
    }
  }
  return off === all ? "whole" : off ? "part" : "";
}

/**
 * A cut in the heads on show.
 * @param {StackName} stack @param {number | null} layer @param {number | null} head @param {Partial<Spot>} [spot]
 * @returns {LookCut}
 */
export function cutHere(stack, layer, head, { query = null, key = null } = {}) {
  return {
    stack,
    ...(layer !== null && { layer }),
    ...(head !== null && { head }),
    ...(query !== null && { query }),
    ...(key !== null && { key }),
  };
}

/** Whether this very cut was made, and not only a wider one. @param {readonly Cut[]} cuts @param {LookCut} cut */
export const isMade = (cuts, cut) =>
  cuts.some((other) => isLook(other) && /** @type {const} */ (["stack", "layer", "head", "query", "key"]).every((place) => other[place] === cut[place]));

// ------------------------------------------------------------------ lines

/** The weakest line worth drawing: among all of them, and of one word alone. */
export const FAINT = 0.06;
export const SEEN = 0.01;

/**
 * Which lines to draw: all that are not faint, or those of the word in focus, or the pair's own.
 * @param {Float32Array} weights [query, key] @param {number} nKey @param {Spot | null} spot
 * @returns {{ query: number, key: number, weight: number }[]} weakest first, so that the strong ones lie on top
 */
export function linesOf(weights, nKey, spot) {
  const lines = [];
  for (let at = 0; at < weights.length; at++) {
    const [query, key] = [Math.floor(at / nKey), at % nKey];
    const weight = weights[at];
    if (spot && spot.query !== null && spot.query !== query) continue;
    if (spot && spot.key !== null && spot.key !== key) continue;
    const pair = spot && spot.query !== null && spot.key !== null;
    if (pair || weight >= (spot ? SEEN : FAINT)) lines.push({ query, key, weight });
  }
  return lines.sort((a, b) => a.weight - b.weight);
}

/** @typedef {{ x: number, y: number }} Point */

/**
 * A curve from one point to another that leaves and arrives along `axis`. Along that axis it advances evenly, so that
 * the place of a pointer tells the place on the curve (see `nearest`).
 * @param {Point} a @param {Point} b @param {"x" | "y"} axis
 */
export function curve(a, b, axis) {
  const n = (/** @type {number} */ x) => x.toFixed(1);
  const at = (/** @type {number} */ share, /** @type {Point} */ side) =>
    axis === "y" ? `${n(side.x)} ${n(a.y + (b.y - a.y) * share)}` : `${n(a.x + (b.x - a.x) * share)} ${n(side.y)}`;
  return `M${n(a.x)} ${n(a.y)}C${at(1 / 3, a)} ${at(2 / 3, b)} ${n(b.x)} ${n(b.y)}`;
}

/** Where that curve is, a share of the way along its axis. @param {Point} a @param {Point} b @param {"x" | "y"} axis @param {number} share @returns {Point} */
export function alongCurve(a, b, axis, share) {
  const bent = share * share * (3 - 2 * share);
  return axis === "y" ? { x: a.x + (b.x - a.x) * bent, y: a.y + (b.y - a.y) * share } : { x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * bent };
}

/**
 * The curve nearest to a point, if one is within reach.
 * @param {readonly { a: Point, b: Point }[]} curves @param {Point} point @param {"x" | "y"} axis @param {number} reach in pixels
 * @returns {number} its index, or −1
 */
export function nearest(curves, point, axis, reach) {
  let found = -1;
  let best = reach;
  curves.forEach(({ a, b }, i) => {
    const share = (point[axis] - a[axis]) / (b[axis] - a[axis] || 1);
    if (share < 0 || share > 1) return;
    const on = alongCurve(a, b, axis, share);
    const slope = axis === "y" ? (b.x - a.x) / (b.y - a.y || 1) : (b.y - a.y) / (b.x - a.x || 1);
    const steep = 6 * share * (1 - share) * slope; // the distance across a steep curve is less than along one axis
    const distance = Math.abs(axis === "y" ? point.x - on.x : point.y - on.y) / Math.hypot(1, steep);
    if (distance < best) [best, found] = [distance, i];
  });
  return found;
}

/**
 * What is in focus when something under the pointer meets a word that the reader has pinned: a pair, if they stand on
 * different sides.
 * @param {Spot | null} hovered @param {Spot | null} pinned @returns {Spot | null}
 */
export function together(hovered, pinned) {
  if (!hovered || !pinned) return hovered ?? pinned;
  if (hovered.query !== null && hovered.key === null && pinned.query === null) return { query: hovered.query, key: pinned.key };
  if (hovered.key !== null && hovered.query === null && pinned.key === null) return { query: pinned.query, key: hovered.key };
  return hovered;
}

/**
 * What is pinned after a word is pressed: the word; with a word of the other side that is pinned already, the pair;
 * and pressed once more, nothing.
 * @param {Spot | null} pinned @param {Spot} word @returns {Spot | null}
 */
export function press(pinned, word) {
  if (pinned && pinned.query === word.query && pinned.key === word.key) return null;
  const pair = pinned && pinned.query !== null && pinned.key !== null;
  return pair ? word : together(word, pinned);
}

/** @param {Spot | null} a @param {Spot | null} b */
export const sameSpot = (a, b) => a?.query === b?.query && a?.key === b?.key;

/** A weight as a small number: .41 @param {number} weight */
export const small = (weight) => (weight > 0.995 ? "1" : weight < 0.005 ? "0" : weight.toFixed(2).slice(1));

/**
 * Whether a look is to be let go of when the focus leaves it: not on the way to the buttons about it.
 * @param {FocusEvent} event of the lines or the map
 */
export function letsGo({ currentTarget, relatedTarget }) {
  if (!(currentTarget instanceof Element && relatedTarget instanceof Node)) return true;
  return currentTarget.contains(relatedTarget) || !currentTarget.closest(".ad-views")?.contains(relatedTarget);
}
