/** A widget's state on a page without a kernel, with the interface that anywidget modules expect. */

/**
 * One entry of the embed format's `state`.
 * @typedef {object} Entry
 * @property {string} model_name
 * @property {string} model_module
 * @property {Record<string, any>} state
 * @property {{ path: (string | number)[], encoding: string, data: string }[]} [buffers]
 */

/** @typedef {(...args: any[]) => void} Listener */

const REFERENCE = "IPY_MODEL_";

export class Model {
  /** @param {string} id @param {Entry} entry @param {Registry} registry */
  constructor(id, entry, registry) {
    this.id = id;
    this.model_id = id;
    this.name = entry.model_name;
    this.module = entry.model_module;
    this.registry = registry;
    this.state = structuredClone(entry.state ?? {});
    for (const { path, encoding, data } of entry.buffers ?? []) {
      const parent = path.slice(0, -1).reduce((/** @type {any} */ at, key) => at[key], this.state);
      parent[/** @type {string} */ (path.at(-1))] = new DataView(decode(encoding, data).buffer);
    }
    /** @type {Map<string, Set<Listener>>} */
    this.listeners = new Map();
    this.widget_manager = {
      /** @param {string} id */
      get_model: async (id) => {
        const model = registry.find(id);
        if (!model) throw new Error(`There is no widget model ${id} on this page.`);
        return model;
      },
    };
  }

  /** @param {string} key */
  get(key) {
    return this.state[key];
  }

  /** @param {string | Record<string, any>} key @param {any} [value] */
  set(key, value) {
    const changed = Object.entries(typeof key === "string" ? { [key]: value } : key).filter(([name, next]) => this.state[name] !== next);
    for (const [name, next] of changed) this.state[name] = next;
    for (const [name] of changed) this.trigger(`change:${name}`, this, this.state[name]);
    if (changed.length) this.trigger("change", this);
  }

  /** There is no kernel to tell. */
  save_changes() {}

  /** There is no kernel to ask. */
  send() {}

  /** @param {string} names one or more events, divided by spaces @param {Listener} listener */
  on(names, listener) {
    for (const name of names.split(/\s+/)) {
      if (!this.listeners.has(name)) this.listeners.set(name, new Set());
      this.listeners.get(name)?.add(listener);
    }
    return this;
  }

  /** @param {string | null} [names] all events when absent @param {Listener | null} [listener] all listeners when absent */
  off(names, listener) {
    for (const name of names ? names.split(/\s+/) : [...this.listeners.keys()]) {
      if (listener) this.listeners.get(name)?.delete(listener);
      else this.listeners.delete(name);
    }
    return this;
  }

  /** @param {string} name @param {any[]} args */
  trigger(name, ...args) {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(...args);
  }
}

/** Every model of the page, by its id. */
export class Registry {
  constructor() {
    /** @type {Map<string, Model>} */
    this.models = new Map();
  }

  /** @param {Record<string, Entry>} state */
  add(state) {
    for (const [id, entry] of Object.entries(state)) this.models.set(id, new Model(id, entry, this));
  }

  /** @param {unknown} reference "IPY_MODEL_<id>" or the bare id @returns {Model | undefined} */
  find(reference) {
    return this.models.get(String(reference).replace(REFERENCE, ""));
  }
}

/** @param {string} encoding @param {string} data @returns {Uint8Array} */
function decode(encoding, data) {
  if (encoding === "hex") return Uint8Array.from(data.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  return Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
}

/**
 * Keep the two ends of each `jslink` equal, and the target of each `jsdlink` equal to its source.
 * @param {Registry} registry
 */
export function connectLinks(registry) {
  for (const link of registry.models.values()) {
    if (link.name !== "LinkModel" && link.name !== "DirectionalLinkModel") continue;
    const [source, from] = link.get("source");
    const [target, to] = link.get("target");
    const left = registry.find(source);
    const right = registry.find(target);
    if (!left || !right) continue;
    const push = () => right.set(to, left.get(from));
    left.on(`change:${from}`, push);
    push();
    if (link.name === "LinkModel") right.on(`change:${to}`, () => left.set(from, right.get(to)));
  }
}
