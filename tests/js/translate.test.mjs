/** The translator's session on a tiny model: what it writes, measures and remembers; and what of it can be followed by hand. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { beamSearch } from "../../src/attention_decoded/widgets/js/engine/beam.js";
import { greedy, sample } from "../../src/attention_decoded/widgets/js/engine/decoding.js";
import { cutting } from "../../src/attention_decoded/widgets/js/engine/edits.js";
import { logProbsOf } from "../../src/attention_decoded/widgets/js/engine/probabilities.js";
import { uniformGenerator } from "../../src/attention_decoded/widgets/js/engine/random.js";
import { BOS, EOS, Tokenizer } from "../../src/attention_decoded/widgets/js/engine/tokenizer.js";
import { Transformer } from "../../src/attention_decoded/widgets/js/engine/transformer.js";
import { stackShapes } from "../../src/attention_decoded/widgets/js/engine/stack.js";
import { differences, END, Session } from "../../src/attention_decoded/widgets/js/translate/session.js";
import { allCuts } from "../../src/attention_decoded/widgets/js/translate/suggest.js";

// ── a model and two tokenizers of our own ───────────────────────────────────────────────────────

const SPECIALS = ["<pad>", "<unk>", "<bos>", "<eos>", "<mask>"];
const tokenizer = (symbols, merges, marked) => {
  const split = { type: "Split", pattern: { Regex: marked ? "▁[a-z]*" : "\\S" }, behavior: "Removed", invert: true };
  const mark = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: false };
  return new Tokenizer(JSON.stringify({
    added_tokens: SPECIALS.map((content, id) => ({ id, content })),
    normalizer: null,
    pre_tokenizer: marked ? { type: "Sequence", pretokenizers: [mark, split] } : split,
    model: { type: "BPE", unk_token: "<unk>", vocab: Object.fromEntries([...SPECIALS, ...symbols].map((symbol, id) => [symbol, id])), merges },
  }));
};
const source = tokenizer(["我", "你", "们", "喝", "茶", "。"], [], false);
const target = tokenizer(["▁", "a", "b", "c", "▁a", "▁b", "▁c", "s"], [["▁", "a"], ["▁", "b"], ["▁", "c"]], true);

const SIZES = { n_source_vocab: 11, n_target_vocab: 13, d_model: 12, n_heads: 3, d_ff: 7, n_encoder_layers: 2, n_decoder_layers: 2, max_len: 23, norm: "pre" };
/** Large random weights: attention is far from even, and a cut changes what is written. */
function translator(positions, seed = 2) {
  const config = { ...SIZES, positions };
  const names = (role, table) => ({ role, cross: role === "decoder", nLayers: 2, blocks: role, table, positions: `${table.split(".")[0]}_positions`, lastNorm: `${role}_norm` });
  const shapes = {
    "source.weight": [11, 12], "target.weight": [13, 12], bias: [13],
    ...stackShapes(config, names("encoder", "source.weight")), ...stackShapes(config, names("decoder", "target.weight")),
  };
  const uniform = uniformGenerator(seed);
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const gain = name.includes("norm") && name.endsWith("weight") ? 1 : 0;
    return [name, { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => gain + 1.6 * (uniform() - 0.5)) }];
  });
  return new Transformer({ metadata: { config: JSON.stringify(config) }, tensors: new Map(tensors) });
}
const model = translator("sinusoidal");
const session = (given = model) => new Session({ model: given, source, target, simplified: { 們: "们" } });
const toTheEnd = (steps) => {
  const yielded = [];
  for (;;) {
    const { done, value } = steps.next();
    if (done) return { value, yielded };
    yielded.push(value);
  }
};
const written = (from, text, options) => toTheEnd(from.write(from.read(text), { maxLen: 9, ...options })).value;
const close = (actual, expected, tolerance = 1e-5) => {
  assert.equal(actual.length, expected.length);
  expected.forEach((x, i) => assert.ok(actual[i] === x || Math.abs(actual[i] - x) <= tolerance, `[${i}] ${actual[i]} is not ${x}`));
};
/** Counts what a model computes. */
function counted(given) {
  const count = { sources: 0, rows: 0 };
  const [start, read] = [given.start.bind(given), given.read.bind(given)];
  given.start = (...of) => (count.sources++, start(...of));
  given.read = (ids, state) => ((count.rows += ids.length), read(ids, state));
  return count;
}

