/** Sentences to choose from, each with what it means. */

import { h, setAttribute } from "./dom.js";

/**
 * @param {{ get: (name: string) => any }} model  with `examples` and their `meanings`
 * @param {{ onChoose: (text: string) => void }} handlers
 */
export function exampleButtons(model, { onChoose }) {
  const el = h("div", { class: "ad-examples", role: "group", "aria-label": "Example sentences" });
  el.addEventListener("click", ({ target }) => {
    const press = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-example]")) : null;
    if (press?.dataset.example) onChoose(press.dataset.example);
  });
  return {
    el,
    draw() {
      const meanings = new Map(Object.entries(model.get("meanings") ?? {}));
      el.replaceChildren(
        ...(model.get("examples") ?? []).map((/** @type {string} */ text) =>
          h(
            "button",
            { type: "button", class: "ad-button ad-example", "data-example": text },
            h("span", { lang: "zh" }, text),
            meanings.has(text) ? h("span", { class: "ad-example-meaning", lang: "en" }, meanings.get(text)) : null,
          ),
        ),
      );
    },
    /** Which of them is on show. @param {string} text */
    mark(text) {
      for (const one of el.children) setAttribute(one, "aria-pressed", String(one.getAttribute("data-example") === text));
    },
  };
}
