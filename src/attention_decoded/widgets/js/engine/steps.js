/** Work that is done in steps (generators), where a page would rather paint in between. */

/**
 * All of it at once.
 * @template R
 * @param {Generator<unknown, R, void>} steps @returns {R}
 */
export function toTheEnd(steps) {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
