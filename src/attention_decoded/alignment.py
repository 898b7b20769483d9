"""Alignment: do two sets of vectors, paired row by row, tell the same story (chapter 13)?

    mean_pool     one vector per sentence: the mean of its real tokens' states
    retrieval     whose nearest neighbour, by cosine, is its own partner? needs one common space
    cka           are the same sentences near each other in both? no common space needed
    procrustes    the one rotation that lays a space onto the other, found on some pairs, judged on others
    compare       all of these, with intervals, beside the same figures for shuffled pairs

A figure means nothing alone. `compare` shuffles the pairs, which shows what chance gives; an untrained model
of the same shape shows what the architecture gives, and that control is the caller's to make.

Axes: batch, position, d_model as in the notation page; row (a sentence) and d_x, d_y, the spaces' widths.
All is computed in double precision on the processor.

Sources: Kornblith et al. (2019), arXiv:1905.00414v4, section 3 (linear CKA); Schönemann (1966), Psychometrika 31
(Procrustes); Smith et al. (2017), arXiv:1702.03859v1 (a rotation between two languages' vectors);
Efron and Stein (1981), Annals of Statistics 9 (the jackknife).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

TIE = 1e-9  # cosines closer than this are equal: copies of one vector differ by rounding


def mean_pool(
    states: Float[Tensor, "batch position d_model"], mask: Bool[Tensor, "batch position"]
) -> Float[Tensor, "batch d_model"]:
    """The mean of each sentence's states where `mask` is True: its real tokens, not its padding.

    Raises ValueError when a sentence has no real token.
    """
    if empty := (~mask.any(1)).nonzero()[:, 0].tolist():
        raise ValueError(f"sentences {empty[:10]} (counted from 0) have no token to take the mean of")
    kept = states.masked_fill(~mask[:, :, None], 0.0)  # not times 0: padding may hold NaN
    return kept.sum(1) / mask.sum(1, keepdim=True)


# ── near the same neighbours? ───────────────────────────────────────────────────────────────────


def cka(x: Float[Tensor, "row d_x"], y: Float[Tensor, "row d_y"]) -> float:
    """Linear CKA, 0 to 1: ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius norms of centred rows.

    Rotating or scaling either space changes nothing. It is biased upwards: independent data of d_x and d_y
    equally strong directions give about √(d_x d_y) / row, not 0. Read it beside shuffled pairs.

    Raises ValueError for rows that do not pair and for rows that are all alike.
    """
    return _cka(*_paired(x, y))[0]


def _cka(x: Tensor, y: Tensor) -> tuple[float, float]:
    """CKA, and its standard error by the jackknife: what leaving out each row in turn would do.

    (The bootstrap would draw rows twice, and twins raise CKA by as much as its own bias.) Without row i the
    centred XᵀY loses n/(n−1) xᵢyᵢᵀ, so that the n figures need no n passes over the data.
    """
    x, y = _centred(x), _centred(y)
    n = len(x)

    def squares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """‖AᵀB‖² of all rows, and without each."""
        c, part = a.mT @ b, n / (n - 1)
        whole = (c * c).sum()
        less = 2 * part * torch.einsum("ri,ij,rj->r", a, c, b)
        return whole, whole - less + part**2 * (a * a).sum(1) * (b * b).sum(1)

    (xy, xy_without), (xx, xx_without), (yy, yy_without) = squares(x, y), squares(x, x), squares(y, y)
    without = xy_without / (xx_without * yy_without).sqrt()
    error = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    return (xy / (xx * yy).sqrt()).item(), error.sqrt().item()


# ── nearest to its own partner? ─────────────────────────────────────────────────────────────────


def retrieval(x: Float[Tensor, "row d"], y: Float[Tensor, "row d"]) -> tuple[float, float]:
    """Retrieval@1, 0 to 1: how often a row of x has its partner as nearest row of y (by cosine), and y of x.

    Where k rows are equally near and the partner is one of them, it counts 1/k, as a choice at random would.
    Chance is 1 / row. Raises ValueError for rows that do not pair.
    """
    x, y = _paired(x, y)
    return hits(x, y).mean().item(), hits(y, x).mean().item()


def hits(x: Float[Tensor, "row d"], y: Float[Tensor, "row d"]) -> Float[Tensor, " row"]:
    """For each row of x: 1 if its partner is the nearest row of y, 1/k if it is one of k, else 0.

    Raises ValueError for rows that do not pair and widths that differ.
    """
    x, y = _paired(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"widths {x.shape[1]} and {y.shape[1]} differ: there is no cosine between the two spaces")
    x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    found = []
    for start in range(0, len(x), 1024):  # so many rows of cosines at a time
        cosines = x[start : start + 1024] @ y.mT
        nearest = cosines >= cosines.amax(1, keepdim=True) - TIE
        own = nearest[torch.arange(len(cosines)), torch.arange(start, start + len(cosines))]
        found.append(own / nearest.sum(1))
    return torch.cat(found).double()


# ── one rotation away? ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Rotation:
    """y ≈ mean_y + scale · (x − mean_x) R, with R orthogonal: a rotation, or one with a reflection."""

    matrix: Float[Tensor, "d d"]
    scale: float
    mean_x: Float[Tensor, " d"]
    mean_y: Float[Tensor, " d"]

    def apply(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """Where rows of x lie in the space of y."""
        return self.mean_y + self.scale * (x.double().cpu() - self.mean_x) @ self.matrix

    def unexplained(self, x: Float[Tensor, "row d"], y: Float[Tensor, "row d"]) -> Float[Tensor, " row"]:
        """Each row's squared error over the mean square of y about `mean_y`: 0 is perfect, 1 as bad as the mean."""
        x, y = _paired(x, y)
        total = ((y - self.mean_y) ** 2).sum(1).mean()
        return ((y - self.apply(x)) ** 2).sum(1) / total

    def hits(self, x: Float[Tensor, "row d"], y: Float[Tensor, "row d"]) -> Float[Tensor, " row"]:
        """`hits` of the turned rows of x among y, both seen from y's mean."""
        x, y = _paired(x, y)
        return hits(self.apply(x) - self.mean_y, y - self.mean_y)


