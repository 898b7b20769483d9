/** How the text is searched for: greedy, beam, sampling; and the numbers of each, only where they count. */

import { decimal } from "../engine/describe.js";
import { segmented, sliderRow } from "../ui/controls.js";
import { button, h, setText } from "../ui/dom.js";
import { RANGES } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Search} Search */

const MOST_TOP_K = 50;

/**
 * @param {{ onChange: (patch: Partial<State>, sentence: string, drag: string | null) => void, onAlpha: (alpha: number) => void, onRelease: () => void }} handlers
 */
export function searchControls({ onChange, onAlpha, onRelease }) {
  const how = segmented({
    name: "search",
    label: "Search",
    options: [
      { value: /** @type {Search} */ ("greedy"), text: "greedy", hint: "The likeliest token, every time" },
      { value: /** @type {Search} */ ("beam"), text: "beam", hint: "Several beginnings side by side" },
      { value: /** @type {Search} */ ("sample"), text: "sampling", hint: "Every token drawn by chance" },
    ],
    onChoose: (search) => onChange({ search }, `Search: ${search}.`, null),
  });
  const slider = (/** @type {"beam" | "temperature" | "top_k"} */ name, /** @type {string} */ label, /** @type {number} */ step, /** @type {(x: number) => string} */ describe, /** @type {number} */ max = RANGES[name][1], /** @type {number | undefined} */ mark = undefined) =>
    sliderRow({ name, label, min: RANGES[name][0], max, step, mark, describe, onInput: (value) => onChange({ [name]: Number(value.toFixed(2)) }, `${label} ${describe(value)}.`, name), onRelease });
  const beam = slider("beam", "Beam width", 1, (x) => String(x));
  const alpha = sliderRow({
    name: "alpha", label: "Length penalty α", min: RANGES.alpha[0], max: RANGES.alpha[1], step: 0.05, mark: 1,
    describe: (x) => (x === 0 ? "0: none" : decimal(x)), onInput: (value) => onAlpha(Number(value.toFixed(2))), onRelease,
  });
  const temperature = slider("temperature", "Temperature", 0.1, (x) => decimal(x, 1), 3, 1);
  const topK = slider("top_k", "Top-k", 1, (x) => (x === 0 ? "all tokens" : `the ${x} likeliest`), MOST_TOP_K);
  const drawn = h("span", { class: "ad-drawn" });
  let seed = 0;
  const draw = button("Draw again", () => onChange({ seed: (seed + 1) % (RANGES.seed[1] + 1) }, "Drawn again.", null), { "data-control": "draw" });
  /** @type {Record<Search, HTMLElement[]>} */
  const parts = {
    greedy: [h("p", { class: "ad-hint" }, "At every step the likeliest token, and no way back.")],
    beam: [beam.el, alpha.el],
    sample: [temperature.el, topK.el, h("div", { class: "ad-draw" }, draw, drawn)],
  };
  const numbers = h("div", { class: "ad-search-numbers" });
  const el = h("div", { class: "ad-search", "data-panel": "search" }, how.el, numbers);
  /** @type {Search | null} */
  let on = null;
  return {
    el,
    /** @param {State} state */
    update(state) {
      how.set(state.search);
      if (state.search !== on) numbers.replaceChildren(...parts[state.search]);
      on = state.search;
      beam.set(state.beam);
      alpha.set(state.alpha);
      temperature.set(state.temperature);
      topK.set(Math.min(MOST_TOP_K, state.top_k));
      seed = state.seed;
      setText(drawn, `seed ${seed}`);
    },
  };
}
