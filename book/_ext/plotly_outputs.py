"""Plotly figures on a page: the figure as JSON, drawn by one shared plotly.js that loads when one comes near.

The height is reserved, so the text does not jump; the palette's colours follow the theme. The alt
text is the figure's `layout.meta.alt`. A page without a plotly figure loads nothing of this.
"""

import html
import json
from pathlib import Path

from book_build import PALETTE, npm_file
from docutils import nodes
from myst_nb.core import render
from sphinx.errors import ExtensionError

MIME = "application/vnd.plotly.v1+json"
_HEIGHT = 420
_MOUNT = Path(__file__).with_name("plotly_mount.js")
_BUNDLE = ("plotly.js-cartesian-dist-min", "plotly-cartesian.min.js")


class PlotlyFigure:
    """MyST-NB's interface for a mime type of one's own."""

    mime_priority_overrides = (("html", MIME, 5),)

    @staticmethod
    def handle_mime(renderer, data, inline):
        if inline or data.mime_type != MIME:
            return None
        renderer.add_js_file("plotly_mount", "vendor/plotly/mount.js", {"defer": "defer"})
        return [nodes.raw(text=figure_html(data.content), format="html", classes=["output"])]


def figure_html(spec: dict) -> str:
    """The figure's place in the page, with its JSON inside."""
    layout = spec.get("layout") or {}
    alt = ((layout.get("meta") or {}) if isinstance(layout.get("meta"), dict) else {}).get("alt", "")
    if not alt:
        raise ExtensionError('a plotly figure needs an alt text: fig.update_layout(meta={"alt": "…"})')
    shown = {key: spec.get(key) for key in ("data", "layout", "frames", "config") if spec.get(key)}
    body = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    return (
        f'<div class="ad-plotly" role="img" aria-label="{html.escape(alt)}" '
        f'style="min-height:{layout.get("height", _HEIGHT)}px">'
        f'<script type="application/json">{body}</script></div>'
    )


def mount_script() -> str:
    """`plotly_mount.js` with the palette in it."""
    return _MOUNT.read_text("utf-8").replace("/* the palette */ {}", json.dumps(PALETTE, separators=(",", ":")))


def static_files() -> dict[str, bytes]:
    """What a page with a plotly figure loads, by its path below `_static/`."""
    return {
        "vendor/plotly/plotly.min.js": npm_file(*_BUNDLE).read_bytes(),
        "vendor/plotly/mount.js": mount_script().encode(),
    }


def setup(app):
    renderers = (
        render.load_mime_renders()
    )  # a cached list; the entry points that fill it exist for installed packages only
    if PlotlyFigure not in renderers:
        renderers.append(PlotlyFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
