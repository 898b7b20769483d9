"""Training: one seeded loop that knows no model (chapter 11).

    for record in train(model, examples, collate, loss, settings, work=Path("runs/mine")):
        if record.step in {500, 1000, 2000, 4000}:           # snapshots along the run: the caller's business
            save_checkpoint(f"runs/mine/step-{record.step}", model.state_dict(), config, card)

A step: draw the next batch of examples of like length, compute the loss in one or several micro-batches,
average its gradient over all real target tokens of the batch, clip it, let AdamW take one step.

What a step does depends on (settings, data, number of the step) alone: the batches of an epoch come from
(seed, epoch), the dropout of a step from (seed, step), the learning rate from the step. So an interrupted run
that is started again goes on to the very same losses and weights, to the bit, as an uninterrupted one (on
the same machine with the same number of threads and processes), and the caller may evaluate in between.

Several processors; the script is the same:
    one GPU                train(…, device="cuda")
    four GPUs              torchrun --nproc-per-node 4 script.py
    two machines of four   torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500
                           script.py, on both; HOST is one of them
Every process gets the same examples and computes its share of each batch's rows, and DistributedDataParallel
sums the gradients: but for dropout the run is that of one process. Process 0 alone reads and writes
the state and the log; the others may lack its disk. Every process yields the same records; when the caller
evaluates in process 0 alone, the others wait at their next step.

Sources: Vaswani et al. (2017), arXiv:1706.03762v7, sections 5.1 (batches by tokens), 5.3 (warm-up), 5.4
(label smoothing); Loshchilov and Hutter (2019), arXiv:1711.05101v3 (AdamW); Liang et al. (2021),
arXiv:2106.14448v2 (R-Drop).
"""

import atexit
import contextlib
import functools
import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attention_decoded.data.tokenization import BOS, EOS, PAD
from attention_decoded.files import write_atomically

Schedule = Literal["inverse_sqrt", "cosine", "linear", "constant"]
Precision = Literal["auto", "fp32", "bf16"]
Lengths = int | tuple[int, ...]
STATE, LOG = "state.safetensors", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a run depends on besides model, data and loss; a state resumes only under the same settings.

    The run ends after so many `steps` or `epochs`, or `minutes` of training, whichever comes first; at least one
    must be given. With `minutes` the clock drives the learning rate, and two runs differ.
    """

    seed: int = 0
    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    batch_tokens: int = 4096
    """Tokens of one optimizer step, all sides and padding counted."""
    micro_tokens: int | None = None
    """The most that one process computes at once; larger batches are accumulated. None: the whole batch."""
    learning_rate: float = 1e-3
    """The peak, where the warm-up ends."""
    warmup_steps: int = 1000
    schedule: Schedule = "inverse_sqrt"
    weight_decay: float = 0.01
    """On matrices alone; see `decayed`."""
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float | None = 1.0
    """The longest gradient (Euclidean norm of the mean over tokens); longer ones are shortened to it."""
    precision: Precision = "auto"
    """What matrix products are computed in; weights are always fp32. "auto" takes bf16 where the processor
    has it (`has_bf16`) and the first batch, measured forward and back in both, runs at least 1.15 times as fast."""
    ema: float | None = None
    """Decay of a moving average of the weights, kept beside them (`Run.averaged`); None keeps none."""
    save_minutes: float = 5.0
    """Between two savings of the state, so that is what a killed run loses at most; a run that ends saves, too."""

    def __post_init__(self):
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("give the run an end: steps, epochs or minutes")
        above = ("steps", "epochs", "minutes", "batch_tokens", "micro_tokens", "learning_rate", "clip")
        for name in above:
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{name}={value} must be above zero")
        for name in ("warmup_steps", "weight_decay", "save_minutes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be below zero")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas} must lie between 0 and 1")
        for name, kind in (("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}={getattr(self, name)!r} is none of {', '.join(get_args(kind))}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema={self.ema} must lie between 0 and 1, such as 0.999")


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What happened in one step, over all processes."""

    step: int
    """Steps taken so far, this one included."""
    epoch: int
    """The epoch that the batch belongs to, from 0."""
    epoch_ends: bool
    """Whether this was the epoch's last batch."""
    loss: float
    """Mean per target token, in nats, of what was minimised (smoothing included)."""
    learning_rate: float
    tokens: int
    """Real target tokens of the batch."""
    gradient_norm: float
    """Before clipping."""
    seconds: float


