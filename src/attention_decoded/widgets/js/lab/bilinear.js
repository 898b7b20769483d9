/** Scores on a plane: x·B·x′ with B = W_Qᵀ W_K, row-major 2 × 2 matrices. */

/** @typedef {[number, number]} Point */
/** @typedef {[number, number, number, number]} Matrix  rows one after another */

/** B = W_Qᵀ W_K. @param {Matrix} wQ @param {Matrix} wK @returns {Matrix} */
export function bilinearForm([a, b, c, d], [e, f, g, h]) {
  return [a * e + c * g, a * f + c * h, b * e + d * g, b * f + d * h];
}

/** xᵀ B x′: how much x finds in x′. @param {Point} x @param {Matrix} form @param {Point} other */
export function score(x, [a, b, c, d], other) {
  return x[0] * (a * other[0] + b * other[1]) + x[1] * (c * other[0] + d * other[1]);
}

/**
 * What x looks for: the vector Bᵀx, whose dot product with any x′ is the score.
 * @param {Point} x @param {Matrix} form @returns {Point}
 */
export const lookedFor = (x, [a, b, c, d]) => [a * x[0] + c * x[1], b * x[0] + d * x[1]];

/** How far B is from being symmetric: |B₁₂ − B₂₁|. @param {Matrix} form */
export const skew = ([, b, c]) => Math.abs(b - c);

/** A rotation by an angle in degrees. @param {number} degrees @returns {Matrix} */
export function rotation(degrees) {
  const angle = (degrees * Math.PI) / 180;
  return [Math.cos(angle), -Math.sin(angle), Math.sin(angle), Math.cos(angle)];
}
