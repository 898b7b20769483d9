/**
 * The ipywidgets controls that a static page needs, as native inputs: they bring their own keyboard,
 * focus and names for screen readers.
 */

/** @typedef {import("./model.js").Model} Model */
/** @typedef {(model: Model, el: HTMLElement, signal: AbortSignal) => void | Promise<void>} Control */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, unknown>} [properties] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Listen until the view is gone. @param {Model} model @param {string} names @param {() => void} listener @param {AbortSignal} signal */
function follow(model, names, listener, signal) {
  model.on(names, listener);
  signal.addEventListener("abort", () => model.off(names, listener));
  listener();
}

/** The digits of a readout format such as ".2f"; null for any other format. @param {string | undefined} format */
const digits = (format) => /^\.(\d)f$/.exec(format ?? "")?.[1] ?? null;

/** @param {boolean} whole @returns {Control} */
const slider = (whole) => (model, el, signal) => {
  const input = element("input", { type: "range" });
  const readout = element("output");
  el.append(element("label", {}, element("span", { textContent: model.get("description") }), input, readout));
  follow(
    model,
    "change:value change:min change:max change:step change:disabled",
    () => {
      for (const key of ["min", "max", "step"]) input[/** @type {"min"} */ (key)] = model.get(key);
      input.value = model.get("value");
      input.disabled = Boolean(model.get("disabled"));
      const places = digits(model.get("readout_format"));
      const value = Number(model.get("value"));
      readout.textContent = whole ? String(value) : places ? value.toFixed(Number(places)) : String(value);
      readout.hidden = model.get("readout") === false;
    },
    signal,
  );
  const events = model.get("continuous_update") === false ? "change" : "input";
  input.addEventListener(events, () => model.set("value", whole ? Math.round(input.valueAsNumber) : input.valueAsNumber));
};

/** @type {Control} */
function checkbox(model, el, signal) {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => model.set("value", input.checked));
  follow(model, "change:value change:disabled", () => {
    input.checked = Boolean(model.get("value"));
    input.disabled = Boolean(model.get("disabled"));
  }, signal);
  el.append(element("label", {}, input, element("span", { textContent: model.get("description") })));
}

/** @type {Control} */
function toggleButton(model, el, signal) {
  const button = element("button", { type: "button", textContent: model.get("description") });
  button.addEventListener("click", () => model.set("value", !model.get("value")));
  follow(model, "change:value change:disabled", () => {
    button.setAttribute("aria-pressed", String(Boolean(model.get("value"))));
    button.disabled = Boolean(model.get("disabled"));
  }, signal);
  el.append(button);
}

/** @type {Control} */
function dropdown(model, el, signal) {
  const select = element("select");
  select.addEventListener("change", () => model.set("index", select.selectedIndex));
  follow(model, "change:index change:_options_labels change:disabled", () => {
    const labels = /** @type {string[]} */ (model.get("_options_labels"));
    if (select.length !== labels.length || labels.some((text, i) => select.options[i].text !== text)) {
      select.replaceChildren(...labels.map((text) => element("option", { textContent: text })));
    }
    select.selectedIndex = model.get("index") ?? -1;
    select.disabled = Boolean(model.get("disabled"));
  }, signal);
  el.append(element("label", {}, element("span", { textContent: model.get("description") }), select));
}

/** @param {boolean} number @returns {Control} */
const text = (number) => (model, el, signal) => {
  const input = element("input", { type: number ? "number" : "text", step: "any", placeholder: model.get("placeholder") ?? "" });
  input.addEventListener(model.get("continuous_update") === false ? "change" : "input", (event) => {
    if (event instanceof InputEvent && event.isComposing) return; // an input method is still at work
    if (!number) model.set("value", input.value);
    else if (Number.isFinite(input.valueAsNumber)) model.set("value", input.valueAsNumber);
  });
  if (!number) input.addEventListener("compositionend", () => model.set("value", input.value));
  follow(model, "change:value change:disabled", () => {
    if (String(model.get("value")) !== input.value) input.value = model.get("value");
    input.disabled = Boolean(model.get("disabled"));
  }, signal);
  el.append(element("label", {}, element("span", { textContent: model.get("description") }), input));
};

/** @type {Control} */
function label(model, el, signal) {
  follow(model, "change:value", () => (el.textContent = model.get("value")), signal);
}

/** The build's own HTML, without whatever could run. @type {Control} */
function html(model, el, signal) {
  follow(model, "change:value", () => {
    const { body } = new DOMParser().parseFromString(String(model.get("value")), "text/html");
    for (const node of body.querySelectorAll("script,style,iframe,object,embed,link,meta,base,form")) node.remove();
    for (const node of body.querySelectorAll("*"))
      for (const { name, value } of [...node.attributes])
        if (/^on|^srcdoc$/i.test(name) || /^\s*javascript:/i.test(value)) node.removeAttribute(name);
    el.replaceChildren(...body.childNodes);
  }, signal);
}

/** @type {Record<string, Control>} */
export const CONTROLS = {
  FloatSliderModel: slider(false),
  IntSliderModel: slider(true),
  CheckboxModel: checkbox,
  ToggleButtonModel: toggleButton,
  DropdownModel: dropdown,
  TextModel: text(false),
  FloatTextModel: text(true),
  LabelModel: label,
  HTMLModel: html,
};

export const BOXES = new Set(["BoxModel", "HBoxModel", "VBoxModel"]);
