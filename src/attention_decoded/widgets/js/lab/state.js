/**
 * The laboratory's state: one plain object, never changed in place, with undo.
 *
 * What the reader looks at (layer, head, scores or weights) is not undone; what the reader changes is.
 */

/** @typedef {import("../engine/masked_lm.js").Matrices} Matrices */
/** @typedef {"head" | "layer" | "all"} Scope */
/** @typedef {[query: number, key: number]} Edge */

/**
 * @typedef {object} Changes
 * @property {number} scale        factor on 1/√d_head
 * @property {number} temperature
 * @property {boolean} causal
 * @property {Matrices} matrices
 * @property {Scope} scope         where the four above and the cuts apply
 * @property {Edge[]} cuts         sorted
 * @property {number[]} hidden     positions shown to the model as <mask>, sorted
 */

/** A larger map can no longer be read. */
export const MAX_TOKENS = 24;

/** @type {Readonly<Changes>} */
export const UNCHANGED = Object.freeze({
  scale: 1,
  temperature: 1,
  causal: false,
  matrices: "two",
  scope: "all",
  cuts: [],
  hidden: [],
});

/** @param {Changes} a @param {Changes} b */
export const sameChanges = (a, b) => JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));

/** @param {Changes} c */
const canonical = ({ scale, temperature, causal, matrices, scope, cuts, hidden }) => [
  scale, temperature, causal, matrices, scope, sortEdges(cuts), [...hidden].sort((a, b) => a - b),
];

/** Whether the attention itself is changed; hiding a token changes the input, not the attention. @param {Changes} c */
export const editsAttention = (c) =>
  c.scale !== 1 || c.temperature !== 1 || c.causal || c.matrices !== "two" || c.cuts.length > 0;

/** @param {Iterable<Edge>} edges @returns {Edge[]} sorted, each once */
export function sortEdges(edges) {
  const unique = new Map([...edges].map((edge) => [edge.join(), edge]));
  return [...unique.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

/**
 * Cut these edges, or restore them when all of them are cut already.
 * @param {Edge[]} cuts @param {Edge[]} edges @returns {Edge[]}
 */
export function toggleEdges(cuts, edges) {
  const cut = new Set(cuts.map(String));
  if (!edges.every((edge) => cut.has(String(edge)))) return sortEdges([...cuts, ...edges]);
  const restored = new Set(edges.map(String));
  return cuts.filter((edge) => !restored.has(String(edge)));
}

/** @param {number} n @param {number} query @returns {Edge[]} every look of this query */
export const rowEdges = (n, query) => Array.from({ length: n }, (_, key) => /** @type {Edge} */ ([query, key]));

/** @param {number} n @param {number} key @returns {Edge[]} every look at this key */
export const columnEdges = (n, key) => Array.from({ length: n }, (_, query) => /** @type {Edge} */ ([query, key]));

/** Undo for snapshots; the changes of one drag of a slider make one step. */
export class History {
  constructor() {
    /** @type {unknown[]} */
    this.past = [];
    /** @type {string | null} */
    this.open = null;
  }

  /** Remember the state before a change. @param {unknown} before @param {string | null} [drag] names a drag in progress */
  push(before, drag = null) {
    if (drag !== null && drag === this.open) return;
    this.past.push(before);
    if (this.past.length > 200) this.past.shift();
    this.open = drag;
  }

  /** The drag has ended: the next change is a step of its own. */
  close() {
    this.open = null;
  }

  /** @returns {unknown} the state before the last step, or undefined */
  pop() {
    this.open = null;
    return this.past.pop();
  }
}
