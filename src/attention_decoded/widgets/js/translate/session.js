/**
 * One translator at work on sentences: reading, writing, cutting and measuring, without a page. Every number comes
 * from the model by way of `run.js`, so that what one question has computed, the next one finds.
 */

import { branch, searching } from "../engine/beam.js";
import { FORBIDDEN, lengthPenalty, writing } from "../engine/decoding.js";
import { cutting } from "../engine/edits.js";
import { drawing, likeliest, logSoftmax, mostLikely } from "../engine/probabilities.js";
import { toTheEnd } from "../engine/steps.js";
import { BOS, EOS, MASK, PAD } from "../engine/tokenizer.js";
import { readSentence } from "../lab/reading.js";
import { commonLength, Run } from "./run.js";
import { allCuts } from "./suggest.js";

export { differences } from "./differences.js";

/** @typedef {import("../engine/beam.js").Candidate} Candidate */
/** @typedef {import("../engine/decoding.js").Hypothesis} Hypothesis */
/** @typedef {import("../engine/edits.js").Cut} Cut */
/** @typedef {import("../engine/probabilities.js").Choice} Choice */
/** @typedef {import("../engine/tokenizer.js").Token} Token */
/** @typedef {import("../engine/tokenizer.js").Tokenizer} Tokenizer */
/** @typedef {import("../engine/transformer.js").Transformer} Transformer */
/** @typedef {import("./run.js").Stacks} Stacks */
/** @typedef {import("./suggest.js").Kind} Kind */

/**
 * A sentence as the model reads it.
 * @typedef {object} Reading
 * @property {true} ok
 * @property {string} text      normalised
 * @property {Token[]} tokens   without the end
 * @property {number[]} ids     with the end
 * @property {string[]} labels  of the ids
 * @property {string[]} notes   what the reader may want to know about it
 */

/**
 * @typedef {object} WriteOptions
 * @property {"greedy" | "sample" | "beam"} [search]
 * @property {readonly Cut[]} [cuts]
 * @property {readonly number[]} [prefix]  how the text has to begin
 * @property {number} [beam]
 * @property {readonly (readonly number[])[]} [without]  beginnings behind the prefix that beam search leaves out
 * @property {number} [alpha]
 * @property {import("../engine/decoding.js").Penalty} [penalty]
 * @property {number} [temperature]
 * @property {number | null} [topK]
 * @property {number} [topP]
 * @property {number} [seed]
 * @property {number} [maxLen]         tokens at most, the prefix counted
 * @property {number} [nAlternatives]  for every token
 */

/**
 * A whole text. Its first tokens are the prefix, if there was one.
 * @typedef {object} Written
 * @property {number[]} ids            EOS is last if it is `finished`
 * @property {number[]} logProbs       of each, natural logarithms
 * @property {Choice[][]} alternatives  in the place of each, likeliest first
 * @property {string} text
 * @property {string[]} pieces         each token as the vocabulary writes it
 * @property {boolean} finished
 * @property {Stacks} looks
 * @property {Candidate[][]} [tree]    of a beam search, without the prefix
 * @property {Hypothesis[]} [texts]    of a beam search, best first, without the prefix
 */

/** @typedef {{ deltas: number[], total: number, text: string, ids: number[], changed: boolean }} Effect */
/** @typedef {{ cut: Cut, delta: number, changed: boolean }} Suggestion  `delta`: of the whole text's log-probability */

/** The end of the sentence, as a label of an axis. */
export const END = "⏎";
const LONGEST_WRITTEN = 128;
/** How many tokens of a guessed text are read at a time: a step stays short, and little is read in vain. */
const AHEAD = 4;
/** How many runs are remembered. */
const MEMORY = 8;

export class Session {
  /**
   * @param {{ model: Transformer, source: Tokenizer, target: Tokenizer, simplified?: Record<string, string>,
   *   lexicon?: Record<string, [string, string]>, maxTokens?: number }} parts
   *   `simplified`: traditional → simplified; `lexicon`: token → pinyin and gloss; `maxTokens`: of a source, its end left out
   */
  constructor({ model, source, target, simplified = {}, lexicon = {}, maxTokens = 64 }) {
    this.model = model;
    this.source = source;
    this.target = target;
    this.simplified = simplified;
    this.lexicon = lexicon;
    this.maxTokens = Math.min(maxTokens, model.config.max_len - 1);
    /** The latest last. @type {Map<string, { source: string, encoder: string, free: boolean, run: Run }>} */
    this.memory = new Map();
  }

