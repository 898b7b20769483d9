"""The built site is read once more, and the build fails on what a reader would trip over.

A formula that KaTeX could not read; anything loaded from another host; a picture without words for
those who cannot see it; a link or an anchor that leads nowhere; a page of the table of contents
that was not built; a page without title, language or description.
"""

import re
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from sphinx.util import logging

_log = logging.getLogger(__name__)

_LOADS = {
    "script": ("src",), "img": ("src", "srcset"), "source": ("src", "srcset"), "iframe": ("src",), "embed": ("src",),
    "object": ("data",), "video": ("src", "poster"), "audio": ("src",), "track": ("src",), "input": ("src",),
    "use": ("href", "xlink:href"), "image": ("href", "xlink:href"),
}  # fmt: skip
_LINKS_THAT_ONLY_NAME = {"canonical", "alternate", "author", "license", "next", "prev", "index", "search", "me"}
_ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_CSS_LOAD = re.compile(r"""(?:url\(|@import\s)\s*["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    described: bool = False  # something in it has a text that stands for the picture


@dataclass
class Page:
    """What one page contains, as far as the checks care."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    title: str = ""
    language: str = ""
    description: str = ""


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[Element] = []
        self.inside_head = False

    def handle_starttag(self, tag, attrs):
        attributes = {key: value or "" for key, value in attrs}
        self.page.ids.update(v for k, v in attributes.items() if k in ("id", "name") and v and tag != "meta")
        self._loads(tag, attributes)
        if tag == "html":
            self.page.language = attributes.get("lang", "")
        if tag == "meta" and attributes.get("name") == "description":
            self.page.description = attributes.get("content", "").strip()
        if tag == "a" and "href" in attributes:
            self.page.links.append(attributes["href"])
        if "katex-error" in attributes.get("class", "").split():
            self.page.problems.append(f"KaTeX cannot read a formula: {attributes.get('title', '')}")
        self._pictures(tag, attributes)
        if tag not in _VOID:
            self.open.append(Element(tag, attributes))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if not any(element.tag == tag for element in self.open):
            return
        while self.open:
            element = self.open.pop()
            if not element.described and "ad-widget-host" in element.attributes.get("class", "").split():
                self.page.problems.append("a widget has no still picture with an alt text (its `fallback`)")
                for outer in self.open:
                    outer.described = True  # said once is enough
            elif not element.described and element.tag == "figure":
                name = element.attributes.get("id", "without a name")
                self.page.problems.append(f"figure {name} has no alt text")
            if element.tag == tag:
                break

    def handle_data(self, data):
        if any(element.tag == "title" for element in self.open) and not any(e.tag == "svg" for e in self.open):
            self.page.title += data
        if self.open and self.open[-1].tag == "style":
            self.page.problems += [f"loads {url} from another host (in a style)" for url in _CSS_LOAD.findall(data)]

    def _loads(self, tag, attributes):
        names = _LOADS.get(tag, ())
        if tag == "link" and not _LINKS_THAT_ONLY_NAME.issuperset(attributes.get("rel", "").lower().split()):
            names = ("href",)
        for name in names:
            for part in attributes.get(name, "").split(",") if name == "srcset" else [attributes.get(name, "")]:
                if _ELSEWHERE.match(part):
                    self.page.problems.append(f"<{tag}> loads {part.strip()} from another host")
                elif part.strip() and not part.strip().startswith(("data:", "#")):
                    self.page.links.append(part.split()[0] if name == "srcset" else part)
        self.page.problems += [
            f"loads {url} from another host (in a style)" for url in _CSS_LOAD.findall(attributes.get("style", ""))
        ]

    def _pictures(self, tag, attributes):
        spoken = (attributes.get("alt") or attributes.get("aria-label") or "").strip()
        silent = attributes.get("aria-hidden") == "true" or attributes.get("role") in ("presentation", "none")
        picture = tag in ("img", "svg", "video") or attributes.get("role") in ("img", "group", "figure")
        if (picture and spoken) or tag in ("table", "pre"):  # a table or a listing speaks for itself
            for element in self.open:
                element.described = True
        if tag == "img" and not spoken and not silent:
            self.page.problems.append(f"image {attributes.get('src', '')[:80]} has no alt text")
        spoken_for = any(_speaks_for_its_drawings(element) for element in self.open)
        if tag == "svg" and not (spoken or silent or spoken_for):
            self.page.problems.append("a drawing (<svg>) has no alt text")


def _speaks_for_its_drawings(element: Element) -> bool:
    """A button's icon, a part of a formula or of a larger drawing needs no words of its own."""
    known = element.tag in ("button", "svg") or "katex" in element.attributes.get("class", "")
    return known or element.attributes.get("aria-hidden") == "true" or element.attributes.get("role") == "img"


def read_page(text: str) -> Page:
    """The page's ids, links and problems; links are checked when all pages are known."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    page = reader.page
    for name in ("title", "language", "description"):
        if not getattr(page, name).strip():
            page.problems.append(f"the page has no {name}")
    return page


def check_css(text: str) -> list[str]:
    return [f"loads {url} from another host" for url in _CSS_LOAD.findall(text)]


def check_links(site: Path, pages: dict[Path, Page]) -> list[str]:
    """Links inside the site whose file or anchor does not exist."""
    problems = []
    for path, page in pages.items():
        here = path.relative_to(site)
        for link in dict.fromkeys(page.links):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            if parts.path.startswith("/"):
                problems.append(
                    f"{here}: {link} starts at the server's root: it works neither below a folder nor offline"
                )
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                problems.append(f"{here}: {link} leads to no file")
            elif target in pages and parts.fragment and urllib.parse.unquote(parts.fragment) not in pages[target].ids:
                problems.append(f"{here}: {link} leads to no place in the page")
    return problems


def check_site(site: Path, documents: list[str] = ()) -> list[str]:
    """Every problem of a built site; `documents` are the pages that must be there."""
    site = site.resolve()
    files = [file for file in sorted(site.rglob("*.html")) if "_static" not in file.relative_to(site).parts]
    pages = {file: read_page(file.read_text("utf-8")) for file in files}
    problems = [f"{document}.html was not built" for document in documents if site / f"{document}.html" not in pages]
    for file, page in pages.items():
        problems += [f"{file.relative_to(site)}: {problem}" for problem in page.problems]
    problems += check_links(site, pages)
    for sheet in sorted(site.rglob("*.css")):
        problems += [f"{sheet.relative_to(site)}: {problem}" for problem in check_css(sheet.read_text("utf-8"))]
    return problems


def _documents_of_toc(app) -> list[str]:
    site_map = getattr(app.config, "external_site_map", None)
    return [str(name) for name in site_map] if site_map else sorted(app.env.found_docs)


def _check(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    problems = check_site(Path(app.outdir), _documents_of_toc(app))
    for problem in problems:
        _log.error("%s", problem)
    if problems:
        app.statuscode = 1  # the build has failed, though every page could be written


def setup(app):
    app.connect("build-finished", _check, priority=900)  # after everything that still writes
    return {"parallel_read_safe": True, "parallel_write_safe": True}