class ResumeError(RuntimeError):
    """The state of an interrupted run is damaged, or belongs to other settings, data, model or loss."""


# ── losses ──────────────────────────────────────────────────────────────────────────────────────


def smoothed_targets(targets: Tensor, n_vocab: int, smoothing: float) -> Tensor:
    """The distribution that label smoothing asks for, a row per target: 1 − ε on the truth, ε spread evenly.

    The variant is Szegedy et al.'s (2016, arXiv:1512.00567v3, section 7) and PyTorch's: the even share goes to
    *all* entries, the true one included, so the truth gets 1 − ε + ε/n_vocab.
    """
    rows = torch.full((*targets.shape, n_vocab), smoothing / n_vocab, device=targets.device)
    return rows.scatter_add(-1, targets[..., None], torch.full_like(rows[..., :1], 1 - smoothing))


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, int]:
    """Sum of the cross-entropy to `smoothed_targets` over the real targets, in nats, and how many they are.

    Targets equal to PAD count in neither. Computed in fp32 whatever the logits are.
    """
    real = targets != PAD
    n = int(real.sum())
    if n < targets.numel():
        logits, targets = logits[real], targets[real]
    logits, targets = logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1)
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing), n


def sequence_loss(model: nn.Module, batch: Sequence[Tensor], smoothing: float = 0.1) -> tuple[Tensor, int]:
    """`cross_entropy` of a model that writes text, under teacher forcing.

    `batch` is what the model's forward takes and, last, the target: (source, target_in, target_out), or
    (ids, next ids). Where the model has `states` and `to_logits`, the wide output matrix is computed at real
    positions only.
    """
    logits, targets = _real_logits(model, batch[:-1], batch[-1])
    return cross_entropy(logits, targets, smoothing)


def r_drop_loss(
    model: nn.Module, batch: Sequence[Tensor], smoothing: float = 0.1, alpha: float = 5.0
) -> tuple[Tensor, int]:
    """`sequence_loss` with R-Drop: two passes under different dropout must agree with each other as well.

    Half of the paper's eq. 4, so that it compares with one pass: ½(nll₁ + nll₂) + α/4 · (KL(p₁‖p₂) + KL(p₂‖p₁)).
    A step costs twice as much. The paper takes α = 5 for translation.
    """
    logits, targets = _real_logits(model, [torch.cat([x, x]) for x in batch[:-1]], torch.cat([batch[-1], batch[-1]]))
    loss, n = cross_entropy(logits, targets, smoothing)
    p, q = logits.float().log_softmax(-1).chunk(2)
    disagreement = ((p.exp() - q.exp()) * (p - q)).sum()  # KL(p‖q) + KL(q‖p)
    return loss / 2 + alpha / 4 * disagreement, n // 2


