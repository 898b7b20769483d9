/** Answers of the JavaScript engine to a JSON request on standard input, for the tests in Python to compare with Python's. */

import { readFileSync } from "node:fs";
import { mayLook } from "../../src/attention_decoded/widgets/js/engine/attention.js";
import { Autoencoder, VAE } from "../../src/attention_decoded/widgets/js/engine/autoencoder.js";
import { DecoderOnly } from "../../src/attention_decoded/widgets/js/engine/decoder_only.js";
import { beamSearch } from "../../src/attention_decoded/widgets/js/engine/beam.js";
import { greedy } from "../../src/attention_decoded/widgets/js/engine/decoding.js";
import { cutting } from "../../src/attention_decoded/widgets/js/engine/edits.js";
import { MaskedLanguageModel } from "../../src/attention_decoded/widgets/js/engine/masked_lm.js";
import { normalizeChinese, normalizeEnglish } from "../../src/attention_decoded/widgets/js/engine/normalize.js";
import { alibiSlopes, bucket } from "../../src/attention_decoded/widgets/js/engine/positions.js";
import { logProbsOf, reshape } from "../../src/attention_decoded/widgets/js/engine/probabilities.js";
import { RNNTranslator } from "../../src/attention_decoded/widgets/js/engine/rnn.js";
import { parseSafetensors } from "../../src/attention_decoded/widgets/js/engine/safetensors.js";
import { Tokenizer } from "../../src/attention_decoded/widgets/js/engine/tokenizer.js";
import { Transformer } from "../../src/attention_decoded/widgets/js/engine/transformer.js";

const request = JSON.parse(readFileSync(0, "utf8"));
const KINDS = { Transformer, DecoderOnly, RNNTranslator, Autoencoder, VAE };
const load = ({ kind, file }) => new KINDS[kind](parseSafetensors(readFileSync(file)));
const plain = (array) => (array ? Array.from(array, (x) => (x === -Infinity ? null : x)) : null);
const map = (looks) => looks.map(({ weights, q, k, v }) => ({ weights: plain(weights), q: plain(q), k: plain(k), v: plain(v) }));

function tokenize({ file, texts }) {
  const tokenizer = new Tokenizer(readFileSync(file, "utf8"));
  return texts.map((text) => tokenizer.encode(text));
}

function detokenize({ file, texts }) {
  const tokenizer = new Tokenizer(readFileSync(file, "utf8"));
  return texts.map((ids) => tokenizer.decode(ids));
}

function forward({ file, cases }) {
  const model = new MaskedLanguageModel(parseSafetensors(readFileSync(file)));
  return cases.map(({ ids, edit, where }) => {
    const { cuts = [], causal = false, ...rest } = edit ?? {};
    const mask = mayLook(ids.length, { cuts, causal });
    const here = (l, h) => edit && where.some(([layer, head]) => layer === l && head === h);
    const run = model.forward(ids, (l, h) => (here(l, h) ? { ...rest, mask } : null));
    return {
      layers: run.layers.map(({ x, heads, residual }) => ({
        x: [...x],
        residual: [...residual],
        heads: heads.map((head) => Object.fromEntries(["q", "k", "v", "scores", "weights", "output"].map((name) => [name, [...head[name]]]))),
      })),
      hidden: [...run.hidden],
      logits: ids.map((_, i) => [...model.logits(run, i)]),
    };
  });
}

/** Teacher forcing, all at once and token by token. */
function teacherForced({ cases, ...where }) {
  const model = load(where);
  return cases.map(({ source, target, cuts = [] }) => {
    const edits = cutting(cuts);
    const run = source ? model.forward(source, target, edits) : model.forward(target, edits);
    let state = model.start(source ?? [], edits);
    const stepwise = target.flatMap((id) => {
      const step = model.step(id, state);
      state = step.state;
      return [...step.logits];
    });
    const { encoder = [] } = source ? model.start(source, edits) : {};
    return { logits: [...run.logits], stepwise, looks: { encoder: map(encoder), decoder: map(run.self ?? []), cross: map(run.cross ?? []) } };
  });
}

/** What a cut does to every token of a known text. */
function scored({ cases, ...where }) {
  const model = load(where);
  return cases.map(({ source, target, out, cuts }) => {
    const edits = cutting(cuts);
    return logProbsOf((source ? model.forward(source, target, edits) : model.forward(target, edits)).logits, out);
  });
}

function write({ sources, search, runs, ...where }) {
  const model = load(where);
  const texts = (source, options) => (search === "beam" ? beamSearch(model, source, options).texts : [greedy(model, source, options)]);
  return runs.map((options) => sources.map((source) => texts(source, options)));
}

function pictures({ inputs, codes, ...where }) {
  const model = load(where);
  const encoded = model.encoder === null || model.autoencoder?.encoder === null ? null : model.encode(inputs);
  return {
    encoded: encoded?.mu ? { mu: [...encoded.mu], logvar: [...encoded.logvar] } : plain(encoded),
    decoded: [...model.decode(codes)],
    log_prior: model.logPrior ? Array.from({ length: codes.length / model.dLatent }, (_, i) => model.logPrior(codes.slice(i * model.dLatent, (i + 1) * model.dLatent))) : null,
  };
}

const answers = {
  normalize: ({ texts, table }) => texts.map((text) => normalizeChinese(text, table)),
  normalizeEnglish: ({ texts }) => texts.map(normalizeEnglish),
  tokenize, detokenize, forward, teacherForced, scored, write, pictures,
  places: ({ distances, heads }) => ({
    buckets: [false, true].map((bidirectional) => distances.map((ahead) => bucket(ahead, bidirectional))),
    slopes: heads.map(alibiSlopes),
  }),
  reshape: ({ cases }) => cases.map(({ logits, ...cuts }) => [...reshape(logits, cuts)]),
  refusal: ({ cases, ...where }) => {
    const model = load(where);
    return cases.map(({ source, target }) => {
      try {
        model.forward(...(source ? [source, target] : [target]));
        return null;
      } catch (error) {
        return error.message;
      }
    });
  },
};
process.stdout.write(JSON.stringify(answers[request.what](request)));
