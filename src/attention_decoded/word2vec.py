"""word2vec: words that share neighbours come to lie near each other (chapter 4).

Two tables, not one: W (`center`) throws a one-hot word into the latent space, W′ (`context`) brings
it back to be compared with every word. The vectors that are used, plotted and evaluated are W's.

    skip-gram   one word predicts each of its neighbours
    CBOW        the mean of the neighbours' W-vectors predicts the word

Axes: pair (training examples), negative, window, d_latent as `latent`, vocab.

Sources: Mikolov et al. (2013), arXiv:1310.4546v1, sections 2.2 (negative sampling) and 2.3
(subsampling); Mikolov et al. (2013), arXiv:1301.3781v3 (CBOW).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class WordVectors(nn.Module):
    """The two tables. As in the original program, W starts uniform in ±1/(2·d) and W′ at zero."""

    def __init__(self, n_vocab: int, d_latent: int, *, generator: torch.Generator | None = None):
        super().__init__()
        self.center = nn.Parameter((torch.rand(n_vocab, d_latent, generator=generator) - 0.5) / d_latent)
        self.context = nn.Parameter(torch.zeros(n_vocab, d_latent))

    def skip_gram_loss(
        self, words: Int[Tensor, " pair"], neighbours: Int[Tensor, " pair"], negatives: Int[Tensor, "pair negative"]
    ) -> Float[Tensor, " pair"]:
        """−log σ(w·w′₊) − Σ log σ(−w·w′₋) for each (word, neighbour) pair, in nats."""
        return _contrast(self.center[words], self.context[neighbours], self.context[negatives])

    def cbow_loss(
        self,
        windows: Int[Tensor, "pair window"],
        words: Int[Tensor, " pair"],
        negatives: Int[Tensor, "pair negative"],
    ) -> Float[Tensor, " pair"]:
        """The same contrast for the mean of a window's vectors; entries of −1 in `windows` are empty places."""
        here = (windows >= 0).unsqueeze(-1)
        mean = (self.center[windows.clamp(min=0)] * here).sum(1) / here.sum(1).clamp(min=1)
        return _contrast(mean, self.context[words], self.context[negatives])


def _contrast(
    x: Float[Tensor, "pair latent"],
    positive: Float[Tensor, "pair latent"],
    negative: Float[Tensor, "pair negative latent"],
) -> Float[Tensor, " pair"]:
    away = torch.einsum("pl,pnl->pn", x, negative)
    return -F.logsigmoid((x * positive).sum(-1)) - F.logsigmoid(-away).sum(-1)


def keep_probability(counts: Float[Tensor, " vocab"], threshold: float = 1e-3) -> Float[Tensor, " vocab"]:
    """Subsampling: how often an occurrence of each word is kept. Words rarer than `threshold` are always kept.

    This is the formula of the original program, √(t/f) + t/f capped at 1; the paper prints √(t/f).

    Raises ValueError when a count is negative, all are zero, or the threshold is not above zero.
    """
    if threshold <= 0 or bool((counts < 0).any()) or not bool(counts.any()):
        raise ValueError(
            f"threshold={threshold}, counts from {counts.min():g} to {counts.max():g}: a threshold is above zero,"
            " no count is below it, and one at least is above"
        )
    ratio = threshold / (counts / counts.sum()).clamp(min=1e-12)
    return (ratio.sqrt() + ratio).clamp(max=1.0)


def skip_gram_pairs(
    sentence: Sequence[int], window: int, generator: torch.Generator | None = None
) -> Iterator[tuple[int, int]]:
    """(word, neighbour) for each word; its reach is drawn from 1 … window, so near neighbours count more."""
    if window < 1:
        raise ValueError(f"window={window} must be at least 1")
    reaches = torch.randint(1, window + 1, (len(sentence),), generator=generator).tolist()
    for i, reach in enumerate(reaches):
        for j in range(max(0, i - reach), min(len(sentence), i + reach + 1)):
            if j != i:
                yield sentence[i], sentence[j]


