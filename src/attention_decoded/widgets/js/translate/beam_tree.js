/**
 * The tree of a beam search: a row of candidates for every step, each with its fate. One grid for the keyboard:
 * arrow keys move, Enter goes on from a candidate, Delete leaves its branch out or brings it back.
 */

import { decimal, percent } from "../engine/describe.js";
import { branch } from "../engine/beam.js";
import { button, h, setAttribute, setText } from "../ui/dom.js";

/** @typedef {import("../engine/beam.js").Candidate} Candidate */
/** @typedef {{ ids: number[], sum: number, score: number, finished: boolean }} Ranked */

/** The ids from the root to a candidate. @param {Candidate} candidate */
export const pathOf = (candidate) => branch(candidate).map(({ id }) => id);

const FATES = { "goes on": "kept", found: "found: a whole text ends here", dropped: "dropped", "left out": "left out" };

/**
 * @param {{ onContinue: (path: number[]) => void, onPrune: (path: number[]) => void, onText: (ids: number[]) => void,
 *   nameOf: (id: number) => string, textOf: (ids: readonly number[]) => string }} handlers
 */
export function beamTree({ onContinue, onPrune, onText, nameOf, textOf }) {
  const table = h("table", { class: "ad-tree", role: "grid", "aria-label": "Beam search, step by step: each row holds one step's candidates, likeliest first" });
  const about = h("p", { class: "ad-tree-about" });
  const go = button("Go on from here", () => chosen && onContinue(pathOf(chosen)), { "data-control": "tree-continue" });
  const prune = button("Leave this branch out", () => chosen && onPrune(pathOf(chosen)), { "data-control": "tree-prune" });
  const ranking = h("ol", { class: "ad-ranking", "aria-label": "Whole texts that were found, best score first" });
  const el = h(
    "details",
    { class: "ad-tree-panel", "data-panel": "tree" },
    h("summary", {}, "The search, step by step"),
    h("div", { class: "ad-tree-scroll" }, table),
    h("div", { class: "ad-tree-detail" }, about, h("div", { class: "ad-actions" }, go, prune)),
  );
  /** @type {Candidate[][]} */
  let tree = [];
  /** @type {HTMLElement[][]} */
  let cells = [];
  /** @type {Candidate | null} */
  let chosen = null;
  let current = [0, 0];

  /** @param {EventTarget | null} target @returns {[number, number] | null} */
  function locate(target) {
    const cell = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-node]")) : null;
    if (!cell?.dataset.node) return null;
    const [row, column] = cell.dataset.node.split(",").map(Number);
    return [row, column];
  }

  /** @param {number} row @param {number} column @param {boolean} focus */
  function choose(row, column, focus) {
    setAttribute(cells[current[0]]?.[current[1]], "tabindex", -1);
    current = [row, column];
    const cell = cells[row][column];
    setAttribute(cell, "tabindex", 0);
    if (focus) cell.focus();
    chosen = tree[row][column];
    const path = new Set(branch(chosen));
    tree.forEach((line, r) => line.forEach((node, c) => setAttribute(cells[r][c], "data-path", path.has(node))));
    tree.forEach((line, r) => line.forEach((node, c) => setAttribute(cells[r][c], "aria-selected", node === chosen ? "true" : null)));
    const ids = pathOf(chosen);
    setText(about, `Step ${row + 1}: “${textOf(ids)}” · log p = ${decimal(chosen.sum)} · ${FATES[chosen.fate]}`);
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
    const [row, column] = at;
    /** @type {Record<string, [number, number]>} */
    const moves = { ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1], ArrowDown: [row + 1, column], ArrowUp: [row - 1, column], Home: [row, 0], End: [row, tree[row].length - 1] };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (chosen === tree[row][column]) onContinue(pathOf(chosen));
      else choose(row, column, true);
    } else if (event.key === "Delete") {
      event.preventDefault();
      onPrune(pathOf(tree[row][column]));
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
        cells = tree.map((line, row) =>
          line.map((node, column) => {
            const name = nameOf(node.id);
            return h(
              "td",
              {
                role: "gridcell", tabindex: row || column ? -1 : 0, "data-node": `${row},${column}`, "data-fate": node.fate, style: `--p:${Math.exp(node.logProb).toFixed(4)}`,
                "aria-label": `${name}, ${percent(Math.exp(node.logProb))}, sum ${decimal(node.sum)}, ${FATES[node.fate]}`,
                "data-tip": `after “${textOf(pathOf(node).slice(0, -1)) || "the start"}”: ${percent(Math.exp(node.logProb))}, sum of log p ${decimal(node.sum)}`,
              },
              h("span", { class: "ad-tree-text", lang: "en" }, name),
              h("span", { class: "ad-tree-number" }, decimal(node.sum, 1)),
            );
          }),
        );
        table.replaceChildren(h("tbody", { role: "rowgroup" }, ...cells.map((line, row) => h("tr", { role: "row" }, h("th", { role: "rowheader", scope: "row" }, String(row + 1)), ...line))));
        // Who was in the tree stays there: at the same beginning, or else where it begins.
        const row = before === null ? -1 : tree.findIndex((line) => line.some((node) => pathOf(node).join() === before));
        if (row >= 0) choose(row, tree[row].findIndex((node) => pathOf(node).join() === before), held);
        else if (held && tree.length) choose(0, 0, true);
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
