/** The attention views' pure parts: averages, scopes in words, cuts in scope, lines and their geometry, the focus. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { cutting } from "../../src/attention_decoded/widgets/js/engine/edits.js";
import { stepIn } from "../../src/attention_decoded/widgets/js/ui/grid.js";
import { textWidth } from "../../src/attention_decoded/widgets/js/views/map.js";
import { paint } from "../../src/attention_decoded/widgets/js/views/model_view.js";
import { barPath } from "../../src/attention_decoded/widgets/js/views/neuron.js";
import * as scope from "../../src/attention_decoded/widgets/js/views/scope.js";
import { unpackStack } from "../../src/attention_decoded/widgets/js/views/unpack.js";

const words = (text) => text.split(" ").map((text) => ({ text }));
const [N_LAYERS, N_HEADS, N_QUERY, N_KEY, D_HEAD] = [2, 3, 5, 7, 4];

/** Unequal sizes, and every number tells its place: layer.head query key. */
const numbered = {
  title: "numbers",
  queries: words("a b c d e"),
  keys: words("1 2 3 4 5 6 7"),
  nHeads: N_HEADS,
  layers: Array.from({ length: N_LAYERS }, (_, layer) => ({
    weights: Float32Array.from({ length: N_HEADS * N_QUERY * N_KEY }, (_, at) => {
      const [head, query, key] = [Math.floor(at / 35), Math.floor((at % 35) / 7), at % 7];
      return layer * 1000 + head * 100 + query * 10 + key;
    }),
    q: Float32Array.from({ length: N_QUERY * N_HEADS * D_HEAD }, (_, at) => layer + Math.sin(at)),
    k: Float32Array.from({ length: N_KEY * N_HEADS * D_HEAD }, (_, at) => layer + Math.cos(at)),
    bias: null,
  })),
};

test("one head is its own weights, several are their mean", () => {
  assert.equal(scope.weightsOf(numbered, 1, 2)[3 * N_KEY + 4], 1234);
  assert.equal(scope.weightsOf(numbered, 1, null)[3 * N_KEY + 4], 1134);
  assert.equal(scope.weightsOf(numbered, null, null)[3 * N_KEY + 4], 634);
  assert.equal(scope.weightsOf(numbered, null, 2)[0], 700);
  assert.equal(scope.weightsOf(numbered, null, null).length, N_QUERY * N_KEY);
  assert.deepEqual([...scope.inEveryHead(numbered, 3, 4)], [34, 134, 234, 1034, 1134, 1234]);
});

test("what is shown is said in words, and numbers count from 1", () => {
  assert.equal(scope.scopeWords(numbered, null, null), "mean of 6 heads (2 layers × 3)");
  assert.equal(scope.scopeWords(numbered, 1, null), "layer 2, mean of 3 heads");
  assert.equal(scope.scopeWords(numbered, 0, 2), "layer 1, head 3");
  assert.equal(scope.scopeWords(numbered, null, 2), "head 3, mean of 2 layers");
  const one = { ...numbered, nHeads: 1, layers: numbered.layers.slice(0, 1), layerNumbers: [4], headNumbers: [7] };
  assert.equal(scope.scopeWords(one, null, null), "layer 5, head 8");
  assert.ok(!scope.isMean(one, null, null));
  assert.ok(scope.isMean(numbered, 1, null));
});

test("a layer or head that is not there becomes the mean", () => {
  assert.deepEqual(scope.fitScope(numbered, 5, 2), { layer: null, head: 2 });
  assert.deepEqual(scope.fitScope(numbered, 1, -1), { layer: 1, head: null });
  assert.deepEqual(scope.fitScope({ ...numbered, nHeads: 1 }, null, null), { layer: null, head: 0 });
});

test("the picture begins with the strongest look, and a word knows its own", () => {
  const weights = Float32Array.of(0.1, 0.2, 0.7, 0.5, 0.3, 0.2);
  assert.deepEqual(scope.strongest(weights, 3), { query: 0, key: 2 });
  assert.deepEqual(scope.looksOf(weights, 3, { query: 1, key: null }, 2).map(({ key }) => key), [0, 1]);
  assert.deepEqual(scope.looksOf(weights, 3, { query: null, key: 2 }).map(({ query }) => query), [0, 1]);
});

