"""One style sheet for the whole book: nothing that a page can show is lost, and nothing else is asked for."""

import re
from pathlib import Path

import pytest
from page_head import Known, blocks, common_order, imported, moved, selectors, shorten, used_rules
from quiet_code import QuietFormatter, coloured
from sphinx.errors import ExtensionError

PAGE = '<p class="seen also" id="here"></p>'


@pytest.fixture
def known() -> Known:
    return Known([PAGE], ['el.classList.add("by-script"); name = "side-" + where;'])


def test_rules_are_told_apart():
    css = '@charset "utf-8"; a{b:c} @media print{d{e:"}"}} f{g:url(data:x;{y})}'
    assert list(blocks(css)) == [
        ('@charset "utf-8"', None),
        ("a", "b:c"),
        ("@media print", 'd{e:"}"}'),
        ("f", "g:url(data:x;{y})"),
    ]


def test_half_a_rule_is_refused():
    with pytest.raises(ValueError, match="in the middle"):
        list(blocks("a{b:c} d{e:f"))


def test_selectors_are_divided_outside_parentheses():
    assert selectors("a:is(b, c), d[e=','], f") == ["a:is(b, c)", "d[e=',']", "f"]


@pytest.mark.parametrize(
    ("selector", "stays"),
    [
        ("p", True),
        (".seen.also > #here", True),
        (".by-script:hover", True),
        (".side-left", True),
        (".never", False),
        (".seen .never", False),
        (":is(.never, p)", True),
        (".seen:not(.never)", True),
    ],
)
def test_only_rules_that_can_match_nothing_go(known: Known, selector: str, stays: bool):
    assert bool(used_rules(f"{selector}{{color:red}}", known)) == stays
    assert bool(used_rules(f"@media print{{{selector}{{color:red}}}}", known)) == stays


def test_the_living_part_of_a_list_stays(known: Known):
    assert used_rules("/* x */ .never, p{a:b} @font-face{src:url(x)}", known) == "p{a:b}\n@font-face{src:url(x)}"


def test_addresses_move_with_their_sheet():
    assert moved("a{b:url('../c.png')} d{e:url(data:f)} g{h:url(#i)}", "_static/x", "_static") == (
        'a{b:url("c.png")} d{e:url(data:f)} g{h:url(#i)}'
    )


def test_imports_are_put_in_place():
    assert imported('@import "a.css"; b{}', lambda name: f"[{name}]") == "[a.css] b{}"


def test_every_page_s_order_is_kept():
    assert common_order([["a", "c"], ["a", "b", "c"]]) == ["a", "b", "c"]
    with pytest.raises(ExtensionError, match="different orders"):
        common_order([["a", "b"], ["b", "a"]])


def test_a_head_becomes_one_sheet_and_one_script():
    head = (
        '<head><link rel="stylesheet" href="a.css"><script>const x = 1;</script><link rel="stylesheet" href="b.css">'
        '<script src="_static/documentation_options.js?v=1"></script><script defer src="c.js"></script>'
    )
    short = shorten(head, "book.css", "const options = {};")
    assert re.findall(r'href="([^"]+)"', short) == ["book.css"]
    assert short.index("const options") < short.index("const x") < short.index("book.css") < short.index("c.js")
    assert "documentation_options.js" not in short
    assert shorten("<head><title>bare</title>", "book.css", "") == "<head><title>bare</title>"


@pytest.fixture(scope="module")
def texts(site: Path) -> dict[str, str]:
    """Page → its HTML."""
    files = [file for file in site.rglob("*.html") if "_static" not in file.relative_to(site).parts]
    return {file.relative_to(site).as_posix(): file.read_text("utf-8") for file in files}


def test_every_page_asks_for_one_sheet_which_is_there(site: Path, texts: dict[str, str]):
    pages = {name: text for name, text in texts.items() if "bd-article" in text}  # not the one that only leads on
    assert len(pages) >= 5
    for name, text in pages.items():
        sheets = re.findall(r'<link\b(?=[^>]*rel="stylesheet")[^>]*href="([^"]+)"', text)
        assert len(sheets) == 1, name
        assert ((site / name).parent / sheets[0]).is_file()


def test_the_sheet_has_what_the_look_is_made_of(site: Path):
    (sheet,) = (site / "_static").glob("book-*.css")
    css = sheet.read_text("utf-8")
    for part in ("--ad-query", ".katex", "@font-face", ".bd-article", "data-theme", "AD Chinese", "@media print"):
        assert part in css, part
    missing = [
        url for _, url in re.findall(r"""url\((["']?)(?!data:|#)([^)"']+)\1\)""", css)
        if not (sheet.parent / url.split("#")[0].split("?")[0]).is_file()
    ]  # fmt: skip
    assert missing == []


def test_code_keeps_the_spans_that_have_a_colour(texts: dict[str, str]):
    assert coloured(".highlight :is(.k, .kn) { color: red }\n.highlight .s1 { color: blue }") == {"k", "kn", "s1"}
    spans = {
        name
        for text in texts.values()
        for block in re.findall(r'<div class="highlight">(.*?)</div>', text, re.DOTALL)
        for name in re.findall(r'<span class="(\w+)"', block)
    }
    assert spans
    assert spans <= QuietFormatter.spans | {"w", "linenos"}
