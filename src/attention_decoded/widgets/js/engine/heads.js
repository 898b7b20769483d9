/**
 * All heads of one attention layer, over rows in which the heads lie side by side: the mirror of what
 * `MultiHeadAttention` does between its projections. (`attention.js` has one head with every number on the
 * way to its weights; here only what is costly to find again is kept.)
 */

/**
 * One layer's looks. Row = query (who looks), column = key (who is looked at).
 * @typedef {object} Looks
 * @property {number} nHeads
 * @property {number} nQuery
 * @property {number} nKey
 * @property {Float32Array} q        [query, head · d_head] as compared: turned to their places if rotary
 * @property {Float32Array} k        [key, head · d_head]
 * @property {Float32Array} v        [key, head · d_value]
 * @property {Float32Array | null} bias  [head, query, key] added to q·k/√d_head; −∞ where cut
 * @property {Float32Array} weights  [head, query, key]; exactly 0 where a query may not look
 */

/**
 * A query that may look nowhere gets weights and an output of zero, as in `attention.js`.
 * @param {Float32Array} q @param {Float32Array} k @param {Float32Array} v rows as in `Looks`
 * @param {{ nHeads: number, nQuery: number, nKey: number, causal?: boolean, bias?: Float32Array | null,
 *   gate?: (head: number) => number }} how
 *   `causal`: the queries are the last ones of the keys, and none sees what stands after it
 * @returns {{ looks: Looks, output: Float32Array }}  output [query, head · d_value]
 */
export function attendHeads(q, k, v, { nHeads, nQuery, nKey, causal = false, bias = null, gate = () => 1 }) {
  const width = q.length / nQuery;
  const dHead = width / nHeads;
  const scale = 1 / Math.sqrt(dHead);
  const weights = new Float32Array(nHeads * nQuery * nKey);
  const output = new Float32Array(nQuery * width);
  for (let head = 0; head < nHeads; head++) {
    const factor = gate(head);
    for (let i = 0; i < nQuery; i++) {
      const row = (head * nQuery + i) * nKey;
      const at = i * width + head * dHead;
      const seen = causal ? nKey - nQuery + i + 1 : nKey;
      let max = -Infinity;
      for (let j = 0; j < seen; j++) {
        const from = j * width + head * dHead;
        let dot = 0;
        for (let c = 0; c < dHead; c++) dot += q[at + c] * k[from + c];
        const score = dot * scale + (bias ? bias[row + j] : 0);
        weights[row + j] = score;
        if (score > max) max = score;
      }
      if (max === -Infinity) {
        weights.fill(0, row, row + seen);
        continue;
      }
      let sum = 0;
      for (let j = 0; j < seen; j++) sum += weights[row + j] = Math.exp(weights[row + j] - max);
      for (let j = 0; j < seen; j++) {
        const weight = (weights[row + j] /= sum);
        const from = j * width + head * dHead;
        const given = weight * factor;
        if (given) for (let c = 0; c < dHead; c++) output[at + c] += given * v[from + c];
      }
    }
  }
  return { looks: { nHeads, nQuery, nKey, q, k, v, bias, weights }, output };
}

/**
 * One head of a layer: its own queries, keys and values, and its square of weights.
 * @param {Looks} looks @param {number} head
 */
export function oneHead({ nHeads, nQuery, nKey, q, k, v, weights }, head) {
  return {
    q: columns(q, nQuery, nHeads, head),
    k: columns(k, nKey, nHeads, head),
    v: columns(v, nKey, nHeads, head),
    weights: weights.slice(head * nQuery * nKey, (head + 1) * nQuery * nKey),
  };
}

/**
 * A head's columns in rows that hold all heads side by side.
 * @param {Float32Array} x @param {number} n rows @param {number} nHeads @param {number} head
 */
function columns(x, n, nHeads, head) {
  const stride = x.length / n;
  const width = stride / nHeads;
  const part = new Float32Array(n * width);
  for (let i = 0; i < n; i++) part.set(x.subarray(i * stride + head * width, i * stride + (head + 1) * width), i * width);
  return part;
}
