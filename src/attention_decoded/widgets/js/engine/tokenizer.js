/**
 * Text to tokens and back: the mirror of `attention_decoded/data/tokenization.py` on the same file
 * (byte-pair merges in the Hugging Face `tokenizers` format).
 *
 * English marks where words begin: one "▁" is put before the text and in the place of every space, so
 * that the text comes back from its tokens. Chinese needs no such mark.
 */

export const PAD = 0;
export const UNK = 1;
export const BOS = 2;
export const EOS = 3;
export const MASK = 4;
const SPACE_MARK = "▁";

/** @typedef {{ id: number, text: string }} Token  `text` as it stood in the sentence, also where the id is <unk> */

/** @typedef {{ type: "Split", pattern: { Regex?: string }, behavior: string, invert: boolean }} Split */
/** @typedef {{ type: "Metaspace", replacement: string, prepend_scheme: string, split: boolean }} Metaspace */

/**
 * The parts of the file that are read.
 * @typedef {object} TokenizerFile
 * @property {{ id: number, content: string }[]} added_tokens
 * @property {unknown} normalizer
 * @property {Split | { type: "Sequence", pretokenizers: [Metaspace, Split] }} pre_tokenizer
 * @property {{ type?: string, vocab: Record<string, number>, merges: (string | [string, string])[], unk_token: string,
 *   fuse_unk?: boolean, byte_fallback?: boolean, continuing_subword_prefix?: string | null,
 *   end_of_word_suffix?: string | null }} model
 */

export class Tokenizer {
  /** @param {string} json the text of tokenizer.json */
  constructor(json) {
    const { file, split, marked } = parse(json);
    const { vocab, merges, unk_token } = file.model;
    // JavaScript's \S leaves U+FEFF out and takes U+0085 in; the other side goes by Unicode's own property.
    const pattern = (split.pattern.Regex ?? "").replaceAll("\\S", "\\P{White_Space}");
    this.piece = new RegExp(pattern.replaceAll("\\s", "\\p{White_Space}"), "gu");
    /** Whether the beginnings of words are marked. */
    this.marked = marked;
    this.unknown = vocab[unk_token];
    /** @type {Map<string, number>} */
    this.ids = new Map(Object.entries(vocab));
    /** @type {string[]} */
    this.texts = [];
    for (const [text, id] of this.ids) this.texts[id] = text;
    this.size = this.texts.length;
    this.specials = new Map(file.added_tokens.map(({ content, id }) => [content, id]));
    const literal = [...this.specials.keys()].map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&"));
    this.special = literal.length ? new RegExp(literal.join("|"), "gu") : null;
    /** @type {Map<number, { rank: number, id: number }>} left · size + right → the merge */
    this.merges = new Map();
    merges.forEach((merge, rank) => {
      const [left, right] = typeof merge === "string" ? merge.split(" ") : merge;
      const [a, b, id] = [left, right, left + right].map((symbol) => this.ids.get(symbol));
      if (a === undefined || b === undefined || id === undefined) {
        throw new Error(`The tokenizer's merge ${rank} (${left} ${right}) names a symbol that is not in its vocabulary.`);
      }
      this.merges.set(a * this.size + b, { rank, id });
    });
  }

  /** @param {string} text a normalised sentence @returns {Token[]} */
  encode(text) {
    /** @type {Token[]} */
    const tokens = [];
    let at = 0;
    for (const match of this.special ? text.matchAll(this.special) : []) {
      this.encodePlain(text.slice(at, match.index), tokens);
      tokens.push({ id: /** @type {number} */ (this.specials.get(match[0])), text: match[0] });
      at = match.index + match[0].length;
    }
    this.encodePlain(text.slice(at), tokens);
    return tokens;
  }

  /** The text of ids, special tokens left out. @param {Iterable<number>} ids @returns {string} */
  decode(ids) {
    let text = "";
    for (const id of ids) if (id > MASK) text += this.texts[id] ?? "";
    text = text.replaceAll(SPACE_MARK, " ");
    return text.startsWith(" ") ? text.slice(1) : text;
  }

  /** @param {string} text @param {Token[]} tokens where they are added */
  encodePlain(text, tokens) {
    let source = text;
    if (this.marked && text) {
      source = source.replaceAll(" ", SPACE_MARK);
      if (!source.startsWith(SPACE_MARK)) source = SPACE_MARK + source;
    }
    const added = source.length - text.length; // the mark in front that stands for no character of the text
    for (const { 0: piece, index } of source.matchAll(this.piece)) {
      const symbols = Array.from(piece);
      const ids = symbols.map((symbol) => this.ids.get(symbol) ?? this.unknown);
      let end = index - added;
      const texts = symbols.map((symbol) => text.slice(Math.max(0, end), (end += symbol.length)));
      const mergeAt = (/** @type {number} */ i) => this.merges.get(ids[i] * this.size + ids[i + 1]);
      const ranks = ids.map((_, i) => (i + 1 < ids.length ? (mergeAt(i)?.rank ?? Infinity) : Infinity));
      for (;;) {
        let best = 0;
        for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[best]) best = i;
        const merge = ranks[best] < Infinity ? mergeAt(best) : undefined;
        if (!merge) break;
        ids.splice(best, 2, merge.id);
        texts.splice(best, 2, texts[best] + texts[best + 1]);
        ranks.splice(best + 1, 1);
        for (const i of [best - 1, best]) if (i >= 0) ranks[i] = i + 1 < ids.length ? (mergeAt(i)?.rank ?? Infinity) : Infinity;
      }
      ids.forEach((id, i) => tokens.push({ id, text: texts[i] }));
    }
  }
}

/**
 * Refuse a file that asks for something that is not mirrored here, instead of quietly tokenising differently.
 * @param {string} json @returns {{ file: TokenizerFile, split: Split, marked: boolean }}
 */
function parse(json) {
  /** @type {TokenizerFile} */
  let file;
  try {
    file = JSON.parse(json);
  } catch {
    throw new Error("The tokenizer file is not JSON; it may have been cut short.");
  }
  const { model, pre_tokenizer: steps } = file;
  const [mark, split] = steps?.type === "Sequence" ? (steps.pretokenizers ?? []) : [null, steps];
  /** @type {[unknown, string][]} */
  const wanted = [
    [model?.vocab && Array.isArray(model.merges), "a BPE model with a vocabulary and merges"],
    [model?.unk_token in (model?.vocab ?? {}), "an unknown token"],
    [!model?.fuse_unk && !model?.byte_fallback, "no fuse_unk and no byte_fallback"],
    [!model?.continuing_subword_prefix && !model?.end_of_word_suffix, "no prefix and no suffix on subwords"],
    [!file.normalizer, "no normalizer of its own"],
    [
      !mark || (mark.type === "Metaspace" && mark.replacement === SPACE_MARK && mark.prepend_scheme === "always"),
      "a Metaspace with ▁ always in front",
    ],
    [!mark?.split, "a Metaspace that does not split"],
    [split?.type === "Split" && split.pattern?.Regex && split.behavior === "Removed" && split.invert, "one inverted Split"],
  ];
  for (const [holds, what] of wanted) if (!holds) throw new Error(`The tokenizer file cannot be read here: ${what} is expected.`);
  return { file, split, marked: Boolean(mark) };
}
