/**
 * Read a safetensors file: fp16 and fp32 tensors, always handed out as Float32Array.
 *
 * The header is checked before anything is trusted, so that a truncated download or an altered file
 * ends in one clear sentence and never in a model that silently computes nonsense.
 * Format: 8 bytes (header length, little endian), a JSON header, then the tensors back to back.
 */

import { toTheEnd } from "./steps.js";

/** @typedef {{ shape: number[], data: Float32Array }} Tensor */
/** @typedef {{ tensors: Map<string, Tensor>, metadata: Record<string, string> }} Safetensors */

const MAX_HEADER = 10_000_000;
/** @type {Record<string, number>} */
const BYTES = { F16: 2, F32: 4 };

/** How many numbers are converted between two steps: well under a millisecond's work. */
const PART = 65_536;

/** Every half-precision value once: a table look-up beats arithmetic per element. @type {Float32Array | null} */
let table = null;

/** The table, made when the first file is read. */
function halves() {
  if (table) return table;
  table = new Float32Array(65536);
  for (let exponent = 0; exponent < 32; exponent++) {
    const unit = 2 ** (Math.max(exponent, 1) - 25); // what the last bit of the fraction is worth
    for (let fraction = 0; fraction < 1024; fraction++) {
      const value = exponent === 31 ? (fraction ? NaN : Infinity) : (exponent ? 1024 + fraction : fraction) * unit;
      table[exponent * 1024 + fraction] = value;
      table[32768 + exponent * 1024 + fraction] = -value;
    }
  }
  return table;
}

/** @param {string} why @returns {never} */
function fail(why) {
  throw new Error(`This is not an intact safetensors file: ${why}.`);
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** @param {unknown} value @returns {value is number} */
const isSize = (value) => Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;

/**
 * A view of the bytes, whatever container they came in (fetch, anywidget's DataView, Node's Buffer).
 * @param {ArrayBuffer | ArrayBufferView} source @returns {Uint8Array}
 */
export function asBytes(source) {
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
}

/** @param {Uint16Array} half @param {Float32Array} data written @param {number} from @param {number} to */
function convert(half, data, from, to) {
  const values = halves();
  for (let i = from; i < to; i++) data[i] = values[half[i]];
}

/** @param {ArrayBuffer | ArrayBufferView} source @returns {Safetensors} */
export function parseSafetensors(source) {
  return toTheEnd(parsing(source));
}

/**
 * The same in short steps, so that a page can paint and answer while a large file is read.
 * @param {ArrayBuffer | ArrayBufferView} source @returns {Generator<void, Safetensors, void>}
 */
export function* parsing(source) {
  const bytes = asBytes(source);
  if (bytes.length < 8) fail(`it has ${bytes.length} bytes, the header alone needs more`);
  const announced = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (announced > BigInt(MAX_HEADER)) fail(`it announces a header of ${announced} bytes`);
  const start = 8 + Number(announced);
  if (start > bytes.length) fail(`its header should end at byte ${start}, but the file ends at ${bytes.length}`);

  /** @type {unknown} */
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start)));
  } catch {
    fail("its header is not JSON");
  }
  if (!isObject(header)) fail("its header is not a JSON object");

  const room = bytes.length - start;
  /** @type {Map<string, Tensor>} */
  const tensors = new Map();
  /** @type {Record<string, string>} */
  const metadata = {};
  /** @type {[number, number, string][]} */
  const spans = [];
  for (const [name, entry] of Object.entries(header)) {
    if (!isObject(entry)) fail(`the entry of ${name} is not an object`);
    if (name === "__metadata__") {
      for (const [key, value] of Object.entries(entry)) metadata[key] = String(value);
      continue;
    }
    const { dtype, shape, data_offsets: span } = entry;
    const size = typeof dtype === "string" && Object.hasOwn(BYTES, dtype) ? BYTES[dtype] : 0;
    if (!size) fail(`${name} has the type ${String(dtype)}; F16 and F32 are known`);
    if (!Array.isArray(shape) || !shape.every(isSize)) fail(`${name} has no valid shape`);
    if (!Array.isArray(span) || span.length !== 2 || !span.every(isSize)) fail(`${name} has no valid place`);
    const [from, to] = span;
    const count = shape.reduce((product, axis) => product * axis, 1);
    if (to > room) fail(`${name} should end at byte ${start + to}, but the file ends at ${bytes.length}`);
    if (to - from !== count * size) fail(`${name} has ${to - from} bytes for ${count} numbers of type ${String(dtype)}`);
    spans.push([from, to, name]);

    const raw = bytes.slice(start + from, start + to).buffer; // a copy: aligned, whatever the header's length
    if (dtype === "F32") {
      tensors.set(name, { shape, data: new Float32Array(raw) });
    } else {
      const half = new Uint16Array(raw);
      const data = new Float32Array(count);
      for (let from = 0; from < count; from += PART) {
        convert(half, data, from, Math.min(count, from + PART));
        yield;
      }
      tensors.set(name, { shape, data });
    }
    yield;
  }

  spans.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let end = 0;
  for (const [from, to, name] of spans) {
    if (from !== end) fail(`${name} starts at byte ${start + from}, the tensor before it ends at ${start + end}`);
    end = to;
  }
  if (end !== room) fail(`${room - end} bytes follow the last tensor`);
  return { tensors, metadata };
}
