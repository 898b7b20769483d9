/**
 * Why √d: draw random queries and keys, and watch the softmax saturate as d grows, unless the scores are scaled.
 *
 * The Python class is `attention_decoded.widgets.ScaleExplorer`.
 */

import "./scale_explorer.css";
import { decimal } from "./engine/describe.js";
import {
  axisEdge, dotProducts, drawSample, entropy, histogram, KEYS, largestGradient, medianGradient, normalDensity,
  rowWeights, scaleOf, standardDeviation, WIDEST,
} from "./lab/saturation.js";
import { frame, panel, path } from "./ui/chart.js";
import { segmented, sliderRow } from "./ui/controls.js";
import { button, h, keepKeys, setText, svg, widgetRoot } from "./ui/dom.js";
import { liveRegion } from "./ui/live.js";
import { tooltips } from "./ui/tooltip.js";

/** @typedef {import("./lab/saturation.js").Mode} Mode */
/** @typedef {{ get(name: string): any, set(name: string, value: any): void, save_changes(): void, on(names: string, f: () => void): any, off(names: string, f: () => void): any }} Model */

const BINS = 48;
const WIDTHS = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const START = { d_head: 64, mode: "none", factor: 0.5, seed: 1 };

/** A number that may be tiny. @param {number} x */
const small = (x) => (x === 0 || x >= 0.001 ? decimal(x, 3) : x.toExponential(0).replace("-", "−"));

