/** The translator's files, from the traits in a notebook, from the site on a page; one model for all figures of a page. */

import { loadAsset, siteRoot } from "../engine/assets.js";
import { frame, inSlices } from "../ui/pace.js";
import { assembling } from "./assemble.js";

/** @typedef {{ get(name: string): any }} Traits */
/** @typedef {(share: number | null, bytes: number) => void} Progress  share of the whole, null if unknown */
/** @typedef {import("./assemble.js").Texts} Texts */
/** @typedef {import("./session.js").Session} Session */

/** Sessions by the address of their files, and those still on their way. @type {Map<string, Session>} */
const ready = new Map();
/** @type {Map<string, { stop: AbortController, listeners: Set<Progress>, session: Promise<Session> }>} */
const coming = new Map();

/**
 * The session to translate with. Of several figures that ask for the same files one loads them for all; it is
 * stopped when none waits any longer.
 * @param {Traits} traits @param {AbortSignal} signal @param {Progress} onProgress @returns {Promise<Session>}
 */
export async function equip(traits, signal, onProgress) {
  const weights = traits.get("weights");
  if (weights?.byteLength) {
    await frame();
    const texts = { source: traits.get("source_tokenizer"), target: traits.get("target_tokenizer"), simplified: traits.get("t2s") ?? {}, lexicon: traits.get("lexicon") ?? {} };
    return inSlices(assembling(weights, texts), signal);
  }
  const base = traits.get("assets_url");
  if (!base) throw new Error("The figure was given neither a model nor a place to load one from.");
  const root = new URL(base, siteRoot()).href;
  const known = ready.get(root);
  if (known) return known;
  let load = coming.get(root);
  if (!load) {
    const stop = new AbortController();
    /** @type {Set<Progress>} */
    const listeners = new Set();
    const session = fetchAll(root, stop.signal, (...progress) => listeners.forEach((tell) => tell(...progress)));
    const mine = (load = { stop, listeners, session });
    coming.set(root, load);
    session.then((made) => ready.set(root, made), () => {}).finally(() => coming.get(root) === mine && coming.delete(root));
  }
  const { stop, listeners, session } = load;
  listeners.add(onProgress);
  try {
    return await Promise.race([session, aborted(signal)]);
  } finally {
    listeners.delete(onProgress);
    if (!listeners.size && !ready.has(root)) {
      coming.delete(root); // whoever asks next begins anew, and not with what is being stopped
      stop.abort();
    }
  }
}

/** @param {AbortSignal} signal @returns {Promise<never>} */
const aborted = (signal) =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

/** @param {string} root @param {AbortSignal} signal @param {Progress} onProgress */
async function fetchAll(root, signal, onProgress) {
  const text = async (/** @type {string} */ name) => new TextDecoder().decode(await loadAsset(new URL(name, root).href, { signal }));
  // The small files first: without them the large one is of no use.
  const [source, target, t2s, lexicon] = await Promise.all(["source.tokenizer.json", "target.tokenizer.json", "t2s.json", "lexicon.json"].map(text));
  const bytes = await loadAsset(new URL("model.safetensors", root).href, {
    signal,
    onProgress: (received, total) => onProgress(total ? received / total : null, received),
  });
  await frame();
  return inSlices(assembling(bytes, { source, target, simplified: JSON.parse(t2s), lexicon: JSON.parse(lexicon) }), signal);
}

