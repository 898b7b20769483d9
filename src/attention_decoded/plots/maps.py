"""Heatmaps of scores and weights. Row = query (who looks), column = key (who is looked at)."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attention_decoded.plots.figure import Figure, Panels
from attention_decoded.plots.style import book_style

_CELL = 0.4  # inches: wide enough for two digits


def attention_maps(
    maps: dict[str, np.ndarray],
    queries: Sequence[str],
    keys: Sequence[str],
    *,
    alt: str,
    numbers: bool = True,
    limit: float | None = None,
) -> Panels:
    """One heatmap per entry of `maps` (title → query × key), on one scale of colour.

    Positive cells take the weight colour, negative ones grey; the darker, the larger. The darkest is
    `limit`, or the largest number there is. Raises ValueError when a map's shape is not (len(queries), len(keys)).
    """
    if not maps:
        raise ValueError("maps is empty: give at least one title and matrix")
    for title, matrix in maps.items():
        if np.shape(matrix) != (len(queries), len(keys)):
            raise ValueError(
                f"map {title!r} has shape {np.shape(matrix)}, but there are {len(queries)} queries and {len(keys)} keys"
            )
    top = limit or max(float(np.abs(m).max()) for m in maps.values()) or 1.0
    size = (len(keys) * _CELL + 0.75, len(queries) * _CELL + 0.85)
    panels = []
    with book_style() as c:
        for title, matrix in maps.items():
            fig, ax = plt.subplots(figsize=size)
            _draw(ax, np.asarray(matrix), queries, keys, top, numbers, c)
            ax.set_title(title, pad=8)
            panels.append(Figure(fig, alt=f"Heatmap: {title}"))
    return Panels(panels, alt=alt)


def _draw(ax: Axes, matrix: np.ndarray, queries, keys, top: float, numbers: bool, c: dict[str, str]) -> None:
    for i, row in enumerate(matrix):
        for j, x in enumerate(row):
            strength = min(abs(float(x)) / top, 1.0)
            colour = c["weight"] if x >= 0 else c["negative"]
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor=c["panel"], edgecolor=c["line"], linewidth=0.6))
            if strength:
                ax.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, alpha=strength, linewidth=0))
            if numbers:
                ink = c["surface"] if strength > 0.67 else c["ink"]  # where both contrast alike, in either theme
                ax.text(j + 0.5, i + 0.5, _short(float(x)), ha="center", va="center", color=ink, fontsize=8.5)
    ax.set(xlim=(0, len(keys)), ylim=(len(queries), 0), aspect="equal")
    ax.set_xticks(np.arange(len(keys)) + 0.5, keys)
    ax.set_yticks(np.arange(len(queries)) + 0.5, queries)
    ax.tick_params(length=0)
    ax.set_xlabel("key (who is looked at)", color=c["key"])
    ax.set_ylabel("query (who looks)", color=c["query"])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _short(x: float) -> str:
    """'.37', '1.4', '−.2': two characters that fit a cell."""
    text = f"{x:.2f}" if abs(x) < 1 else f"{x:.1f}"
    return text.replace("-", "−").replace("0.", ".", 1) if abs(x) < 1 else text.replace("-", "−")
