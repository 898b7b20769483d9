/**
 * What a decoder was fed under one list of cuts, and all that it gave, row by row: logits and looks. A run never
 * changes; a longer one shares the rows of the shorter, so that nothing is computed twice.
 */

/** @typedef {import("../engine/edits.js").Edits} Edits */
/** @typedef {import("../engine/heads.js").Looks} Looks */
/** @typedef {import("../engine/transformer.js").State} State */
/** @typedef {import("../engine/transformer.js").Step} Step */
/** @typedef {import("../engine/transformer.js").Transformer} Transformer */
/** @typedef {{ encoder: Looks[], decoder: Looks[], cross: Looks[] }} Stacks  per layer */
/** @typedef {{ step: Step, n: number }} Piece  of a step that fed several tokens, the first n */

export class Run {
  /** @param {Transformer} model @param {State} state @param {readonly number[]} [fed] @param {readonly Piece[]} [pieces] */
  constructor(model, state, fed = [], pieces = []) {
    this.model = model;
    this.state = state;
    this.fed = fed;
    this.pieces = pieces;
  }

  /** This run with these tokens fed after it, in one pass. @param {readonly number[]} ids @returns {Run} */
  read(ids) {
    if (!ids.length) return this;
    const step = this.model.read(ids, this.state);
    return new Run(this.model, step.state, [...this.fed, ...ids], [...this.pieces, { step, n: ids.length }]);
  }

  /**
   * Its first n rows. What is fed after them may be under other edits, if these leave the n rows as they are.
   * @param {number} n @param {Edits} [edits] @returns {Run}
   */
  first(n, edits = this.state.edits) {
    if (n === this.fed.length && edits === this.state.edits) return this;
    /** @type {Piece[]} */
    const pieces = [];
    let left = n;
    for (const piece of this.pieces) {
      if (!left) break;
      pieces.push({ step: piece.step, n: Math.min(piece.n, left) });
      left -= pieces[pieces.length - 1].n;
    }
    return new Run(this.model, { ...this.state, n, edits }, this.fed.slice(0, n), pieces);
  }

  /** A run that has been fed exactly this; the rows of a common beginning are kept. @param {readonly number[]} ids @returns {Run} */
  following(ids) {
    const n = commonLength(this.fed, ids);
    return this.first(n).read(ids.slice(n));
  }

  /** Logits of what follows the token fed at `row`. @param {number} row @returns {Float32Array} [vocab], a view */
  logits(row) {
    let at = row;
    for (const { step, n } of this.pieces) {
      const size = this.model.config.n_target_vocab;
      if (at < n) return step.logits.subarray(at * size, (at + 1) * size);
      at -= n;
    }
    throw new Error(`The run has ${this.fed.length} rows; there is no row ${row}.`);
  }

  /** The whole maps, as one pass over all that was fed would give them. @returns {Stacks} */
  looks() {
    const { cache, encoder } = this.state;
    const n = this.fed.length;
    const decoder = cache.map(({ k, v }, layer) =>
      joined(this.pieces.map(({ step, n }) => ({ looks: step.self[layer], n })), n, k.first(n), v.first(n)),
    );
    const cross = this.state.memory.map(({ k, v }, layer) =>
      joined(this.pieces.map(({ step, n }) => ({ looks: step.cross[layer], n })), encoder[0].nKey, k, v),
    );
    return { encoder, decoder, cross };
  }
}

/** How long two lists are alike from the beginning on. @param {readonly number[]} a @param {readonly number[]} b */
export function commonLength(a, b) {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

/**
 * One layer's looks, its queries put together. Keys that came later than a query have weight 0 for it.
 * @param {{ looks: Looks, n: number }[]} pieces @param {number} nKey @param {Float32Array} k @param {Float32Array} v
 * @returns {Looks}
 */
function joined(pieces, nKey, k, v) {
  const nHeads = pieces[0].looks.nHeads;
  const nQuery = pieces.reduce((sum, { n }) => sum + n, 0);
  const width = pieces[0].looks.q.length / pieces[0].looks.nQuery;
  const q = new Float32Array(nQuery * width);
  const weights = new Float32Array(nHeads * nQuery * nKey);
  const bias = pieces.some(({ looks }) => looks.bias) ? new Float32Array(weights.length) : null;
  let from = 0;
  for (const { looks, n } of pieces) {
    q.set(looks.q.subarray(0, n * width), from * width);
    for (let head = 0; head < nHeads; head++) {
      for (let i = 0; i < n; i++) {
        const there = (head * nQuery + from + i) * nKey;
        const here = (head * looks.nQuery + i) * looks.nKey;
        const seen = Math.min(nKey, looks.nKey);
        weights.set(looks.weights.subarray(here, here + seen), there);
        if (bias && looks.bias) bias.set(looks.bias.subarray(here, here + seen), there);
      }
    }
    from += n;
  }
  return { nHeads, nQuery, nKey, q, k, v, bias, weights };
}
