/**
 * From what the reader typed to tokens that the model can read, or to a sentence that says what is missing.
 */

import { hasHan, normalizeChinese } from "../engine/normalize.js";
import { UNK } from "../engine/tokenizer.js";

/** @typedef {import("../engine/tokenizer.js").Token} Token */
/** @typedef {{ ok: true, text: string, tokens: Token[], notes: string[] } | { ok: false, message: string }} Reading */

const LONGEST_TEXT = 2000;

/**
 * @param {string} typed
 * @param {{ tokenizer: import("../engine/tokenizer.js").Tokenizer, simplified: Record<string, string>, maxTokens: number }} tools
 * @returns {Reading}
 */
export function readSentence(typed, { tokenizer, simplified, maxTokens }) {
  if (!typed.trim()) return refuse("Type a Chinese sentence, or pick one of the examples.");
  if (typed.length > LONGEST_TEXT) return refuse(tooLong(`${typed.length.toLocaleString("en")} characters`, maxTokens));
  const text = normalizeChinese(typed, simplified);
  if (!hasHan(text)) return refuse("This model reads Chinese. Type Chinese characters, simplified or traditional.");
  const tokens = tokenizer.encode(text);
  if (tokens.length > maxTokens) return refuse(tooLong(`${tokens.length} tokens`, maxTokens));
  const notes = [];
  if (simplifiedScript(typed, simplified)) notes.push(`Read in simplified characters: ${text}`);
  const strange = [...new Set(tokens.filter(({ id }) => id === UNK).map((token) => token.text))];
  if (strange.length) {
    notes.push(`Unknown to the model (it was too rare in its training text): ${strange.join(" ")}. It is read as <unk>.`);
  }
  return { ok: true, text, tokens, notes };
}

/** @param {string} message @returns {Reading} */
const refuse = (message) => ({ ok: false, message });

/** @param {string} length @param {number} most */
const tooLong = (length, most) =>
  `That is ${length}; a map of at most ${most} tokens stays readable. Shorten the sentence a little.`;

/** Whether a character was changed from traditional to simplified. @param {string} typed @param {Record<string, string>} simplified */
const simplifiedScript = (typed, simplified) => Array.from(typed).some((character) => Object.hasOwn(simplified, character));
