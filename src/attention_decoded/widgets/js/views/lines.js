/**
 * The lines view: keys in one row, queries in another, and between them a line for every look, as thick and as dark
 * as its weight. On a narrow screen the rows become columns: queries on the left, keys on the right.
 *
 * A word under the pointer or in focus shows its own lines alone, with their numbers; pressing it holds them.
 */

import { decimal } from "../engine/describe.js";
import { h, setAttribute, setText, svg, wordAt } from "../ui/dom.js";
import { alongCurve, curve, letsGo, linesOf, looksOf, nearest, sameSpot, small } from "./scope.js";

/** @typedef {import("./scope.js").Spot} Spot */
/** @typedef {import("./scope.js").Label} Label */
/** @typedef {"query" | "key"} Side */

/**
 * @typedef {object} LinesPicture
 * @property {Label[]} queries
 * @property {Label[]} keys
 * @property {Float32Array} weights  [query, key]
 * @property {Spot | null} spot      what is in focus
 * @property {Spot | null} pinned    what the reader holds
 * @property {(query: number, key: number) => "whole" | "part" | ""} cut
 */

const SIDES = /** @type {const} */ (["key", "query"]);
/** How far from a line a pointer still meets it, in pixels. */
const REACH = { mouse: 7, touch: 16 };

/**
 * @param {{ signal: AbortSignal, onHover: (spot: Spot | null) => void, onPress: (word: Spot) => void, onLine: (spot: Spot, touch: boolean) => void, onForm: (form: "rows" | "columns") => void }} handlers
 *   `onPress` of a word, `onLine` of a line, `onForm` when it has been laid out
 */
