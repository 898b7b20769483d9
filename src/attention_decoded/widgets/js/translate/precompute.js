/** The example that a page carries, computed while the book is built by the session that the page itself runs. */

import { toTheEnd } from "../engine/steps.js";
import { mean } from "./maps.js";
import { packExample } from "./example.js";
import { cutText, fitting } from "./state.js";
import { beginning, writing } from "./writing.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Cut} Cut */
/** @typedef {import("./example.js").Written} Written */

const EFFECTS = 8;
const ALTERNATIVES = 6;

/**
 * Everything that can be seen of a state before the model is there, and the still picture's numbers.
 * @param {Session} session @param {State} state
 * @returns {{ problem: string } | { example: object, queries: string[], keys: string[], weights: number[], translation: string, before: string }}
 */
export function precompute(session, state) {
  const reading = session.read(state.sentence);
  if (!reading.ok) return { problem: reading.message };
  const { n_encoder_layers, n_decoder_layers, n_heads } = session.model.config;
  const room = { layers: { encoder: n_encoder_layers, decoder: n_decoder_layers }, heads: n_heads, nSource: reading.ids.length, nTarget: 128 };
  const wrong = state.cuts.filter((cut) => !fitting([cut], room).length);
  if (wrong.length) return { problem: `cuts outside the sentence or the model: ${wrong.map(cutText).join(", ")}` };
  const { ids: prefix } = beginning(session, state.prefix);
  if (prefix.length < state.prefix.length) return { problem: `the prefix holds a token that the model does not have: ${state.prefix[prefix.length]}` };
  const without = state.pruned.map((path) => beginning(session, path).ids);
  const unknown = state.pruned.find((path, i) => without[i].length < path.length);
  if (unknown) return { problem: `pruned holds a token that the model does not have: ${unknown.join(" ")}` };
  const { search, beam, alpha, temperature, top_k, seed } = state;
  const write = (/** @type {Cut[]} */ cuts) =>
    toTheEnd(writing(session, reading, { search, beam, without, alpha, penalty: "power", temperature, topK: top_k || null, seed, prefix, cuts, nAlternatives: ALTERNATIVES }));
  const base = write([]);
  const effectOf = (/** @type {Cut} */ cut) => {
    const written = write([cut]);
    const deltas = session.force(reading, base.ids, [cut]).logProbs.map((logProb, i) => logProb - base.logProbs[i]);
    return { cut, written, deltas, total: deltas.reduce((sum, x) => sum + x, 0), changed: written.text !== base.text };
  };
  const found = toTheEnd(session.suggestions(reading, base.ids, { kinds: ["column", "pair"] }));
  const wanted = [...state.cuts, ...found.slice(0, EFFECTS).map(({ cut }) => cut)];
  const effects = [...new Map(wanted.map((cut) => [cutText(cut), cut])).values()].map(effectOf);
  effects.sort((a, b) => Math.abs(b.total) - Math.abs(a.total));
  const { text, tokens, labels, notes } = reading;
  const lexicon = Object.fromEntries(tokens.filter((token) => Object.hasOwn(session.lexicon, token.text)).map((token) => [token.text, session.lexicon[token.text]]));
  const shown = state.cuts.length ? write(state.cuts) : base;
  const map = mean(/** @type {import("./maps.js").Layer[]} */ (shown.looks?.cross));
  return {
    example: packExample({ sentence: state.sentence, reading: { text, tokens, labels, notes }, lexicon, base, effects }),
    queries: shown.pieces.map((piece) => (piece === "<eos>" ? "⏎" : piece.replaceAll("▁", ""))),
    keys: labels,
    weights: Array.from(map.weights),
    translation: shown.text,
    before: base.text,
  };
}
