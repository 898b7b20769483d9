/** Tokenizer and sentence reading on a vocabulary that can be followed by hand. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasHan, normalizeChinese, normalizeEnglish } from "../../src/attention_decoded/widgets/js/engine/normalize.js";
import { Tokenizer } from "../../src/attention_decoded/widgets/js/engine/tokenizer.js";
import { readSentence } from "../../src/attention_decoded/widgets/js/lab/reading.js";

const SPECIALS = ["<pad>", "<unk>", "<bos>", "<eos>", "<mask>"];
const SYMBOLS = [...SPECIALS, "我", "们", "的", "。", "a", "b", "我们", "们的", "ab"];
const definition = () => ({
  added_tokens: SPECIALS.map((content, id) => ({ id, content, special: true })),
  normalizer: null,
  pre_tokenizer: { type: "Split", pattern: { Regex: "[\u4e00-\u9fff]+|[a-z]+|\\S" }, behavior: "Removed", invert: true },
  model: {
    type: "BPE", unk_token: "<unk>", fuse_unk: false, byte_fallback: false,
    vocab: Object.fromEntries(SYMBOLS.map((symbol, id) => [symbol, id])),
    merges: [["们", "的"], ["我", "们"], "a b"],
  },
});
const tokenizer = new Tokenizer(JSON.stringify(definition()));
const texts = (text) => tokenizer.encode(text).map((token) => token.text);
const ids = (text) => tokenizer.encode(text).map((token) => token.id);

test("the earliest merge goes first, not the leftmost pair", () => {
  assert.deepEqual(texts("我们的"), ["我", "们的"]);
  assert.deepEqual(texts("我们我们"), ["我们", "我们"]);
  assert.deepEqual(texts("们们的的"), ["们", "们的", "的"]);
});

test("pieces do not merge across punctuation or white space; an unknown character stays itself", () => {
  assert.deepEqual(texts("我。们"), ["我", "。", "们"]);
  assert.deepEqual(texts("a b ab"), ["a", "b", "ab"]);
  assert.deepEqual(ids("龘我"), [1, 5]);
  assert.deepEqual(texts("龘😀"), ["龘", "😀"]);
  assert.deepEqual(ids("\ud83d"), [1]);
  assert.deepEqual(ids(""), []);
});

test("a special token in the text is that token", () => {
  assert.deepEqual(ids("我<mask>的<ma"), [5, 4, 7, 1, 1, 1].slice(0, 4).concat(ids("ma")));
  assert.deepEqual(texts("<mask>"), ["<mask>"]);
});

test("words such as constructor are text like any other", () => {
  assert.ok(ids("constructor __proto__").every((id) => id === 1 || id === 9 || id === 10));
});

test("a file that asks for something else is refused, in words", () => {
  const changed = (change) => {
    const copy = definition();
    change(copy);
    return () => new Tokenizer(JSON.stringify(copy));
  };
  assert.throws(() => new Tokenizer("{"), /not JSON/);
  assert.throws(changed((file) => (file.model.byte_fallback = true)), /byte_fallback/);
  assert.throws(changed((file) => (file.model.continuing_subword_prefix = "##")), /prefix/);
  assert.throws(changed((file) => (file.pre_tokenizer.behavior = "Isolated")), /inverted Split/);
  assert.throws(changed((file) => (file.normalizer = { type: "NFKC" })), /normalizer/);
  assert.throws(changed((file) => file.model.merges.push(["我", "龘"])), /not in its vocabulary/);
});

const ENGLISH = [...SPECIALS, "▁", "a", "b", "c", "!", "1", "▁a", "▁b", "▁ab"];
const english = {
  ...definition(),
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: false },
      { type: "Split", pattern: { Regex: "▁?[a-z]+|▁?[0-9]|▁?[^▁\\s]|▁" }, behavior: "Removed", invert: true },
    ],
  },
  model: { ...definition().model, vocab: Object.fromEntries(ENGLISH.map((symbol, id) => [symbol, id])), merges: ["▁ a", ["▁a", "b"], ["▁", "b"]] },
};

test("English: the beginnings of words are marked, and the text comes back", () => {
  const tokenizer = new Tokenizer(JSON.stringify(english));
  const symbols = (text) => tokenizer.encode(text).map(({ id }) => ENGLISH[id]);
  assert.deepEqual(symbols("ab b!"), ["▁ab", "▁b", "!"]);
  assert.deepEqual(symbols(" ab"), ["▁ab"], "a space in front is the mark");
  assert.deepEqual(symbols("c 11"), ["▁", "c", "▁", "1", "1"], "digits stand alone");
  assert.deepEqual(symbols("a<mask>a"), ["▁a", "<mask>", "▁a"]);
  assert.deepEqual(symbols(""), []);
  assert.deepEqual(tokenizer.encode("ab c!").map(({ text }) => text), ["ab", " ", "c", "!"]);
  assert.deepEqual(tokenizer.encode("c").map(({ text }) => text), ["", "c"], "the mark in front is no character of the text");
  for (const text of ["ab b!", "c 11", "!  a", ""]) assert.equal(tokenizer.decode(tokenizer.encode(text).map(({ id }) => id)), text);
  assert.equal(tokenizer.decode([2, 12, 3, 0, 99]), "b", "special tokens and unknown numbers are no text");
});

test("English that is marked in another way is refused", () => {
  const [space, split] = english.pre_tokenizer.pretokenizers;
  for (const steps of [[{ ...space, prepend_scheme: "first" }, split], [{ ...space, replacement: "_" }, split], [{ ...space, split: true }, split]])
    assert.throws(() => new Tokenizer(JSON.stringify({ ...english, pre_tokenizer: { type: "Sequence", pretokenizers: steps } })), /Metaspace/);
  for (const pre_tokenizer of [{ type: "Sequence", pretokenizers: [] }, { type: "Sequence" }, null, "Split"])
    assert.throws(() => new Tokenizer(JSON.stringify({ ...english, pre_tokenizer })), /inverted Split/);
  assert.equal(normalizeEnglish("\ufeff“It’s”\u3000 fine \u0007… "), '"It\'s" fine ...');
});

test("normalising: script, punctuation, spaces, control characters", () => {
  const simplified = { 們: "们", 說: "说" };
  const normal = (text) => normalizeChinese(text, simplified);
  assert.equal(normal("\ufeff我們 說：「好」!"), "我们说：“好”！");
  assert.equal(normal("ＡＢＣ　１２３"), "ABC 123");
  assert.equal(normal("它要3,000块,10:30开门."), "它要3,000块，10:30开门。");
  assert.equal(normal("零\u200b宽\u00ad度"), "零宽度");
  assert.equal(normal('他说"走"。"好"'), "他说“走”。“好”");
  assert.equal(normal("等等......"), "等等…");
  assert.equal(normal("constructor"), "constructor");
  assert.ok(hasHan("a好") && !hasHan("abc，"));
});

test("a sentence is read, or refused in words that say what is missing", () => {
  const read = (text) => readSentence(text, { tokenizer, simplified: { 們: "们" }, maxTokens: 5 });
  assert.match(read("  ").message, /Type a Chinese sentence/);
  assert.match(read("hello there").message, /reads Chinese/);
  assert.match(read("我".repeat(6)).message, /6 tokens/);
  assert.match(read("我".repeat(5000)).message, /5,000 characters/);
  const reading = read("我們龘。");
  assert.deepEqual(reading.tokens.map((token) => token.text), ["我们", "龘", "。"]);
  assert.match(reading.notes.join(), /simplified characters: 我们龘。/);
  assert.match(reading.notes.join(), /Unknown to the model.*龘/);
  assert.deepEqual(read("我们。").notes, []);
});