  /** @param {string} typed @returns {Reading | { ok: false, message: string }} */
  read(typed) {
    const reading = readSentence(typed, { tokenizer: this.source, simplified: this.simplified, maxTokens: this.maxTokens });
    if (!reading.ok) return reading;
    const mark = reading.tokens.find(({ id }) => [PAD, BOS, EOS, MASK].includes(id));
    if (mark) return { ok: false, message: `Leave out ${mark.text}: it is a mark of the model's own, and no text.` };
    const { text, tokens, notes } = reading;
    return { ok: true, text, tokens, ids: [...tokens.map(({ id }) => id), EOS], labels: [...tokens.map((token) => token.text), END], notes };
  }

  // ------------------------------------------------------------------ writing

  /**
   * Write a translation. Every step hands out what it found: the token that was chosen, or of a beam search the
   * candidates, likeliest first. Throws an Error in words for what cannot be done.
   * @param {Pick<Reading, "ids">} reading @param {WriteOptions} [options]
   * @returns {Generator<(Choice & { alternatives: Choice[] }) | Candidate[], Written, void>}
   */
  *write(reading, options = {}) {
    const { search = "greedy", cuts = [], prefix = [], nAlternatives = 5, beam = 4, without = [], penalty, alpha, seed, temperature, topK, topP } = options;
    const fed = [BOS, ...prefix];
    if (prefix[prefix.length - 1] === EOS) return this.told(this.forced(reading, prefix, cuts), [...prefix], nAlternatives);
    const room = this.model.config.max_len;
    const maxLen = Math.min(options.maxLen ?? LONGEST_WRITTEN, room) - prefix.length;
    if (!(maxLen >= 1)) throw new Error(`The beginning has ${prefix.length} tokens already; the text may have ${maxLen + prefix.length}.`);
    const known = this.known(reading.ids, cuts);
    const start = known.following(fed.slice(0, -1));
    const first = fed[fed.length - 1];
    if (search === "beam") {
      const steps = searching(plainly(start), reading.ids, { bos: first, maxLen, beam, without, nBest: beam, penalty, alpha });
      /** @type {Candidate[][]} */
      const tree = [];
      for (;;) {
        const { done, value } = steps.next();
        if (done) {
          const ids = [...prefix, ...value[0].ids];
          return { ...this.told(this.forced(reading, ids, cuts), ids, nAlternatives), tree, texts: value };
        }
        tree.push(value);
        yield value;
      }
    }
    if (search !== "greedy" && search !== "sample") throw new Error(`The search ${String(search)} is none of greedy, sample, beam.`);
    const choose = search === "greedy" ? mostLikely : drawing({ seed, temperature, topK, topP });
    const guess = search === "greedy" ? (this.memory.get(keyOf(reading.ids, []))?.run.fed ?? []) : [];
    const steps = writing(guessing(start, known, guess), reading.ids, choose, { bos: first, maxLen, nAlternatives });
    let run = start;
    for (;;) {
      const { done, value } = steps.next();
      if (done) {
        this.remember(reading.ids, cuts, run);
        return this.told(run, [...prefix, ...value.ids], nAlternatives);
      }
      run = value.step.state;
      yield { id: value.id, logProb: value.logProb, alternatives: value.alternatives };
    }
  }

  /**
   * What is known of a text: `run` has been fed all but its last token.
   * @param {Run} run @param {number[]} ids @param {number} nAlternatives @returns {Written}
   */
  told(run, ids, nAlternatives) {
    const rows = ids.map((_, i) => logSoftmax(run.logits(i)));
    const logProbs = rows.map((row, i) => row[ids[i]]);
    for (const row of rows) for (const id of FORBIDDEN) row[id] = -Infinity;
    return {
      ids,
      logProbs,
      alternatives: rows.map((row) => likeliest(row, nAlternatives)),
      text: this.target.decode(ids),
      pieces: ids.map((id) => this.target.texts[id]),
      finished: ids[ids.length - 1] === EOS,
      looks: run.looks(),
    };
  }

  // ------------------------------------------------------------------ measuring

