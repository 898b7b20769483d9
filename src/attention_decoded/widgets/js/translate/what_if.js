/** Cuts worth trying, by what they were measured to do to this translation. */

import { button, h, setAttribute } from "../ui/dom.js";
import { signed } from "./effect.js";
import { cutText } from "./state.js";

/** @typedef {import("./state.js").Cut} Cut */
/** @typedef {{ cut: Cut, words: string, delta: number, changed: boolean }} Suggestion  delta: of the old text's log-probability, in nats */

const FEW = 3;
const MANY = 9;

/**
 * The strongest first; in the calm form only cuts that change the text.
 * @param {readonly Suggestion[]} found @param {boolean} full @returns {Suggestion[]}
 */
export function worthTrying(found, full) {
  const ordered = found.toSorted((a, b) => Math.abs(b.delta) - Math.abs(a.delta));
  return full ? ordered.slice(0, MANY) : ordered.filter(({ changed }) => changed).slice(0, FEW);
}

/** @param {{ full: boolean, onTry: (cut: Cut) => void }} options */
export function whatIf({ full, onTry }) {
  const title = h("h4", {}, full ? "Cuts by measured effect" : "What if the translation went without …");
  const bar = h("progress", { max: 1, "aria-label": "Measuring cuts" });
  const list = h("ol", { class: "ad-tips", "data-full": full });
  const el = h("section", { class: "ad-what-if", "data-panel": "what-if", hidden: true }, title, bar, list, full ? h("p", { class: "ad-hint" }, "Change of the old translation’s log-probability in nats; * the greedy translation changes.") : null);
  let shown = "";
  /** @type {Map<string, HTMLElement>} */
  let buttons = new Map();
  let stale = false;
  return {
    el,
    /** @param {number} share of the cuts that are measured */
    progress(share) {
      if (!full) return;
      el.hidden = false;
      bar.hidden = false;
      bar.value = share;
    },
    /** @param {readonly Suggestion[]} found @param {readonly Cut[]} cuts */
    update(found, cuts) {
      const best = worthTrying(found, full);
      const key = JSON.stringify(best);
      bar.hidden = true;
      el.hidden = best.length === 0;
      if (key !== shown) {
        shown = key;
        buttons = new Map(
          best.map(({ cut, words, delta, changed }) => {
            const press = button("", () => stale || onTry(cut), { class: "ad-button ad-tip-button", "data-try": cutText(cut) });
            press.append(h("span", {}, full ? words : words.replace(/^the translation looking at /u, "")));
            if (full) press.append(" ", h("span", { class: "ad-row-number" }, `${signed(delta)}${changed ? "*" : ""}`));
            else setAttribute(press, "aria-label", `What if the translation could not look at ${words.replace(/^the translation looking at /u, "")}?`);
            return [cutText(cut), press];
          }),
        );
        list.replaceChildren(...[...buttons.values()].map((press) => h("li", {}, press)));
      }
      this.mark(cuts);
    },
    /** @param {boolean} other what is listed was measured on a sentence that is no longer the reader's */
    age(other) {
      stale = other;
      setAttribute(list, "data-stale", stale);
      for (const press of buttons.values()) setAttribute(press, "aria-disabled", String(stale));
    },
    /** @param {readonly Cut[]} cuts those in force */
    mark(cuts) {
      const on = new Set(cuts.map(cutText));
      for (const [text, press] of buttons) setAttribute(press, "aria-pressed", String(on.has(text)));
    },
  };
}