/** @param {{ model: Model, el: HTMLElement, signal?: AbortSignal }} props */
function render({ model, el, signal }) {
  const gone = new AbortController();
  signal?.addEventListener("abort", () => gone.abort(), { once: true });
  const root = widgetRoot("scale-explorer", "ad-scale", "Scale explorer");
  keepKeys(root);
  const live = liveRegion(gone.signal);
  let seed = NaN;
  let sample = drawSample(1);
  /** @type {Map<number, Float32Array>} */
  let dots = new Map();

  /** @param {Record<string, unknown>} traits @param {string} sentence */
  const write = (traits, sentence) => {
    for (const [name, value] of Object.entries(traits)) model.set(name, value);
    model.save_changes();
    live.say(sentence);
  };
  const width = sliderRow({
    name: "d_head", label: "Width d of queries and keys", min: 0, max: 8, step: 0.25,
    toPosition: Math.log2,
    toValue: (position) => Math.round(2 ** position),
    describe: String,
    onInput: (d) => write({ d_head: d }, `Width ${d}.`),
  });
  const mode = segmented({
    name: "mode", label: "Scores are q·k times", onChoose: (value) => write({ mode: value }, "The scale changed."),
    options: [
      { value: "none", text: "1" },
      { value: "root", text: "1/√d" },
      { value: "custom", text: "my own" },
    ],
  });
  const factor = sliderRow({
    name: "factor", label: "My own scale", min: -6, max: 2, step: 0.25,
    toPosition: Math.log2,
    toValue: (position) => 2 ** position,
    describe: (value) => decimal(value, 3),
    onInput: (value) => write({ factor: value, mode: "custom" }, `Scale ${value}.`),
  });
  const again = button("Draw again", () => write({ seed: model.get("seed") + 1 }, "New random vectors."), { "data-control": "again" });
  const reset = button("Reset", () => write(START, "As at the start."), { "data-control": "reset" });
  const scores = panel("Scores");
  const row = panel("One query's weights");
  const gradient = panel("Gradient that is left");
  root.append(
    h("div", { class: "ad-changes" }, width.el, mode.el, factor.el, h("div", { class: "ad-actions" }, again, reset)),
    h("div", { class: "ad-charts" }, scores.el, row.el, gradient.el),
    live.el,
  );
  el.append(root);
  tooltips(root, gone.signal);

  /** @param {number} d */
  function dotsOf(d) {
    let found = dots.get(d);
    if (!found) dots.set(d, (found = dotProducts(sample, d)));
    return found;
  }

  function draw() {
    const started = performance.now();
    if (model.get("seed") !== seed) {
      seed = model.get("seed");
      sample = drawSample(seed);
      dots = new Map();
    }
    const d = Math.min(WIDEST, Math.max(1, model.get("d_head")));
    const chosen = /** @type {Mode} */ (model.get("mode"));
    const scale = scaleOf(chosen, model.get("factor"), d);
    const scaled = dotsOf(d).map((dot) => dot * scale);
    width.set(d);
    mode.set(chosen);
    factor.set(model.get("factor"));

    drawScores(scaled, Math.sqrt(d) * scale);
    drawRow(rowWeights(dotsOf(d), 0, scale));
    drawGradient(d, scale);
    root.dataset.scale = scale.toFixed(4);
    root.dataset.status = "ready";
    root.dataset.updateMs = (performance.now() - started).toFixed(1);
  }

  /** @param {Float32Array} scaled @param {number} theory the deviation that theory expects */
  function drawScores(scaled, theory) {
    const edge = axisEdge(theory);
    const density = histogram(scaled, edge, BINS);
    const top = 1.15 * Math.max(normalDensity(0, theory), ...density);
    const measured = standardDeviation(scaled);
    const { node, marks, px, py } = frame({
      x: [-edge, edge], y: [0, top], xLabel: "score",
      xTicks: [-edge, -edge / 2, 0, edge / 2, edge].map((value) => [value, decimal(value, Number.isInteger(value) ? 0 : 1)]),
      label: `Histogram of ${scaled.length} scores: deviation ${decimal(measured)}, in theory ${decimal(theory)}`,
    });
    const step = (2 * edge) / BINS;
    marks.append(
      svg("rect", { class: "ad-gentle", x: px(-1), width: px(1) - px(-1), y: py(top), height: py(0) - py(top) }),
      ...Array.from(density, (value, i) =>
        svg("rect", { class: "ad-bar", x: px(-edge + i * step) + 0.4, width: px(step) - px(0) - 0.8, y: py(value), height: py(0) - py(value) }),
      ),
      svg("path", {
        class: "ad-curve",
        d: path(Array.from({ length: 121 }, (_, i) => {
          const x = -edge + (i / 120) * 2 * edge;
          return [px(x), py(normalDensity(x, theory))];
        })),
      }),
    );
    scores.show(node);
    setText(scores.text, `Standard deviation ${decimal(measured)}; in theory √d × scale = ${decimal(theory)}. Dashed: the normal curve of that width, the right shape for large d. Shaded: −1 to 1.`);
  }

  /** @param {Float32Array} weights */
  function drawRow(weights) {
    const largest = Math.max(...weights);
    const bits = entropy(weights);
    const left = largestGradient(weights);
    const { node, marks, px, py } = frame({
      x: [0, KEYS], y: [0, 1], xLabel: "key", xTicks: [], yTicks: [[0, "0"], [0.5, "0.5"], [1, "1"]],
      label: `Weights of one query over ${KEYS} keys: the largest is ${decimal(largest)}`,
    });
    marks.append(
      ...Array.from(weights, (weight, i) =>
        svg("rect", { class: "ad-bar", "data-tip": `key ${i + 1}: ${decimal(weight, 3)}`, x: px(i) + 2, width: px(1) - px(0) - 4, y: py(weight), height: Math.max(0.8, py(0) - py(weight)) }),
      ),
    );
    row.show(node);
    setText(row.text, `Largest weight ${decimal(largest)}. Entropy ${decimal(bits)} of ${decimal(Math.log2(KEYS))} bits. Largest |∂weight/∂score| ${small(left)} of 0.25.`);
    root.dataset.maxWeight = largest.toFixed(4);
    root.dataset.gradient = left.toExponential(3);
  }

  /** @param {number} d @param {number} scale */
  function drawGradient(d, scale) {
    const lines = /** @type {const} */ (["none", "root"]).map((kind) => ({
      kind,
      values: WIDTHS.map((w) => medianGradient(dotsOf(w), scaleOf(kind, 1, w))),
    }));
    const here = medianGradient(dotsOf(d), scale);
    const { node, marks, px, py } = frame({
      x: [0, 8], y: [0, 0.25], xLabel: "width d",
      xTicks: [0, 2, 4, 6, 8].map((x) => [x, String(2 ** x)]),
      yTicks: [[0, "0"], [0.125, "⅛"], [0.25, "¼"]],
      label: `Median of the largest gradient against the width: with scale 1 it falls to ${small(lines[0].values[8])}, with 1/√d it stays near ${small(lines[1].values[8])}`,
    });
    for (const { kind, values } of lines) {
      marks.append(
        svg("path", { class: "ad-line", "data-kind": kind, d: path(values.map((value, i) => [px(i), py(value)])) }),
        svg("text", { class: "ad-line-name", "data-kind": kind, x: px(8) - 4, y: py(values[8]) - 6, "text-anchor": "end" }, kind === "none" ? "× 1" : "× 1/√d"),
      );
    }
    marks.append(svg("circle", { class: "ad-here", cx: px(Math.log2(d)), cy: py(here), r: 5 }));
    gradient.show(node);
    setText(gradient.text, `Here (dot): ${small(here)}, the median over 300 queries of a row's largest |∂weight/∂score|.`);
  }

  model.on("change:d_head change:mode change:factor change:seed", draw);
  gone.signal.addEventListener("abort", () => model.off("change:d_head change:mode change:factor change:seed", draw));
  draw();
  return () => gone.abort();
}

export default { render };
