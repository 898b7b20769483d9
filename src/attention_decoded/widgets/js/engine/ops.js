/**
 * The few operations a Transformer is made of, on row-major Float32Arrays.
 *
 * A matrix x of n rows is one array of n · width numbers. Sums run in double precision, as plain
 * JavaScript numbers do, and are rounded to fp32 when they are stored.
 */

/**
 * y = x Wᵀ + b, with W stored as `nn.Linear` stores it: one output after another.
 * @param {Float32Array} x [n, d_in]
 * @param {number} n
 * @param {Float32Array} weight [d_out, d_in]
 * @param {Float32Array | null} [bias] [d_out]
 * @returns {Float32Array} [n, d_out]
 */
export function linear(x, n, weight, bias = null) {
  const dIn = x.length / n;
  const dOut = weight.length / dIn;
  if (!Number.isInteger(dIn) || !Number.isInteger(dOut)) {
    throw new Error(`linear: ${x.length} numbers in ${n} rows do not fit a matrix of ${weight.length}`);
  }
  const y = new Float32Array(n * dOut);
  let o = 0;
  for (; o + 4 <= dOut; o += 4) {
    // Four outputs share each read of x, and two rows each read of the weights: half again as fast as one row.
    const [w0, w1, w2, w3] = [o * dIn, (o + 1) * dIn, (o + 2) * dIn, (o + 3) * dIn];
    let i = 0;
    for (; i + 2 <= n; i += 2) {
      const from = i * dIn;
      const next = from + dIn;
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      let [t0, t1, t2, t3] = [0, 0, 0, 0];
      for (let c = 0; c < dIn; c++) {
        const s = x[from + c];
        const t = x[next + c];
        const a0 = weight[w0 + c];
        const a1 = weight[w1 + c];
        const a2 = weight[w2 + c];
        const a3 = weight[w3 + c];
        s0 += s * a0;
        s1 += s * a1;
        s2 += s * a2;
        s3 += s * a3;
        t0 += t * a0;
        t1 += t * a1;
        t2 += t * a2;
        t3 += t * a3;
      }
      store(y, i * dOut + o, s0, s1, s2, s3);
      store(y, (i + 1) * dOut + o, t0, t1, t2, t3);
    }
    for (; i < n; i++) {
      const from = i * dIn;
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      for (let c = 0; c < dIn; c++) {
        const value = x[from + c];
        s0 += value * weight[w0 + c];
        s1 += value * weight[w1 + c];
        s2 += value * weight[w2 + c];
        s3 += value * weight[w3 + c];
      }
      store(y, i * dOut + o, s0, s1, s2, s3);
    }
  }
  for (; o < dOut; o++) {
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let c = 0; c < dIn; c++) sum += x[i * dIn + c] * weight[o * dIn + c];
      y[i * dOut + o] = sum;
    }
  }
  if (bias) for (let at = 0; at < y.length; at++) y[at] += bias[at % dOut];
  return y;
}

/** @param {Float32Array} y @param {number} at @param {number} a @param {number} b @param {number} c @param {number} d */
function store(y, at, a, b, c, d) {
  y[at] = a;
  y[at + 1] = b;
  y[at + 2] = c;
  y[at + 3] = d;
}

/**
 * LayerNorm as in PyTorch: population variance, ε inside the root.
 * @param {Float32Array} x [n, d] @param {Float32Array} gain [d] @param {Float32Array} shift [d]
 * @param {number} [epsilon]
 * @returns {Float32Array}
 */
export function layerNorm(x, gain, shift, epsilon = 1e-5) {
  const d = gain.length;
  const y = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += d) {
    let mean = 0;
    for (let c = 0; c < d; c++) mean += x[from + c];
    mean /= d;
    let variance = 0;
    for (let c = 0; c < d; c++) variance += (x[from + c] - mean) ** 2;
    const inverse = 1 / Math.sqrt(variance / d + epsilon);
    for (let c = 0; c < d; c++) y[from + c] = (x[from + c] - mean) * inverse * gain[c] + shift[c];
  }
  return y;
}

/**
 * Softmax of one row. The maximum is subtracted first, so that exp never overflows.
 * @param {ArrayLike<number>} scores @returns {Float32Array}
 */
export function softmax(scores) {
  const weights = new Float32Array(scores.length);
  let max = -Infinity;
  for (let i = 0; i < scores.length; i++) max = Math.max(max, scores[i]);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += weights[i] = Math.exp(scores[i] - max);
  for (let i = 0; i < scores.length; i++) weights[i] /= sum;
  return weights;
}

/** max(0, x) in place. @param {Float32Array} x @returns {Float32Array} the same array */
export function relu(x) {
  for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0;
  return x;
}

/** x + y in place of x. @param {Float32Array} x @param {Float32Array} y @returns {Float32Array} x */
export function addTo(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
}

/**
 * Cosine of the angle between two vectors; 0 when one of them is zero.
 * @param {ArrayLike<number>} a @param {ArrayLike<number>} b @returns {number}
 */
export function cosine(a, b) {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let c = 0; c < a.length; c++) {
    ab += a[c] * b[c];
    aa += a[c] * a[c];
    bb += b[c] * b[c];
  }
  return aa && bb ? Math.max(-1, Math.min(1, ab / Math.sqrt(aa * bb))) : 0;
}

/**
 * The indices of the `count` largest numbers, largest first; ties keep their order.
 * @param {ArrayLike<number>} values @param {number} count @param {(index: number) => boolean} [admit]
 * @returns {number[]}
 */
export function topIndices(values, count, admit = () => true) {
  /** @type {number[]} */
  const best = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === count && values[i] <= values[best[count - 1]]) continue;
    if (!admit(i)) continue;
    let place = best.length;
    while (place > 0 && values[best[place - 1]] < values[i]) place--;
    best.splice(place, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}
