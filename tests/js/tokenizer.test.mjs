/** Tokenizer and sentence reading on a vocabulary that can be followed by hand. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasHan, normalizeChinese } from "../../src/attention_decoded/widgets/js/engine/normalize.js";
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
