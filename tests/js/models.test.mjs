/** The models' parts against cases small enough to check by hand, and against laws. Parity with Python: tests/test_js_models.py. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { attend } from "../../src/attention_decoded/widgets/js/engine/attention.js";
import { Autoencoder, sigmoid, VAE } from "../../src/attention_decoded/widgets/js/engine/autoencoder.js";
import { DecoderOnly } from "../../src/attention_decoded/widgets/js/engine/decoder_only.js";
import { CUT, cutting, scoreBias } from "../../src/attention_decoded/widgets/js/engine/edits.js";
import { attendHeads, oneHead } from "../../src/attention_decoded/widgets/js/engine/heads.js";
import { linear } from "../../src/attention_decoded/widgets/js/engine/ops.js";
import { uniformGenerator } from "../../src/attention_decoded/widgets/js/engine/random.js";
import { RNNTranslator } from "../../src/attention_decoded/widgets/js/engine/rnn.js";
import { Rows } from "../../src/attention_decoded/widgets/js/engine/rows.js";
import { LONGEST } from "../../src/attention_decoded/widgets/js/engine/weights.js";
import { Transformer } from "../../src/attention_decoded/widgets/js/engine/transformer.js";

const f32 = (...numbers) => Float32Array.from(numbers);
const close = (actual, expected, tolerance = 1e-5) => {
  assert.equal(actual.length, expected.length);
  expected.forEach((x, i) => assert.ok(Math.abs(actual[i] - x) <= tolerance, `[${i}] ${actual[i]} is not ${x}`));
};
const uniform = uniformGenerator(1);
const random = (length) => Float32Array.from({ length }, () => uniform() - 0.5);

/** A file of random tensors of these shapes. */
const file = (shapes, config) => ({
  metadata: config ? { config: JSON.stringify(config) } : {},
  tensors: new Map(Object.entries(shapes).map(([name, shape]) => [name, { shape, data: random(shape.reduce((a, b) => a * b, 1)) }])),
});
const attention = (name) => ["to_q", "to_k", "to_v", "to_out"].map((to) => [`${name}.${to}.weight`, [6, 6]]);
const norm = (name) => [[`${name}.weight`, [6]], [`${name}.bias`, [6]]];
const block = (name, cross) => [
  ...norm(`${name}.norm_attention`), ...attention(`${name}.attention`),
  ...(cross ? [...norm(`${name}.norm_cross`), ...attention(`${name}.cross`)] : []),
  ...norm(`${name}.norm_ff`), [`${name}.ff.0.weight`, [5, 6]], [`${name}.ff.0.bias`, [5]], [`${name}.ff.2.weight`, [6, 5]], [`${name}.ff.2.bias`, [6]],
];
const SIZES = { n_source_vocab: 11, n_target_vocab: 13, d_model: 6, n_heads: 3, d_ff: 5, n_encoder_layers: 1, n_decoder_layers: 2, max_len: 7, positions: "learned" };
const translatorFile = (change = {}) => file(Object.fromEntries([
  ["source.weight", [11, 6]], ["target.weight", [13, 6]], ["bias", [13]],
  ["source_positions.table.weight", [7, 6]], ["target_positions.table.weight", [7, 6]],
  ...norm("encoder_norm"), ...norm("decoder_norm"), ...block("encoder.0"), ...block("decoder.0", true), ...block("decoder.1", true),
]), { ...SIZES, ...change });
const translator = new Transformer(translatorFile());

test("linear: two rows at once give what one gives, also with a row left over", () => {
  const [x, weight] = [random(5 * 7), random(9 * 7)];
  const together = linear(x, 5, weight);
  for (let i = 0; i < 5; i++) assert.deepEqual(together.slice(i * 9, i * 9 + 9), linear(x.slice(i * 7, i * 7 + 7), 1, weight));
});

test("rows: whoever is at the end shares them, whoever is not gets a copy, and none changes what another holds", () => {
  const start = new Rows(2, 2);
  const one = start.append(0, f32(1, 2));
  const two = one.append(1, f32(3, 4));
  assert.equal(two, start, "there was room, and it was the end");
  const other = one.append(1, f32(5, 6));
  assert.notEqual(other, two);
  assert.deepEqual([...two.first(2)], [1, 2, 3, 4]);
  assert.deepEqual([...other.first(2)], [1, 2, 5, 6]);
  const grown = two.append(2, f32(7, 8, 9, 10));
  assert.deepEqual([...grown.first(4)], [1, 2, 3, 4, 7, 8, 9, 10]);
  assert.deepEqual([...two.first(2)], [1, 2, 3, 4]);
});

