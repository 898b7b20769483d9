/**
 * The attention laboratory: type a Chinese sentence, see who looks at whom, change it, see what changes.
 *
 * The Python class is `attention_decoded.widgets.AttentionLab`; every synced trait named below can be
 * read and set from Python. `data-status` of the root is loading, failed or ready.
 */

import "./attention_lab.css";
import { decimal, percent } from "./engine/describe.js";
import { mayLook } from "./engine/attention.js";
import { UNK } from "./engine/tokenizer.js";
import { equip } from "./lab/assets.js";
import { Experiment, strongestEdge, symmetry } from "./lab/experiment.js";
import { readSentence } from "./lab/reading.js";
import { columnEdges, History, MAX_TOKENS, rowEdges, sameChanges, sortEdges, toggleEdges, UNCHANGED } from "./lab/state.js";
import { tokenChips } from "./ui/chips.js";
import { segmented, sliderRow, switchRow } from "./ui/controls.js";
import { button, h, keepKeys, setAttribute, setText, uniqueId, widgetRoot } from "./ui/dom.js";
import { exampleButtons } from "./ui/examples.js";
import { guessList } from "./ui/guesses.js";
import { heatmap } from "./ui/heatmap.js";
import { liveRegion } from "./ui/live.js";
import { loadVisibly } from "./ui/loading.js";
import { mixture } from "./ui/mixture.js";
import { productStrip } from "./ui/products.js";
import { tooltips } from "./ui/tooltip.js";
import { whenTyped } from "./ui/typing.js";

/** @typedef {import("./lab/state.js").Changes} Changes */
/** @typedef {import("./lab/state.js").Edge} Edge */
/** @typedef {import("./lab/assets.js").Equipment} Equipment */
/** @typedef {import("./ui/heatmap.js").Place} Place */
/** @typedef {import("./engine/tokenizer.js").Token} Token */
/** @typedef {{ get(name: string): any, set(name: string, value: any): void, save_changes(): void, on(names: string, f: () => void): any, off(names: string, f: () => void): any }} Model */

const CHANGE_TRAITS = /** @type {const} */ (["scale", "temperature", "causal", "matrices", "scope", "cuts", "hidden"]);

/** @param {{ model: Model, el: HTMLElement, signal?: AbortSignal }} props */
async function render({ model, el, signal }) {
  const gone = new AbortController();
  signal?.addEventListener("abort", () => gone.abort(), { once: true });
  const root = widgetRoot("attention-lab", "ad-lab", "Attention laboratory");
  keepKeys(root);
  el.append(root);
  let equipment;
  try {
    equipment = await loadVisibly(root, gone.signal, (stop, onProgress) => equip(model, stop, onProgress));
  } catch (error) {
    if (gone.signal.aborted) return;
    throw error;
  }
  laboratory(model, root, equipment, gone.signal);
  return () => gone.abort();
}

