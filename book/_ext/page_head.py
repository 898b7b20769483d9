"""A page's head made short: one style sheet for the whole book, and one line of settings that nothing waits for.

The theme, Sphinx and its extensions each add files of their own to every page. A browser shows
nothing before the last style sheet is there, reads no further than a script that is not deferred, and
runs no script before the style sheets above it. So the finished pages are read once more:

- their style sheets become one, `_static/book-<hash>.css`, without the rules for classes and ids
  that no page and no script of the site knows;
- the settings that scripts find in global variables stand in one script before it.
"""

import graphlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from book_build import hash_files, write_if_changed
from sphinx.errors import ExtensionError

_SHEET = re.compile(r'\s*<link\b(?=[^>]*\brel="stylesheet")[^>]*\bhref="(?P<href>[^"]+)"[^>]*>')
_SETTINGS = re.compile(r'\s*<script src="(?P<href>[^"]*documentation_options\.js[^"]*)"></script>')
_INLINE = re.compile(r"\s*<script>(?P<body>.*?)</script>", re.DOTALL)
_NAMES = re.compile(r"""\b(?:class|id)\s*=\s*\\?["']([^"']*)""")
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_CLASS_OR_ID = re.compile(r"[.#](-?[A-Za-z_][\w-]*)")
_URL = re.compile(r"""url\(\s*(["']?)(?!data:|#|["'])([^)"']+)\1\s*\)""")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


# ------------------------------------------------------------------ style sheets
def blocks(css: str) -> Iterator[tuple[str, str | None]]:
    """The rules of a style sheet without comments: (what stands before the braces, what in them).

    A statement without braces (`@import …;`) has None in their place. Strings and `url(…)` may hold braces.
    """
    start, depth, head, i = 0, 0, "", 0
    while i < len(css):
        character = css[i]
        if character in "\"'":
            i += 1
            while i < len(css) and css[i] != character:
                i += 2 if css[i] == "\\" else 1
        elif character == "\\":
            i += 1
        elif character == "(" and css[i - 3 : i].lower() == "url" and css[i + 1 : i + 2] not in ("'", '"'):
            i = css.index(")", i)
        elif character == "{":
            if depth == 0:
                head, start = css[start:i].strip(), i + 1
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                yield head, css[start:i]
                start = i + 1
        elif character == ";" and depth == 0:
            yield css[start:i].strip(), None
            start = i + 1
        i += 1
    if depth or css[start:].strip():
        raise ValueError(f"a style sheet ends in the middle of a rule: {css[start : start + 80]!r}")


def selectors(text: str) -> list[str]:
    """The selectors of a list, divided at the commas that are in no parentheses."""
    found, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
    return [*found, text[start:].strip()]


class Known:
    """The names that can stand in a page's `class` and `id`: those in its HTML, and every word of its scripts.

    Scripts also put names together: after `"bs-tooltip-" + side`, everything that begins so is known.
    """

    def __init__(self, pages: Iterable[str], scripts: Iterable[str]) -> None:
        self.names: set[str] = set()
        words: set[str] = set()
        for page in pages:
            for value in _NAMES.findall(page):
                self.names.update(value.replace("\\", " ").split())
            for body in re.findall(r"<script\b[^>]*>(.*?)</script>", page, re.DOTALL):
                words.update(_WORD.findall(body))
        for script in scripts:
            words.update(_WORD.findall(script))
        self.names |= words
        self.beginnings = tuple(word for word in words if word.endswith("-"))

    def may_match(self, selector: str) -> bool:
        """Whether every class and id that the selector demands is known; what stands in parentheses is not asked."""
        while True:
            bare = re.sub(r"\([^()]*\)|\[[^\]]*\]", "", selector)
            if bare == selector:
                break
            selector = bare
        if "\\" in selector:
            return True
        return all(name in self.names or name.startswith(self.beginnings) for name in _CLASS_OR_ID.findall(selector))


