"""What the recipes share: the best weights belong to one run, and nothing takes a shipped model's place by mistake."""

import argparse
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from attention_decoded.recipes._runs import Best, check_options
from attention_decoded.training import TrainingSettings, train


def begin(work: Path, learning_rate: float = 0.1):
    """A run of a model of one number."""

    def loss(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        return (model(batch) ** 2).sum(), len(batch)

    settings = TrainingSettings(steps=9, learning_rate=learning_rate, batch_tokens=2)
    return train(nn.Linear(1, 1), lambda epoch: [[1.0]] * 4, torch.tensor, loss, settings, work=work)


def test_the_best_weights_are_those_of_this_run(tmp_path: Path) -> None:
    run, path = begin(tmp_path), tmp_path / "best.safetensors"
    best = Best(path, by="bleu", run=run)
    next(run)
    assert best.offer(run.model, {"bleu": 70.0})
    assert not best.offer(run.model, {"bleu": 60.0})
    run.save()
    assert Best(path, by="bleu", run=begin(tmp_path)).figures == {"bleu": 70.0}, "it goes on"
    (tmp_path / "state.safetensors").unlink()
    for fresh in (begin(tmp_path), begin(tmp_path, learning_rate=0.2)):
        best = Best(path, by="bleu", run=fresh)
        assert best.figures == {}, "it began anew: what was best before is not its own"
    next(fresh)
    assert best.offer(fresh.model, {"bleu": 1.0})
    fresh.save()
    (tmp_path / "state.safetensors").unlink()
    other = begin(tmp_path)
    next(other)
    assert Best(path, by="bleu", run=other).figures == {}, "it is of a run with another learning rate"


OPTIONS = {
    "alignment_series": (["--pairs", "x.tsv"], ["--minutes", "5"]),
    "completer": (["--pairs", "x.tsv"], ["--minutes", "5"], ["--epochs", "3"], ["--seed", "7"]),
    "digits": (["--epochs", "3"], ["--seed", "7"]),
    "knockouts": (["--pairs", "x.tsv"], ["--sentences", "9"]),
    "masked_lm": (["--pairs", "x.tsv"], ["--minutes", "5"], ["--epochs", "3"]),
    "translator": (["--pairs", "x.tsv"], ["--minutes", "5"], ["--epochs", "3"]),
    "word_vectors": (["--epochs", "3"], ["--d-latent", "9"], ["--method", "cbow"]),
}


@pytest.mark.parametrize(("name", "options"), [(name, each) for name, all_ in OPTIONS.items() for each in all_])
def test_only_the_whole_recipe_takes_the_place_of_what_is_shipped(
    name: str, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    recipe = importlib.import_module(f"attention_decoded.recipes.{name}")
    asked = []
    monkeypatch.setattr(recipe, "run", lambda *_, **given: asked.append(given["out"]) or {"kinds": {}})
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit, match="2"):
        recipe.main()
    assert not asked
    said = capsys.readouterr().err
    assert f"{options[0]}: the result is not the one that comes with the package" in said
    assert "--out PLACE" in said
    if name == "knockouts":
        return  # what it prints of a result needs a whole one
    monkeypatch.setattr(sys, "argv", [name, *options, "--out", str(tmp_path / "mine")])
    recipe.main()
    assert asked
    assert all(tmp_path / "mine" in (out, *out.parents) for out in asked)


@pytest.mark.parametrize("option", ["--epochs", "--minutes"])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_an_end_that_is_none_is_refused(option: str, value: str, capsys: pytest.CaptureFixture) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--out")
    with pytest.raises(SystemExit):
        check_options(parser, parser.parse_args([option, value, "--out", "x"]))
    assert re.search(rf"{option}={value}(\.0)? must be (at least 1|above zero)", capsys.readouterr().err)
    check_options(parser, parser.parse_args([option, "3", "--out", "x"]), "epochs", "minutes")
