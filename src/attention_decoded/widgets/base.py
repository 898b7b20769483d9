"""What all widgets of the book share: their bundles, and the still picture of their first state."""

from pathlib import Path

import anywidget
from traitlets import Unicode

from attention_decoded.surface import on_page

DIST = Path(__file__).parent / "dist"


class BookWidget(anywidget.AnyWidget):
    """A widget with a still picture of its first state.

    The picture is shown until the widget has painted itself, without JavaScript, and in print.
    On a page the widget draws the picture itself; `fallback` takes another one in its place: a figure of
    `attention_decoded.plots` or HTML. In a notebook none is needed, and the trait stays empty.
    """

    fallback = Unicode().tag(sync=True)

    def __init__(self, *, fallback: object = None, **traits: object):
        super().__init__(**traits)
        if on_page():
            self.fallback = _html(self._still() if fallback is None else fallback)

    def _still(self) -> object:
        """A figure of the first state, or its HTML."""
        raise NotImplementedError


def _html(picture: object) -> str:
    if isinstance(picture, str):
        return picture
    bundle = getattr(picture, "_repr_mimebundle_", None)
    if bundle is None:
        raise TypeError(f"fallback must be a figure of attention_decoded.plots or HTML, not {type(picture).__name__}")
    html = bundle().get("text/html")
    if not isinstance(html, str):
        raise TypeError("fallback has no HTML form on a page: give a figure of attention_decoded.plots")
    return html
