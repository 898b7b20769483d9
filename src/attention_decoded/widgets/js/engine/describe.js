/** Numbers as the book writes them: a real minus sign, fixed digits, no "-0.00". */

/** @param {number} value @param {number} [digits] @returns {string} */
export function decimal(value, digits = 2) {
  const text = value.toFixed(digits);
  const zero = Number(text) === 0;
  return text.startsWith("-") ? (zero ? text.slice(1) : `−${text.slice(1)}`) : text;
}

/**
 * A probability in percent; tiny ones are not called zero.
 * @param {number} p @returns {string}
 */
export function percent(p) {
  return p > 0 && p < 0.001 ? "<0.1 %" : `${decimal(p * 100, p < 0.0995 ? 1 : 0)} %`;
}
