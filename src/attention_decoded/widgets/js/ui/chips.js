/** The sentence as token chips: pinyin and gloss under each; pressing one hides it from the model. */

import { decimal } from "../engine/describe.js";
import { h, setAttribute, setText } from "./dom.js";

/**
 * @typedef {object} Chip
 * @property {string} text
 * @property {string} pinyin
 * @property {string} gloss
 * @property {boolean} unknown
 * @property {boolean} hidden
 * @property {boolean} selected
 * @property {number} moved     1 − cosine to the run without changes
 * @property {string} guess     for a hidden token: the best guess, e.g. "加 42 %"
 * @property {boolean} guessChanged  the best guess differs from the one without changes
 */

/** @param {{ onToggle: (position: number) => void }} handlers */
export function tokenChips({ onToggle }) {
  const el = h("ol", { class: "ad-chips", "aria-label": "Tokens of the sentence. Press one to hide it from the model." });
  /** @type {ReturnType<typeof chipNodes>[]} */
  let nodes = [];

  /** @param {number} position */
  function chipNodes(position) {
    const text = h("span", { class: "ad-chip-text", lang: "zh-Hans" });
    const pinyin = h("span", { class: "ad-chip-pinyin" });
    const gloss = h("span", { class: "ad-chip-gloss" });
    const press = h("button", { type: "button", class: "ad-chip", "data-chip": position }, text, " ", pinyin, " ", gloss);
    press.addEventListener("click", () => onToggle(position));
    const number = h("span");
    const moved = h("span", { class: "ad-moved" }, h("span", { class: "ad-moved-bar" }), number);
    const item = h("li", {}, press, moved);
    el.append(item);
    return { item, press, text, pinyin, gloss, moved, number };
  }

  return {
    el,
    /** @param {Chip[]} chips @param {boolean} showMoved whether anything is changed */
    update(chips, showMoved) {
      if (nodes.length !== chips.length) {
        el.replaceChildren();
        nodes = chips.map((_, position) => chipNodes(position));
      }
      setAttribute(el, "data-moved", showMoved);
      chips.forEach((chip, i) => {
        const { press, text, pinyin, gloss, moved, number } = nodes[i];
        setText(text, chip.hidden ? "□" : chip.text);
        setText(pinyin, chip.hidden ? `was ${chip.text}` : chip.pinyin);
        setText(gloss, chip.hidden ? `→ ${chip.guess}` : chip.unknown ? "unknown" : chip.gloss);
        setAttribute(press, "aria-pressed", String(chip.hidden));
        setAttribute(press, "data-unknown", chip.unknown);
        setAttribute(press, "data-selected", chip.selected);
        setAttribute(press, "data-guess-changed", chip.guessChanged);
        const meaning = [chip.pinyin, chip.gloss].filter(Boolean).join(", ");
        setAttribute(press, "data-tip", chip.unknown ? `${chip.text}: not in the model's vocabulary, read as <unk>` : `${chip.text} ${meaning}`);
        const shown = showMoved ? chip.moved : 0;
        moved.style.setProperty("--moved", String(Math.min(1, shown)));
        setAttribute(moved, "data-zero", shown < 0.0005);
        setText(number, shown < 0.0005 ? "" : decimal(shown, shown < 0.0995 ? 3 : 2));
      });
    },
  };
}
