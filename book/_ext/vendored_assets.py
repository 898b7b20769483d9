"""Everything a page loads lies in the site itself.

Files of pinned packages and of our own package are gathered below `_build/cache/static` and copied
from there into `_static/`: KaTeX, plotly.js, the widget runtime, the palette. What the theme or its
extensions would add on top and no page of ours uses is taken out again.
"""

import maths
import plotly_outputs
from book_build import CACHE, PACKAGE, PALETTE, ROOT, write_if_changed
from sphinx.errors import ExtensionError

STATIC = CACHE / "static"
_RUNTIME = PACKAGE / "widgets" / "dist" / "runtime.js"
# Added to every page by extensions that Jupyter Book insists on; each with the mark that shows a page uses it.
_UNLESS_USED = {
    "sphinx-thebe": "thebe-init",
    "thebe_selector": "thebe-init",
    "design-tabs": "sd-tab-set",
    "sphinx-design": 'class="sd-',
    "togglebutton": "toggle",
    "katex": 'class="katex',
    "pygments": "(never: book.css colours the code)",
}


def palette_css() -> str:
    """The palette as CSS variables: `--ad-query` and its kin, for light, dark and paper."""

    def rules(theme: str) -> str:
        return f"color-scheme: {theme}; " + " ".join(f"--ad-{name}: {c};" for name, c in PALETTE[theme].items())

    return (
        "/* generated from plots/palette.json */\n"
        f":root {{ {rules('light')} }}\n"
        f'@media not print {{ html[data-theme="dark"] {{ {rules("dark")} }} }}\n'
    )


def gather() -> None:
    """Fill the folder that Sphinx copies into `_static/`."""
    if not _RUNTIME.is_file():
        raise ExtensionError(f"{_RUNTIME.relative_to(PACKAGE.parents[1])} is missing: run `npm run build`")
    files: dict[str, bytes | str] = {
        "palette.css": palette_css(),
        "vendor/katex/katex.min.css": maths.katex_css(),
        "vendor/widgets/runtime.js": _RUNTIME.read_bytes(),
        **{f"vendor/katex/fonts/{font.name}": font.read_bytes() for font in maths.katex_fonts()},
        **plotly_outputs.static_files(),
    }
    for name, content in files.items():
        write_if_changed(STATIC / name, content)


def _add_static(app, config) -> None:
    gather()
    config.html_static_path[:0] = [str(ROOT / "book" / "_static"), str(STATIC)]


def _drop_unused(app, pagename, templatename, context, doctree) -> None:
    body = context.get("body", "") or ""

    def is_used(asset) -> bool:
        name = str(getattr(asset, "filename", None) or "") + str(getattr(asset, "attributes", {}).get("body", ""))
        if "THEBE" in name or "thebe" in name.lower():
            return False
        if "togglebutton" in name or "toggleHint" in name:
            return 'class="toggle' in body or " toggle" in body or "dropdown" in body
        return all(mark in body for key, mark in _UNLESS_USED.items() if key in name)

    for kind in ("script_files", "css_files"):
        if kind in context:
            context[kind][:] = [asset for asset in context[kind] if is_used(asset)]
    for script in context.get("script_files", []):  # the same objects on every page
        name = str(getattr(script, "filename", None) or "documentation_options")
        if "documentation_options" in name or pagename == "search":
            script.attributes.pop("defer", None)  # scripts within those pages use these at once
        elif "async" not in script.attributes:
            script.attributes.setdefault("defer", "defer")  # in order, but never before the text


def setup(app):
    app.add_css_file("palette.css", priority=690)
    app.connect("config-inited", _add_static)
    app.connect("html-page-context", _drop_unused, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
