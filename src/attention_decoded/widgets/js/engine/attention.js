/**
 * Scaled dot-product attention: the mirror of `attention_decoded/attention.py`.
 *
 * Row = query (who looks), column = key (who is looked at). A mask holds 1 where a query may look.
 * Source: Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762v7, section 3.2.
 */

/** The lowest finite fp32 number, as `torch.finfo(torch.float32).min`. */
export const FLOOR = -3.4028234663852886e38;

/**
 * @typedef {object} Attended
 * @property {Float32Array} dots     [query, key] the bare dot products q·k
 * @property {Float32Array} scores   [query, key] what enters the softmax: q·k × scale ÷ temperature, before any mask
 * @property {Float32Array} weights  [query, key] after mask and softmax
 * @property {Float32Array} output   [query, d_value] the weighted averages of the values
 */

/**
 * A query that may look nowhere gets weights of exactly zero and an output of zero.
 * @param {Float32Array} q [query, d_head] @param {Float32Array} k [key, d_head] @param {Float32Array} v [key, d_value]
 * @param {{ nQuery: number, nKey?: number, scale?: number, temperature?: number, mask?: Uint8Array | null }} how
 *   `scale` multiplies q·k and is 1/√d_head when absent; `temperature` divides the result.
 * @returns {Attended}
 */
export function attend(q, k, v, { nQuery, nKey = nQuery, scale, temperature = 1, mask = null }) {
  const dHead = q.length / nQuery;
  const dValue = v.length / nKey;
  const factor = (scale ?? 1 / Math.sqrt(dHead)) / temperature;
  const dots = new Float32Array(nQuery * nKey);
  const scores = new Float32Array(nQuery * nKey);
  const weights = new Float32Array(nQuery * nKey);
  const output = new Float32Array(nQuery * dValue);
  for (let i = 0; i < nQuery; i++) {
    const row = i * nKey;
    let max = FLOOR;
    for (let j = 0; j < nKey; j++) {
      let dot = 0;
      for (let c = 0; c < dHead; c++) dot += q[i * dHead + c] * k[j * dHead + c];
      dots[row + j] = dot;
      scores[row + j] = dot * factor;
      if (!mask || mask[row + j]) max = Math.max(max, scores[row + j]);
    }
    let sum = 0;
    for (let j = 0; j < nKey; j++) {
      const seen = !mask || mask[row + j];
      sum += weights[row + j] = Math.exp((seen ? scores[row + j] : FLOOR) - max);
    }
    for (let j = 0; j < nKey; j++) {
      // An exact zero where the query may not look: in a row that may look nowhere, exp(FLOOR − FLOOR) is 1.
      const weight = (weights[row + j] = mask && !mask[row + j] ? 0 : weights[row + j] / sum);
      if (weight) for (let c = 0; c < dValue; c++) output[i * dValue + c] += weight * v[j * dValue + c];
    }
  }
  return { dots, scores, weights, output };
}

/**
 * The mask of a causal flag and a list of cut edges; null when every query may look everywhere.
 * @param {number} n
 * @param {{ causal?: boolean, cuts?: Iterable<readonly [number, number]> }} rules  a cut is [query, key]
 * @returns {Uint8Array | null}
 */
export function mayLook(n, { causal = false, cuts = [] }) {
  const mask = new Uint8Array(n * n).fill(1);
  if (causal) for (let i = 0; i < n; i++) mask.fill(0, i * n + i + 1, (i + 1) * n);
  for (const [query, key] of cuts) if (query < n && key < n) mask[query * n + key] = 0;
  return mask.includes(0) ? mask : null;
}

/**
 * How far a square matrix is from being symmetric: max |S − Sᵀ|.
 * @param {ArrayLike<number>} matrix [n, n] @param {number} n @returns {number}
 */
export function asymmetry(matrix, n) {
  let worst = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < i; j++) worst = Math.max(worst, Math.abs(matrix[i * n + j] - matrix[j * n + i]));
  return worst;
}
