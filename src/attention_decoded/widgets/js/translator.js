/**
 * The live translator: type a Chinese sentence, watch it become English, see where every word looks, cut a
 * connection, and see the English change.
 *
 * The Python class is `attention_decoded.widgets.Translator`; every synced trait named below can be read and set
 * from Python. On the root: `data-status` is waiting (for the reader to come near), loading, failed or ready (the
 * model is there), and `data-busy` stands while a text is being written.
 */

import "./translator.css";
import { percent } from "./engine/describe.js";
import { EOS, UNK } from "./engine/tokenizer.js";
import { History } from "./lab/state.js";
import { equip } from "./translate/assets.js";
import { beamTree, pathOf } from "./translate/beam_tree.js";
import { effectPanel, signed, words } from "./translate/effect.js";
import { effectOf, unpackExample } from "./translate/example.js";
import { pairFigure } from "./translate/figure.js";
import { mean } from "./translate/maps.js";
import { differences } from "./translate/session.js";
import { searchControls } from "./translate/search_controls.js";
import { allCuts } from "./translate/suggest.js";
import { stacksOf } from "./translate/stacks.js";
import { CHANGING, cutWords, fitting, isCut, MODES, MOST_PRUNED, readFragment, START, toggleCut, unique, UNTOUCHED, writeFragment } from "./translate/state.js";
import { whatIf } from "./translate/what_if.js";
import { wordPanel } from "./translate/word_panel.js";
import { beginning, finalPieces, plain, writing } from "./translate/writing.js";
import { switchRow } from "./ui/controls.js";
import { button, h, keepKeys, setAttribute, setText, uniqueId, widgetRoot } from "./ui/dom.js";
import { exampleButtons } from "./ui/examples.js";
import { liveRegion } from "./ui/live.js";
import { loadVisibly } from "./ui/loading.js";
import { frame, inSlices, timed, whenIdle } from "./ui/pace.js";
import { steady } from "./ui/steady.js";
import { tooltips } from "./ui/tooltip.js";
import { whenTyped } from "./ui/typing.js";
import { attentionViews } from "./views/attention.js";

/** @typedef {import("./translate/state.js").State} State */
/** @typedef {import("./translate/state.js").Cut} Cut */
/** @typedef {import("./translate/example.js").Written} Written */
/** @typedef {import("./translate/example.js").Effect} Effect */
/** @typedef {import("./translate/figure.js").Word} Word */
/** @typedef {import("./translate/session.js").Session} Session */
/** @typedef {{ get(name: string): any, set(name: string, value: any): void, save_changes(): void, on(names: string, f: () => void): any, off(names: string, f: () => void): any }} Model */
/** @typedef {{ text: string, tokens: { id: number, text: string }[], labels: string[], notes: string[] }} Read */

const TRAITS = /** @type {(keyof State)[]} */ (Object.keys(START));
const ALTERNATIVES = 6;
const PAUSE = 250;
/** By chance a text may find no end; a longer one teaches nothing more. */
const LONGEST_DRAWN = 48;
/** The first translator of a page answers for its address. */
let addressTaken = false;

/** @param {{ model: Model, el: HTMLElement, signal?: AbortSignal }} props */
function render({ model, el, signal }) {
  const gone = new AbortController();
  signal?.addEventListener("abort", () => gone.abort(), { once: true });
  const root = widgetRoot("translator", "ad-translator", "Live translator, Chinese to English");
  root.dataset.form = model.get("form") ?? "full";
  keepKeys(root);
  el.append(root);
  translator(model, root, gone.signal);
  return () => gone.abort();
}

