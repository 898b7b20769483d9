/** Making elements. Text always goes in as text: nothing a reader types or a file holds is ever parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */
/** @typedef {Node | string | null | undefined} Child */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Attributes} [attributes] `true` sets an empty attribute, `false` and null leave it away
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  return finish(document.createElement(tag), attributes, children);
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag @param {Attributes} [attributes] @param {Child[]} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  return finish(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {Element} E
 * @param {E} node @param {Attributes} attributes @param {Child[]} children @returns {E}
 */
function finish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  for (const child of children) if (child != null) node.append(child);
  return node;
}

/**
 * Write an attribute only where it differs: a heatmap redraws hundreds of cells for one step of a slider.
 * @param {Element} node @param {string} name @param {string | number | boolean | null | undefined} value
 */
export function setAttribute(node, name, value) {
  if (value === false || value == null) node.removeAttribute(name);
  else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * A widget's root. JupyterLab reads keys before any element does, and would take the arrow keys from a slider;
 * the last attribute is how it is told to leave them.
 * @param {string} name @param {string} kind the CSS class @param {string} label
 */
export function widgetRoot(name, kind, label) {
  return h("div", { class: `ad-widget ${kind}`, role: "group", "aria-label": label, "data-widget": name, "data-lm-suppress-shortcuts": true });
}

/** A button that looks like one. @param {string} text @param {() => void} press @param {Attributes} [attributes] */
export function button(text, press, attributes = {}) {
  const node = h("button", { type: "button", class: "ad-button", ...attributes }, text);
  node.addEventListener("click", press);
  return node;
}

/** "W_Q" with the letter after the underscore set as an index. @param {string} text @returns {HTMLElement} */
export function maths(text) {
  return h("span", {}, ...text.split(/(_\w)/u).map((part) => (/^_\w$/u.test(part) ? h("sub", {}, part[1]) : part)));
}

/**
 * JupyterLab takes arrow keys and letters for shortcuts of its own, unless the very element in focus says not to.
 * @param {HTMLElement} root
 */
export function keepKeys(root) {
  root.addEventListener("focusin", ({ target }) => target instanceof Element && setAttribute(target, "data-lm-suppress-shortcuts", true));
}

/**
 * The word that an event met: what stands in the nearest `data-word`, "side index".
 * @param {EventTarget | null} target @returns {{ side: string, at: number } | null}
 */
export function wordAt(target) {
  const node = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-word]")) : null;
  if (!node?.dataset.word) return null;
  const [side, at] = node.dataset.word.split(" ");
  return { side, at: Number(at) };
}

let counter = 0;
/** An id that is unique in the page. @param {string} stem */
export const uniqueId = (stem) => `ad-${stem}-${++counter}-${Math.random().toString(36).slice(2, 7)}`;
