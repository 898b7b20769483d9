/**
 * Who looks at whom on a plane: drag x and x′, and compare what each finds in the other.
 *
 * The query matrix is the identity, the key matrix a rotation, so that the whole of the asymmetry is
 * one angle. With one matrix the two scores are always equal.
 * The Python class is `attention_decoded.widgets.SpaceMap`.
 */

import "./space_map.css";
import { decimal } from "./engine/describe.js";
import { bilinearForm, lookedFor, rotation, score, skew } from "./lab/bilinear.js";
import { segmented, sliderRow } from "./ui/controls.js";
import { button, h, keepKeys, setAttribute, setText, svg, widgetRoot } from "./ui/dom.js";
import { liveRegion } from "./ui/live.js";

/** @typedef {import("./lab/bilinear.js").Point} Point */
/** @typedef {{ get(name: string): any, set(name: string, value: any): void, save_changes(): void, on(names: string, f: () => void): any, off(names: string, f: () => void): any }} Model */

const EDGE = 2.2;
const START = { x: [1.4, 0.5], other: [0.2, 1.5], angle: 60, matrices: "two" };
const EVENTS = "change:x change:other change:angle change:matrices";

/** @param {number} v */
const inside = (v) => Math.max(-2, Math.min(2, Math.round(v * 20) / 20));

