/** What is known about the look in focus: who looks at whom, how much, in which heads, and the products that made it. */

import { decimal } from "../engine/describe.js";
import { button, h, setAttribute, setText } from "../ui/dom.js";
import { productStrip } from "../ui/products.js";
import { cellNumbers, forbidden, headNumber, inEveryHead, layerNumber, looksOf, scopeWords } from "./scope.js";

/** @typedef {import("./scope.js").Spot} Spot */
/** @typedef {import("./scope.js").Label} Label */

/**
 * @typedef {object} CellPicture
 * @property {import("./scope.js").StackPicture} stack
 * @property {number | null} layer
 * @property {number | null} head
 * @property {Float32Array} weights  [query, key] of the heads on show
 * @property {Spot} spot             a pair, or one word
 * @property {boolean} found         nobody chose it: it is the strongest there is
 * @property {"" | "made" | "wider"} cutState  whether the spot is cut: by a cut of its own, or by one of more than it
 * @property {(query: number, key: number) => "whole" | "part" | ""} cut
 * @property {(query: number, key: number) => boolean} closed
 */

/**
 * @param {{ onPick: (spot: Spot) => void, onScope: (layer: number, head: number) => void, onCut: ((spot: Spot) => void) | null }} handlers
 *   `onPick` of one of a word's looks, `onScope` of the head where a look is strongest
 */
