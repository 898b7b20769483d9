/** A small chart in SVG: a frame with ticks, bars, areas and lines. Positions in, shapes out. */

import { h, setAttribute, svg } from "./dom.js";

/**
 * @param {{ width?: number, height?: number, x: [number, number], y: [number, number], xTicks: [number, string][],
 *   yTicks?: [number, string][], xLabel: string, label: string }} frame  `label` says in words what there is to see
 */
export function frame({ width = 300, height = 170, x, y, xTicks, yTicks = [], xLabel, label }) {
  const [left, right, top, bottom] = [yTicks.length ? 34 : 8, 8, 8, 34];
  const px = (/** @type {number} */ value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
  const py = (/** @type {number} */ value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
  const marks = svg("g");
  const node = svg(
    "svg",
    { class: "ad-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    ...xTicks.flatMap(([value, text]) => [
      svg("line", { class: "ad-grid", x1: px(value), x2: px(value), y1: top, y2: height - bottom }),
      svg("text", { x: px(value), y: height - bottom + 13, "text-anchor": "middle" }, text),
    ]),
    ...yTicks.flatMap(([value, text]) => [
      svg("line", { class: "ad-grid", x1: left, x2: width - right, y1: py(value), y2: py(value) }),
      svg("text", { x: left - 4, y: py(value) + 4, "text-anchor": "end" }, text),
    ]),
    svg("text", { class: "ad-chart-label", x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, xLabel),
    marks,
  );
  return { node, marks, px, py };
}

/** @param {[number, number][]} points */
export const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** A titled panel that holds one chart. @param {string} title */
export function panel(title) {
  const holder = h("div", { class: "ad-chart-holder" });
  const text = h("p", { class: "ad-chart-text" });
  return {
    el: h("section", { class: "ad-chart-panel", "data-panel": title }, h("h4", {}, title), holder, text),
    text,
    /** @param {SVGElement} chart */
    show(chart) {
      setAttribute(chart, "focusable", "false");
      holder.replaceChildren(chart);
    },
  };
}