/** @param {{ model: Model, el: HTMLElement, signal?: AbortSignal }} props */
function render({ model, el, signal }) {
  const gone = new AbortController();
  signal?.addEventListener("abort", () => gone.abort(), { once: true });
  const live = liveRegion(gone.signal);
  const root = widgetRoot("space-map", "ad-space", "Who looks at whom on a plane");
  keepKeys(root);

  /** @param {Record<string, unknown>} traits */
  const write = (traits) => {
    for (const [name, value] of Object.entries(traits)) model.set(name, value);
    model.save_changes();
  };
  const matrices = segmented({
    name: "matrices", label: "Matrices", onChoose: (value) => write({ matrices: value }),
    options: [{ value: "one", text: "one: W_K := W_Q" }, { value: "two", text: "two: W_Q and W_K" }],
  });
  const angle = sliderRow({
    name: "angle", label: "W_K turns by", min: -180, max: 180, step: 5, mark: 0,
    describe: (value) => `${decimal(value, 0)}°`,
    onInput: (value) => write({ angle: value, matrices: "two" }),
  });
  const reset = button("Reset", () => write(START), { "data-control": "reset" });

  const half = svg("polygon", { class: "ad-found" });
  const looking = svg("line", { class: "ad-looking", "marker-end": "none" });
  const dots = /** @type {const} */ (["x", "other"]).map((name) => {
    const circle = svg("circle", { r: 0.16 });
    const label = svg("text", {}, name === "x" ? "x" : "x′");
    const group = svg("g", { class: "ad-point", "data-point": name, tabindex: 0, role: "button" }, circle, label);
    return { name, circle, label, group };
  });
  const plane = svg(
    "svg",
    { class: "ad-plane", viewBox: `${-EDGE} ${-EDGE} ${2 * EDGE} ${2 * EDGE}`, "data-panel": "plane" },
    half,
    svg("line", { class: "ad-grid", x1: -EDGE, x2: EDGE, y1: 0, y2: 0 }),
    svg("line", { class: "ad-grid", x1: 0, x2: 0, y1: -EDGE, y2: EDGE }),
    looking,
    ...dots.map(({ group }) => group),
  );
  const rows = ["x looks at x′", "x′ looks at x"].map((name) => {
    const bar = h("span", { class: "ad-score-bar" });
    const number = h("output", {});
    return { bar, number, el: h("div", { class: "ad-score" }, h("span", {}, name), h("span", { class: "ad-score-track" }, bar), number) };
  });
  const note = h("p", { class: "ad-chart-text" });
  root.append(
    h("div", { class: "ad-changes" }, matrices.el, angle.el, h("div", { class: "ad-actions" }, reset)),
    h("div", { class: "ad-plane-stage" }, plane, h("div", { class: "ad-scores" }, ...rows.map((row) => row.el), note)),
    live.el,
  );
  el.append(root);

  /** @param {PointerEvent} event @returns {Point} */
  const at = (event) => {
    const box = plane.getBoundingClientRect();
    const to = (/** @type {number} */ share) => (share * 2 - 1) * EDGE;
    return [inside(to((event.clientX - box.left) / box.width)), inside(-to((event.clientY - box.top) / box.height))];
  };
  for (const { name, group } of dots) {
    group.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      group.focus();
      group.setPointerCapture(event.pointerId);
    });
    group.addEventListener("pointermove", (event) => group.hasPointerCapture(event.pointerId) && write({ [name]: at(event) }));
    group.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.5 : 0.1;
      const [x, y] = model.get(name);
      /** @type {Record<string, Point>} */
      const to = { ArrowLeft: [x - step, y], ArrowRight: [x + step, y], ArrowUp: [x, y + step], ArrowDown: [x, y - step] };
      if (!to[event.key]) return;
      event.preventDefault();
      write({ [name]: to[event.key].map(inside) });
    });
  }

  function draw() {
    const [x, other] = [/** @type {Point} */ (model.get("x")), /** @type {Point} */ (model.get("other"))];
    const two = model.get("matrices") === "two";
    const wQ = rotation(0);
    const form = bilinearForm(wQ, two ? rotation(model.get("angle")) : wQ);
    matrices.set(two ? "two" : "one");
    angle.set(model.get("angle"));
    for (const { name, circle, label, group } of dots) {
      const [px, py] = name === "x" ? x : other;
      setAttribute(circle, "cx", px);
      setAttribute(circle, "cy", -py);
      setAttribute(label, "x", px + 0.22);
      setAttribute(label, "y", -py - 0.14);
      setAttribute(group, "aria-label", `${name === "x" ? "x" : "x prime"} at ${decimal(px)}, ${decimal(py)}. Arrow keys move it.`);
    }
    const [dx, dy] = lookedFor(x, form);
    const length = Math.hypot(dx, dy) || 1;
    setAttribute(looking, "x1", 0);
    setAttribute(looking, "y1", 0);
    setAttribute(looking, "x2", ((dx / length) * EDGE * 0.9).toFixed(3));
    setAttribute(looking, "y2", ((-dy / length) * EDGE * 0.9).toFixed(3));
    const far = 4 * EDGE; // the half plane in which x finds something: a square on its side of the line
    const [ux, uy] = [dx / length, dy / length];
    const corner = (/** @type {number} */ side, /** @type {number} */ depth) => `${(-uy * side + ux * depth).toFixed(3)},${(-(ux * side + uy * depth)).toFixed(3)}`;
    setAttribute(half, "points", [corner(-far, 0), corner(far, 0), corner(far, far), corner(-far, far)].join(" "));

    const found = [score(x, form, other), score(other, form, x)];
    const top = Math.max(...found.map(Math.abs), 1);
    rows.forEach(({ bar, number }, i) => {
      bar.style.setProperty("--size", String(Math.abs(found[i]) / top / 2));
      setAttribute(bar, "data-negative", found[i] < 0);
      setText(number, decimal(found[i]));
    });
    const gap = Math.abs(found[0] - found[1]);
    setText(
      note,
      skew(form) < 1e-9
        ? "One matrix, or none of the turn: B is symmetric, and what x finds in x′, x′ finds in x."
        : `B is not symmetric: the two scores differ by ${decimal(gap)}. Shaded: where x finds something; the line is Bᵀx, what it looks for.`,
    );
    live.say(`x looks at x prime: ${decimal(found[0])}; x prime looks at x: ${decimal(found[1])}.`);
    root.dataset.gap = gap.toFixed(4);
    root.dataset.status = "ready";
  }
  model.on(EVENTS, draw);
  gone.signal.addEventListener("abort", () => model.off(EVENTS, draw));
  draw();
  return () => gone.abort();
}

export default { render };
