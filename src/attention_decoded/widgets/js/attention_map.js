/**
 * Attention maps of any model: the views of `views/attention.js` on weights that were computed elsewhere.
 *
 * The Python class is `attention_decoded.widgets.AttentionViews`, made by `show(maps)`. Its trait `stacks` says what
 * there is, and where in `numbers` (float32, one after another) it stands; `view`, `stack`, `layer` and `head` can be
 * read and set from Python.
 */

import "./attention_map.css";
import { asBytes } from "./engine/safetensors.js";
import { h, keepKeys, widgetRoot } from "./ui/dom.js";
import { tooltips } from "./ui/tooltip.js";
import { attentionViews } from "./views/attention.js";
import { unpackStack } from "./views/unpack.js";

/** @typedef {import("./views/scope.js").StackName} StackName */
/** @typedef {import("./views/scope.js").StackPicture} StackPicture */
/** @typedef {"head" | "model" | "neuron"} Mode */
/** @typedef {import("./views/unpack.js").Packed} Packed */
/** @typedef {{ get(name: string): any, set(name: string, value: any): void, save_changes(): void, on(names: string, f: () => void): any, off(names: string, f: () => void): any }} Model */

/** @param {{ model: Model, el: HTMLElement, signal?: AbortSignal }} props */
export function render({ model, el, signal }) {
  const gone = new AbortController();
  signal?.addEventListener("abort", () => gone.abort(), { once: true });
  const root = widgetRoot("attention-map", "ad-maps", "Attention maps");
  keepKeys(root);
  el.append(root);

  /** @type {Partial<Record<StackName, StackPicture>>} */
  let stacks = {};
  const problem = h("p", { class: "ad-maps-failed", role: "alert", hidden: true });
  const known = Object.values(/** @type {Record<string, Packed>} */ (model.get("stacks"))).some(({ q }) => q !== null);
  /** @type {Mode[]} */
  const modes = known ? ["head", "model", "neuron"] : ["head", "model"];
  const views = attentionViews({ signal: gone.signal, label: "Attention maps", modes });
  const note = model.get("note");
  root.append(...(note ? [h("p", { class: "ad-maps-note" }, note)] : []), problem, views.el);
  tooltips(root, gone.signal);

  function read() {
    const bytes = asBytes(model.get("numbers"));
    const numbers = new Float32Array(bytes.slice().buffer); // a copy begins where a float may begin
    const packed = /** @type {Record<StackName, Packed>} */ (model.get("stacks"));
    stacks = Object.fromEntries(Object.entries(packed).map(([name, one]) => [name, unpackStack(one, numbers)]));
  }

  function draw() {
    const index = (/** @type {"layer" | "head"} */ name, /** @type {StackPicture} */ stack) => {
      const at = model.get(name);
      const numbers = name === "layer" ? stack.layerNumbers : stack.headNumbers;
      return at === null || at === undefined ? null : (numbers?.indexOf(at) ?? null);
    };
    const name = /** @type {StackName} */ (stacks[/** @type {StackName} */ (model.get("stack"))] ? model.get("stack") : Object.keys(stacks)[0]);
    const stack = /** @type {StackPicture} */ (stacks[name]);
    const mode = modes.includes(model.get("view")) ? model.get("view") : "head";
    views.update({
      stacks,
      view: { mode, stack: name, layer: index("layer", stack), head: index("head", stack) },
      focus: null,
      cuts: [],
      onView(next) {
        const to = /** @type {StackPicture} */ (stacks[next.stack]);
        const number = (/** @type {readonly number[] | undefined} */ numbers, /** @type {number | null} */ at) => (at === null ? null : (numbers?.[at] ?? null));
        const all = { view: next.mode, stack: next.stack, layer: number(to.layerNumbers, next.layer), head: number(to.headNumbers, next.head) };
        drawing = true; // traits are set one after another, and each calls back
        for (const [trait, value] of Object.entries(all)) if (model.get(trait) !== value) model.set(trait, value);
        drawing = false;
        model.save_changes();
        draw();
      },
    });
    root.dataset.status = "ready";
  }

  let drawing = false;
  /** @param {() => void} work */
  function safely(work) {
    try {
      work();
      problem.hidden = true;
      views.el.hidden = false;
    } catch (error) {
      root.dataset.status = "failed";
      views.el.hidden = true;
      problem.hidden = false;
      problem.textContent = `These maps cannot be shown. ${error instanceof Error ? error.message : error}`;
    }
  }
  const onView = () => drawing || safely(draw);
  const names = "change:view change:stack change:layer change:head";
  model.on(names, onView);
  gone.signal.addEventListener("abort", () => model.off(names, onView));
  safely(() => {
    read();
    draw();
  });
  return () => gone.abort();
}

export default { render };