def draw_negatives(
    counts: Float[Tensor, " vocab"],
    positives: Int[Tensor, " pair"],
    n_negatives: int,
    *,
    power: float = 0.75,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "pair negative"]:
    """Words drawn by count^power, redrawn until none of them is the pair's own positive.

    Raises ValueError if there is no other word to draw.
    """
    weights = counts.double() ** power
    if int((weights > 0).sum()) < 2:
        raise ValueError("negative sampling needs at least two words with a count above zero")
    drawn = torch.multinomial(weights, len(positives) * n_negatives, replacement=True, generator=generator)
    drawn = drawn.view(len(positives), n_negatives)
    while (clash := drawn == positives[:, None]).any():
        drawn[clash] = torch.multinomial(weights, int(clash.sum()), replacement=True, generator=generator)
    return drawn


# ── evaluation ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How well cosine orders word pairs as people do."""

    spearman: float
    """Rank correlation, −1 … 1, over the pairs whose words are both known."""
    n_pairs: int
    n_unknown: int
    """Pairs left out because a word has no vector."""


def nearest(
    vectors: Float[Tensor, "vocab latent"], query: Float[Tensor, " latent"], n: int, exclude: Iterable[int] = ()
) -> list[tuple[int, float]]:
    """The `n` words of greatest cosine with `query`, as (index, cosine), without those in `exclude`."""
    cosine = F.normalize(vectors, dim=-1) @ F.normalize(query, dim=0)
    excluded = list(set(exclude))
    cosine[excluded] = -math.inf
    top = cosine.topk(min(n, len(vectors) - len(excluded)))
    return list(zip(top.indices.tolist(), top.values.tolist(), strict=True))


def evaluate_similarity(
    vectors: Float[Tensor, "vocab latent"], index: Mapping[str, int], pairs: Iterable[tuple[str, str, float]]
) -> Similarity:
    """Spearman correlation between people's scores (WordSim-353, SimLex-999) and cosines.

    Raises ValueError when fewer than two pairs have both words.
    """
    from scipy.stats import spearmanr

    unit, human, ours, unknown = F.normalize(vectors, dim=-1), [], [], 0
    for a, b, score in pairs:
        if a in index and b in index:
            human.append(score)
            ours.append((unit[index[a]] @ unit[index[b]]).item())
        else:
            unknown += 1
    if len(human) < 2:
        raise ValueError(f"only {len(human)} pairs have both words ({unknown} have not): too few for a correlation")
    correlation: Any = spearmanr(human, ours)  # scipy's stubs do not know the result's fields
    return Similarity(spearman=float(correlation.statistic), n_pairs=len(human), n_unknown=unknown)


def evaluate_analogies(
    vectors: Float[Tensor, "vocab latent"], index: Mapping[str, int], questions: Iterable[tuple[str, str, str, str]]
) -> tuple[float, int]:
    """Share of "a is to b as c is to ?" answered right by b − a + c (a, b, c excluded), and how many were asked.

    Questions with an unknown word are not asked; (nan, 0) when none is left.
    """
    unit, right, asked = F.normalize(vectors, dim=-1), 0, 0
    for a, b, c, d in questions:
        if all(word in index for word in (a, b, c, d)):
            i, j, k = index[a], index[b], index[c]
            right += nearest(unit, unit[j] - unit[i] + unit[k], 1, exclude=(i, j, k))[0][0] == index[d]
            asked += 1
    return (right / asked if asked else math.nan), asked


def train_gensim(sentences: Iterable[Sequence[str]], *, skip_gram: bool = True, d_latent: int = 100, **options):
    """The same two models by gensim, in C, for corpora of millions of words; returns its `KeyedVectors`.

    Raises ImportError with the way out when gensim is not installed (Colab has none).
    """
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ImportError("training on real corpora uses gensim, which is missing: pip install gensim") from error
    return Word2Vec(list(sentences), sg=int(skip_gram), vector_size=d_latent, **options).wv
