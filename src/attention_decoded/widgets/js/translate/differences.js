/** Which words of a text went, and which came. */

/** @typedef {{ text: string, kind: "same" | "gone" | "new" }} Difference */

/**
 * The words of both texts in reading order; what both have is the longest list of words that stands in both in the
 * same order, and of several such lists the one that begins first. What went stands before what came in its place.
 * @param {readonly string[]} oldWords @param {readonly string[]} newWords @returns {Difference[]}
 */
export function differences(oldWords, newWords) {
  const [n, m] = [oldWords.length, newWords.length];
  // length[i][j]: how many words the ends of both, from i and from j on, have in common
  const length = Array.from({ length: n + 1 }, () => new Uint32Array(m + 1));
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      length[i][j] = oldWords[i] === newWords[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  /** @type {Difference[]} */
  const found = [];
  let [i, j] = [0, 0];
  while (i < n || j < m) {
    if (i < n && j < m && oldWords[i] === newWords[j]) {
      found.push({ text: oldWords[i++], kind: "same" });
      j++;
    } else if (i < n && (j === m || length[i + 1][j] >= length[i][j + 1])) found.push({ text: oldWords[i++], kind: "gone" });
    else found.push({ text: newWords[j++], kind: "new" });
  }
  return found;
}
