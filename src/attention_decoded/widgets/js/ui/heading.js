/**
 * A pointer on its way to something. What is hovered decides what a panel beside it shows; on its way to a button of
 * that panel the pointer crosses others, and these should not count.
 */

/** In milliseconds: how long ago a movement may be that still tells the way, and how long a pointer rests where it wants to be. */
const RECENT = 80;
const REST = 150;

/**
 * Whether a movement leads from a point towards a box: within about 40 degrees of the way to its nearest point.
 * @param {{ x: number, y: number }} at @param {{ x: number, y: number }} moved
 * @param {{ left: number, right: number, top: number, bottom: number }} box
 */
export function towards(at, moved, box) {
  const x = Math.max(box.left, Math.min(at.x, box.right)) - at.x;
  const y = Math.max(box.top, Math.min(at.y, box.bottom)) - at.y;
  const product = Math.hypot(x, y) * Math.hypot(moved.x, moved.y);
  return product > 0 && (x * moved.x + y * moved.y) / product > 0.75;
}

/**
 * `hover` for what lies in `from`, slower for a pointer that moves towards `panel`, and silent once it is there.
 * @template T
 * @param {{ from: HTMLElement, panel: HTMLElement, signal: AbortSignal, hover: (what: T | null) => void }} how
 * @returns {(what: T | null) => void}
 */
export function unlessHeading({ from, panel, signal, hover }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let resting;
  let last = { x: NaN, y: NaN };
  let until = 0;
  const follow = (/** @type {PointerEvent} */ { pointerType, clientX: x, clientY: y }) => {
    const moved = { x: x - last.x, y: y - last.y };
    last = { x, y };
    if (pointerType !== "touch" && towards(last, moved, panel.getBoundingClientRect())) until = performance.now() + RECENT;
    else if (Math.abs(moved.x) + Math.abs(moved.y) > 1) until = 0;
  };
  from.addEventListener("pointerover", follow, true); // before those who ask which way it goes
  from.addEventListener("pointermove", follow);
  from.addEventListener("pointerleave", () => (last = { x: NaN, y: NaN }));
  panel.addEventListener("pointerenter", () => clearTimeout(resting));
  panel.addEventListener("pointerleave", (event) => event.pointerType === "touch" || hover(null));
  signal.addEventListener("abort", () => clearTimeout(resting));
  return (what) => {
    clearTimeout(resting);
    if (performance.now() > until) hover(what);
    else resting = setTimeout(() => hover(what), REST);
  };
}
