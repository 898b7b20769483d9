/**
 * Get a model's files: from the site with `fetch`, and from a folder on the reader's disk (`file:`),
 * where `fetch` is forbidden, through the script twin that lies beside each file. A twin calls
 * `__adAsset("<model>/<file>", "<base64>")`.
 */

/**
 * @typedef {object} LoadOptions
 * @property {AbortSignal} [signal]
 * @property {(received: number, total: number) => void} [onProgress]  bytes; `total` is 0 where the server does not say
 * @property {number} [attempts]  how often to try before giving up
 * @property {number} [pause]  milliseconds before the second attempt; doubled for each further one
 */

/** @type {typeof globalThis & { __adAsset?: (name: string, base64: string) => void, __adArrived?: Map<string, Uint8Array> }} */
const shared = globalThis;

/** Where the page's site begins. Sphinx writes it on <html>; elsewhere it is the page itself. */
export function siteRoot() {
  return new URL(document.documentElement.dataset.content_root ?? "./", document.baseURI).href;
}

/** @param {string} base64 @returns {Uint8Array} */
export function fromBase64(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * One file, whole. Rejects with an `AbortError` when the signal says so and with a plain sentence otherwise.
 * @param {string} url @param {LoadOptions} [options] @returns {Promise<Uint8Array>}
 */
export async function loadAsset(url, { signal, onProgress = () => {}, attempts = 3, pause = 400 } = {}) {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return new URL(url).protocol === "file:" ? await viaScript(url, signal) : await viaFetch(url, signal, onProgress);
    } catch (error) {
      if (signal?.aborted || attempt >= attempts || (error instanceof HttpError && error.final)) throw error;
      await sleep(pause * 2 ** (attempt - 1), signal);
    }
  }
}

class HttpError extends Error {
  /** @param {string} name @param {number} status */
  constructor(name, status) {
    super(`The server answered ${status} for ${name}.`);
    this.final = status >= 400 && status < 500 && status !== 408 && status !== 429; // asking again would not help
  }
}

/** @param {string} url */
const fileName = (url) => decodeURIComponent(new URL(url).pathname.split("/").at(-1) ?? url);

/** @param {number} milliseconds @param {AbortSignal | undefined} signal @returns {Promise<void>} */
function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * @param {string} url @param {AbortSignal | undefined} signal
 * @param {(received: number, total: number) => void} onProgress
 */
async function viaFetch(url, signal, onProgress) {
  let response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error(`${fileName(url)} could not be fetched: ${error instanceof Error ? error.message : error}.`);
  }
  if (!response.ok) throw new HttpError(fileName(url), response.status);
  if (!response.body) return new Uint8Array(await response.arrayBuffer());
  // With a compressed answer Content-Length counts other bytes than those that arrive here.
  const total = response.headers.get("content-encoding") ? 0 : Number(response.headers.get("content-length") ?? 0);
  const reader = response.body.getReader();
  /** @type {Uint8Array[]} */
  const parts = [];
  let received = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    onProgress(received, total);
  }
  const bytes = new Uint8Array(received);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** @param {string} url @param {AbortSignal | undefined} signal @returns {Promise<Uint8Array>} */
async function viaScript(url, signal) {
  const arrived = (shared.__adArrived ??= new Map());
  shared.__adAsset ??= (name, base64) => void arrived.set(name, fromBase64(base64));
  const name = new URL(url).pathname.split("/").slice(-2).map(decodeURIComponent).join("/");
  if (!arrived.has(name)) {
    const script = document.createElement("script");
    script.src = `${url}.js`;
    try {
      await new Promise((resolve, reject) => {
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${fileName(url)}.js could not be read from the book's folder.`));
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
        document.head.append(script);
      });
    } finally {
      script.remove();
    }
  }
  const bytes = arrived.get(name);
  if (!bytes) throw new Error(`${fileName(url)}.js holds no file named ${name}.`);
  return bytes;
}
