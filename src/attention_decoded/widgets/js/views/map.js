/**
 * A heatmap with any number of rows and columns: row = query (who looks), column = key (who is looked at).
 *
 * It is one grid for the keyboard: Tab enters it, arrow keys move, Home/End jump in the row (with Ctrl: to the
 * corners), Enter or Space presses. With a finger the first tap shows a cell, the next presses it.
 */

import { decimal } from "../engine/describe.js";
import { h, setAttribute, setText } from "../ui/dom.js";
import { roving } from "../ui/grid.js";
import { cellText } from "../ui/heatmap.js";
import { letsGo } from "./scope.js";

/** @typedef {import("./scope.js").Label} Label */
/** @typedef {import("./scope.js").Spot} Spot */

/**
 * @typedef {object} MapPicture
 * @property {string} label          what is shown, in words
 * @property {Label[]} queries
 * @property {Label[]} keys
 * @property {Float32Array} weights  [query, key]; colour runs from 0 to 1, always
 * @property {Spot | null} spot      what is in focus: a cell, a row or a column
 * @property {(query: number, key: number) => "whole" | "part" | ""} cut
 * @property {(query: number, key: number) => boolean} closed  whether the query may not look there at all
 */

/** How wide a label is, in half-width characters. @param {string} text */
export function textWidth(text) {
  let width = 0;
  for (const character of text) width += /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60\p{Extended_Pictographic}]/u.test(character) ? 2 : 1;
  return width;
}

/**
 * Which colour of text can be read on a cell (views.css): null for the usual one, and three that change from dark to
 * light and back at other weights in the light than in the dark.
 * @param {number} weight
 */
export const band = (weight) => (weight < 0.5 ? null : weight < 0.63 ? 1 : weight < 0.745 ? 2 : 3);

const UPRIGHT = /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}/u;

/**
 * @param {{ signal: AbortSignal, onHover: (spot: Spot | null) => void, onPress: (spot: Spot, touch: boolean) => void }} handlers
 *   `onPress` of a cell, a row's label (key null) or a column's (query null)
 */
