/** What the cuts do: the translation before and now with the differences marked, and the price of every old token. */

import { decimal } from "../engine/describe.js";
import { button, h, setAttribute, setText } from "../ui/dom.js";

/** @typedef {import("./state.js").Cut} Cut */
/** @typedef {{ text: string, kind: "same" | "gone" | "new" }} Difference */

/**
 * @typedef {object} EffectPicture
 * @property {{ cut: Cut, words: string }[]} cuts
 * @property {Difference[] | null} differences   null until the new translation is there
 * @property {boolean} changed
 * @property {number} total                      sum of the deltas
 * @property {{ text: string, before: number, delta: number }[]} deltas  of the old translation, token by token; log-probabilities in nats
 */

/** @param {{ table: boolean, onRestore: (cut: Cut) => void }} options */
export function effectPanel({ table, onRestore }) {
  const cuts = h("ul", { class: "ad-cut-list", "aria-label": "Cut now" });
  const before = h("p", { class: "ad-before", lang: "en" });
  const now = h("p", { class: "ad-now", lang: "en" });
  const total = h("p", { class: "ad-hint" });
  const rows = h("tbody");
  const deltas = h(
    "details",
    { class: "ad-deltas", open: true },
    h("summary", {}, "What the cut takes from every word of the old translation"),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "token"), h("th", { scope: "col" }, "log p before"), h("th", { scope: "col", colspan: 2 }, "change, in nats"))),
      rows,
    ),
  );
  const found = h(
    "div",
    { class: "ad-effect-found" },
    h("dl", { class: "ad-versions" }, h("dt", {}, "before"), h("dd", {}, before), h("dt", {}, "now"), h("dd", {}, now)),
    total,
    table ? deltas : null,
  );
  const el = h(
    "section",
    { class: "ad-effect", "data-panel": "effect", hidden: true, "aria-label": "The effect of the cuts" },
    h("div", { class: "ad-effect-cuts" }, h("span", {}, "Without"), cuts),
    found,
  );

  /** @param {Difference[]} words @param {"gone" | "new"} kind */
  const marked = (words, kind) =>
    words
      .filter((word) => word.kind === "same" || word.kind === kind)
      .flatMap((word) => {
        if (word.kind === "same") return [word.text];
        const bare = word.text.trimStart();
        return [word.text.slice(0, word.text.length - bare.length), h(kind === "gone" ? "del" : "ins", {}, bare)];
      });

  return {
    el,
    /** @param {EffectPicture} picture */
    update(picture) {
      if (el.hidden) found.hidden = true; // what it holds is of an earlier cut
      el.hidden = picture.cuts.length === 0;
      if (el.hidden) return;
      const held = /** @type {HTMLElement | null} */ (document.activeElement);
      const at = [...cuts.children].findIndex((item) => item.contains(held));
      cuts.replaceChildren(
        ...picture.cuts.map(({ cut, words }) => h("li", {}, button(`${words} ×`, () => onRestore(cut), { class: "ad-button ad-cut-chip", "aria-label": `Restore: ${words}` }))),
      );
      if (at >= 0) /** @type {HTMLElement | null} */ (cuts.children[Math.min(at, cuts.children.length - 1)]?.querySelector("button"))?.focus({ preventScroll: true });
      setAttribute(el, "aria-busy", picture.differences ? null : "true");
      if (!picture.differences) return;
      found.hidden = false;
      before.replaceChildren(...marked(picture.differences, "gone"));
      now.replaceChildren(...(picture.changed ? marked(picture.differences, "new") : ["the same, word for word"]));
      setAttribute(now, "data-same", !picture.changed);
      setText(total, `The old translation’s log-probability changes by ${signed(picture.total)} nats: ${times(picture.total)}.`);
      if (!table) return;
      const top = Math.max(1, ...picture.deltas.map(({ delta }) => Math.abs(delta)));
      rows.replaceChildren(
        ...picture.deltas.map(({ text, before: logProb, delta }) =>
          h(
            "tr",
            { "data-delta": delta.toFixed(5) },
            h("th", { scope: "row", lang: "en" }, text),
            h("td", {}, decimal(logProb)),
            h("td", { class: "ad-delta-cell" }, h("span", { class: "ad-delta-bar", "data-negative": delta < 0, style: `--d:${Math.min(1, Math.abs(delta) / top).toFixed(3)}` })),
            h("td", { class: "ad-delta-number" }, signed(delta)),
          ),
        ),
      );
    },
  };
}

/** Words and marks, each with the space before it, so that together they are the text. @param {string} text @returns {string[]} */
export const words = (text) => text.match(/\s*(?:[\p{L}\p{N}'’-]+|[^\s\p{L}\p{N}]+)/gu) ?? [];

/** With its sign. @param {number} x */
export const signed = (x) => (Number(x.toFixed(2)) > 0 ? `+${decimal(x)}` : decimal(x));

/** A change of log-probability in words. @param {number} nats */
export function times(nats) {
  const factor = Math.exp(Math.abs(nats));
  if (factor < 1.05) return "as likely as before";
  const text = factor < 10 ? decimal(factor, 1) : factor < 1e6 ? Math.round(factor).toLocaleString("en") : "over a million";
  return `${text} times ${nats < 0 ? "less" : "more"} likely`;
}
