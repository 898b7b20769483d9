"""The checks of the built site, each on a page that it must refuse."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import maths
import page_checks
import pytest
from page_checks import check_css, check_site, read_page

HEAD = '<!DOCTYPE html><html lang="en"><head><title>T</title><meta name="description" content="D"></head><body>'


def problems(body: str) -> list[str]:
    return read_page(f"{HEAD}{body}</body></html>").problems


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<span class="katex-error" title="ParseError: x">x</span>', "KaTeX cannot read"),
        ('<script src="https://cdn.example/x.js"></script>', "another host"),
        ('<script src="//cdn.example/x.js"></script>', "another host"),
        ('<link rel="stylesheet" href="https://cdn.example/x.css">', "another host"),
        ('<link rel="preload" as="font" href="https://cdn.example/x.woff2">', "another host"),
        ('<img alt="a" src="http://example/x.png">', "another host"),
        ('<img alt="a" srcset="x.png 1x, https://example/x.png 2x">', "another host"),
        ('<iframe src="https://example/"></iframe>', "another host"),
        ('<p style="background:url(https://example/x.png)">x</p>', "another host"),
        ("<style>@import 'https://example/x.css';</style>", "another host"),
        ('<img src="x.png">', "has no alt text"),
        ('<img src="x.png" alt=" ">', "has no alt text"),
        ("<svg><path/></svg>", "no alt text"),
        (
            "<figure><svg aria-hidden='true'></svg><figcaption>c</figcaption></figure>",
            "figure without a name has no alt text",
        ),
        ('<figure id="f"><p>words</p></figure>', "figure f has no alt text"),
        ('<figure><div class="ad-widget-host"><p>words</p></div></figure>', "widget has no still picture"),
        ('<div class="ad-widget-host"><p>words</p></div>', "widget has no still picture"),
    ],
)
def test_a_bad_page_is_refused(body: str, said: str):
    assert any(said in problem for problem in problems(body)), problems(body)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="https://example/">a link may lead elsewhere</a>',
        '<link rel="canonical" href="https://example/">',
        '<img src="data:image/png;base64,AA" alt="a dot">',
        '<svg role="img" aria-label="a dot"><circle/></svg>',
        '<button aria-label="go"><svg><path/></svg></button>',
        '<figure><svg role="img" aria-label="a dot"></svg></figure>',
        '<figure><div class="ad-plotly" role="img" aria-label="a curve"></div></figure>',
        '<span class="katex"><svg><path/></svg></span>',
        "<script>const x = 'https://example/';</script>",
    ],
)
def test_a_good_page_is_accepted(body: str):
    assert problems(body) == []


@pytest.mark.parametrize("missing", ["title", "language", "description"])
def test_a_page_without_its_particulars_is_refused(missing: str):
    cut = {
        "title": "<title>T</title>",
        "language": ' lang="en"',
        "description": '<meta name="description" content="D">',
    }
    assert read_page(HEAD.replace(cut[missing], "")).problems == [f"the page has no {missing}"]


def test_style_sheets_are_checked():
    assert check_css("a { background: url('https://example/x.png') }")
    assert not check_css("a { background: url('../x.png') }")


@pytest.mark.parametrize("link", ["gone.html", "b.html#gone", "#gone", "/b.html", "gone.png"])
def test_links_that_lead_nowhere_are_found(tmp_path: Path, link: str):
    (tmp_path / "a.html").write_text(f'{HEAD}<a href="{link}">x</a>', "utf-8")
    (tmp_path / "b.html").write_text(f'{HEAD}<p id="here">x</p>', "utf-8")
    (found,) = check_site(tmp_path)
    assert link in found
    (tmp_path / "a.html").write_text(f'{HEAD}<a href="b.html#here">x</a><a href="a.html">y</a>', "utf-8")
    assert check_site(tmp_path) == []


def test_a_missing_page_of_the_toc_is_found(tmp_path: Path):
    (tmp_path / "a.html").write_text(HEAD, "utf-8")
    assert check_site(tmp_path, ["a", "chapter"]) == ["chapter.html was not built"]


@pytest.mark.parametrize(("body", "status"), [("<p>good</p>", 0), ('<img src="x.png">', 1)])
def test_a_site_with_a_problem_fails_the_build(tmp_path: Path, body: str, status: int):
    (tmp_path / "a.html").write_text(f"{HEAD}{body}", "utf-8")
    (tmp_path / "x.png").touch()
    app = SimpleNamespace(
        outdir=tmp_path,
        builder=SimpleNamespace(format="html"),
        config=SimpleNamespace(external_site_map=["a"]),
        statuscode=0,
    )
    page_checks._check(app, None)
    assert app.statuscode == status


def test_a_formula_that_katex_cannot_read_fails_the_build(tiny_book):
    good = tiny_book("# T\n\nText with {math}`a^2`.", "maths", "page_checks", katex_prerender="1")
    assert "KaTeX" not in good.stderr
    bad = tiny_book("# T\n\nText with {math}`\\frac{a`.", "maths", "page_checks", katex_prerender="1")
    assert bad.returncode != 0
    assert "index.html: KaTeX cannot read a formula" in bad.stderr


def test_the_formula_server_ends_with_a_build_that_is_killed():
    server = maths._server()
    process = subprocess.Popen(
        [maths.node(), str(server), "--port", "0", "--katex", "./katex.min"], stdin=subprocess.PIPE, cwd=server.parent
    )
    assert process.poll() is None
    process.stdin.close()  # what the system does when the parent dies
    assert process.wait(timeout=30) == 0