test("the numbers behind a weight are this head's slices", () => {
  const { q, k, dot, scale, score, dHead } = scope.cellNumbers(numbered, 1, 2, 3, 4);
  const row = (x, i) => [...x.slice(i * 12 + 8, i * 12 + 12)];
  assert.deepEqual([[...q], [...k]], [row(numbered.layers[1].q, 3), row(numbered.layers[1].k, 4)]);
  assert.ok(Math.abs(dot - row(numbered.layers[1].q, 3).reduce((sum, x, c) => sum + x * row(numbered.layers[1].k, 4)[c], 0)) < 1e-5);
  assert.deepEqual([dHead, scale], [4, 0.5]);
  assert.ok(Math.abs(score - dot / 2) < 1e-6);
  assert.equal(scope.cellNumbers({ ...numbered, layers: [{ weights: numbered.layers[0].weights }] }, 0, 0, 0, 0), null);
  const bias = new Float32Array(N_HEADS * N_QUERY * N_KEY);
  bias[(2 * N_QUERY + 3) * N_KEY + 4] = 1.5;
  bias[(2 * N_QUERY + 3) * N_KEY + 5] = -Infinity;
  const biased = { ...numbered, layers: [{ ...numbered.layers[0], bias }] };
  assert.equal(scope.cellNumbers(biased, 0, 2, 3, 4).bias, 1.5);
  assert.ok(scope.cellNumbers(biased, 0, 2, 3, 5).closed);
});

test("a zero that the softmax did not make is a mask's", () => {
  const stack = {
    title: "", queries: words("a"), keys: words("x y z"), nHeads: 1,
    layers: [{ weights: Float32Array.of(1, 0, 0), q: Float32Array.of(1), k: Float32Array.of(2, 3, -500), bias: null }],
  };
  assert.ok(scope.forbidden(stack, 0, 0, 0, 1)); // the higher score, and no weight
  assert.ok(!scope.forbidden(stack, 0, 0, 0, 2)); // too small for a float32
  assert.ok(!scope.forbidden(stack, 0, 0, 0, 0));
});

test("what is cut in the heads on show agrees with what the engine cuts", () => {
  const cuts = [
    { stack: "cross", query: 1, key: 2 },
    { stack: "cross", layer: 1, query: 3, key: 0 },
    { stack: "cross", key: 5 },
    { stack: "cross", layer: 0, head: 1, query: 4 },
    { stack: "decoder", query: 0, key: 0 },
    { stack: "cross", layer: 1, head: 2 },
    { positions: true },
  ];
  const { bias, gate } = cutting(cuts);
  const seen = { whole: 0, part: 0, "": 0 };
  for (const layer of [null, 0, 1]) {
    for (const head of [null, 0, 1, 2]) {
      const layers = layer === null ? [0, 1] : [layer];
      const heads = head === null ? [0, 1, 2] : [head];
      const word = (flags) => (flags.every(Boolean) ? "whole" : flags.some(Boolean) ? "part" : "");
      const over = (f) => word(layers.flatMap((l) => heads.map((one) => f(l, one))));
      assert.equal(scope.offState(cuts, "cross", numbered, layer, head), over((l, one) => gate("cross", l, one) === 0));
      for (let query = 0; query < N_QUERY; query++) {
        for (let key = 0; key < N_KEY; key++) {
          const state = scope.cutState(cuts, "cross", numbered, layer, head, query, key);
          assert.equal(state, over((l, one) => bias("cross", l, one, query, key) < 0), `${layer} ${head} ${query} ${key}`);
          seen[state]++;
        }
      }
    }
  }
  assert.ok(Object.values(seen).every(Boolean), JSON.stringify(seen));
});

test("a cut is the same only if it is of the same places", () => {
  const cuts = [{ stack: "cross", layer: 1, key: 0 }, { positions: true }];
  assert.ok(scope.isMade(cuts, scope.cutHere("cross", 1, null, { key: 0 })));
  for (const other of [scope.cutHere("cross", null, null, { key: 0 }), scope.cutHere("cross", 1, 0, { key: 0 }), scope.cutHere("decoder", 1, null, { key: 0 }), scope.cutHere("cross", 1, null, { query: 0, key: 0 })]) {
    assert.ok(!scope.isMade(cuts, other), JSON.stringify(other));
  }
});

test("a cut names only what is chosen", () => {
  assert.deepEqual(scope.cutHere("cross", null, null, { query: 1, key: 2 }), { stack: "cross", query: 1, key: 2 });
  assert.deepEqual(scope.cutHere("encoder", 0, 2, { query: null, key: 0 }), { stack: "encoder", layer: 0, head: 2, key: 0 });
  assert.deepEqual(scope.cutHere("decoder", 1, null), { stack: "decoder", layer: 1 });
});

test("faint lines are left out, a word in focus shows more, a pair is always there", () => {
  const weights = Float32Array.of(0.9, 0.05, 0.05, 0.02, 0.004, 0.976);
  const at = (spot) => scope.linesOf(weights, 3, spot).map(({ query, key }) => `${query}${key}`);
  assert.deepEqual(at(null), ["00", "12"]);
  assert.deepEqual(at({ query: 0, key: null }), ["01", "02", "00"]);
  assert.deepEqual(at({ query: 1, key: null }), ["10", "12"]);
  assert.deepEqual(at({ query: null, key: 1 }), ["01"]);
  assert.deepEqual(at({ query: 1, key: 1 }), ["11"]);
});

