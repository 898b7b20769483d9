/**
 * The numbers of a widget's first state, computed under Node while the book is built: what the still
 * picture shows is what the page's own code will show. A JSON request on standard input, a JSON answer
 * on standard output.
 */

import { readFileSync } from "node:fs";
import { MaskedLanguageModel } from "./engine/masked_lm.js";
import { parseSafetensors } from "./engine/safetensors.js";
import { Tokenizer } from "./engine/tokenizer.js";
import { Experiment } from "./lab/experiment.js";
import { readSentence } from "./lab/reading.js";
import { dotProducts, drawSample, medianGradient, scaleOf } from "./lab/saturation.js";
import { MAX_TOKENS } from "./lab/state.js";
import { assemble } from "./translate/assemble.js";
import { precompute } from "./translate/precompute.js";

/**
 * @typedef {{ widget: "attention_lab", folder: string, t2s: Record<string, string>, sentence: string, layer: number, head: number,
 *   show: string, changes: import("./lab/state.js").Changes }} LabRequest
 * @typedef {{ widget: "scale_explorer", seed: number, widths: number[] }} ScaleRequest
 * @typedef {{ widget: "translator", folder: string, t2s: Record<string, string>, lexicon: Record<string, [string, string]>,
 *   state: import("./translate/state.js").State }} TranslatorRequest
 */

const answers = { attention_lab: lab, scale_explorer: scale, translator };
/** @type {{ widget: keyof typeof answers }} */
const request = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(answers[request.widget](/** @type {any} */ (request))));

/** @param {LabRequest} request */
function lab({ folder, t2s, sentence, layer, head, show, changes }) {
  const model = new MaskedLanguageModel(parseSafetensors(readFileSync(`${folder}/model.safetensors`)));
  const tokenizer = new Tokenizer(readFileSync(`${folder}/tokenizer.json`, "utf8"));
  const reading = readSentence(sentence, { tokenizer, simplified: t2s, maxTokens: Math.min(MAX_TOKENS, model.config.max_len) });
  if (!reading.ok) return { problem: reading.message };
  const outcome = new Experiment(model).run(reading.tokens.map(({ id }) => id), changes, layer, head);
  const shown = outcome.changed.layers[layer].heads[head];
  return {
    tokens: reading.tokens.map(({ text }, i) => (changes.hidden.includes(i) ? "□" : text)),
    values: Array.from(show === "scores" ? shown.scores : shown.weights),
  };
}

/** @param {ScaleRequest} request */
function scale({ seed, widths }) {
  const sample = drawSample(seed);
  const gradients = (/** @type {import("./lab/saturation.js").Mode} */ mode) =>
    widths.map((d) => medianGradient(dotProducts(sample, d), scaleOf(mode, 1, d)));
  return { none: gradients("none"), root: gradients("root") };
}

/** @param {TranslatorRequest} request */
function translator({ folder, t2s, lexicon, state }) {
  const text = (/** @type {string} */ name) => readFileSync(`${folder}/${name}`, "utf8");
  const texts = { source: text("source.tokenizer.json"), target: text("target.tokenizer.json"), simplified: t2s, lexicon };
  return precompute(assemble(readFileSync(`${folder}/model.safetensors`), texts), state);
}
