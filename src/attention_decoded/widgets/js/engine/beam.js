/**
 * Beam search: several beginnings side by side, the best whole texts returned. The mirror of `beam_search` in
 * `decoding.py`, for one source at a time: the same formulas, the same order of ties. The tree that was searched
 * comes out with the texts.
 */

import { begin, check, IMPOSSIBLE, lengthPenalty } from "./decoding.js";
import { topIndices } from "./ops.js";
import { allowedLogProbs, likeliest } from "./probabilities.js";

/** @typedef {import("./decoding.js").Hypothesis} Hypothesis */
/** @typedef {import("./decoding.js").WriteOptions} WriteOptions */
/**
 * @template S, T
 * @typedef {import("./decoding.js").Writer<S, T>} Writer
 */

/**
 * @typedef {object} BeamOptions
 * @property {number} [beam]      how many beginnings go on side by side
 * @property {number} [nBest]     how many texts are wanted
 * @property {import("./decoding.js").Penalty} [penalty]
 * @property {number} [alpha]
 * @property {"likely" | "proved" | "first"} [stop]  when a search ends; see `decoding.py`
 * @property {readonly (readonly number[])[]} [without]  beginnings that are left out: no text begins with one of them
 */

/**
 * A node of the search's tree.
 * @typedef {object} Candidate
 * @property {Candidate | null} parent
 * @property {number} id
 * @property {number} logProb
 * @property {number} sum    of the log-probabilities from the root
 * @property {"goes on" | "found" | "dropped" | "left out"} fate
 */

/**
 * The texts of highest score, and the tree: the candidates of every step, likeliest first.
 * @template S
 * @template {{ logits: Float32Array, state: S }} T
 * @param {Writer<S, T>} model @param {readonly number[]} source @param {WriteOptions & BeamOptions} [options]
 * @returns {{ texts: Hypothesis[], tree: Candidate[][] }}
 */
export function beamSearch(model, source, options) {
  const search = searching(model, source, options);
  /** @type {Candidate[][]} */
  const tree = [];
  for (;;) {
    const { done, value } = search.next();
    if (done) return { texts: value, tree };
    tree.push(value);
  }
}

/**
 * The same, one step of all beginnings at a time: a page can show the tree while it grows.
 * @template S
 * @template {{ logits: Float32Array, state: S }} T
 * @param {Writer<S, T>} model @param {readonly number[]} source @param {WriteOptions & BeamOptions} [options]
 * @returns {Generator<Candidate[], Hypothesis[], void>}
 */
export function* searching(model, source, options = {}) {
  const { maxLen, eos, forbidden, nAlternatives } = check(source, options);
  const { beam, nBest, penalty, alpha, stop } = checkBeam(options);
  const without = new Set((options.without ?? []).map((path) => path.join()));
  const longest = lengthPenalty(maxLen, penalty, alpha);
  const enough = stop === "proved" ? nBest : beam;
  /** @typedef {{ id: number, state: S, node: Candidate | null, alternatives: Hypothesis["alternatives"] }} Beginning */
  /** @type {Beginning[]} */
  let beginnings = [{ ...begin(model, source, options), node: null, alternatives: [] }];
  /** @type {Hypothesis[]} */
  const found = [];
  for (let t = 0; t < maxLen; t++) {
    /** @type {{ candidate: Candidate, from: Beginning }[]} the tree shall not hold on to the states */
    const each = [];
    for (const { id, state: before, node, alternatives } of beginnings) {
      const { logits, state } = model.step(id, before);
      const logProbs = allowedLogProbs(logits, eos, forbidden);
      const from = { id, state, node, alternatives: [...alternatives, likeliest(logProbs, nAlternatives)] };
      // Twice the beam, because half of it may end here; each beginning's best first, then the best of all.
      for (const next of likeliest(logProbs, 2 * beam + without.size)) {
        const sum = (node?.sum ?? 0) + next.logProb;
        /** @type {Candidate} */
        const candidate = { ...next, parent: node, sum, fate: "dropped" };
        if (without.size && without.has(branch(candidate).map(({ id }) => id).join())) candidate.fate = "left out";
        each.push({ candidate, from });
      }
    }
    const sums = each.map(({ candidate }) => candidate.sum);
    const top = topIndices(sums, 2 * beam + without.size).map((i) => each[i]);
    // What is left out takes no place from the others: they move up.
    const best = top.filter(({ candidate }) => candidate.fate !== "left out").slice(0, 2 * beam);
    const ends = (/** @type {{ candidate: Candidate }} */ { candidate }) => candidate.id === eos || t + 1 === maxLen;

    const reach = lengthPenalty(t + 1, penalty, alpha);
    for (const { candidate, from } of best.slice(0, beam).filter(ends)) {
      candidate.fate = "found";
      const path = branch(candidate);
      found.push({
        ids: path.map(({ id }) => id),
        logProbs: path.map(({ logProb }) => logProb),
        logProb: candidate.sum,
        score: candidate.sum / reach,
        finished: candidate.id === eos,
        alternatives: from.alternatives,
      });
    }
    found.sort((a, b) => b.score - a.score); // of equal scores the earlier one stays first

    const chosen = best.filter((one) => !ends(one)).slice(0, beam);
    for (const { candidate } of chosen) candidate.fate = "goes on";
    beginnings = chosen.map(({ candidate: node, from }) => ({ ...from, id: node.id, node }));
    yield top.slice(0, top.indexOf(best[best.length - 1]) + 1).map(({ candidate }) => candidate);
    if (!chosen.length) break;
    const hope = chosen[0].candidate.sum / (stop === "proved" ? Math.max(reach, longest) : reach);
    if (found.length >= enough && (stop === "first" || hope <= found[enough - 1].score)) break;
  }
  if (!found.length) throw new Error(without.size ? "Every beginning is left out: bring one back, or undo." : IMPOSSIBLE);
  return found.slice(0, nBest);
}

/** The way from the root to a candidate. @param {Candidate} candidate @returns {Candidate[]} */
export function branch(candidate) {
  /** @type {Candidate[]} */
  const path = [];
  for (let node = /** @type {Candidate | null} */ (candidate); node; node = node.parent) path.push(node);
  return path.reverse();
}

/** The options, complete and in range. @param {BeamOptions} options */
function checkBeam({ beam = 5, nBest = 1, penalty = "power", alpha = 1, stop = "likely" }) {
  if (!(Number.isSafeInteger(beam) && beam >= 1)) throw new Error(`A beam of ${beam}: at least 1 is needed.`);
  if (!(nBest >= 1 && nBest <= beam)) throw new Error(`${nBest} best texts cannot come from a beam of ${beam}.`);
  if (!["likely", "proved", "first"].includes(stop)) throw new Error(`stop: ${stop} is none of likely, proved, first.`);
  return { beam, nBest, penalty, alpha, stop };
}
