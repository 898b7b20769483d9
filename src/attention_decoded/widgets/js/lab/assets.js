/** The laboratory's four files, from the traits in a notebook, from the site on a page. */

import { loadAsset, siteRoot } from "../engine/assets.js";
import { MaskedLanguageModel } from "../engine/masked_lm.js";
import { asBytes, parseSafetensors } from "../engine/safetensors.js";
import { Tokenizer } from "../engine/tokenizer.js";

/** @typedef {{ get(name: string): any }} Traits */

/**
 * @typedef {object} Equipment
 * @property {MaskedLanguageModel} model
 * @property {Tokenizer} tokenizer
 * @property {Record<string, string>} simplified  traditional → simplified
 * @property {Record<string, [pinyin: string, gloss: string]>} lexicon
 */

/** One set of equipment per place, shared by all laboratories of a page. @type {Map<string, Equipment>} */
const shared = new Map();

/**
 * @param {Traits} traits @param {AbortSignal} signal
 * @param {(share: number | null, bytes: number) => void} onProgress  share of the whole, null if unknown
 * @returns {Promise<Equipment>}
 */
export async function equip(traits, signal, onProgress) {
  const weights = traits.get("weights");
  if (weights?.byteLength) {
    return assemble(asBytes(weights), traits.get("tokenizer"), traits.get("t2s") ?? {}, traits.get("lexicon") ?? {});
  }
  const base = traits.get("assets_url");
  if (!base) throw new Error("The figure was given neither a model nor a place to load one from.");
  const root = new URL(base, siteRoot()).href;
  const known = shared.get(root);
  if (known) return known;
  const text = async (/** @type {string} */ name) => new TextDecoder().decode(await loadAsset(new URL(name, root).href, { signal }));
  const [bytes, tokenizer, t2s, lexicon] = await Promise.all([
    loadAsset(new URL("model.safetensors", root).href, {
      signal,
      onProgress: (received, total) => onProgress(total ? received / total : null, received),
    }),
    text("tokenizer.json"),
    text("t2s.json"),
    text("lexicon.json"),
  ]);
  const equipment = assemble(bytes, tokenizer, JSON.parse(t2s), JSON.parse(lexicon));
  shared.set(root, equipment);
  return equipment;
}

/**
 * @param {Uint8Array} weights @param {string} tokenizer
 * @param {Record<string, string>} simplified @param {Equipment["lexicon"]} lexicon
 * @returns {Equipment}
 */
function assemble(weights, tokenizer, simplified, lexicon) {
  const equipment = { model: new MaskedLanguageModel(parseSafetensors(weights)), tokenizer: new Tokenizer(tokenizer), simplified, lexicon };
  if (equipment.tokenizer.size !== equipment.model.config.n_vocab) {
    throw new Error(`The tokenizer knows ${equipment.tokenizer.size} tokens, the model ${equipment.model.config.n_vocab}: they do not belong together.`);
  }
  return equipment;
}
