"""What helps a small translator? The recipe of recipes/translator.py, changed in one place at a time (chapter 11).

    python -m attention_decoded.recipes.translator_ablations                        the tables of the data page
    python -m attention_decoded.recipes.translator_ablations --minutes 20           every variant, 20 minutes each
    python -m attention_decoded.recipes.translator_ablations --epochs 6 baseline post-norm
    python -m attention_decoded.recipes.translator_ablations --epochs 4 --start translator      what helps from there

Every variant gets the same budget: minutes of training, so that what makes a step dearer has fewer of them, or epochs.
Short runs from untrained weights tell what helps at first: what slows learning down, such as more dropout, may win
later. So the data page has a table of longer runs too, and one of runs that go on from the finished translator's
weights, as `--start` says.

A table has a row for every variant that is done: what was changed, how far it came, greedy BLEU and chrF on the
validation split with their intervals, and the difference from the baseline by paired bootstrap, where both translate
the same sentences. It is written anew after each variant; the test split is never looked at. An interrupted run goes on
where it was: run the same command again.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from attention_decoded import scoring
from attention_decoded.checkpoints import SHIPPED
from attention_decoded.data.tokenization import EOS
from attention_decoded.decoding import batched, greedy
from attention_decoded.files import write_atomically
from attention_decoded.recipes.translator import (
    NAME,
    Settings,
    load,
    prepare,
    training_settings,
    translate,
    untrained,
)
from attention_decoded.training import collate_pairs, r_drop_loss, sequence_loss, train
from attention_decoded.transformer import Transformer, TransformerConfig

TABLE, BASELINE = "table.json", "baseline"
Examples = list[tuple[list[int], list[int]]]
"""Ids of both sides of every training pair, without special tokens."""


# ── what can be changed ─────────────────────────────────────────────────────────────────────────


def as_they_are(examples: Examples, teacher: Callable[[], Transformer]) -> Callable[[int], Examples]:
    """Every epoch the same examples."""
    return lambda epoch: examples


def english_first(examples: Examples, teacher: Callable[[], Transformer]) -> Callable[[int], Examples]:
    """In the first epoch the Chinese side is empty: the decoder learns English before it is told what to say."""
    english = [([], en) for _, en in examples]
    return lambda epoch: examples if epoch else english


def distilled(examples: Examples, teacher: Callable[[], Transformer]) -> Callable[[int], Examples]:
    """In place of people's English the teacher's greedy translation (Kim and Rush 2016, sequence level)."""
    model = teacher()
    sentences = [[*zh, EOS] for zh, _ in examples]
    longest = max(len(en) for _, en in examples)
    texts = batched(partial(greedy, model, max_len=longest), sentences)
    taught = [(zh, list(text.ids)) for (zh, _), text in zip(examples, texts, strict=True)]
    return lambda epoch: taught


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One change of the baseline, said in words and in settings."""

    what: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `translator.Settings` with other values."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the model's config with other values."""
    loss: Callable = sequence_loss
    data: Callable[[Examples, Callable[[], Transformer]], Callable[[int], Examples]] = as_they_are
    """From the examples, and from a function that loads a trained translator, to the examples of each epoch."""

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
    "english-first": Variant(what="the first epoch on the English alone, as a language model", data=english_first),
    "distilled": Variant(what="learning the finished translator's English, not people's", data=distilled),
}  # fmt: skip
"""The baseline comes first: the others are compared with it."""

FURTHER = (BASELINE, "dropout-0.1", "no-smoothing", "r-drop")
"""The variants that make sense from a trained translator's weights, which fit one vocabulary and one kind of model."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the data page."""

    names: Sequence[str]
    epochs: int
    start: str | None = None
    """The translator whose weights the runs begin with."""


SHIPPED_TABLES = {
    "ablations": Table(names=tuple(VARIANTS), epochs=4),
    "ablations-longer": Table(names=(BASELINE, "dropout-0.1"), epochs=16),
    "ablations-further": Table(names=FURTHER, epochs=4, start=NAME),
}
"""Files beside the translator's weights (NAME.json), each made in a folder of its own."""


# ── the runs ────────────────────────────────────────────────────────────────────────────────────


def further(base: Settings) -> Settings:
    """The settings for going on from trained weights: a step as small as the recipe's last ones, falling on."""
    return replace(base, learning_rate=6e-4, warmup_steps=100)


def load_start(start: Path | str, source: Tokenizer, target: Tokenizer) -> Transformer:
    """A trained translator, to learn from or to go on from. ValueError if its tokenizers are not these."""
    model, *theirs, _ = load(start)
    if [tokenizer.to_str() for tokenizer in theirs] != [source.to_str(), target.to_str()]:
        raise ValueError(
            f"{start}: its tokenizers are not those that these pairs and settings make, so its ids mean other words."
            " Give a translator that was trained on the same pairs with the same vocabularies"
        )
    return model


