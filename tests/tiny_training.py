"""A run so small that a test can afford it; also a script, for tests that need processes of their own.

python tests/tiny_training.py FOLDER            a run that saves its state after every step, to be killed
torchrun … tests/tiny_training.py FOLDER share  what the processes of a joint run make of it
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attention_decoded.training import Run, StepRecord, TrainingSettings, collate_pairs, sequence_loss, train

Pair = tuple[list[int], list[int]]
SETTINGS = TrainingSettings(
    seed=3, epochs=3, batch_tokens=97, micro_tokens=37, learning_rate=3e-3, warmup_steps=5, schedule="cosine",
    precision="fp32", ema=0.9, save_minutes=1e9,
)  # fmt: skip


class Tiny(nn.Module):
    """Guesses each target token from the one before it and from the bag of source tokens."""

    def __init__(self, dropout: float = 0.3, n_vocab: int = 23, d_model: int = 7):
        super().__init__()
        self.source, self.target = nn.Embedding(n_vocab, d_model), nn.Embedding(n_vocab, d_model)
        self.mix = nn.Sequential(nn.Linear(2 * d_model, 13), nn.Tanh(), nn.Dropout(dropout), nn.LayerNorm(13))
        self.out = nn.Linear(13, n_vocab)

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        bag = (self.source(source) * (source != 0)[..., None]).sum(1, keepdim=True)
        return self.out(self.mix(torch.cat([self.target(target_in), bag.expand(-1, target_in.shape[1], -1)], -1)))


def tiny(**options: float) -> Tiny:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return Tiny(**options)  # type: ignore[arg-type]


def examples(epoch: int) -> list[Pair]:
    """83 pairs: sources anew in every epoch, targets their reversal; one so long that it stands alone."""
    draw = random.Random(f"pairs {epoch}")
    sources = [[draw.randint(5, 22) for _ in range(draw.randint(1, 11))] for _ in range(82)] + [[7] * 61]
    return [(source, source[::-1][: draw.randint(1, 61)]) for source in sources]


def start(settings: TrainingSettings = SETTINGS, *, dropout: float = 0.3, **options) -> Run:
    return train(tiny(dropout=dropout), examples, collate_pairs, sequence_loss, settings, **options)


def exact(records: Sequence[StepRecord]) -> list[list]:
    """What must repeat to the bit: all but the time."""
    return [[r.step, r.epoch, r.epoch_ends, r.loss.hex(), r.gradient_norm.hex(), r.learning_rate, r.tokens]
            for r in records]  # fmt: skip


def main(folder: Path, task: str = "die") -> None:
    if task == "die":
        settings = TrainingSettings(**{**vars(SETTINGS), "save_minutes": 0.0})
        for record in start(settings, work=folder):
            print(json.dumps(exact([record])[0]), flush=True)
            time.sleep(0.02)
        return
    joint = start(dropout=0.0)
    records = list(joint)
    short = TrainingSettings(**{**vars(SETTINGS), "epochs": 1})
    whole = list(start(short, work=folder / "whole"))
    cut = start(short, work=folder / "cut")
    before = [next(cut) for _ in range(len(whole) // 2)]
    cut.save()
    after = list(start(short, work=folder / "cut"))
    result = {"records": [[r.loss, r.gradient_norm, r.tokens] for r in records], "n": joint.processes.n,
              "whole": exact(whole), "resumed": exact([*before, *after])}  # fmt: skip
    (folder / f"{joint.processes.rank}.json").write_text(json.dumps(result), encoding="utf-8")
    save_file(joint.model.state_dict(), folder / f"{joint.processes.rank}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), *sys.argv[2:])
