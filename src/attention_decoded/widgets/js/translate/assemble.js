/** A session from its files, in the browser and while a page is built. */

import { parsing } from "../engine/safetensors.js";
import { toTheEnd } from "../engine/steps.js";
import { Tokenizer } from "../engine/tokenizer.js";
import { Transformer } from "../engine/transformer.js";
import { Session } from "./session.js";

/** @typedef {{ source: string, target: string, simplified: Record<string, string>, lexicon: Record<string, [string, string]> }} Texts  of two tokenizers, and two tables */

/** Training saw no longer sentences. */
export const MAX_TOKENS = 64;

/**
 * Throws an Error when the files do not belong together.
 * @param {ArrayBuffer | ArrayBufferView} weights @param {Texts} texts @returns {Session}
 */
export const assemble = (weights, texts) => toTheEnd(assembling(weights, texts));

/**
 * The same in short steps, so that a page can paint in between.
 * @param {ArrayBuffer | ArrayBufferView} weights @param {Texts} texts @returns {Generator<void, Session, void>}
 */
export function* assembling(weights, texts) {
  const file = yield* parsing(weights);
  const model = new Transformer(file);
  yield;
  const source = new Tokenizer(texts.source);
  yield;
  const target = new Tokenizer(texts.target);
  for (const [side, size, expected] of /** @type {const} */ ([
    ["source", source.size, model.config.n_source_vocab],
    ["target", target.size, model.config.n_target_vocab],
  ])) {
    if (size !== expected) throw new Error(`The ${side} tokenizer knows ${size} tokens, the model ${expected}: they do not belong together.`);
  }
  const { simplified, lexicon } = texts;
  return new Session({ model, source, target, simplified, lexicon, maxTokens: Math.min(MAX_TOKENS, model.config.max_len) });
}
