/** The maps of all three stacks with their labels, as the attention views want them. */

import { EOS } from "../engine/tokenizer.js";
import { plain } from "./writing.js";

/** @typedef {import("./example.js").Written} Written */
/** @typedef {import("./maps.js").Stacks} Stacks */

/**
 * Row = query, column = key. In the cross-attention a row is named after the token that it decides, in the decoder's
 * own attention rows and columns are the tokens that were fed, one behind.
 * @param {readonly string[]} source labels of the source's tokens @param {Written} written @param {Partial<Stacks>} looks
 * @param {(text: string) => string} pinyin
 */
export function stacksOf(source, written, looks, pinyin) {
  const english = written.ids.map((id, i) => ({ text: id === EOS ? "⏎" : plain(written.pieces[i]), lang: "en" }));
  const chinese = source.map((text) => ({ text, lang: "zh-Hans", sub: pinyin(text) }));
  const fed = [{ text: "▷", lang: "en", sub: "start" }, ...english.slice(0, -1)];
  const fedAndDecided = fed.map((token, i) => ({ ...token, sub: `writes ${english[i].text}` }));
  const stack = (/** @type {string} */ title, /** @type {any[]} */ queries, /** @type {any[]} */ keys, /** @type {import("./maps.js").Layer[] | undefined} */ layers) =>
    layers?.length ? { title, queries, keys, nHeads: layers[0].nHeads, layers } : undefined;
  const all = {
    encoder: stack("Encoder: Chinese looks at Chinese", chinese, chinese, looks.encoder),
    decoder: stack("Decoder: English looks at English before it", fedAndDecided, fed, looks.decoder),
    cross: stack("Cross-attention: English looks at Chinese", english, chinese, looks.cross),
  };
  return Object.fromEntries(Object.entries(all).filter(([, one]) => one));
}
