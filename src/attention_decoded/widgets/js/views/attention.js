/**
 * Views of attention weights: lines between the words, a heatmap, all heads at once, and the detail of one look.
 * They are of one picture and share one focus: a word or a pair that is hovered, held or reached by the keyboard in
 * one of them is marked in the others.
 *
 * The caller owns what is shown: a choice of view is only reported (`onView`), and shown once it comes back in
 * `update`. What is in focus is kept here, and reported (`onFocus`) for other figures to follow.
 */

import { h, setAttribute, setText, uniqueId } from "../ui/dom.js";
import { segmented } from "../ui/controls.js";
import { unlessHeading } from "../ui/heading.js";
import { cellDetail } from "./cell.js";
import { linesView } from "./lines.js";
import { mapView } from "./map.js";
import { modelView } from "./model_view.js";
import { neuronView } from "./neuron.js";
import { cutHere, cutState, fitScope, headNumber, inEveryHead, isMade, isMean, layerNumber, offState, press, sameSpot, scopeWords, strongest, together, weightsOf } from "./scope.js";

/** @typedef {import("./scope.js").Spot} Spot */
/** @typedef {import("./scope.js").Cut} Cut */
/** @typedef {import("./scope.js").StackName} StackName */
/** @typedef {import("./scope.js").StackPicture} StackPicture */
/** @typedef {"lines" | "map" | "head" | "model" | "neuron"} Mode  "head" is lines and map together */
/** @typedef {{ stack: StackName, layer: number | null, head: number | null } & Spot} Focus  a word alone has null on the other side */
/** @typedef {{ stack: StackName, layer: number | null, head: number | null }} Scope */
/** @typedef {Scope & { mode: Mode }} AnyView */
/** @typedef {Scope & { mode: "lines" | "map" | "model" }} View  of a caller that offers these three, the usual ones */

/**
 * `view`: layer and head null stand for the mean over all. `focus` is set from outside; a new one replaces what is in
 * focus here.
 * @typedef {{ stacks: Partial<Record<StackName, StackPicture>>, view: AnyView, focus: Focus | null, cuts: readonly Cut[], onView(view: View): void }} Picture
 */

/** @type {Record<Mode, string>} */
const MODES = { head: "Lines and map", lines: "Lines", map: "Heatmap", model: "All heads", neuron: "Products" };

/** @type {Record<StackName, string>} */
const STACKS = { encoder: "Encoder", decoder: "Decoder", cross: "Cross" };

/** A map of more columns needs the whole width. */
const MANY = 13;

/** @param {number} n @param {string} what */
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

/** A choice from a list, with its label. @param {string} name @param {string} label @param {(value: number | null) => void} onChoose */
function choice(name, label, onChoose) {
  const select = h("select", { id: uniqueId(name), "data-control": name });
  select.addEventListener("change", () => onChoose(select.value === "" ? null : Number(select.value)));
  const el = h("div", { class: "ad-views-choice" }, h("label", { for: select.id }, label), select);
  let written = "";
  return {
    el,
    /** @param {[number | null, string][]} options @param {number | null} value */
    set(options, value) {
      const text = JSON.stringify(options);
      if (text !== written) select.replaceChildren(...options.map(([at, name]) => h("option", { value: at ?? "" }, name)));
      written = text;
      if (select.value !== String(value ?? "")) select.value = String(value ?? "");
    },
  };
}

/**
 * @param {{ signal: AbortSignal, label: string, onFocus?: (focus: Focus | null) => void, onCut?: (cut: Cut) => void, modes?: readonly Mode[] }} options
 *   without `onCut` nothing can be cut
 */
