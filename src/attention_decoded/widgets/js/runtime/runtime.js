/**
 * Mount the widgets of a static page from the standard embed format that the build writes:
 * anywidgets and the ipywidgets controls in supported.json. No kernel, no require.js.
 *
 * The page's first widget starts as soon as the parser has passed its place, long before the page has been read to
 * its end: behind each place a line of script pushes it on `adPlaces`. The others start when they come near the
 * window, or when the loaded page has nothing else to do.
 *
 * On each mounted view: `performance.mark("ad-widget-ready", { detail: { id, name } })`, and the host
 * element gets data-state="ready" (or "failed"; the still picture then stays where it is).
 */

import { load, renderAnywidget } from "./anywidget.js";
import { BOXES, CONTROLS, element } from "./controls.js";
import { connectLinks, Registry } from "./model.js";
import css from "./runtime.css";
import supported from "./supported.json";

/** @typedef {import("./model.js").Model} Model */

const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

const registry = new Registry();
/** Places whose widget has not started yet. @type {Set<Element>} */
const waiting = new Set();
let first = true;
const whenIdle = globalThis.requestIdleCallback ?? setTimeout; // Safari has no idle callbacks
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) void mount(target);
  },
  { rootMargin: "100%" },
);

/** @param {Model} model @param {HTMLElement} el @param {AbortSignal} signal @returns {Promise<void>} */
async function show(model, el, signal) {
  const known = /** @type {Record<string, string[]>} */ (supported.modules)[model.module];
  if (!known?.includes(model.name)) throw new Error(`${model.module} ${model.name} cannot be shown on a page without a kernel.`);
  el.classList.add("ad-widget-view");
  if (model.module === "anywidget") return renderAnywidget(model, el, signal);
  if (!BOXES.has(model.name)) {
    el.classList.add("ad-widget-control");
    return CONTROLS[model.name](model, el, signal);
  }
  el.classList.add("ad-widget-box");
  if (model.name === "VBoxModel") el.dataset.column = "";
  await Promise.all(
    /** @type {string[]} */ (model.get("children")).map((reference) => {
      const child = registry.find(reference);
      if (!child) throw new Error(`A part of this widget (${reference}) is missing from the page.`);
      const inner = element("div");
      el.append(inner);
      return show(child, inner, signal);
    }),
  );
}

/** @param {Element} host */
async function mount(host) {
  if (!waiting.delete(host)) return;
  const script = /** @type {Element} */ (host.querySelector(VIEW));
  const el = element("div");
  script.after(el);
  const gone = new AbortController();
  addEventListener("pagehide", (event) => event.persisted || gone.abort(), { once: true });
  try {
    const { model_id: id } = JSON.parse(script.textContent ?? "");
    const model = registry.find(id);
    if (!model) throw new Error(`The state of widget ${id} is missing from the page.`);
    await show(model, el, gone.signal);
    for (const picture of host.querySelectorAll(".ad-fallback")) picture.remove();
    host.setAttribute("data-state", "ready");
    performance.mark("ad-widget-ready", { detail: { id, name: model.get("_anywidget_id") ?? model.name } });
  } catch (error) {
    gone.abort();
    console.error(error);
    host.setAttribute("data-state", "failed");
    const why = error instanceof Error ? error.message : String(error);
    el.replaceChildren(
      element("p", { className: "ad-widget-error", textContent: `This interactive figure could not start here. Reloading the page may help. (${why})` }),
    );
    el.firstElementChild?.setAttribute("role", "status");
  }
}

/** @param {Element} host a place that the parser has passed */
function take(host) {
  waiting.add(host);
  if (first) void mount(host);
  else near.observe(host);
  first = false;
}

/** One after the other, so that the page answers in between. */
async function mountNext() {
  const [host] = waiting;
  if (!host) return;
  await mount(host);
  whenIdle(mountNext);
}

const page = /** @type {{ adPlaces?: { push(host: Element): void } }} */ (globalThis);
const passed = /** @type {Element[]} */ (page.adPlaces ?? []);
page.adPlaces = { push: take };
document.head.append(element("style", { textContent: css }));
for (const script of document.querySelectorAll(STATE)) {
  try {
    registry.add(JSON.parse(script.textContent ?? "").state);
  } catch (error) {
    console.error("The widgets' state cannot be read.", error);
  }
}
connectLinks(registry);
// The first module takes its time to compile, and there is nothing to wait for.
const esm = [...registry.models.values()].map((model) => model.get("_esm")).find(Boolean);
if (esm) load(esm).catch(() => {}); // whoever shows it says what is wrong
passed.forEach(take);
if (document.readyState === "complete") whenIdle(mountNext);
else addEventListener("load", () => whenIdle(mountNext));
