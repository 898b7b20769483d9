/**
 * Why divide by √d: scores of random queries and keys, what a softmax over them does, and how much
 * gradient is left. Everything is drawn once; a narrower width uses the first components only.
 *
 * For independent components of mean 0 and variance 1, q·k has mean 0 and variance d
 * (Vaswani et al. 2017, arXiv:1706.03762v7, footnote 4).
 */

import { softmax } from "../engine/ops.js";
import { uniformGenerator } from "../engine/random.js";

export const WIDEST = 256;
export const QUERIES = 300;
export const KEYS = 10;

/** @typedef {"none" | "root" | "custom"} Mode */

/**
 * Standard normal numbers: the same for the same seed, in every browser.
 * @param {number} seed @returns {() => number}
 */
export function normalGenerator(seed) {
  const uniform = uniformGenerator(seed);
  let spare = NaN;
  return () => {
    if (!Number.isNaN(spare)) {
      const value = spare;
      spare = NaN;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())); // Box and Muller
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/**
 * Random queries, each with keys of its own.
 * @typedef {{ q: Float32Array, k: Float32Array }} Sample  q [QUERIES, WIDEST], k [QUERIES, KEYS, WIDEST]
 */

/** @param {number} seed @returns {Sample} */
export function drawSample(seed) {
  const normal = normalGenerator(seed);
  return { q: Float32Array.from({ length: QUERIES * WIDEST }, normal), k: Float32Array.from({ length: QUERIES * KEYS * WIDEST }, normal) };
}

/**
 * q·k of the first d components, for every query with each of its keys.
 * @param {Sample} sample @param {number} d @returns {Float32Array} [QUERIES, KEYS]
 */
export function dotProducts({ q, k }, d) {
  const dots = new Float32Array(QUERIES * KEYS);
  for (let i = 0; i < dots.length; i++) {
    const [from, to] = [Math.floor(i / KEYS) * WIDEST, i * WIDEST];
    let sum = 0;
    for (let c = 0; c < d; c++) sum += q[from + c] * k[to + c];
    dots[i] = sum;
  }
  return dots;
}

/** What multiplies q·k. @param {Mode} mode @param {number} factor used in mode "custom" @param {number} d */
export function scaleOf(mode, factor, d) {
  if (mode === "none") return 1;
  return mode === "root" ? 1 / Math.sqrt(d) : factor;
}

/**
 * The largest |∂ weight / ∂ score| of a row. ∂aᵢ/∂sⱼ is aᵢ(1 − aᵢ) for i = j and −aᵢaⱼ otherwise, and the
 * second is never the larger in size, since the weights sum to 1.
 * @param {ArrayLike<number>} weights
 */
export function largestGradient(weights) {
  return Array.from(weights).reduce((largest, a) => Math.max(largest, a * (1 - a)), 0);
}

/** Entropy of a row in bits: log₂ n when it is even, 0 when it has decided. @param {ArrayLike<number>} weights */
export function entropy(weights) {
  return Array.from(weights).reduce((sum, a) => (a > 0 ? sum - a * Math.log2(a) : sum), 0);
}

/** Density of N(0, deviation²) at x. @param {number} x @param {number} deviation */
export function normalDensity(x, deviation) {
  return Math.exp(-0.5 * (x / deviation) ** 2) / (deviation * Math.sqrt(2 * Math.PI));
}

/**
 * A histogram as densities, so that it can be laid over one; what lies outside is left out.
 * @param {ArrayLike<number>} values @param {number} edge from −edge to edge @param {number} bins
 */
export function histogram(values, edge, bins) {
  const density = new Float32Array(bins);
  const width = (2 * edge) / bins;
  for (let i = 0; i < values.length; i++) {
    const bin = Math.floor((values[i] + edge) / width);
    if (bin >= 0 && bin < bins) density[bin] += 1 / (values.length * width);
  }
  return density;
}

/** @param {ArrayLike<number>} values */
export function standardDeviation(values) {
  const all = Array.from(values);
  const mean = all.reduce((sum, x) => sum + x, 0) / all.length;
  return Math.sqrt(all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / all.length);
}

/** @param {number[]} values */
function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The softmax of one query's row. @param {Float32Array} dots @param {number} query @param {number} scale */
export function rowWeights(dots, query, scale) {
  return softmax(dots.subarray(query * KEYS, (query + 1) * KEYS).map((dot) => dot * scale));
}

/** The median over all queries of a row's largest gradient. @param {Float32Array} dots @param {number} scale */
export function medianGradient(dots, scale) {
  return median(Array.from({ length: QUERIES }, (_, query) => largestGradient(rowWeights(dots, query, scale))));
}

/**
 * The edge of a symmetric axis that holds ±3 deviations: a power of two, so that it stands still while little changes.
 * @param {number} deviation
 */
export const axisEdge = (deviation) => 2 ** Math.ceil(Math.log2(Math.max(3 * deviation, 1)));
