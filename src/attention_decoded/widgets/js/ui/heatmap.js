/**
 * A heatmap that can be read and changed: row = query (who looks), column = key (who is looked at).
 *
 * It is one grid for the keyboard: Tab enters it, arrow keys move, Home/End jump in the row (with Ctrl:
 * to the corners), Enter or Space cuts and restores. With a finger the first tap shows a cell, the next cuts.
 */

import { decimal } from "../engine/describe.js";
import { h, setAttribute, setText } from "./dom.js";
import { roving } from "./grid.js";

/**
 * @typedef {object} MapPicture
 * @property {string[]} tokens
 * @property {string[]} pinyin
 * @property {string[]} tips          a longer description of each token
 * @property {Float32Array} values    [n, n] what is coloured
 * @property {boolean} signed         scores can be negative; weights cannot
 * @property {Float32Array} weights   [n, n] for the sums of the rows
 * @property {Uint8Array | null} mask 0 where a query may not look, for whatever reason
 * @property {Uint8Array} cuts        1 where the reader cut
 * @property {[number, number]} selected
 */

/** @typedef {{ kind: "cell", query: number, key: number } | { kind: "row", query: number } | { kind: "column", key: number }} Place */

/**
 * The text of a cell: as short as it can be without misleading.
 * @param {number} value @param {boolean} signed
 */
export function cellText(value, signed) {
  if (signed) return decimal(value, Math.abs(value) < 9.95 ? 1 : 0);
  if (value < 0.005) return "";
  return value > 0.995 ? "1" : value.toFixed(2).slice(1);
}

/** @param {{ onShow: (place: Place, pin: boolean) => void, onToggle: (place: Place) => void, onLeave: () => void }} handlers */
export function heatmap({ onShow, onToggle, onLeave }) {
  const table = h("table", { class: "ad-map", role: "grid", "aria-label": "Attention: each row is a query, each column a key" });
  const box = h("div", { class: "ad-map-scroll" }, table);
  /** @type {HTMLElement[][]} [row + 1][column + 1]; [0] holds the column labels */
  let grid = [];
  /** @type {HTMLElement[]} */
  let sums = [];
  let names = "";
  /** @type {[number, number]} */
  let marked = [-2, -2];
  /** The cell that was on show before a finger came down. @type {string | null} */
  let touched = null;

  /** @param {number} row @param {number} column @returns {Place} */
  const place = (row, column) =>
    row < 0 ? { kind: "column", key: column } : column < 0 ? { kind: "row", query: row } : { kind: "cell", query: row, key: column };

  table.addEventListener("pointerdown", (event) => {
    touched = event.pointerType === "touch" ? marked.join() : null;
  });
  const tab = roving(table, {
    onOver: (at) => at && onShow(place(...at), false),
    onLeave,
    onReach: (at) => onShow(place(...at), true),
    onPress(at, byKey) {
      if (!byKey && touched !== null && touched !== at.join() && at[0] >= 0 && at[1] >= 0) onShow(place(...at), true);
      else onToggle(place(...at));
      touched = null;
    },
  });

  /** @param {MapPicture} picture */
  function build({ tokens, pinyin, tips, selected }) {
    const n = tokens.length;
    const label = (/** @type {string} */ role, /** @type {number} */ row, /** @type {number} */ column, /** @type {number} */ i) =>
      h(
        "th",
        { role, scope: role === "rowheader" ? "row" : "col", tabindex: -1, "data-row": row, "data-column": column, "data-tip": tips[i] },
        h("span", { class: "ad-map-token", lang: "zh-Hans" }, tokens[i]),
        role === "rowheader" && pinyin[i] ? h("span", { class: "ad-map-pinyin" }, pinyin[i]) : null,
      );
    const corner = h("td", { class: "ad-map-corner", role: "gridcell" }, h("span", { class: "ad-unseen" }, "query \\ key"));
    const top = tokens.map((_, j) => label("columnheader", -1, j, j));
    const head = h("tr", { role: "row" }, corner, ...top, h("th", { role: "columnheader", scope: "col", class: "ad-map-sum", "data-tip": "Sum of the row's weights" }, "Σ"));
    grid = [[corner, ...top]];
    sums = [];
    const rows = tokens.map((_, i) => {
      const cells = tokens.map((_, j) =>
        h("td", { role: "gridcell", tabindex: -1, "data-row": i, "data-column": j, "data-cell": `${i},${j}` }, h("span")),
      );
      const side = label("rowheader", i, -1, i);
      grid.push([side, ...cells]);
      sums.push(h("td", { role: "gridcell", class: "ad-map-sum" }));
      return h("tr", { role: "row" }, side, ...cells, sums[i]);
    });
    table.replaceChildren(h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, ...rows));
    table.style.setProperty("--n", String(n));
    tab.set(grid, selected);
    marked = [-2, -2];
  }

  /** @param {[number, number]} selected */
  function mark(selected) {
    if (selected.join() === marked.join()) return;
    for (const [[row, column], on] of /** @type {const} */ ([[marked, false], [selected, true]])) {
      if (row < -1) continue;
      for (const cell of grid[row + 1]) setAttribute(cell, "data-in-row", on);
      for (const line of grid) setAttribute(line[column + 1], "data-in-column", on);
      setAttribute(grid[row + 1][column + 1], "data-selected", on);
      setAttribute(grid[row + 1][column + 1], "aria-selected", on ? "true" : null);
    }
    marked = selected;
  }

  return {
    el: box,
    /** @param {MapPicture} picture */
    update(picture) {
      const { tokens, values, signed, weights, mask, cuts, selected } = picture;
      const n = tokens.length;
      setAttribute(table, "data-signed", signed);
      const key = tokens.join("\n");
      if (key !== names) {
        build(picture);
        names = key;
      }
      let top = 0;
      if (signed) for (let at = 0; at < n * n; at++) top = Math.max(top, Math.abs(values[at]));
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let j = 0; j < n; j++) {
          const at = i * n + j;
          const value = values[at];
          const cell = grid[i + 1][j + 1];
          const open = !mask || mask[at] === 1;
          sum += weights[at];
          const strength = signed ? (top ? Math.abs(value) / top : 0) : value;
          const text = cuts[at] ? "✕" : open ? cellText(value, signed) : "";
          setText(/** @type {Node} */ (cell.firstChild), text);
          const level = (open || signed ? strength : 0).toFixed(3);
          if (cell.dataset.level !== level) {
            cell.dataset.level = level;
            cell.style.setProperty("--level", level);
            setAttribute(cell, "data-strong", strength > 0.6 && open);
          }
          setAttribute(cell, "data-negative", value < 0);
          setAttribute(cell, "data-state", cuts[at] ? "cut" : open ? null : "closed");
          const state = cuts[at] ? "cut" : open ? "" : "not allowed by the causal mask";
          setAttribute(cell, "aria-label", `${tokens[i]} looks at ${tokens[j]}: ${state || (signed ? cellText(value, true) : decimal(value))}`);
        }
        setText(sums[i], decimal(sum));
        setAttribute(sums[i], "data-zero", sum === 0);
        const all = (/** @type {(j: number) => number} */ at) => tokens.every((_, j) => cuts[at(j)]);
        setAttribute(grid[i + 1][0], "aria-label", `Row of the query ${tokens[i]}: press to ${all((j) => i * n + j) ? "restore" : "cut"} all its looks`);
        setAttribute(grid[0][i + 1], "aria-label", `Column of the key ${tokens[i]}: press to ${all((j) => j * n + i) ? "restore" : "cut"} all looks at it`);
      }
      mark(selected);
    },
  };
}
