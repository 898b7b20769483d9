/**
 * The translator's state: one plain object, never changed in place; how it is written into a link and read from one.
 *
 *   #try?zh=他昨天没有去学校。&search=beam&beam=4&cut=cross.*.*.3.5&cut=positions&view=map.cross.2.*
 *
 * A link may hold anything: every part is checked, what is not understood is left out and named, and nothing
 * of it is ever more than text and numbers.
 */

/** @typedef {import("../engine/edits.js").Cut} Cut */
/** @typedef {import("../engine/edits.js").LookCut} LookCut */
/** @typedef {import("../engine/edits.js").Stack} Stack */
/** @typedef {"greedy" | "beam" | "sample"} Search */
/** @typedef {{ mode: "lines" | "map" | "model", stack: Stack, layer: number | null, head: number | null }} View */

/**
 * @typedef {object} State
 * @property {string} sentence
 * @property {string[]} prefix     the target tokens that the translation has to begin with, as the vocabulary writes them
 * @property {Search} search
 * @property {number} beam         1 to 8
 * @property {string[][]} pruned   the beginnings, behind the prefix, that beam search leaves out
 * @property {number} alpha        0 to 2
 * @property {number} temperature  0.1 to 3
 * @property {number} top_k        0 keeps all
 * @property {number} seed
 * @property {Cut[]} cuts
 * @property {View} view
 */

export const STACKS = /** @type {const} */ (["encoder", "decoder", "cross"]);
export const SEARCHES = /** @type {const} */ (["greedy", "beam", "sample"]);
export const MODES = /** @type {const} */ (["lines", "map", "model"]);
/** The numbers of a search: from, to, and whether whole. @type {Readonly<Record<string, [number, number, boolean]>>} */
export const RANGES = Object.freeze({
  beam: [1, 8, true],
  alpha: [0, 2, false],
  temperature: [0.1, 3, false],
  top_k: [0, 100, true],
  seed: [0, 999_999, true],
});
export const LONGEST_PREFIX = 64;
export const MOST_CUTS = 100;
export const MOST_PRUNED = 20;
const LONGEST_TEXT = 2000;
const PREFIX = "#try?";

/** @type {State} */
export const START = {
  sentence: "",
  prefix: [],
  search: "greedy",
  beam: 4,
  pruned: [],
  alpha: 1,
  temperature: 1,
  top_k: 0,
  seed: 1,
  cuts: [],
  view: { mode: "map", stack: "cross", layer: null, head: null },
};

/** What speaks of the words of one sentence, and means nothing in another. */
export const UNTOUCHED = Object.freeze({ cuts: [], prefix: [], pruned: [] });

/** The parts of the state that decide the translation; the view does not. */
export const CHANGING = /** @type {const} */ (["prefix", "search", "beam", "pruned", "alpha", "temperature", "top_k", "seed", "cuts"]);

// ------------------------------------------------------------------ cuts

/** @param {Cut} cut @returns {cut is { positions: true }} */
export const isPositions = (cut) => "positions" in cut;

/** One spelling for one cut, as it stands in a link: "cross.*.*.3.5", "positions". @param {Cut} cut */
export function cutText(cut) {
  if (isPositions(cut)) return "positions";
  const at = (/** @type {number | undefined} */ place) => place ?? "*";
  return [cut.stack, at(cut.layer), at(cut.head), at(cut.query), at(cut.key)].join(".");
}

/** @param {string} text @returns {Cut | null} null when it is no cut */
export function parseCut(text) {
  if (text === "positions") return { positions: true };
  const match = /^(encoder|decoder|cross)((?:\.(?:\*|\d{1,3})){4})$/u.exec(text);
  if (!match) return null;
  const [layer, head, query, key] = match[2].slice(1).split(".").map((place) => (place === "*" ? undefined : Number(place)));
  return place(/** @type {Stack} */ (match[1]), { layer, head, query, key });
}

/** Without the places that stand for all. @param {Stack} stack @param {Partial<LookCut>} places @returns {LookCut} */
function place(stack, places) {
  return { stack, ...Object.fromEntries(Object.entries(places).filter(([, at]) => at !== undefined && at !== null)) };
}

/** @param {readonly Cut[]} cuts @returns {Cut[]} each once, in the order given */
export const unique = (cuts) => [...new Map(cuts.map((cut) => [cutText(cut), isPositions(cut) ? cut : place(cut.stack, cut)])).values()];

/** Cut, or restore what is cut already. @param {readonly Cut[]} cuts @param {Cut} cut @returns {Cut[]} */
export function toggleCut(cuts, cut) {
  const text = cutText(cut);
  const rest = cuts.filter((other) => cutText(other) !== text);
  return rest.length < cuts.length ? rest : unique([...cuts, cut]);
}

/** @param {readonly Cut[]} cuts @param {Cut} cut */
export const isCut = (cuts, cut) => cuts.some((other) => cutText(other) === cutText(cut));

/**
 * The cuts that this model and this sentence have room for. `nTarget` is how many tokens the translation may
 * have: a cut behind its end waits, since another translation may be longer.
 * @param {readonly Cut[]} cuts
 * @param {{ layers: Record<"encoder" | "decoder", number>, heads: number, nSource: number, nTarget: number }} room
 */
export function fitting(cuts, { layers, heads, nSource, nTarget }) {
  return unique(cuts).filter((cut) => {
    if (isPositions(cut)) return true;
    const { stack, layer = 0, head = 0, query = 0, key = 0 } = cut;
    const nQuery = stack === "encoder" ? nSource : nTarget;
    const nKey = stack === "decoder" ? nTarget : nSource;
    return layer < layers[stack === "encoder" ? "encoder" : "decoder"] && head < heads && query < nQuery && key < nKey;
  });
}

