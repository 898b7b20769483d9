/** A slider, a choice of a few, a switch: native inputs with a label, a readout and their own keyboard. */

import { h, maths, setAttribute, setText, uniqueId } from "./dom.js";

/**
 * @param {{ name: string, label: string, min: number, max: number, step: number, mark?: number,
 *   toPosition?: (value: number) => number, toValue?: (position: number) => number,
 *   describe: (value: number) => string, onInput: (value: number) => void, onRelease?: () => void }} options
 *   `mark` draws a tick at a value; `toPosition`/`toValue` bend the scale (min, max, step are positions then)
 */
export function sliderRow({
  name, label, min, max, step, mark, toPosition = (x) => x, toValue = (x) => x, describe, onInput, onRelease = () => {},
}) {
  const input = h("input", { type: "range", id: uniqueId(name), min, max, step, "data-control": name });
  const readout = h("output", { for: input.id });
  const track = h("span", { class: "ad-slider-track" }, input);
  if (mark !== undefined) {
    track.append(h("span", { class: "ad-slider-mark", "aria-hidden": "true", style: `--at:${(toPosition(mark) - min) / (max - min)}` }));
  }
  const el = h("div", { class: "ad-slider" }, h("label", { for: input.id }, maths(label)), track, readout);
  input.addEventListener("input", () => onInput(toValue(input.valueAsNumber)));
  input.addEventListener("change", onRelease);
  return {
    el,
    input,
    /** @param {number} value */
    set(value) {
      if (Math.abs(toValue(input.valueAsNumber) - value) > 1e-9) input.value = String(toPosition(value));
      const text = describe(value);
      setText(readout, text);
      setAttribute(input, "aria-valuetext", text);
    },
  };
}

/**
 * One of a few choices: radio buttons drawn as one bar; arrow keys move through them.
 * @template {string} V
 * @param {{ name: string, label: string, options: { value: V, text: string, hint?: string }[], onChoose: (value: V) => void }} options
 */
export function segmented({ name, label, options, onChoose }) {
  const group = uniqueId(name);
  /** @type {Map<V, HTMLInputElement>} */
  const inputs = new Map();
  const bar = h("span", { class: "ad-segments" });
  for (const { value, text, hint } of options) {
    const input = h("input", { type: "radio", name: group, value, id: uniqueId(name), "data-control": name });
    input.addEventListener("change", () => onChoose(value));
    inputs.set(value, input);
    bar.append(input, h("label", { for: input.id, "data-tip": hint }, maths(text)));
  }
  const legend = h("legend", {}, label);
  return {
    el: h("fieldset", { class: "ad-choice" }, legend, bar),
    /** @param {V} value */
    set(value) {
      const input = inputs.get(value);
      if (input && !input.checked) input.checked = true;
    },
  };
}

/** @param {{ name: string, label: string, onToggle: (on: boolean) => void }} options */
export function switchRow({ name, label, onToggle }) {
  const input = h("input", { type: "checkbox", role: "switch", id: uniqueId(name), "data-control": name });
  input.addEventListener("change", () => onToggle(input.checked));
  return {
    el: h("div", { class: "ad-switch" }, input, h("label", { for: input.id }, label)),
    /** @param {boolean} on */
    set(on) {
      input.checked = on;
    },
  };
}
