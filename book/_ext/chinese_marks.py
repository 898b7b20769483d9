"""Chinese says that it is Chinese: `<span lang="zh">花</span>`, wherever it stands in a page's text or code.

A screen reader changes its voice there, and a browser its choice of glyphs. Widgets, figures and formulas are left
alone: the first mark their own, in the others a span has no place.
"""

import re
from pathlib import Path

from book_build import write_if_changed

_MARK = "[\u3000-\u303f\uff00-\uffef]"
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_RUN = re.compile(f"{_MARK}*{_HAN}(?:{_HAN}|{_MARK})*")
_WHOLE = "script|style|svg|math|textarea|option|noscript"  # nothing in these is text around which a span may stand
_PIECE = re.compile(
    rf"<!--.*?-->|<(?P<whole>{_WHOLE})\b.*?</(?P=whole)\s*>"
    r"|<(?P<end>/?)(?P<tag>[a-zA-Z][\w-]*)(?P<attributes>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.DOTALL,
)
_ALONE = re.compile(r"""\slang=|\sclass=["'](?:[^"']*\s)?(?:ad-widget-host|ad-plotly|katex)(?:\s[^"']*)?["']""")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def marked(body: str) -> str:
    """A page's body with its Chinese marked; what is marked already stays as it is."""

    def put(text: str) -> str:
        return _RUN.sub(r'<span lang="zh">\g<0></span>', text)

    done: list[str] = []
    at, inside, depth = 0, "", 0  # in an element that is left alone: its tag, and how many of that tag are open
    for piece in _PIECE.finditer(body):
        text, at = body[at : piece.start()], piece.end()
        done += [text if inside else put(text), piece[0]]
        tag = piece["tag"]
        if tag is None or tag in _VOID:
            continue
        if inside:
            depth += (tag == inside) * (-1 if piece["end"] else 1)
            inside = inside if depth else ""
        elif not piece["end"] and _ALONE.search(piece["attributes"]):
            inside, depth = tag, 1
    return "".join([*done, body[at:] if inside else put(body[at:])])


def _mark(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    site = Path(app.outdir)
    for path in site.rglob("*.html"):
        head, start, body = path.read_text("utf-8").partition("<body")
        if "_static" not in path.relative_to(site).parts and start:
            write_if_changed(path, head + start + marked(body))


def setup(app):
    app.connect("build-finished", _mark, priority=720)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
