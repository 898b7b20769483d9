/**
 * The autoencoders of chapters 2 and 3, forward pass only: the mirror of `autoencoder.py` and `vae.py`.
 * A picture is a row of grey values in 0–1; a decoder gives logits, and `sigmoid` turns them into grey values.
 * The layers' sizes are read off the tensors.
 */

import { relu } from "./ops.js";
import { linearShapes, Weights } from "./weights.js";

/** @typedef {import("./safetensors.js").Safetensors} Safetensors */

/** Linear layers with a ReLU between any two: `encoder.0`, `encoder.2`, … */
class MLP {
  /** @param {Safetensors} file @param {string} name */
  constructor(file, name) {
    /** @type {number[]} [d_in, …, d_out] */
    this.sizes = [];
    /** @type {string[]} */
    this.layers = [];
    for (let i = 0; file.tensors.has(`${name}.${i}.weight`); i += 2) {
      const [dOut, dIn] = file.tensors.get(`${name}.${i}.weight`)?.shape ?? [];
      if (!i) this.sizes.push(dIn);
      this.sizes.push(dOut);
      this.layers.push(`${name}.${i}`);
    }
    if (!this.layers.length) throw new Error(`The model file lacks the tensor ${name}.0.weight.`);
    this.name = name;
    const shapes = this.layers.map((layer, i) => linearShapes(layer, this.sizes[i + 1], this.sizes[i]));
    this.weights = new Weights(file, Object.assign({}, ...shapes));
  }

  /** @param {ArrayLike<number>} input [n, d_in] @returns {Float32Array} [n, d_out] */
  run(input) {
    const n = input.length / this.sizes[0];
    if (!Number.isInteger(n) || n < 1) {
      throw new Error(`The ${this.name} takes rows of ${this.sizes[0]} numbers, not ${input.length}.`);
    }
    /** @type {Float32Array} */
    let x = Float32Array.from(input);
    this.layers.forEach((layer, i) => {
      x = this.weights.linear(i ? relu(x) : x, n, layer);
    });
    return x;
  }
}

/** Logits to grey values. @param {Float32Array} logits @returns {Float32Array} */
export const sigmoid = (logits) => logits.map((x) => 1 / (1 + Math.exp(-x)));

export class Autoencoder {
  /**
   * A file may hold the decoder alone, for a page where nobody draws.
   * @param {Safetensors} file @param {number} [perEntry] numbers that the encoder gives for each entry of a code
   */
  constructor(file, perEntry = 1) {
    this.decoder = new MLP(file, "decoder");
    const whole = [...file.tensors.keys()].some((name) => name.startsWith("encoder."));
    this.encoder = whole ? new MLP(file, "encoder") : null;
    this.dLatent = this.decoder.sizes[0];
    this.nPixels = this.decoder.sizes[this.decoder.sizes.length - 1];
    const sizes = this.encoder?.sizes ?? [this.nPixels, perEntry * this.dLatent];
    if (sizes[0] !== this.nPixels || sizes[sizes.length - 1] !== perEntry * this.dLatent) {
      const both = [sizes, this.decoder.sizes].map((widths) => widths.join("–"));
      throw new Error(`An encoder ${both[0]} and a decoder ${both[1]} are not of one such model.`);
    }
  }

  /** The codes of pictures. @param {ArrayLike<number>} pictures [n, pixel] @returns {Float32Array} [n, latent] */
  encode(pictures) {
    if (!this.encoder) throw new Error("The model file holds the decoder alone.");
    return this.encoder.run(pictures);
  }

  /** Pictures, as logits. @param {ArrayLike<number>} codes [n, latent] @returns {Float32Array} [n, pixel] */
  decode(codes) {
    return this.decoder.run(codes);
  }
}

/**
 * A mixture of Gaussians over the codes: [component], and [component, latent] twice.
 * @typedef {{ logits: Float32Array, mu: Float32Array, logvar: Float32Array }} MixturePrior
 */

export class VAE {
  /** @param {Safetensors} file */
  constructor(file) {
    this.autoencoder = new Autoencoder(file, 2); // mu and logvar
    this.nPixels = this.autoencoder.nPixels;
    this.dLatent = this.autoencoder.dLatent;
    /** @type {MixturePrior | null} null: the standard normal */
    this.prior = null;
    const logits = file.tensors.get("prior.logits")?.data;
    if (logits) {
      const shape = [logits.length, this.dLatent];
      const weights = new Weights(file, { "prior.logits": [logits.length], "prior.mu": shape, "prior.logvar": shape });
      this.prior = { logits, mu: weights.get("prior.mu"), logvar: weights.get("prior.logvar") };
    }
  }

  /**
   * Each picture's cloud. @param {ArrayLike<number>} pictures [n, pixel]
   * @returns {{ mu: Float32Array, logvar: Float32Array }} [n, latent] each
   */
  encode(pictures) {
    const both = this.autoencoder.encode(pictures);
    const d = this.dLatent;
    const n = both.length / (2 * d);
    const [mu, logvar] = [new Float32Array(n * d), new Float32Array(n * d)];
    for (let i = 0; i < n; i++) {
      mu.set(both.subarray(2 * i * d, (2 * i + 1) * d), i * d);
      logvar.set(both.subarray((2 * i + 1) * d, (2 * i + 2) * d), i * d);
    }
    return { mu, logvar };
  }

  /** Pictures, as logits. @param {ArrayLike<number>} codes [n, latent] @returns {Float32Array} [n, pixel] */
  decode(codes) {
    return this.autoencoder.decode(codes);
  }

  /** log p(z), in nats. @param {ArrayLike<number>} code [latent] @returns {number} */
  logPrior(code) {
    const d = this.dLatent;
    if (code.length !== d) throw new Error(`A code has ${d} numbers, not ${code.length}.`);
    const standard = { logits: new Float32Array(1), mu: new Float32Array(d), logvar: new Float32Array(d) };
    const { logits, mu, logvar } = this.prior ?? standard;
    const total = logSumExp([...logits]);
    return logSumExp(
      [...logits].map((logit, component) => {
        let sum = logit - total - (d / 2) * Math.log(2 * Math.PI);
        for (let c = 0, at = component * d; c < d; c++, at++) {
          sum -= 0.5 * (logvar[at] + (code[c] - mu[at]) ** 2 / Math.exp(logvar[at]));
        }
        return sum;
      }),
    );
  }
}

/** @param {number[]} values */
function logSumExp(values) {
  const max = Math.max(...values);
  return max + Math.log(values.reduce((sum, x) => sum + Math.exp(x - max), 0));
}
