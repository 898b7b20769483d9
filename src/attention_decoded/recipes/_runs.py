"""What the recipes that train share: the best weights so far, what is shipped of them, and what a card says."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from attention_decoded.data.sources import TATOEBA
from attention_decoded.files import sha256, write_atomically
from attention_decoded.training import Run


def check_options(parser: argparse.ArgumentParser, given: argparse.Namespace, *changing: str) -> None:
    """Refuse an end that is none, and to replace a shipped model by anything but the whole recipe's result.

    `changing` are the options that make another result than the one that is shipped.
    """
    for name, least in (("epochs", "at least 1"), ("minutes", "above zero")):
        if (value := getattr(given, name, None)) is not None and not value > 0:
            parser.error(f"--{name}={value} must be {least}")
    changed = [name for name in changing if getattr(given, name) != parser.get_default(name)]
    if changed and given.out == parser.get_default("out"):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        parser.error(f"{options}: the result is not the one that comes with the package, and must not take its place."
                     " Say where it goes: --out PLACE")  # fmt: skip


def say_if_finished(run: Run, work: Path, report: Callable[[str], None]) -> None:
    """Nothing is trained where a finished run is found: say so, and what to do about it."""
    if run.progress() >= 1:
        report(f"{work} holds a finished run, so nothing is trained. Delete that folder to train again")


class Best:
    """The weights of a run that did best on the validation split so far, kept in a file beside the run's state.

    `by` names the figure that decides; the highest is best, or the `lowest`. What another run left in the file, or
    this one before it began anew, does not count.
    """

    def __init__(self, path: Path, by: str, run: Run, *, lowest: bool = False):
        self.path, self.by, self.run, self.lowest = path, by, run, lowest
        self.figures: dict[str, Any] = {}
        if path.is_file() and run.step:
            with safetensors.safe_open(path, framework="pt") as file:
                kept = file.metadata()
            if kept.get("facts") == json.dumps(run.facts):
                self.figures = json.loads(kept["figures"])

    def offer(self, model: nn.Module, figures: dict[str, Any]) -> bool:
        """Keep these weights if they are better than those kept; whether they are."""
        if self.figures:
            old, new = self.figures[self.by], figures[self.by]
            if not (new < old if self.lowest else new > old):
                return False
        state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        metadata = {"figures": json.dumps(figures), "facts": json.dumps(self.run.facts)}
        write_atomically(self.path, safetensors.torch.save(state, metadata=metadata))
        self.figures = figures
        return True

    def load_into(self, model: nn.Module) -> None:
        """Give the model the weights kept. Raises FileNotFoundError where none were."""
        model.load_state_dict(safetensors.torch.load_file(self.path))


def as_shipped(model: nn.Module) -> None:
    """Round the weights to half precision: so they are shipped, and so they are to be measured."""
    model.load_state_dict({name: tensor.half().float() for name, tensor in model.state_dict().items()})


def data_of(pairs: Path | None) -> dict[str, str | None]:
    """Which sentence pairs a run learned from: the book's own, or the reader's file."""
    if pairs is None:
        return {"title": TATOEBA.title, "attribution": TATOEBA.attribution(), "sha256": TATOEBA.sha256}
    return {"title": pairs.name, "sha256": sha256(pairs.read_bytes())}


def machine() -> dict[str, Any]:
    """What computed."""
    return {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__.split("+")[0],
    }


def training_of(steps: Run, best: Best, device: str) -> dict[str, Any]:
    """How long a run took, how far it came, and where."""
    return {
        "epochs": steps.epoch,
        "best_epoch": best.figures["epoch"],
        "steps": steps.step,
        "minutes": round(steps.seconds / 60, 1),
        "finished": steps.finished,
        "device": device,
        **machine(),
    }
