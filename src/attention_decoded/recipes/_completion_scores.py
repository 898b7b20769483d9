"""How good completions are: perplexity behind the cut, words guessed, keys saved; and what counting words achieves.

The figures are defined at the head of `recipes/completer.py`. Sentences are marked (`mark`) wherever they come in.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from attention_decoded.data.tokenization import BOS, EOS, PAD, SPACE_MARK
from attention_decoded.recipes._completion import (
    Completer,
    Cut,
    Ids,
    collate_decoder_only,
    collate_encoder_decoder,
    draw_cuts,
    lengths,
    pieces_of,
    places,
    suggest,
)
from attention_decoded.scoring import N_BOOTSTRAP, SEED, Score
from attention_decoded.training import seed_of

N_CUTS = 4
"""Places at which each sentence is cut to measure the perplexity."""
Suggest = Callable[[Sequence[str]], Sequence[str]]

# ── measuring ───────────────────────────────────────────────────────────────────────────────────


def interval(
    name: str,
    totals: Sequence[int | float],
    counts: Sequence[int | float],
    figure: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> dict[str, Any]:
    """A ratio of sums over sentences, turned into a figure, and its 95 % interval by bootstrap of sentences."""
    sums = np.stack([totals, counts]).astype(float)
    n = sums.shape[1]
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)
    above, below = sums @ drawn.T
    low, high = np.percentile(figure(above / np.maximum(below, 1)), [2.5, 97.5])
    value = float(figure(sums[0].sum() / sums[1].sum()))
    signature = f"{name}:{int(sums[1].sum())}|bs:{N_BOOTSTRAP}|seed:{SEED}"
    value, low, high = (round(float(x), 4) for x in (value, low, high))
    return Score(value, low, high, signature, n).as_dict()


@torch.no_grad()
def cross_entropies(completer: Completer, cuts: Sequence[Cut]) -> list[float]:
    """In nats, summed over the tokens behind each cut and EOS."""
    results: dict[int, float] = {}
    order = sorted(range(len(cuts)), key=lambda i: lengths(cuts[i], completer.kind))
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        batch = [cuts[i] for i in rows]
        if completer.kind == "encoder-decoder":
            *inputs, targets = collate_encoder_decoder(batch)
        else:
            *inputs, targets = collate_decoder_only(batch, learn_before=False)
        inputs, targets = [x.to(completer.device) for x in inputs], targets.to(completer.device)
        log_probs = completer.model(*inputs).log_softmax(-1).gather(2, targets[..., None])[..., 0]
        losses = -(log_probs * (targets != PAD)).sum(1).double()
        results.update(zip(rows, losses.tolist(), strict=True))
    return [results[i] for i in range(len(cuts))]


def test_cuts(sentences: Sequence[str], ids: Ids, inside: float) -> list[list[Cut]]:
    """The cuts at which perplexity is measured: `N_CUTS` a sentence, always the same."""
    drawn = [draw_cuts(sentences, ids, inside, seed_of("measure", n)) for n in range(N_CUTS)]
    return [list(cuts) for cuts in zip(*drawn, strict=True)]


def perplexity(losses: Callable[[Sequence[Cut]], Sequence[float]], cuts: Sequence[Sequence[Cut]]) -> dict[str, Any]:
    """e to the mean cross-entropy over all tokens behind the cuts; sentences are what the bootstrap draws."""
    each = iter(losses([cut for group in cuts for cut in group]))
    totals = [sum(next(each) for _ in group) for group in cuts]
    return interval("perplexity|tokens", totals, [sum(len(cut.rest) + 1 for cut in group) for group in cuts], np.exp)


def next_word(suggest: Suggest, sentences: Sequence[str]) -> dict[str, Any]:
    """How many words are guessed from those before them and the space behind those."""
    prompts, truth, rows = [], [], []
    for row, marked in enumerate(sentences):
        place = 0
        for piece in pieces_of(marked):
            if re.match(f"{SPACE_MARK}[A-Za-zÀ-ɏ]", piece):
                prompts.append(marked[: place + 1])
                truth.append(piece[1:])
                rows.append(row)
            place += len(piece)
    right, n = np.zeros(len(sentences)), np.zeros(len(sentences))
    for row, guess, word in zip(rows, suggest(prompts), truth, strict=True):
        right[row] += guess == word
        n[row] += 1
    return interval("next_word|words", right.tolist(), n.tolist())


def keystrokes_saved(suggest: Suggest, sentences: Sequence[str]) -> dict[str, Any]:
    """The share of keys that nobody has to press, by the rules at the head of `recipes/completer.py`."""
    at, keys = [1] * len(sentences), [0] * len(sentences)  # the ▁ in front is nobody's key
    edges = [set(places(marked)[0]) for marked in sentences]
    waiting = [row for row, marked in enumerate(sentences) if len(marked) > 1]
    while waiting:
        guesses = suggest([sentences[row][: at[row]] for row in waiting])
        for row, guess in zip(waiting, guesses, strict=True):
            keys[row] += 1
            end = at[row] + len(guess)
            taken = guess and sentences[row].startswith(guess, at[row]) and end in edges[row]
            at[row] = end if taken else at[row] + 1
        waiting = [row for row in waiting if at[row] < len(sentences[row])]
    n = [len(marked) - 1 for marked in sentences]
    return interval("keystrokes_saved|characters", keys, n, lambda share: 1 - share)


def measure(completer: Completer, sentences: Sequence[str], inside: float) -> dict[str, Any]:
    """The three figures of a model on marked sentences."""
    return {
        "perplexity": perplexity(partial(cross_entropies, completer), test_cuts(sentences, completer.ids, inside)),
        "next_word": next_word(partial(suggest, completer), sentences),
        "keystrokes_saved": keystrokes_saved(partial(suggest, completer), sentences),
    }


# ── baselines ───────────────────────────────────────────────────────────────────────────────────


class NGrams:
    """Counts of tokens and of neighbours: p(b | a) = λ count(ab)/count(a) + (1 − λ) (count(b) + 1)/(n + n_vocab)."""

    def __init__(self, cuts: Sequence[Cut], n_vocab: int):
        self.pairs: Counter[tuple[int, int]] = Counter()
        for start in range(0, len(cuts), 1024):
            ids, targets = collate_decoder_only(cuts[start : start + 1024])
            self.pairs.update(zip(ids[targets != PAD].tolist(), targets[targets != PAD].tolist(), strict=True))
        self.before: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()
        for (a, b), count in self.pairs.items():
            self.before[a] += count
            self.tokens[b] += count
        self.n, self.n_vocab = self.tokens.total(), n_vocab

    def cross_entropies(self, cuts: Sequence[Cut], *, share: float) -> list[float]:
        """As the models' own; `share` is λ, 0 for unigrams alone."""
        losses = []
        for cut in cuts:
            tokens = [*cut.rest, EOS]
            contexts = [([BOS, *cut.before, *cut.fragment])[-1], *cut.rest]
            loss = 0.0
            for a, b in zip(contexts, tokens, strict=True):
                pair = self.pairs[a, b] / self.before[a] if self.before[a] else 0.0
                loss -= math.log(share * pair + (1 - share) * (self.tokens[b] + 1) / (self.n + self.n_vocab))
            losses.append(loss)
        return losses

    def best_share(self, cuts: Sequence[Sequence[Cut]]) -> float:
        """The λ of lowest perplexity on these cuts."""
        flat = [cut for group in cuts for cut in group]
        return min((n / 10 for n in range(1, 10)), key=lambda share: sum(self.cross_entropies(flat, share=share)))


