/** The model view: every head of a stack as a small map, rows layers, columns heads; each a button that opens it large. */

import { h, setAttribute } from "../ui/dom.js";
import { stepIn } from "../ui/grid.js";
import { headNumber, layerNumber, offState, scopeWords, weightsOf } from "./scope.js";
import { onTheme, paletteColour } from "./theme.js";

/** @typedef {import("./scope.js").StackPicture} StackPicture */

/**
 * @typedef {object} ModelPicture
 * @property {import("./scope.js").StackName} name
 * @property {StackPicture} stack
 * @property {number | null} layer  what was open last
 * @property {number | null} head
 * @property {readonly import("./scope.js").Cut[]} cuts
 */

/**
 * The colours of one map's pixels: the weight's colour, as opaque as the weight.
 * @param {Float32Array} weights [query, key] @param {[number, number, number]} colour @param {Uint8ClampedArray} pixels RGBA, written
 */
export function paint(weights, colour, pixels) {
  for (let at = 0; at < weights.length; at++) {
    for (let c = 0; c < 3; c++) pixels[at * 4 + c] = colour[c];
    pixels[at * 4 + 3] = weights[at] * 255;
  }
}

/** @param {{ signal: AbortSignal, onOpen: (layer: number, head: number | null) => void }} handlers  head null: the layer's mean */
export function modelView({ signal, onOpen }) {
  const table = h("table", { class: "ad-heads", role: "grid" });
  const el = h("div", { class: "ad-heads-panel", "data-panel": "model" }, h("div", { class: "ad-heads-scroll" }, table));
  /** @type {{ press: HTMLButtonElement, canvas: HTMLCanvasElement, layer: number, head: number | null }[][]} */
  let grid = [];
  let written = "";
  /** @type {[number, number]} */
  let current = [0, 0];
  /** @type {ModelPicture | null} */
  let picture = null;
  /** What the canvases show. */
  let painted = { layers: /** @type {StackPicture["layers"] | null} */ (null), colour: "" };
  /** The weights' colour; asked for once, because to ask is to have all styles of the page computed. @type {[number, number, number] | null} */
  let colour = null;

  /** @param {number} row @param {number} column */
  function rove(row, column) {
    setAttribute(grid[current[0]][current[1]].press, "tabindex", -1);
    setAttribute(grid[row][column].press, "tabindex", 0);
    current = [row, column];
  }

  /** @param {EventTarget | null} target @returns {[number, number] | null} */
  function locate(target) {
    const node = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-head]")) : null;
    return node?.dataset.head ? /** @type {[number, number]} */ (node.dataset.head.split(",").map(Number)) : null;
  }
  table.addEventListener("click", ({ target }) => {
    const at = locate(target);
    if (!at) return;
    rove(...at);
    const { layer, head } = grid[at[0]][at[1]];
    onOpen(layer, head);
  });
  table.addEventListener("keydown", (event) => {
    const at = locate(event.target);
    if (!at || event.altKey || event.metaKey) return;
    const to = stepIn(event.key, event.ctrlKey, at[0], at[1], grid.length, grid[0].length);
    if (!to) return;
    event.preventDefault();
    const [row, column] = [Math.max(0, to[0]), Math.max(0, to[1])];
    rove(row, column);
    grid[row][column].press.focus();
  });
  onTheme(signal, () => {
    colour = null;
    if (el.isConnected) draw();
  });

  /** @param {StackPicture} stack */
  function build(stack) {
    const heads = Array.from({ length: stack.nHeads }, (_, i) => i);
    const columns = /** @type {(number | null)[]} */ (stack.nHeads > 1 ? [...heads, null] : heads);
    const name = (/** @type {number | null} */ head) => (head === null ? "mean" : String(headNumber(stack, head)));
    grid = stack.layers.map((_, layer) =>
      columns.map((head, column) => {
        const canvas = h("canvas", { width: stack.keys.length, height: stack.queries.length, "aria-hidden": "true" });
        return { press: h("button", { type: "button", class: "ad-head", tabindex: -1, "data-head": `${layer},${column}` }, canvas), canvas, layer, head };
      }),
    );
    table.replaceChildren(
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("td", { role: "gridcell" }, h("span", {}, "head →"), " ", h("span", {}, "layer ↓")), ...columns.map((head) => h("th", { role: "columnheader", scope: "col", "data-mean": head === null }, name(head))))),
      h(
        "tbody",
        { role: "rowgroup" },
        ...grid.map((row, layer) => h("tr", { role: "row" }, h("th", { role: "rowheader", scope: "row" }, String(layerNumber(stack, layer))), ...row.map(({ press, head }) => h("td", { role: "gridcell", "data-mean": head === null }, press)))),
      ),
    );
    table.style.setProperty("--columns", String(columns.length));
    // Very long sentences against short ones would make slivers.
    table.style.setProperty("--ratio", String(Math.max(0.5, Math.min(2, stack.keys.length / stack.queries.length))));
    current = [0, 0];
    painted.layers = null;
    rove(0, 0);
  }

  function draw() {
    if (!picture) return;
    const { name, stack, cuts } = picture;
    const fill = colour ?? paletteColour(el, "weight");
    if (el.isConnected) colour = fill;
    const same = painted.layers === stack.layers && painted.colour === fill.join();
    painted = { layers: stack.layers, colour: fill.join() };
    for (const row of grid) {
      for (const { press, canvas, layer, head } of row) {
        const context = same ? null : canvas.getContext("2d");
        if (context) {
          const image = context.createImageData(stack.keys.length, stack.queries.length);
          paint(weightsOf(stack, layer, head), fill, image.data);
          context.putImageData(image, 0, 0);
        }
        const off = offState(cuts, name, stack, layer, head);
        setAttribute(press, "data-off", off || null);
        const label = `${name}, ${scopeWords(stack, layer, head)}${off ? (off === "whole" ? ", switched off" : ", in part switched off") : ""}`;
        setAttribute(press, "aria-label", label);
        setAttribute(press, "data-tip", label);
        setAttribute(press, "aria-current", picture.layer === layer && picture.head === head ? "true" : null);
      }
    }
  }

  return {
    el,
    /** @param {ModelPicture} next */
    update(next) {
      picture = next;
      const { stack } = next;
      setAttribute(table, "aria-label", `${stack.title}: every head. Rows are layers, columns are heads`);
      const shape = JSON.stringify([next.name, stack.queries.length, stack.keys.length, stack.nHeads, stack.layers.length, stack.layerNumbers, stack.headNumbers]);
      if (shape !== written) {
        written = shape;
        const held = el.contains(document.activeElement);
        build(stack);
        if (held) grid[0][0].press.focus();
      }
      draw();
    },
  };
}
