"""Chapters carry their true number, whichever chapters are written yet.

A chapter states it in its front matter (`chapter: 7`); its sections become 7.1, 7.2, its figures
and equations 7.1, 7.2 in their own sequences. A page without the entry is not numbered.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.util import logging

_log = logging.getLogger(__name__)
_DEPTH = 2  # 7 and 7.1; deeper headings carry no number


def _number(toc: nodes.Node, number: tuple[int, ...], found: dict[str, tuple[int, ...] | None]) -> None:
    """Give each entry of a page's table of contents its number, from `number` on for the page itself."""
    for item in toc:
        if not isinstance(item, nodes.list_item):
            continue
        reference = next(iter(item.findall(nodes.reference)), None)
        entry = item[0] if isinstance(item[0], addnodes.compact_paragraph) else None
        if entry is not None and reference is not None:
            own = number if len(number) <= _DEPTH else None
            reference["secnumber"] = own
            found[reference["anchorname"]] = own
        below = [child for child in item if isinstance(child, nodes.bullet_list)]
        for children in below:
            for position, child in enumerate(children, 1):
                _number([child], (*number, position), found)


def _assign(self, env) -> list[str]:
    """Sphinx's hook, with the numbers from the front matter; gives the pages whose numbers have changed."""
    old, env.toc_secnumbers = env.toc_secnumbers, {}
    owners: dict[int, str] = {}
    for docname, toc in env.tocs.items():
        stated = env.metadata[docname].get("chapter")
        if stated is None:
            env.titles[docname].attributes.pop("secnumber", None)
            continue
        chapter = int(stated)
        if chapter in owners:
            _log.warning("chapter %d is also %s", chapter, owners[chapter], location=docname)
        owners[chapter] = docname
        found: dict[str, tuple[int, ...] | None] = {}
        _number(toc, (chapter,), found)
        env.toc_secnumbers[docname] = found
        env.titles[docname]["secnumber"] = (chapter,)
    return [doc for doc in env.found_docs if old.get(doc) != env.toc_secnumbers.get(doc)]


def _install(app) -> None:
    TocTreeCollector.assign_section_numbers = _assign


def setup(app):
    app.connect("builder-inited", _install)  # after sphinx_multitoc_numbering, which sets the same hook when loaded
    return {"parallel_read_safe": True, "parallel_write_safe": True}
