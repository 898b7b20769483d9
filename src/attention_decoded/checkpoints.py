"""Checkpoints: a folder with the weights, a card that describes them, and whatever else belongs to them.

    model.safetensors   the weights in half precision, whole numbers as they are; its metadata holds the config as
                        JSON under "config"
    card.json           what the model is, what it was trained on, how well it does, under which licence,
                        and the SHA-256 of every file that the model needs, so that an altered one is noticed
    tokenizer.json …    other files that the model needs

Nothing is ever unpickled: a checkpoint cannot run code. Source of the format: github.com/huggingface/safetensors.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from attention_decoded.files import sha256, write_atomically

SHIPPED = Path(__file__).parent / "weights"
"""The folder of the checkpoints that come with the package, one folder each."""
Model = TypeVar("Model", bound=nn.Module)
WEIGHTS, CARD = "model.safetensors", "card.json"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, cut short, altered or of another model; the message says which, and the way out."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint, checked: weights in single precision, config, card."""

    state: dict[str, Tensor]
    config: dict[str, Any]
    card: dict[str, Any]


def save_checkpoint(
    folder: Path | str,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    card: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a checkpoint; every file appears whole or not at all, and the card, which vouches for all, last.

    `files` are further files of the model by name, such as the tokenizer's.
    """
    folder = Path(folder)
    half = {
        name: tensor.detach().to("cpu", torch.float16 if tensor.is_floating_point() else None).contiguous()
        for name, tensor in state.items()
    }
    if lost := [name for name, tensor in half.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{folder}: {', '.join(lost)} hold numbers beyond half precision (65,504) or NaN")
    weights = safetensors.torch.save(half, metadata={"config": json.dumps(dict(config))})
    contents = {WEIGHTS: weights, **(files or {})}
    fingerprints = {name: sha256(content) for name, content in contents.items()}
    for name, content in contents.items():
        write_atomically(folder / name, content)
    text = json.dumps({**card, "config": dict(config), "sha256": fingerprints}, ensure_ascii=False, indent=2)
    write_atomically(folder / CARD, (text + "\n").encode())


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read and check a checkpoint: a folder, or the name of one that comes with the package.

    Raises CheckpointError if a file is missing, cut short or altered.
    """
    given, folder = folder, Path(folder)
    if not folder.is_dir() and (SHIPPED / folder).is_dir():
        folder = SHIPPED / folder
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())) or "none"
        raise CheckpointError(f"{given}: neither a folder nor a checkpoint of this package (it has: {names})")
    remedy = "Fetch the folder again, or run the model's recipe again"
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        fingerprints = dict(card["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / CARD} is missing or not a model card ({error}). {remedy}") from error
    for name, expected in {WEIGHTS: None, **fingerprints}.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing. {remedy}")
        if sha256(path.read_bytes()) != expected:
            raise CheckpointError(f"{path} is cut short, altered, or of another checkpoint than its {CARD}. {remedy}")
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            config = json.loads(file.metadata()["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} is not a checkpoint of this book ({error}). {remedy}") from error
    if config != card.get("config"):
        raise CheckpointError(f"{folder}: {WEIGHTS} and {CARD} state different configs. {remedy}")
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    return Checkpoint(state, config, card)


def load_model(folder: Path | str, build: Callable[[Mapping[str, Any]], Model]) -> tuple[Model, dict[str, Any]]:
    """The trained model, in eval mode, and its card; `build` makes the untrained model from a config.

    >>> model, card = load_model("masked-lm", build_masked_lm)

    Raises CheckpointError, also when the weights do not fit what `build` makes.
    """
    checkpoint = load_checkpoint(folder)
    try:
        model = build(checkpoint.config)
        model.load_state_dict(checkpoint.state)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: the weights are of another model than the code builds ({error})") from error
    return model.eval(), checkpoint.card
