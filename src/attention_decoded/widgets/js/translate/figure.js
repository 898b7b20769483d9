/**
 * The sentence pair as one figure: Chinese tokens above, the English text below, and threads between them that
 * are as thick as the attention. A word in focus (hover, keyboard, touch) shows its own threads alone.
 */

import { decimal, percent } from "../engine/describe.js";
import { h, setAttribute, setText, svg, wordAt } from "../ui/dom.js";

/** @typedef {"source" | "target"} Side */
/** @typedef {{ side: Side, at: number }} Word */
/** @typedef {{ x: number, top: number, bottom: number }} Box  the middle from the left, and the edges from the top; in pixels */

/**
 * @typedef {object} SourceToken
 * @property {string} text @property {string} pinyin @property {string} gloss
 * @property {boolean} unknown  read as <unk>
 * @property {boolean} cut      nothing may look at it
 */

/**
 * @typedef {object} TargetToken
 * @property {string} text      without the mark of a word's beginning
 * @property {boolean} spaced   begins a word
 * @property {boolean} end      the token that ends the text
 * @property {number | null} p  its probability
 * @property {boolean} forced   the reader's choice
 */

/**
 * @typedef {object} Picture
 * @property {SourceToken[]} source
 * @property {TargetToken[]} target
 * @property {Float32Array | null} weights  [target, source] mean attention; null while a text is being written
 * @property {(target: number, source: number) => boolean} isCut
 * @property {Word | null} selected
 * @property {boolean} stale     the picture is of something that the reader has already changed
 * @property {boolean} writing
 */

/** Weights below these are no threads: of all words at once, and of the one in focus. */
const FAINT = 0.12;
const SEEN = 0.02;

/**
 * The threads worth drawing, strongest last, so that they lie on top.
 * @param {Float32Array} weights [target, source] @param {number} nSource @param {Word | null} focus
 * @returns {{ target: number, source: number, weight: number }[]}
 */
export function threads(weights, nSource, focus) {
  const found = [];
  for (let i = 0; i < weights.length; i++) {
    const [target, source] = [Math.floor(i / nSource), i % nSource];
    const inFocus = !focus || (focus.side === "target" ? target : source) === focus.at;
    if (inFocus && weights[i] >= (focus ? SEEN : FAINT)) found.push({ target, source, weight: weights[i] });
  }
  return found.sort((a, b) => a.weight - b.weight);
}

/**
 * A curve that leaves downward and arrives downward.
 * @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1
 */
export function curve(x0, y0, x1, y1) {
  const bend = Math.max(14, Math.abs(y1 - y0) * 0.5);
  const n = (/** @type {number} */ x) => x.toFixed(1);
  return `M${n(x0)} ${n(y0)}C${n(x0)} ${n(y0 + bend)} ${n(x1)} ${n(y1 - bend)} ${n(x1)} ${n(y1)}`;
}

/** A weight as a small number: .41 @param {number} weight */
export const small = (weight) => (weight >= 0.995 ? "1" : weight < 0.005 ? "0" : decimal(weight).slice(1));

