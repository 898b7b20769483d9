/** What a query takes home: the weighted average of the values, drawn as the sum that it is. */

import { decimal } from "../engine/describe.js";
import { topIndices } from "../engine/ops.js";
import { h, setText } from "./dom.js";

const SHOWN = 5;

/**
 * A vector as a row of coloured squares: the value colour for positive numbers, grey for negative ones.
 * One gradient instead of dozens of elements, in colours that follow the theme by themselves.
 * @param {ArrayLike<number>} vector @param {number} top the size of a full colour
 */
export function stripGradient(vector, top) {
  const n = vector.length;
  const stops = Array.from(vector, (x, c) => {
    const share = top ? Math.round(Math.min(1, Math.abs(x) / top) * 100) : 0;
    const colour = `color-mix(in srgb,var(--ad-${x < 0 ? "negative" : "value"}) ${share}%,transparent)`;
    return `${colour} ${((c / n) * 100).toFixed(2)}% ${(((c + 1) / n) * 100).toFixed(2)}%`;
  });
  return `linear-gradient(90deg,${stops.join()})`;
}

/**
 * The rows of the picture: the strongest contributions weight × value, the rest as one row, and their sum.
 * @param {Float32Array} weights [key] @param {Float32Array} values [key, d] @param {number} [shown]
 * @returns {{ rows: { key: number, weight: number, part: Float32Array }[], rest: { count: number, weight: number, part: Float32Array } | null }}
 */
export function contributions(weights, values, shown = SHOWN) {
  const n = weights.length;
  const d = values.length / n;
  const part = (/** @type {number} */ key) => values.slice(key * d, (key + 1) * d).map((x) => x * weights[key]);
  // Two rows or more are gathered: a single one takes no more room as itself.
  const order = topIndices(weights, n <= shown + 1 ? n : shown);
  const rows = order.map((key) => ({ key, weight: weights[key], part: part(key) }));
  if (order.length === n) return { rows, rest: null };
  const rest = { count: n - order.length, weight: 0, part: new Float32Array(d) };
  for (let key = 0; key < n; key++) {
    if (order.includes(key)) continue;
    rest.weight += weights[key];
    part(key).forEach((x, c) => (rest.part[c] += x));
  }
  return { rows, rest };
}

export function mixture() {
  const list = h("div", { class: "ad-mixture-rows" });
  const title = h("h4");
  const el = h("div", { class: "ad-mixture", "data-panel": "mixture" }, title, list);
  /** @type {{ row: HTMLElement, name: HTMLElement, bar: HTMLElement, number: HTMLElement, strip: HTMLElement }[]} */
  const pool = [];

  /** @param {number} i */
  function line(i) {
    if (!pool[i]) {
      const [name, bar, number, strip] = [h("span", { class: "ad-mixture-name" }), h("span", { class: "ad-mixture-bar" }), h("span", { class: "ad-mixture-number" }), h("span", { class: "ad-mixture-strip" })];
      pool[i] = { row: h("div", { class: "ad-mixture-row" }, name, h("span", { class: "ad-mixture-weight" }, bar), number, strip), name, bar, number, strip };
      list.append(pool[i].row);
    }
    pool[i].row.hidden = false;
    return pool[i];
  }

  return {
    el,
    /** @param {{ query: string, tokens: string[], weights: Float32Array, values: Float32Array, output: Float32Array }} row */
    update({ query, tokens, weights, values, output }) {
      setText(title, `What ${query} takes home: Σ weight × value (a square per entry; green positive, grey negative)`);
      const { rows, rest } = contributions(weights, values);
      const parts = [...rows.map(({ part }) => part), ...(rest ? [rest.part] : []), output];
      const top = Math.max(...parts.map((part) => part.reduce((max, x) => Math.max(max, Math.abs(x)), 0)));
      const lines = [
        ...rows.map(({ key, weight, part }) => ({ name: tokens[key], weight, part, sum: false })),
        ...(rest ? [{ name: `${rest.count} others`, weight: rest.weight, part: rest.part, sum: false }] : []),
        { name: "sum", weight: rows.reduce((total, { weight }) => total + weight, rest?.weight ?? 0), part: output, sum: true },
      ];
      lines.forEach(({ name, weight, part, sum }, i) => {
        const nodes = line(i);
        setText(nodes.name, name);
        setText(nodes.number, decimal(weight));
        nodes.bar.style.width = sum ? "0" : `${(weight * 100).toFixed(1)}%`;
        nodes.strip.style.background = stripGradient(part, top);
        nodes.row.toggleAttribute("data-sum", sum);
      });
      for (let i = lines.length; i < pool.length; i++) pool[i].row.hidden = true;
    },
  };
}
