/** From a session's numbers to a translation as the figure shows it. */

import { branch } from "../engine/beam.js";
import { EOS } from "../engine/tokenizer.js";

/** @typedef {import("./example.js").Written} Written */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").WriteOptions} WriteOptions */

/** A piece without the mark of a word's beginning. @param {string} piece */
export const plain = (piece) => piece.replaceAll("▁", " ").trim() || "␣";

/** The tokens of a text, its end left out. @param {Written} written */
export const finalPieces = ({ ids, pieces }) => pieces.filter((_, i) => ids[i] !== EOS);

/**
 * The ids of a chosen beginning, up to the first token that the vocabulary does not have.
 * @param {Session} session @param {readonly string[]} prefix
 */
export function beginning(session, prefix) {
  const ids = [];
  for (const piece of prefix) {
    const id = session.target.ids.get(piece);
    if (id === undefined || ids.at(-1) === EOS) break;
    ids.push(id);
  }
  return { ids };
}

/**
 * Write a translation, one step after the other; every step gives what stands so far.
 * @param {Session} session @param {{ ids: number[] }} reading @param {WriteOptions & { prefix: readonly number[] }} options
 * @returns {Generator<Written, Written, void>}
 */
export function* writing(session, reading, options) {
  const { texts } = session.target;
  const steps = session.write(reading, options);
  /** @type {number[]} */
  let ids = [...options.prefix];
  /** Of a beam's best beginning none is shown: it may be another one at the next step. @type {number[]} */
  const logProbs = ids.map(() => NaN);
  for (;;) {
    const { done, value } = steps.next();
    if (done) {
      const { alternatives, logProbs: known, text, pieces, finished, looks, tree } = value;
      const named = alternatives.map((row) => row.map((choice) => ({ ...choice, piece: texts[choice.id] })));
      return { ids: value.ids, pieces, logProbs: known, alternatives: named, text, finished, looks, ...(tree && { tree }) };
    }
    if (Array.isArray(value)) {
      const best = value.find(({ fate }) => fate === "goes on") ?? value[0];
      ids = [...options.prefix, ...branch(best).map(({ id }) => id)];
    } else {
      ids = [...ids, value.id];
      logProbs.push(value.logProb);
    }
    yield { ids, pieces: ids.map((id) => texts[id]), logProbs: ids.map((_, i) => logProbs[i] ?? NaN), alternatives: [], text: session.target.decode(ids), finished: false, looks: null };
  }
}