/** @param {{ signal: AbortSignal, onPress: (word: Word) => void, onCut: (target: number, source: number) => void }} handlers */
export function pairFigure({ signal, onPress, onCut }) {
  const chips = h("ol", { class: "ad-pair-source", "aria-label": "Chinese tokens, as the model reads them" });
  const english = h("p", { class: "ad-pair-target", lang: "en" });
  const drawing = svg("svg", { class: "ad-threads", "aria-hidden": "true" });
  const el = h("div", { class: "ad-pairing", "data-panel": "pairing" }, drawing, chips, h("div", { class: "ad-pair-gap" }), english);

  /** @type {{ item: HTMLElement, press: HTMLButtonElement, text: HTMLElement, pinyin: HTMLElement, gloss: HTMLElement }[]} */
  let sources = [];
  /** @type {HTMLButtonElement[]} */
  let targets = [];
  /** @type {Picture | null} */
  let picture = null;
  /** Where the words stand; measured anew only where they may have moved. @type {Record<Side, Box[]>} */
  let boxes = { source: [], target: [] };
  /** What was measured. */
  let measured = "";
  /** The word under the pointer or with the focus. @type {Word | null} */
  let hovered = null;

  const wordOf = /** @type {(target: EventTarget | null) => Word | null} */ (wordAt);

  /** @param {Word | null} word */
  function hover(word) {
    if (word?.side === hovered?.side && word?.at === hovered?.at) return;
    hovered = word;
    draw();
  }
  el.addEventListener("pointerover", (event) => event.pointerType !== "touch" && hover(wordOf(event.target)));
  el.addEventListener("pointerleave", () => hover(null));
  el.addEventListener("focusin", (event) => event.target instanceof Element && event.target.matches(":focus-visible") && hover(wordOf(event.target)));
  el.addEventListener("focusout", () => hover(null));
  el.addEventListener("click", ({ target }) => {
    const thread = target instanceof Element ? target.closest("[data-thread]") : null;
    if (thread) {
      const [at, source] = /** @type {string} */ (thread.getAttribute("data-thread")).split(",").map(Number);
      return onCut(at, source);
    }
    const word = wordOf(target);
    if (word) onPress(word);
  });
  const again = () => {
    measured = "";
    draw();
  };
  const watch = new ResizeObserver(again);
  watch.observe(el);
  signal.addEventListener("abort", () => watch.disconnect());
  document.fonts?.addEventListener("loadingdone", again, { signal }); // words are wider or narrower in another font

  /** @param {number} i */
  function chip(i) {
    const text = h("span", { class: "ad-chip-text", lang: "zh-Hans" });
    const pinyin = h("span", { class: "ad-chip-pinyin", lang: "zh-Latn" });
    const gloss = h("span", { class: "ad-chip-gloss" });
    const press = h("button", { type: "button", class: "ad-chip ad-word", "data-word": `source ${i}`, "data-chip": i }, text, " ", pinyin, " ", gloss);
    return { item: h("li", {}, press), press, text, pinyin, gloss };
  }

  /** A word's box in the figure's own coordinates. @param {Element} node @param {DOMRect} frame @returns {Box} */
  function box(node, frame) {
    const at = node.getBoundingClientRect();
    return { x: at.left + at.width / 2 - frame.left, top: at.top - frame.top, bottom: at.bottom - frame.top };
  }

  /** @param {Picture} picture */
  function measure({ source, target, writing }) {
    const now = JSON.stringify([source.map(({ text, pinyin, gloss, unknown }) => [text, pinyin, gloss, unknown]), target.map(({ text, spaced, end }) => [text, spaced, end]), writing]);
    if (now === measured) return;
    measured = now;
    const frame = el.getBoundingClientRect();
    boxes = { source: sources.map(({ press }) => box(press, frame)), target: targets.map((node) => box(node, frame)) };
    setAttribute(drawing, "width", Math.round(frame.width));
    setAttribute(drawing, "height", Math.round(frame.height));
  }

  function draw() {
    if (!picture) return;
    const { source, target, weights, selected, isCut } = picture;
    const alone = selected?.side === "source" && source[selected.at]?.cut; // it has no threads to show
    const focus = hovered ?? (alone ? null : selected);
    const shown = weights ? threads(weights, source.length, focus) : [];
    const weight = (/** @type {number} */ t, /** @type {number} */ s) => (weights ? weights[t * source.length + s] : 0);
    sources.forEach(({ press }, s) => mark(press, focus?.side === "target" && weights ? weight(focus.at, s) : null, focus?.side === "source" && focus.at === s));
    targets.forEach((node, t) => mark(node, focus?.side === "source" && weights ? weight(t, focus.at) : null, focus?.side === "target" && focus.at === t));
    measure(picture); // after the words, before the threads: the page is laid out once
    const { source: from, target: to } = boxes;
    /** @type {SVGElement[]} */
    const marks = [];
    const line = (/** @type {number} */ t, /** @type {number} */ s) => curve(from[s].x, from[s].bottom, to[t].x, to[t].top + 4);
    for (const { target: t, source: s, weight } of shown) {
      const name = target[t].end ? "the end" : `“${target[t].text}”`;
      const tip = `${name} looks at ${source[s].text}: ${decimal(weight)}. Press: what if it could not?`;
      marks.push(
        svg("path", { class: "ad-thread", d: line(t, s), "stroke-width": (0.8 + 7 * weight).toFixed(2), "stroke-opacity": (focus ? 0.3 + 0.6 * weight : 0.12 + 0.5 * weight).toFixed(2) }),
        svg("path", { class: "ad-thread-hit", d: line(t, s), "data-thread": `${t},${s}`, "data-tip": tip }),
      );
    }
    if (weights) {
      for (let t = 0; t < target.length; t++) {
        for (let s = 0; s < source.length; s++) {
          if (!isCut(t, s) || source[s].cut) continue;
          const d = line(t, s);
          const middle = { x: (from[s].x + to[t].x) / 2, y: (from[s].bottom + to[t].top) / 2 };
          marks.push(
            svg("path", { class: "ad-thread-cut", d }),
            svg("path", { class: "ad-thread-cross", d: `M${middle.x - 4} ${middle.y - 4}l8 8m0 -8l-8 8` }),
            svg("path", { class: "ad-thread-hit", d, "data-thread": `${t},${s}`, "data-tip": `Cut: press to let “${target[t].text}” look at ${source[s].text} again` }),
          );
        }
      }
    }
    drawing.replaceChildren(...marks);
  }

  /** @param {HTMLElement} node @param {number | null} weight of the look between it and the word in focus @param {boolean} focused */
  function mark(node, weight, focused) {
    setAttribute(node, "data-weight", weight === null || weight < SEEN ? null : small(weight));
    if (weight === null) node.style.removeProperty("--w");
    else node.style.setProperty("--w", weight.toFixed(3));
    setAttribute(node, "data-focused", focused);
  }

  return {
    el,
    /** The button of a word, to give the focus back to. @param {Word} word */
    button: ({ side, at }) => (side === "source" ? sources[at]?.press : targets[at]),
    /** Where it stands, in pixels from the figure's left. @param {Word} word */
    middle: ({ side, at }) => boxes[side][at]?.x ?? 0,
    /** @param {Picture} next */
    update(next) {
      picture = next;
      if (hovered && hovered.at >= next[hovered.side].length) hovered = null;
      while (sources.length > next.source.length) sources.pop()?.item.remove();
      while (sources.length < next.source.length) {
        const made = chip(sources.length);
        sources.push(made);
        chips.append(made.item);
      }
      next.source.forEach((token, i) => {
        const { press, text, pinyin, gloss } = sources[i];
        setText(text, token.text);
        setText(pinyin, token.pinyin);
        setText(gloss, token.unknown ? "unknown" : token.gloss);
        setAttribute(press, "data-unknown", token.unknown);
        setAttribute(press, "data-cut", token.cut);
        setAttribute(press, "aria-expanded", String(next.selected?.side === "source" && next.selected.at === i));
        setAttribute(press, "data-tip", token.unknown ? `${token.text}: not in the model's vocabulary, read as <unk>` : null);
      });
      while (targets.length > next.target.length) {
        const gone = targets.pop();
        if (gone?.previousSibling instanceof Text) gone.previousSibling.remove();
        gone?.remove();
      }
      while (targets.length < next.target.length) {
        const node = h("button", { type: "button", class: "ad-target-word ad-word", "data-word": `target ${targets.length}` });
        targets.push(node);
        english.append("", node);
      }
      next.target.forEach((token, i) => {
        const node = targets[i];
        setText(node, token.end ? "⏎" : token.text);
        setText(/** @type {Node} */ (node.previousSibling), token.spaced && i ? " " : "");
        setAttribute(node, "data-end", token.end);
        setAttribute(node, "data-forced", token.forced);
        setAttribute(node, "aria-expanded", String(next.selected?.side === "target" && next.selected.at === i));
        const name = token.end ? "end of the text" : token.text;
        setAttribute(node, "aria-label", token.p === null ? name : `${name}, ${percent(token.p)}${token.forced ? ", your choice" : ""}`);
        setAttribute(node, "data-tip", token.p === null ? null : `${token.forced ? "your choice, " : ""}${percent(token.p)}`);
        node.style.setProperty("--p", (token.p ?? 0).toFixed(3));
      });
      setAttribute(el, "data-stale", next.stale);
      setAttribute(english, "data-writing", next.writing);
      setAttribute(english, "aria-busy", next.writing ? "true" : null);
    },
    /** Draw the threads between the words. To know where these stand the page has to be laid out: best after all else is written. */
    draw,
  };
}
