"""Watch two languages' spaces while small translators learn: the measurements of chapter 13 (an hour on one core).

    python -m attention_decoded.recipes.alignment_series                    three seeds, all of it
    python -m attention_decoded.recipes.alignment_series --minutes 30 --out mine     rests then; the same goes on

Does training bring the Chinese encoder's space and the English decoder's together? Small translators (the data,
tokenizers and training of recipes/translator.py) learn from three seeds. At steps that double each time, the first
of them before any training, they read the same validation pairs, each side of which occurs there once; every
sentence becomes one vector a level, the mean of its tokens' states (special tokens left out).

The levels   0 is what enters the first block, 1, 2, … what leaves each block, the last one behind the final norm.

The decoder reads the true English. What it may look at meanwhile decides what a likeness of the two spaces means:
    own      its own Chinese, as in use. A likeness may be no more than a copy of what it looks at
    blind    an empty sentence, the end mark alone: what English is to the decoder without any Chinese
    other    another sentence's Chinese. Then there are two candidates for a partner:
             read, the Chinese of the English that it reads; seen, the Chinese that it looks at

`alignment.compare` holds the encoder's vectors against the decoder's, level by level: CKA, retrieval@1 both ways, a
rotation fitted on half of the pairs and judged on the others, each with an interval and the same for shuffled pairs.
Controls besides: the untrained models (step 0), and as a ceiling the same side of two seeds, which have never
shared a weight but learned the same.

What is kept   figures.json: all figures. model.safetensors: the vectors of the first seed's last level at the first
and the last step, and for every seed and step the best flat picture (PCA of both sides together, in unit scale,
each turned to lie as the next step's does). Rows are named by the sentence numbers of their source, not by text.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attention_decoded import scoring
from attention_decoded.alignment import compare, mean_pool, procrustes
from attention_decoded.checkpoints import SHIPPED, CheckpointError, load_checkpoint, save_checkpoint
from attention_decoded.data.pairs import Pair
from attention_decoded.data.tokenization import SPECIAL_TOKENS, UNK
from attention_decoded.decoding import greedy
from attention_decoded.files import sha256, write_atomically
from attention_decoded.recipes import translator
from attention_decoded.recipes._runs import check_options, data_of, machine
from attention_decoded.training import Run, collate_pairs, seed_of, sequence_loss, train
from attention_decoded.transformer import Transformer

NAME, FIGURES = "alignment-series", "figures.json"
PAIRINGS = {"own": ("own", 0), "blind": ("blind", 0), "read": ("other", 0), "seen": ("other", 1)}
"""Pairing → what the decoder looked at, and by how many rows its partner is shifted."""
VIEWS = ("own", "blind", "other")
PICTURED = ("own", "blind")
SMALL = {"d_model": 96, "n_heads": 4, "d_ff": 384, "n_encoder_layers": 2, "n_decoder_layers": 2, "dropout": 0.1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the series depends on; it resumes only under the same settings."""

    base: translator.Settings = field(
        default_factory=lambda: translator.Settings(
            name=NAME, recipe="alignment_series", model=SMALL, warmup_steps=400, ema=None
        )
    )
    """Everything about the training but its end and its seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: tuple[int, ...] = (0, 25, 50, 100, 200, 400, 800, 1600, 3200)
    """When to look; the last one ends the training."""
    n_rows: int = 400
    """Pairs that are looked at. A rotation is fitted on half of them, so they must be many more than 2 · d_model."""
    n_bootstrap: int = 1000

    def __post_init__(self):
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} must be some, each once")
        if len(self.steps) < 2 or list(self.steps) != sorted(set(self.steps)) or self.steps[0] < 0:
            raise ValueError(f"steps={self.steps} must be at least two, none negative, in rising order")
        depths = [self.base.model.get(f"n_{side}_layers") for side in ("encoder", "decoder")]
        if depths[0] != depths[1]:
            raise ValueError(
                f"{depths[0]} encoder and {depths[1]} decoder layers: levels pair only if they are as many"
            )


# ── what is looked at ───────────────────────────────────────────────────────────────────────────


def choose_rows(
    pairs: Sequence[Pair], source: Tokenizer, target: Tokenizer, n_rows: int, max_len: int
) -> tuple[list[Pair], list[tuple[list[int], list[int]]]]:
    """Pairs and their ids: those whose sentences occur once among `pairs`, on either side, `n_rows` by chance.

    The choice depends on the sentences alone. Raises ValueError if there are too few.
    """
    counts: dict[str, int] = {}
    for pair in pairs:
        for text in (pair.zh, pair.en):
            counts[text] = counts.get(text, 0) + 1
    single = [pair for pair in pairs if counts[pair.zh] == counts[pair.en] == 1]
    single.sort(key=lambda pair: sha256(f"{pair.zh}\t{pair.en}".encode()))
    encoded = zip(single, translator.encode_pairs(single, source, target).ids, strict=True)
    fitting = [(pair, ids) for pair, ids in encoded if all(0 < len(side) < max_len for side in ids)]
    if len(fitting) < n_rows:
        raise ValueError(
            f"only {len(fitting)} of {len(pairs)} validation pairs have sentences that occur once, but n_rows={n_rows}"
            " are to be looked at. Give more pairs"
        )
    return [pair for pair, _ in fitting[:n_rows]], [ids for _, ids in fitting[:n_rows]]


@contextmanager
def watch(model: Transformer) -> Iterator[dict[str, list[Tensor]]]:
    """The streams of the "encoder" and the "decoder" at every level, of what is computed inside the `with` block."""
    seen: dict[str, list[Tensor]] = {"encoder": [], "decoder": []}

    def listen(blocks: nn.ModuleList, norm: nn.Module, levels: list[Tensor]) -> Iterator[RemovableHandle]:
        yield blocks[0].register_forward_pre_hook(lambda _, given: levels.append(given[0]))
        for block in list(blocks)[:-1]:
            yield block.register_forward_hook(lambda *call: levels.append(call[2][0]))
        yield norm.register_forward_hook(lambda *call: levels.append(call[2]))

    handles = [
        *listen(model.encoder, model.encoder_norm, seen["encoder"]),
        *listen(model.decoder, model.decoder_norm, seen["decoder"]),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def look(model: Transformer, rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, Float[Tensor, "level row d"]]:
    """Mean-pooled states of all rows: the "encoder"'s, and the decoder's for each of `VIEWS`."""
    device = next(model.parameters()).device
    sources = [source for source, _ in rows]
    looked_at = {"own": sources, "blind": [[] for _ in rows], "other": sources[1:] + sources[:1]}
    pooled: dict[str, list[Tensor]] = {name: [] for name in ("encoder", *VIEWS)}
    for start in range(0, len(rows), 100):
        part = slice(start, start + 100)
        for view in VIEWS:
            mixed = [(source, target) for source, (_, target) in zip(looked_at[view][part], rows[part], strict=True)]
            source, target_in, _ = (ids.to(device) for ids in collate_pairs(mixed))
            with watch(model) as seen:
                model.states(source, target_in)
            pooled[view].append(_pooled(seen["decoder"], target_in))
            if view == "own":
                pooled["encoder"].append(_pooled(seen["encoder"], source))
    return {name: torch.cat(parts, dim=1) for name, parts in pooled.items()}


def _pooled(levels: Sequence[Tensor], ids: Int[Tensor, "batch position"]) -> Float[Tensor, "level batch d"]:
    is_text = (ids >= len(SPECIAL_TOKENS)) | (ids == UNK)
    return torch.stack([mean_pool(states, is_text).float().cpu() for states in levels])


# ── figures and pictures ────────────────────────────────────────────────────────────────────────

Looks = dict[tuple[int, int], dict[str, Tensor]]
"""(seed, step) → what `look` found."""


def figures_of(looks: Looks, n_bootstrap: int = 1000) -> list[dict[str, Any]]:
    """`alignment.compare` for every seed, step, pairing and level: one flat row each."""
    rows = []
    for (seed, step), found in looks.items():
        for pairing, (view, shift) in PAIRINGS.items():
            for level, (x, y) in enumerate(zip(found["encoder"], found[view], strict=True)):
                generator = torch.Generator().manual_seed(seed_of("alignment", seed, step, pairing, level))
                figures = compare(x.roll(-shift, 0), y, generator, n_bootstrap=n_bootstrap).as_dict()
                rows.append({"seed": seed, "step": step, "pairing": pairing, "level": level, **rounded(figures)})
    return rows


def ceilings_of(looks: Looks, n_bootstrap: int = 1000) -> list[dict[str, Any]]:
    """The last level of the same side of two seeds, at every step: how alike spaces become that learn the same."""
    seeds = sorted({seed for seed, _ in looks})
    rows = []
    for step in sorted({step for _, step in looks}):
        for i, one in enumerate(seeds):
            for other in seeds[i + 1 :]:
                for side in ("encoder", *PICTURED):
                    generator = torch.Generator().manual_seed(seed_of("ceiling", one, other, step, side))
                    x, y = (looks[seed, step][side][-1] for seed in (one, other))
                    figures = compare(x, y, generator, n_bootstrap=n_bootstrap).as_dict()
                    rows.append({"seeds": [one, other], "step": step, "side": side, **rounded(figures)})
    return rows


def rounded(figures: Any) -> Any:
    """Nested figures with four digits behind the point."""
    if isinstance(figures, Mapping):
        return {name: rounded(value) for name, value in figures.items()}
    return round(figures, 4) if isinstance(figures, float) else figures


def pictures_of(
    looks: Looks, seeds: Sequence[int], steps: Sequence[int]
) -> Float[Tensor, "seed step view side row axis"]:
    """The last level in two dimensions: PCA of encoder and decoder together, for the views in `PICTURED`.

    Points are centred and of mean square 1 over both axes; each step is turned to lie as the next one does.
    """
    shape = (len(seeds), len(steps), len(PICTURED), 2, len(next(iter(looks.values()))["encoder"][-1]), 2)
    pictures = torch.zeros(shape, dtype=torch.float64)
    for i, seed in enumerate(seeds):
        for j, view in enumerate(PICTURED):
            after: Tensor | None = None
            for k in reversed(range(len(steps))):
                found = looks[seed, steps[k]]
                x = torch.cat([found["encoder"][-1], found[view][-1]]).double()
                x = x - x.mean(0)
                flat = x @ torch.linalg.svd(x, full_matrices=False).Vh[:2].mT
                flat = flat / flat.square().sum(1).mean().sqrt()
                flat = flat if after is None else flat @ procrustes(flat, after).matrix
                pictures[i, k, j], after = flat.view(2, -1, 2), flat
    return pictures.float()


# ── one seed ────────────────────────────────────────────────────────────────────────────────────


def snapshot_file(work: Path, seed: int, step: int) -> Path:
    """Where the state of one seed at one step is kept until all are there."""
    return work / f"seed-{seed}" / f"step-{step}.safetensors"


def train_one(
    settings: Settings,
    seed: int,
    prepared: tuple[Tokenizer, Tokenizer, list[Any], list[Pair], list[Any]],
    *,
    work: Path,
    device: str,
    stop_after_minutes: float | None,
    report: Callable[[str], None],
) -> Run:
    """Train one translator, and write down what is seen at each of the steps. Returns the run, finished or at rest."""
    source, target, examples, pairs, rows = prepared
    own = replace(settings.base, seed=seed)
    model, config = translator.untrained(own, source, target)
    steps = train(
        model,
        lambda epoch: examples,
        collate_pairs,
        partial(sequence_loss, smoothing=own.smoothing),
        replace(translator.training_settings(own, device), epochs=None, steps=settings.steps[-1]),
        work=work / f"seed-{seed}", device=device, stop_after_minutes=stop_after_minutes, log_every=50,
        facts={"config": config, "smoothing": own.smoothing, "looks": [list(settings.steps), settings.n_rows]},
    )  # fmt: skip

    def note() -> None:
        learner = cast(Transformer, steps.model)
        was_training = learner.training
        learner.eval()
        found = look(learner, rows)
        texts = translator.translate(learner, source, target, [p.zh for p in pairs], partial(greedy, max_len=64))
        learned = {
            "bleu": scoring.bleu(texts, [pair.en for pair in pairs]).as_dict(),
            "perplexity": scoring.perplexity(learner, rows, device=device).as_dict(),
        }
        learner.train(was_training)
        path = snapshot_file(work, seed, steps.step)
        metadata = {"learned": json.dumps(learned)}
        write_atomically(path, safetensors.torch.save({k: x.half() for k, x in found.items()}, metadata=metadata))
        report(
            f"seed {seed}, step {steps.step}, {steps.seconds / 60:.1f} min: BLEU {learned['bleu']['value']:.2f},"
            f" perplexity {learned['perplexity']['value']:.1f} on {len(pairs)} validation pairs"
        )

    if steps.step == 0 and settings.steps[0] == 0:
        note()
    for record in steps:
        if record.step in settings.steps:
            note()
    return steps


def read_snapshot(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `train_one` wrote down: the vectors, in single precision, and how well the model did."""
    try:
        with safe_open(path, framework="pt") as file:
            learned = json.loads(file.metadata()["learned"])
            return {name: file.get_tensor(name).float() for name in file.keys()}, learned  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is missing or damaged ({error}). Delete the folder {path.parent} to train this seed again"
        ) from error


