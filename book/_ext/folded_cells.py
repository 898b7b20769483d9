"""Folded cells as plain `<details>`: one line that says what the code does, open or not.

The title is the cell's `mystnb.code_prompt_show`; one that begins with "Solution" is styled as such.
A folded cell without a title of its own is an error: "Show code cell source" tells a reader nothing.
"""

import html

from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.util import logging

_log = logging.getLogger(__name__)
_DEFAULT = "Show code cell "


def _visit(self, node):
    title = node["prompt_show"]
    if title.startswith(_DEFAULT):
        _log.warning("a folded cell needs a title: mystnb: {code_prompt_show: …}", location=node.parent or node)
    kind = "ad-solution" if title.startswith("Solution") else "ad-fold"
    self.body.append(f'<details class="{kind}"><summary><span>{html.escape(title)}</span></summary>\n')


def _depart(self, node):
    self.body.append("</details>\n")


def setup(app):
    app.setup_extension("myst_nb")
    app.add_node(HideCodeCellNode, override=True, html=(_visit, _depart))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