const TEXT = "我们喝茶。";
const READING = session().read(TEXT);
const CUTS = {
  column: [{ stack: "cross", key: 1 }],
  pair: [{ stack: "cross", query: 2, key: 3 }],
  "row of the decoder": [{ stack: "decoder", query: 3 }],
  "column of the decoder": [{ stack: "decoder", key: 2 }],
  head: [{ stack: "cross", layer: 1, head: 2 }],
  layer: [{ stack: "decoder", layer: 0 }],
  encoder: [{ stack: "encoder", layer: 1, query: 2 }],
  positions: [{ positions: true }],
  several: [{ stack: "encoder", key: 0 }, { stack: "cross", query: 4, key: 1 }, { stack: "decoder", layer: 1, head: 0 }],
};

// ── reading ─────────────────────────────────────────────────────────────────────────────────────

test("a sentence is read with its end, which has a label", () => {
  assert.deepEqual(READING.ids, [5, 7, 8, 9, 10, EOS]);
  assert.deepEqual(READING.labels, ["我", "们", "喝", "茶", "。", END]);
  assert.equal(READING.tokens.length, 5);
  const traditional = session().read("我們喝水");
  assert.equal(traditional.text, "我们喝水");
  assert.match(traditional.notes.join(" "), /simplified characters.*Unknown to the model.*水/);
});

test("what cannot be read is refused in words", () => {
  const read = (text) => session().read(text);
  for (const [text, why] of [["", /Type a Chinese/], ["  \u3000", /Type a Chinese/], ["Hello!", /reads Chinese/], ["我".repeat(23), /23 tokens.*22 tokens/], ["我".repeat(5000), /5,000/], ["我<pad>", /<pad>.*no text/], ["<mask>喝茶", /<mask>/]]) {
    assert.equal(read(text).ok, false, text);
    assert.match(read(text).message, why);
  }
  assert.equal(read("我".repeat(22)).ok, true);
  assert.ok(read("constructor我").ok);
});

// ── writing ─────────────────────────────────────────────────────────────────────────────────────

test("greedy, sample and beam write what the engine's own searches write, under any cuts", () => {
  const reused = session();
  for (const cuts of [[], ...Object.values(CUTS), []]) {
    const how = { maxLen: 9, edits: cutting(cuts) };
    const draw = { seed: 5, temperature: 1.3, topK: 7 };
    const expected = { greedy: greedy(model, READING.ids, how), sample: sample(model, READING.ids, { ...how, ...draw }) };
    for (const search of ["greedy", "sample"]) {
      const found = written(reused, TEXT, { search, cuts, ...draw });
      assert.deepEqual(found.ids, expected[search].ids, `${search} ${JSON.stringify(cuts)}`);
      close(found.logProbs, expected[search].logProbs);
      assert.equal(found.text, target.decode(found.ids));
      assert.deepEqual(found.pieces, found.ids.map((id) => target.texts[id]));
      assert.equal(found.finished, found.ids.at(-1) === EOS);
    }
    const { texts, tree } = beamSearch(model, READING.ids, { ...how, beam: 3, nBest: 3, alpha: 0.6 });
    const found = written(reused, TEXT, { search: "beam", beam: 3, alpha: 0.6, cuts });
    assert.deepEqual(found.ids, texts[0].ids);
    close(found.logProbs, texts[0].logProbs);
    assert.deepEqual(found.texts.map(({ ids }) => ids), texts.map(({ ids }) => ids));
    assert.deepEqual(found.tree.map((step) => step.map(({ id, fate }) => [id, fate])), tree.map((step) => step.map(({ id, fate }) => [id, fate])));
  }
});

test("every step hands out a token with its alternatives, or a beam's candidates; the search may be left at any of them", () => {
  const fresh = session();
  const { value, yielded } = toTheEnd(fresh.write(READING, { maxLen: 6, nAlternatives: 4 }));
  assert.deepEqual(yielded.map(({ id }) => id), value.ids);
  close(yielded.map(({ logProb }) => logProb), value.logProbs);
  assert.deepEqual(value.alternatives.map((row) => row.map(({ id }) => id)), yielded.map(({ alternatives }) => alternatives.map(({ id }) => id)));
  assert.ok(value.alternatives.every((row, i) => row.length === 4 && row[0].id === value.ids[i]), "greedy takes the likeliest");
  for (const search of ["greedy", "beam"]) {
    const steps = fresh.write(READING, { search, maxLen: 6, cuts: CUTS.column });
    steps.next();
    steps.return();
  }
  assert.deepEqual(toTheEnd(fresh.write(READING, { maxLen: 6, nAlternatives: 4 })).value.ids, value.ids);
  const { value: best, yielded: rows } = toTheEnd(fresh.write(READING, { search: "beam", beam: 2, maxLen: 6 }));
  assert.deepEqual(rows, best.tree);
});

