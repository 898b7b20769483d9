/** The model's best guesses for a hidden token, each with pinyin, gloss and what it was before the changes. */

import { percent } from "../engine/describe.js";
import { h, setText } from "./dom.js";

/** @typedef {{ text: string, pinyin: string, gloss: string, probability: number, before: number }} GuessRow */

export function guessList() {
  const title = h("p", { class: "ad-guess-title" });
  const list = h("ol", { class: "ad-guesses" });
  const el = h("section", { class: "ad-guess-panel", "data-panel": "guesses" }, title, list);
  return {
    el,
    /** @param {string} heading @param {GuessRow[]} guesses @param {boolean} compare show the probability before the changes */
    update(heading, guesses, compare) {
      setText(title, heading);
      list.hidden = guesses.length === 0;
      list.replaceChildren(
        ...guesses.map(({ text, pinyin, gloss, probability, before }) =>
          h(
            "li",
            { style: `--p:${probability.toFixed(4)};--before:${before.toFixed(4)}`, "data-compare": compare },
            h("span", { class: "ad-guess-text", lang: "zh-Hans" }, text),
            h("span", { class: "ad-guess-meaning" }, h("span", { class: "ad-guess-pinyin" }, pinyin), " ", gloss),
            h("span", { class: "ad-guess-number" }, percent(probability), compare ? h("small", {}, ` was ${percent(before)}`) : null),
          ),
        ),
      );
    },
  };
}
