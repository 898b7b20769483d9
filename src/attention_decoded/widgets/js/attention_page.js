/** A file of attention maps that stands alone: reads the numbers that lie in it, and shows them (see AttentionViews.to_html). */

import "./attention_page.css";
import { render } from "./attention_map.js";
import { fromBase64 } from "./engine/assets.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => (document.documentElement.dataset.theme = dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();

const { numbers, ...state } = JSON.parse(document.getElementById("attention-maps")?.textContent ?? "{}");
/** @type {Record<string, unknown>} */
const traits = { ...state, numbers: fromBase64(numbers) };
const model = {
  get: (/** @type {string} */ name) => traits[name],
  set: (/** @type {string} */ name, /** @type {unknown} */ value) => void (traits[name] = value),
  save_changes() {},
  on() {},
  off() {},
};
const main = /** @type {HTMLElement} */ (document.querySelector("main"));
render({ model, el: main });
