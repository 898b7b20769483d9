// What scrolls sideways can be reached and scrolled by keyboard, and only then takes a stop on the way.
(() => {
  const boxes = document.querySelectorAll("div.math, .pst-scrollable-table-container, .cell_output, article pre");
  const mark = (box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));
  for (const box of boxes) resized.observe(box);
})();

// From a folder a browser fetches no other page, so a search there shows titles without a line of their text.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
