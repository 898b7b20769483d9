"""The book's look for matplotlib: its palette, its sizes, and a font that has Chinese.

The colours are those of `palette.json`, which CSS and the widgets read too. Query, key, value,
source and target keep their colours in every figure of the book.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import font_manager

PALETTE: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("palette.json").read_text("utf8"))
COLOURS = PALETTE["light"]  # figures are drawn in these; on a page the CSS turns them into the theme's own

CHINESE_FONT = "NotoSansSC-Regular.ttf"


def chinese_font_path() -> Path:
    """The Noto Sans SC file (OFL) that the package `zhplot` carries; only the file is used, not its code."""
    try:
        found = [f for f in files("zhplot") or [] if f.name == CHINESE_FONT]
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            f"{CHINESE_FONT} comes with the package zhplot, which is missing: pip install zhplot"
        ) from error
    if not found:
        raise FileNotFoundError(f"the installed zhplot carries no {CHINESE_FONT}: pip install zhplot==1.0.0")
    return Path(str(found[0].locate()))


@cache
def _chinese_family() -> str:
    path = chinese_font_path()
    font_manager.fontManager.addfont(path)
    return font_manager.FontProperties(fname=path).get_name()


@contextmanager
def book_style() -> Iterator[dict[str, str]]:
    """Matplotlib's settings for the book, inside the `with` block only; gives the colours."""
    c = COLOURS
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", _chinese_family()],
        "font.size": 10.5,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 10.5,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "legend.fontsize": 9.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": c["muted"],
        "axes.labelcolor": c["ink"],
        "axes.titlecolor": c["ink"],
        "text.color": c["ink"],
        "xtick.color": c["muted"],
        "ytick.color": c["muted"],
        "xtick.labelcolor": c["ink"],
        "ytick.labelcolor": c["ink"],
        "axes.grid": True,
        "grid.color": c["line"],
        "grid.linewidth": 0.8,
        "axes.axisbelow": True,
        "lines.linewidth": 2.0,
        "figure.facecolor": c["surface"],
        "axes.facecolor": "none",
        "svg.fonttype": "none",
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
    }
    with plt.rc_context(settings):
        yield c