/**
 * A cut in words that complete "Without …".
 * @param {Cut} cut
 * @param {{ source: readonly string[], target: readonly string[] }} labels  of source tokens; of the tokens written
 */
export function cutWords(cut, { source, target }) {
  if (isPositions(cut)) return "the order of the words";
  const { stack, layer, head, query, key } = cut;
  const name = (/** @type {readonly string[]} */ side, /** @type {number} */ i) => side[i] ?? `token ${i + 1}`;
  const written = (/** @type {number} */ i) => (i === 0 ? "the start" : `“${name(target, i - 1)}”`); // what is fed: one behind
  const asker = (/** @type {number} */ i) => (stack === "encoder" ? name(source, i) : `“${name(target, i)}”`);
  const asked = (/** @type {number} */ i) => (stack === "decoder" ? written(i) : name(source, i));
  const whole = { encoder: "self-attention of the encoder", decoder: "self-attention of the decoder", cross: "cross-attention" }[stack];
  const where = [
    head === undefined ? null : `head ${head + 1}`,
    layer === undefined ? null : `layer ${layer + 1}`,
  ].filter((part) => part !== null).join(" of ");
  if (query === undefined && key === undefined) return where ? `${where} in the ${whole}` : `the ${whole}`;
  const look =
    query === undefined
      ? `${{ encoder: "the encoder", decoder: "the decoder", cross: "the translation" }[stack]} looking at ${asked(/** @type {number} */ (key))}`
      : key === undefined
        ? `anything ${asker(query)} looks at in the ${whole}`
        : `${asker(query)} looking at ${asked(key)}`;
  return where ? `${look} (${where})` : look;
}

// ------------------------------------------------------------------ links

/**
 * The link's fragment for a state; parts that are as `usual` are left out.
 * @param {State} state @param {State} [usual]
 */
export function writeFragment(state, usual = START) {
  const parts = [["zh", state.sentence]];
  if (state.search !== usual.search) parts.push(["search", state.search]);
  for (const name of /** @type {const} */ (["beam", "alpha", "temperature", "top_k", "seed"])) {
    if (state[name] !== usual[name]) parts.push([name, String(state[name])]);
  }
  if (state.prefix.length) parts.push(["begin", state.prefix.join(" ")]);
  for (const path of state.pruned) parts.push(["without", path.join(" ")]);
  for (const cut of state.cuts) parts.push(["cut", cutText(cut)]);
  const { mode, stack, layer, head } = state.view;
  const view = [mode, stack, layer ?? "*", head ?? "*"].join(".");
  if (view !== [usual.view.mode, usual.view.stack, usual.view.layer ?? "*", usual.view.head ?? "*"].join(".")) parts.push(["view", view]);
  return PREFIX + parts.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%20", "+").replaceAll("'", "%27")}`).join("&");
}

/**
 * What a link asks for: the parts that are understood, and the names of those that are not. Null when it is
 * no link to a translation.
 * @param {string} hash  with its #
 * @returns {{ state: Partial<State>, ignored: string[] } | null}
 */
export function readFragment(hash) {
  if (!hash.startsWith(PREFIX)) return null;
  /** @type {Partial<State>} */
  const state = {};
  /** @type {Set<string>} */
  const ignored = new Set();
  /** @type {Cut[]} */
  const cuts = [];
  /** @type {string[][]} */
  const pruned = [];
  for (const [name, value] of new URLSearchParams(hash.slice(PREFIX.length))) {
    const range = Object.hasOwn(RANGES, name) ? RANGES[name] : null;
    const known = (/** @type {boolean} */ holds) => holds || (ignored.add(range || ["zh", "search", "begin", "without", "cut", "view"].includes(name) ? name : "an unknown part"), false);
    if (range) {
      const number = /^\d{1,6}(\.\d{1,6})?$/u.test(value) ? Number(value) : NaN;
      const [low, high, whole] = range;
      if (known(number >= low && number <= high && (!whole || Number.isInteger(number)))) Object.assign(state, { [name]: number });
    } else if (name === "zh") {
      if (known(value.trim() !== "" && value.length <= LONGEST_TEXT)) state.sentence = value;
    } else if (name === "search") {
      const search = SEARCHES.find((one) => one === value);
      if (known(search !== undefined)) state.search = search;
    } else if (name === "begin") {
      const prefix = value.split(" ").filter(Boolean);
      if (known(prefix.length <= LONGEST_PREFIX)) state.prefix = prefix;
    } else if (name === "without") {
      const path = value.split(" ").filter(Boolean);
      if (known(path.length > 0 && path.length <= LONGEST_PREFIX && pruned.length < MOST_PRUNED)) pruned.push(path);
    } else if (name === "cut") {
      const cut = cuts.length < MOST_CUTS ? parseCut(value) : null;
      if (known(cut !== null)) cuts.push(/** @type {Cut} */ (cut));
    } else if (name === "view") {
      const view = parseView(value);
      if (known(view !== null)) state.view = /** @type {View} */ (view);
    } else known(false);
  }
  if (cuts.length) state.cuts = unique(cuts);
  if (pruned.length) state.pruned = pruned;
  return { state, ignored: [...ignored] };
}

/** @param {string} text @returns {View | null} */
function parseView(text) {
  const match = /^(lines|map|model)\.(encoder|decoder|cross)\.(\*|\d{1,2})\.(\*|\d{1,2})$/u.exec(text);
  if (!match) return null;
  const at = (/** @type {string} */ place) => (place === "*" ? null : Number(place));
  return { mode: /** @type {View["mode"]} */ (match[1]), stack: /** @type {Stack} */ (match[2]), layer: at(match[3]), head: at(match[4]) };
}
