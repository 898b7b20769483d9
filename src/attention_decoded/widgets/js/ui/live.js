/** One polite sentence for screen readers after a change; in a drag only the last one is spoken. */

import { h, setText } from "./dom.js";

/** @param {AbortSignal} signal */
export function liveRegion(signal) {
  const el = h("div", { class: "ad-unseen", role: "status", "aria-live": "polite" });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    el,
    /** @param {string} sentence */
    say(sentence) {
      clearTimeout(timer);
      timer = setTimeout(() => setText(el, sentence), 350);
    },
  };
}