# ── the series ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Series:
    """What comes with the package, for the chapter."""

    seeds: list[int]
    steps: list[int]
    figures: list[dict[str, Any]]
    """A row for each seed, step, pairing and level: the fields of `alignment.Alignment`."""
    ceilings: list[dict[str, Any]]
    """A row for each two seeds, step and side."""
    learned: list[dict[str, Any]]
    """A row for each seed and step: BLEU and perplexity on the rows."""
    pictures: Float[Tensor, "seed step view side row axis"]
    """Views as in `PICTURED`; side 0 is the encoder, 1 the decoder."""
    vectors: dict[str, Float[Tensor, "row d"]]
    """The first seed's last level: "first.encoder", "first.own", "first.blind", "last.encoder", …"""
    rows: list[tuple[str, str]]
    """For each row the numbers of the Chinese and the English sentence in the source of the data."""
    card: dict[str, Any]


def load(folder: Path | str = NAME) -> Series:
    """The measured series. Raises CheckpointError."""
    checkpoint = load_checkpoint(folder)
    folder = Path(folder) if Path(folder).is_dir() else SHIPPED / folder
    if FIGURES not in checkpoint.card["sha256"]:
        raise CheckpointError(f"{folder} is no series of measurements: its card does not name {FIGURES}")
    found = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    vectors = {name: tensor for name, tensor in checkpoint.state.items() if name != "pictures"}
    return Series(
        checkpoint.config["seeds"], checkpoint.config["steps"], found["figures"], found["ceilings"], found["learned"],
        checkpoint.state["pictures"], vectors, [(zh, en) for zh, en in found["rows"]], checkpoint.card,
    )  # fmt: skip


