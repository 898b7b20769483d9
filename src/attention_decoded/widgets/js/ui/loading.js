/** While a model is on its way: how far it is, a way to stop, and a way to try again. */

import { button, h, setText } from "./dom.js";

/**
 * Run `load` until it succeeds, showing its progress and its failures in `el`.
 * Rejects only when the figure is taken away.
 * @template T
 * @param {HTMLElement} el
 * @param {AbortSignal} gone
 * @param {(signal: AbortSignal, onProgress: (share: number | null, bytes: number) => void) => Promise<T>} load
 * @returns {Promise<T>}
 */
export async function loadVisibly(el, gone, load) {
  const text = h("span", { role: "status" });
  const bar = h("progress", { max: 1, "aria-label": "Loading the model" });
  const box = h("div", { class: "ad-loading" }, text, bar);
  el.append(box);
  try {
    for (;;) {
      const attempt = new AbortController();
      const stop = button("Stop", () => attempt.abort());
      box.replaceChildren(text, bar, stop);
      bar.removeAttribute("value");
      setText(text, "Loading the model …");
      el.dataset.status = "loading";
      try {
        const loaded = await load(AbortSignal.any([gone, attempt.signal]), (share, bytes) => {
          if (share !== null) bar.value = Math.min(1, share);
          setText(text, `Loading the model … ${(bytes / 1024).toFixed(0)} kB`);
        });
        delete el.dataset.status; // what it is now is the caller's to say
        return loaded;
      } catch (error) {
        gone.throwIfAborted();
        el.dataset.status = "failed";
        const why = attempt.signal.aborted ? "Loading was stopped." : `The model could not be loaded. ${error instanceof Error ? error.message : error}`;
        await new Promise((resolve, reject) => {
          setText(text, why);
          box.replaceChildren(text, button("Try again", () => resolve(null)));
          gone.addEventListener("abort", () => reject(gone.reason), { once: true });
        });
      }
    }
  } finally {
    box.remove();
  }
}