def used_rules(css: str, known: Known) -> str:
    """The style sheet without rules, or parts of selector lists, that can match nothing."""
    kept = []
    for head, body in blocks(_COMMENT.sub("", css)):
        if body is None:
            kept.append("" if head.startswith("@charset") else f"{head};")
        elif head.startswith(("@media", "@supports", "@layer", "@container")):
            if inner := used_rules(body, known):
                kept.append(f"{head}{{{inner}}}")
        elif head.startswith("@"):
            kept.append(f"{head}{{{body.strip()}}}")
        elif living := [selector for selector in selectors(head) if known.may_match(selector)]:
            kept.append(f"{','.join(living)}{{{body.strip()}}}")
    return "\n".join(kept)


def imported(css: str, read: Callable[[str], str]) -> str:
    """The style sheet with the files that it imports in their place; `read` gives a file's rules."""
    return re.sub(r"""@import\s*(["'])([^"']+)\1\s*;""", lambda match: read(match[2]), css)


def moved(css: str, old: str, new: str) -> str:
    """The style sheet's `url(…)`s, written for folder `old`, rewritten for folder `new`."""

    def rewrite(match: re.Match) -> str:
        if re.match(r"[a-z]+:|/", match[2]):
            return match[0]
        return f'url("{posixpath.relpath(posixpath.join(old, match[2]), new)}")'

    return _URL.sub(rewrite, css)


def common_order(lists: Iterable[list[str]]) -> list[str]:
    """All items of some lists, in an order in which each list keeps its own; ExtensionError if there is none."""
    order: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for items in lists:
        for item in items:
            order.add(item)
        for before, after in pairwise(items):
            order.add(after, before)
    try:
        return list(order.static_order())
    except graphlib.CycleError as error:
        raise ExtensionError(f"two pages load their style sheets in different orders: {error.args[1]}") from None


# ------------------------------------------------------------------ pages
def shorten(head: str, sheet: str, settings: str) -> str:
    """A page's head with its style sheets replaced by `sheet` and its global settings gathered before it."""
    scripts = [settings]

    def gather(match: re.Match) -> str:
        scripts.append(match["body"].strip())
        return ""

    begin = _SHEET.search(head)
    if begin is None:
        return head
    before, after = head[: begin.start()], head[begin.start() :]
    after = _INLINE.sub(gather, _SETTINGS.sub("", _SHEET.sub("", after)))
    link = f'\n    <link rel="stylesheet" href="{sheet}" />'
    return f"{before}\n    <script>{' '.join(filter(None, scripts))}</script>{link}{after}"


def _file(site: Path, page: Path, href: str) -> str:
    """A link's file, as its path in the site."""
    folder = page.parent.relative_to(site).as_posix()
    return posixpath.normpath(posixpath.join(folder, href.partition("?")[0]))


def _shorten_heads(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html") if "_static" not in path.parts}
    sheets = {path: [_file(site, path, m["href"]) for m in _SHEET.finditer(text)] for path, text in pages.items()}
    order = common_order(sheets[path] for path in sorted(sheets))
    if not order:
        return
    scripts = [
        path.read_text("utf-8") for path in static.rglob("*.js") if not {"models", "plotly"}.intersection(path.parts)
    ]
    known = Known(pages.values(), scripts)

    def rules(name: str) -> str:
        folder = posixpath.dirname(name)
        css = moved(used_rules((site / name).read_text("utf-8"), known), folder, "_static")
        return imported(css, lambda other: rules(posixpath.normpath(posixpath.join(folder, other))))

    css = "\n".join(map(rules, order))
    if unread := re.search(r"@import[^;]*", css):
        raise ExtensionError(f"a style sheet loads another one in a way that page_head.py does not read: {unread[0]}")
    bundle = f"book-{hash_files([], css)}.css"
    write_if_changed(static / bundle, css + "\n")
    settings = " ".join((static / "documentation_options.js").read_text("utf-8").split())
    for path, text in pages.items():
        head, end, body = text.partition("</head>")
        to_static = posixpath.relpath("_static", path.parent.relative_to(site).as_posix())
        write_if_changed(path, shorten(head, f"{to_static}/{bundle}", settings) + end + body)


def setup(app):
    app.connect("build-finished", _shorten_heads, priority=700)  # after fonts and icons, before the checks
    return {"parallel_read_safe": True, "parallel_write_safe": True}