test("all heads at once are one head after the other", () => {
  const [nHeads, nQuery, nKey, d] = [3, 2, 5, 4];
  const [q, k, v] = [random(nQuery * nHeads * d), random(nKey * nHeads * d), random(nKey * nHeads * d)];
  for (const causal of [false, true]) {
    const { looks, output } = attendHeads(q, k, v, { nHeads, nQuery, nKey, causal });
    const mask = causal ? Uint8Array.of(1, 1, 1, 1, 0, 1, 1, 1, 1, 1) : null;
    for (let head = 0; head < nHeads; head++) {
      const mine = oneHead(looks, head);
      const run = attend(mine.q, mine.k, mine.v, { nQuery, nKey, mask });
      close(mine.weights, run.weights);
      for (let i = 0; i < nQuery; i++) close(output.slice((i * nHeads + head) * d, (i * nHeads + head + 1) * d), run.output.slice(i * d, i * d + d));
    }
  }
});

test("−∞ is an exact zero; a query that may look nowhere gets zeros; a gate leaves the weights to be seen", () => {
  const [q, k, v] = [f32(1, 2, 3, 4), f32(1, 1, 5, 5), f32(10, 20, 30, 40)];
  const bias = f32(-Infinity, 0, -Infinity, -Infinity, 0, 0, 0, -Infinity);
  const { looks, output } = attendHeads(q, k, v, { nHeads: 2, nQuery: 2, nKey: 2, bias });
  assert.deepEqual([...looks.weights.slice(0, 4)], [0, 1, 0, 0]);
  assert.equal(looks.weights[7], 0);
  assert.deepEqual([output[0], output[2]], [30, 0]);
  const gated = attendHeads(q, k, v, { nHeads: 2, nQuery: 2, nKey: 2, bias, gate: (head) => (head ? 0.5 : 0) });
  assert.deepEqual(gated.looks.weights, looks.weights);
  close(gated.output, [0, output[1] / 2, 0, output[3] / 2]);
});

test("a step does not change the state it is given: every beginning can be continued again", () => {
  const source = [5, 6, 7];
  const fresh = (ids) => translator.forward(source, ids).logits.slice(-13);
  const start = translator.start(source);
  const states = [];
  for (const id of [2, 4, 9]) states.push(translator.step(id, states.at(-1) ?? start).state);
  for (const [place, id] of [[1, 3], [0, 8], [1, 12], [2, 5], [0, 3]]) {
    close(translator.step(id, states[place]).logits, fresh([...[2, 4, 9].slice(0, place + 1), id]));
  }
  close(translator.step(2, start).logits, fresh([2]));
  assert.equal(start.n, 0);
});

test("what stands after a token does not change what comes before it", () => {
  const logits = (ids) => [...translator.forward([5, 6], ids).logits.slice(0, 2 * 13)];
  assert.deepEqual(logits([2, 3, 4]), logits([2, 3, 9]));
});

test("cuts: what they meet, and how a head that is off differs from one whose looks are all cut", () => {
  assert.deepEqual(cutting([]), {});
  const { bias, gate, noPositions } = cutting([{ stack: "cross", query: 1, key: 2 }, { stack: "decoder", layer: 1, key: 0 }, { stack: "encoder", layer: 0, head: 2 }, { positions: true }]);
  assert.ok(bias("cross", 4, 1, 1, 2) <= CUT && bias("decoder", 1, 0, 3, 0) <= CUT);
  for (const place of [["cross", 0, 0, 2, 1], ["decoder", 0, 0, 3, 0], ["encoder", 0, 2, 0, 0]]) assert.equal(bias(...place), 0, String(place));
  assert.deepEqual([gate("encoder", 0, 2), gate("encoder", 0, 1), gate("encoder", 1, 2), gate("cross", 0, 2)], [0, 1, 1, 1]);
  assert.equal(noPositions, true);
  const run = (edits) => translator.forward([5, 6, 7], [2, 3, 4], edits);
  const off = run(cutting([{ stack: "cross", layer: 1, head: 0 }]));
  const blind = run({ bias: (stack, layer, head) => (stack === "cross" && layer === 1 && head === 0 ? -1e4 : 0) });
  close(off.logits, blind.logits);
  assert.ok(off.cross[1].weights[0] > 0 && blind.cross[1].weights[0] === 0);
  assert.notDeepEqual(off.logits, run({}).logits);
});

test("a soft bias is added, a broken one forbids, and the model's own bias is kept and left as it was", () => {
  const own = f32(1, 2);
  const at = (value) => [...scoreBias({ stack: "cross", layer: 0, nHeads: 1, nQuery: 1, nKey: 2, past: 3, own, edits: { bias: (_s, _l, _h, query, key) => (query === 3 && key ? value : 0) } })];
  assert.deepEqual([at(-5), at(NaN), at(CUT), at(-Infinity)], [[1, -3], [1, -Infinity], [1, -Infinity], [1, -Infinity]]);
  assert.deepEqual([...own], [1, 2]);
});

test("a list that holds something else than cuts is refused", () => {
  for (const cuts of [null, "x", [null], ["cross"], [{ stack: "constructor" }], [{ layer: 1 }], [{ stack: "cross", key: -1 }], [{ stack: "cross", head: "0" }], [{ stack: "encoder", query: 1.5 }], [{ positions: "yes" }]]) {
    assert.throws(() => cutting(cuts), /cut/i, JSON.stringify(cuts));
  }
});

