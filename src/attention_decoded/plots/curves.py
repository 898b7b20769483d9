"""Curves and dots: measured against theory."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np

from attention_decoded.plots.figure import Figure
from attention_decoded.plots.style import book_style


def curves(
    x: np.ndarray,
    ys: Mapping[str, np.ndarray],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    colours: Mapping[str, str] | None = None,
    dashed: tuple[str, ...] = (),
    logx: bool = False,
    logy: bool = False,
) -> Figure:
    """Lines over a common x; `colours` maps a label to a palette name, for curves that speak of a query, a key ….

    Other curves take neutral colours and differ by their dashes too, so that none depends on colour alone.
    Labels in `dashed` are drawn dashed: bounds and theory, beside what was measured.
    """
    neutral, dashes = ["weight", "ink", "muted"], ["-", "-.", ":"]
    with book_style() as c:
        fig, ax = plt.subplots(figsize=(4.7, 2.8))
        for n, (label, y) in enumerate(ys.items()):
            if len(y) != len(x):
                raise ValueError(f"curve {label!r} has {len(y)} values for {len(x)} positions on the x axis")
            colour = c[(colours or {}).get(label, "ink" if label in dashed else neutral[n % len(neutral)])]
            style = (0, (4, 3)) if label in dashed else dashes[n % len(dashes)]
            ax.plot(x, y, color=colour, linestyle=style, linewidth=1.3 if label in dashed else 2.2, label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logx else "linear", yscale="log" if logy else "linear")
        ax.legend(loc="best")
    return Figure(fig, alt=alt)


def measured_and_theory(
    groups: Mapping[str, np.ndarray], theory: float, *, ylabel: str, theory_label: str, alt: str
) -> Figure:
    """One column of dots per group (say, a layer's heads), and the value that theory expects as a dashed line."""
    with book_style() as c:
        fig, ax = plt.subplots(figsize=(4.7, 2.7))
        for i, values in enumerate(groups.values()):
            spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
            ax.scatter(i + spread, values, s=46, color=c["weight"], zorder=3)
        ax.axhline(theory, color=c["ink"], linestyle="--", linewidth=1.4)
        ax.annotate(
            theory_label, (0.99, theory), xycoords=("axes fraction", "data"), xytext=(0, 4),
            textcoords="offset points", ha="right", va="bottom",
        )  # fmt: skip
        ax.set_xticks(range(len(groups)), list(groups))
        ax.set(ylabel=ylabel, xlim=(-0.5, len(groups) - 0.5), ylim=(0, None))
        ax.grid(axis="x", visible=False)
    return Figure(fig, alt=alt)


def with_intervals(
    groups: Mapping[str, Mapping[str, tuple[float, float, float]] | tuple[float, float, float]],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
) -> Figure:
    """A dot with its interval for each group: (value, low, high); or for each group several, by series.

    Series differ by colour and by marker. Raises ValueError where a value does not lie in its interval.
    """
    table = {
        group: dict(given) if isinstance(given, Mapping) else {"": given} for group, given in groups.items()
    }  # every group: series → (value, low, high)
    series = list(dict.fromkeys(name for given in table.values() for name in given))
    for group, given in table.items():
        for value, low, high in given.values():
            if not low <= value <= high:
                raise ValueError(f"{group!r}: the value {value} does not lie between {low} and {high}")
    with book_style() as c:
        fig, ax = plt.subplots(figsize=(4.7, 2.8))
        looks = [("weight", "o"), ("ink", "s"), ("muted", "^"), ("key", "D")]
        for k, name in enumerate(series):
            colour, marker = looks[k % len(looks)]
            shift = 0.16 * (k - (len(series) - 1) / 2)
            for i, (group, given) in enumerate(table.items()):
                if name not in given:
                    continue
                value, low, high = given[name]
                ax.plot([i + shift] * 2, [low, high], color=c[colour], linewidth=1.6, zorder=2)
                label = name if name and group == next(g for g, of in table.items() if name in of) else None
                ax.plot(i + shift, value, marker, color=c[colour], markersize=6.5, zorder=3, label=label)
        ax.set_xticks(range(len(table)), list(table))
        ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.5, len(table) - 0.5))
        ax.grid(axis="x", visible=False)
        if any(series):
            ax.legend(loc="best")
    return Figure(fig, alt=alt)
