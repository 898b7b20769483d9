// What figures share: a field that is read while it is typed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { towards } from "../../src/attention_decoded/widgets/js/ui/heading.js";
import { whenTyped } from "../../src/attention_decoded/widgets/js/ui/typing.js";

/** A field in which a reader types, and what was read of it. */
function field(t, pause = 250) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const gone = new AbortController();
  const input = Object.assign(new EventTarget(), { value: "" });
  const read = [];
  whenTyped(input, { pause, signal: gone.signal, onText: (text) => read.push(text) });
  const send = (type, more = {}) => input.dispatchEvent(Object.assign(new Event(type), more));
  const type = (text) => {
    input.value = text;
    send("input");
  };
  return { read, send, type, gone, wait: (ms) => t.mock.timers.tick(ms) };
}

test("what is typed is read when the typing pauses, and once", (t) => {
  const { read, type, wait } = field(t, 250);
  type("我");
  wait(249);
  type("我们");
  wait(249);
  assert.deepEqual(read, []);
  wait(1);
  assert.deepEqual(read, ["我们"]);
  wait(1000);
  assert.deepEqual(read, ["我们"]);
});

test("Enter does not wait, and nothing is read after it", (t) => {
  const { read, send, type, wait } = field(t, 150);
  type("你好");
  send("keydown", { key: "a" });
  assert.deepEqual(read, []);
  send("keydown", { key: "Enter" });
  assert.deepEqual(read, ["你好"]);
  wait(1000);
  assert.deepEqual(read, ["你好"]);
});

test("while an input method composes nothing is read, Enter included", (t) => {
  const { read, send, type, wait } = field(t);
  type("我");
  send("compositionstart");
  type("我ni hao");
  send("keydown", { key: "Enter" });
  wait(1000);
  assert.deepEqual(read, []);
  type("我你好");
  send("compositionend");
  send("keydown", { key: "Enter", isComposing: true }); // Safari sends it after the end
  assert.deepEqual(read, []);
  wait(250);
  assert.deepEqual(read, ["我你好"]);
});

test("a figure that was taken away reads nothing any more", (t) => {
  const { read, type, gone, wait } = field(t);
  type("我");
  gone.abort();
  wait(1000);
  assert.deepEqual(read, []);
});

test("a movement leads towards a box, past it, or nowhere", () => {
  const box = { left: 100, right: 300, top: 200, bottom: 400 };
  assert.equal(towards({ x: 150, y: 100 }, { x: 0, y: 8 }, box), true, "straight down on it");
  assert.equal(towards({ x: 150, y: 100 }, { x: 5, y: 8 }, box), true, "and a little aside");
  assert.equal(towards({ x: 150, y: 100 }, { x: 8, y: 3 }, box), false, "along it");
  assert.equal(towards({ x: 150, y: 100 }, { x: 0, y: -8 }, box), false, "away");
  assert.equal(towards({ x: 20, y: 300 }, { x: 8, y: 0 }, box), true, "from the left");
  assert.equal(towards({ x: 150, y: 100 }, { x: 0, y: 0 }, box), false, "at rest");
  assert.equal(towards({ x: 150, y: 300 }, { x: 0, y: 8 }, box), false, "already there");
});
