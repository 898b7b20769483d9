"""Measure a shipped checkpoint again, by its own recipe's own measure, and hold the figures against its card."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attention_decoded.checkpoints import load_checkpoint
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.sources import TATOEBA
from attention_decoded.files import sha256


class CannotMeasureError(RuntimeError):
    """There is no measure for this checkpoint, or its test sentences are not at hand."""


@dataclass(frozen=True)
class Figure:
    """One measured number beside the card's."""

    name: str
    value: int | float
    low: int | float | None
    high: int | float | None
    signature: str
    card: int | float | None
    """None where the card has no such figure."""

    @property
    def verdict(self) -> str:
        """ "equal" to a thousandth of itself; else whether the card's figure lies in the interval."""
        if self.card is None:
            return "not in the card"
        if math.isclose(self.value, self.card, rel_tol=1e-3, abs_tol=1e-4):
            return "equal"
        if self.low is not None and self.high is not None and self.low <= self.card <= self.high:
            return "within the interval"
        return "DIFFERS"


def remeasure(folder: Path | str, pairs: Path | None = None) -> tuple[dict[str, Any], list[Figure]]:
    """The card of a checkpoint, and every figure of its test results, measured now.

    `pairs` is the file that a checkpoint was trained on where that is not the book's own data.
    Raises CheckpointError, CannotMeasureError.
    """
    card = load_checkpoint(folder).card
    recipe = recipe_of(card)
    if recipe not in MEASURES:
        raise CannotMeasureError(f"{folder}: there is no measure for recipe {recipe!r}; for: {', '.join(MEASURES)}")
    if recipe in ON_PAIRS:
        _check_data(card, pairs)
    part, measure = MEASURES[recipe]
    measured = measure(folder, pairs)
    known = card.get("results", {}).get(part, {})
    return card, list(_figures(measured, known))


def recipe_of(card: Mapping[str, Any]) -> str:
    """The recipe's module, from the command that the card states."""
    words = str(card.get("recipe", "")).partition("attention_decoded.recipes.")[2].split()
    return words[0] if words else ""


def _check_data(card: Mapping[str, Any], pairs: Path | None) -> None:
    if pairs is not None and not pairs.is_file():
        raise CannotMeasureError(f"{pairs}: no such file")
    wanted, title = card["data"].get("sha256"), card["data"].get("title", "unknown data")
    found = TATOEBA.sha256 if pairs is None else sha256(pairs.read_bytes())
    if wanted != found:
        given = "the book's own pairs are" if pairs is None else f"{pairs} is"
        raise CannotMeasureError(
            f"this checkpoint was trained on {title!r}, and {given} not that: sentences it was trained on could be"
            " among the test sentences. Give the file with --pairs"
        )


def _figures(measured: Mapping[str, Any], card: Mapping[str, Any], above: str = "") -> Iterator[Figure]:
    """The numbers in nested results, named by their path."""
    for key, found in measured.items():
        name, known = f"{above}{key}", card.get(key) if isinstance(card, Mapping) else None
        if isinstance(found, Mapping) and "value" in found:
            expected = known.get("value") if isinstance(known, Mapping) else None
            yield Figure(name, found["value"], found["low"], found["high"], found["signature"], expected)
        elif isinstance(found, Mapping):
            yield from _figures(found, known if isinstance(known, Mapping) else {}, f"{name} ")
        elif isinstance(found, int | float):
            yield Figure(name, found, None, None, "", known if isinstance(known, int | float) else None)


# ── each recipe's measure; what it imports is imported when it is asked for ─────────────────────


def _translators(folder: Path | str, pairs: Path | None) -> dict[str, Any]:
    from attention_decoded.decoding import beam_search, greedy
    from attention_decoded.recipes.translator import measure

    model, source, target, card = load_translator(folder)
    results, test = card["results"], load_splits(pairs).test
    names = list(results.get("test", {})) or ["greedy"]
    searches: dict[str, Callable] = {
        name: greedy
        if name == "greedy"
        else partial(beam_search, beam=int(name.removeprefix("beam_")), alpha=results["alpha"])
        for name in names
    }
    return {name: measure(model, source, target, test, search) for name, search in searches.items()}


def load_translator(folder: Path | str) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Model, source tokenizer, target tokenizer and card of a translator of either kind: Transformer or RNN."""
    from attention_decoded.recipes import rnn_translators, translator

    config = load_checkpoint(folder).config
    return (rnn_translators if "attention" in config else translator).load(folder)


def _masked_lm(folder: Path | str, pairs: Path | None) -> dict[str, Any]:
    from attention_decoded.data.tokenization import encode
    from attention_decoded.recipes import masked_lm

    model, tokenizer, _ = masked_lm.load(folder)
    sentences = encode(tokenizer, sorted({pair.zh for pair in load_splits(pairs).test}))
    return masked_lm.evaluate(model, [ids for ids in sentences if 1 < len(ids) <= model.config.max_len])


def _digits(folder: Path | str, _pairs: Path | None) -> dict[str, Any]:
    from attention_decoded.data.digits import load_digits
    from attention_decoded.recipes import digits

    model, _ = digits.load(folder)
    splits = load_digits()
    with digits.one_thread():
        return digits.evaluate(model, splits, splits.test)


def _word_vectors(folder: Path | str, _pairs: Path | None) -> dict[str, Any]:
    from attention_decoded.recipes import word_vectors

    words, vectors, _ = word_vectors.load(folder)
    return word_vectors.figures(vectors, words)


def _completers(folder: Path | str, pairs: Path | None) -> dict[str, Any]:
    from attention_decoded.recipes import completer

    return completer.score(folder, pairs)


ON_PAIRS = {"translator", "rnn_translators", "masked_lm", "completer"}
MEASURES: dict[str, tuple[str, Callable[[Path | str, Path | None], dict[str, Any]]]] = {
    "completer": ("test", _completers),
    "digits": ("test", _digits),
    "masked_lm": ("test", _masked_lm),
    "rnn_translators": ("test", _translators),
    "translator": ("test", _translators),
    "word_vectors": ("shipped", _word_vectors),
}
"""Recipe → where in the card's results its figures stand, and how they are measured."""
