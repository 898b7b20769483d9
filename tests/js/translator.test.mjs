/** The translator's pure parts: its state in a link, cuts and their names, maps, threads, the ranking of a search. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { signed, times, words } from "../../src/attention_decoded/widgets/js/translate/effect.js";
import { effectOf, packExample, unpackExample } from "../../src/attention_decoded/widgets/js/translate/example.js";
import { curve, small, threads } from "../../src/attention_decoded/widgets/js/translate/figure.js";
import { mean, pack, unpack } from "../../src/attention_decoded/widgets/js/translate/maps.js";
import * as state from "../../src/attention_decoded/widgets/js/translate/state.js";
import { worthTrying } from "../../src/attention_decoded/widgets/js/translate/what_if.js";
import { finalPieces, plain } from "../../src/attention_decoded/widgets/js/translate/writing.js";

const { cutText, cutWords, fitting, parseCut, readFragment, START, toggleCut, writeFragment } = state;

// ------------------------------------------------------------------ links
const EVERYTHING = {
  sentence: "他说：“1+1=2 & 3%？#”",
  prefix: ["▁He", "▁didn't", "'", "<eos>"],
  search: "beam",
  beam: 7,
  pruned: [["▁She"], ["▁He", "'"]],
  alpha: 0.65,
  temperature: 1.4,
  top_k: 12,
  seed: 31,
  cuts: [{ stack: "cross", query: 3, key: 5 }, { stack: "decoder", layer: 1, head: 0 }, { positions: true }],
  view: { mode: "model", stack: "encoder", layer: 2, head: null },
};

test("a state comes back from its link", () => {
  const link = writeFragment(EVERYTHING);
  assert.match(link, /^#try\?zh=/u);
  assert.match(link, /cut=cross\.\*\.\*\.3\.5&cut=decoder\.1\.0\.\*\.\*&cut=positions&view=model\.encoder\.2\.\*$/u);
  assert.doesNotMatch(link, /[<>"'\s]/u, "nothing in it that a host could take for markup");
  assert.deepEqual(readFragment(link), { state: EVERYTHING, ignored: [] });
});

test("a link says only what is not as usual", () => {
  assert.equal(writeFragment({ ...START, sentence: "好。" }), `#try?zh=${encodeURIComponent("好。")}`);
  assert.equal(writeFragment({ ...EVERYTHING, cuts: [], prefix: [], pruned: [] }, { ...EVERYTHING, sentence: "" }), `#try?zh=${encodeURIComponent(EVERYTHING.sentence).replaceAll("%20", "+").replaceAll("'", "%27")}`);
});

test("other fragments are no links to a translation", () => {
  for (const hash of ["", "#", "#live-translator", "#try", "try?zh=好"]) assert.equal(readFragment(hash), null, hash);
});

test("of a hostile link the sound parts stay, and nothing is ever more than text and numbers", () => {
  const bad = [
    "beam=0", "beam=9", "beam=2.5", "beam=1e1", "beam=", "beam=%3Cb%3E", "alpha=-1", "alpha=NaN", "alpha=2.01", "temperature=0", "temperature=Infinity",
    "top_k=-1", "seed=99999999999", "search=__proto__", "search=", "cut=", "cut=cross", "cut=cross.*.*.3", "cut=cross.*.*.-1.2", "cut=evil.*.*.1.1", "cut=cross.1e9.*.*.*",
    "cut=cross.*.*.1000.1", "view=map", "view=map.cross.*", "view=javascript:alert(1)", "zh=", `zh=${"好".repeat(2001)}`, `begin=${"a+".repeat(65)}a`, "__proto__=1", "constructor=x", "<img src=x>=1",
  ];
  for (const part of bad) {
    const { state: read, ignored } = readFragment(`#try?${part}&search=sample`);
    assert.deepEqual(read, { search: "sample" }, part);
    assert.equal(ignored.length, 1, part);
  }
  assert.equal({}.polluted, undefined);
  const { state: markup } = readFragment("#try?zh=%3Cimg+src=x+onerror=alert(1)%3E好");
  assert.equal(markup.sentence, "<img src=x onerror=alert(1)>好", "text, for whoever sets it as text");
  const many = readFragment(`#try?${Array.from({ length: 150 }, (_, i) => `cut=cross.*.*.${i}.0`).join("&")}`);
  assert.equal(many.state.cuts.length, state.MOST_CUTS);
  assert.deepEqual(many.ignored, ["cut"]);
});

test("an unknown part is named in our words, not in the link's", () => {
  assert.deepEqual(readFragment("#try?zh=好&Send+money+to=me").ignored, ["an unknown part"]);
});

// ------------------------------------------------------------------ cuts
test("cuts are written, read, toggled, and fitted into the sentence", () => {
  for (const text of ["cross.*.*.*.4", "encoder.0.5.2.*", "decoder.2.*.*.*", "positions"]) assert.equal(cutText(parseCut(text)), text);
  assert.deepEqual(parseCut("cross.*.*.*.4"), { stack: "cross", key: 4 });
  const one = { stack: "cross", key: 4 };
  assert.deepEqual(toggleCut([], one), [one]);
  assert.deepEqual(toggleCut([one, { positions: true }], { key: 4, stack: "cross" }), [{ positions: true }]);
  const room = { layers: { encoder: 2, decoder: 3 }, heads: 4, nSource: 5, nTarget: 7 };
  const cuts = ["cross.2.3.6.4", "cross.*.*.*.5", "encoder.2.*.*.*", "encoder.*.*.4.4", "encoder.*.*.5.*", "decoder.*.*.*.6", "decoder.*.*.*.7", "cross.*.4.*.*", "positions", "positions"];
  assert.deepEqual(fitting(cuts.map(parseCut), room).map(cutText), ["cross.2.3.6.4", "encoder.*.*.4.4", "decoder.*.*.*.6", "positions"]);
});

test("a cut's words complete the sentence “Without …”", () => {
  const labels = { source: ["他", "去", "⏎"], target: ["He", "goes", "the end"] };
  const named = (text) => cutWords(parseCut(text), labels);
  assert.equal(named("cross.*.*.*.1"), "the translation looking at 去");
  assert.equal(named("cross.*.*.1.1"), "“goes” looking at 去");
  assert.equal(named("cross.2.0.1.1"), "“goes” looking at 去 (head 1 of layer 3)");
  assert.equal(named("encoder.*.*.0.1"), "他 looking at 去");
  assert.equal(named("decoder.*.*.2.1"), "“the end” looking at “He”", "what is fed at 1 is the token written at 0");
  assert.equal(named("decoder.*.*.*.0"), "the decoder looking at the start");
  assert.equal(named("cross.*.*.1.*"), "anything “goes” looks at in the cross-attention");
  assert.equal(named("decoder.1.3.*.*"), "head 4 of layer 2 in the self-attention of the decoder");
  assert.equal(named("cross.*.*.*.*"), "the cross-attention");
  assert.equal(named("positions"), "the order of the words");
  assert.equal(named("cross.*.*.9.1"), "“token 10” looking at 去", "a translation may have become shorter");
});

// ------------------------------------------------------------------ maps and threads
const layer = (nHeads, nQuery, nKey, at) => ({ nHeads, nQuery, nKey, weights: Float32Array.from({ length: nHeads * nQuery * nKey }, (_, i) => at(i)) });

test("the mean is over all heads of all layers", () => {
  const { weights, nQuery, nKey } = mean([layer(2, 1, 2, (i) => [1, 0, 0, 1][i]), layer(1, 1, 2, (i) => [0.25, 0.75][i])]);
  assert.deepEqual([nQuery, nKey], [1, 2]);
  assert.ok(Math.abs(weights[0] - 1.25 / 3) < 1e-6 && Math.abs(weights[1] - 1.75 / 3) < 1e-6);
});

test("packed maps come back within half a step of 1/255", () => {
  const maps = layer(2, 3, 5, (i) => (i * 0.0337) % 1);
  const back = unpack(pack(maps));
  assert.deepEqual([back.nHeads, back.nQuery, back.nKey], [2, 3, 5]);
  assert.ok(Math.max(...back.weights.map((x, i) => Math.abs(x - maps.weights[i]))) <= 0.5 / 255 + 1e-6);
});

test("the page's example comes back, and knows the effect of its cuts alone", () => {
  const written = (text) => ({ ids: [7, 3], pieces: ["▁Hi", "<eos>"], logProbs: [-0.5, -0.12345678], alternatives: [[{ id: 7, piece: "▁Hi", logProb: -0.5 }], []], text, finished: true, looks: { encoder: [layer(1, 2, 2, () => 0.5)], cross: [layer(1, 2, 2, () => 0.5)] } });
  const cut = { stack: "cross", key: 1 };
  const example = { sentence: "好。", reading: { text: "好。", tokens: [], labels: [], notes: [] }, lexicon: {}, base: written("Hi"), effects: [{ cut, written: written("Hm"), deltas: [-1, 0], total: -1, changed: true }] };
  const back = unpackExample(JSON.parse(JSON.stringify(packExample(example))));
  assert.equal(back.base.logProbs[1], -0.1235);
  assert.equal(back.base.looks.encoder[0].nKey, 2);
  assert.equal(effectOf(back, [{ key: 1, stack: "cross" }]).written.text, "Hm");
  assert.equal(effectOf(back, [cut, { positions: true }]), undefined);
});

test("threads: the strong ones of all words, every one of the word in focus, the strongest on top", () => {
  const weights = Float32Array.of(0.7, 0.05, 0.25, 0.01, 0.5, 0.49); // 2 English × 3 Chinese
  const drawn = (focus) => threads(weights, 3, focus).map(({ target, source }) => `${target}${source}`);
  assert.deepEqual(drawn(null), ["02", "12", "11", "00"]);
  assert.deepEqual(drawn({ side: "target", at: 0 }), ["01", "02", "00"]);
  assert.deepEqual(drawn({ side: "source", at: 0 }), ["00"]);
  assert.match(curve(0, 0, 10, 100), /^M0\.0 0\.0C0\.0 50\.0 10\.0 50\.0 10\.0 100\.0$/u);
  assert.deepEqual([0.004, 0.0149, 0.41, 0.996].map(small), ["0", ".01", ".41", "1"]);
});

// ------------------------------------------------------------------ words and numbers
test("suggestions: the strongest first; the calm form shows only what changes the text", () => {
  const found = [-1, -9, 3, -4, -2].map((delta, key) => ({ cut: { stack: "cross", key }, words: "", delta, changed: key !== 1 }));
  assert.deepEqual(worthTrying(found, true).map(({ delta }) => delta), [-9, -4, 3, -2, -1]);
  assert.deepEqual(worthTrying(found, false).map(({ delta }) => delta), [-4, 3, -2]);
});

test("changes of log-probability in words", () => {
  assert.deepEqual([-2.314, 0.001, -0.004, 0.5].map(signed), ["−2.31", "0.00", "0.00", "+0.50"]);
  assert.equal(times(-Math.log(2.5)), "2.5 times less likely");
  assert.equal(times(Math.log(1234)), "1,234 times more likely");
  assert.equal(times(-20), "over a million times less likely");
  assert.equal(times(0.01), "as likely as before");
});

test("texts are compared by words and marks, and nothing of them is lost", () => {
  assert.deepEqual(words("He's at school. \"Yes!\""), ["He's", " at", " school", ".", " \"", "Yes", "!\""]);
  for (const text of ["", "a  b…", "£3.50, please?"]) assert.equal(words(text).join(""), text);
});

test("pieces are shown without the mark of a word's beginning", () => {
  assert.deepEqual(["▁He", "'s", "▁"].map(plain), ["He", "'s", "␣"]);
  assert.deepEqual(finalPieces({ ids: [8, 9, 3], pieces: ["▁He", "'s", "<eos>"] }), ["▁He", "'s"]);
});