def run(
    settings: Settings,
    *,
    out: Path,
    work: Path,
    pairs: Path | None = None,
    device: str = "cpu",
    stop_after_minutes: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any] | None:
    """Every seed, then all that is measured. Returns the card that it wrote, or None if it rests before that."""
    begun = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    splits, source, target, examples = translator.prepare(settings.base, pairs)
    sample, rows = choose_rows(splits.validation, source, target, settings.n_rows, settings.base.max_len)
    seconds = {}
    for seed in settings.seeds:
        left = None if stop_after_minutes is None else stop_after_minutes - (time.monotonic() - begun) / 60
        done = train_one(
            settings, seed, (source, target, examples, sample, rows), work=work, device=device,
            stop_after_minutes=left, report=report,
        )  # fmt: skip
        seconds[seed] = done.seconds
        if not done.finished:
            report(f"seed {seed} rests at step {done.step} of {settings.steps[-1]}: the same command goes on")
            return None
    looks: Looks = {}
    learned = []
    for seed in settings.seeds:
        for step in settings.steps:
            looks[seed, step], scores = read_snapshot(snapshot_file(work, seed, step))
            learned.append({"seed": seed, "step": step, **rounded(scores)})
    report(f"measuring {len(looks)} models")
    figures, ceilings = figures_of(looks, settings.n_bootstrap), ceilings_of(looks, settings.n_bootstrap)
    state: dict[str, Tensor] = {"pictures": pictures_of(looks, settings.seeds, settings.steps)}
    for name, step in (("first", settings.steps[0]), ("last", settings.steps[-1])):
        found = looks[settings.seeds[0], step]
        state |= {f"{name}.{side}": found[side][-1] for side in ("encoder", *PICTURED)}
    top = max(row["level"] for row in figures)
    numbers = [[pair.zh_id, pair.en_id] for pair in sample]
    kept = {"figures": figures, "ceilings": ceilings, "learned": learned, "rows": numbers}
    card = {
        "name": NAME,
        "summary": "Measurements of two languages' spaces along the training of small translators; see chapter 13.",
        "licence": "MIT; the training sentences keep their own licence (see data)",
        "recipe": "python -m attention_decoded.recipes.alignment_series",
        "data": data_of(pairs) | {"pairs": {"train": len(examples), "looked_at": len(rows)}},
        "settings": asdict(settings),
        "training": {
            "minutes": {str(seed): round(each / 60, 1) for seed, each in seconds.items()},
            "device": device, **machine(),
        },
        "measure": "linear CKA, retrieval@1 and Procrustes of mean-pooled states, as alignment.py defines them;"
        " intervals 95 %. BLEU and perplexity are of the rows that were looked at",
        "results": {"last_step": [row for row in figures if (row["step"], row["level"]) == (settings.steps[-1], top)]},
        "limits": "Small models, trained for a short while on short everyday sentences.",
    }  # fmt: skip
    config = {"seeds": list(settings.seeds), "steps": list(settings.steps), "views": list(PICTURED)}
    text = json.dumps(kept, separators=(",", ":"))
    save_checkpoint(out, state, config, card, {FIGURES: text.encode()})
    report(f"written to {out}")
    return json.loads((out / "card.json").read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m attention_decoded.recipes.alignment_series", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=Path, default=SHIPPED / NAME, help="folder of the result (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME,
                        help="folder of the runs' states, logs and looks (%(default)s)")  # fmt: skip
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE.tsv", help="your own pairs: rows of Chinese, a tab, English"
    )
    parser.add_argument("--minutes", type=float, help="rest after so many minutes; the same command goes on")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args(arguments)
    check_options(parser, given, "pairs", "minutes")
    run(Settings(), out=given.out, work=given.work, pairs=given.pairs, device=given.device,
        stop_after_minutes=given.minutes)  # fmt: skip


if __name__ == "__main__":
    main()
