/** A line of text that is read while it is typed. */

/**
 * Call back with what stands in a field: when the typing pauses, at once with Enter. Nothing is read while an input
 * method is still composing: half a syllable of pinyin is no sentence.
 * @param {HTMLInputElement} input
 * @param {{ pause: number, signal: AbortSignal, onText: (text: string) => void }} how  pause in milliseconds
 */
export function whenTyped(input, { pause, signal, onText }) {
  let composing = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let pending;
  const later = () => {
    clearTimeout(pending);
    pending = setTimeout(() => onText(input.value), pause);
  };
  input.addEventListener("compositionstart", () => {
    composing = true;
    clearTimeout(pending);
  });
  input.addEventListener("compositionend", () => {
    composing = false;
    later();
  });
  input.addEventListener("input", () => composing || later());
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || composing || event.isComposing) return;
    clearTimeout(pending);
    onText(input.value);
  });
  signal.addEventListener("abort", () => clearTimeout(pending));
}
