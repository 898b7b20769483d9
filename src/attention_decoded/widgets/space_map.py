"""Who looks at whom on a plane: the bilinear form x·B·x′ with one matrix and with two (chapter 7)."""

import math

from traitlets import Enum, Float, TraitError, Tuple, validate

from attention_decoded.widgets.base import DIST, BookWidget

EDGE = 2.0


class SpaceMap(BookWidget):
    """Two points on a plane and what each finds in the other; drag them.

    W_Q is the identity and W_K a rotation by `angle` degrees (−180 to 180), so B = W_Qᵀ W_K is that rotation;
    with `matrices="one"` W_K is W_Q, B is symmetric, and both scores are equal.
    """

    _esm = DIST / "space_map.js"
    _css = DIST / "space_map.css"

    x = Tuple(Float(), Float()).tag(sync=True)
    other = Tuple(Float(), Float()).tag(sync=True)
    angle = Float(60.0).tag(sync=True)
    matrices = Enum(("two", "one"), "two").tag(sync=True)

    def __init__(
        self,
        x: tuple[float, float] = (1.4, 0.5),
        other: tuple[float, float] = (0.2, 1.5),
        *,
        angle: float = 60.0,
        matrices: str = "two",
        fallback: object = None,
    ):
        super().__init__(x=tuple(x), other=tuple(other), angle=angle, matrices=matrices, fallback=fallback)

    @validate("x", "other")
    def _on_the_plane(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if not all(-EDGE <= coordinate <= EDGE for coordinate in value):
            raise TraitError(f"{name}={value}: both coordinates must lie between {-EDGE:g} and {EDGE:g}")
        return value

    @validate("angle")
    def _half_turns(self, proposal):
        if not -180 <= proposal["value"] <= 180:
            raise TraitError(f"angle={proposal['value']} is not between -180 and 180 degrees")
        return proposal["value"]

    def scores(self) -> tuple[float, float]:
        """What x finds in the other, and the other in x."""
        turn = math.radians(self.angle if self.matrices == "two" else 0.0)
        (a, b), (c, d) = self.x, self.other
        along, across = a * c + b * d, b * c - a * d
        return (
            along * math.cos(turn) + across * math.sin(turn),
            along * math.cos(turn) - across * math.sin(turn),
        )

    def _still(self) -> str:
        there, back = self.scores()
        marks = "".join(
            f'<circle cx="{px:g}" cy="{-py:g}" r="0.16" fill="var(--ad-{colour})"/>'
            f'<text x="{px + 0.22:g}" y="{-py - 0.14:g}" font-size="0.26" fill="var(--ad-ink)">{name}</text>'
            for (px, py), colour, name in ((self.x, "query", "x"), (self.other, "key", "x′"))
        )
        alt = f"Two points on a plane. x finds {there:.2f} in x′, x′ finds {back:.2f} in x."
        axes = '<path d="M-2.2 0H2.2M0-2.2V2.2" stroke="var(--ad-line)" stroke-width="0.02"/>'
        return (
            f'<svg class="ad-figure" role="img" aria-label="{alt}" viewBox="-2.2 -2.2 4.4 4.4" '
            f'style="width:100%;max-width:24rem;height:auto">{axes}{marks}</svg>'
        )
