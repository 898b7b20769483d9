/** The engine against cases small enough to check by hand, and against laws. Parity with Python: tests/test_js.py. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { asymmetry, attend, FLOOR, mayLook } from "../../src/attention_decoded/widgets/js/engine/attention.js";
import { decimal, percent } from "../../src/attention_decoded/widgets/js/engine/describe.js";
import { addTo, cosine, layerNorm, linear, relu, softmax, topIndices } from "../../src/attention_decoded/widgets/js/engine/ops.js";
import { parseSafetensors, parsing } from "../../src/attention_decoded/widgets/js/engine/safetensors.js";

const f32 = (...numbers) => Float32Array.from(numbers);
const close = (actual, expected, tolerance = 1e-6) => {
  assert.equal(actual.length, expected.length);
  expected.forEach((x, i) => assert.ok(Math.abs(actual[i] - x) <= tolerance, `[${i}] ${actual[i]} is not ${x}`));
};

test("linear: weights are stored output first, with five outputs and two inputs", () => {
  const weight = f32(1, 0, 0, 1, 1, 1, 2, -1, 0, 3);
  close(linear(f32(5, 7, -1, 2), 2, weight), [5, 7, 12, 3, 21, -1, 2, 1, -4, 6]);
  close(linear(f32(5, 7), 1, weight, f32(10, 20, 30, 40, 50)), [15, 27, 42, 43, 71]);
  assert.throws(() => linear(f32(1, 2, 3), 2, weight), /do not fit/);
});

test("layerNorm: population variance, epsilon inside the root", () => {
  close(layerNorm(f32(1, 3), f32(1, 1), f32(0, 0), 0), [-1, 1]);
  close(layerNorm(f32(1, 3), f32(2, 2), f32(10, 10), 3), [9, 11]);
  close(layerNorm(f32(4, 4, 1, 3), f32(1, 1), f32(0, 0)), [0, 0, -1, 1], 1e-4);
});

test("softmax subtracts the maximum", () => {
  close(softmax([1000, 1000]), [0.5, 0.5]);
  close(softmax([0, Math.log(3)]), [0.25, 0.75]);
  close(softmax([-1e30, 0]), [0, 1]);
});

test("relu, addTo, cosine, topIndices", () => {
  close(relu(f32(-1, 0, 2)), [0, 0, 2]);
  close(addTo(f32(1, 2), f32(10, 20)), [11, 22]);
  assert.equal(cosine([1, 0], [0, 5]), 0);
  assert.equal(cosine([1, 1], [-2, -2]), -1);
  assert.equal(cosine([0, 0], [1, 1]), 0);
  assert.deepEqual(topIndices([3, 9, 9, 1, 5], 3), [1, 2, 4]);
  assert.deepEqual(topIndices([3, 9, 7], 2, (i) => i !== 1), [2, 0]);
  assert.deepEqual(topIndices([1], 5), [0]);
});

test("attend by hand: two queries, three keys", () => {
  const q = f32(2, 0, 0, 2);
  const k = f32(1, 0, 0, 1, 1, 1);
  const v = f32(1, 10, 100);
  const { dots, scores, weights, output } = attend(q, k, v, { nQuery: 2, nKey: 3, scale: Math.log(2) / 2 });
  close(dots, [2, 0, 2, 0, 2, 2]);
  close(scores, [Math.log(2), 0, Math.log(2), 0, Math.log(2), Math.log(2)]);
  close(weights, [0.4, 0.2, 0.4, 0.2, 0.4, 0.4]);
  close(output, [42.4, 44.2], 1e-5);
});

test("attend: the scale is 1/√d_head unless given, and the temperature divides", () => {
  const q = f32(1, 1, 1, 1);
  const at = (how) => attend(q, q, f32(1), { nQuery: 1, ...how }).scores[0];
  assert.equal(at({}), 2);
  assert.equal(at({ scale: 3 }), 12);
  assert.equal(at({ scale: 3, temperature: 4 }), 3);
});

test("attend: a cut is an exact zero, and a query that may look nowhere gets zeros", () => {
  const x = f32(60, 0, 0, 60, 60, 60);
  const mask = Uint8Array.from([0, 1, 1, 0, 0, 0, 1, 1, 1]);
  const { weights, output } = attend(x, x, x, { nQuery: 3, scale: 1, mask });
  assert.equal(weights[0], 0);
  close(weights.subarray(3, 6), [0, 0, 0], 0);
  close(output.subarray(2, 4), [0, 0], 0);
  for (const row of [0, 2]) close([weights.slice(row * 3, row * 3 + 3).reduce((a, b) => a + b)], [1]);
  assert.equal(FLOOR, -3.4028234663852886e38);
});

test("mayLook: causal lets a query see itself and the past; cuts are [query, key]", () => {
  assert.equal(mayLook(3, {}), null);
  assert.deepEqual([...mayLook(3, { causal: true })], [1, 0, 0, 1, 1, 0, 1, 1, 1]);
  assert.deepEqual([...mayLook(2, { cuts: [[0, 1]] })], [1, 0, 1, 1]);
  assert.equal(mayLook(2, { cuts: [[5, 0]] }), null);
});

test("asymmetry is the largest |S − Sᵀ|", () => {
  assert.equal(asymmetry([1, 2, 2, 4], 2), 0);
  assert.equal(asymmetry([0, 1, 5, 0, 0, 0, 2, 7, 0], 3), 7);
});

/** A safetensors file of these tensors. */
function file(header, body) {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + body.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(body, 8 + text.length);
  return bytes;
}
const halves = new Uint8Array(Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x3555).buffer);
const header = { __metadata__: { config: "{}" }, w: { dtype: "F16", shape: [2, 3], data_offsets: [0, 12] } };

