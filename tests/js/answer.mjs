/** Answers of the JavaScript engine to a JSON request on standard input, for tests/test_js.py to compare with Python's. */

import { readFileSync } from "node:fs";
import { mayLook } from "../../src/attention_decoded/widgets/js/engine/attention.js";
import { MaskedLanguageModel } from "../../src/attention_decoded/widgets/js/engine/masked_lm.js";
import { normalizeChinese } from "../../src/attention_decoded/widgets/js/engine/normalize.js";
import { parseSafetensors } from "../../src/attention_decoded/widgets/js/engine/safetensors.js";
import { Tokenizer } from "../../src/attention_decoded/widgets/js/engine/tokenizer.js";

const request = JSON.parse(readFileSync(0, "utf8"));

function tokenize({ file, texts }) {
  const tokenizer = new Tokenizer(readFileSync(file, "utf8"));
  return texts.map((text) => tokenizer.encode(text));
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

const answers = { normalize: ({ texts, table }) => texts.map((text) => normalizeChinese(text, table)), tokenize, forward };
process.stdout.write(JSON.stringify(answers[request.what](request)));
