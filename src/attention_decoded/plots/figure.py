"""A figure that knows where it is shown: inline SVG on a page, PNG in a notebook.

On a page the SVG's text stays text (selectable, in the page's own fonts, Chinese included) and
its colours become CSS variables, so that it is drawn in the reader's theme, light or dark.
"""

import hashlib
import html
import io
import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure

from attention_decoded.plots.style import COLOURS
from attention_decoded.surface import on_page

_PIXELS_PER_UNIT = 1.45  # how large one SVG unit may become on a wide screen,
_PIXELS_PER_UNIT_IN_A_ROW = 1.18  # and where figures stand side by side in the text column


class Figure:
    """A finished matplotlib figure with the text that stands in for it (`alt`).

    Raises ValueError without an alt text: a reader who cannot see the figure gets its message.
    """

    def __init__(self, fig: MatplotlibFigure, *, alt: str):
        if not alt.strip():
            raise ValueError("a figure needs an alt text that says what there is to see")
        self.alt = " ".join(alt.split())
        self.fig = fig
        plt.close(fig)  # the notebook shows this object, not every open figure once more

    def svg(self, *, grow: bool = True) -> str:
        """The figure as one `<svg>` element whose colours are the page's CSS variables.

        It fills its column up to a limit; without `grow` it has its own width and only shrinks.
        """
        buffer = io.StringIO()
        salt = hashlib.sha256(self.alt.encode()).hexdigest()[:8]  # ids that two figures of a page do not share
        with plt.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
            self.fig.savefig(
                buffer,
                format="svg",
                transparent=True,
                metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
            )
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(
            r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
        )  # it would style the whole page
        text = re.sub(r'(<(?:g|text|svg)[^>]*?) id="[A-Za-z0-9.]+_\d+"', r"\1", text)
        text = re.sub(r"font: [^;\"]*?([\d.]+)px [^;\"]*", r"font-size: \1px", text)  # the page's own face
        text = re.sub(r"font-family: [^;\"]*;?", "", text)
        for name, colour in COLOURS.items():
            text = re.sub(re.escape(colour) + r"\b", f"var(--ad-{name}, {colour})", text, flags=re.IGNORECASE)
        width = float(text.split('viewBox="0 0 ', 1)[1].split(" ", 1)[0])
        limit = f"{width * (_PIXELS_PER_UNIT if grow else _PIXELS_PER_UNIT_IN_A_ROW):.0f}px"
        size = f"width:100%;max-width:{limit}" if grow else f"width:{limit};max-width:100%"
        opening = (
            f'<svg class="ad-figure" role="img" aria-label="{html.escape(self.alt, quote=True)}" '
            f'style="{size};height:auto;stroke-linejoin:round"'
        )
        text = re.sub(r'^<svg((?: [\w:]+="[^"]*")*)', lambda m: opening + _without_size(m[1]), text)
        return re.sub(r"\s*\n\s*", "\n", text).strip()

    def png(self) -> bytes:
        """The figure as PNG on a white ground, legible in a light and in a dark notebook."""
        buffer = io.BytesIO()
        self.fig.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        if on_page():
            return {"text/html": self.svg(), "text/plain": self.alt}
        return {"image/png": self.png(), "text/plain": self.alt}


class Panels:
    """Figures side by side where there is room, one under another on a phone; one picture in a notebook.

    `alt` speaks for all of them. Raises ValueError when there is none to show.
    """

    def __init__(self, figures: Sequence[Figure], *, alt: str):
        if not figures:
            raise ValueError("no figure to show: give at least one")
        self.figures = list(figures)
        self.alt = " ".join(alt.split())

    def html(self) -> str:
        """The panels as a wrapping row of SVG elements (the style stands in the element: no CSS file is needed)."""
        style = "display:flex;flex-wrap:wrap;gap:0.5rem 1.5rem;justify-content:center"
        cells = "".join(f'<div style="flex:0 1 auto;max-width:100%">{f.svg(grow=False)}</div>' for f in self.figures)
        label = html.escape(self.alt, quote=True)
        return f'<div class="ad-panels" role="group" aria-label="{label}" style="{style}">{cells}</div>'

    def png(self) -> bytes:
        """The panels as one PNG, left to right."""
        images = [plt.imread(io.BytesIO(f.png()))[..., :3] for f in self.figures]
        height = max(image.shape[0] for image in images)
        padded = [np.pad(i, ((0, height - i.shape[0]), (0, 0), (0, 0)), constant_values=1.0) for i in images]
        buffer = io.BytesIO()
        plt.imsave(buffer, np.hstack(padded), format="png")
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        if on_page():
            return {"text/html": self.html(), "text/plain": self.alt}
        return {"image/png": self.png(), "text/plain": self.alt}


def _without_size(attributes: str) -> str:
    return re.sub(r' (?:width|height)="[^"]*"', "", attributes)
