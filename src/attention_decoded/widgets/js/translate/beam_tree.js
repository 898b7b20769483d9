/**
 * The tree of a beam search, from left to right as its texts are read: a column of candidates for every step, likeliest
 * first, each with its fate and a line from the beginning that it goes on from. One grid for the keyboard: arrow keys
 * move, Enter goes on from a candidate, Delete leaves its branch out or brings it back.
 */

import { decimal, percent } from "../engine/describe.js";
import { branch } from "../engine/beam.js";
import { button, h, setAttribute, setText, svg } from "../ui/dom.js";

/** @typedef {import("../engine/beam.js").Candidate} Candidate */
/** @typedef {{ ids: number[], sum: number, score: number, finished: boolean }} Ranked */

/** The ids from the root to a candidate. @param {Candidate} candidate */
export const pathOf = (candidate) => branch(candidate).map(({ id }) => id);

const FATES = { "goes on": "kept", found: "found: a whole text ends here", dropped: "dropped", "left out": "left out" };

/** From a cell's right edge to another's left. @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
const edge = (x0, y0, x1, y1) => `M${x0} ${y0}C${(x0 + x1) / 2} ${y0} ${(x0 + x1) / 2} ${y1} ${x1} ${y1}`;

/**
 * @param {{ signal: AbortSignal, onContinue: (path: number[]) => void, onPrune: (path: number[]) => void, onText: (ids: number[]) => void,
 *   nameOf: (id: number) => string, textOf: (ids: readonly number[]) => string }} handlers
 */
