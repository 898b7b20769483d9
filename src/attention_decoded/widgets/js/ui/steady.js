/**
 * A figure's height, held while its contents change. To move a long page that stands below costs a browser more than
 * to draw what was pressed; so that is painted first, and the page moves in the frame after it.
 */

import { frame } from "./pace.js";

/**
 * @param {HTMLElement} el @param {AbortSignal} signal
 * @returns {() => void}  to be called before a change: what no longer fits is cut off for one frame
 */
export function steady(el, signal) {
  let height = 0;
  let held = false;
  /** The height that is observed is the contents' own. */
  let free = true;
  const watch = new ResizeObserver(([{ borderBoxSize }]) => {
    if (free) height = borderBoxSize[0].blockSize;
  });
  watch.observe(el);
  signal.addEventListener("abort", () => watch.disconnect());
  return async () => {
    if (held || !height) return;
    held = true;
    free = false;
    el.style.height = `${height}px`;
    el.style.overflowY = "clip";
    el.style.alignContent = "start"; // rows of a grid would stretch into the room that is left
    await frame();
    for (const name of ["height", "overflow-y", "align-content"]) el.style.removeProperty(name);
    free = true;
    await frame(); // by then the new height is known
    held = false;
  };
}
