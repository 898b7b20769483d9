"""The theme's icons cut down to those in use, and files and work left out that no page asks for.

The theme ships three icon fonts and rules for two thousand icons, of which a page shows twenty. Its script measures
every listing and table of a page whenever anything in it changes, which lays out the whole page each time; page.js
does the same for those that come into sight.
"""

import re
from pathlib import Path

import web_fonts
from book_build import CACHE, hash_files, write_if_changed
from sphinx.errors import ExtensionError

_ICON_RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
_ICON_ELSEWHERE = re.compile(r'"\\(f[0-9a-f]{3})"')  # icons that rules name by their character
_ICON_NAME = re.compile(r"fa-[a-z0-9-]+")
_MEASURED = re.compile(r'\["pre",[^\]]*\]\.join\(", "\)(?=\)\.forEach\(\w+=>\{\w+\.tabIndex=)')
_UNUSED = (
    "**/*.map", "**/*.LICENSE.txt", "scripts/fontawesome.js", "**/*.ttf", "locales", "sphinx-thebe.*",
    "webpack-macros.html", "sbt-webpack-macros.html", "images/logo_binder.svg",
    "images/logo_deepnote.svg", "images/logo_jupyterhub.svg",
    "images/logo_jupyterlite.svg", "plotly",
)  # fmt: skip


def slim_css(css: str, names: set[str]) -> tuple[str, set[str]]:
    """The style sheet without rules for icons not in `names`, and the characters of those that remain."""
    characters = set()

    def keep(match: re.Match) -> str:
        if not names.intersection(_ICON_NAME.findall(match[1])):
            return ""
        characters.add(chr(int(match[2], 16)))
        return match[0]

    css = _ICON_RULE.sub(keep, css)
    characters.update(chr(int(code, 16)) for code in _ICON_ELSEWHERE.findall(css))
    return css, characters


def _slim(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    texts = [page.read_text("utf-8") for page in Path(app.outdir).rglob("*.html") if "_static" not in page.parts]
    texts += [script.read_text("utf-8") for script in static.glob("scripts/*theme.js")]
    names = set(_ICON_NAME.findall("".join(texts)))
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    css, characters = slim_css(sheet.read_text("utf-8"), names)
    css = re.sub(r",url\([^)]*\.ttf\) format\(\"truetype\"\)", "", css)
    write_if_changed(sheet, re.sub(r"\n/\*# sourceMappingURL=.*?\*/\s*$", "\n", css))
    for font in (static / "vendor" / "fontawesome" / "webfonts").glob("*.woff2"):
        cached = CACHE / "fonts" / f"icons-{hash_files([font], *sorted(characters))}.woff2"
        if not cached.is_file():
            write_if_changed(cached, web_fonts.cut(font, characters))
        write_if_changed(font, cached.read_bytes())
    script = static / "scripts" / "pydata-sphinx-theme.js"
    text, found = _MEASURED.subn('"none"', script.read_text("utf-8"))
    if found != 1:
        raise ExtensionError(f"{script.name} no longer measures listings where slim_theme.py looks for it")
    write_if_changed(script, text)
    for pattern in _UNUSED:
        for path in static.glob(pattern):
            _remove(path)
    for script in (*static.glob("scripts/*.js"), *static.glob("styles/*.css")):
        text = re.sub(
            r"\n?(?://# sourceMappingURL=\S+|/\*# sourceMappingURL=.*?\*/)\s*$", "\n", script.read_text("utf-8")
        )
        write_if_changed(script, text)


def _remove(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def setup(app):
    app.connect("build-finished", _slim, priority=650)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
