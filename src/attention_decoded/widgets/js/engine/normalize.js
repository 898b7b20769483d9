/**
 * One spelling for one sentence: the mirror of `normalize_chinese(text, simplify="characters")` and of
 * `normalize_english` in `attention_decoded/data/normalize.py`, step by step and with the same character ranges.
 */

const SPACE = /[\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/gu;
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]/gu;
const HAN = "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const WIDE = `[${HAN}\\u3000-\\u303f\\uff00-\\uffef“”‘’…—]`;
const IS_HAN = new RegExp(`[${HAN}]`, "u");
const BESIDE_WIDE = new RegExp(`(?<=${WIDE}) | (?=${WIDE})`, "gu");

/** @type {Record<string, string>} */
const WESTERN = { ",": "，", "!": "！", "?": "？", ":": "：", ";": "；", "(": "（", ")": "）" };
/** @type {Record<string, string>} */
const QUOTES = { "「": "“", "」": "”", "『": "‘", "』": "’", "─": "—" };

/** Traditional 著 where simplified script writes 着 (看着); see ASPECT in normalize.py. */
const ASPECT = /(?<![名显原论编巨土卓昭合专拙遗])著(?![名作称者述])/gu;

/** @param {string} text @returns {boolean} whether a Chinese character occurs in it */
export const hasHan = (text) => IS_HAN.test(text);

/**
 * @param {string} text
 * @param {Readonly<Record<string, string>>} simplified  traditional → simplified, one character at a time (t2s.json)
 * @returns {string}
 */
export function normalizeChinese(text, simplified) {
  text = text.normalize("NFKC").replace(SPACE, " ").replace(CONTROL, "");
  text = Array.from(text, (character) => (Object.hasOwn(simplified, character) ? simplified[character] : character)).join("");
  text = text.replaceAll("甚么", "什么").replace(ASPECT, "着");
  text = text.replace(/[「」『』─]/gu, (mark) => QUOTES[mark]);
  let opening = false;
  text = text.replace(/"/gu, () => ((opening = !opening) ? "“" : "”"));
  text = text.replace(/ +(?=[,.!?:;)，。！？：；）…⋯])/gu, "").replace(/[.。…⋯]{2,}|⋯/gu, "…");
  text = text.replace(/[!?;()]|(?<![0-9])[,:]|[,:](?! *[0-9])/gu, (mark) => WESTERN[mark]);
  text = text.replace(/(?<![0-9A-Za-z. ])\.(?![0-9A-Za-z])|\.(?=[”’） ]*$)/gu, "。");
  text = text.replace(/ +/gu, " ").replace(/^ | $/gu, "");
  return text.replace(BESIDE_WIDE, "");
}

/**
 * The mirror of `normalize_english`: NFKC, straight quotes, single spaces, no control characters.
 * @param {string} text @returns {string}
 */
export function normalizeEnglish(text) {
  text = text.normalize("NFKC").replace(SPACE, " ").replace(CONTROL, "");
  text = text.replace(/[“”]/gu, '"').replace(/[‘’]/gu, "'");
  return text.replace(/ +/gu, " ").replace(/^ | $/gu, "");
}