export function linesView({ signal, onHover, onPress, onLine, onForm }) {
  const drawing = svg("svg", { class: "ad-lines-drawing", "aria-hidden": "true" });
  const number = svg("text", { class: "ad-lines-number" });
  const paths = svg("g");
  drawing.append(paths, number);
  const lists = { key: h("ol", { class: "ad-lines-words", "data-side": "key" }), query: h("ol", { class: "ad-lines-words", "data-side": "query" }) };
  const names = { key: ["key", "who is looked at"], query: ["query", "who looks"] };
  const sides = Object.fromEntries(
    SIDES.map((side) => {
      const [name, role] = names[side];
      const title = h("p", { class: `ad-lines-title ad-${side[0]}` }, `${name}: `, h("span", {}, role));
      return [side, h("div", { class: "ad-lines-side", role: "group", "aria-label": `${name}: ${role}`, "data-side": side }, title, lists[side])];
    }),
  );
  const el = h("div", { class: "ad-lines", "data-panel": "lines" }, drawing, sides.key, h("div", { class: "ad-lines-gap" }), sides.query);

  /** @typedef {{ item: HTMLElement, press: HTMLButtonElement, text: HTMLElement, sub: HTMLElement, number: HTMLElement, most: HTMLElement }} Word */
  /** @type {Record<Side, Word[]>} */
  const words = { key: [], query: [] };
  /** Where the lines end, in the drawing's own pixels. @type {Record<Side, import("./scope.js").Point[]>} */
  let ends = { key: [], query: [] };
  /** @type {"x" | "y"} */
  let axis = "y";
  /** @type {LinesPicture | null} */
  let picture = null;
  let written = "";
  let width = -1;
  /** One path per pair, made when it is first needed. @type {Map<string, SVGPathElement>} */
  const pool = new Map();
  /** On show, in the order of `linesOf`. @type {{ query: number, key: number, weight: number, a: import("./scope.js").Point, b: import("./scope.js").Point }[]} */
  let shown = [];
  /** What a finger met before it pressed. */
  let touch = false;

  /** @param {Side} side @param {number} at @returns {Spot} */
  const spotOf = (side, at) => ({ query: side === "query" ? at : null, key: side === "key" ? at : null });

  const wordOf = /** @type {(target: EventTarget | null) => { side: Side, at: number } | null} */ (wordAt);

  /** @param {PointerEvent | MouseEvent} event @returns {Spot | null} */
  function lineAt(event) {
    const frame = drawing.getBoundingClientRect();
    const at = nearest(shown, { x: event.clientX - frame.left, y: event.clientY - frame.top }, axis, touch ? REACH.touch : REACH.mouse);
    return at < 0 ? null : { query: shown[at].query, key: shown[at].key };
  }

  el.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const word = wordOf(event.target);
    const line = word ? null : lineAt(event);
    setAttribute(el, "data-on-line", line !== null);
    onHover(word ? spotOf(word.side, word.at) : line);
  });
  el.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return;
    setAttribute(el, "data-on-line", false);
    onHover(null);
  });
  el.addEventListener("pointerdown", (event) => (touch = event.pointerType === "touch"));
  el.addEventListener("click", (event) => {
    const word = wordOf(event.target);
    if (word) {
      rove(word.side, word.at);
      return onPress(spotOf(word.side, word.at));
    }
    const line = lineAt(event);
    if (line) onLine(line, touch);
  });
  el.addEventListener("focusin", ({ target }) => {
    const word = wordOf(target);
    if (!word || !(target instanceof Element)) return;
    rove(word.side, word.at);
    if (target.matches(":focus-visible")) onHover(spotOf(word.side, word.at));
  });
  el.addEventListener("focusout", (event) => letsGo(event) && onHover(null));
  el.addEventListener("keydown", (event) => {
    const word = wordOf(event.target);
    if (!word || !picture || event.altKey || event.metaKey || event.ctrlKey) return;
    const { side, at } = word;
    const n = words[side].length;
    const [next, before] = axis === "y" ? ["ArrowRight", "ArrowLeft"] : ["ArrowDown", "ArrowUp"];
    const keyEdge = axis === "y" ? "ArrowUp" : "ArrowRight";
    const queryEdge = axis === "y" ? "ArrowDown" : "ArrowLeft";
    let to = /** @type {{ side: Side, at: number } | null} */ (null);
    if (event.key === next) to = { side, at: Math.min(n - 1, at + 1) };
    if (event.key === before) to = { side, at: Math.max(0, at - 1) };
    if (event.key === "Home") to = { side, at: 0 };
    if (event.key === "End") to = { side, at: n - 1 };
    if (event.key === (side === "query" ? keyEdge : queryEdge)) {
      const [best] = looksOf(picture.weights, picture.keys.length, spotOf(side, at), 1);
      to = side === "query" ? { side: "key", at: best.key } : { side: "query", at: best.query };
    }
    if (!to) return;
    event.preventDefault();
    rove(to.side, to.at);
    words[to.side][to.at].press.focus();
  });

  /** One stop of the tabulator per side. @param {Side} side @param {number} at */
  function rove(side, at) {
    words[side].forEach(({ press }, i) => setAttribute(press, "tabindex", i === at ? 0 : -1));
  }

  /** @param {Side} side @param {number} at @returns {Word} */
  function makeWord(side, at) {
    const [text, sub, number, most] = ["text", "sub", "weight", "most"].map((name) => h("span", { class: `ad-lines-${name}` }));
    setAttribute(number, "aria-hidden", "true"); // `most` says the number that matters
    const press = h("button", { type: "button", class: "ad-lines-word", "data-word": `${side} ${at}`, tabindex: at ? -1 : 0 }, text, " ", sub, number, most);
    return { item: h("li", {}, press), press, text, sub, number, most };
  }

  /** Rows where both fit in one line, columns where not; then where every line ends. */
  function layout() {
    if (!el.clientWidth || !picture) return;
    setAttribute(el, "data-form", "rows");
    onForm("rows"); // rows are given more room: only in it can it be told whether they fit
    // A box as wide as its words tells more than its scroll width, which stops at the room it has.
    const fits = SIDES.every((side) => lists[side].scrollWidth <= lists[side].clientWidth + 1);
    if (!fits) setAttribute(el, "data-form", "columns");
    axis = fits ? "y" : "x";
    if (!fits) onForm("columns");
    width = el.clientWidth;
    const frame = el.getBoundingClientRect();
    setAttribute(drawing, "width", Math.round(frame.width));
    setAttribute(drawing, "height", Math.round(frame.height));
    const end = (/** @type {Side} */ side) =>
      words[side].map(({ press }) => {
        const box = press.getBoundingClientRect();
        const middle = { x: box.left + box.width / 2 - frame.left, y: box.top + box.height / 2 - frame.top };
        if (axis === "y") return { x: middle.x, y: (side === "key" ? box.bottom + 2 : box.top - 2) - frame.top };
        return { x: (side === "query" ? box.right + 2 : box.left - 2) - frame.left, y: middle.y };
      });
    ends = { key: end("key"), query: end("query") };
    for (const path of pool.values()) path.remove();
    pool.clear();
  }

  const watch = new ResizeObserver(() => {
    if (!el.clientWidth || el.clientWidth === width) return;
    layout();
    draw();
  });
  watch.observe(el);
  signal.addEventListener("abort", () => watch.disconnect());
  // Words are wider or narrower once their font has arrived.
  document.fonts?.ready.then(() => {
    if (signal.aborted) return;
    layout();
    draw();
  });

  function draw() {
    if (!picture || ends.key.length === 0) return;
    const { queries, keys, weights, spot, pinned, cut } = picture;
    const nKey = keys.length;
    const pair = spot !== null && spot.query !== null && spot.key !== null;
    // Beside a pair the other lines of the word that is held stay faintly there.
    const around = pair && pinned && (pinned.query === null || pinned.key === null) ? linesOf(weights, nKey, pinned) : [];
    const lines = linesOf(weights, nKey, spot);
    const used = new Set();
    /** @param {{ query: number, key: number, weight: number }} line @param {string} look @param {number} opacity */
    const show = ({ query, key, weight }, look, opacity) => {
      const name = `${look || "line"} ${query},${key}`;
      let path = pool.get(name);
      if (!path) {
        path = svg("path", { class: "ad-line-look", d: curve(ends.query[query], ends.key[key], axis), "data-look": look || null, "data-line": `${query},${key}` });
        pool.set(name, path);
      }
      used.add(name);
      setAttribute(path, "stroke-width", look === "cut" ? 1.5 : (0.75 + 6.5 * weight).toFixed(2));
      setAttribute(path, "stroke-opacity", look === "cut" ? 1 : opacity.toFixed(3));
      return path;
    };
    const open = lines.filter(({ query, key }) => cut(query, key) !== "whole");
    const nodes = [
      ...around.filter(({ query, key }) => !sameSpot({ query, key }, spot)).map((line) => show(line, "", 0.1 + 0.25 * line.weight)),
      ...open.map((line) => show(line, "", pair ? 0.95 : spot ? 0.22 + 0.73 * line.weight : 0.08 + 0.77 * line.weight)),
    ];
    /** @type {typeof lines} */
    const gone = [];
    for (let query = 0; query < queries.length; query++) {
      for (let key = 0; key < nKey; key++) {
        if (cut(query, key) !== "whole" || (spot && ((spot.query ?? query) !== query || (spot.key ?? key) !== key))) continue;
        gone.push({ query, key, weight: weights[query * nKey + key] });
      }
    }
    nodes.push(...gone.map((line) => show(line, "cut", 1)));
    nodes.forEach((node, i) => paths.childNodes[i] !== node && paths.insertBefore(node, paths.childNodes[i] ?? null));
    while (paths.childNodes.length > nodes.length) paths.lastChild?.remove();
    shown = [...open, ...gone].map((line) => ({ ...line, a: ends.query[line.query], b: ends.key[line.key] }));
    if (pool.size > 4 * used.size + 200) for (const [name, path] of pool) if (!used.has(name)) pool.delete(name) && path.remove();

    const weightOf = (/** @type {number} */ query, /** @type {number} */ key) => weights[query * nKey + key];
    setAttribute(number, "visibility", pair ? null : "hidden");
    if (pair && spot) {
      const at = alongCurve(ends.query[spot.query ?? 0], ends.key[spot.key ?? 0], axis, 0.5);
      setAttribute(number, "x", at.x.toFixed(1));
      setAttribute(number, "y", (at.y + 4).toFixed(1));
      setText(number, cut(spot.query ?? 0, spot.key ?? 0) === "whole" ? "cut" : decimal(weightOf(spot.query ?? 0, spot.key ?? 0)));
    }
    // Numbers stand at the words across from the one that is held, or else from the one in focus.
    const from = pair && pinned && (pinned.query === null || pinned.key === null) ? pinned : pair ? null : spot;
    for (const side of SIDES) {
      words[side].forEach(({ press, number, most }, i) => {
        const inSpot = spot !== null && (side === "query" ? spot.query : spot.key) === i;
        const across = from ? (side === "key" && from.query !== null ? weightOf(from.query, i) : side === "query" && from.key !== null ? weightOf(i, from.key) : null) : null;
        setText(number, across === null ? "" : small(across));
        const level = (across ?? 0).toFixed(3);
        if (press.dataset.level !== level) {
          press.dataset.level = level;
          press.style.setProperty("--level", level);
        }
        setAttribute(press, "data-in-focus", inSpot);
        setAttribute(press, "aria-pressed", String(pinned !== null && (side === "query" ? pinned.query : pinned.key) === i));
        const [best] = looksOf(weights, nKey, spotOf(side, i), 1);
        const name = (/** @type {Label} */ label) => label.name ?? label.text;
        setText(most, side === "query" ? `, looks most at ${name(keys[best.key])}: ${decimal(best.weight)}` : `, looked at most by ${name(queries[best.query])}: ${decimal(best.weight)}`);
      });
    }
  }

  return {
    el,
    /** @param {LinesPicture} next */
    update(next) {
      picture = next;
      const text = JSON.stringify([next.queries, next.keys]);
      if (text !== written) {
        written = text;
        for (const side of SIDES) {
          const labels = side === "key" ? next.keys : next.queries;
          while (words[side].length > labels.length) words[side].pop()?.item.remove();
          while (words[side].length < labels.length) {
            const made = makeWord(side, words[side].length);
            words[side].push(made);
            lists[side].append(made.item);
          }
          labels.forEach((label, i) => {
            const { press, text, sub } = words[side][i];
            setText(text, label.text || "␣");
            setAttribute(text, "lang", label.lang || null);
            setText(sub, label.sub ?? "");
            setAttribute(press, "data-tip", label.text.length > 14 ? label.text : null);
          });
          setAttribute(sides[side], "data-subs", labels.some(({ sub }) => sub));
          if (!words[side].some(({ press }) => press.tabIndex === 0)) rove(side, 0);
        }
        layout();
      }
      draw();
    },
  };
}
