/**
 * A small label beside whatever carries `data-tip`, on hover and on keyboard focus. It repeats what
 * the element's own accessible name says, so it is hidden from screen readers. Escape closes it.
 */

import { h, setText } from "./dom.js";

/** @param {HTMLElement} root @param {AbortSignal} signal */
export function tooltips(root, signal) {
  const tip = h("div", { class: "ad-tip", "aria-hidden": "true", hidden: true });
  root.append(tip);
  const close = () => (tip.hidden = true);
  /** @param {Event} event */
  const open = ({ target }) => {
    const host = target instanceof Element ? target.closest("[data-tip]") : null;
    const text = host?.getAttribute("data-tip");
    if (!host || !text || !root.contains(host)) return close();
    setText(tip, text);
    tip.hidden = false;
    const [frame, at] = [root.getBoundingClientRect(), host.getBoundingClientRect()];
    const half = tip.offsetWidth / 2;
    const middle = at.left + at.width / 2 - frame.left;
    const above = at.top - frame.top - tip.offsetHeight - 6;
    tip.style.left = `${Math.max(half + 4, Math.min(frame.width - half - 4, middle))}px`;
    tip.style.top = `${above > 0 ? above : at.bottom - frame.top + 6}px`;
  };
  root.addEventListener("pointerover", open, { signal });
  root.addEventListener("focusin", (event) => event.target instanceof Element && event.target.matches(":focus-visible") && open(event), { signal });
  for (const name of ["pointerleave", "focusout", "click"]) root.addEventListener(name, close, { signal });
  root.addEventListener("keydown", (event) => event.key === "Escape" && close(), { signal });
}
