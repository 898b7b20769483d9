/**
 * A table of cells as one grid for the keyboard: Tab enters it, arrow keys move, Home/End jump in the row (with Ctrl:
 * to the corners), Enter or Space presses. Row −1 and column −1 are the labels; every node that counts carries
 * `data-row` and `data-column`.
 */

import { setAttribute } from "./dom.js";

/** @typedef {[row: number, column: number]} At */

/**
 * Where a key leads in a grid of `nRow` × `nColumn` cells with labels at −1; null if it is none of ours.
 * @param {string} key @param {boolean} control @param {number} row @param {number} column @param {number} nRow @param {number} nColumn
 * @returns {At | null}
 */
export function stepIn(key, control, row, column, nRow, nColumn) {
  const clamp = (/** @type {number} */ x, /** @type {number} */ n) => Math.max(-1, Math.min(n - 1, x));
  /** @type {At | null} */
  let to = null;
  if (key === "ArrowRight") to = [row, clamp(column + 1, nColumn)];
  if (key === "ArrowLeft") to = [row, clamp(column - 1, nColumn)];
  if (key === "ArrowDown") to = [clamp(row + 1, nRow), column];
  if (key === "ArrowUp") to = [clamp(row - 1, nRow), column];
  if (key === "Home") to = control ? [0, 0] : [row, 0];
  if (key === "End") to = control ? [nRow - 1, nColumn - 1] : [row, nColumn - 1];
  return to && to[0] === -1 && to[1] === -1 ? [row, column] : to;
}

/**
 * Listen to a grid's pointers and keys.
 * @param {HTMLElement} table
 * @param {{ onOver: (at: At | null) => void, onLeave: () => void, onReach: (at: At) => void, onPress: (at: At, byKey: boolean) => void }} handlers
 *   `onOver` and `onLeave` of a pointer that hovers (a finger does not), `onReach` by keyboard
 */
export function roving(table, { onOver, onLeave, onReach, onPress }) {
  /** @type {HTMLElement[][]} [row + 1][column + 1] */
  let grid = [];
  /** The one stop of the tabulator. @type {At} */
  let current = [0, 0];

  /** @param {EventTarget | null} target @returns {At | null} */
  function locate(target) {
    const node = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-row]")) : null;
    return node ? [Number(node.dataset.row), Number(node.dataset.column)] : null;
  }

  /** @param {At} at */
  const node = ([row, column]) => grid[row + 1][column + 1];

  /** @param {At} at */
  function rove(at) {
    setAttribute(node(current), "tabindex", -1);
    setAttribute(node(at), "tabindex", 0);
    current = at;
  }

  table.addEventListener("pointerover", (event) => event.pointerType === "touch" || onOver(locate(event.target)));
  table.addEventListener("pointerleave", (event) => event.pointerType === "touch" || onLeave());
  table.addEventListener("click", (event) => {
    const at = locate(event.target);
    if (!at) return;
    rove(at);
    node(at).focus({ preventScroll: true });
    onPress(at, false);
  });
  table.addEventListener("focusin", ({ target }) => {
    const at = locate(target);
    if (at && target instanceof Element && target.matches(":focus-visible")) onReach(at);
  });
  table.addEventListener("keydown", (event) => {
    const at = locate(event.target);
    if (!at || event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return onPress(at, true);
    }
    const to = stepIn(event.key, event.ctrlKey, ...at, grid.length - 1, grid[0].length - 1);
    if (!to) return;
    event.preventDefault();
    rove(to);
    node(to).focus();
  });

  return {
    /** Another grid was built. @param {HTMLElement[][]} built  [row + 1][column + 1] @param {At} at  where the tabulator stops */
    set(built, at) {
      grid = built;
      current = at;
      rove(at);
    },
  };
}
