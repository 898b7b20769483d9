/**
 * The products view: one query against all keys, component by component. q stands above; every key has a row with its
 * k, the products q × k, their sum, and the weight that the softmax makes of it.
 */

import { decimal } from "../engine/describe.js";
import { h, setAttribute, setText, svg } from "../ui/dom.js";
import { cellNumbers, forbidden } from "./scope.js";

/** @typedef {import("./scope.js").Spot} Spot */

/**
 * Bars of a strip as one path: those upwards or those downwards. The strip is `values.length` wide and 2 high, with
 * zero in the middle.
 * @param {ArrayLike<number>} values @param {number} top the size of a full bar @param {1 | -1} sign
 */
export function barPath(values, top, sign) {
  let d = "";
  for (let c = 0; c < values.length; c++) {
    const size = top ? Math.min(1, (values[c] * sign) / top) : 0;
    if (size > 0.004) d += `M${c + 0.1} 1v${(-sign * size).toFixed(3)}h.8V1z`;
  }
  return d;
}

/** @param {string} kind */
function strip(kind) {
  const [up, down, zero] = [svg("path", { "data-sign": "up" }), svg("path", { "data-sign": "down" }), svg("line", { x1: 0, y1: 1, y2: 1 })];
  const el = svg("svg", { class: "ad-strip", "data-kind": kind, preserveAspectRatio: "none", "aria-hidden": "true" }, zero, up, down);
  return {
    el,
    /** @param {Float32Array} values @param {number} top */
    update(values, top) {
      setAttribute(el, "viewBox", `0 0 ${values.length} 2`);
      setAttribute(zero, "x2", values.length);
      setAttribute(up, "d", barPath(values, top, 1));
      setAttribute(down, "d", barPath(values, top, -1));
    },
  };
}

/** @param {readonly Float32Array[]} vectors */
const largest = (vectors) => vectors.reduce((max, vector) => vector.reduce((top, x) => Math.max(top, Math.abs(x)), max), 0);

/** @param {{ onHover: (spot: Spot | null) => void, onPress: (spot: Spot) => void }} handlers */
export function neuronView({ onPress }) {
  const missing = h("p", { class: "ad-look-note" });
  const words = h("div", { class: "ad-neuron-words", role: "group", "aria-label": "query: who looks" });
  const name = h("span", { class: "ad-q" });
  const q = strip("q");
  const rows = h("div", { class: "ad-neuron-rows" });
  const formula = h("p", { class: "ad-look-note" });
  const body = h("div", { class: "ad-neuron-body" }, rows, formula);
  const el = h("div", { class: "ad-neuron", "data-panel": "neuron" }, words, missing, body);
  const head = h(
    "div",
    { class: "ad-neuron-row ad-neuron-top" },
    h("span", { class: "ad-neuron-name" }, name),
    q.el,
    h("span", { class: "ad-neuron-caption ad-w" }, "q × k"),
    h("span", { class: "ad-neuron-caption" }, "q·k"),
    h("span", { class: "ad-neuron-caption" }, "weight"),
  );
  rows.append(head);
  /** @type {{ row: HTMLElement, name: HTMLElement, k: ReturnType<typeof strip>, qk: ReturnType<typeof strip>, dot: HTMLElement, weight: HTMLElement, number: HTMLElement }[]} */
  let lines = [];
  let written = "";

  return {
    el,
    /** @param {{ stack: import("./scope.js").StackPicture, layer: number | null, head: number | null, weights: Float32Array, spot: Spot, closed: (query: number, key: number) => boolean }} picture */
    update({ stack, layer, head, weights, spot, closed }) {
      const { queries, keys } = stack;
      const query = spot.query ?? 0;
      const text = JSON.stringify([queries, keys]);
      if (text !== written) {
        written = text;
        words.replaceChildren(
          ...queries.map(({ text, lang }, i) => {
            const press = h("button", { type: "button", class: "ad-lines-word", "data-query": i }, h("span", { class: "ad-lines-text", lang: lang || null }, text || "␣"));
            press.addEventListener("click", () => onPress({ query: i, key: null }));
            return press;
          }),
        );
        for (const { row } of lines) row.remove();
        lines = keys.map(({ text, lang, sub }) => {
          const [k, qk] = [strip("k"), strip("qk")];
          const name = h("span", { class: "ad-k", lang: lang || null, "data-tip": sub ?? null }, text || "␣");
          const [dot, number, weight] = [h("span", { class: "ad-neuron-number" }), h("span"), h("span", { class: "ad-neuron-weight" })];
          weight.append(h("span", { class: "ad-look-bar", "aria-hidden": "true" }), number);
          const row = h("div", { class: "ad-neuron-row" }, h("span", { class: "ad-neuron-name" }, name), k.el, qk.el, dot, weight);
          return { row, name, k, qk, dot, weight, number };
        });
        rows.append(...lines.map(({ row }) => row));
      }
      for (const button of words.children) setAttribute(button, "aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.query === String(query)));
      const one = layer !== null && head !== null;
      const cells = one ? keys.map((_, key) => cellNumbers(stack, layer, head, query, key)) : [];
      const known = one && cells[0] !== null;
      body.hidden = !known;
      missing.hidden = known;
      setText(missing, one ? "The queries and keys of this head are not known: only its weights were given." : "A mean of heads has no queries and keys of its own. Choose one layer and one head.");
      if (!known) return;
      const numbers = /** @type {NonNullable<typeof cells[number]>[]} */ (cells);
      setText(name, queries[query].text);
      setAttribute(name, "lang", queries[query].lang || null);
      const top = largest([numbers[0].q, ...numbers.map(({ k }) => k)]);
      const products = numbers.map(({ q, k }) => q.map((x, c) => x * k[c]));
      const most = largest(products);
      q.update(numbers[0].q, top);
      lines.forEach(({ row, k, qk, dot, weight, number }, key) => {
        const value = weights[query * keys.length + key];
        k.update(numbers[key].k, top);
        qk.update(products[key], most);
        setText(dot, decimal(numbers[key].dot, Math.abs(numbers[key].dot) < 99.5 ? 1 : 0));
        weight.style.setProperty("--level", value.toFixed(3));
        const shut = closed(query, key) || forbidden(stack, layer, head, query, key);
        setText(number, shut ? "–" : decimal(value));
        setAttribute(row, "data-closed", shut);
        setAttribute(row, "data-in-focus", spot.key === key);
      });
      const { dHead } = numbers[0];
      setText(formula, `Blue: the query’s vector q. Orange: each key’s k. Violet and grey: their products, above and below zero. weight = softmax over the row of q·k × 1/√${dHead}${numbers.some(({ bias }) => bias) ? " + a number for the distance" : ""}.`);
    },
  };
}
