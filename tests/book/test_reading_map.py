"""The sidebar has all chapters of the cover's table, planned ones without a link, in their order."""

import re
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree
from myst_parser.docutils_ import Parser
from reading_map import Part, parts_of, with_planned

TABLE = """
| | chapter | question | |
|---|---|---|---|
| | **Codes** | | |
| 1 | First & foremost | Why? | planned |
| | **Context** | | |
| 2 | Second | How? | **written** |
| 3 | Third | When? | planned |
"""
NAV = (
    '<div>\n<ul><li>home</li></ul>\n<p class="caption"><span class="caption-text">Context</span></p>\n'
    '<ul class="current nav"><li class="current"><a href="#">2 Second</a></li></ul>\n'
    '<p class="caption"><span class="caption-text">Appendix</span></p>\n<ul>'
    '<li><a href="n">Notation</a></li></ul>\n</div>'
)
PARTS = [Part("Codes", {1: "First & foremost"}, {1}), Part("Context", {2: "Second", 3: "Third"}, {3})]


def test_the_table_is_read():
    table = publish_doctree(TABLE, parser=Parser(), settings_overrides={"myst_enable_extensions": []})
    assert isinstance(table, nodes.document)
    assert parts_of(table) == PARTS


def test_planned_chapters_stand_between_the_written_ones():
    nav = with_planned(NAV, PARTS)
    texts = [text for text in re.sub(r"<[^>]+>", "\n", nav).split("\n") if text.strip()]
    assert texts == [
        "home", "Codes", "1\u2002First &amp; foremost", " (planned)", "Context", "2 Second", "3\u2002Third",
        " (planned)", "Appendix", "Notation",
    ]  # fmt: skip
    assert nav.count("<a ") == NAV.count("<a ")
    assert '<ul class="current nav">' in nav


def test_a_page_without_parts_in_its_sidebar_keeps_it():
    assert with_planned("<ul><li>home</li></ul>", PARTS) == "<ul><li>home</li></ul>"


def test_every_sidebar_has_every_chapter_once(site: Path):
    for name in ("book/index.html", "book/context/queries-keys-values.html", "genindex.html"):
        text = (site / name).read_text("utf-8")
        nav = re.search(r'<nav class="bd-links.*?</nav>', text, re.DOTALL)[0]
        assert [int(n) for n in re.findall(r">\s*(\d+)\s", nav)] == list(range(1, 15)), name
        for item in re.findall(r'<li class="[^"]*ad-planned.*?</li>', nav, re.DOTALL):
            assert "<a" not in item
