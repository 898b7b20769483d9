"""Scoring: how good a model's texts are, over a whole corpus, with an interval (chapters 11 and 12).

    bleu, chrf          the model's texts against people's, by sacreBLEU; its signature says how they were counted
    perplexity          how surprised the model is by people's texts: e to the mean of −log p over their tokens
    by_length           a figure for short, middling and long sources apart
    compare             is one system better than another on the same sources, or was it luck?

One sentence's BLEU says nothing, so it is refused; corpora only. An interval is the middle 95 % of the figure
over corpora drawn, with replacement, from the sentences at hand (the bootstrap): how much the choice of test
sentences matters. It says nothing about another training run, and it takes sentences for independent.

Sources: Papineni et al. (2002), aclanthology P02-1040 (BLEU); Post (2018), arXiv:1804.08771v2 (sacreBLEU);
Popović (2015), aclanthology W15-3049 (chrF); Koehn (2004), aclanthology W04-3250 (bootstrap, also paired).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_decoded.data.tokenization import BOS, EOS, PAD

N_BOOTSTRAP, SEED = 1000, 12345  # sacreBLEU's own
References = Sequence[str] | Sequence[Sequence[str]]
Figure = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Score:
    """A figure over a corpus."""

    value: float
    low: float | None
    """The interval's ends, 95 %; None where no bootstrap was asked for."""
    high: float | None
    signature: str
    """How it was counted, so that it can be counted again."""
    n: int
    """Sentences."""

    def as_dict(self) -> dict[str, Any]:
        """For a card: plain numbers and text."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """How much higher a system scores than another on the same sources."""

    value: float
    low: float
    """The interval's ends, 95 %. With 0 outside it, the sign of the difference is hardly luck."""
    high: float
    p: float
    """How often chance alone would make so large a difference, in either direction: sacreBLEU's paired-bs, but 1
    where there is no difference at all."""
    signature: str
    n: int

    def as_dict(self) -> dict[str, Any]:
        """For a card: plain numbers and text."""
        return asdict(self)


@dataclass(frozen=True)
class Bucket:
    """The sources of `shortest` to `longest` tokens (None: no limit)."""

    shortest: int
    longest: int | None
    n: int
    score: Score | None
    """None where fewer than two sources are so long."""

    @property
    def label(self) -> str:
        """For an axis: 6–10, or 21+."""
        return f"{self.shortest}+" if self.longest is None else f"{self.shortest}–{self.longest}"


# ── against people's texts ──────────────────────────────────────────────────────────────────────


def bleu(
    texts: Sequence[str],
    references: References,
    *,
    tokenize: str = "13a",
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = SEED,
) -> Score:
    """Corpus BLEU, 0 to 100: how many of the texts' 1- to 4-grams stand in the references.

    `references` is one text a source, or a list of one or more for each (multi-reference BLEU, which is higher
    and must not be compared with the other; the signature tells them apart by nrefs). `tokenize` is one of
    sacreBLEU's; Chinese texts need "zh". `n_bootstrap=0` leaves out the interval.

    Raises ValueError for fewer than two texts, numbers that do not agree and empty references; ImportError
    with the way out where sacrebleu is not installed.
    """
    return _score(_sacrebleu().BLEU(tokenize=tokenize), texts, references, n_bootstrap, seed)


def chrf(texts: Sequence[str], references: References, *, n_bootstrap: int = N_BOOTSTRAP, seed: int = SEED) -> Score:
    """Corpus chrF2, 0 to 100: the same idea for 1- to 6-grams of characters. Arguments and errors as in `bleu`."""
    return _score(_sacrebleu().CHRF(), texts, references, n_bootstrap, seed)


def by_length(
    metric: Callable[..., Score],
    texts: Sequence[str],
    references: References,
    lengths: Sequence[int],
    *,
    edges: Sequence[int] = (5, 10, 15, 20),
    **options: Any,
) -> list[Bucket]:
    """`metric` (`bleu` or `chrf`) for sources of up to edges[0] tokens, up to edges[1], …, and the longer ones.

    `lengths` are the sources' in whatever the caller counts; `options` go to the metric.
    """
    if not len(lengths) == len(texts) == len(references):
        raise ValueError(f"{len(lengths)} lengths, {len(texts)} texts and {len(references)} references: give one each")
    if not edges or list(edges) != sorted(set(edges)) or edges[0] < 1:
        raise ValueError(f"edges={tuple(edges)} must rise, from 1 or more")
    if min(lengths, default=1) < 1:
        raise ValueError(f"a source has length {min(lengths)}: lengths start at 1")
    buckets = []
    for below, longest in zip([0, *edges], [*edges, None], strict=True):
        rows = [i for i, n in enumerate(lengths) if below < n and (longest is None or n <= longest)]
        score = None
        if len(rows) > 1:
            score = metric([texts[i] for i in rows], [references[i] for i in rows], **options)
        buckets.append(Bucket(below + 1, longest, len(rows), score))
    return buckets