def _real_logits(model: nn.Module, inputs: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
    real = targets != PAD
    if hasattr(model, "states") and hasattr(model, "to_logits"):
        return model.to_logits(model.states(*inputs)[real]), targets[real]  # type: ignore[operator]
    return model(*inputs)[real], targets[real]


# ── batches ─────────────────────────────────────────────────────────────────────────────────────


def lengths_of(example: Any) -> Lengths:
    """The length of a sequence; the lengths of each side if the example is a tuple or a list of sequences."""
    if isinstance(example, tuple | list) and example and _is_side(example[0]):
        return tuple(len(side) for side in example)
    return len(example)


def _is_side(part: Any) -> bool:
    return isinstance(part, Sequence | Tensor | np.ndarray) and not isinstance(part, str | bytes)


def bucketed_batches(
    lengths: Sequence[Lengths], max_tokens: int, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Indices of examples, batched by length so that little is padding.

    A batch costs rows × its longest length, summed over the sides of an example, and costs at most
    `max_tokens`; an example longer than that stands alone. With a `generator` batches come in random order
    and examples of equal length change places.
    """
    if not len(lengths):
        return []
    table = np.array(lengths).reshape(len(lengths), -1)
    order = np.arange(len(table)) if generator is None else torch.randperm(len(table), generator=generator).numpy()
    order = order[np.lexsort(table[order].T)]  # by the last side, then the one before; stable, so equals stay shuffled
    made: list[list[int]] = []
    longest = [0] * table.shape[1]
    for i, sides in zip(order.tolist(), table[order].tolist(), strict=True):
        longest = [max(pair) for pair in zip(longest, sides, strict=True)]
        if not made or (len(made[-1]) + 1) * sum(longest) > max_tokens:
            made.append([])
            longest = sides
        made[-1].append(i)
    if generator is not None:
        made = [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]
    return made


def pad_rows(rows: Sequence[Sequence[int]]) -> Tensor:
    """The rows as one table of ids, filled up with PAD on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def collate_pairs(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """(source, target_in, target_out) of pairs of ids without special tokens.

    A source ends with EOS, target_in starts with BOS, target_out is target_in one place further, up to EOS.
    """
    return (
        pad_rows([[*source, EOS] for source, _ in pairs]),
        pad_rows([[BOS, *target] for _, target in pairs]),
        pad_rows([[*target, EOS] for _, target in pairs]),
    )


def fingerprint(examples: Sequence[Any]) -> str:
    """SHA-256 of examples made of numbers, strings, tensors and sequences of them.

    Raises TypeError for anything else: its text might differ from run to run.
    """
    digest = hashlib.sha256()

    def feed(x: Any) -> None:
        if isinstance(x, Tensor):
            digest.update(f"{x.dtype}{tuple(x.shape)}".encode())
            digest.update(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(x, list | tuple) and any(not isinstance(part, int | float | str) for part in x):
            digest.update(f"[{len(x)}".encode())
            for part in x:
                feed(part)
        elif isinstance(x, list | tuple | int | float | str | bytes) or x is None:
            digest.update(repr(list(x) if isinstance(x, tuple) else x).encode())
        else:
            raise TypeError(f"cannot take the fingerprint of a {type(x).__name__}: give train(data=…)")

    feed([len(examples)])
    for example in examples:
        feed(example)
    return digest.hexdigest()


def seed_of(*parts: int | str) -> int:
    """A seed for one use: different parts, unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


# ── the learning rate, what decays, what is computed in half precision ──────────────────────────


def rate(settings: TrainingSettings, step: int, progress: float) -> float:
    """The learning rate of step 1, 2, 3, …; `progress` is the share of the run that lies behind it.

    A linear warm-up over `warmup_steps` to the peak, times: √(warmup_steps / step) afterwards (inverse_sqrt),
    a half cosine or a straight line down to zero over the whole run (cosine, linear), or nothing (constant).
    """
    warm = min(step / max(settings.warmup_steps, 1), 1.0)
    decay = {
        "inverse_sqrt": min(math.sqrt(max(settings.warmup_steps, 1) / step), 1.0),
        "cosine": (1 + math.cos(math.pi * min(progress, 1.0))) / 2,
        "linear": 1 - min(progress, 1.0),
        "constant": 1.0,
    }
    return settings.learning_rate * warm * decay[settings.schedule]


def decayed(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters under weight decay, and those without it.

    Matrices decay. Biases and norms do not, nor do embedding tables: AdamW shrinks every row at every step, and
    the row of a rare word is hardly ever pulled back.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shrink = [parameter for parameter in trained if parameter.ndim > 1 and id(parameter) not in tables]
    return shrink, [parameter for parameter in trained if parameter.ndim < 2 or id(parameter) in tables]


def has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware. It need not be faster at it than in fp32.

    CPUs: AVX512-BF16 or AMX, as PyTorch reports them. GPUs: compute capability 8 (Ampere) or higher.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)


# ── one step ────────────────────────────────────────────────────────────────────────────────────


Loss = Callable[[Any, Any], tuple[Tensor, int]]


class _Objective(nn.Module):
    """Model and loss as one module, so that DistributedDataParallel sees every call, whatever the loss calls."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any) -> tuple[Tensor, int]:
        return self.loss(self.model, batch)


class _Processes:
    """This process among those that torchrun started: rank 0 of 1 without torchrun."""

    def __init__(self, device: torch.device):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)  # else every process opens a context on the first GPU too
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)
        self.n = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.device = device

    def sum(self, *values: float | int) -> list[Any]:
        """Each value, summed over the processes."""
        if self.n == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def from_first(self, *values: float | int) -> list[Any]:
        """The values of process 0."""
        return self.sum(*(value * (self.rank == 0) for value in values))

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the tensors of process 0."""
        if self.n > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)


def _to(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on the device."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _to(part, device) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [_to(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


# ── the run ─────────────────────────────────────────────────────────────────────────────────────


class Run:
    """A training run: iterate over it for its `StepRecord`s. `train` makes it, and says what is what."""

    model: nn.Module
    step: int = 0
    """Steps taken."""
    epoch: int = 0
    """The epoch of the next step."""
    seconds: float = 0.0
    """Time trained, without evaluations and saving."""
    finished: bool = False
    """Whether the run has come to its own end, not only to that of `stop_after_minutes`."""
    precision: str
    """What is computed in. Once decided it stays: a resumed run has it from its state."""
    facts: dict[str, Any]
    """What the run depends on; a state with other facts is refused."""
    _batch: int = 0  # which one of its epoch the next step takes
    _n_batches: int = 0  # of this epoch; 0 as long as it is not planned
    _epoch_print: str = ""  # the fingerprint of this epoch's examples
    _shown: float = 0.0

    def __init__(
        self,
        model: nn.Module,
        examples: Callable[[int], Sequence[Any]],
        collate: Callable[[list[Any]], Any],
        loss: Loss,
        settings: TrainingSettings,
        *,
        length: Callable[[Any], Lengths],
        work: Path | None,
        device: torch.device,
        data: str | None,
        facts: Mapping[str, Any],
        stop_after_minutes: float | None,
        log_every: int,
        bar: bool | None,
    ):
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        self.model, self.settings, self.device = model.to(device), settings, device
        self.processes = _Processes(device)
        first = self.processes.rank == 0
        self._work = work if first else None
        self._bar = first and (sys.stderr.isatty() if bar is None else bar)
        self._examples, self._collate, self._length = examples, collate, length
        self._stop_after, self._log_every, self._reads_data = stop_after_minutes, log_every, data is None
        shrink, keep = decayed(model)
        self._parameters = [*shrink, *keep]
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._names = [names[id(parameter)] for parameter in self._parameters]
        self._optimizer = torch.optim.AdamW(
            [{"params": shrink}, {"params": keep, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,  # on a CPU four times as fast as one operation after the other
        )
        self._ema = None if settings.ema is None else [p.detach().clone() for p in self._parameters]
        self._drawn: Sequence[Any] | None = None  # the examples of epoch 0, until they are needed
        if data is None:
            self._drawn = examples(0)
            data = fingerprint(self._drawn)
        self._loss = _text_of(loss)
        self.facts = self._identity(data, facts)
        self.precision = "fp32" if settings.precision == "auto" else settings.precision
        objective = _Objective(model, loss)
        if self._work and (self._work / STATE).is_file():
            self._load(self._work / STATE)
        elif settings.precision == "auto" and first and has_bf16(device):
            self.precision = self._faster(objective)
        self._objective: nn.Module = objective
        if self.processes.n > 1:
            self._share_state()
            self._objective = DistributedDataParallel(objective)
        self._tidy()
        self._records = self._go()

    def __iter__(self) -> Iterator[StepRecord]:
        return self

    def __next__(self) -> StepRecord:
        return next(self._records)

    def progress(self) -> float:
        """The share of the run that is done, 0 to 1: of its steps, epochs or minutes, whichever is furthest."""
        s, into_epoch = self.settings, self._batch / self._n_batches if self._n_batches else 0.0
        shares = [
            self.step / s.steps if s.steps else 0.0,
            (self.epoch + into_epoch) / s.epochs if s.epochs else 0.0,
            self.seconds / 60 / s.minutes if s.minutes else 0.0,
        ]
        return min(max(shares), 1.0)

    def _identity(self, data: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        settings = {name: value for name, value in asdict(self.settings).items() if name != "save_minutes"}
        if self.settings.schedule in {"inverse_sqrt", "constant"} and self.settings.minutes is None:
            settings |= {"steps": None, "epochs": None}  # no step depends on the end: it may be put off
        # Equal shapes are not equal models: heads, positions, norms and dropout stand in config and text.
        # (Where an object's text has its address in memory, that is left out: it differs in every process.)
        parts = [
            {name: [list(p.shape), p.requires_grad] for name, p in self.model.named_parameters()},
            _without_address(getattr(self.model, "config", None)),
            _without_address(self.model),
        ]
        everything = {
            **{f"settings.{name}": value for name, value in settings.items()},
            "data": data,
            "model": hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16],
            "loss": self._loss,
            **facts,
        }
        return json.loads(json.dumps(everything))  # as it comes back from the state: tuples are lists

    # ── the loop ──

    def _go(self) -> Iterator[StepRecord]:
        begun = saved = time.monotonic()
        drawn, plan, stop = [], [], False
        while not stop:
            start = time.perf_counter()
            if not plan and self.progress() < 1:
                drawn, plan = self._plan()
            if self.progress() >= 1:
                break
            learning_rate = rate(self.settings, self.step + 1, self.progress())
            stop = self._stop_after is not None and time.monotonic() - begun >= 60 * self._stop_after
            loss, tokens, norm = self._take([drawn[i] for i in plan[self._batch]], learning_rate)
            elapsed = time.perf_counter() - start
            if self.processes.n > 1:  # one clock for all
                elapsed, stop = self.processes.from_first(elapsed, stop)
            self.step, self._batch, self.seconds = self.step + 1, self._batch + 1, self.seconds + elapsed
            record = StepRecord(
                step=self.step, epoch=self.epoch, epoch_ends=self._batch == len(plan), loss=loss,
                learning_rate=learning_rate, tokens=tokens, gradient_norm=norm, seconds=elapsed,
            )  # fmt: skip
            if record.epoch_ends:
                self.epoch, self._batch, self._n_batches, plan = self.epoch + 1, 0, 0, []
            if self._log_every and self.step % self._log_every == 0:
                self.note(**{name: value for name, value in asdict(record).items() if name != "step"})
            self._show(record)
            yield record
            # Saved only when the caller has dealt with the record: what it did then is never skipped by a resumed run.
            if time.monotonic() - saved >= 60 * self.settings.save_minutes:
                self.save()
                saved = time.monotonic()
        self.finished = self.progress() >= 1
        self.save()
        self._show(None)
        self.model.eval()

    def _plan(self) -> tuple[Sequence[Any], list[list[int]]]:
        """The examples of this epoch and their batches, from (seed, epoch) alone."""
        drawn = self._examples(self.epoch) if self.epoch or self._drawn is None else self._drawn
        self._drawn = None
        generator = torch.Generator().manual_seed(seed_of("batches", self.settings.seed, self.epoch))
        plan = bucketed_batches([self._length(x) for x in drawn], self.settings.batch_tokens, generator)
        if not plan:
            raise ValueError(f"examples({self.epoch}) is empty: there is nothing to train on")
        seen = fingerprint(drawn) if self._reads_data else ""
        if self._batch and seen != self._epoch_print and not self.processes.rank:
            raise ResumeError(
                f"examples({self.epoch}) gave other examples than before the interruption."
                " Let them depend on the seed and the epoch alone"
            )
        self._epoch_print, self._n_batches = seen, len(plan)
        return drawn, plan

    def _take(self, rows: list[Any], learning_rate: float) -> tuple[float, int, float]:
        """One optimizer step: loss per token and tokens over all processes, length of the mean gradient."""
        n_processes, rank = self.processes.n, self.processes.rank
        mine = rows[rank::n_processes]
        idle = not mine  # fewer rows than processes: compute one for nothing, as all must join in the sum
        micros = self._micro_batches(rows[:1] if idle else mine)
        self.model.train()
        self._optimizer.zero_grad()
        loss, tokens = 0.0, 0
        with self._own_randomness(self.step, rank):
            for micro in micros:
                alone = n_processes == 1 or micro is micros[-1]  # DDP sums the gradients once, with the last one
                with contextlib.nullcontext() if alone else self._objective.no_sync():  # type: ignore[operator]
                    total, n = self._compute(self._objective, micro)
                    (total * 0 if idle else total).backward()
                loss, tokens = loss + total.detach(), tokens + n
        loss, tokens = self.processes.sum(0.0 if idle else float(loss), 0 if idle else tokens)
        if not tokens:
            raise ValueError(f"step {self.step + 1}: the loss counted no token in a batch of {len(rows)} examples")
        grads = [p.grad for p in self._parameters if p.grad is not None]
        # From the gradient of the sum to that of the mean over all tokens; DDP has divided by n_processes.
        scale = n_processes / tokens
        norm = scale * float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise FloatingPointError(
                f"step {self.step + 1}: loss {loss / tokens} or the gradient's length {norm} is not finite."
                " Lower the learning rate, or lengthen the warm-up"
            )
        if self.settings.clip is not None:
            scale *= min(1.0, self.settings.clip / (norm + 1e-6))
        torch._foreach_mul_(grads, scale)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        if self._ema is not None and self.settings.ema is not None:
            keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))  # a short memory while all is moving
            torch._foreach_lerp_(self._ema, [p.detach() for p in self._parameters], 1 - keep)
        return loss / tokens, round(tokens), norm

    def _micro_batches(self, rows: list[Any]) -> list[list[Any]]:
        if self.settings.micro_tokens is None:
            return [rows]
        plan = bucketed_batches([self._length(row) for row in rows], self.settings.micro_tokens)
        return [[rows[i] for i in batch] for batch in plan]

    def _compute(self, objective: nn.Module, rows: list[Any]) -> tuple[Tensor, int]:
        batch = _to(self._collate(rows), self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return objective(batch)

    @contextlib.contextmanager
    def _own_randomness(self, *of: int) -> Iterator[None]:
        """Dropout draws from the global generator: seed it for this step, then give the caller's back."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_of("step", self.settings.seed, *of))
            yield

    def _faster(self, objective: nn.Module) -> str:
        """The precision in which the first batch is computed faster; the model stays as it is."""
        drawn, plan = self._plan()
        self._drawn = drawn
        rows = self._micro_batches([drawn[i] for i in plan[0]])[0]
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        best = {"fp32": math.inf, "bf16": math.inf}
        self.model.train()
        with self._own_randomness():
            for self.precision in ("fp32", "bf16") * 4:  # in turn, so that other load on the machine meets both
                start = time.perf_counter()
                loss, _ = self._compute(objective, rows)
                loss.backward()
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                best[self.precision] = min(best[self.precision], time.perf_counter() - start)
        for buffer, value in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(value)
        return "bf16" if best["fp32"] > 1.15 * best["bf16"] else "fp32"

    # ── averaged weights ──

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The model with the moving average of its weights, for evaluation and saving; then its own again.

        Without `ema` in the settings the model stays as it is.
        """
        if self._ema is None:
            yield self.model
            return
        parameters = [p.detach() for p in self._parameters]
        own = [p.clone() for p in parameters]
        torch._foreach_copy_(parameters, self._ema)
        try:
            yield self.model
        finally:
            torch._foreach_copy_(parameters, own)

    # ── state ──

    def save(self) -> None:
        """Write the state now, whole or not at all, if there is a `work` folder. Call it between steps only."""
        if not self._work:
            return
        where = {"step": self.step, "epoch": self.epoch, "batch": self._batch, "seconds": self.seconds,
                 "precision": self.precision, "examples": self._epoch_print}  # fmt: skip
        tensors, seen = {}, set()
        for name, tensor in self._tensors().items():
            storage = tensor.untyped_storage().data_ptr()  # the format refuses shared memory, as tied weights have it
            tensors[name] = tensor.detach().clone() if storage in seen else tensor.detach().contiguous()
            seen.add(storage)
        metadata = {"facts": json.dumps(self.facts), "where": json.dumps(where)}
        write_atomically(self._work / STATE, safetensors.torch.save(tensors, metadata=metadata))

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that the next step needs, by name."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for i, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{self._names[i]}.{name}": tensor for name, tensor in moments.items()}
        return tensors | {f"ema.{name}": tensor for name, tensor in zip(self._names, self._ema or (), strict=False)}

    def _load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                facts, where = (json.loads(file.metadata()[name]) for name in ("facts", "where"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{path} is not the state of a run ({error}). Delete it to start again") from error
        if facts != self.facts:
            names = sorted(name for name in facts.keys() | self.facts if facts.get(name) != self.facts.get(name))
            changes = "; ".join(f"{name}: {facts.get(name)!r}, now {self.facts.get(name)!r}" for name in names)
            raise ResumeError(f"{path} belongs to another run. Delete it, or take another work folder ({changes})")
        self.model.load_state_dict(_below("model.", tensors))
        self._load_moments(_below("optimizer.", tensors))
        for name, tensor in zip(self._names, self._ema or (), strict=False):
            tensor.copy_(tensors[f"ema.{name}"])
        self.step, self.epoch, self._batch = where["step"], where["epoch"], where["batch"]
        self.seconds, self.precision, self._epoch_print = where["seconds"], where["precision"], where["examples"]

    def _load_moments(self, tensors: Mapping[str, Tensor]) -> None:
        state = self._optimizer.state_dict()
        for name, tensor in tensors.items():
            parameter, _, moment = name.rpartition(".")
            state["state"].setdefault(self._names.index(parameter), {})[moment] = tensor
        self._optimizer.load_state_dict(state)

    def _share_state(self) -> None:
        """All processes go on from the state of process 0."""
        step, epoch, batch, self.seconds, bf16 = self.processes.from_first(
            self.step, self.epoch, self._batch, self.seconds, self.precision == "bf16"
        )
        self.step, self.epoch, self._batch = round(step), round(epoch), round(batch)
        self.precision = "bf16" if bf16 else "fp32"
        if self.step and self.processes.rank:  # room for the moments that will come
            zeros = {f"{name}.{moment}": torch.zeros_like(p)
                     for name, p in zip(self._names, self._parameters, strict=True)
                     for moment in ("exp_avg", "exp_avg_sq")}  # fmt: skip
            self._load_moments(zeros | {f"{name}.step": torch.tensor(0.0) for name in self._names})
        self.processes.spread([tensor for _, tensor in sorted(self._tensors().items())])  # in one order everywhere

    # ── log and progress ──

    def note(self, **figures: Any) -> None:
        """Add a line to the log beside the steps' own, such as the scores of an evaluation at this step."""
        if self._work:
            with (self._work / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": self.step, **figures}) + "\n")

    def _tidy(self) -> None:
        """Drop the log's lines after the state's step, which will be written again, and what a killed run left."""
        if self._work:
            for half in self._work.glob(f".{STATE}.*"):
                half.unlink()
            path, kept = self._work / LOG, []
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # the last one may have been cut short
                    if json.loads(line)["step"] <= self.step:
                        kept.append(line + "\n")
            write_atomically(path, "".join(kept).encode())

    def _show(self, record: StepRecord | None) -> None:
        """A line that rewrites itself, five times a second at most, for a person at a terminal; None ends it."""
        now, done = time.monotonic(), self.progress()
        if not self._bar or (record and now - self._shown < 0.2):
            return
        self._shown = now
        if record:
            left = self.seconds * (1 / done - 1) / 60
            text = f"step {record.step:,}  epoch {record.epoch}  loss {record.loss:.3f}  "
            text += f"{record.tokens / record.seconds:,.0f} tokens/s  {left:,.0f} min left"
            print(f"\r{done:4.0%}  {text:70}", end="", file=sys.stderr, flush=True)
        else:
            print(file=sys.stderr)


def _text_of(loss: Any) -> str:
    """Which function it is, and what was bound to it."""
    if isinstance(loss, functools.partial):
        bound = [_without_address(x) for x in loss.args]
        bound += [f"{name}={_without_address(x)}" for name, x in loss.keywords.items()]
        return f"{_text_of(loss.func)}({', '.join(bound)})"
    return getattr(loss, "__qualname__", type(loss).__qualname__)


def _without_address(x: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(x))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def train(
    model: nn.Module,
    examples: Callable[[int], Sequence[Any]],
    collate: Callable[[list[Any]], Any],
    loss: Loss,
    settings: TrainingSettings,
    *,
    length: Callable[[Any], Lengths] = lengths_of,
    work: Path | str | None = None,
    device: str | torch.device = "cpu",
    data: str | None = None,
    facts: Mapping[str, Any] | None = None,
    stop_after_minutes: float | None = None,
    log_every: int = 1,
    bar: bool | None = None,
) -> Run:
    """Train `model` in place, a step for every `StepRecord` that is drawn from the result.

    examples(epoch)     the examples of epoch 0, 1, 2, …: all the same, or drawn anew from (seed, epoch) alone
    collate(examples)   a batch of them; its tensors are moved to `device`
    loss(model, batch)  the *sum* of the loss and the number of tokens that it sums over
    length(example)     what it costs in tokens; a tuple where several sides are padded apart
    work                folder of the state and the log; None keeps neither. A state found there is resumed
                        at once: when `train` returns, the model has its weights. It is saved every few minutes
                        (settings) and at the end; who leaves the loop early calls `Run.save`
    data                a name of the data, if `fingerprint` cannot or should not read the examples
    facts               what else the run depends on, as JSON: a state under other facts is refused. Known by
                        themselves are settings, data, the model's text and config, and the loss's name
    stop_after_minutes  stop this call then, with the state saved; the next call goes on
    log_every           steps between the log's lines; 0 leaves it to `Run.note`
    bar                 a line of progress on stderr; None: if it is a terminal

    Raises ResumeError, and FloatingPointError when loss or gradient are no longer finite.
    """
    return Run(
        model, examples, collate, loss, settings, length=length, work=None if work is None else Path(work),
        device=torch.device(device), data=data, facts=facts or {}, stop_after_minutes=stop_after_minutes,
        log_every=log_every, bar=bar,
    )  # fmt: skip
