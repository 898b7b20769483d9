/**
 * A figure's height, held while its contents change. To move a long page that stands below costs a browser more than
 * to draw what was pressed; so that is painted first, and the page moves in the frame after it.
 */

import { frame } from "./pace.js";

/**
 * @param {HTMLElement} host  a plain block around the figure: to hold a grid's own height is to lay all of it out anew
 * @param {AbortSignal} signal
 * @returns {() => void}  to be called before a change: what no longer fits is cut off for one frame
 */
export function steady(host, signal) {
  let height = 0;
  let held = false;
  /** The height that is observed is the contents' own. */
  let free = true;
  const watch = new ResizeObserver(([{ borderBoxSize }]) => {
    if (free) height = borderBoxSize[0].blockSize;
  });
  watch.observe(host);
  signal.addEventListener("abort", () => watch.disconnect());
  return async () => {
    if (held || !height) return;
    held = true;
    free = false;
    host.style.height = `${height}px`;
    host.style.overflowY = "clip";
    await frame();
    for (const name of ["height", "overflow-y"]) host.style.removeProperty(name);
    free = true;
    await frame(); // by then the new height is known
    held = false;
  };
}
