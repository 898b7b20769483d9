/** The palette's colours for a canvas, which does not follow the style sheet by itself. */

/** A colour of the palette as red, green, blue. @param {Element} el @param {string} name @returns {[number, number, number]} */
export function paletteColour(el, name) {
  const text = getComputedStyle(el).getPropertyValue(`--ad-${name}`).trim();
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  return [r || 0, g || 0, b || 0];
}

/**
 * Call back after the page has changed between light and dark: the book's page, JupyterLab and Colab each write that
 * on the root or the body.
 * @param {AbortSignal} signal @param {() => void} changed
 */
export function onTheme(signal, changed) {
  const watch = new MutationObserver(changed);
  const attributeFilter = ["data-theme", "data-jp-theme-light", "theme", "class"];
  for (const node of [document.documentElement, document.body]) watch.observe(node, { attributes: true, attributeFilter });
  signal.addEventListener("abort", () => watch.disconnect());
}