def procrustes(x: Float[Tensor, "row d"], y: Float[Tensor, "row d"]) -> Rotation:
    """The rotation and the scale that bring the centred rows of x nearest to those of y (least squares).

    Judge it on rows that it has not seen: with as many columns as rows it fits anything.

    Raises ValueError for rows that do not pair, widths that differ and rows that are all alike.
    """
    x, y = _paired(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"widths {x.shape[1]} and {y.shape[1]} differ: no rotation leads from one to the other")
    a, b = _centred(x), _centred(y)
    u, s, vt = torch.linalg.svd(a.mT @ b)
    return Rotation(u @ vt, (s.sum() / (a * a).sum()).item(), x.mean(0), y.mean(0))


# ── all of it, with controls ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Measured:
    """A figure, its interval (95 %) over the choice of rows, and what shuffled pairs give instead (mean)."""

    value: float
    low: float
    high: float
    shuffled: float


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What `compare` found. Figures that need one common width are None where the widths differ."""

    n: int
    cka: Measured
    x_to_y: Measured | None
    """Retrieval@1 of y by x, as the vectors are; chance is 1 / n."""
    y_to_x: Measured | None
    n_held_out: int
    """Rows that the rotation has not seen."""
    rotated_x_to_y: Measured | None
    """Retrieval@1 among the held-out rows, x turned onto y; chance is 1 / n_held_out."""
    unexplained: Measured | None
    """The rotation's squared error on held-out rows as a share of their variance: 0 perfect, 1 useless."""

    def as_dict(self) -> dict[str, Any]:
        """For a card: plain numbers."""
        return asdict(self)


def shuffled(y: Float[Tensor, "row d"], generator: torch.Generator) -> Float[Tensor, "row d"]:
    """The same rows in another order: pairs by chance, as a control."""
    return y[torch.randperm(len(y), generator=generator).to(y.device)]