  /**
   * The log-probability of every token of a known text under cuts, and where everything looks meanwhile.
   * @param {Pick<Reading, "ids">} reading @param {readonly number[]} ids @param {readonly Cut[]} [cuts]
   * @returns {{ logProbs: number[], looks: Stacks }}
   */
  force(reading, ids, cuts = []) {
    const run = this.forced(reading, ids, cuts);
    return { logProbs: logProbs(run, ids), looks: run.looks() };
  }

  /**
   * What cuts do: to every token of a known text, and to the greedy translation.
   * @param {Pick<Reading, "ids">} reading @param {readonly number[]} ids @param {readonly Cut[]} cuts
   * @param {{ logProbs: readonly number[] }} [base]  the text without cuts @param {readonly number[]} [prefix]
   * @returns {Effect} `changed`: whether the greedy translation is another one than without the cuts
   */
  effect(reading, ids, cuts, base = this.force(reading, ids), prefix = []) {
    const uncut = this.greedy(reading, [], prefix);
    const deltas = this.force(reading, ids, cuts).logProbs.map((logProb, i) => logProb - base.logProbs[i]);
    const cut = this.greedy(reading, cuts, prefix);
    return { deltas, total: sum(deltas), text: this.target.decode(cut), ids: cut, changed: !alike(cut, uncut) };
  }

  /**
   * Measure what single cuts do to a text, one at every step; in the end all, the strongest first.
   * @param {Pick<Reading, "ids">} reading @param {readonly number[]} ids
   * @param {{ kinds?: readonly Kind[], prefix?: readonly number[] }} [options] @returns {Generator<Suggestion, Suggestion[], void>}
   */
  *suggestions(reading, ids, { kinds = ["column", "pair", "head", "layer"], prefix = [] } = {}) {
    const base = sum(this.force(reading, ids).logProbs);
    const greedy = this.greedy(reading, [], prefix);
    const cuts = allCuts(kinds, { ...this.model.config, nSource: reading.ids.length, nTarget: ids.length });
    /** @type {Suggestion[]} */
    const found = [];
    for (const cut of cuts) {
      // Not remembered: hundreds of runs would drive out those that are asked for again.
      const start = this.known(reading.ids, [cut]);
      const run = start.following(fedFor(ids));
      const own = alike(ids, greedy) ? run : start.following(fedFor(greedy));
      const changed = greedy.some((id, i) => i >= prefix.length && best(own, i) !== id);
      found.push({ cut, delta: sum(logProbs(run, ids)) - base, changed });
      yield found[found.length - 1];
    }
    return found.sort((a, b) => Math.abs(b.delta) - Math.abs(a.delta));
  }

  /**
   * The whole texts that a search found, ranked by another length penalty than it was made with.
   * @param {readonly (readonly Candidate[])[]} tree
   * @param {{ penalty?: import("../engine/decoding.js").Penalty, alpha?: number, eos?: number }} [by]
   * @returns {{ ids: number[], sum: number, score: number, finished: boolean }[]} best first
   */
  rerank(tree, { penalty = "power", alpha = 1, eos = EOS } = {}) {
    const found = tree.flat().filter(({ fate }) => fate === "found");
    const texts = found.map((candidate) => {
      const ids = branch(candidate).map(({ id }) => id);
      return { ids, sum: candidate.sum, score: candidate.sum / lengthPenalty(ids.length, penalty, alpha), finished: candidate.id === eos };
    });
    return texts.sort((a, b) => b.score - a.score);
  }

  // ------------------------------------------------------------------ runs

  /** @param {Pick<Reading, "ids">} reading @param {readonly Cut[]} cuts @param {readonly number[]} prefix @returns {number[]} */
  greedy(reading, cuts, prefix) {
    return toTheEnd(this.write(reading, { cuts, prefix, nAlternatives: 0 })).ids;
  }

  /** A text read as far as its last token is decided. @param {Pick<Reading, "ids">} reading @param {readonly number[]} ids @param {readonly Cut[]} cuts */
  forced(reading, ids, cuts) {
    if (!ids.length) throw new Error("There is no text to be measured.");
    const run = this.known(reading.ids, cuts).following(fedFor(ids));
    this.remember(reading.ids, cuts, run);
    return run;
  }

