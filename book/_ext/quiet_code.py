"""Code without markup that nothing colours: a third of a chapter's elements were spans around plain names and commas.

A token keeps its span if book.css has a rule for its class below `.highlight`, or if a reader's copy leaves it out.
"""

import re

from book_build import ROOT
from pygments.formatters import HtmlFormatter
from pygments.token import STANDARD_TYPES
from sphinx.highlighting import PygmentsBridge

_RULES = re.compile(r"^\.highlight (?::is\((?P<several>[^)]*)\)|(?P<one>\.\w+))", re.MULTILINE)
_NOT_COPIED = {"gp", "go"}  # prompts and output: `copybutton_exclude`


def coloured(css: str) -> set[str]:
    """The short names of tokens that a style sheet has a rule for."""
    return {name for rule in _RULES.finditer(css) for name in re.findall(r"\.(\w+)", rule["several"] or rule["one"])}


class QuietFormatter(HtmlFormatter):
    """Pygments' HTML, without spans for standard tokens that look like the text around them."""

    spans = frozenset(coloured((ROOT / "book" / "_static" / "book.css").read_text("utf-8")) | _NOT_COPIED)

    def _get_css_classes(self, ttype):
        if ttype in STANDARD_TYPES and STANDARD_TYPES[ttype] not in self.spans:
            return ""
        return super()._get_css_classes(ttype)


def setup(app):
    PygmentsBridge.html_formatter = QuietFormatter
    return {"parallel_read_safe": True, "parallel_write_safe": True}