export function beamTree({ signal, onContinue, onPrune, onText, nameOf, textOf }) {
  const table = h("table", { class: "ad-tree", role: "grid", "aria-label": "Beam search, step by step: each column holds one step's candidates, likeliest first" });
  const edges = svg("svg", { class: "ad-tree-edges", "aria-hidden": "true" });
  const legend = h("p", { class: "ad-tree-legend" }, ...Object.entries(FATES).map(([fate, words]) => h("span", { "data-fate": fate }, words)), h("span", {}, "The number is the sum of log p up to there."));
  const about = h("p", { class: "ad-tree-about" });
  const go = button("Go on from here", () => chosen && onContinue(pathOf(chosen)), { "data-control": "tree-continue" });
  const prune = button("Leave this branch out", () => chosen && onPrune(pathOf(chosen)), { "data-control": "tree-prune" });
  const ranking = h("ol", { class: "ad-ranking", "aria-label": "Whole texts that were found, best score first" });
  const el = h(
    "details",
    { class: "ad-tree-panel", "data-panel": "tree" },
    h("summary", {}, "The search, step by step"),
    h("div", { class: "ad-tree-scroll" }, h("div", { class: "ad-tree-frame" }, edges, table)),
    legend,
    h("div", { class: "ad-tree-detail" }, about, h("div", { class: "ad-actions" }, go, prune)),
  );
  /** @type {Candidate[][]} */
  let tree = [];
  /** By step, then rank. @type {HTMLElement[][]} */
  let cells = [];
  /** The line that leads to a candidate. @type {Map<Candidate, SVGElement>} */
  const lines = new Map();
  /** @type {Candidate | null} */
  let chosen = null;
  let current = [0, 0];

  /** @param {EventTarget | null} target @returns {[number, number] | null} */
  function locate(target) {
    const cell = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-node]")) : null;
    if (!cell?.dataset.node) return null;
    const [step, rank] = cell.dataset.node.split(",").map(Number);
    return [step, rank];
  }

  /** Each line from where its cells stand. */
  function draw() {
    if (!el.open) return;
    /** @type {Map<Candidate, HTMLElement>} */
    const places = new Map(tree.flatMap((column, step) => column.map((node, rank) => [node, cells[step][rank]])));
    lines.clear();
    for (const [node, cell] of places) {
      const from = node.parent && places.get(node.parent);
      if (!from) continue; // the first step
      const d = edge(from.offsetLeft + from.offsetWidth, from.offsetTop + from.offsetHeight / 2, cell.offsetLeft, cell.offsetTop + cell.offsetHeight / 2);
      lines.set(node, svg("path", { d, "data-fate": node.fate }));
    }
    setAttribute(edges, "width", table.offsetWidth);
    setAttribute(edges, "height", table.offsetHeight);
    edges.replaceChildren(...lines.values());
    markPath();
  }
  const watch = new ResizeObserver(draw); // opened, or in another font
  watch.observe(table);
  signal.addEventListener("abort", () => watch.disconnect());

  /** The beginning of the chosen candidate stands out. */
  function markPath() {
    const path = new Set(chosen ? branch(chosen) : []);
    tree.forEach((column, step) =>
      column.forEach((node, rank) => {
        setAttribute(cells[step][rank], "data-path", path.has(node));
        setAttribute(cells[step][rank], "aria-selected", node === chosen ? "true" : null);
      }),
    );
    for (const [node, line] of lines) setAttribute(line, "data-path", path.has(node));
  }

  /** @param {number} step @param {number} rank @param {boolean} focus */
  function choose(step, rank, focus) {
    setAttribute(cells[current[0]]?.[current[1]], "tabindex", -1);
    current = [step, rank];
    const cell = cells[step][rank];
    setAttribute(cell, "tabindex", 0);
    if (focus) cell.focus();
    chosen = tree[step][rank];
    markPath();
    const ids = pathOf(chosen);
    setText(about, `Step ${step + 1}: “${textOf(ids)}” · log p = ${decimal(chosen.sum)} · ${FATES[chosen.fate]}`);
    const gone = chosen.fate === "left out";
    setText(prune, gone ? "Bring this branch back" : "Leave this branch out");
    go.disabled = gone;
    prune.disabled = false;
  }

  table.addEventListener("click", ({ target }) => {
    const at = locate(target);
    if (at) choose(...at, true);
  });
  table.addEventListener("keydown", (event) => {
    const at = locate(event.target);
    if (!at || event.altKey || event.metaKey || event.ctrlKey) return;
    const [step, rank] = at;
    /** @type {Record<string, [number, number]>} */
    const moves = { ArrowRight: [step + 1, rank], ArrowLeft: [step - 1, rank], ArrowDown: [step, rank + 1], ArrowUp: [step, rank - 1], Home: [0, rank], End: [tree.length - 1, rank] };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (chosen === tree[step][rank]) onContinue(pathOf(chosen));
      else choose(step, rank, true);
    } else if (event.key === "Delete") {
      event.preventDefault();
      onPrune(pathOf(tree[step][rank]));
    } else if (moves[event.key]) {
      event.preventDefault();
      const to = Math.max(0, Math.min(tree.length - 1, moves[event.key][0]));
      choose(to, Math.max(0, Math.min(tree[to].length - 1, moves[event.key][1])), true);
    }
  });

  return {
    el,
    ranking,
    /**
     * @param {Candidate[][]} next the whole tree
     */
    update(next) {
      if (next !== tree) {
        const held = table.contains(document.activeElement);
        const before = chosen ? pathOf(chosen).join() : null;
        tree = next;
        chosen = null;
        current = [0, 0];
        go.disabled = prune.disabled = true;
        setText(prune, "Leave this branch out");
        setText(about, "Press a candidate to see its beginning, to go on from it, or to leave it out.");
        cells = tree.map((column, step) =>
          column.map((node, rank) => {
            const name = nameOf(node.id);
            return h(
              "td",
              {
                role: "gridcell", tabindex: step || rank ? -1 : 0, "data-node": `${step},${rank}`, "data-fate": node.fate,
                "aria-label": `${name}, ${percent(Math.exp(node.logProb))}, sum ${decimal(node.sum)}, ${FATES[node.fate]}`,
                "data-tip": `after “${textOf(pathOf(node).slice(0, -1)) || "the start"}”: ${percent(Math.exp(node.logProb))}, sum of log p ${decimal(node.sum)}`,
              },
              h("span", { class: "ad-tree-text", lang: "en" }, name),
              h("span", { class: "ad-tree-number" }, decimal(node.sum, 1)),
            );
          }),
        );
        const head = h("tr", { role: "row" }, ...tree.map((_, step) => h("th", { role: "columnheader", scope: "col" }, step ? String(step + 1) : "step 1")));
        const ranks = Array.from({ length: Math.max(...tree.map((column) => column.length)) }, (_, rank) => h("tr", { role: "row" }, ...cells.map((column) => column[rank] ?? h("td", { role: "gridcell" }))));
        table.replaceChildren(h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, ...ranks));
        // Who was in the tree stays there: at the same beginning, or else where it begins.
        const step = before === null ? -1 : tree.findIndex((column) => column.some((node) => pathOf(node).join() === before));
        if (step >= 0) choose(step, tree[step].findIndex((node) => pathOf(node).join() === before), held);
        else if (held && tree.length) choose(0, 0, true);
        draw();
      }
    },
    /**
     * The whole texts by score; the best is the translation.
     * @param {readonly Ranked[]} ranked @param {number} alpha of the length penalty that the sums are divided by
     */
    rank(ranked, alpha) {
      while (ranking.children.length > ranked.length) ranking.lastElementChild?.remove();
      ranked.forEach(({ ids, sum, score }, i) => {
        let item = /** @type {HTMLElement | undefined} */ (ranking.children[i]);
        if (!item) {
          const press = h("button", { type: "button", class: "ad-row-button" }, h("span", { class: "ad-row-text", lang: "en" }), h("span", { class: "ad-row-number" }));
          press.addEventListener("click", () => onText(/** @type {any} */ (press).ids));
          ranking.append((item = h("li", {}, press)));
        }
        const press = /** @type {HTMLButtonElement & { ids: number[] }} */ (item.firstElementChild);
        press.ids = ids;
        setText(/** @type {Node} */ (press.firstChild), textOf(ids));
        setText(/** @type {Node} */ (press.lastChild), decimal(score, 3));
        setAttribute(press, "aria-current", i === 0 ? "true" : null);
        setAttribute(press, "data-tip", `log p = ${decimal(sum, 3)}, divided by ${ids.length}^${alpha} (the length and α)`);
      });
    },
  };
}
