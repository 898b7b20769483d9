// What scrolls sideways can be reached and scrolled by keyboard, and only then takes a stop on the way.
(() => {
  const boxes = document.querySelectorAll("div.math, .pst-scrollable-table-container, .cell_output, .cell_output > .output, article pre");
  const mark = (box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));
  for (const box of boxes) resized.observe(box);
})();

// While a page arrives, sections out of sight are not laid out (book.css). When it has arrived they are, one at a
// time, so that the page still answers; and all at once before anything that needs to know where they lie.
(() => {
  const page = document.documentElement.classList;
  const sections = [...document.querySelectorAll(".bd-article > section > section")];
  const whenIdle = window.requestIdleCallback ?? setTimeout; // Safari has no idle callbacks
  const next = () => {
    const section = page.contains("ad-arriving") && sections.shift();
    if (!section) return settle();
    section.style.contentVisibility = "visible";
    whenIdle(next);
  };
  const settle = () => page.remove("ad-arriving");
  addEventListener("click", ({ target }) => target.closest?.("a[href*='#']") && settle(), { capture: true });
  addEventListener("beforeprint", settle);
  if (document.readyState === "complete") whenIdle(next);
  else addEventListener("load", () => whenIdle(next));
})();

// From a folder a browser fetches no other page, so a search there shows titles without a line of their text.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