class FrequentWords:
    """Suggestions without a model: of the words that begin as typed, the commonest behind the word before it.

    Where none of them has ever stood behind that word, the commonest of all.
    """

    def __init__(self, sentences: Sequence[str]):
        self._counts: dict[str | None, Counter[str]] = {None: Counter()}
        self._known: dict[tuple[str | None, str], str] = {}
        for marked in sentences:
            last = ""
            for piece in [*pieces_of(marked), ""]:
                self._counts.setdefault(last, Counter())[piece] += 1
                self._counts[None][piece] += 1
                last = piece

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """As `suggest`. Typed letters may be a whole word: if that is commoner than all that it could become, the
        next word is suggested."""
        return [self._one(marked) for marked in prompts]

    def _one(self, marked: str) -> str:
        *before, half = pieces_of(marked)
        word = self._best(before[-1] if before else "", half)
        return self._best(half, "") if word == half else word[len(half) :]

    def _best(self, last: str | None, half: str) -> str:
        """The commonest piece that begins with `half` behind the piece `last` (None: anywhere); "" is the end."""
        if (last, half) not in self._known:
            fitting = {piece: n for piece, n in self._counts.get(last, {}).items() if piece.startswith(half)}
            if fitting:
                self._known[last, half] = min(fitting, key=lambda piece: (-fitting[piece], piece))
            else:
                self._known[last, half] = "" if last is None else self._best(None, half)
        return self._known[last, half]


def baselines(
    train: Sequence[str], validation: Sequence[str], test: Sequence[str], ids: Ids, n_vocab: int, inside: float
) -> dict[str, Any]:
    """The figures on the test sentences of counting tokens and words in the training sentences."""
    grams = NGrams([c for n in range(4) for c in draw_cuts(train, ids, inside, seed_of("counts", n))], n_vocab)
    frequent = FrequentWords(train)
    share = grams.best_share(test_cuts(validation, ids, inside))
    cuts = test_cuts(test, ids, inside)
    return {
        "unigram": {"perplexity": perplexity(partial(grams.cross_entropies, share=0.0), cuts)},
        "bigram": {"perplexity": perplexity(partial(grams.cross_entropies, share=share), cuts), "lambda": share},
        "frequent_words": {
            "next_word": next_word(frequent, test),
            "keystrokes_saved": keystrokes_saved(frequent, test),
        },
    }