test("a line is met where it is drawn", () => {
  for (const axis of ["x", "y"]) {
    const point = (along, across) => (axis === "y" ? { x: across, y: along } : { x: along, y: across });
    const curves = [[0, 0, 100, 100], [0, 100, 100, 0], [0, 200, 100, 205]].map(([, from, , to]) => ({ a: point(0, from), b: point(100, to) }));
    // The drawn curve, from its own control points.
    const [, ...numbers] = scope.curve(curves[0].a, curves[0].b, axis).match(/^M(\S+) (\S+)C(\S+) (\S+) (\S+) (\S+) (\S+) (\S+)$/).map(Number);
    for (const share of [0, 0.2, 0.5, 0.9, 1]) {
      const bezier = (i) => [1, 3, 3, 1].reduce((sum, n, j) => sum + n * share ** j * (1 - share) ** (3 - j) * numbers[2 * j + i], 0);
      const on = scope.alongCurve(curves[0].a, curves[0].b, axis, share);
      assert.ok(Math.abs(on.x - bezier(0)) < 0.1 && Math.abs(on.y - bezier(1)) < 0.1);
    }
    assert.equal(scope.nearest(curves, point(20, scope.alongCurve({ x: 0, y: 0 }, { x: 100, y: 100 }, "y", 0.2).x + 3), axis, 7), 0);
    assert.equal(scope.nearest(curves, point(20, 92), axis, 7), 1);
    assert.equal(scope.nearest(curves, point(60, 198), axis, 7), 2);
    assert.equal(scope.nearest(curves, point(60, 160), axis, 7), -1);
    assert.equal(scope.nearest(curves, point(120, 205), axis, 7), -1);
  }
});

test("a word that is held and one across from it make a pair", () => {
  const [q, k, pair] = [{ query: 1, key: null }, { query: null, key: 2 }, { query: 1, key: 2 }];
  assert.deepEqual(scope.together(k, q), pair);
  assert.deepEqual(scope.together(q, k), pair);
  assert.deepEqual(scope.together({ query: 3, key: null }, q), { query: 3, key: null });
  assert.deepEqual(scope.together(k, pair), k);
  assert.deepEqual(scope.together(null, pair), pair);
  assert.equal(scope.together(null, null), null);
  assert.deepEqual(scope.press(null, q), q);
  assert.equal(scope.press(q, q), null);
  assert.deepEqual(scope.press(q, k), pair);
  assert.deepEqual(scope.press(pair, q), q);
});

test("keys stay in a grid that is not square", () => {
  assert.deepEqual(stepIn("ArrowDown", false, 1, 6, 2, 7), [1, 6]);
  assert.deepEqual(stepIn("ArrowRight", false, 1, 2, 7, 3), [1, 2]);
  assert.deepEqual(stepIn("End", true, 0, 0, 2, 7), [1, 6]);
  assert.deepEqual(stepIn("End", false, 0, 0, 7, 3), [0, 2]);
  assert.deepEqual(stepIn("ArrowUp", false, 0, 2, 2, 7), [-1, 2]);
  assert.equal(stepIn("x", false, 0, 0, 2, 7), null);
});

test("labels are measured in half-width characters", () => {
  assert.deepEqual(["school", "学校", "图s", ""].map(textWidth), [6, 4, 3, 0]);
});

test("small pictures and strips", () => {
  const pixels = new Uint8ClampedArray(8);
  paint(Float32Array.of(0, 1), [10, 20, 30], pixels);
  assert.deepEqual([...pixels], [10, 20, 30, 0, 10, 20, 30, 255]);
  assert.equal(barPath([1, -2, 0], 2, 1), "M0.1 1v-0.500h.8V1z");
  assert.equal(barPath([1, -2, 0], 2, -1), "M1.1 1v1.000h.8V1z");
  assert.equal(barPath([0], 0, 1), "");
});

test("packed numbers become the stack that they were", () => {
  const packed = { title: "t", queries: words("a b"), keys: words("x y z"), layers: [3, 5], heads: [0], d_head: 2, weights: 1, q: 13, k: 21, bias: null };
  const numbers = Float32Array.from({ length: 33 }, (_, i) => i);
  const stack = unpackStack(packed, numbers);
  assert.deepEqual([...stack.layers[1].weights], [7, 8, 9, 10, 11, 12]);
  assert.deepEqual([...stack.layers[1].q], [17, 18, 19, 20]);
  assert.deepEqual([...stack.layers[1].k], [27, 28, 29, 30, 31, 32]);
  assert.equal(scope.layerNumber(stack, 1), 6);
  assert.throws(() => unpackStack(packed, numbers.subarray(0, 32)), /“t” are incomplete/);
  const two = unpackStack({ ...packed, layers: [0], heads: [0, 1], weights: 0, q: 12, k: null }, numbers);
  assert.deepEqual([...two.layers[0].q], [12, 13, 16, 17, 14, 15, 18, 19]); // the heads side by side
});
