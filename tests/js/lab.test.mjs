/** The laboratory's pure parts: state with undo, the grid's keys, what a row takes home, saturation, the plane. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { bilinearForm, lookedFor, rotation, score, skew } from "../../src/attention_decoded/widgets/js/lab/bilinear.js";
import { applies, strongestEdge } from "../../src/attention_decoded/widgets/js/lab/experiment.js";
import * as saturation from "../../src/attention_decoded/widgets/js/lab/saturation.js";
import { columnEdges, editsAttention, History, rowEdges, sameChanges, sortEdges, toggleEdges, UNCHANGED } from "../../src/attention_decoded/widgets/js/lab/state.js";
import { stepIn } from "../../src/attention_decoded/widgets/js/ui/grid.js";
import { cellText } from "../../src/attention_decoded/widgets/js/ui/heatmap.js";
import { contributions, stripGradient } from "../../src/attention_decoded/widgets/js/ui/mixture.js";

test("cutting twice restores; a row that is cut in part is cut whole first", () => {
  assert.deepEqual(toggleEdges([], [[1, 2]]), [[1, 2]]);
  assert.deepEqual(toggleEdges([[1, 2]], [[1, 2]]), []);
  assert.deepEqual(toggleEdges([[0, 1]], rowEdges(2, 0)), [[0, 0], [0, 1]]);
  assert.deepEqual(toggleEdges([[0, 0], [0, 1], [1, 1]], rowEdges(2, 0)), [[1, 1]]);
  assert.deepEqual(columnEdges(2, 1), [[0, 1], [1, 1]]);
  assert.deepEqual(sortEdges([[1, 0], [0, 1], [1, 0]]), [[0, 1], [1, 0]]);
});

test("changes are compared by what they mean", () => {
  assert.ok(sameChanges({ ...UNCHANGED, cuts: [[1, 0], [0, 1]] }, { ...UNCHANGED, cuts: [[0, 1], [1, 0]] }));
  assert.ok(!sameChanges({ ...UNCHANGED, scale: 2 }, UNCHANGED));
  assert.ok(!editsAttention({ ...UNCHANGED, hidden: [1], scope: "head" }));
  for (const change of [{ scale: 0 }, { temperature: 2 }, { causal: true }, { matrices: "one" }, { cuts: [[0, 0]] }]) {
    assert.ok(editsAttention({ ...UNCHANGED, ...change }), JSON.stringify(change));
  }
});

test("undo takes a drag back in one step", () => {
  const history = new History();
  history.push("a", "scale");
  history.push("b", "scale");
  history.close();
  history.push("c", "scale");
  assert.equal(history.pop(), "c");
  assert.equal(history.pop(), "a");
  assert.equal(history.pop(), undefined);
});

test("the scope says where changes apply", () => {
  const where = (scope) => [[0, 0], [1, 2], [1, 3]].map(([l, h]) => applies({ ...UNCHANGED, scope }, 1, 2)(l, h));
  assert.deepEqual(where("all"), [true, true, true]);
  assert.deepEqual(where("layer"), [false, true, true]);
  assert.deepEqual(where("head"), [false, true, false]);
});

test("the first picture shows the strongest look at another token", () => {
  assert.deepEqual(strongestEdge(Float32Array.of(0.9, 0.1, 0.6, 0.4), 2), [1, 0]);
  assert.deepEqual(strongestEdge(Float32Array.of(1), 1), [0, 0]);
});

test("arrow keys stay in the grid and reach the labels, never the corner", () => {
  const step = (key, control, row, column, n) => stepIn(key, control, row, column, n, n);
  assert.deepEqual(step("ArrowRight", false, 0, 2, 3), [0, 2]);
  assert.deepEqual(step("ArrowLeft", false, 1, 0, 3), [1, -1]);
  assert.deepEqual(step("ArrowUp", false, 0, 1, 3), [-1, 1]);
  assert.deepEqual(step("ArrowUp", false, 0, -1, 3), [0, -1]);
  assert.deepEqual(step("ArrowLeft", false, -1, 0, 3), [-1, 0]);
  assert.deepEqual(step("End", false, 1, 0, 3), [1, 2]);
  assert.deepEqual(step("End", true, 0, 0, 3), [2, 2]);
  assert.deepEqual(step("Home", true, 2, 2, 3), [0, 0]);
  assert.equal(step("Tab", false, 0, 0, 3), null);
});

test("a cell's text is short and does not mislead", () => {
  assert.deepEqual([0.001, 0.3412, 0.9949, 0.999].map((x) => cellText(x, false)), ["", ".34", ".99", "1"]);
  assert.deepEqual([-0.04, -3.21, 12.3].map((x) => cellText(x, true)), ["0.0", "−3.2", "12"]);
});

test("a row takes home the sum of weight × value, small parts gathered", () => {
  const weights = Float32Array.of(0.1, 0.4, 0.2, 0.3);
  const values = Float32Array.of(1, 10, 2, 20, 3, 30, 4, 40);
  const { rows, rest } = contributions(weights, values, 2);
  assert.deepEqual(rows.map((row) => row.key), [1, 3]);
  assert.equal(rest.count, 2);
  const sum = [0, 1].map((c) => rows.reduce((total, { part }) => total + part[c], rest.part[c]));
  assert.ok(Math.abs(sum[0] - 2.7) < 1e-6 && Math.abs(sum[1] - 27) < 1e-5);
  assert.equal(contributions(weights, values, 3).rest, null, "one row is not gathered");
  assert.match(stripGradient([1, -1], 2), /--ad-value\) 50%.*--ad-negative\) 50%/);
});

test("normal numbers: the same for a seed, mean 0, variance 1", () => {
  const [a, b, c] = [1, 1, 2].map((seed) => Array.from({ length: 20000 }, saturation.normalGenerator(seed)));
  assert.deepEqual(a, b);
  assert.notDeepEqual(a, c);
  assert.ok(Math.abs(a.reduce((s, x) => s + x) / a.length) < 0.02);
  assert.ok(Math.abs(saturation.standardDeviation(a) - 1) < 0.02);
  assert.ok(Math.abs(a.filter((x) => Math.abs(x) < 1).length / a.length - 0.6827) < 0.01);
});

test("the variance of q·k is d, and 1/√d brings it back to 1", () => {
  const sample = saturation.drawSample(3);
  for (const d of [1, 16, 256]) {
    const dots = saturation.dotProducts(sample, d);
    const root = saturation.scaleOf("root", 9, d);
    assert.ok(Math.abs(saturation.standardDeviation(dots) / Math.sqrt(d) - 1) < 0.1, String(d));
    assert.ok(Math.abs(saturation.standardDeviation(dots.map((x) => x * root)) - 1) < 0.1);
  }
  assert.equal(saturation.scaleOf("none", 9, 64), 1);
  assert.equal(saturation.scaleOf("custom", 9, 64), 9);
});

test("the largest gradient is found by hand and by differences", () => {
  assert.equal(saturation.largestGradient([0.5, 0.5]), 0.25);
  assert.equal(saturation.largestGradient([1, 0]), 0);
  const scores = [0.3, -1, 2];
  const soft = (s) => saturation.rowWeights(Float32Array.from([...s, ...Array(7).fill(-50)]), 0, 1);
  const base = soft(scores);
  const numeric = Math.max(...scores.map((_, j) => {
    const bumped = soft(scores.map((s, i) => (i === j ? s + 1e-2 : s)));
    return Math.max(...base.map((a, i) => Math.abs(bumped[i] - a) / 1e-2));
  }));
  assert.ok(Math.abs(numeric - saturation.largestGradient(base)) < 5e-3);
});

test("a wide sample saturates without the scale and keeps its gradient with it", () => {
  const dots = saturation.dotProducts(saturation.drawSample(1), 256);
  assert.ok(saturation.medianGradient(dots, 1) < 0.02);
  assert.ok(saturation.medianGradient(dots, 1 / 16) > 0.15);
});

test("entropy, histogram, density, axis", () => {
  assert.equal(saturation.entropy([0.5, 0.5, 0]), 1);
  assert.equal(saturation.entropy([1, 0]), 0);
  assert.deepEqual([...saturation.histogram([-0.5, 0.5, 0.5, 9], 1, 2)], [0.25, 0.5]);
  assert.ok(Math.abs(saturation.normalDensity(0, 2) - 0.19947) < 1e-5);
  assert.deepEqual([0.1, 1, 8].map(saturation.axisEdge), [1, 4, 32]);
});

test("on the plane: one matrix gives a symmetric form, a turn does not", () => {
  const form = bilinearForm([1, 2, 3, 4], [5, 6, 7, 8]);
  assert.deepEqual(form, [26, 30, 38, 44]);
  const [x, y] = [[1, 0], [0.5, 2]];
  assert.equal(score(x, form, y), 26 * 0.5 + 30 * 2);
  const seeks = lookedFor(x, form);
  assert.equal(seeks[0] * y[0] + seeks[1] * y[1], score(x, form, y));
  const one = bilinearForm([1, 2, 3, 4], [1, 2, 3, 4]);
  assert.equal(skew(one), 0);
  assert.equal(score(x, one, y), score(y, one, x));
  const turned = bilinearForm(rotation(0), rotation(90));
  assert.ok(Math.abs(score(x, turned, y) + score(y, turned, x)) < 1e-12, "a quarter turn is antisymmetric");
});