test("safetensors: fp16 becomes fp32, metadata is kept, whatever the alignment", () => {
  const { tensors, metadata } = parseSafetensors(file(header, halves));
  assert.deepEqual([...tensors.get("w").data], [1, -2, 2 ** -24, 65504, Infinity, Math.fround(0x555 / 4096)]);
  assert.deepEqual(tensors.get("w").shape, [2, 3]);
  assert.equal(metadata.config, "{}");
  const shifted = new Uint8Array(file(header, halves).length + 1);
  shifted.set(file(header, halves), 1);
  assert.equal(parseSafetensors(shifted.subarray(1)).tensors.get("w").data[1], -2);
});

test("safetensors: every half-precision number is read as what it is worth", () => {
  const every = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  const { data } = parseSafetensors(file({ w: { dtype: "F16", shape: [65536], data_offsets: [0, 131072] } }, new Uint8Array(every.buffer))).tensors.get("w");
  for (let bits = 0; bits < 65536; bits++) {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    const small = sign * fraction * 2 ** -24;
    const value = exponent === 31 ? (fraction ? NaN : sign * Infinity) : exponent ? sign * (1 + fraction / 1024) * 2 ** (exponent - 15) : small;
    if (!Object.is(data[bits], value)) assert.equal(data[bits], value, `bits ${bits}`);
  }
});

test("safetensors: a large tensor is read in short steps, to the same numbers", () => {
  const n = 300_000;
  const half = Uint16Array.from({ length: n }, (_, i) => (i * 7919) % 31744);
  const bytes = file({ w: { dtype: "F16", shape: [n], data_offsets: [0, 2 * n] } }, new Uint8Array(half.buffer));
  const steps = parsing(bytes);
  let count = 0;
  for (;;) {
    const { done, value } = steps.next();
    if (done) {
      assert.deepEqual(value.tensors.get("w").data, parseSafetensors(bytes).tensors.get("w").data);
      break;
    }
    count++;
  }
  assert.ok(count >= 4, `${count} steps`);
});

test("safetensors: a file that is not intact says why", () => {
  const whole = file(header, halves);
  const w = header.w;
  for (const [bytes, why] of [
    [whole.subarray(0, 5), /header alone needs more/],
    [whole.subarray(0, 40), /should end at byte/],
    [whole.subarray(0, whole.length - 1), /should end at byte/],
    [file(header, new Uint8Array(13)), /1 bytes follow/],
    [file("{not json", halves), /not JSON/],
    [file("[1]", halves), /not a JSON object/],
    [file({ w: { ...w, dtype: "I8" } }, halves), /F16 and F32/],
    [file({ w: { ...w, dtype: "constructor" } }, halves), /F16 and F32/],
    [file({ w: { ...w, shape: [2, -3] } }, halves), /valid shape/],
    [file({ w: { ...w, shape: [7] } }, halves), /12 bytes for 7/],
    [file({ w: { ...w, data_offsets: [0] } }, halves), /valid place/],
    [file({ w, v: w }, halves), /starts at byte/],
    [new Uint8Array(8).fill(255), /announces a header/],
  ]) {
    assert.throws(() => parseSafetensors(bytes), why);
  }
});

test("numbers are written with a real minus sign and never as minus zero", () => {
  assert.equal(decimal(-1.256), "−1.26");
  assert.equal(decimal(-0.001), "0.00");
  assert.equal(percent(0.4213), "42 %");
  assert.equal(percent(0.0123), "1.2 %");
  assert.equal(percent(0.00001), "<0.1 %");
  assert.equal(percent(0), "0.0 %");
});