test("a text goes on from a beginning, whose tokens are told like the others", () => {
  const whole = written(session(), TEXT);
  for (const search of ["greedy", "beam"]) {
    const prefix = [10, 12];
    const found = written(session(), TEXT, { prefix, search, beam: 1 });
    assert.deepEqual(found.ids.slice(0, 2), prefix);
    assert.deepEqual(found.ids.slice(2), greedy(model, READING.ids, { prefix, maxLen: 7 }).ids);
    close(found.logProbs, session().force(READING, found.ids).logProbs);
    assert.equal(found.alternatives.length, found.ids.length);
    assert.equal(found.looks.cross[0].nQuery, found.ids.length);
  }
  assert.deepEqual(written(session(), TEXT, { prefix: whole.ids.slice(0, 3) }).ids, whole.ids, "its own beginning changes nothing");
  const ended = written(session(), TEXT, { prefix: [7, EOS], search: "beam" });
  assert.deepEqual(ended.ids, [7, EOS]);
  assert.ok(ended.finished);
  assert.throws(() => written(session(), TEXT, { prefix: Array(9).fill(7) }), /9 tokens already/);
});

test("no text outgrows the model's places, and options out of range are refused", () => {
  const learned = translator("learned", 7);
  const long = toTheEnd(session(learned).write(READING, {})).value;
  assert.ok(long.ids.length <= 23);
  assert.ok(toTheEnd(session(learned).write(READING, { prefix: Array(20).fill(7) })).value.ids.length <= 23);
  assert.throws(() => written(session(), TEXT, { search: "widest" }), /widest.*greedy, sample, beam/);
  assert.throws(() => written(session(), TEXT, { search: "sample", temperature: 0 }), /temperature 0/);
  assert.throws(() => written(session(), TEXT, { cuts: [{ stack: "nowhere" }] }), /cut/);
  assert.throws(() => session().force(READING, []), /no text/);
  assert.throws(() => session().force(READING, [99, EOS, 3]), /number 99/);
});

// ── measuring ───────────────────────────────────────────────────────────────────────────────────

test("a known text under cuts: the numbers and maps of one pass, whatever was asked before", () => {
  const reused = session();
  const ids = written(reused, TEXT).ids;
  const other = [7, 12, 9, EOS];
  for (const cuts of [[], ...Object.values(CUTS), []]) {
    for (const text of [ids, other, [...ids.slice(0, 2), 8, 7]]) {
      const { state, logits, self, cross } = model.forward(READING.ids, [BOS, ...text.slice(0, -1)], cutting(cuts));
      const { logProbs, looks } = reused.force(READING, text, cuts);
      close(logProbs, logProbsOf(logits, text));
      for (const [found, expected] of [[looks.encoder, state.encoder], [looks.decoder, self], [looks.cross, cross]]) {
        assert.equal(found.length, expected.length);
        found.forEach((layer, i) => {
          for (const name of ["nHeads", "nQuery", "nKey"]) assert.equal(layer[name], expected[i][name], name);
          for (const name of ["q", "k", "v", "weights"]) close([...layer[name]], [...expected[i][name]]);
        });
      }
    }
  }
});

test("what was added to the scores is told where there is something", () => {
  const ids = [7, 12, 9, 8, EOS];
  const cuts = CUTS.pair;
  const fresh = session(translator("alibi"));
  assert.equal(session().force(READING, ids).looks.cross[0].bias, null);
  const { decoder, cross } = fresh.force(READING, ids, cuts).looks;
  const at = (looks, query, key) => looks.bias[(looks.nHeads - 1) * looks.nQuery * looks.nKey + query * looks.nKey + key];
  assert.equal(at(cross[0], 2, 3), -Infinity);
  assert.equal(at(cross[0], 1, 3), 0);
  assert.ok(at(decoder[0], 3, 1) < at(decoder[0], 3, 2), "alibi: what is farther weighs less");
});

