// What a search shows of a page it has found: a sentence or two around the word, of the text alone. Sphinx's own
// summary begins with the page's buttons and says every formula three times.
addEventListener("DOMContentLoaded", () => {
  const FURNITURE =
    "h1, h2, h3, .headerlink, .katex-html, annotation, svg, script, style, noscript, button, .ad-widget-host, .ad-plotly, .cell_input, details > summary";
  const BEFORE = 90;
  const LENGTH = 240;
  const BLOCKS = "p, li, dt, dd, td, th, pre, figcaption, summary, .admonition-title";

  /** The text of a page, or of the section in it that was found. */
  const plain = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const article = page.querySelector("article.bd-article");
    const place = (anchor && page.getElementById(anchor.replace(/^#/, ""))) || article;
    if (!place || !article?.contains(place)) return "";
    for (const el of place.querySelectorAll(FURNITURE)) el.remove();
    for (const el of place.querySelectorAll(BLOCKS)) el.append(" ");
    return place.textContent.replace(/\s+/g, " ").trim();
  };

  /** `text` around the first of the words, cut between words. */
  const around = (text, words) => {
    const lower = text.toLowerCase();
    const found = [...words].map((word) => lower.indexOf(word.toLowerCase())).filter((at) => at >= 0);
    const first = found.length ? Math.max(0, Math.min(...found) - BEFORE) : 0;
    const start = first && text.indexOf(" ", first) + 1;
    let end = Math.min(text.length, start + LENGTH);
    if (end < text.length) end = Math.max(text.lastIndexOf(" ", end), start + LENGTH / 2);
    return (start ? "… " : "") + text.slice(start, end) + (end < text.length ? " …" : "");
  };

  Search.makeSearchSummary = (html, words, anchor) => {
    const text = plain(html, anchor);
    if (!text) return null;
    const summary = document.createElement("p");
    summary.className = "context";
    summary.textContent = around(text, words);
    return summary;
  };
});
