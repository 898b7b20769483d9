"""What the recipes that train share: the best weights so far, what is shipped of them, and what a card says."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from attention_decoded.data.sources import TATOEBA
from attention_decoded.files import sha256, write_atomically
from attention_decoded.training import Run


class Best:
    """The weights that did best on the validation split so far, kept in a file beside the run's state.

    `by` names the figure that decides; the highest is best, or the `lowest`.
    """

    def __init__(self, path: Path, by: str, *, lowest: bool = False):
        self.path, self.by, self.lowest = path, by, lowest
        self.figures: dict[str, Any] = {}
        if path.is_file():
            with safetensors.safe_open(path, framework="pt") as file:
                self.figures = json.loads(file.metadata()["figures"])

    def offer(self, model: nn.Module, figures: dict[str, Any]) -> bool:
        """Keep these weights if they are better than those kept; whether they are."""
        if self.figures:
            old, new = self.figures[self.by], figures[self.by]
            if not (new < old if self.lowest else new > old):
                return False
        state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        write_atomically(self.path, safetensors.torch.save(state, metadata={"figures": json.dumps(figures)}))
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
