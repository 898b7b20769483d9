/** The static page's models and links, and the loading of files. */

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";
import { readFileSync } from "node:fs";
import { fromBase64, loadAsset } from "../../src/attention_decoded/widgets/js/engine/assets.js";
import { connectLinks, Registry } from "../../src/attention_decoded/widgets/js/runtime/model.js";

const page = (models) => {
  const registry = new Registry();
  registry.add(Object.fromEntries(Object.entries(models).map(([id, [model_name, state, buffers]]) => [id, { model_name, model_module: "m", state, buffers }])));
  return registry;
};

test("change events come after the whole change, and only for what changed", () => {
  const model = page({ a: ["M", { x: 1, y: 2 }] }).find("IPY_MODEL_a");
  const seen = [];
  model.on("change:x change:y", () => seen.push([model.get("x"), model.get("y")]));
  model.on("change", () => seen.push("change"));
  model.set({ x: 5, y: 6 });
  assert.deepEqual(seen, [[5, 6], [5, 6], "change"]);
  model.set("x", 5);
  assert.equal(seen.length, 3);
});

test("off: one listener, one event, everything", () => {
  const model = page({ a: ["M", { x: 1 }] }).find("a");
  let count = 0;
  const listener = () => count++;
  model.on("change:x", listener).off("change:x", listener);
  model.set("x", 2);
  model.on("change:x", listener).off("change:x");
  model.set("x", 3);
  model.on("change:x", listener).off();
  model.set("x", 4);
  assert.equal(count, 0);
});

test("binary traits arrive as DataView, in base64 and in hex, also nested", () => {
  const registry = page({
    a: ["M", { deep: {} }, [
      { path: ["bytes"], encoding: "base64", data: "AQID" },
      { path: ["deep", "more"], encoding: "hex", data: "ff00" },
    ]],
  });
  const model = registry.find("a");
  assert.deepEqual(new Uint8Array(model.get("bytes").buffer), Uint8Array.of(1, 2, 3));
  assert.equal(model.get("deep").more.getUint8(0), 255);
});

test("widget_manager finds models by id and by reference, and says so when it cannot", async () => {
  const registry = page({ a: ["M", {}], b: ["M", {}] });
  const manager = registry.find("a").widget_manager;
  assert.equal(await manager.get_model("b"), registry.find("b"));
  await assert.rejects(manager.get_model("z"), /no widget model z/);
});

test("jslink keeps both ends equal, jsdlink only its target, a lost end is left alone", () => {
  const link = (source, target) => ({ source: [`IPY_MODEL_${source}`, "value"], target: [`IPY_MODEL_${target}`, "value"] });
  const registry = page({
    a: ["M", { value: 1 }], b: ["M", { value: 2 }], c: ["M", { value: 3 }],
    ab: ["LinkModel", link("a", "b")], bc: ["DirectionalLinkModel", link("b", "c")], lost: ["LinkModel", link("a", "gone")],
  });
  connectLinks(registry);
  const values = () => ["a", "b", "c"].map((id) => registry.find(id).get("value"));
  assert.deepEqual(values(), [1, 1, 1]);
  registry.find("b").set("value", 7);
  assert.deepEqual(values(), [7, 7, 7]);
  registry.find("c").set("value", 9);
  assert.deepEqual(values(), [7, 7, 9]);
});

test("what the runtime supports is listed once per module, sorted", () => {
  const { modules } = JSON.parse(readFileSync(new URL("../../src/attention_decoded/widgets/js/runtime/supported.json", import.meta.url), "utf8"));
  for (const names of Object.values(modules)) assert.deepEqual(names, [...new Set(names)].sort());
});

afterEach(() => mock.restoreAll());
const URL_ = "https://book.example/_static/models/masked-lm/model.safetensors";
const answer = (body, init) => new Response(body, init);
const quick = { pause: 1 };

test("a file is fetched whole, with progress", async () => {
  mock.method(globalThis, "fetch", async () => answer(Uint8Array.of(1, 2, 3), { headers: { "content-length": "3" } }));
  const seen = [];
  const bytes = await loadAsset(URL_, { onProgress: (received, total) => seen.push([received, total]) });
  assert.deepEqual([...bytes], [1, 2, 3]);
  assert.deepEqual(seen.at(-1), [3, 3]);
});

test("with a compressed answer the total is not known", async () => {
  mock.method(globalThis, "fetch", async () => answer(Uint8Array.of(1), { headers: { "content-length": "99", "content-encoding": "gzip" } }));
  let total = -1;
  await loadAsset(URL_, { onProgress: (_, all) => (total = all) });
  assert.equal(total, 0);
});

test("a weak connection is tried again, a missing file is not", async () => {
  let calls = 0;
  mock.method(globalThis, "fetch", async () => {
    if (++calls < 3) throw new TypeError("network down");
    return answer("ok");
  });
  assert.equal((await loadAsset(URL_, quick)).length, 2);
  assert.equal(calls, 3);
  calls = 0;
  globalThis.fetch.mock.mockImplementation(async () => (calls++, answer("", { status: 404 })));
  await assert.rejects(loadAsset(URL_, quick), /answered 404 for model.safetensors/);
  assert.equal(calls, 1);
  calls = 0;
  globalThis.fetch.mock.mockImplementation(async () => (calls++, answer("", { status: 503 })));
  await assert.rejects(loadAsset(URL_, quick), /503/);
  assert.equal(calls, 3);
});

test("loading can be cancelled, also between two attempts", async () => {
  mock.method(globalThis, "fetch", async () => {
    throw new TypeError("down");
  });
  const stop = new AbortController();
  const loading = loadAsset(URL_, { signal: stop.signal, pause: 10_000 });
  setTimeout(() => stop.abort(), 5);
  await assert.rejects(loading, { name: "AbortError" });
  await assert.rejects(loadAsset(URL_, { signal: stop.signal }), { name: "AbortError" });
});

test("base64 gives the bytes back", () => assert.deepEqual([...fromBase64("AP+A")], [0, 255, 128]));