def compare(
    x: Float[Tensor, "row d_x"],
    y: Float[Tensor, "row d_y"],
    generator: torch.Generator,
    *,
    held_out: float = 0.5,
    n_bootstrap: int = 1000,
    n_shuffles: int = 10,
) -> Alignment:
    """CKA, retrieval both ways, and a rotation fitted on some rows and judged on the `held_out` share.

    Intervals are bootstraps over rows, the candidates and the rotation held fixed; CKA's is ± 1.96 jackknife
    errors. Rows are taken for independent: let each sentence stand once on either side, for a twin of the
    partner counts as a miss. A rotation needs more rows than columns to mean anything.

    Raises ValueError for rows that do not pair or are too few, and shares that leave either part empty.
    """
    x, y = _paired(x, y)
    n, n_held_out = len(x), round(held_out * len(x))
    if not (2 <= n_held_out <= n - 2):
        raise ValueError(f"held_out={held_out} of {n} rows: at least two must be held out, and two kept to fit")
    if n_bootstrap < 1 or n_shuffles < 1:
        raise ValueError(f"n_bootstrap={n_bootstrap} and n_shuffles={n_shuffles} must be at least 1")
    order = torch.randperm(n, generator=generator)
    unseen, seen = order[:n_held_out], order[n_held_out:]
    controls = [shuffled(y, generator) for _ in range(n_shuffles)]

    def measured(rows_of: Callable[[Tensor], Float[Tensor, " row"]]) -> Measured:
        figures = rows_of(y)
        by_chance = torch.stack([rows_of(control).mean() for control in controls]).mean().item()
        return Measured(figures.mean().item(), *_interval(figures, n_bootstrap, generator), by_chance)

    value, error = _cka(x, y)
    by_chance = sum(_cka(x, control)[0] for control in controls) / n_shuffles
    found = Measured(value, max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error), by_chance)
    if x.shape[1] != y.shape[1]:
        nothing = dict.fromkeys(("x_to_y", "y_to_x", "rotated_x_to_y", "unexplained"))
        return Alignment(n=n, cka=found, n_held_out=n_held_out, **nothing)
    return Alignment(
        n=n,
        cka=found,
        x_to_y=measured(lambda y: hits(x, y)),
        y_to_x=measured(lambda y: hits(y, x)),
        n_held_out=n_held_out,
        rotated_x_to_y=measured(lambda y: procrustes(x[seen], y[seen]).hits(x[unseen], y[unseen])),
        unexplained=measured(lambda y: procrustes(x[seen], y[seen]).unexplained(x[unseen], y[unseen])),
    )


def _interval(figures: Float[Tensor, " row"], n_bootstrap: int, generator: torch.Generator) -> tuple[float, float]:
    """The middle 95 % of the mean over rows drawn with replacement."""
    drawn = [figures[_draw(len(figures), generator)].mean() for _ in range(n_bootstrap)]
    low, high = torch.stack(drawn).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _draw(n: int, generator: torch.Generator) -> Int[Tensor, " row"]:
    return torch.randint(n, (n,), generator=generator)


def _paired(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    for name, rows in (("x", x), ("y", y)):
        if rows.dim() != 2:
            raise ValueError(f"{name} has the shape {tuple(rows.shape)}, not [row, d]: one row for each sentence")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} rows against {len(y)}: row i of one must be the partner of row i of the other")
    if len(x) < 2:
        raise ValueError(f"{len(x)} row: there is nothing to compare it with")
    for name, rows in (("x", x), ("y", y)):
        if bad := (~rows.isfinite().all(1)).nonzero()[:, 0].tolist():
            raise ValueError(f"rows {bad[:10]} of {name} (counted from 0) hold NaN or infinity")
    return x.detach().double().cpu(), y.detach().double().cpu()


def _centred(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    if not centred.norm() > 1e-12 * math.sqrt(x.numel()) * x.abs().max():
        raise ValueError("the rows are all alike: they tell nothing apart")
    return centred