/** @param {Model} model @param {HTMLElement} root @param {Equipment} equipment @param {AbortSignal} signal */
function laboratory(model, root, equipment, signal) {
  const { tokenizer, lexicon } = equipment;
  const { n_layers, n_heads, max_len } = equipment.model.config;
  const experiment = new Experiment(equipment.model);
  const reader = { ...equipment, maxTokens: Math.min(MAX_TOKENS, max_len) };
  const history = new History();

  // ------------------------------------------------------------------ state
  let typed = "";
  const firstSentence = model.get("sentence");
  /** @type {Token[]} */
  let tokens = [];
  let changes = readChanges();
  /** The cell on show: the pinned one, or the one under the pointer. @type {[number, number]} */
  let selected = [0, 0];
  /** The cell that was pressed or reached by keyboard: what is on show again when the pointer leaves. @type {[number, number]} */
  let pinned = [0, 0];
  let guessAt = 0;
  /** Traits are set one after another, and each calls back: half of a change must not be read as one from outside. */
  let publishing = false;
  /** @type {string} what the last change did, for the live region */
  let spoken = "";

  /** @returns {Changes} */
  function readChanges() {
    const raw = Object.fromEntries(CHANGE_TRAITS.map((name) => [name, model.get(name)]));
    return { ...UNCHANGED, ...raw, cuts: sortEdges(raw.cuts ?? []), hidden: [...(raw.hidden ?? [])] };
  }

  const view = {
    get layer() {
      return Math.min(n_layers - 1, Math.max(0, model.get("layer")));
    },
    get head() {
      return Math.min(n_heads - 1, Math.max(0, model.get("head")));
    },
    get signed() {
      return model.get("show") === "scores";
    },
  };

  // ------------------------------------------------------------------ parts
  const live = liveRegion(signal);
  const input = h("input", { type: "text", id: uniqueId("sentence"), lang: "zh", autocomplete: "off", spellcheck: "false", enterkeyhint: "done", "data-control": "sentence" });
  const problem = h("p", { class: "ad-problem", role: "alert" });
  const notes = h("p", { class: "ad-notes" });
  setAttribute(input, "aria-describedby", (problem.id = uniqueId("problem")));
  const examples = exampleButtons(model, {
    onChoose(text) {
      input.value = text;
      enter(text);
    },
  });

  const chips = tokenChips({ onToggle: toggleHidden });
  const guesses = guessList();
  const map = heatmap({ onShow: show, onToggle: togglePlace, onLeave: () => lookAt(pinned) });
  const products = productStrip();
  const mix = mixture();

  const layer = segmented({
    name: "layer", label: "Layer", onChoose: (value) => write({ layer: Number(value) }),
    options: Array.from({ length: n_layers }, (_, i) => ({ value: String(i), text: String(i + 1) })),
  });
  const head = segmented({
    name: "head", label: "Head", onChoose: (value) => write({ head: Number(value) }),
    options: Array.from({ length: n_heads }, (_, i) => ({ value: String(i), text: String(i + 1) })),
  });
  const quantity = segmented({
    name: "show", label: "Show", onChoose: (value) => write({ show: value }),
    options: [
      { value: "weights", text: "weights", hint: "After the softmax: each row sums to 1" },
      { value: "scores", text: "scores", hint: "Before the softmax: scaled dot products" },
    ],
  });
  const matrices = segmented({
    name: "matrices", label: "Matrices",
    onChoose: (value) => change({ matrices: value }, matricesSentence(value)),
    options: [
      { value: "none", text: "none: Q = K = V = X", hint: "No matrices: every head compares and averages the vectors x themselves" },
      { value: "one", text: "one: W_K := W_Q", hint: "One matrix: the trained query matrix makes the keys too" },
      { value: "two", text: "two", hint: "Two matrices, W_Q and W_K, as trained" },
    ],
  });
  const scope = segmented({
    name: "scope", label: "Changes apply to", onChoose: (value) => change({ scope: value }, "Changes now apply elsewhere."),
    options: [
      { value: "head", text: "this head" },
      { value: "layer", text: "this layer", hint: "All heads of the layer on show" },
      { value: "all", text: "whole model", hint: "All heads of all layers" },
    ],
  });
  const width = () => (changes.matrices === "none" ? equipment.model.config.d_model : equipment.model.dHead);
  const scale = sliderRow({
    name: "scale", label: "Scale", min: 0, max: 4, step: 0.05, mark: 1,
    describe: (value) => `${decimal(value)} × 1/√${width()}`,
    onInput: (value) => change({ scale: value }, `Scale ${decimal(value)} times one over root ${width()}.`, "scale"),
    onRelease: () => history.close(),
  });
  const temperature = sliderRow({
    name: "temperature", label: "Temperature", min: -3, max: 3, step: 0.1, mark: 1,
    toPosition: Math.log2,
    toValue: (position) => Number((2 ** position).toFixed(3)),
    describe: (value) => decimal(value),
    onInput: (value) => change({ temperature: value }, `Temperature ${decimal(value)}.`, "temperature"),
    onRelease: () => history.close(),
  });
  const causal = switchRow({
    name: "causal", label: "Causal mask: no looking ahead",
    onToggle: (on) => change({ causal: on }, on ? "Causal mask on: no token looks ahead." : "Causal mask off."),
  });
  const undo = button("Undo", stepBack, { "data-control": "undo" });
  const reset = button("Reset", () => change({ ...UNCHANGED }, "Everything as trained again."), { "data-control": "reset" });

  const pair = h("p", { class: "ad-pair" });
  const cutEdge = button("", () => togglePlace({ kind: "cell", query: selected[0], key: selected[1] }), { "data-control": "cut-edge" });
  const cutRow = button("", () => togglePlace({ kind: "row", query: selected[0] }), { "data-control": "cut-row" });
  const cutColumn = button("", () => togglePlace({ kind: "column", key: selected[1] }), { "data-control": "cut-column" });
  const symmetryNote = h("p", { class: "ad-symmetry" });
  const summary = h("p", { class: "ad-summary" });

  root.append(
    h("div", { class: "ad-sentence" }, h("label", { for: input.id }, "Your sentence"), input, examples.el, problem, notes),
    h("div", { class: "ad-tokens" }, chips.el, summary, guesses.el),
    h("div", { class: "ad-changes" }, matrices.el, scale.el, temperature.el, causal.el, scope.el, h("div", { class: "ad-actions" }, undo, reset)),
    h(
      "div",
      { class: "ad-stage" },
      h(
        "div",
        { class: "ad-map-panel" },
        h("div", { class: "ad-view" }, layer.el, head.el, quantity.el),
        h("p", { class: "ad-axes" }, h("span", { class: "ad-q" }, "row = query (who looks)"), " · ", h("span", { class: "ad-k" }, "column = key (who is looked at)")),
        map.el,
        symmetryNote,
      ),
      h(
        "div",
        { class: "ad-detail", "data-panel": "detail" },
        pair, products.el, h("div", { class: "ad-actions" }, cutEdge, cutRow, cutColumn),
      ),
      mix.el,
    ),
    live.el,
  );
  tooltips(root, signal);

  // ------------------------------------------------------------------ what the reader does
  /** Write view traits: they are looked at, not undone. @param {Record<string, unknown>} traits */
  function write(traits) {
    for (const [name, value] of Object.entries(traits)) model.set(name, value);
    model.save_changes();
  }

  /**
   * Change something that can be undone.
   * @param {Partial<Changes>} patch @param {string} sentence for the live region @param {string | null} [drag]
   */
  function change(patch, sentence, drag = null) {
    const next = { ...changes, ...patch };
    if (sameChanges(next, changes)) return;
    history.push({ typed, changes }, drag);
    changes = next;
    spoken = sentence;
    publish();
    draw();
  }

  function stepBack() {
    const before = /** @type {{ typed: string, changes: Changes } | undefined} */ (history.pop());
    if (!before) return;
    spoken = "Undone.";
    if (before.typed !== typed) {
      input.value = before.typed;
      take(before.typed, false);
    }
    changes = before.changes;
    publish();
    draw();
  }

  /** Tell Python (and whatever is linked on the page) what stands now, all at once. */
  function publish() {
    publishing = true;
    for (const name of CHANGE_TRAITS) {
      if (JSON.stringify(model.get(name)) !== JSON.stringify(changes[name])) model.set(name, changes[name]);
    }
    const texts = tokens.map((token) => token.text);
    if (JSON.stringify(model.get("tokens")) !== JSON.stringify(texts)) model.set("tokens", texts);
    if (tokens.length && model.get("sentence") !== typed) model.set("sentence", typed);
    publishing = false;
    model.save_changes();
  }

  /** @param {number} position */
  function toggleHidden(position) {
    const hide = !changes.hidden.includes(position);
    guessAt = hide ? position : (changes.hidden.find((other) => other !== position) ?? 0);
    const hidden = hide ? [...changes.hidden, position].sort((a, b) => a - b) : changes.hidden.filter((other) => other !== position);
    change({ hidden }, `${tokens[position].text} ${hide ? "hidden" : "shown again"}.`);
  }

  /** @param {[number, number]} cell */
  function lookAt(cell) {
    if (cell.join() === selected.join()) return;
    selected = cell;
    draw();
  }

  /** @param {Place} place @param {boolean} pin */
  function show(place, pin) {
    /** @type {[number, number]} */
    const cell = [place.kind === "column" ? pinned[0] : place.query, place.kind === "row" ? pinned[1] : place.key];
    if (pin) pinned = cell;
    lookAt(cell);
  }

  /** @param {Place} place */
  function togglePlace(place) {
    const n = tokens.length;
    /** @type {Edge[]} */
    let edges;
    let what;
    if (place.kind === "cell") {
      edges = [[place.query, place.key]];
      what = `${tokens[place.query].text} looking at ${tokens[place.key].text}`;
      selected = [place.query, place.key];
    } else if (place.kind === "row") {
      edges = rowEdges(n, place.query);
      what = `everything ${tokens[place.query].text} looks at`;
      selected = [place.query, pinned[1]];
    } else {
      edges = columnEdges(n, place.key);
      what = `every look at ${tokens[place.key].text}`;
      selected = [pinned[0], place.key];
    }
    pinned = selected;
    const cuts = toggleEdges(changes.cuts, edges);
    change({ cuts }, `${cuts.length > changes.cuts.length ? "Cut" : "Restored"}: ${what}.`);
  }

  /** Without cuts and hidden positions that the sentence does not have. @param {Changes} all @returns {Changes} */
  function insideSentence(all) {
    const inside = (/** @type {number} */ i) => i < tokens.length;
    return { ...all, cuts: all.cuts.filter((edge) => edge.every(inside)), hidden: all.hidden.filter(inside) };
  }

  /**
   * Read a sentence: show it, or say what is missing and keep the last one.
   * @param {string} text @param {boolean} undoable
   */
  function take(text, undoable) {
    const reading = readSentence(text, reader);
    setText(problem, reading.ok ? "" : tokens.length ? `${reading.message} Below is still 「${typed}」.` : reading.message);
    setAttribute(input, "aria-invalid", reading.ok ? null : "true");
    if (!reading.ok) {
      setText(notes, ""); // they were about another sentence
      return false;
    }
    setText(notes, reading.notes.join(" · "));
    if (undoable && tokens.length) history.push({ typed, changes });
    const same = reading.tokens.length === tokens.length && reading.tokens.every(({ text: t }, i) => t === tokens[i].text);
    typed = text;
    if (same) {
      publish();
      return true;
    }
    if (tokens.length) changes = { ...changes, cuts: [], hidden: [] }; // they were about positions of the old sentence
    tokens = reading.tokens;
    changes = insideSentence(changes);
    guessAt = changes.hidden[0] ?? 0;
    const wish = typed === firstSentence ? (model.get("look") ?? []) : [];
    const inside = wish.length === 2 && wish.every((/** @type {number} */ i) => i < tokens.length);
    selected = inside ? [wish[0], wish[1]] : strongestEdge(run().changed.layers[view.layer].heads[view.head].weights, tokens.length);
    pinned = selected;
    publish();
    return true;
  }

  /** @param {string} text */
  function enter(text) {
    if (text === typed && !problem.textContent) return;
    if (take(text, true)) {
      spoken = tokens.length === 1 ? "1 token." : `${tokens.length} tokens.`;
      draw();
    }
  }

  whenTyped(input, { pause: 150, signal, onText: enter });

  // ------------------------------------------------------------------ drawing
  const run = () => experiment.run(tokens.map((token) => token.id), changes, view.layer, view.head);
  /** @param {string} text @returns {[string, string]} pinyin and gloss */
  const meaning = (text) => (Object.hasOwn(lexicon, text) ? lexicon[text] : ["", ""]);
  const hiddenSymbol = "□";

  function draw() {
    const started = performance.now();
    const n = tokens.length;
    const outcome = run();
    const shown = outcome.changed.layers[view.layer].heads[view.head];
    const hidden = new Set(changes.hidden);
    const names = tokens.map(({ text }, i) => (hidden.has(i) ? hiddenSymbol : text));
    const [query, key] = selected;
    const edited = outcome.changed !== outcome.trained;

    const best = new Map(changes.hidden.map((i) => [i, experiment.guesses(outcome, i, 5)]));
    const bestBefore = edited ? new Map(changes.hidden.map((i) => [i, experiment.guesses({ ...outcome, changed: outcome.trained }, i, 1)])) : best;
    chips.update(
      tokens.map(({ id, text }, i) => {
        const [pinyin, gloss] = meaning(text);
        const guess = best.get(i)?.[0];
        return {
          text, pinyin, gloss,
          unknown: id === UNK,
          hidden: hidden.has(i),
          selected: hidden.has(i) && i === guessAt && hidden.size > 1,
          moved: outcome.moved[i],
          guess: guess ? `${guessText(guess.id)} ${percent(guess.probability)}` : "",
          guessChanged: guess !== undefined && guess.id !== bestBefore.get(i)?.[0].id,
        };
      }),
      edited,
    );
    drawGuesses(best, outcome, edited);

    const picture = view.signed ? shown.scores : shown.weights;
    const cuts = new Uint8Array(n * n);
    for (const [q, k] of changes.cuts) cuts[q * n + k] = 1;
    map.update({
      tokens: names,
      pinyin: tokens.map(({ text }, i) => (hidden.has(i) ? "" : meaning(text)[0])),
      tips: tokens.map(({ text }) => [text, ...meaning(text)].filter(Boolean).join(" · ")),
      values: picture,
      signed: view.signed,
      weights: shown.weights,
      mask: mayLook(n, changes),
      cuts,
      selected,
    });

    setText(pair, "");
    pair.append(
      h("span", { class: "ad-q", lang: "zh-Hans" }, names[query]), " looks at ", h("span", { class: "ad-k", lang: "zh-Hans" }, names[key]),
    );
    const at = query * n + key;
    const isCut = cuts[at] === 1;
    products.update({
      q: shown.q.subarray(query * shown.width, (query + 1) * shown.width),
      k: shown.k.subarray(key * shown.width, (key + 1) * shown.width),
      dot: shown.dots[at],
      scale: shown.scale,
      scaleText: `${decimal(changes.scale)}/√${shown.width}`,
      temperature: changes.temperature,
      score: shown.scores[at],
      weight: shown.weights[at],
      closed: isCut ? "cut" : changes.causal && key > query ? "causal mask" : "",
    });
    setText(cutEdge, isCut ? "Restore this look" : "Cut this look");
    setText(cutRow, `${rowEdges(n, query).every(([q, k]) => cuts[q * n + k]) ? "Restore" : "Cut"} row ${names[query]}`);
    setText(cutColumn, `${columnEdges(n, key).every(([q, k]) => cuts[q * n + k]) ? "Restore" : "Cut"} column ${names[key]}`);
    const dValue = shown.v.length / n;
    mix.update({
      query: names[query],
      tokens: names,
      weights: shown.weights.subarray(query * n, (query + 1) * n),
      values: shown.v,
      output: shown.output.subarray(query * dValue, (query + 1) * dValue),
    });

    drawSymmetry(symmetry(shown, n));
    drawSummary(outcome.moved, edited);
    drawControls();
    root.dataset.tokens = String(n);
    root.toggleAttribute("data-long", n > 9); // a map of more tokens needs the whole width of a column of text
    root.dataset.status = "ready";
    if (spoken) {
      const far = outcome.moved.reduce((max, x, i) => (x > outcome.moved[max] ? i : max), 0);
      live.say(edited ? `${spoken} Moved farthest: ${tokens[far].text}, by ${decimal(outcome.moved[far])}.` : spoken);
      spoken = "";
    }
    root.dataset.updateMs = (performance.now() - started).toFixed(1);
  }

  /** @param {number} id */
  const guessText = (id) => (id === UNK ? "a rare character" : tokenizer.texts[id]);

  /**
   * The best guesses for the hidden token, and the token that really stood there, wherever it ranks.
   * @param {Map<number, import("./lab/experiment.js").Guess[]>} best
   * @param {import("./lab/experiment.js").Outcome} outcome @param {boolean} edited
   */
  function drawGuesses(best, outcome, edited) {
    const list = best.get(guessAt);
    if (!list) return guesses.update("Press a token to hide it, and the model guesses it from the others.", [], false);
    guesses.update(
      `Its guesses for token ${guessAt + 1}, hidden as □ (it was ${tokens[guessAt].text})`,
      [...list, ...(list.some(({ id }) => id === tokens[guessAt].id) ? [] : [experiment.guess(outcome, guessAt, tokens[guessAt].id)])].map(
        ({ id, probability, before }) => {
          const [pinyin, gloss] = meaning(tokenizer.texts[id]);
          const what = id === UNK ? "a rare character" : gloss;
          return { text: tokenizer.texts[id], pinyin, gloss: id === tokens[guessAt].id ? `${what} (the hidden word)` : what, probability, before };
        },
      ),
      edited,
    );
  }

  /** @param {{ scores: number, weights: number }} gap */
  function drawSymmetry(gap) {
    const symmetric = gap.scores < 1e-4;
    root.dataset.asymmetry = gap.scores.toExponential(2);
    setText(
      symmetryNote,
      `Scores: max |S − Sᵀ| = ${decimal(gap.scores)}, ${symmetric ? "symmetric: what a finds in b, b finds in a" : "not symmetric: who looks is not who is looked at"}. ` +
        `Weights: max |A − Aᵀ| = ${decimal(gap.weights)}${symmetric && gap.weights > 1e-4 ? ", not symmetric all the same, because every row has a softmax of its own" : ""}.`,
    );
    setAttribute(symmetryNote, "data-symmetric", symmetric);
  }

  /** @param {number[]} moved @param {boolean} edited */
  function drawSummary(moved, edited) {
    setText(
      summary,
      edited
        ? "Bars: how far each contextual vector moved from the run as trained (1 − cosine)."
        : "Change the attention below, and bars here show how far each token's vector moves.",
    );
    root.dataset.moved = Math.max(...moved).toFixed(4);
  }

  function drawControls() {
    layer.set(String(view.layer));
    head.set(String(view.head));
    quantity.set(view.signed ? "scores" : "weights");
    matrices.set(changes.matrices);
    scope.set(changes.scope);
    scale.set(changes.scale);
    temperature.set(changes.temperature);
    causal.set(changes.causal);
    undo.disabled = history.past.length === 0;
    reset.disabled = sameChanges(changes, UNCHANGED);
    examples.mark(typed);
  }

  // ------------------------------------------------------------------ what comes from outside
  const onView = () => draw();
  const onChanges = () => {
    if (publishing) return;
    const next = insideSentence(readChanges());
    if (sameChanges(next, changes)) return;
    history.push({ typed, changes }, "from outside");
    changes = next;
    draw();
  };
  const onSentence = () => {
    const text = model.get("sentence");
    if (publishing || text === typed) return;
    input.value = text;
    enter(text);
  };
  const subscriptions = /** @type {const} */ ([
    ["change:layer change:head change:show", onView],
    [CHANGE_TRAITS.map((name) => `change:${name}`).join(" "), onChanges],
    ["change:sentence", onSentence],
    ["change:examples change:meanings", () => { examples.draw(); examples.mark(typed); }],
  ]);
  for (const [names, listener] of subscriptions) {
    model.on(names, listener);
    signal.addEventListener("abort", () => model.off(names, listener));
  }

  examples.draw();
  input.value = model.get("sentence");
  if (!take(input.value, false)) {
    const message = problem.textContent ?? "";
    const spare = (model.get("examples") ?? []).find((/** @type {string} */ text) => take(text, false));
    setText(problem, message);
    if (spare === undefined) {
      root.dataset.status = "failed";
      return;
    }
  }
  draw();
}

/** @param {string} matrices */
function matricesSentence(matrices) {
  if (matrices === "none") return "No matrices: queries, keys and values are the vectors themselves.";
  return matrices === "one" ? "One matrix: keys are made by the query matrix." : "Two matrices, as trained.";
}

export default { render };
