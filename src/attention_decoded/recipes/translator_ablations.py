"""What helps a small translator? The recipe of recipes/translator.py, changed in one place at a time (chapter 11).

    python -m attention_decoded.recipes.translator_ablations --minutes 20           every variant, 20 minutes each
    python -m attention_decoded.recipes.translator_ablations --epochs 6 baseline post-norm
    python -m attention_decoded.recipes.translator_ablations --epochs 4 --out FILE.json     the data page's table

Every variant gets the same budget: minutes of training, so that what makes a step dearer has fewer of them, or epochs.
Short runs tell what helps short runs: what slows learning down at first, such as more dropout, may win in the end.

The table, table.json, has a row for every variant that is done: what was changed, how far it came, greedy BLEU and chrF
on the validation split with their intervals, and the difference from the baseline by paired bootstrap, where both
translate the same sentences. It is written anew after each variant; the test split is never looked at. An
interrupted run goes on where it was: run the same command again.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attention_decoded import scoring
from attention_decoded.files import write_atomically
from attention_decoded.recipes.translator import Settings, prepare, training_settings, translate, untrained
from attention_decoded.training import collate_pairs, r_drop_loss, sequence_loss, train

TABLE, BASELINE = "table.json", "baseline"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change of the baseline, said in words and in settings."""

    what: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `translator.Settings` with other values."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the model's config with other values."""
    loss: Callable = sequence_loss

    def of(self, base: Settings) -> Settings:
        """The baseline's settings with the changes."""
        return replace(base, **self.changes, model={**base.model, **self.model})


VARIANTS = {
    BASELINE: Variant(what="the recipe as it is"),
    # Below 2,500 the Chinese characters do not fit.
    "vocabulary-3k": Variant(what="3,000 subwords a language, not 4,000",
                             changes={"n_source_vocab": 3000, "n_target_vocab": 3000}),
    "vocabulary-8k": Variant(what="8,000 subwords a language, not 4,000",
                             changes={"n_source_vocab": 8000, "n_target_vocab": 8000}),
    "dropout-0.1": Variant(what="dropout 0.1, not 0.3", model={"dropout": 0.1}),
    "no-smoothing": Variant(what="no label smoothing", changes={"smoothing": 0.0}),
    "no-average": Variant(what="the last weights, not their moving average", changes={"ema": None}),
    "post-norm": Variant(what="normalised behind each part, not before it", model={"norm": "post"}),
    "r-drop": Variant(what="R-Drop: two passes that must agree", loss=r_drop_loss),
}  # fmt: skip
"""The baseline comes first: the others are compared with it."""


def run_variant(
    name: str,
    variant: Variant,
    base: Settings,
    *,
    work: Path,
    minutes: float | None,
    epochs: int | None,
    pairs: Path | None,
    device: str,
    report: Callable[[str], None],
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Train one variant to the end of its budget. Its row of the table, its translations, and the references."""
    settings = variant.of(base)
    splits, source, target, examples = prepare(settings, pairs)
    model, config = untrained(settings, source, target)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    steps = train(
        model,
        lambda epoch: examples,
        collate_pairs,
        partial(variant.loss, smoothing=settings.smoothing),
        replace(training_settings(settings, device), minutes=minutes, epochs=epochs),
        work=work / name, device=device, log_every=50,
        facts={"config": config, "smoothing": settings.smoothing, "loss": variant.loss.__name__},
    )  # fmt: skip
    for _ in steps:
        pass
    with steps.averaged() as trained:
        texts = translated(trained, source, target, [pair.zh for pair in splits.validation])
    references = [pair.en for pair in splits.validation]
    row = {
        "name": name,
        "what": variant.what,
        "changes": {**variant.changes, **variant.model},
        "loss": variant.loss.__name__,
        "parameters": n_parameters,
        "steps": steps.step,
        "epochs": steps.epoch,
        "minutes": round(steps.seconds / 60, 1),
        "bleu": scoring.bleu(texts, references).as_dict(),
        "chrf": scoring.chrf(texts, references).as_dict(),
    }
    report(f"{name}: {steps.step} steps in {row['minutes']} min, BLEU {row['bleu']['value']:.2f},"
           f" chrF {row['chrf']['value']:.2f} on validation")  # fmt: skip
    return row, texts, references


def translated(model: nn.Module, source: Any, target: Any, sentences: Sequence[str]) -> list[str]:
    """Greedy translations; the model is left in the mode that it was in."""
    was_training = model.training
    texts = translate(model.eval(), source, target, sentences)
    model.train(was_training)
    return texts


def run(
    variants: Mapping[str, Variant],
    base: Settings,
    *,
    work: Path,
    minutes: float | None = None,
    epochs: int | None = None,
    pairs: Path | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Every variant in turn; the table that was written. Raises ValueError unless one budget is given."""
    if (minutes is None) == (epochs is None):
        raise ValueError(f"minutes={minutes} and epochs={epochs}: give one of them, the same budget for every variant")
    table: dict[str, Any] = {
        "budget": {"minutes": minutes, "epochs": epochs},
        "settings": asdict(base),
        "threads": torch.get_num_threads(),
        "device": device,
        "rows": [],
    }
    baseline: list[str] | None = None
    for name, variant in variants.items():
        row, texts, references = run_variant(
            name, variant, base, work=work, minutes=minutes, epochs=epochs, pairs=pairs, device=device, report=report
        )
        if name == BASELINE:
            baseline = texts
        elif baseline is not None:
            row["against_baseline"] = {
                metric: scoring.compare(texts, baseline, references, metric=metric).as_dict()
                for metric in ("bleu", "chrf")
            }
        table["rows"].append(row)
        write_atomically(work / TABLE, (json.dumps(table, ensure_ascii=False, indent=2) + "\n").encode())
    return json.loads((work / TABLE).read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m attention_decoded.recipes.translator_ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (all): {', '.join(VARIANTS)}")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, help="of training, for each variant")
    budget.add_argument("--epochs", type=int, help="for each variant")
    parser.add_argument("--work", type=Path, default=Path("runs") / "translator-ablations",
                        help=f"folder of the runs and of {TABLE} (%(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the whole table goes in the end, too")
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE.tsv", help="your own pairs: rows of Chinese, a tab, English"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in VARIANTS]:
        parser.error(f"there is no variant {', '.join(unknown)}; there are: {', '.join(VARIANTS)}")
    if (given.minutes or given.epochs or 0) <= 0:
        parser.error("the budget must be above zero")
    chosen = {name: variant for name, variant in VARIANTS.items() if not given.names or name in given.names}
    run(chosen, Settings(), work=given.work, minutes=given.minutes, epochs=given.epochs, pairs=given.pairs,
        device=given.device)  # fmt: skip
    if given.out:
        write_atomically(given.out, (given.work / TABLE).read_bytes())


if __name__ == "__main__":
    main()
