"""Contexts: does one word get different vectors in different sentences, and do they fall into usages (chapter 7)?

A static vector is the same wherever its word stands. A contextual vector is the stream at the word's position
after the blocks, so attention has mixed the sentence into it. These functions read such vectors off a
masked language model and measure how far apart they lie; cosines need a yardstick, so two controls come along.

Source of the yardstick: Ethayarajh (2019), arXiv:1909.00512v1 (self-similarity, and what random words have).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Occurrence = tuple[int, int]
"""Where a token stands: number of the sentence, position in it."""


def occurrences(sentences: Iterable[Sequence[int]], token: int) -> list[Occurrence]:
    """Every place where `token` stands in `sentences` (lists of ids)."""
    return [(n, at) for n, sentence in enumerate(sentences) for at, i in enumerate(sentence) if i == token]


@torch.no_grad()
def contextual_vectors(
    model: nn.Module, sentences: Sequence[Sequence[int]], places: Sequence[Occurrence], *, depth: int = -1
) -> Float[Tensor, "occurrence d_model"]:
    """The stream at each of `places` after `depth` blocks (0: before any context; -1: after the last block).

    `model.streams(ids)` must give them, as `MaskedLanguageModel.streams` does; it is used in eval mode.
    """
    was_training = model.training
    model.eval()
    streams_of: Callable[[Tensor], Sequence[Tensor]] = model.streams  # type: ignore[assignment] (nn.Module types attributes so)
    by_length: dict[int, list[int]] = defaultdict(list)  # equal lengths share a batch, so nothing is padded
    for n in dict.fromkeys(n for n, _ in places):
        by_length[len(sentences[n])].append(n)
    streams: dict[int, Tensor] = {}
    for group in by_length.values():
        streams |= zip(group, streams_of(torch.tensor([list(sentences[n]) for n in group]))[depth], strict=True)
    model.train(was_training)
    return torch.stack([streams[n][at] for n, at in places])


def mean_cosine(a: Float[Tensor, "n d_model"], b: Float[Tensor, "m d_model"] | None = None) -> float:
    """Mean cosine over all pairs of a row of `a` and a row of `b`; without `b`, over all pairs within `a`."""
    a = F.normalize(a, dim=-1)
    if b is None:
        if len(a) < 2:
            raise ValueError("a mean over pairs needs at least two vectors")
        return ((a @ a.mT).sum() - len(a)).item() / (len(a) * (len(a) - 1))
    return (a @ F.normalize(b, dim=-1).mT).mean().item()


@dataclass(frozen=True)
class Separation:
    """Two clusters of one word's contextual vectors, and how clearly they are two."""

    labels: Bool[Tensor, " occurrence"]
    """Which cluster each vector is in."""
    within: float
    """Mean cosine of two vectors of the same cluster."""
    between: float
    """Mean cosine of two vectors of different clusters."""
    silhouette: float
    """From −1 to 1: 0 means that the clusters are one cloud cut in two, 1 that they are two points."""
    minority: float
    """Share of the smaller cluster."""


def sense_separation(vectors: Float[Tensor, "occurrence d_model"], *, rounds: int = 50) -> Separation:
    """Cut the vectors in two by 2-means on directions, and measure the cut; deterministic.

    The first cut is by the sign along the direction of greatest variance, so no seed is needed. Raises
    ValueError if there are fewer than four vectors, or if they are all alike.
    """
    if len(vectors) < 4:
        raise ValueError(f"{len(vectors)} vectors are too few to be cut in two; give at least 4")
    x = F.normalize(vectors.double(), dim=-1)
    centred = x - x.mean(0)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    labels = centred @ direction > 0
    for _ in range(rounds):
        if labels.all() or not labels.any():
            raise ValueError("the vectors are all alike: there is nothing to separate")
        centres = F.normalize(torch.stack([x[~labels].mean(0), x[labels].mean(0)]), dim=-1)
        new = (x @ centres.mT).argmax(-1).bool()
        if new.equal(labels):
            break
        labels = new
    cosine, same = x @ x.mT, labels[:, None] == labels[None, :]
    others = same & ~torch.eye(len(x), dtype=torch.bool)
    # Silhouette with distance 1 − cosine: (b − a) / max(a, b), zero for a cluster of one.
    a = ((1 - cosine) * others).sum(1) / others.sum(1).clamp(min=1)
    b = ((1 - cosine) * ~same).sum(1) / (~same).sum(1)
    silhouette = torch.where(others.any(1), (b - a) / torch.maximum(a, b).clamp(min=1e-12), 0.0)
    return Separation(
        labels=labels,
        within=(cosine * others).sum().item() / max(int(others.sum()), 1),
        between=cosine[~same].mean().item(),
        silhouette=silhouette.mean().item(),
        minority=min(labels.double().mean().item(), 1 - labels.double().mean().item()),
    )


def separations(
    model: nn.Module, sentences: Sequence[Sequence[int]], tokens: Iterable[int], *, most: int = 300, depth: int = -1
) -> dict[int, Separation]:
    """The separation of each token's vectors in `sentences`, most clearly separated first: where are the usages?

    Looks at the first `most` occurrences of each; tokens with fewer than four are left out.
    """
    wanted = set(tokens)
    places: dict[int, list[Occurrence]] = defaultdict(list)
    for n, sentence in enumerate(sentences):
        for at, token in enumerate(sentence):
            if token in wanted and len(places[token]) < most:
                places[token].append((n, at))
    found = {
        token: sense_separation(contextual_vectors(model, sentences, where, depth=depth))
        for token, where in places.items()
        if len(where) >= 4
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].silhouette))


def neighbours(
    vector: Float[Tensor, " d_model"], vectors: Float[Tensor, "occurrence d_model"], n: int = 5
) -> Int[Tensor, " n"]:
    """The rows of `vectors` that point most nearly the way of `vector`, nearest first."""
    return (F.normalize(vectors, dim=-1) @ F.normalize(vector, dim=-1)).topk(min(n, len(vectors))).indices


def usage_agreement(vectors: Float[Tensor, "occurrence d_model"], usages: Sequence[str]) -> float:
    """How often a vector's nearest other vector is of the same usage, by labels given by hand.

    Chance is the share of same-usage others; static vectors differ by position alone and stay near it.
    """
    if len(usages) != len(vectors) or len(vectors) < 2:
        raise ValueError(f"{len(usages)} labels for {len(vectors)} vectors: give one each, and at least two")
    cosine = F.normalize(vectors, dim=-1) @ F.normalize(vectors, dim=-1).mT
    nearest = cosine.fill_diagonal_(-2).argmax(1).tolist()
    return sum(usages[i] == usages[j] for i, j in enumerate(nearest)) / len(usages)
