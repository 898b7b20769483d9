"""Which cells run for the page, and under which key their results are kept.

`kernel-only` cells (prose or code) never reach the page: they are blanked before MyST-NB reads the
chapter, so they are not executed either. The kernels that do run are told that a page is being
built, and their results are cached under a hash of the package: editing `src/` runs the chapters again.
"""

import os
import re
import shutil
from pathlib import Path

from book_build import CACHE, PACKAGE, hash_files
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook

KERNEL_ONLY, PAGE_ONLY = "kernel-only", "page-only"
_KEPT = 3  # caches of the last few states of src/: switching a branch and back costs nothing
_SOURCES = {".py", ".js", ".css", ".json", ".safetensors"}


def has_tag(cell, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def without_kernel_only(text: str) -> str:
    """The chapter with its `kernel-only` cells blanked; the lines keep their numbers for error messages."""
    if not is_myst_markdown_notebook(text):
        return text
    notebook = read_myst_markdown_notebook(text, add_source_map=True)
    starts = notebook.metadata["source_map"]
    lines = text.split("\n")
    for i, (cell, start) in enumerate(zip(notebook.cells, starts, strict=True)):
        if not has_tag(cell, KERNEL_ONLY):
            continue
        if cell.cell_type == "code":
            first = start - 1  # the source map points below the fence
            fence = re.match(r"\s*(`{3,}|~{3,}|:{3,})", lines[first])[1]
            last = next(n for n in range(start, len(lines)) if lines[n].strip() == fence)
        else:
            first = start
            last = starts[i + 1] - 2 if i + 1 < len(starts) else len(lines) - 1  # spare the next cell's own mark
        lines[first : last + 1] = [""] * (last - first + 1)
    return "\n".join(lines)


def _drop_cells(app, docname, source) -> None:
    source[0] = without_kernel_only(source[0])


def _prepare(app, config) -> None:
    os.environ["ATTENTION_DECODED_PAGE"] = "1"
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # the figure as data; plotly_outputs draws it
    cache = CACHE / "notebooks" / config.book_sources
    cache.mkdir(parents=True, exist_ok=True)
    cache.touch()
    config.nb_execution_cache_path = str(cache)
    by_age = sorted(cache.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in by_age[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def setup(app):
    package = [path for path in PACKAGE.rglob("*") if path.suffix in _SOURCES and "__pycache__" not in path.parts]
    extensions = list(Path(__file__).parent.glob("*.py"))
    # Values of kind "env": if one changes, Sphinx reads every page again instead of using its pickles.
    app.add_config_value("book_sources", hash_files(package), "env", [str])
    app.add_config_value("book_extensions", hash_files(extensions), "env", [str])
    app.connect("config-inited", _prepare)
    app.connect("source-read", _drop_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
