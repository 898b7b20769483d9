/** Long work in short slices, so that the page goes on painting and answering. */

const SLICE = 8;

/** Until the page has painted once more; a hidden page does not, so not for ever. @returns {Promise<void>} */
export function frame() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    const done = () => {
      clearTimeout(timer);
      cancelAnimationFrame(request);
      port1.close();
      resolve();
    };
    port1.onmessage = done; // comes after the paint; what follows in the frame's own callback would come before it
    const timer = setTimeout(done, 60);
    const request = requestAnimationFrame(() => port2.postMessage(null));
  });
}

/** A moment in which the page has nothing better to do. @returns {Promise<number>} how many milliseconds it lasts */
export function idle() {
  return new Promise((resolve) => {
    if ("requestIdleCallback" in globalThis) requestIdleCallback((deadline) => resolve(Math.max(1, deadline.timeRemaining())), { timeout: 500 });
    else setTimeout(() => resolve(SLICE), 20); // Safari
  });
}

/**
 * Run a generator to its end, at most `SLICE` milliseconds between two frames. Rejects with the signal's reason
 * when it is aborted.
 * @template T, R
 * @param {Generator<T, R, void>} steps @param {AbortSignal} signal
 * @param {(step: T, index: number) => void} [onStep]
 * @param {() => void} [onFrame]  before the page paints
 * @returns {Promise<R>}
 */
export async function inSlices(steps, signal, onStep = () => {}, onFrame = () => {}) {
  for (let index = 0, begun = performance.now(); ; index++) {
    signal.throwIfAborted();
    const { done, value } = steps.next();
    if (done) return value;
    onStep(value, index);
    if (performance.now() - begun < SLICE) continue;
    onFrame();
    await frame();
    begun = performance.now();
  }
}

/**
 * The same steps, the milliseconds of each noted.
 * @template T, R
 * @param {Generator<T, R, void>} steps @param {number[]} times @returns {Generator<T, R, void>}
 */
export function* timed(steps, times) {
  for (;;) {
    const begun = performance.now();
    const { done, value } = steps.next();
    times.push(performance.now() - begun);
    if (done) return value;
    yield value;
  }
}

/**
 * Run a generator in idle moments.
 * @template T, R
 * @param {Generator<T, R, void>} steps @param {AbortSignal} signal @param {(step: T, index: number) => void} onStep
 * @returns {Promise<R>}
 */
export async function whenIdle(steps, signal, onStep) {
  for (let index = 0; ; ) {
    const until = performance.now() + (await idle());
    do {
      signal.throwIfAborted();
      const { done, value } = steps.next();
      if (done) return value;
      onStep(value, index++);
    } while (performance.now() < until);
  }
}