test("an effect: the price of every old token, and the new translation", () => {
  const fresh = session();
  const base = written(fresh, TEXT);
  let changes = 0;
  for (const cuts of Object.values(CUTS)) {
    const { deltas, total, ids, text, changed } = fresh.effect(READING, base.ids, cuts);
    const expected = session().force(READING, base.ids, cuts).logProbs;
    close(deltas, expected.map((logProb, i) => logProb - base.logProbs[i]));
    close([total], [deltas.reduce((a, b) => a + b)]);
    assert.deepEqual(ids, greedy(model, READING.ids, { edits: cutting(cuts), maxLen: 23 }).ids);
    assert.equal(text, target.decode(ids));
    assert.equal(changed, ids.join() !== greedy(model, READING.ids, { maxLen: 23 }).ids.join());
    changes += changed;
  }
  assert.ok(changes > 0 && changes < Object.keys(CUTS).length, `${changes} of the cuts change the translation`);
  const { deltas, changed } = fresh.effect(READING, base.ids, []);
  close(deltas, base.ids.map(() => 0));
  assert.equal(changed, false);
});

test("suggestions: every cut of the kinds asked for, each as effect measures it, the strongest first", () => {
  const fresh = session();
  for (const ids of [greedy(model, READING.ids, { maxLen: 23 }).ids, [7, 12, 9, EOS]]) {
    const { value, yielded } = toTheEnd(fresh.suggestions(READING, ids, {}));
    const [n, m] = [READING.ids.length, ids.length];
    assert.equal(value.length, n + n * m + 6 * 3 + 6);
    assert.equal(yielded.length, value.length);
    value.forEach(({ delta }, i) => assert.ok(i === 0 || Math.abs(delta) <= Math.abs(value[i - 1].delta)));
    for (const { cut, delta, changed } of value.filter((_, i) => i % 7 === 0)) {
      const effect = session().effect(READING, ids, [cut]);
      close([delta], [effect.total], 1e-4);
      assert.equal(changed, effect.changed, JSON.stringify(cut));
    }
  }
  assert.ok(toTheEnd(fresh.suggestions(READING, [7, EOS], { kinds: ["column"] })).value.every(({ cut }) => "key" in cut && !("query" in cut)));
  assert.throws(() => toTheEnd(fresh.suggestions(READING, [7, EOS], { kinds: ["toString"] })), /toString/);
  assert.deepEqual(allCuts(["layer"], { ...SIZES, nSource: 2, nTarget: 2 }).slice(2, 4), [{ stack: "decoder", layer: 0 }, { stack: "decoder", layer: 1 }]);
});

// ── nothing twice ───────────────────────────────────────────────────────────────────────────────

test("what is known is not computed again", () => {
  const given = translator("sinusoidal");
  const fresh = session(given);
  const count = counted(given);
  const base = written(fresh, TEXT);
  assert.deepEqual(count, { sources: 1, rows: base.ids.length });
  fresh.force(READING, base.ids);
  written(fresh, TEXT);
  assert.deepEqual(count, { sources: 1, rows: base.ids.length }, "the same again is free");
  count.rows = 0;
  fresh.force(READING, base.ids, [{ stack: "cross", query: 5, key: 1 }]);
  assert.deepEqual(count, { sources: 1, rows: base.ids.length - 5 }, "what stands before a cut pair stays as it is");
  count.rows = 0;
  written(fresh, TEXT, { prefix: base.ids.slice(0, 4), search: "sample", temperature: 0.001 });
  assert.equal(count.rows, 0, "a known beginning, and a known way on");
  fresh.force(READING, base.ids, CUTS.encoder);
  assert.equal(count.sources, 2, "cuts in the encoder read the source anew");
  fresh.force(READING, base.ids, [...CUTS.encoder, { stack: "cross", key: 0 }]);
  assert.equal(count.sources, 2, "but others beside them do not");
});

test("a cut that changes nothing is known after one pass in a few parts", () => {
  const given = translator("sinusoidal");
  const fresh = session(given);
  const ids = written(fresh, TEXT).ids;
  const count = { passes: 0 };
  const read = given.read.bind(given);
  given.read = (...of) => (count.passes++, read(...of));
  const cuts = [{ stack: "cross", layer: 0, head: 1, query: 0, key: 4 }];
  assert.deepEqual(written(fresh, TEXT, { cuts }).ids, ids, "for this model");
  assert.ok(count.passes <= Math.ceil(ids.length / 4), `${count.passes} passes for ${ids.length} tokens`);
});

