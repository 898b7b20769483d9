/** Run an anywidget's module: https://anywidget.dev/en/afm (initialize, render, both with a clean-up). */

/** @typedef {import("./model.js").Model} Model */
/** @typedef {{ initialize?: (props: object) => any, render?: (props: object) => any }} Widget */

/** @type {Map<string, Promise<Widget>>} one import per source, however often it is shown */
const modules = new Map();
/** @type {WeakMap<Model, Promise<void>>} */
const initialized = new WeakMap();

/** @param {string} source @returns {Promise<Widget>} */
export function load(source) {
  let widget = modules.get(source);
  if (!widget) {
    widget = (async () => {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      try {
        const { default: definition } = await import(url);
        return typeof definition === "function" ? await definition() : definition;
      } finally {
        URL.revokeObjectURL(url);
      }
    })();
    modules.set(source, widget);
  }
  return widget;
}

/** @param {Model} model */
function addStyle(model) {
  const css = model.get("_css");
  const id = String(model.get("_anywidget_id"));
  if (!css || [...document.querySelectorAll("style[data-anywidget]")].some((s) => /** @type {HTMLElement} */ (s).dataset.anywidget === id)) return;
  const style = document.createElement("style");
  style.dataset.anywidget = id;
  style.textContent = css;
  document.head.append(style);
}

/**
 * Resolves when the widget has painted itself.
 * @param {Model} model @param {HTMLElement} el @param {AbortSignal} signal aborted when the view is taken away
 */
export async function renderAnywidget(model, el, signal) {
  addStyle(model);
  const widget = await load(model.get("_esm"));
  const experimental = {
    invoke: async () => {
      throw new Error("This page has no kernel to ask.");
    },
  };
  let ready = initialized.get(model);
  if (!ready) {
    ready = (async () => {
      const cleanup = await widget.initialize?.({ model, signal: new AbortController().signal, experimental });
      // A page's models live as long as the page: only leaving it ends them.
      if (typeof cleanup === "function") addEventListener("pagehide", (event) => event.persisted || cleanup());
    })();
    initialized.set(model, ready);
  }
  await ready;
  const cleanup = await widget.render?.({ model, el, signal, experimental });
  if (typeof cleanup !== "function") return;
  if (signal.aborted) cleanup();
  else signal.addEventListener("abort", cleanup, { once: true });
}