def run_variant(
    name: str,
    variant: Variant,
    base: Settings,
    *,
    work: Path,
    start: Path | str | None,
    teacher: Path | str,
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
    # What is said of a run here must be so when it goes on; what is as usual goes without saying.
    unusual = {} if variant.data is as_they_are else {"data": variant.data.__name__}
    if start is not None:
        trained = load_start(start, source, target)
        wanted = TransformerConfig(**config)
        if replace(trained.config, dropout=wanted.dropout) != wanted:
            raise ValueError(
                f"{start} is {trained.config}, but {name} wants {wanted}. Without --start it begins untrained"
            )
        model.load_state_dict(trained.state_dict())
        unusual["start"] = str(start)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    steps = train(
        model,
        variant.data(examples, partial(load_start, teacher, source, target)),
        collate_pairs,
        partial(variant.loss, smoothing=settings.smoothing),
        replace(training_settings(settings, device), minutes=minutes, epochs=epochs),
        work=work / name, device=device, log_every=50,
        facts={"config": config, "smoothing": settings.smoothing, "loss": variant.loss.__name__, **unusual},
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
        "data": variant.data.__name__,
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
    start: Path | str | None = None,
    teacher: Path | str = NAME,
    minutes: float | None = None,
    epochs: int | None = None,
    pairs: Path | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Every variant in turn; the table that was written, also as `work`/table.json.

    `start`    a translator's folder, or the name of a shipped one, whose weights every variant begins with
    `teacher`  likewise, the one whose translations are learned where a variant is distilled

    Raises ValueError unless one budget is given, or if one of the two has other tokenizers or is another kind of model.
    """
    if (minutes is None) == (epochs is None):
        raise ValueError(f"minutes={minutes} and epochs={epochs}: give one of them, the same budget for every variant")
    if any(variant.data is distilled for variant in variants.values()):
        load_start(teacher, *prepare(base, pairs)[1:3])  # it may not fit: better now than after hours
    table: dict[str, Any] = {
        "start": None if start is None else Path(start).name,
        "budget": {"minutes": minutes, "epochs": epochs},
        "settings": asdict(base),
        "threads": torch.get_num_threads(),
        "device": device,
        "rows": [],
    }
    baseline: list[str] | None = None
    for name, variant in variants.items():
        row, texts, references = run_variant(
            name, variant, base, work=work, start=start, teacher=teacher, minutes=minutes, epochs=epochs, pairs=pairs,
            device=device, report=report,
        )  # fmt: skip
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
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="of training, for each variant")
    budget.add_argument("--epochs", type=int, help="for each variant")
    parser.add_argument("--start", metavar="FOLDER", help="go on from this translator's weights (a folder, or"
                        f" {NAME}: the shipped one); without names: {', '.join(FURTHER)}")  # fmt: skip
    parser.add_argument("--teacher", metavar="FOLDER", default=NAME, help="the translator that `distilled` learns from"
                        " (the shipped one)")  # fmt: skip
    parser.add_argument("--work", type=Path, default=Path("runs") / "translator-ablations",
                        help=f"folder of the runs and of {TABLE} (%(default)s);"
                        " each table of the data page has one in it")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the whole table goes in the end, too")
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE.tsv", help="your own pairs: rows of Chinese, a tab, English"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in VARIANTS]:
        parser.error(f"there is no variant {', '.join(unknown)}; there are: {', '.join(VARIANTS)}")
    if given.minutes is None and given.epochs is None:
        if given.names or given.start or given.out or given.pairs or given.teacher != NAME:
            parser.error("say how long: --minutes or --epochs")
        for file, table in SHIPPED_TABLES.items():
            make_table(table.names, table.start, given.work / file, SHIPPED / NAME / f"{file}.json",
                       epochs=table.epochs, device=given.device)  # fmt: skip
        return
    if (given.minutes or given.epochs or 0) <= 0:
        parser.error("the budget must be above zero")
    make_table(given.names, given.start, given.work, given.out, minutes=given.minutes, epochs=given.epochs,
               pairs=given.pairs, teacher=given.teacher, device=given.device)  # fmt: skip


def make_table(names: Sequence[str], start: str | None, work: Path, out: Path | None, **options: Any) -> None:
    """Run the variants that are named, or all that suit the start; the table goes to `out`, too."""
    chosen = names or (VARIANTS if start is None else FURTHER)
    variants = {name: variant for name, variant in VARIANTS.items() if name in chosen}
    run(variants, Settings() if start is None else further(Settings()), work=work, start=start, **options)
    if out:
        write_atomically(out, (work / TABLE).read_bytes())


if __name__ == "__main__":
    main()
