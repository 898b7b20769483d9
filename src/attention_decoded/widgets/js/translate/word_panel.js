/** What there is to know about one word, and to do with it: what it could have been, where it looked, who looked at it. */

import { decimal, percent } from "../engine/describe.js";
import { button, h, setAttribute, setText } from "../ui/dom.js";

/**
 * @typedef {{ id: number, text: string, end: boolean, p: number, chosen: boolean }} Alternative
 * @typedef {{ at: number, text: string, lang: "zh-Hans" | "en", weight: number, cut: boolean }} Look
 */

/**
 * @typedef {object} WordPicture
 * @property {"source" | "target"} side
 * @property {string} text @property {string} about  after it, small
 * @property {Alternative[]} alternatives  of a target word; empty for a source token
 * @property {Look[]} looks                strongest first
 * @property {boolean} cut                 of a source token: nothing may look at it
 */

/**
 * @param {{ onChoose: (id: number) => void, onCutLook: (at: number) => void, onCutAll: () => void, onClose: () => void }} handlers
 */
export function wordPanel({ onChoose, onCutLook, onCutAll, onClose }) {
  const title = h("p", { class: "ad-word-title" });
  const name = h("strong");
  const about = h("span", { class: "ad-word-about" });
  title.append(name, " ", about);
  const close = button("×", onClose, { class: "ad-button ad-word-close", "aria-label": "Close" });
  const choices = h("ol", { class: "ad-choices" });
  const choicesTitle = h("h4", {}, "What else it could have been");
  const left = h("div", { class: "ad-word-part" }, choicesTitle, choices, h("p", { class: "ad-hint" }, "Press one: the text before it stays, the rest is written anew."));
  const looksTitle = h("h4");
  const looks = h("ol", { class: "ad-choices" });
  const cutAll = button("", onCutAll, { "data-control": "cut-word" });
  const right = h("div", { class: "ad-word-part" }, looksTitle, looks, cutAll, h("p", { class: "ad-hint" }, "Cross-attention, mean of all heads and layers. ✂ asks: what if it could not look there?"));
  const el = h("section", { class: "ad-word-panel", "data-panel": "word", hidden: true, "aria-label": "About this word" }, title, close, h("div", { class: "ad-word-parts" }, left, right));
  el.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    onClose();
  });

  /** @param {Alternative} choice */
  function choiceRow({ id, text, end, p, chosen }) {
    const press = h(
      "button",
      { type: "button", class: "ad-row-button", "data-choice": id, "aria-current": chosen ? "true" : null, style: `--p:${p.toFixed(4)}` },
      h("span", { class: "ad-row-text", lang: end ? null : "en" }, end ? "⏎ end" : text),
      h("span", { class: "ad-row-number" }, percent(p)),
    );
    press.addEventListener("click", () => onChoose(id));
    return h("li", {}, press);
  }

  /** @param {Look} look @param {string} word @param {"source" | "target"} side */
  function lookRow({ at, text, lang, weight, cut }, word, side) {
    const [query, key] = side === "target" ? [word, text] : [text, word];
    const press = button(cut ? "restore" : "✂ cut", () => onCutLook(at), {
      class: "ad-button ad-cut-look",
      "data-cut-look": at,
      "aria-label": cut ? `Let ${query} look at ${key} again` : `What if ${query} could not look at ${key}?`,
      "aria-pressed": String(cut),
    });
    return h(
      "li",
      { class: "ad-looked-at", style: `--p:${weight.toFixed(4)}`, "data-cut": cut },
      h("span", { class: "ad-row-text", lang }, text),
      h("span", { class: "ad-row-number" }, decimal(weight)),
      press,
    );
  }

  /** What the lists hold. */
  const held = new Map();
  /** Rows that say what they said already stay: they cost most of a press. @param {HTMLElement} list @param {unknown} rows @param {() => HTMLElement[]} make */
  function fill(list, rows, make) {
    const text = JSON.stringify(rows);
    if (held.get(list) === text) return;
    held.set(list, text);
    list.replaceChildren(...make());
  }

  return {
    el,
    /** Where the word stands, in pixels from the left. @param {number} middle */
    pointAt: (middle) => el.style.setProperty("--middle", `${middle.toFixed(0)}px`),
    /** The first thing to press. */
    focus: () => /** @type {HTMLElement | null} */ (el.querySelector("button:not(.ad-word-close)"))?.focus({ preventScroll: true }),
    /** @param {WordPicture | null} picture */
    update(picture) {
      el.hidden = picture === null;
      if (!picture) return;
      const { side, text, alternatives } = picture;
      setAttribute(el, "data-side", side);
      setText(name, text);
      setAttribute(name, "lang", side === "source" ? "zh-Hans" : "en");
      setText(about, picture.about);
      left.hidden = alternatives.length === 0;
      const active = /** @type {HTMLElement | null} */ (document.activeElement);
      const again = active && el.contains(active) ? (active.dataset.cutLook ? `[data-cut-look="${active.dataset.cutLook}"]` : active.dataset.choice ? `[data-choice="${active.dataset.choice}"]` : null) : null;
      fill(choices, alternatives, () => alternatives.map(choiceRow));
      setText(looksTitle, side === "target" ? `Where “${text}” looked` : picture.cut ? `Nothing may look at ${text}` : `Who looked at ${text}`);
      fill(looks, [text, side, picture.looks], () => picture.looks.map((look) => lookRow(look, text, side)));
      right.hidden = side === "target" && picture.looks.length === 0;
      cutAll.hidden = side === "target";
      setText(cutAll, picture.cut ? `Let the translation look at ${text} again` : `✂ What if nothing could look at ${text}?`);
      setAttribute(cutAll, "aria-pressed", String(picture.cut));
      if (again && !active?.isConnected) /** @type {HTMLElement | null} */ (el.querySelector(again))?.focus({ preventScroll: true });
    },
  };
}
