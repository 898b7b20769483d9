"""The mirror's searches against Python's: the same texts, the same scores, on models that have learned something."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mirror import agree, javascript
from test_js_models import BUILDERS, WRITERS, logits_of
from torch import nn

from attention_decoded.checkpoints import SHIPPED, load_checkpoint, load_model, save_checkpoint
from attention_decoded.data.pairs import Pair, load_splits
from attention_decoded.data.tokenization import BOS, EOS, MASK, encode, load_tokenizer
from attention_decoded.decoding import Hypothesis, batched, beam_search, greedy, pad, reshape

Learned = Callable[[str], tuple[nn.Module, dict[str, str]]]
KINDS = ["transformer sinusoidal", "decoder only rotary", "rnn attention", "rnn"]
N_SENTENCES = 200


def sources(name: str, n: int, seed: int = 1) -> list[list[int]]:
    """Sentences to be written backwards; for a decoder-only model with a sign behind them."""
    draw = random.Random(seed)
    rows = [[draw.randrange(5, 31) for _ in range(draw.randrange(1, 8))] for _ in range(n)]
    return [[*row, MASK] if name.startswith("decoder only") else row for row in rows]


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Learned:
    """Models that have half learned to write a sentence backwards: untrained ones repeat one token for ever."""
    folder = tmp_path_factory.mktemp("learned")

    def get(name: str) -> tuple[nn.Module, dict[str, str]]:
        kind, config = WRITERS[name]
        path = folder / name.replace(" ", "-")
        if not path.is_dir():
            torch.manual_seed(5)
            model = BUILDERS[kind](config)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
            for step in range(90):
                rows = sources(name, 32, seed=100 + step)
                backwards = [[*reversed([i for i in row if i != MASK]), EOS] for row in rows]
                if kind == "DecoderOnly":
                    out = pad([[*row[1:], *back] for row, back in zip(rows, backwards, strict=True)])
                    logits = model(pad([[*row, *back[:-1]] for row, back in zip(rows, backwards, strict=True)]))
                else:
                    out = pad(backwards)
                    logits = model(pad(rows), pad([[BOS, *back[:-1]] for back in backwards]))
                loss = F.cross_entropy(logits.flatten(0, 1), out.flatten(), ignore_index=0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            save_checkpoint(path, model.state_dict(), config, {})
        model, _ = load_model(path, BUILDERS[kind])
        return model, {"kind": kind, "file": str(path / "model.safetensors")}

    return get


def in_javascript(options: dict[str, Any]) -> dict[str, Any]:
    """The options in the mirror's spelling: n_best is nBest."""
    return {re.sub("_(.)", lambda match: match[1].upper(), name): value for name, value in options.items()}


def written(where: dict[str, str], rows: list[list[int]], search: str, runs: list[dict]) -> list[list[list[dict]]]:
    """The mirror's texts: for every set of options, for every source, the best."""
    return javascript("write", sources=rows, search=search, runs=[in_javascript(options) for options in runs], **where)


def same_texts(found: list[list[dict]], expected: list[list[Hypothesis]]) -> None:
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert [text["ids"] for text in a] == [text.ids for text in b], i
        for mine, python in zip(a, b, strict=True):
            assert mine["finished"] == python.finished
            assert mine["score"] == pytest.approx(python.score, abs=1e-4)
            assert mine["logProb"] == pytest.approx(python.log_prob, abs=1e-4 * len(python.ids))
            assert mine["logProbs"] == pytest.approx(python.log_probs, abs=1e-4)
            assert [[x["id"] for x in step] for step in mine["alternatives"]] == [
                [id_ for id_, _ in step] for step in python.alternatives
            ]


def python_texts(model: Any, rows: list[list[int]], search: str, given: dict[str, Any]) -> list[list[Hypothesis]]:
    """Python's texts: for every source, the best."""

    def run(source: torch.Tensor) -> list[list[Hypothesis]]:
        options = dict(given)
        if "prefix" in options:
            options["prefix"] = torch.tensor([options["prefix"]] * len(source))
        if search == "beam":
            return beam_search(model, source, **options)
        return [[text] for text in greedy(model, source, **options)]

    return batched(run, rows, left="bos" in given)


def end(name: str) -> dict[str, Any]:
    """A decoder-only model continues its prompt; the others begin with BOS."""
    return {"max_len": 11, **({"bos": None} if name.startswith("decoder only") else {})}


@pytest.mark.parametrize("name", KINDS)
def test_greedy_texts_are_python_s(name: str, learned: Learned) -> None:
    model, where = learned(name)
    rows = sources(name, N_SENTENCES)
    options = {**end(name), "n_alternatives": 3}
    expected = python_texts(model, rows, "greedy", options)
    same_texts(written(where, rows, "greedy", [options])[0], expected)
    assert len({tuple(text.ids) for [text] in expected}) > N_SENTENCES / 4, "the texts hardly differ from one another"
    assert sum(text.finished for [text] in expected) > N_SENTENCES / 4