  /**
   * What is known already of this source under these cuts: at least the source read.
   * @param {readonly number[]} source @param {readonly Cut[]} cuts @returns {Run}
   */
  known(source, cuts) {
    const key = keyOf(source, cuts);
    const mine = this.memory.get(key);
    if (mine) {
      this.memory.delete(key);
      this.memory.set(key, mine);
      return mine.run;
    }
    const edits = cutting(cuts);
    const encoder = encoderKey(cuts);
    const others = [...this.memory.values()].filter((one) => one.source === source.join() && one.encoder === encoder);
    // Cuts that leave the encoder alone also leave the decoder's rows alone, up to the first one that is cut.
    const other = others.find(({ free }) => free) ?? others[0];
    if (!other) return new Run(this.model, this.model.start(source, edits));
    return other.run.first(other.free ? Math.min(other.run.fed.length, untouched(cuts)) : 0, edits);
  }

  /** @param {readonly number[]} source @param {readonly Cut[]} cuts @param {Run} run */
  remember(source, cuts, run) {
    const key = keyOf(source, cuts);
    this.memory.delete(key);
    this.memory.set(key, { source: source.join(), encoder: encoderKey(cuts), free: cuts.length === 0, run });
    if (this.memory.size <= MEMORY) return;
    const [oldest] = this.memory.keys();
    this.memory.delete(oldest);
  }
}

/** What is fed to decide every token of a text. @param {readonly number[]} ids */
const fedFor = (ids) => [BOS, ...ids.slice(0, -1)];

/** @param {Run} run @param {readonly number[]} ids @returns {number[]} */
const logProbs = (run, ids) => ids.map((id, i) => logSoftmax(run.logits(i))[id]);

/** The likeliest token that may be written. @param {Run} run @param {number} row */
function best(run, row) {
  const logits = run.logits(row).slice();
  for (const id of FORBIDDEN) logits[id] = -Infinity;
  return mostLikely(logits);
}

/** @param {readonly number[]} numbers */
const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);

/** @param {readonly number[]} a @param {readonly number[]} b */
const alike = (a, b) => a.length === b.length && commonLength(a, b) === a.length;

/** @param {readonly number[]} source @param {readonly Cut[]} cuts */
const keyOf = (source, cuts) => `${source.join()} ${spelled(cuts)}`;

/** The cuts that reach the encoder. @param {readonly Cut[]} cuts */
const encoderKey = (cuts) => spelled(cuts.filter((cut) => "positions" in cut || cut.stack === "encoder"));

/** @param {readonly Cut[]} cuts */
const spelled = (cuts) =>
  JSON.stringify(cuts.map((cut) => ("positions" in cut ? "positions" : [cut.stack, cut.layer, cut.head, cut.query, cut.key])));

/** How many rows of the decoder stand before the first that these cuts touch. @param {readonly Cut[]} cuts */
function untouched(cuts) {
  const firsts = cuts.map((cut) => {
    if ("positions" in cut) return 0;
    return cut.query ?? (cut.stack === "decoder" ? (cut.key ?? 0) : 0); // none looks at what comes after it
  });
  return Math.min(Infinity, ...firsts);
}

/** A model that writes on from a run. @param {Run} start */
const plainly = (start) => ({
  start: () => start,
  step: (/** @type {number} */ id, /** @type {Run} */ run) => {
    const state = run.read([id]);
    return { logits: state.logits(run.fed.length), state };
  },
});

/**
 * The same, with rows taken from a run of the same cuts where it was fed alike; and while the text goes as guessed,
 * several tokens are read in one pass. The numbers are the same.
 * @param {Run} start @param {Run} known @param {readonly number[]} guess  tokens as fed
 */
function guessing(start, known, guess) {
  let ahead = known;
  const begins = (/** @type {readonly number[]} */ longer, /** @type {readonly number[]} */ fed) => commonLength(longer, fed) === fed.length;
  return {
    start: () => start,
    step: (/** @type {number} */ id, /** @type {Run} */ run) => {
      const fed = [...run.fed, id];
      if (!begins(ahead.fed, fed)) ahead = run.read(begins(guess, fed) ? guess.slice(run.fed.length, run.fed.length + AHEAD) : [id]);
      return { logits: ahead.logits(run.fed.length), state: ahead.first(fed.length) };
    },
  };
}