test("the memory is small, and what fell out of it is computed again alike", () => {
  const fresh = session();
  const first = fresh.force(READING, [7, 8, EOS], CUTS.column).logProbs;
  for (let key = 0; key < 30; key++) fresh.force(READING, [7, 8, EOS], [{ stack: "decoder", layer: 0, query: key }]);
  assert.ok(fresh.memory.size <= 8);
  close(fresh.force(READING, [7, 8, EOS], CUTS.column).logProbs, first);
});

// ── ranking, differences ────────────────────────────────────────────────────────────────────────

test("a searched tree is ranked anew by another length penalty", () => {
  const fresh = session();
  const options = { search: "beam", beam: 4, maxLen: 9 };
  const { tree } = written(fresh, TEXT, { ...options, alpha: 1 });
  const own = fresh.rerank(tree, { alpha: 1 });
  assert.deepEqual(own[0].ids, written(session(), TEXT, { ...options, alpha: 1 }).ids);
  assert.ok(own.length >= 4);
  for (const { ids, sum, score, finished } of fresh.rerank(tree, { alpha: 0.5 })) {
    close([sum], [session().force(READING, ids).logProbs.reduce((a, b) => a + b)], 1e-4);
    close([score], [sum / ids.length ** 0.5], 1e-4);
    assert.equal(finished, ids.at(-1) === EOS);
  }
  const root = { parent: null, id: 7, logProb: -1, sum: -1, fate: "goes on" };
  const short = { parent: null, id: EOS, logProb: -2, sum: -2, fate: "found" };
  const long = { parent: root, id: EOS, logProb: -2, sum: -3, fate: "found" };
  const cutOff = { parent: root, id: 8, logProb: -9, sum: -10, fate: "found" };
  const lost = { parent: root, id: 9, logProb: 0, sum: -1, fate: "dropped" };
  const ranked = (alpha) => fresh.rerank([[root, short], [long, cutOff, lost]], { alpha });
  assert.deepEqual(ranked(0), [
    { ids: [EOS], sum: -2, score: -2, finished: true },
    { ids: [7, EOS], sum: -3, score: -3, finished: true },
    { ids: [7, 8], sum: -10, score: -10, finished: false },
  ]);
  assert.deepEqual(ranked(1).map(({ score }) => score), [-1.5, -2, -5], "a stronger penalty prefers longer texts");
  assert.throws(() => fresh.rerank(tree, { penalty: "none" }), /none of power, gnmt/);
});

test("differences: what both have stays, what went stands before what came", () => {
  const said = (before, after) => differences(before.split(" ").filter(Boolean), after.split(" ").filter(Boolean)).map(({ text, kind }) => ({ same: "", gone: "−", new: "+" })[kind] + text).join(" ");
  assert.equal(said("He did not go", "He did not go"), "He did not go");
  assert.equal(said("I went to school yesterday.", "I went to the park."), "I went to −school −yesterday. +the +park.");
  assert.equal(said("He did not go to school", "He went to school"), "He −did −not −go +went to school");
  assert.equal(said("", "all new"), "+all +new");
  assert.equal(said("all gone", ""), "−all −gone");
  assert.equal(said("a b a", "b a b"), "−a b a +b");
  assert.deepEqual(differences([], []), []);
});

test("differences keep both texts whole, and as much as can be kept", () => {
  const uniform = uniformGenerator(3);
  const words = () => Array.from({ length: Math.floor(uniform() * 7) }, () => "abc"[Math.floor(uniform() * 3)]);
  const longest = (a, b) => (!a.length || !b.length ? 0 : a[0] === b[0] ? 1 + longest(a.slice(1), b.slice(1)) : Math.max(longest(a.slice(1), b), longest(a, b.slice(1))));
  for (let i = 0; i < 200; i++) {
    const [before, after] = [words(), words()];
    const found = differences(before, after);
    const kept = (other) => found.filter(({ kind }) => kind !== other).map(({ text }) => text);
    assert.deepEqual(kept("new"), before);
    assert.deepEqual(kept("gone"), after);
    assert.equal(found.filter(({ kind }) => kind === "same").length, longest(before, after));
  }
});
