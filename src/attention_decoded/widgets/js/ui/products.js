/** The products behind one cell: q, k and q·k component by component, as bars over one another. */

import { decimal } from "../engine/describe.js";
import { h, setAttribute, setText, svg } from "./dom.js";

/** Bars above and below a middle line, in a box of width `values.length` and height 2. */
function bars() {
  const el = svg("svg", { class: "ad-bars", preserveAspectRatio: "none", "aria-hidden": "true" });
  /** @type {SVGRectElement[]} */
  let rects = [];
  return {
    el,
    /** @param {ArrayLike<number>} values @param {number} top the value of a full bar @param {(c: number) => string} tip */
    update(values, top, tip) {
      if (rects.length !== values.length) {
        rects = Array.from(values, (_, c) => svg("rect", { x: c + 0.1, width: 0.8 }));
        el.replaceChildren(svg("line", { x1: 0, x2: values.length, y1: 1, y2: 1 }), ...rects);
        setAttribute(el, "viewBox", `0 0 ${values.length} 2`);
      }
      rects.forEach((rect, c) => {
        const size = top ? Math.min(1, Math.abs(values[c]) / top) : 0;
        setAttribute(rect, "y", (values[c] > 0 ? 1 - size : 1).toFixed(4));
        setAttribute(rect, "height", size.toFixed(4));
        setAttribute(rect, "data-negative", values[c] < 0);
        setAttribute(rect, "data-tip", tip(c));
      });
    },
  };
}

/** @param {ArrayLike<number>} values */
const largest = (values) => Array.from(values).reduce((max, x) => Math.max(max, Math.abs(x)), 0);

/**
 * @typedef {object} CellNumbers
 * @property {Float32Array} q  the query's vector @property {Float32Array} k  the key's vector
 * @property {number} dot @property {number} scale what multiplies the dot product @property {string} scaleText
 * @property {number} temperature @property {number} score @property {number} weight
 * @property {string} closed  why the query may not look; empty if it may
 */

export function productStrip() {
  const [q, k, products] = [bars(), bars(), bars()];
  /** @param {string} name @param {string} text @param {{ el: Element }} strip */
  const band = (name, text, strip) => h("div", { class: "ad-band", "data-band": name }, h("span", {}, text), strip.el);
  const sum = h("strong", { "data-value": "dot" });
  const steps = h("p", { class: "ad-steps" });
  const el = h("div", { class: "ad-products" }, band("q", "q", q), band("k", "k", k), band("qk", "q × k", products), h("p", { class: "ad-steps" }, sum), steps);
  return {
    el,
    /** @param {CellNumbers} cell */
    update(cell) {
      const product = cell.q.map((x, c) => x * cell.k[c]);
      const top = Math.max(largest(cell.q), largest(cell.k));
      const tip = (/** @type {number} */ c) => `component ${c + 1}: ${decimal(cell.q[c])} × ${decimal(cell.k[c])} = ${decimal(product[c])}`;
      q.update(cell.q, top, tip);
      k.update(cell.k, top, tip);
      products.update(product, largest(product), tip);
      setText(sum, `q·k = sum of ${product.length} products = ${decimal(cell.dot)}`);
      const parts = [`× ${cell.scaleText}`];
      if (cell.temperature !== 1) parts.push(`÷ ${decimal(cell.temperature)} (temperature)`);
      parts.push(`= score ${decimal(cell.score)}`);
      steps.replaceChildren(
        h("span", { "data-value": "score" }, parts.join(" ")),
        h("span", { "data-value": "weight" }, cell.closed ? `→ weight 0 (${cell.closed})` : `→ softmax over the row → weight ${decimal(cell.weight, 3)}`),
      );
    },
  };
}