export function cellDetail({ onPick, onScope, onCut }) {
  const note = h("p", { class: "ad-look-note" });
  const [first, verb, second] = [h("span"), h("span", { class: "ad-look-verb" }), h("span")];
  const title = h("p", { class: "ad-look-title" }, first, " ", verb, " ", second);
  const weight = h("strong", { class: "ad-look-weight" });
  const what = h("span", { class: "ad-look-scope" });
  const value = h("p", { class: "ad-look-value" }, weight, " ", what);
  const list = h("ol", { class: "ad-look-list" });
  const range = h("span");
  /** The head that looks hardest. @type {{ layer: number, head: number } | null} */
  let leader = null;
  const go = button("", () => leader && onScope(leader.layer, leader.head), { class: "ad-look-go", "data-control": "strongest-head" });
  const heads = h("p", { class: "ad-look-heads" }, range, go, ".");
  const strips = productStrip();
  const bias = h("p", { class: "ad-look-note" });
  const cutButton = button("", () => spot && onCut?.(spot), { class: "ad-button ad-look-cut" });
  const el = h("section", { class: "ad-look", "data-panel": "look", "aria-label": "The look in focus" }, note, title, value, list, heads, strips.el, bias, h("p", {}, cutButton));
  /** @type {Spot | null} */
  let spot = null;

  /** @param {HTMLElement} node @param {Label} label @param {"q" | "k"} role */
  function word(node, label, role) {
    setText(node, label.text || "␣");
    setAttribute(node, "lang", label.lang || null);
    setAttribute(node, "class", `ad-${role}`);
  }

  /** @param {CellPicture} picture */
  function drawWord({ stack, weights, layer, head, spot, cut, closed }) {
    const { queries, keys } = stack;
    const looks = looksOf(weights, keys.length, spot);
    const asks = spot.query !== null;
    word(first, asks ? queries[spot.query ?? 0] : keys[spot.key ?? 0], asks ? "q" : "k");
    setText(verb, asks ? "looks at" : "is looked at by");
    setText(second, "");
    setText(weight, "");
    setText(what, scopeWords(stack, layer, head));
    const held = list.contains(document.activeElement) ? [...list.children].findIndex((item) => item.contains(document.activeElement)) : -1;
    list.replaceChildren(
      ...looks.map(({ query, key, weight }) => {
        const other = asks ? keys[key] : queries[query];
        const bar = h("span", { class: "ad-look-bar", "aria-hidden": "true" });
        bar.style.setProperty("--level", weight.toFixed(3));
        const name = h("span", { class: asks ? "ad-k" : "ad-q", lang: other.lang || null }, other.text || "␣");
        const state = cut(query, key) === "whole" ? "cut" : closed(query, key) ? "may not" : decimal(weight);
        const press = h("button", { type: "button", class: "ad-look-row" }, name, bar, h("span", {}, state));
        press.addEventListener("click", () => onPick({ query, key }));
        return h("li", {}, press);
      }),
    );
    if (held >= 0) /** @type {HTMLElement | null} */ (list.children[Math.min(held, list.children.length - 1)]?.firstElementChild)?.focus();
  }

  /** @param {CellPicture} picture @param {number} query @param {number} key */
  function drawCell({ stack, layer, head, weights, cut, closed }, query, key) {
    const { queries, keys } = stack;
    word(first, queries[query], "q");
    setText(verb, "looks at");
    word(second, keys[key], "k");
    const value = weights[query * keys.length + key];
    const state = cut(query, key);
    setText(weight, state === "whole" ? "cut" : decimal(value));
    setText(what, scopeWords(stack, layer, head));
    const numbers = layer !== null && head !== null ? cellNumbers(stack, layer, head, query, key) : null;
    heads.hidden = layer !== null && head !== null;
    strips.el.hidden = numbers === null;
    bias.hidden = !numbers?.bias;
    if (layer === null || head === null) return drawHeads(stack, layer, head, query, key);
    if (!numbers) return;
    setText(bias, `The score includes ${decimal(numbers.bias)} for the distance of the two.`);
    const why = state === "whole" || numbers.closed ? "cut" : closed(query, key) ? "it comes later, and may not be seen" : forbidden(stack, layer, head, query, key) ? "it may not look there" : "";
    strips.update({ ...numbers, score: numbers.dot * numbers.scale + numbers.bias, scaleText: `1/√${numbers.dHead}`, temperature: 1, weight: value, closed: why });
  }

  /**
   * A mean hides what its heads do: the strongest is named, and one press away.
   * @param {import("./scope.js").StackPicture} stack @param {number | null} layer @param {number | null} head @param {number} query @param {number} key
   */
  function drawHeads(stack, layer, head, query, key) {
    const values = inEveryHead(stack, query, key);
    const inside = Array.from(values, (value, i) => ({ value, layer: Math.floor(i / stack.nHeads), head: i % stack.nHeads })).filter((one) => (layer ?? one.layer) === one.layer && (head ?? one.head) === one.head);
    const top = inside.reduce((best, one) => (one.value > best.value ? one : best));
    const low = inside.reduce((best, one) => (one.value < best.value ? one : best));
    const text = `layer ${layerNumber(stack, top.layer)}, head ${headNumber(stack, top.head)}`;
    setText(range, `In single heads from ${decimal(low.value)} to ${decimal(top.value)}; most in `);
    setText(go, text);
    setAttribute(go, "aria-label", `Show ${text}`);
    leader = top;
  }

  return {
    el,
    /** @param {CellPicture} picture */
    update(picture) {
      const { query, key } = picture.spot;
      spot = picture.spot;
      setText(note, picture.found ? "The strongest look of all:" : "");
      note.hidden = !picture.found;
      const pair = query !== null && key !== null;
      list.hidden = pair;
      weight.hidden = !pair;
      if (pair) drawCell(picture, query, key);
      else {
        heads.hidden = strips.el.hidden = bias.hidden = true;
        drawWord(picture);
      }
      cutButton.hidden = !onCut;
      cutButton.disabled = picture.cutState === "wider";
      const what = pair ? "this look" : query !== null ? "all it looks at" : "all looks at it";
      setText(cutButton, { made: `Restore ${what}`, wider: "Cut, together with others", "": `✂ Cut ${what}` }[picture.cutState]);
      setAttribute(el, "data-cut", pair && picture.cut(query, key) === "whole");
    },
  };
}