export function attentionViews({ signal, label, onFocus = () => {}, onCut, modes = ["lines", "map", "model"] }) {
  /** @type {Picture | null} */
  let picture = null;
  /** Under the pointer, or with the keyboard's focus. @type {Spot | null} */
  let hovered = null;
  /** Held by the reader, or set from outside. @type {Spot | null} */
  let pinned = null;
  let outside = "null";
  let words = "";

  // ------------------------------------------------------------------ parts
  const lines = linesView({ signal, onHover: (spot) => soon(spot), onPress: (word) => pin(press(pinned, word)), onLine: (spot, touch) => act(spot, touch), onForm: (form) => setAttribute(el, "data-lines", form) });
  const map = mapView({ signal, onHover: (spot) => soon(spot), onPress: (spot, touch) => act(spot, touch) });
  const model = modelView({ signal, onOpen: open });
  const neuron = modes.includes("neuron") ? neuronView({ onHover: hover, onPress: (spot) => pin(press(pinned, spot)) }) : null;
  const detail = cellDetail({
    onPick: (spot) => pin(spot),
    onScope: (layer, head) => view({ layer, head }),
    onCut: onCut ? (spot) => cut(spot) : null,
  });
  const mode = modes.length > 1 ? segmented({ name: "view-mode", label: "View", options: modes.map((value) => ({ value, text: MODES[value] })), onChoose: (mode) => view({ mode, ...(mode === "neuron" && oneHead()) }) }) : null;
  const stackBox = h("div", { class: "ad-views-stack" });
  /** @type {ReturnType<typeof segmented<StackName>> | null} */
  let stackChoice = null;
  let stackText = "";
  const layer = choice("view-layer", "Layer", (layer) => view({ layer, ...(layer === null && { head: null }) }));
  const head = choice("view-head", "Head", (head) => view({ head }));
  const scope = h("p", { class: "ad-views-scope", role: "status" });
  const off = h("button", { type: "button", class: "ad-button ad-views-off" });
  off.addEventListener("click", () => {
    if (!picture) return;
    const { name, layer, head } = here(picture);
    onCut?.(cutHere(name, layer, head));
  });
  const offNote = h("p", { class: "ad-views-off-note" });
  const legend = h("p", { class: "ad-views-legend" }, h("span", {}, "0"), h("span", { class: "ad-views-ramp", "aria-hidden": "true" }), h("span", {}, "1"));
  const bar = h("div", { class: "ad-views-bar" }, mode?.el ?? null, stackBox, h("div", { class: "ad-views-at" }, layer.el, head.el));
  const shown = h("div", { class: "ad-views-shown" }, lines.el, map.el, model.el, neuron?.el ?? null);
  const stage = h("div", { class: "ad-views-stage" }, shown, detail.el);
  const el = h("div", { class: "ad-views", role: "group", "aria-label": label }, bar, h("div", { class: "ad-views-head" }, scope, legend, off), offNote, stage);
  const soon = unlessHeading({ from: shown, panel: detail.el, signal, hover });
  el.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !pinned) return;
    event.stopPropagation();
    pin(null);
  });

  el.addEventListener("focusout", ({ relatedTarget }) => relatedTarget instanceof Node && el.contains(relatedTarget) ? null : hover(null));

  // ------------------------------------------------------------------ what the reader does
  /** A thumbnail goes away when it is opened: the focus moves on to the choice of views. @param {number | null} layer @param {number | null} head */
  function open(layer, head) {
    const held = el.contains(document.activeElement);
    view({ mode: modes.includes("map") ? "map" : "head", layer, head });
    if (held) requestAnimationFrame(() => document.activeElement?.checkVisibility() && el.contains(document.activeElement) ? null : /** @type {HTMLElement | null} */ (mode?.el.querySelector("input:checked"))?.focus());
  }

  /** @param {Picture} picture */
  function here({ stacks, view }) {
    const names = /** @type {StackName[]} */ (Object.keys(stacks));
    const name = stacks[view.stack] ? view.stack : names[0];
    const stack = /** @type {StackPicture} */ (stacks[name]);
    return { name, stack, ...fitScope(stack, view.layer, view.head) };
  }

  /** @param {Partial<AnyView>} change */
  function view(change) {
    picture?.onView(/** @type {View} */ ({ ...picture.view, stack: here(picture).name, ...change }));
  }

  /** The products are of one head: of a mean, the one that looks hardest at what is in focus. */
  function oneHead() {
    if (!picture) return {};
    const { stack, layer, head } = here(picture);
    if (layer !== null && head !== null) return {};
    const at = { ...strongest(weightsOf(stack, layer, head), stack.keys.length), ...focus() };
    const top = strongest(inEveryHead(stack, at.query ?? 0, at.key ?? 0), stack.nHeads);
    return { layer: layer ?? top.query, head: head ?? top.key };
  }

  const focus = () => together(hovered, pinned);

  /** @param {() => void} change  of what is in focus */
  function refocus(change) {
    const before = focus();
    change();
    if (!picture) return;
    if (!sameSpot(before, focus())) {
      const { name, layer, head } = here(picture);
      const spot = focus();
      onFocus(spot && { stack: name, layer, head, ...spot });
    }
    draw();
  }

  /** @param {Spot | null} spot */
  function hover(spot) {
    if (sameSpot(spot, hovered) && Boolean(spot) === Boolean(hovered)) return;
    refocus(() => (hovered = spot));
  }

  /** @param {Spot | null} spot */
  function pin(spot) {
    refocus(() => (pinned = spot));
  }

  /** A cell, a row, a column or a line was pressed; with a finger the first tap only shows it. @param {Spot} spot @param {boolean} touch */
  function act(spot, touch) {
    if (!onCut || (touch && !(pinned && sameSpot(spot, pinned)))) pin(!onCut && pinned && sameSpot(spot, pinned) ? null : spot);
    else cut(spot);
  }

  /** The cut of a spot in the heads on show. A layer or head that nobody chose is not named. @param {Picture} picture @param {Spot} spot */
  function cutOf(picture, spot) {
    const { name, layer, head } = here(picture);
    return cutHere(name, picture.view.layer === null ? null : layer, picture.view.head === null ? null : head, spot);
  }

  /** Cut, or restore what was cut by the same hand; what a wider cut took is not restored one by one. @param {Spot} spot */
  function cut(spot) {
    if (!picture || stateOf(picture, spot) === "wider") return;
    onCut?.(cutOf(picture, spot));
  }

  /** @param {Picture} picture @param {Spot} spot @returns {"" | "made" | "wider"} */
  function stateOf(picture, spot) {
    const { name, stack, layer, head } = here(picture);
    if (isMade(picture.cuts, cutOf(picture, spot))) return "made";
    const all = (/** @type {number | null} */ at, /** @type {readonly unknown[]} */ labels) => (at === null ? labels.map((_, i) => i) : [at]);
    const whole = all(spot.query, stack.queries).every((query) => all(spot.key, stack.keys).every((key) => cutState(picture.cuts, name, stack, layer, head, query, key) === "whole"));
    return whole ? "wider" : "";
  }

  // ------------------------------------------------------------------ drawing
  /** @param {Picture} picture */
  function drawControls({ stacks, view }) {
    const names = /** @type {StackName[]} */ (Object.keys(stacks));
    const { name, stack, layer: atLayer, head: atHead } = here(/** @type {Picture} */ (picture));
    mode?.set(view.mode);
    const text = names.join();
    if (text !== stackText) {
      stackText = text;
      stackChoice = segmented({ name: "view-stack", label: "Attention", options: names.map((value) => ({ value, text: STACKS[value] })), onChoose: (stack) => viewStack(stack) });
      stackBox.replaceChildren(...(names.length > 1 ? [stackChoice.el] : []));
    }
    stackChoice?.set(name);
    const [nLayers, { nHeads }] = [stack.layers.length, stack];
    const mean = (/** @type {number} */ n, /** @type {string} */ what) => /** @type {[null, string]} */ ([null, `all ${n}: mean${what}`]);
    layer.set([...(nLayers > 1 ? [mean(nLayers, "")] : []), ...stack.layers.map((_, i) => /** @type {[number, string]} */ ([i, String(layerNumber(stack, i))]))], atLayer);
    const single = atLayer !== null || nLayers === 1 || atHead !== null;
    head.set([...(nHeads > 1 ? [mean(nHeads, "")] : []), ...(single ? Array.from({ length: nHeads }, (_, i) => /** @type {[number, string]} */ ([i, String(headNumber(stack, i))])) : [])], atHead);
    layer.el.hidden = view.mode === "model" || nLayers === 1;
    head.el.hidden = view.mode === "model" || nHeads === 1;
  }

  /** Another stack has other words: nothing stays in focus. @param {StackName} stack */
  function viewStack(stack) {
    refocus(() => (hovered = pinned = null));
    view({ stack });
  }

  /** @param {Picture} picture */
  function drawScope({ cuts, view }) {
    const { name, stack, layer, head } = here(/** @type {Picture} */ (picture));
    const all = view.mode === "model";
    setText(scope, `${stack.title} · ${all ? `${count(stack.layers.length, "layer")} × ${count(stack.nHeads, "head")}; press one to open it` : scopeWords(stack, layer, head)}`);
    const state = all ? "" : offState(cuts, name, stack, layer, head);
    const wholeStack = layer === null && head === null;
    const made = isMade(cuts, cutHere(name, layer, head));
    off.hidden = !onCut || all || wholeStack || layer === null || (state === "whole" && !made);
    const what = isMean(stack, layer, head) ? "this layer" : "this head";
    setText(off, made ? `Restore ${what}` : `✂ Cut ${what}`);
    offNote.hidden = !state;
    setText(offNote, state === "whole" ? "Switched off: it still looks, but nothing of what it sees is used." : state ? "Some of these heads are switched off: they look, but nothing of what they see is used." : "");
    setAttribute(shown, "data-off", state === "whole");
  }

  function draw() {
    if (!picture) return;
    const { name, stack, layer, head } = here(picture);
    const { cuts, view } = picture;
    const weights = weightsOf(stack, layer, head);
    const cutAt = (/** @type {number} */ query, /** @type {number} */ key) => (cuts.length ? cutState(cuts, name, stack, layer, head, query, key) : "");
    const nKey = stack.keys.length;
    const closed = (/** @type {number} */ query, /** @type {number} */ key) => name === "decoder" && key > query && weights[query * nKey + key] === 0;
    const spot = focus();
    const found = spot === null;
    const chosen = spot ?? strongest(weights, nKey);
    const is = (/** @type {Mode[]} */ ...some) => some.includes(view.mode);
    lines.el.hidden = !is("lines", "head");
    map.el.hidden = !is("map", "head");
    model.el.hidden = !is("model");
    if (neuron) neuron.el.hidden = !is("neuron");
    detail.el.hidden = is("model", "neuron");
    legend.hidden = is("neuron");
    setAttribute(el, "data-mode", view.mode);
    setAttribute(el, "data-many", nKey > MANY);
    const { queries, keys } = stack;
    const common = { stack, layer, head, weights, cut: cutAt, closed };
    if (is("lines", "head")) lines.update({ queries, keys, weights, spot, pinned, cut: cutAt });
    if (is("map", "head")) map.update({ label: `${stack.title}, ${scopeWords(stack, layer, head)}`, queries, keys, weights, spot: chosen, cut: cutAt, closed });
    if (is("model")) model.update({ name, stack, layer, head, cuts });
    if (is("neuron")) neuron?.update({ ...common, spot: chosen });
    if (!detail.el.hidden) detail.update({ ...common, spot: chosen, found, cutState: cuts.length ? stateOf(picture, chosen) : "" });
  }

  return {
    el,
    /** @param {Picture} next */
    update(next) {
      if (Object.keys(next.stacks).length === 0) throw new Error("attentionViews: stacks is empty, there is nothing to show.");
      const started = performance.now();
      picture = next;
      const { name, stack } = here(next);
      const text = JSON.stringify([name, stack.queries, stack.keys]);
      if (text !== words) hovered = pinned = null; // it was about other words
      words = text;
      if (JSON.stringify(next.focus) !== outside) {
        outside = JSON.stringify(next.focus);
        const fits = next.focus && next.focus.stack === name && (next.focus.query ?? 0) < stack.queries.length && (next.focus.key ?? 0) < stack.keys.length;
        pinned = fits && next.focus ? { query: next.focus.query, key: next.focus.key } : null;
      }
      drawControls(next);
      drawScope(next);
      draw();
      el.dataset.updateMs = (performance.now() - started).toFixed(1);
    },
  };
}
