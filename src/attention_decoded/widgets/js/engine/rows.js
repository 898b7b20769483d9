/**
 * A matrix that only grows at its end: the keys and values of all tokens read so far. Those who hold a
 * shorter stretch of it share it, and a row once written never changes; whoever continues from an earlier
 * place than its end gets a copy. So a step costs one row, and any earlier state can still be continued.
 */

export class Rows {
  /** @param {number} width @param {number} [room] rows to begin with */
  constructor(width, room = 32) {
    this.width = width;
    this.data = new Float32Array(width * room);
    this.used = 0;
  }

  /**
   * The first n rows, followed by `more`.
   * @param {number} n @param {Float32Array} more [any, width] @returns {Rows}
   */
  append(n, more) {
    const used = n + more.length / this.width;
    /** @type {Rows} */
    let rows = this;
    if (n !== this.used || used * this.width > this.data.length) {
      rows = new Rows(this.width, Math.max(32, 2 * used));
      rows.data.set(this.first(n));
    }
    rows.data.set(more, n * this.width);
    rows.used = used;
    return rows;
  }

  /** @param {number} n @returns {Float32Array} [n, width], a view */
  first(n) {
    return this.data.subarray(0, n * this.width);
  }
}
