/**
 * How one stack is told the order: the mirror of `positions.py` and of `Positions` in `transformer.py`.
 *
 *   learned, sinusoidal   something is added to the vectors
 *   rotary                queries and keys are turned by their place's angle
 *   alibi, relative       something is added to the scores
 *
 * PyTorch computes the angles and buckets in single precision; `fround` repeats its rounding, so that far
 * positions agree as well.
 */

const { fround } = Math;

export const POSITION_KINDS = /** @type {const} */ (["sinusoidal", "learned", "relative", "alibi", "rotary"]);
/** @typedef {typeof POSITION_KINDS[number]} PositionKind */
const BUCKETS = 32;
const MAX_DISTANCE = 128;

/** Radians per position of each sin/cos pair. @param {number} width @returns {number[]} */
function speeds(width) {
  if (width % 2) throw new Error(`The width ${width} is odd: a sine and a cosine share each frequency.`);
  const turn = fround(2 * Math.PI);
  const wavelength = (/** @type {number} */ i) => fround(turn * fround(10_000 ** fround((2 * i) / width)));
  return Array.from({ length: width / 2 }, (_, i) => fround(turn / wavelength(i)));
}

/** One slope per head. @param {number} nHeads @returns {number[]} */
export function alibiSlopes(nHeads) {
  const power = 2 ** Math.floor(Math.log2(nHeads));
  return Array.from({ length: nHeads }, (_, i) =>
    fround(2 ** (i < power ? (-8 * (i + 1)) / power : (-4 * (2 * (i - power) + 1)) / power)),
  );
}

/**
 * Which entry of the table a pair of positions reads (T5's buckets).
 * @param {number} ahead  key − query @param {boolean} bidirectional @returns {number}
 */
export function bucket(ahead, bidirectional) {
  const n = bidirectional ? BUCKETS / 2 : BUCKETS;
  const side = bidirectional && ahead > 0 ? n : 0;
  const distance = bidirectional ? Math.abs(ahead) : Math.max(0, -ahead);
  const exact = n / 2;
  if (distance < exact) return side + distance;
  const far = fround(fround(Math.log(fround(distance / exact))) / fround(Math.log(MAX_DISTANCE / exact)));
  return side + Math.min(n - 1, exact + Math.trunc(fround(far * (n - exact))));
}

export class Positions {
  /**
   * @param {PositionKind | "none"} kind
   * @param {{ nHeads: number, width: number, bidirectional: boolean, table?: Float32Array }} of
   *   `width`: of a vector, or of one head where positions are rotary; `table`: what was learned, if anything was
   */
  constructor(kind, { nHeads, width, bidirectional, table }) {
    this.kind = kind;
    this.nHeads = nHeads;
    this.width = width;
    this.bidirectional = bidirectional;
    this.table = table ?? new Float32Array(0);
    this.speeds = kind === "sinusoidal" || kind === "rotary" ? speeds(width) : [];
    this.slopes = kind === "alibi" ? alibiSlopes(nHeads) : [];
    /** How many positions there are. */
    this.room = kind === "learned" ? this.table.length / width : Infinity;
  }

  /** The same stack, not told the order. */
  without() {
    return new Positions("none", this);
  }

  /**
   * Add their places to the vectors, for the kinds that do so; the first stands at `from`.
   * @param {Float32Array} x [n, width], changed in place @param {number} from
   */
  add(x, from) {
    const { kind, width, table, room } = this;
    if (kind !== "learned" && kind !== "sinusoidal") return;
    const end = from + x.length / width;
    if (end > room) throw new Error(`The model knows ${room} positions; ${end} are too many.`);
    if (kind === "learned") {
      for (let at = 0; at < x.length; at++) x[at] += table[from * width + at];
      return;
    }
    for (let place = from, at = 0; place < end; place++) {
      for (const speed of this.speeds) {
        const angle = fround(place * speed);
        x[at++] += fround(Math.sin(angle));
        x[at++] += fround(Math.cos(angle));
      }
    }
  }

  /**
   * Turn queries or keys to their places, if rotary; the first stands at `from`.
   * @param {Float32Array} x [n, head · d_head], changed in place @param {number} from
   */
  turn(x, from) {
    if (this.kind !== "rotary") return;
    const { width, nHeads } = this;
    const stride = width * nHeads;
    for (let i = 0; i * stride < x.length; i++) {
      this.speeds.forEach((speed, pair) => {
        const angle = fround((from + i) * speed);
        const cos = fround(Math.cos(angle));
        const sin = fround(Math.sin(angle));
        for (let at = i * stride + 2 * pair; at < (i + 1) * stride; at += width) {
          const even = x[at];
          const odd = x[at + 1];
          x[at] = even * cos - odd * sin;
          x[at + 1] = even * sin + odd * cos;
        }
      });
    }
  }

  /**
   * What is added to the scores; the queries are the last of the keys' positions. Null for the other kinds.
   * @param {number} nQuery @param {number} nKey @returns {Float32Array | null} [head, query, key]
   */
  bias(nQuery, nKey) {
    const { kind, nHeads, table, slopes, bidirectional } = this;
    if (kind !== "alibi" && kind !== "relative") return null;
    const bias = new Float32Array(nHeads * nQuery * nKey);
    for (let query = 0; query < nQuery; query++) {
      for (let key = 0; key < nKey; key++) {
        const ahead = key - (nKey - nQuery + query);
        const entry = kind === "relative" ? bucket(ahead, bidirectional) * nHeads : 0;
        for (let head = 0; head < nHeads; head++) {
          bias[(head * nQuery + query) * nKey + key] =
            kind === "relative" ? table[entry + head] : -slopes[head] * Math.abs(ahead);
        }
      }
    }
    return bias;
  }
}

/**
 * The tensor that positions of a kind are learned in, if any.
 * @param {PositionKind} kind @param {string} name @param {{ max_len: number, d_model: number, n_heads: number }} config
 * @returns {import("./weights.js").Shapes}
 */
export function positionShapes(kind, name, { max_len, d_model, n_heads }) {
  if (kind === "learned") return { [`${name}.table.weight`]: [max_len, d_model] };
  return kind === "relative" ? { [`${name}.relative.table.weight`]: [BUCKETS, n_heads] } : {};
}