/** @param {Model} model @param {HTMLElement} root @param {AbortSignal} signal */
function translator(model, root, signal) {
  const full = root.dataset.form === "full";
  const onPage = Boolean(model.get("assets_url"));
  const packed = model.get("example");
  const example = packed?.base ? unpackExample(packed) : null;
  const history = new History();

  // ------------------------------------------------------------------ state
  /** @type {Session | null} */
  let session = null;
  /** What the traits say first: where Reset leads, and what a link need not say. */
  const usual = fromTraits();
  /** @type {State} */
  let state = usual;
  /** The last state whose sentence could be read. */
  let good = usual;
  /** The sentence on show, once it could be read. @type {Read | null} */
  let reading = null;
  /** The translation without cuts, and what it is of. @type {Written | null} */
  let base = null;
  let baseOf = "";
  /** With the cuts. @type {Effect | null} */
  let effect = null;
  /** What is being written, token by token. @type {Written | null} */
  let draft = null;
  /** @type {Word | null} */
  let selected = null;
  /** Traits are set one after another, and each calls back: half of a change must not be read as one from outside. */
  let publishing = false;
  /** Whether the reader changed anything yet; until then the address stays as it is. */
  let touched = false;
  let linkNote = "";
  let busy = false;
  /** @type {AbortController | null} */
  let running = null;
  /** Say what comes out next for those who listen. */
  let speak = false;

  /** @returns {State} */
  function fromTraits() {
    const raw = Object.fromEntries(TRAITS.map((name) => [name, model.get(name) ?? START[name]]));
    return /** @type {State} */ ({ ...raw, cuts: unique(raw.cuts), prefix: [...raw.prefix], pruned: raw.pruned.map((/** @type {string[]} */ path) => [...path]), view: { ...START.view, ...raw.view } });
  }

  // ------------------------------------------------------------------ parts
  const live = liveRegion(signal);
  const input = h("input", { type: "text", id: uniqueId("sentence"), lang: "zh", autocomplete: "off", autocapitalize: "off", spellcheck: "false", enterkeyhint: "done", "data-control": "sentence" });
  const problem = h("p", { class: "ad-problem", role: "alert", id: uniqueId("problem") });
  const notes = h("p", { class: "ad-notes" });
  setAttribute(input, "aria-describedby", problem.id);
  const examples = exampleButtons(model, {
    onChoose(text) {
      input.value = text;
      enter(text, true);
    },
  });
  const figure = pairFigure({
    signal,
    onPress: (word) => select(selected?.side === word.side && selected.at === word.at ? null : word),
    onCut: (query, key) => toggle({ stack: "cross", query, key }),
  });
  const panel = wordPanel({
    onChoose: (id) => selected && choose([...ids().slice(0, selected.at), id], selected),
    onCutLook: (at) => selected && toggle(selected.side === "target" ? { stack: "cross", query: selected.at, key: at } : { stack: "cross", query: at, key: selected.at }),
    onCutAll: () => selected && toggle({ stack: "cross", key: selected.at }),
    onClose: () => {
      const word = selected;
      select(null);
      if (word) figure.button(word)?.focus({ preventScroll: true });
    },
  });
  const beginningNote = h("p", { class: "ad-beginning", "data-panel": "beginning", hidden: true });
  const effects = effectPanel({ table: full, onRestore: (cut) => toggle(cut) });
  const tips = whatIf({ full, onTry: (cut) => toggle(cut) });
  const undo = button("Undo", stepBack, { "data-control": "undo" });
  const reset = button("Reset", startOver, { "data-control": "reset" });
  const copied = h("span", { class: "ad-copied", role: "status" });
  const copy = button("Copy link", copyLink, { "data-control": "copy-link", "data-tip": "A link to this page that opens with this sentence, these cuts and this view" });
  const chapter = model.get("chapter_url");
  const more = !full && chapter ? h("a", { class: "ad-more", href: new URL(chapter, document.documentElement.dataset.content_root ? new URL(document.documentElement.dataset.content_root, document.baseURI) : document.baseURI).href }, "All controls: chapter 12") : null;
  const loader = h("div", { class: "ad-loader", "data-panel": "model" });

  const search = full
    ? searchControls({ onChange: (patch, sentence, drag) => change(patch, sentence, drag), onAlpha: (alpha) => change({ alpha }, `Length penalty ${alpha}.`, "alpha"), onRelease: () => history.close() })
    : null;
  const tree = full
    ? beamTree({
        signal,
        onContinue: (path) => choose(path, null),
        onText: (text) => choose(text, null),
        onPrune: leaveOut,
        nameOf: (id) => (id === EOS ? "⏎" : plain(session?.target.texts[id] ?? "")),
        textOf: (path) => session?.target.decode(path) ?? "",
      })
    : null;
  const beam = tree ? h("section", { class: "ad-beam", hidden: true }, h("h4", {}, "Found, by score"), tree.ranking, tree.el) : null;
  const views = full ? attentionViews({ signal, label: "Attention of the translator", onFocus: () => {}, onCut: (cut) => toggle(cut) }) : null;
  const order = switchRow({ name: "positions", label: "Without the order of the words: the model is told no positions", onToggle: () => toggle({ positions: true }) });
  /** What the cuts make of the translation, once more: whoever cuts in the maps does not see the panel above. */
  const outcome = h("p", { class: "ad-outcome", "data-panel": "outcome", hidden: true });
  const seeing = views
    ? h("section", { class: "ad-seeing", "data-panel": "views" }, h("h4", {}, "Every look of every head"), outcome, views.el, order.el)
    : null;

  root.append(
    h("div", { class: "ad-sentence" }, h("label", { for: input.id }, "A Chinese sentence"), input, examples.el, problem, notes),
    loader,
    ...(search ? [search.el] : []),
    figure.el,
    h("p", { class: "ad-legend" }, "Threads: how much an ", h("span", { class: "ad-legend-target" }, "English word"), " (query) looks at a ", h("span", { class: "ad-legend-source" }, "Chinese token"), " (key)", ", mean of all heads. Bars: the probability of each token. Press a word or a thread."),
    panel.el,
    beginningNote,
    effects.el,
    tips.el,
    ...(beam ? [beam] : []),
    ...(seeing ? [seeing] : []),
    h("div", { class: "ad-foot", "data-panel": "foot" }, h("div", { class: "ad-actions" }, undo, reset, onPage ? copy : null), copied, more),
    live.el,
  );
  tooltips(root, signal);
  const hold = steady(/** @type {HTMLElement} */ (root.parentElement), signal);

  // ------------------------------------------------------------------ what is on show
  /** The translation on show: with the cuts, if there are any. @returns {Written | null} */
  const shown = () => (state.cuts.length ? (effect?.written ?? base) : base);
  const ids = () => shown()?.ids ?? [];
  /** @param {Written} written */
  const targetLabels = (written) => written.ids.map((id, i) => (id === EOS ? "the end" : plain(written.pieces[i])));

  /** The traits of the reader's own making, all at once. */
  function publish() {
    publishing = true;
    const written = shown();
    /** @type {Record<string, unknown>} */
    const all = { ...state };
    if (reading) all.tokens = reading.tokens.map(({ text }) => text);
    if (written && !draft && !busy) Object.assign(all, { translation: written.text, output_tokens: finalPieces(written) });
    for (const [name, value] of Object.entries(all)) if (JSON.stringify(model.get(name)) !== JSON.stringify(value)) model.set(name, value);
    publishing = false;
    model.save_changes();
  }

  let addressing = false;
  /** Keep the address in step, once the reader has changed something; after the paint, because a browser takes its time for it. */
  async function address() {
    if (!onPage || !mine || !touched || addressing) return;
    addressing = true;
    await frame();
    addressing = false;
    if (signal.aborted) return;
    try {
      globalThis.history.replaceState(globalThis.history.state, "", writeFragment(state));
    } catch {
      // A browser may refuse too many changes in a row; the next one will do.
    }
  }

  // ------------------------------------------------------------------ what the reader does
  /**
   * Change something that can be undone.
   * @param {Partial<State>} patch @param {string} sentence for the live region @param {string | null} [drag]
   */
  function change(patch, sentence, drag = null) {
    const next = { ...state, ...patch };
    if (JSON.stringify(next) === JSON.stringify(state)) return;
    history.push(state, drag);
    touched = true;
    if (sentence) live.say(sentence);
    apply(next);
  }

  /** @param {State} next */
  function apply(next) {
    const other = next.sentence !== state.sentence;
    const onlyAlpha = next.search === "beam" && JSON.stringify({ ...state, alpha: 0 }) === JSON.stringify({ ...next, alpha: 0 });
    state = next;
    if (other) {
      input.value = state.sentence;
      selected = null;
    }
    if (onlyAlpha && base?.tree && !busy) {
      rerank();
      publish();
      address();
      return;
    }
    refresh();
  }

  function stepBack() {
    const before = /** @type {State | undefined} */ (history.pop());
    if (!before) return;
    live.say("Undone.");
    apply({ ...before, view: state.view });
  }

  function startOver() {
    change({ ...usual, view: state.view }, "Everything as at first.");
    drawFoot();
  }

  /** @param {Cut} cut */
  function toggle(cut) {
    want();
    speak = true;
    change({ cuts: toggleCut(state.cuts, cut) }, "");
  }

  /** The search leaves this branch out and goes on with the others; or takes it back. @param {number[]} path */
  function leaveOut(path) {
    const pieces = path.map((id) => session?.target.texts[id] ?? "");
    const rest = state.pruned.filter((other) => other.join(" ") !== pieces.join(" "));
    if (rest.length === state.pruned.length && rest.length >= MOST_PRUNED) return live.say(`No more than ${MOST_PRUNED} branches can be left out.`);
    speak = true;
    change({ pruned: rest.length < state.pruned.length ? rest : [...rest, pieces] }, "");
  }

  /** Go on from a beginning. @param {number[]} path @param {Word | null} word where the focus returns to */
  function choose(path, word) {
    want();
    const written = shown();
    const name = (/** @type {number} */ id, /** @type {number} */ i) =>
      session?.target.texts[id] ?? (written?.ids[i] === id ? written.pieces[i] : written?.alternatives[i]?.find((one) => one.id === id)?.piece) ?? "";
    const prefix = path.map(name);
    speak = true;
    selected = null;
    change({ prefix, pruned: [] }, "");
    draw();
    if (word) figure.button(word)?.focus({ preventScroll: true });
  }

  /** @param {Word | null} word */
  function select(word) {
    want();
    selected = word;
    hold();
    draw();
    if (word && figure.button(word)?.matches(":focus-visible")) panel.focus();
  }

  async function copyLink() {
    const link = new URL(writeFragment(state), location.href).href;
    try {
      await navigator.clipboard.writeText(link);
      copied.replaceChildren("Link copied.");
      setTimeout(() => copied.replaceChildren(), 4000);
    } catch {
      const field = h("input", { type: "text", readonly: true, value: link, "aria-label": "Link to this state", class: "ad-link-field" });
      copied.replaceChildren("Copy it from here: ", field);
      field.select();
    }
  }

  // ------------------------------------------------------------------ reading and writing
  /** @param {string} text @param {boolean} byHand */
  function enter(text, byHand) {
    if (text === state.sentence && reading && !problem.textContent) return;
    if (byHand) {
      touched = true;
      want();
    }
    if (!session) {
      if (text !== example?.sentence) {
        if (!text.trim()) return say(read(text));
        setText(problem, "");
        if (state.sentence !== text) history.push(state);
        state = { ...state, sentence: text, ...UNTOUCHED };
        refresh();
        return;
      }
    } else {
      const made = read(text);
      say(made);
      if (!made.ok) return;
    }
    if (text === state.sentence) return;
    speak = true;
    // Cuts and beginnings were about the words of the old sentence.
    change({ sentence: text, ...UNTOUCHED }, "");
  }

  /** @param {string} text */
  const read = (text) => session?.read(text) ?? { ok: /** @type {const} */ (false), message: "Type a Chinese sentence, or pick one of the examples." };

  /** Say what is wrong with what was typed, or that nothing is. @param {ReturnType<typeof read>} made */
  function say(made) {
    setText(problem, made.ok ? "" : reading ? `${made.message} Below is still the last translation.` : made.message);
    setAttribute(input, "aria-invalid", made.ok ? null : "true");
    if (made.ok !== root.hasAttribute("data-refused")) return;
    setAttribute(root, "data-refused", !made.ok);
    draw();
  }

  /** Everything anew that the state asks for. */
  function refresh() {
    running?.abort();
    running = null;
    draft = null;
    publish();
    address();
    if (!session) return refreshExample();
    let made = session.read(state.sentence);
    say(made);
    if (made.ok) good = state;
    else {
      // What could be read last stays, with the word about what could not.
      if (!touched) linkNote = "Left out: the sentence of the link, which cannot be read.";
      state = { ...good, view: state.view };
      made = session.read(state.sentence);
      publish();
      if (!made.ok) {
        busy = false;
        return draw();
      }
    }
    reading ??= made;
    const { n_encoder_layers, n_decoder_layers, n_heads } = session.model.config;
    const cuts = fitting(state.cuts, { layers: { encoder: n_encoder_layers, decoder: n_decoder_layers }, heads: n_heads, nSource: made.ids.length, nTarget: 128 });
    const begin = beginning(session, state.prefix);
    const dropped = [cuts.length < state.cuts.length && "a cut outside this sentence or this model", begin.ids.length < state.prefix.length && "a beginning with tokens that the model does not have"].filter(Boolean);
    if (dropped.length) {
      linkNote = `Left out: ${dropped.join(", ")}.`;
      state = { ...state, cuts, prefix: state.prefix.slice(0, begin.ids.length) };
    }
    const job = (running = new AbortController());
    busy = true;
    hold();
    drawFigure();
    write(session, made, begin.ids, AbortSignal.any([signal, job.signal])).then(
      () => {
        busy = false;
        running = null;
        publish();
        draw();
        if (speak) live.say(spoken());
        speak = false;
        ponder();
      },
      (error) => {
        if (job.signal.aborted || signal.aborted) return;
        busy = false;
        draft = null;
        setText(problem, `This could not be translated: ${error instanceof Error ? error.message : error}`);
        draw();
      },
    );
  }

  /** Before the model is there: what the example knows. */
  function refreshExample() {
    if (!example || state.sentence !== example.sentence || CHANGING.some((name) => name !== "cuts" && JSON.stringify(state[name]) !== JSON.stringify(usual[name]))) {
      busy = reading !== null || state.sentence !== "";
      return draw();
    }
    reading = example.reading;
    base = example.base;
    baseOf = "";
    effect = effectOf(example, state.cuts) ?? null;
    busy = state.cuts.length > 0 && !effect;
    publish();
    draw();
    if (speak && !busy) {
      live.say(spoken());
      speak = false;
    }
  }

  /** @param {Session} by @param {Read & { ids: number[] }} made @param {number[]} prefix @param {AbortSignal} stop */
  async function write(by, made, prefix, stop) {
    await frame(); // what was pressed is shown before the work begins
    const { search: how, beam: width, alpha, temperature, top_k, seed, cuts } = state;
    // A link may name tokens that the vocabulary does not have: no text begins with those.
    const without = how === "beam" ? state.pruned.map((path) => beginning(by, path).ids).filter((ids, i) => ids.length === state.pruned[i].length) : [];
    const options = { search: how, beam: width, without, alpha, penalty: /** @type {const} */ ("power"), temperature, topK: top_k || null, seed, prefix, nAlternatives: ALTERNATIVES, ...(how === "sample" && { maxLen: LONGEST_DRAWN }) };
    const of = JSON.stringify([made.ids, options]);
    const onStep = (/** @type {Written} */ partial) => {
      draft = partial;
    };
    if (of !== baseOf || !base || cuts.length) drawRest();
    if (of !== baseOf || !base) {
      effect = null;
      pondering?.abort(); // what was measured in idle moments was about the last text
      // Until the first word is there, the last sentence stays on show with its own translation.
      const onFirst = (/** @type {Written} */ partial) => {
        if (!draft) [reading, base] = [made, null];
        onStep(partial);
      };
      /** @type {number[]} */
      const times = [];
      const begun = performance.now();
      base = await inSlices(timed(writing(by, made, { ...options, cuts: [] }), times), stop, onFirst, cuts.length ? undefined : drawFigure);
      baseOf = of;
      // For `make bench`: what the model took for a token, and what the reader waited for one, painting and all.
      root.dataset.stepMs = times.toSorted((a, b) => a - b)[times.length >> 1].toFixed(1);
      root.dataset.tokenMs = ((performance.now() - begun) / times.length).toFixed(1);
    }
    reading = made; // the same tokens may have been typed in another way
    if (cuts.length && base) {
      const written = await inSlices(writing(by, made, { ...options, cuts }), stop, onStep, drawFigure);
      await frame();
      stop.throwIfAborted();
      const forced = by.force(made, base.ids, cuts).logProbs;
      const before = base.logProbs;
      effect = { written, deltas: forced.map((logProb, i) => logProb - before[i]) };
    } else effect = null;
    draft = null;
  }

  /** The best text of the searched tree under another length penalty. */
  function rerank() {
    const written = shown();
    if (!session || !written?.tree || !tree) return;
    const ranked = session.rerank(written.tree, { penalty: "power", alpha: state.alpha, eos: EOS });
    tree.update(written.tree);
    tree.rank(ranked.slice(0, 8), state.alpha);
    search?.update(state);
    const best = [...beginning(session, state.prefix).ids, ...ranked[0].ids];
    if (best.join() === written.ids.join()) return drawFoot();
    settle(best);
  }

  /** Show another whole text of the search now, its maps a moment later. @param {number[]} text */
  function settle(text) {
    const written = shown();
    if (!session || !reading || !written) return;
    const texts = session.target.texts;
    const node = written.tree?.flat().find((candidate) => candidate.fate === "found" && pathOf(candidate).join() === text.slice(text.length - pathOf(candidate).length).join());
    const path = node ? pathsLogProbs(node) : [];
    const next = {
      ...written,
      ids: text,
      pieces: text.map((id) => texts[id]),
      logProbs: [...written.logProbs.slice(0, text.length - path.length), ...path],
      alternatives: text.map(() => []),
      text: session.target.decode(text),
      looks: null,
    };
    if (state.cuts.length && effect) effect = { ...effect, written: next };
    else base = next;
    draw();
    clearTimeout(settling);
    settling = setTimeout(() => {
      const now = shown();
      if (!session || now !== next || busy) return;
      const made = session.read(state.sentence);
      if (!made.ok) return;
      const forced = session.force(made, text, state.cuts);
      const whole = { ...next, logProbs: forced.logProbs, looks: forced.looks };
      if (state.cuts.length && effect) effect = { ...effect, written: whole };
      else base = whole;
      publish();
      draw();
      live.say(`Translation: ${whole.text}`);
    }, 200);
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let settling;

  /** @param {import("./engine/beam.js").Candidate} node */
  function pathsLogProbs(node) {
    const logProbs = [];
    for (let at = /** @type {typeof node | null} */ (node); at; at = at.parent) logProbs.unshift(at.logProb);
    return logProbs;
  }

  /** One sentence about what came out. */
  function spoken() {
    const written = shown();
    if (!written || !reading || !base) return "";
    if (!state.cuts.length || !effect) return `Translation: ${written.text}`;
    const gone = without();
    return effect.written.text === base.text
      ? `Without ${gone} the translation stays: ${base.text}`
      : `Without ${gone} the translation becomes: ${effect.written.text}`;
  }

  /** The cuts, in words that follow "Without". */
  function without() {
    const labels = { source: reading?.labels ?? [], target: base ? targetLabels(base) : [] };
    return state.cuts.map((cut) => cutWords(cut, labels)).join(" and ");
  }

  // ------------------------------------------------------------------ suggestions, measured in idle moments
  /** @type {AbortController | null} */
  let pondering = null;
  let ponderedOf = "";
  /** Of which text the listed cuts were measured. */
  let tipsOf = "";
  const tipped = () => JSON.stringify([state.sentence, state.prefix, base?.text]);

  function ponder() {
    if (!session || !base || base.looks === null || ponderedOf === baseOf) return;
    const made = session.read(state.sentence);
    if (!made.ok) return;
    pondering?.abort();
    const job = (pondering = new AbortController());
    const of = baseOf;
    const kinds = /** @type {import("./translate/suggest.js").Kind[]} */ (full ? ["column", "pair", "head", "layer"] : ["column"]);
    const about = { source: made.labels, target: targetLabels(base) };
    const nCuts = allCuts(kinds, { ...session.model.config, nSource: made.ids.length, nTarget: base.ids.length }).length;
    tips.progress(0);
    whenIdle(session.suggestions(made, base.ids, { kinds, prefix: beginning(session, state.prefix).ids }), AbortSignal.any([signal, job.signal]), (_, index) => tips.progress(Math.min(1, index / nCuts))).then(
      (found) => {
        ponderedOf = of;
        tipsOf = tipped();
        tips.update(found.map((one) => ({ ...one, words: cutWords(one.cut, about) })), state.cuts);
        tips.age(false);
      },
      () => {}, // another sentence has come
    );
  }

  // ------------------------------------------------------------------ drawing
  const lexicon = () => session?.lexicon ?? example?.lexicon ?? {};
  /** @param {string} text @returns {[string, string]} pinyin and gloss */
  const meaning = (text) => (Object.hasOwn(lexicon(), text) ? lexicon()[text] : ["", ""]);

  function draw() {
    drawFigure();
    drawRest();
  }

  /** What answers a press at once: the sentence pair, and what is known of the word that is open. */
  function drawFigure() {
    const written = draft ?? shown();
    const late = !session && busy;
    setAttribute(root, "data-busy", busy);
    setText(notes, [...(reading?.notes ?? []), linkNote].filter(Boolean).join(" · "));
    if (reading && written) {
      const { labels, tokens } = reading;
      const weights = !draft && written.looks?.cross?.length ? mean(written.looks.cross) : null;
      const lost = !draft && selected?.side === "target" && selected.at >= written.ids.length;
      const held = lost && panel.el.contains(document.activeElement);
      if (lost) selected = null;
      figure.update({
        source: labels.map((text, i) => {
          const [pinyin, gloss] = i < tokens.length ? meaning(tokens[i].text) : ["", "end"];
          return { text, pinyin, gloss, unknown: tokens[i]?.id === UNK, cut: cutColumn(i) };
        }),
        target: written.ids.map((id, i) => ({
          text: plain(written.pieces[i]),
          spaced: written.pieces[i].startsWith("▁") || id === EOS,
          end: id === EOS,
          p: Number.isNaN(written.logProbs[i]) ? null : Math.exp(written.logProbs[i]),
          forced: i < state.prefix.length && written.pieces[i] === state.prefix[i],
        })),
        weights: weights?.weights ?? null,
        isCut: (query, key) => cutColumn(key) || isCut(state.cuts, { stack: "cross", query, key }),
        selected,
        stale: late || root.hasAttribute("data-refused"),
        writing: draft !== null,
      });
      if (!draft) drawPanel(written, weights?.weights ?? null);
      figure.draw();
      if (selected) panel.pointAt(figure.middle(selected));
      if (held) figure.button({ side: "target", at: written.ids.length - 1 })?.focus({ preventScroll: true });
    }
    root.dataset.tokens = String(reading?.tokens.length ?? 0);
    root.dataset.translation = busy ? "" : (shown()?.text ?? "");
  }

  function drawRest() {
    if (reading && (draft ?? shown())) {
      const { labels } = reading;
      drawEffect();
      drawTree();
      drawViews();
      if (!session && example && base === example.base) {
        const words = { source: labels, target: targetLabels(example.base) };
        tipsOf = tipped();
        tips.update(
          example.effects.filter(({ changed }) => changed).map(({ cut, total, changed }) => ({ cut, delta: total, changed, words: cutWords(cut, words) })),
          state.cuts,
        );
      } else tips.mark(state.cuts);
      tips.age(tipsOf !== tipped());
    }
    setAttribute(seeing ?? root, "data-stale", !session && busy);
    search?.update(state);
    order.set(isCut(state.cuts, { positions: true }));
    drawFoot();
  }

  /** What the maps were drawn of last. @type {readonly unknown[]} */
  let viewed = [];
  /** While a text is being written the maps are of the last one: a press is answered first, in the figure above. */
  function drawViews() {
    const written = draft ?? shown();
    if (!views || busy || !reading || !written?.looks) return;
    const of = [reading, written, session, state.view, state.cuts];
    if (of.every((part, i) => part === viewed[i])) return;
    viewed = of;
    views.update({ stacks: stacksOf(reading.labels, written, written.looks, (text) => meaning(text)[0]), view: state.view, focus: null, cuts: state.cuts, onView: ({ mode, ...place }) => look({ ...place, mode: MODES.find((known) => known === mode) ?? START.view.mode }) });
  }

  /** Whether nothing may look at this source token. @param {number} key */
  const cutColumn = (key) => isCut(state.cuts, { stack: "cross", key });

  /** What is looked at is kept in traits and link, but is nothing to undo. @param {State["view"]} view */
  function look(view) {
    if (JSON.stringify(view) === JSON.stringify(state.view)) return;
    state = { ...state, view };
    touched = true;
    hold();
    publish();
    address();
    drawViews();
  }

  /** @param {Written} written @param {Float32Array | null} weights */
  function drawPanel(written, weights) {
    if (!selected || !reading) return panel.update(null);
    const { side, at } = selected;
    const { labels } = reading;
    const nSource = labels.length;
    const target = targetLabels(written);
    /** @param {number} query @param {number} key */
    const look = (query, key) => ({ weight: weights?.[query * nSource + key] ?? 0, cut: isCut(state.cuts, { stack: "cross", query, key }) });
    if (side === "source") {
      const [pinyin, gloss] = at < reading.tokens.length ? meaning(reading.tokens[at].text) : ["", "the end of the sentence"];
      const looks = target.map((text, query) => ({ at: query, text, lang: /** @type {const} */ ("en"), ...look(query, at) }));
      return panel.update({ side, text: labels[at], about: [pinyin, gloss].filter(Boolean).join(" · "), alternatives: [], looks: cutColumn(at) ? [] : strongest(looks), cut: cutColumn(at) });
    }
    const logProb = written.logProbs[at];
    const looks = labels.map((text, key) => ({ at: key, text, lang: /** @type {const} */ ("zh-Hans"), ...look(at, key) }));
    panel.update({
      side,
      text: target[at],
      about: `token ${at + 1}, ${percent(Math.exp(logProb))}`,
      alternatives: withChosen(written, at).map(({ id, piece, logProb: each }) => ({ id, text: plain(piece), end: id === EOS, p: Math.exp(each), chosen: id === written.ids[at] })),
      looks: weights ? strongest(looks) : [],
      cut: false,
    });
  }

  /** The likeliest tokens of a place, and the one that stands there. @param {Written} written @param {number} at */
  function withChosen({ ids: all, pieces, logProbs, alternatives }, at) {
    const likeliest = alternatives[at] ?? [];
    if (!likeliest.length || likeliest.some(({ id }) => id === all[at])) return likeliest;
    return [...likeliest, { id: all[at], piece: pieces[at], logProb: logProbs[at] }];
  }

  /** @template {{ weight: number, cut: boolean }} L @param {L[]} looks @returns {L[]} the strongest four, and what is cut */
  const strongest = (looks) => {
    const ordered = looks.toSorted((a, b) => b.weight - a.weight);
    return ordered.filter((look, i) => i < 4 || look.cut);
  };

  function drawEffect() {
    const known = effect && base && !draft && reading;
    const labels = { source: reading?.labels ?? [], target: base ? targetLabels(base) : [] };
    const total = effect?.deltas.reduce((sum, delta) => sum + delta, 0) ?? 0;
    const changed = effect?.written.text !== base?.text;
    effects.update({
      cuts: state.cuts.map((cut) => ({ cut, words: cutWords(cut, labels) })),
      differences: known && base && effect ? differences(words(base.text), words(effect.written.text)) : null,
      changed: Boolean(known) && changed,
      total,
      deltas: known && effect && base ? effect.deltas.map((delta, i) => ({ text: labels.target[i], before: /** @type {Written} */ (base).logProbs[i], delta })) : [],
    });
    outcome.hidden = !known;
    if (known && effect) {
      const now = changed ? effect.written.text : "the same translation, word for word";
      outcome.replaceChildren(`After ${state.cuts.length === 1 ? "the cut" : `${state.cuts.length} cuts`}: `, h("strong", { lang: "en" }, now), ` (Δ log p = ${signed(total)})`);
    }
    const begins = state.prefix.length > 0 && !draft;
    beginningNote.hidden = !begins;
    if (begins && !beginningNote.contains(document.activeElement)) {
      const text = state.prefix.map((piece) => piece.replace("<eos>", " ⏎").replaceAll("▁", " ")).join("").trim();
      beginningNote.replaceChildren(h("span", {}, "You chose the beginning ", h("q", { lang: "en" }, text)), " ", button("Let the model write it all", letWrite, { "data-control": "free" }));
    }
  }

  function letWrite() {
    speak = true;
    change({ prefix: [], pruned: [] }, ""); // what was left out was left out behind it
    figure.button({ side: "target", at: 0 })?.focus({ preventScroll: true }); // the button that was pressed goes away
  }

  function drawTree() {
    if (!beam || !tree) return;
    const written = shown();
    setAttribute(beam, "data-stale", busy);
    if (busy && state.search === "beam") return; // the last tree stays until the next is there, and the hand in it
    beam.hidden = state.search !== "beam" || !written?.tree || !session;
    if (beam.hidden || draft || !session || !written?.tree) return;
    tree.update(written.tree);
    tree.rank(session.rerank(written.tree, { penalty: "power", alpha: state.alpha, eos: EOS }).slice(0, 8), state.alpha);
  }

  function drawFoot() {
    // Not `disabled`: the hand that pressed them stays on them.
    setAttribute(undo, "aria-disabled", history.past.length === 0 ? "true" : null);
    const atRest = JSON.stringify({ ...state, view: null }) === JSON.stringify({ ...usual, view: null });
    setAttribute(reset, "aria-disabled", atRest ? "true" : null);
    examples.mark(state.sentence);
  }

  // ------------------------------------------------------------------ typing
  whenTyped(input, { pause: PAUSE, signal, onText: (text) => enter(text, true) });
  signal.addEventListener("abort", () => clearTimeout(settling));

  // ------------------------------------------------------------------ the model
  let wanted = false;
  /** The model is needed now. */
  function want() {
    if (wanted) return;
    wanted = true;
    loader.replaceChildren();
    root.dataset.status = "loading";
    loadVisibly(loader, signal, async (stop, onProgress) => {
      root.dataset.status = "loading";
      try {
        return await equip(model, stop, onProgress);
      } catch (error) {
        root.dataset.status = "failed";
        throw error;
      }
    }).then(
      (made) => {
        session = made;
        root.dataset.status = "ready";
        baseOf = "";
        refresh();
      },
      () => {}, // the figure was taken away
    );
  }

  // ------------------------------------------------------------------ links
  const mine = onPage && !addressTaken;
  if (mine) {
    addressTaken = true;
    signal.addEventListener("abort", () => (addressTaken = false));
    addEventListener("hashchange", () => follow(), { signal });
  }

  /** What the page's address asks for. @returns {boolean} whether it asks for anything */
  function follow() {
    const link = readFragment(location.hash);
    if (!link) return false;
    linkNote = link.ignored.length ? `Part of the link could not be understood and was left out: ${link.ignored.join(", ")}.` : "";
    const other = link.state.sentence !== undefined && link.state.sentence !== usual.sentence;
    const next = { ...usual, ...(other ? UNTOUCHED : {}), ...link.state };
    input.value = next.sentence;
    state = next;
    want();
    refresh();
    root.scrollIntoView({ block: "nearest" });
    return true;
  }

  // ------------------------------------------------------------------ what comes from outside
  const onTraits = () => {
    if (publishing) return;
    const next = fromTraits();
    if (JSON.stringify(next) === JSON.stringify(state)) return;
    history.push(state, "from outside");
    apply(next);
  };
  const subscriptions = /** @type {const} */ ([
    [TRAITS.map((name) => `change:${name}`).join(" "), onTraits],
    ["change:examples change:meanings", () => { examples.draw(); drawFoot(); }],
  ]);
  for (const [names, listener] of subscriptions) {
    model.on(names, listener);
    signal.addEventListener("abort", () => model.off(names, listener));
  }

  root.dataset.status = "waiting";
  examples.draw();
  input.value = state.sentence;
  for (const name of ["pointerdown", "focusin"]) root.addEventListener(name, want, { once: true, signal });
  if (!mine || !follow()) refreshExample();
  if (!onPage) want();
  else if (/** @type {any} */ (navigator).connection?.saveData) {
    loader.append(h("p", { class: "ad-hint" }, "This was computed when the page was made. To type a sentence of your own: "), button("Load the model (9 MB)", want, { "data-control": "load" }));
  } else {
    const near = new IntersectionObserver((entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      near.disconnect();
      want();
    });
    near.observe(root);
    signal.addEventListener("abort", () => near.disconnect());
  }
}

export default { render };
