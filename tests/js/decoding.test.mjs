/** Searches on a writer whose every probability is known. Parity with Python: tests/test_js_decoding.py. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { beamSearch, branch, searching } from "../../src/attention_decoded/widgets/js/engine/beam.js";
import { greedy, lengthPenalty, sample, writing } from "../../src/attention_decoded/widgets/js/engine/decoding.js";
import { drawing, logProbsOf, logSoftmax, reshape } from "../../src/attention_decoded/widgets/js/engine/probabilities.js";
import { uniformGenerator } from "../../src/attention_decoded/widgets/js/engine/random.js";

const EOS = 3;
/** Next-token probabilities by the last token; 5 and 6 lead to texts whose whole is worth more, or less, than their beginning. */
const NEXT = {
  2: { 5: 0.5, 6: 0.4, 7: 0.1 },
  5: { 5: 0.3, 6: 0.3, 7: 0.2, [EOS]: 0.2 },
  6: { [EOS]: 0.9, 7: 0.1 },
  7: { [EOS]: 0.6, 5: 0.4 },
};
const chain = {
  start: (source) => ({ read: [...source] }),
  step: (id, state) => ({
    logits: Float32Array.from({ length: 8 }, (_, i) => Math.log(NEXT[id]?.[i] ?? 1e-9)),
    state: { read: [...state.read, id] },
  }),
};
const near = (a, b, tolerance = 1e-5) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

test("length penalty: the two rules", () => {
  assert.deepEqual([lengthPenalty(4), lengthPenalty(4, "power", 0.5), lengthPenalty(7, "gnmt", 1), lengthPenalty(9, "gnmt", 0)], [4, 2, 2, 1]);
  assert.throws(() => lengthPenalty(1, "none"), /none of power, gnmt/);
});

test("greedy takes the likeliest; the beam finds the text that is likelier as a whole", () => {
  const text = greedy(chain, [9], { maxLen: 4, nAlternatives: 2 });
  assert.deepEqual(text.ids, [5, 5, 5, 5], "of equally likely tokens the smaller id");
  assert.equal(text.finished, false);
  near(text.logProb, Math.log(0.5 * 0.3 ** 3));
  near(text.score, text.logProb / 4);
  assert.deepEqual(text.alternatives[0].map(({ id }) => id), [5, 6]);
  near(text.alternatives[1][1].logProb, Math.log(0.3));
  const { texts, tree } = beamSearch(chain, [9], { beam: 2, nBest: 2, alpha: 0 });
  assert.deepEqual(texts[0].ids, [6, EOS]);
  near(texts[0].score, Math.log(0.36));
  assert.ok(texts[0].score > texts[1].score && texts[0].finished);
  assert.deepEqual(tree[0].map(({ id, fate }) => [id, fate]).slice(0, 3), [[5, "goes on"], [6, "goes on"], [7, "dropped"]]);
  assert.ok(tree[0].slice(3).every(({ fate }) => fate === "dropped"));
  const found = tree.flat().filter(({ fate }) => fate === "found");
  assert.ok(found.some((node) => branch(node).map(({ id }) => id).join() === texts[0].ids.join()));
  near(found[0].sum, branch(found[0]).reduce((sum, { logProb }) => sum + logProb, 0));
});

test("what is left out is shown, takes no place, and no text begins with it", () => {
  const options = { beam: 2, nBest: 2, alpha: 0 };
  const { texts } = beamSearch(chain, [9], options);
  const { texts: others, tree } = beamSearch(chain, [9], { ...options, without: [[6]] });
  assert.deepEqual(tree[0].map(({ id, fate }) => [id, fate]).slice(0, 3), [[5, "goes on"], [6, "left out"], [7, "goes on"]]);
  assert.ok(others.every(({ ids }) => ids[0] !== 6) && texts[0].ids[0] === 6);
  assert.ok(others[0].logProb <= texts[0].logProb);
  const later = beamSearch(chain, [9], { ...options, without: [[6, EOS]] });
  assert.ok(later.texts.every(({ ids }) => ids.join() !== `6,${EOS}`));
  assert.deepEqual(beamSearch(chain, [9], { ...options, without: [[7, 7, 7]] }).texts, texts, "what nobody reaches changes nothing");
  const all = Array.from({ length: 12 }, (_, id) => [id]);
  assert.throws(() => beamSearch(chain, [9], { ...options, without: all }), /left out/);
});

test("a length penalty turns the order of short and long", () => {
  const best = (alpha) => beamSearch(chain, [9], { beam: 3, nBest: 1, alpha, maxLen: 6 }).texts[0].ids.length;
  assert.ok(best(0) < best(3), `${best(0)} ${best(3)}`);
});