export function mapView({ signal, onHover, onPress }) {
  const table = h("table", { class: "ad-heat", role: "grid" });
  const box = h("div", { class: "ad-heat-scroll" }, table);
  const el = h("div", { class: "ad-heat-panel", "data-panel": "map" }, box);
  /** @type {HTMLElement[][]} [row + 1][column + 1]; [0] holds the column labels */
  let grid = [];
  /** @type {{ node: HTMLElement, text: Text, look: string }[][]} [row][column], and what each shows */
  let cells = [];
  /** @type {HTMLElement[]} */
  let sums = [];
  let names = { queries: /** @type {string[]} */ ([]), keys: /** @type {string[]} */ ([]) };
  let written = "";
  /** @type {Spot | null} */
  let marked = null;
  let touch = false;

  // The room for cells, told to the style sheet: a container query would cost a third of every repaint.
  // Out of sight it has none; the last one is kept, for to learn it anew would lay the whole page out twice.
  let room = "";
  const watch = new ResizeObserver(([{ contentRect }]) => {
    const width = `${contentRect.width.toFixed(0)}px`;
    if (width !== room && contentRect.width) table.style.setProperty("--room", (room = width));
  });
  watch.observe(box);
  signal.addEventListener("abort", () => watch.disconnect());

  /** @param {number} row @param {number} column @returns {Spot} */
  const spotOf = (row, column) => ({ query: row < 0 ? null : row, key: column < 0 ? null : column });

  table.addEventListener("pointerdown", (event) => (touch = event.pointerType === "touch"));
  const tab = roving(table, {
    onOver: (at) => onHover(at && spotOf(...at)),
    onLeave: () => onHover(null),
    onReach: (at) => onHover(spotOf(...at)),
    onPress(at, byKey) {
      onPress(spotOf(...at), touch && !byKey);
      touch = false;
    },
  });
  table.addEventListener("focusout", (event) => letsGo(event) && onHover(null));

  /** @param {MapPicture} picture */
  function build({ queries, keys }) {
    const label = (/** @type {Label} */ one, /** @type {"rowheader" | "columnheader"} */ role, /** @type {number} */ row, /** @type {number} */ column) =>
      h(
        "th",
        { role, scope: role === "rowheader" ? "row" : "col", tabindex: -1, "data-row": row, "data-column": column, "data-tip": one.sub ? `${one.text} ${one.sub}` : textWidth(one.text) > 11 ? one.text : null },
        h("span", { class: "ad-heat-token", lang: one.lang || null, "data-set": textWidth(one.text) <= 2 ? "flat" : UPRIGHT.test(one.text) ? "upright" : "turned" }, one.text || "␣"),
        role === "rowheader" && one.sub ? h("span", { class: "ad-heat-sub" }, one.sub) : null,
      );
    // Another text, other rows: who stood in the old map will stand at the same place in the new one, or near it.
    const held = table.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset : null;
    const at = held?.row === undefined ? null : [Number(held.row), Number(held.column)];
    const corner = h("td", { class: "ad-heat-corner", role: "gridcell" }, h("span", { class: "ad-k" }, "key →"), " ", h("span", { class: "ad-q" }, "query ↓"));
    const top = keys.map((key, j) => label(key, "columnheader", -1, j));
    grid = [[corner, ...top]];
    cells = [];
    sums = [];
    names = { queries: queries.map((one) => one.name ?? one.text), keys: keys.map((one) => one.name ?? one.text) };
    const rows = queries.map((query, i) => {
      const line = keys.map((_, j) => {
        const text = document.createTextNode("");
        return { node: h("td", { role: "gridcell", tabindex: -1, "data-row": i, "data-column": j, "data-cell": `${i},${j}` }, text), text, look: "" };
      });
      const side = label(query, "rowheader", i, -1);
      cells.push(line);
      grid.push([side, ...line.map(({ node }) => node)]);
      sums.push(h("td", { role: "gridcell", class: "ad-heat-sum" }));
      return h("tr", { role: "row" }, ...grid[i + 1], sums[i]);
    });
    const sum = h("th", { role: "columnheader", scope: "col", class: "ad-heat-sum", "data-tip": "Sum of the row’s weights" }, "Σ");
    table.replaceChildren(h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, corner, ...top, sum)), h("tbody", { role: "rowgroup" }, ...rows));
    table.style.setProperty("--n", String(keys.length));
    table.style.setProperty("--units", String(Math.max(8, ...queries.map(({ text }) => textWidth(text)))));
    marked = null;
    if (!at) return tab.set(grid, [0, 0]);
    const place = /** @type {[number, number]} */ ([Math.min(at[0], queries.length - 1), Math.min(at[1], keys.length - 1)]);
    tab.set(grid, place);
    grid[place[0] + 1][place[1] + 1].focus({ preventScroll: true });
  }

  /** @param {Spot | null} spot */
  function mark(spot) {
    if (spot?.query === marked?.query && spot?.key === marked?.key) return;
    for (const [at, on] of /** @type {[Spot | null, boolean][]} */ ([[marked, false], [spot, true]])) {
      if (!at) continue;
      if (at.query !== null) for (const cell of grid[at.query + 1]) setAttribute(cell, "data-in-row", on);
      if (at.key !== null) for (const line of grid) setAttribute(line[at.key + 1], "data-in-column", on);
      if (at.query === null || at.key === null) continue;
      setAttribute(grid[at.query + 1][at.key + 1], "data-selected", on);
      setAttribute(grid[at.query + 1][at.key + 1], "aria-selected", on ? "true" : null);
    }
    marked = spot;
  }

  return {
    el,
    /** @param {MapPicture} picture */
    update(picture) {
      const { label, queries, keys, weights, spot, cut, closed } = picture;
      setAttribute(table, "aria-label", `${label}. Each row is a query, each column a key`);
      const text = JSON.stringify([queries, keys]);
      if (text !== written) {
        written = text;
        build(picture);
      }
      for (let i = 0; i < queries.length; i++) {
        let sum = 0;
        for (let j = 0; j < keys.length; j++) {
          const value = weights[i * keys.length + j];
          const state = cut(i, j) === "whole" ? "cut" : closed(i, j) ? "closed" : cut(i, j) ? "part" : null;
          sum += value;
          const look = `${value.toFixed(3)} ${state}`;
          const cell = cells[i][j];
          if (cell.look === look) continue; // hundreds of cells, of which few change while the pointer moves
          cell.look = look;
          cell.text.data = state === "cut" ? "✕" : state === "closed" ? "" : cellText(value, false);
          cell.node.style.setProperty("--level", value.toFixed(3));
          setAttribute(cell.node, "data-band", band(value));
          setAttribute(cell.node, "data-state", state);
          const note = state === "cut" ? "cut" : state === "closed" ? "may not look there, it comes later" : `${decimal(value)}${state === "part" ? ", cut in some heads" : ""}`;
          cell.node.setAttribute("aria-label", `${names.queries[i]} looks at ${names.keys[j]}: ${note}`);
        }
        setText(sums[i], decimal(sum));
        setAttribute(sums[i], "data-zero", sum < 0.005);
      }
      mark(spot);
    },
  };
}
