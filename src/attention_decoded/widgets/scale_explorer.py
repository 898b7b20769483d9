"""Why the scores are divided by √d (chapter 7): random queries and keys, their scores, and a softmax that saturates."""

import numpy as np
from traitlets import Enum, Float, Int, TraitError, validate

from attention_decoded.widgets.base import DIST, BookWidget
from attention_decoded.widgets.still import compute

WIDEST = 256


class ScaleExplorer(BookWidget):
    """Scores of random queries and keys of width `d_head` (1 to 256), drawn from N(0, 1) with `seed`.

    `mode` says what multiplies q·k: "none" (1), "root" (1/√d_head) or "custom" (`factor`, 1/64 to 4).
    The pictures: the scores against their density in theory, one query's weights over ten keys, and the
    gradient that the softmax lets through.
    """

    _esm = DIST / "scale_explorer.js"
    _css = DIST / "scale_explorer.css"

    d_head = Int(64).tag(sync=True)
    mode = Enum(("none", "root", "custom"), "none").tag(sync=True)
    factor = Float(0.5).tag(sync=True)
    seed = Int(1).tag(sync=True)

    def __init__(
        self,
        d_head: int = 64,
        *,
        mode: str = "none",
        factor: float = 0.5,
        seed: int = 1,
        fallback: object = None,
    ):
        super().__init__(d_head=d_head, mode=mode, factor=factor, seed=seed, fallback=fallback)

    @validate("d_head", "factor")
    def _in_range(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        low, high = (1, WIDEST) if name == "d_head" else (1 / 64, 4)
        if not low <= value <= high:
            raise TraitError(f"{name}={value} is not between {low:g} and {high:g}")
        return value

    def _still(self) -> object:
        from attention_decoded.plots.curves import curves  # matplotlib: only while a page is built

        widths = [2**power for power in range(9)]
        gradient = compute({"widget": "scale_explorer", "seed": self.seed, "widths": widths})
        return curves(
            np.array(widths),
            {"scores × 1": np.array(gradient["none"]), "scores × 1/√d": np.array(gradient["root"])},
            xlabel="width d of queries and keys",
            ylabel="largest gradient of a row",
            colours={"scores × 1": "key", "scores × 1/√d": "weight"},
            dashed=("scores × 1",),
            logx=True,
            alt=(
                "Median of the largest derivative of a softmax weight against the width d of random queries and keys: "
                f"without a scale it falls to {gradient['none'][-1]:.1g} at d = {widths[-1]}, "
                f"with 1/√d it stays near {gradient['root'][-1]:.2f}."
            ),
        )
