"""Chapters that are planned stand in the sidebar too, grey and without a link, each in its place.

The cover's table is the one list of all chapters: rows of number, title, question and state, and rows with a part's
name alone. What is written links to its page there, and is in `_toc.yml`.
"""

import html
import re
from dataclasses import dataclass, field
from pathlib import Path

from book_build import write_if_changed
from docutils import nodes

_NAV = re.compile(r'(?P<open><nav class="bd-links[^>]*>)(?P<inside>.*?)(?P<close></nav>)', re.DOTALL)
_PART = re.compile(r'<p\b[^>]*class="caption"[^>]*>.*?</p>\s*<ul\b[^>]*>.*?</ul>', re.DOTALL)
_CAPTION = re.compile(r'<span class="caption-text">(.*?)</span>')
_CHAPTER = re.compile(r"<li\b.*?</li>", re.DOTALL)
_EMPTY = (
    '<p aria-level="2" class="caption" role="heading"><span class="caption-text">{}</span></p>\n'
    '<ul class="nav bd-sidenav"></ul>'
)
_NUMBER = re.compile(r">\s*(\d+)\b")


@dataclass
class Part:
    """A part of the book: its name, and the chapters it will have."""

    name: str
    chapters: dict[int, str] = field(default_factory=dict)
    planned: set[int] = field(default_factory=set)


def parts_of(doctree: nodes.document) -> list[Part]:
    """The map of the book, read off the table of a page that has four columns and numbered rows."""
    parts: list[Part] = []
    for row in (row for body in doctree.findall(nodes.tbody) for row in body.findall(nodes.row)):
        cells = [" ".join(entry.astext().split()) for entry in row.findall(nodes.entry)]
        if len(cells) != 4:
            continue
        number, title, _, state = cells
        if number.isdigit() and parts:
            parts[-1].chapters[int(number)] = title
            if state == "planned":
                parts[-1].planned.add(int(number))
        elif not number and title and not state:
            parts.append(Part(title))
    return parts


def _planned(number: int, title: str) -> str:
    return (
        f'<li class="toctree-l1 ad-planned"><span>{number}\u2002{html.escape(title)}</span>'
        '<span class="visually-hidden"> (planned)</span></li>'
    )


def with_planned(nav: str, parts: list[Part]) -> str:
    """The sidebar's parts in the map's order, each with its planned chapters between those that are written."""
    standing = {html.unescape(_CAPTION.search(match[0])[1]): match[0] for match in _PART.finditer(nav)}
    if not (standing and parts):
        return nav
    rows = []
    for part in parts:
        block = standing.pop(part.name, _EMPTY.format(html.escape(part.name)))
        begin, list_tag, rest = re.split(r"(<ul\b[^>]*>)", block, maxsplit=1)
        items = {number: _planned(number, part.chapters[number]) for number in part.planned}
        for item in _CHAPTER.findall(rest):
            number = _NUMBER.search(item)
            items[int(number[1]) if number else 0] = item
        rows.append("\n".join([begin + list_tag, *(items[number] for number in sorted(items)), "</ul>"]))
    places = list(_PART.finditer(nav))
    return "\n".join([nav[: places[0].start()].rstrip(), *rows, *standing.values(), nav[places[-1].end() :]])


def _complete_sidebars(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    parts = parts_of(app.env.get_doctree(app.config.root_doc))
    site = Path(app.outdir)
    for path in site.rglob("*.html"):
        if "_static" in path.relative_to(site).parts:
            continue
        page = path.read_text("utf-8")
        write_if_changed(
            path, _NAV.sub(lambda match: match["open"] + with_planned(match["inside"], parts) + match["close"], page)
        )


def setup(app):
    app.connect("build-finished", _complete_sidebars, priority=580)  # before the fonts are cut for what pages show
    return {"parallel_read_safe": True, "parallel_write_safe": True}