SEARCHES: dict[str, dict[str, Any]] = {
    "plain": {"beam": 5, "n_best": 5},
    "one": {"beam": 1, "n_alternatives": 2},
    "no penalty": {"beam": 3, "n_best": 2, "alpha": 0.0, "n_alternatives": 4},
    "strong penalty": {"beam": 4, "n_best": 4, "alpha": 1.7},
    "gnmt": {"beam": 3, "n_best": 3, "penalty": "gnmt", "alpha": 0.6},
    "proved": {"beam": 3, "n_best": 1, "stop": "proved"},
    "first": {"beam": 4, "n_best": 4, "stop": "first"},
    "prefix": {"beam": 3, "n_best": 3, "prefix": [7, 9]},
    "too short": {"beam": 3, "n_best": 3, "max_len": 2},
    "all allowed": {"beam": 2, "n_best": 2, "forbidden": []},
    "wider than the vocabulary": {"beam": 41, "n_best": 41, "max_len": 3},
}


@pytest.mark.parametrize("name", ["transformer sinusoidal", "decoder only rotary", "rnn attention"])
def test_beam_search_is_python_s(name: str, learned: Learned) -> None:
    model, where = learned(name)
    rows = sources(name, 10, seed=3)
    runs = {what: {**end(name), **options} for what, options in SEARCHES.items()}
    for (what, options), found in zip(runs.items(), written(where, rows, "beam", [*runs.values()]), strict=True):
        try:
            same_texts(found, python_texts(model, rows, "beam", options))
        except AssertionError as error:
            raise AssertionError(what) from error


def test_reshaped_probabilities_are_python_s() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [*(3 * torch.randn(6, 53, generator=generator)), torch.zeros(53), torch.tensor([1.0, 1.0, 0.0, 2.0, 1.0])]
    cuts: list[dict[str, Any]] = [
        *({"temperature": t} for t in (0.1, 1.0, 7.0)),
        *({"top_k": k} for k in (1, 2, 3, 1000)),
        *({"top_p": p} for p in (0.01, 0.5, 0.9, 0.999, 1.0)),
        {"temperature": 0.7, "top_k": 10, "top_p": 0.6},
        {"temperature": 2.0, "top_k": 2, "top_p": 0.5},
    ]
    cases = [(row, cut) for row in rows for cut in cuts]
    answers = javascript("reshape", cases=[{"logits": row.tolist(), **in_javascript(cut)} for row, cut in cases])
    for answer, (row, cut) in zip(answers, cases, strict=True):
        # In double precision: where tokens are equally likely, a sum of them reaches top_p or not by its last bit.
        agree(answer, reshape(row.double(), **cut).softmax(-1), str(cut), within=1e-6)


# ── the shipped checkpoints ─────────────────────────────────────────────────────────────────────

EXPECTED = {"translator", "completer", "completer-decoder-only"}
"""Checkpoints that write and must be there."""


def kind_of(folder: Path) -> str | None:
    """Which writer a checkpoint holds, by its tensors; None if it holds none."""
    names = load_checkpoint(folder).state.keys()
    if "encoder.weight_ih_l0" in names:
        return "RNNTranslator"
    if "target.weight" in names:
        return "Transformer"
    return (
        "DecoderOnly"
        if {"token.weight", "blocks.0.norm_attention.weight"} <= names and "position.weight" not in names
        else None
    )


SHIPPED_WRITERS = {
    path.parent.name: kind for path in sorted(SHIPPED.glob("*/card.json")) if (kind := kind_of(path.parent)) is not None
}


def test_the_writers_that_should_be_there_are() -> None:
    assert SHIPPED_WRITERS.keys() >= EXPECTED


@pytest.fixture(scope="module")
def held_out() -> list[Pair]:
    """Pairs of the test split, no sentence twice."""
    pairs = {pair.zh: pair for pair in load_splits().test}
    return list({pair.en: pair for pair in pairs.values()}.values())[:N_SENTENCES]


def to_be_read(name: str, pairs: list[Pair]) -> list[list[int]]:
    """What a shipped writer is given: sentences in its source language, or the first halves of English ones."""
    folder = SHIPPED / name
    if (folder / "source.tokenizer.json").is_file():
        return [[*ids, EOS] for ids in encode(load_tokenizer(folder / "source.tokenizer.json"), [p.zh for p in pairs])]
    halves = [
        ids[: 1 + len(ids) // 2] for ids in encode(load_tokenizer(folder / "tokenizer.json"), [p.en for p in pairs])
    ]
    return halves if SHIPPED_WRITERS[name] == "DecoderOnly" else [[*ids, EOS] for ids in halves]


@pytest.mark.parametrize("name", SHIPPED_WRITERS)
def test_what_a_shipped_model_writes_is_python_s(name: str, held_out: list[Pair]) -> None:
    kind = SHIPPED_WRITERS[name]
    model, _ = load_model(name, BUILDERS[kind])
    where = {"kind": kind, "file": str(SHIPPED / name / "model.safetensors")}
    rows = to_be_read(name, held_out)
    assert len(rows) == N_SENTENCES
    options = {"max_len": 40, **({"bos": None} if kind == "DecoderOnly" else {})}
    expected = python_texts(model, rows, "greedy", options)
    same_texts(written(where, rows, "greedy", [options])[0], expected)
    best = {**options, "beam": 5, "n_best": 5}
    same_texts(written(where, rows[:12], "beam", [best])[0], python_texts(model, rows[:12], "beam", best))
    cases = [
        {"source": None, "target": row} if kind == "DecoderOnly" else {"source": row, "target": [BOS, *text.ids[:-1]]}
        for row, [text] in zip(rows[:12], expected, strict=False)
    ]
    for case, answer in zip(cases, javascript("teacherForced", cases=cases, **where), strict=True):
        agree(answer["logits"], logits_of(model, case), "logits")
        agree(answer["stepwise"], torch.tensor(answer["logits"]), "stepwise")