def compare(
    texts: Sequence[str],
    baseline: Sequence[str],
    references: References,
    *,
    metric: str = "bleu",
    tokenize: str = "13a",
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = SEED,
) -> Difference:
    """By how much `texts` score above the `baseline`'s: both are drawn together (paired bootstrap).

    `metric` is "bleu" or "chrf". Errors as in `bleu`.
    """
    if metric not in ("bleu", "chrf"):
        raise ValueError(f"metric={metric!r} is neither 'bleu' nor 'chrf'")
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap={n_bootstrap} must be at least 1: the comparison is made of it")
    library = _sacrebleu()
    counter = library.BLEU(tokenize=tokenize) if metric == "bleu" else library.CHRF()
    both = [_statistics(counter, system, references) for system in (texts, baseline)]
    figure = _figure(counter)
    value = figure(both[0].sum(0)) - figure(both[1].sum(0))
    drawn = np.array([figure(a) - figure(b) for a, b in zip(*(_draw(x, n_bootstrap, seed) for x in both), strict=True)])
    by_chance = np.abs(drawn) - np.abs(drawn).mean()
    p = 1.0 if value == 0 else (int((by_chance > abs(value)).sum()) + 1) / (n_bootstrap + 1)
    return Difference(value, *_middle(drawn), p, _signature(counter, n_bootstrap, seed), len(texts))


def _sacrebleu() -> Any:
    """sacreBLEU's metrics, imported when a figure is asked for: Colab does not have it."""
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise ImportError("BLEU and chrF are counted by sacreBLEU, which is missing: pip install sacrebleu") from error
    return sacrebleu.metrics


def _score(counter: Any, texts: Sequence[str], references: References, n_bootstrap: int, seed: int) -> Score:
    statistics, figure = _statistics(counter, texts, references), _figure(counter)
    low, high = _interval(statistics, figure, n_bootstrap, seed)
    return Score(figure(statistics.sum(0)), low, high, _signature(counter, n_bootstrap, seed), len(texts))


def _statistics(counter: Any, texts: Sequence[str], references: References) -> np.ndarray:
    """What is counted in each sentence, [sentence, count]; a corpus's figure depends on the sums alone."""
    if len(texts) < 2:
        raise ValueError(f"{len(texts)} text: BLEU and chrF are figures of a corpus. One sentence's says nothing")
    if len(texts) != len(references):
        raise ValueError(f"{len(texts)} texts, but references for {len(references)}: give one, or a list, for each")
    sets = [[given] if isinstance(given, str) else list(given) for given in references]
    if empty := [i for i, given in enumerate(sets) if not given or not all(text.strip() for text in given)]:
        raise ValueError(f"references {empty[:10]} (counted from 0) are empty: there is nothing to compare with")
    if strange := [i for i, text in enumerate(texts) if not isinstance(text, str)]:
        raise ValueError(f"texts {strange[:10]} are not text but {type(texts[strange[0]]).__name__}: decode them first")
    most = max(map(len, sets))
    columns = [[given[k] if k < len(given) else None for given in sets] for k in range(most)]
    return np.array(counter._extract_corpus_statistics(list(texts), columns), dtype=np.int64)


def _figure(counter: Any) -> Figure:
    return lambda sums: float(counter._compute_score_from_stats(sums.tolist()).score)


def _signature(counter: Any, n_bootstrap: int, seed: int) -> str:
    signature = counter.get_signature()
    if n_bootstrap:
        signature.update("bs", n_bootstrap)
        signature.update("seed", seed)
    return f"{type(counter).__name__}|{signature.format()}"


# ── against people's tokens ─────────────────────────────────────────────────────────────────────