test("a prefix is fed and not written; forbidden tokens are not written; a prompt is continued", () => {
  assert.deepEqual(greedy(chain, [9], { prefix: [6] }).ids, [EOS]);
  assert.deepEqual(greedy(chain, [9], { forbidden: [5] }).ids, [6, EOS]);
  assert.deepEqual(greedy(chain, [9, 6], { bos: null }).ids, [EOS]);
  const [first] = writing(chain, [9], (logProbs) => logProbs.indexOf(Math.max(...logProbs)), { prefix: [7, 6] });
  assert.deepEqual(first.step.state.read, [9, 2, 7, 6]);
});

test("a search can be watched, and left", () => {
  const seen = [];
  for (const candidates of searching(chain, [9], { beam: 2 })) {
    seen.push(candidates.length);
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, [4, 4]);
});

test("chance: the same for a seed, close to the probabilities, and inside what was kept", () => {
  const draw = (seed, more) => sample(chain, [9], { seed, maxLen: 5, ...more }).ids;
  assert.deepEqual(draw(4), draw(4));
  assert.ok(new Set(Array.from({ length: 30 }, (_, seed) => draw(seed).join())).size > 8);
  for (let seed = 0; seed < 30; seed++) assert.deepEqual(draw(seed, { topK: 1 }), greedy(chain, [9], { maxLen: 5 }).ids);
  const logProbs = logSoftmax(Float32Array.of(0, 1, 2, -Infinity));
  const choose = drawing({ seed: 1, temperature: 0.5 });
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 20000; i++) counts[choose(logProbs)]++;
  const total = 1 + Math.exp(2) + Math.exp(4);
  [1, Math.exp(2), Math.exp(4), 0].forEach((p, i) => near(counts[i] / 20000, p / total, 0.012));
  assert.equal(counts[3], 0);
  const few = drawing({ seed: 2, topP: 0.7 });
  for (let i = 0; i < 500; i++) assert.ok(few(logProbs) >= 1);
});

test("reshape: ties by id, the likeliest always stays, and what is out of range is refused", () => {
  assert.deepEqual([...reshape([1, 1, 1], { topK: 2 })], [0.5, 0.5, 0]);
  assert.deepEqual([...reshape([0, 5, 0], { topP: 1e-9 })], [0, 1, 0]);
  for (const cuts of [{ temperature: 0 }, { temperature: NaN }, { temperature: Infinity }, { topK: 0 }, { topP: 0 }, { topP: 1.1 }, { topP: NaN }]) {
    assert.throws(() => reshape([1, 2], cuts), /must/, JSON.stringify(cuts));
    assert.throws(() => sample(chain, [9], cuts), /must/);
  }
});

test("broken models and arguments are refused in words", () => {
  const says = (value) => ({ ...chain, step: (_, state) => ({ logits: Float32Array.of(0, 0, 0, value, value), state }) });
  assert.throws(() => greedy(says(NaN), [9]), /broken/);
  assert.throws(() => beamSearch(says(NaN), [9]), /broken/);
  assert.throws(() => greedy(says(0), [9], { eos: 5 }), /not among/);
  const nothing = { ...chain, step: (_, state) => ({ logits: Float32Array.of(0, 0, 0, -Infinity, -Infinity), state }) };
  assert.throws(() => greedy(nothing, [9]), /probability 0/);
  assert.throws(() => beamSearch(nothing, [9]), /probability 0/);
  for (const [options, why] of [
    [{ maxLen: 0 }, /at least its end/], [{ maxLen: NaN }, /at least its end/], [{ eos: -1 }, /must be allowed/], [{ forbidden: [EOS] }, /must be allowed/],
    [{ nAlternatives: -1 }, /alternatives/], [{ prefix: [0] }, /padding/],
  ]) {
    assert.throws(() => greedy(chain, [9], options), why);
    assert.throws(() => beamSearch(chain, [9], options), why);
  }
  assert.throws(() => greedy(chain, []), /nothing to read/);
  for (const options of [{ beam: 0 }, { beam: 1.5 }, { beam: 2, nBest: 3 }, { nBest: 0 }, { stop: "never" }]) assert.throws(() => beamSearch(chain, [9], options), /beam|stop/i);
});

test("log-probabilities of a known text", () => {
  const logits = Float32Array.of(0, Math.log(3), 1000, 1000);
  const [a, b] = logProbsOf(logits, [1, 0]);
  near(a, Math.log(0.75));
  near(b, Math.log(0.5));
});

test("uniform numbers: in [0, 1), the same for a seed", () => {
  const [a, b, c] = [1, 1, 2].map((seed) => Array.from({ length: 5000 }, uniformGenerator(seed)));
  assert.deepEqual(a, b);
  assert.notDeepEqual(a, c);
  assert.ok(a.every((x) => x >= 0 && x < 1));
  near(a.reduce((sum, x) => sum + x) / a.length, 0.5, 0.02);
});