test("a file of another model is refused, in words", () => {
  const lacking = translatorFile();
  lacking.tensors.delete("decoder.1.cross.to_k.weight");
  const other = translatorFile();
  other.tensors.get("bias").shape = [12];
  for (const [broken, why] of [
    [lacking, /lacks the tensor decoder\.1\.cross\.to_k\.weight/],
    [other, /bias has the shape \[12\]; \[13\]/],
    [translatorFile({ positions: "compass" }), /positions: "compass"; known here: sinusoidal, /],
    [translatorFile({ norm: null }), /norm: null/],
    [translatorFile({ n_heads: 4 }), /6 cannot be shared by 4 heads/],
    [translatorFile({ d_ff: 0 }), /d_ff: 0; a size/],
    [translatorFile({ d_model: "6" }), /d_model: "6"/],
    [{ ...translatorFile(), metadata: {} }, /no configuration/],
    [{ ...translatorFile(), metadata: { config: "[1]" } }, /n_source_vocab: null/],
  ]) assert.throws(() => new Transformer(broken), why);
  assert.throws(() => new DecoderOnly(translatorFile()), /n_vocab: null/);
  assert.throws(() => new RNNTranslator(file({}, { n_source_vocab: 3, n_target_vocab: 3, attention: "some" })), /attention: "some"/);
});

test("where both sides share one table, the file need not hold it twice", () => {
  const shared = translatorFile({ shared: true, n_source_vocab: 13 });
  shared.tensors.delete("source.weight");
  const twice = { ...shared, tensors: new Map([...shared.tensors, ["source.weight", shared.tensors.get("target.weight")]]) };
  twice.metadata = { config: JSON.stringify({ ...SIZES, n_source_vocab: 13 }) };
  const [one, two] = [shared, twice].map((file) => new Transformer(file).forward([5, 12], [2, 3]).logits);
  assert.deepEqual(one, two);
  assert.notDeepEqual(one, translator.forward([5, 10], [2, 3]).logits);
});

test("no text outgrows the memory that it is given", () => {
  const model = new DecoderOnly(file(Object.fromEntries([["token.weight", [11, 6]], ["bias", [11]], ...norm("norm"), ...block("blocks.0")]),
    { n_vocab: 11, d_model: 6, n_heads: 3, d_ff: 5, n_layers: 1, positions: "alibi" }));
  const { state } = model.read(Array(LONGEST).fill(5), model.start([]));
  assert.throws(() => model.step(5, state), /too many/);
});

const PICTURES = { "encoder.0.weight": [3, 4], "encoder.0.bias": [3], "encoder.2.weight": [2, 3], "encoder.2.bias": [2], "decoder.0.weight": [4, 2], "decoder.0.bias": [4] };

test("autoencoder: by hand, and what does not fit is refused", () => {
  const whole = file(PICTURES);
  whole.tensors.get("decoder.0.weight").data.set([1, 0, 0, 1, 1, 1, 2, -1]);
  whole.tensors.get("decoder.0.bias").data.set([0, 0, 0, 1]);
  const model = new Autoencoder(whole);
  assert.deepEqual([...model.decode([3, 4, 0, 0])], [3, 4, 7, 3, 0, 0, 0, 1]);
  assert.equal(model.encode([0, 0, 1, 1]).length, 2);
  close(sigmoid(f32(0, 1000, -1000)), [0.5, 1, 0]);
  assert.throws(() => model.decode([1, 2, 3]), /rows of 2 numbers, not 3/);
  assert.throws(() => model.encode([]), /rows of 4 numbers, not 0/);
  assert.throws(() => new VAE(whole), /4–3–2 and a decoder 2–4 are not of one such model/);
  assert.throws(() => new Autoencoder(file({})), /lacks the tensor decoder\.0\.weight/);
});

test("VAE: the standard normal's density, and one component of a mixture is its own Gaussian", () => {
  const shapes = { ...PICTURES, "encoder.2.weight": [4, 3], "encoder.2.bias": [4] };
  assert.ok(Math.abs(new VAE(file(shapes)).logPrior([1, 2]) - (-Math.log(2 * Math.PI) - 2.5)) < 1e-9);
  const mixed = file({ ...shapes, "prior.logits": [1], "prior.mu": [1, 2], "prior.logvar": [1, 2] });
  mixed.tensors.get("prior.mu").data.set([1, 2]);
  mixed.tensors.get("prior.logvar").data.set([0, Math.log(4)]);
  assert.ok(Math.abs(new VAE(mixed).logPrior([1, 4]) - (-Math.log(2 * Math.PI) - Math.log(2) - 0.5)) < 1e-6);
  assert.throws(() => new VAE(mixed).logPrior([1]), /2 numbers, not 1/);
});