def perplexity(
    model: nn.Module,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_tokens: int = 2048,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = SEED,
    device: torch.device | str = "cpu",
) -> Score:
    """A translator's perplexity per target token, EOS included, the true tokens given so far (teacher forcing).

    `pairs` are ids without special tokens. It depends on the tokenizer: compare models of one tokenizer only.
    A batch holds up to `batch_tokens` target tokens, padding counted.

    Raises ValueError for no pairs, an empty source and a model in training mode.
    """
    if empty := [i for i, (source, _) in enumerate(pairs) if not len(source)]:
        raise ValueError(f"the sources of pairs {empty[:10]} (counted from 0) are empty: there is nothing to read")

    def logits(rows: list[int], target_in: Tensor) -> Tensor:
        return model(_pad([[*pairs[i][0], EOS] for i in rows]).to(device), target_in)

    return _perplexity(model, logits, [target for _, target in pairs], batch_tokens, n_bootstrap, seed, device)


def text_perplexity(
    model: nn.Module,
    texts: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 2048,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = SEED,
    device: torch.device | str = "cpu",
) -> Score:
    """The same for a model that continues texts (a decoder alone): it reads BOS first, and EOS counts."""
    return _perplexity(model, lambda _, target_in: model(target_in), texts, batch_tokens, n_bootstrap, seed, device)


@torch.no_grad()
def _perplexity(
    model: nn.Module,
    logits: Callable[[list[int], Tensor], Tensor],
    targets: Sequence[Sequence[int]],
    batch_tokens: int,
    n_bootstrap: int,
    seed: int,
    device: torch.device | str,
) -> Score:
    if not targets:
        raise ValueError("no texts: there is no perplexity of nothing")
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens={batch_tokens} must be at least 1")
    if model.training:
        raise ValueError("the model is in training mode, and dropout would raise its perplexity: call model.eval()")
    surprise = np.zeros((len(targets), 2))  # −log p of each text, and its tokens
    waiting = sorted(range(len(targets)), key=lambda i: -len(targets[i]))
    while waiting:
        n = max(1, batch_tokens // (len(targets[waiting[0]]) + 1))
        rows, waiting = waiting[:n], waiting[n:]
        target_in = _pad([[BOS, *targets[i]] for i in rows]).to(device)
        target_out = _pad([[*targets[i], EOS] for i in rows]).to(device)
        losses = F.cross_entropy(
            logits(rows, target_in).float().flatten(0, 1), target_out.flatten(), ignore_index=PAD, reduction="none"
        ).view_as(target_out)
        surprise[rows, 0] = losses.double().sum(1).cpu().numpy()
        surprise[rows, 1] = (target_out != PAD).sum(1).cpu().numpy()

    def figure(sums: np.ndarray) -> float:
        return math.exp(min(sums[0] / sums[1], 700.0))  # 10³⁰⁴ is bad enough, and a number

    low, high = _interval(surprise, figure, n_bootstrap, seed)
    drawn = f"|bs:{n_bootstrap}|seed:{seed}" if n_bootstrap else ""
    signature = f"perplexity|per:token|eos:yes|tokens:{int(surprise[:, 1].sum())}{drawn}"
    return Score(figure(surprise.sum(0)), low, high, signature, len(targets))


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


# ── the bootstrap ───────────────────────────────────────────────────────────────────────────────


def _interval(statistics: np.ndarray, figure: Figure, n_bootstrap: int, seed: int) -> tuple[float | None, float | None]:
    if n_bootstrap < 0:
        raise ValueError(f"n_bootstrap={n_bootstrap} must not be negative; 0 leaves out the interval")
    if n_bootstrap == 0:
        return None, None
    return _middle(np.array([figure(sums) for sums in _draw(statistics, n_bootstrap, seed)]))


def _draw(statistics: np.ndarray, n_bootstrap: int, seed: int) -> np.ndarray:
    """The sums of `n_bootstrap` corpora of as many sentences, drawn with replacement as sacreBLEU draws them."""
    generator = np.random.default_rng(seed)
    n = len(statistics)
    return np.stack([statistics[generator.choice(n, size=n)].sum(0) for _ in range(n_bootstrap)])


def _middle(figures: np.ndarray) -> tuple[float, float]:
    """What is left between the lowest and the highest fortieth."""
    ordered, cut = np.sort(figures), len(figures) // 40
    return float(ordered[cut]), float(ordered[-cut - 1])
