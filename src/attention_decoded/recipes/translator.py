"""Train the Chinese–English translator of chapters 10 to 12 on the pairs, on one core of a CPU in two to three hours.

    python -m attention_decoded.recipes.translator --out runs/translator
    python -m attention_decoded.recipes.translator --out runs/mine --pairs FILE.tsv --epochs 20
    torchrun --nproc-per-node 4 -m attention_decoded.recipes.translator --device cuda --out runs/translator

Every choice (when to stop, the length penalty) is made on the validation split, on which BLEU had ceased to rise by
epoch 44; the test split is translated once, at the end. An interrupted run goes on where it was: run the same command
again. `recipes/rnn_translators.py` trains the book's two RNNs by this very recipe, so that what differs is the model
alone.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from attention_decoded import scoring
from attention_decoded.checkpoints import SHIPPED, load_model, save_checkpoint
from attention_decoded.data import lexicon
from attention_decoded.data.pairs import Pair, Splits, load_splits
from attention_decoded.data.tokenization import (
    EOS,
    decode,
    encode,
    load_tokenizer,
    train_english_tokenizer,
    train_tokenizer,
)
from attention_decoded.decoding import batched, beam_search, greedy
from attention_decoded.recipes._runs import Best, as_shipped, check_options, data_of, say_if_finished, training_of
from attention_decoded.training import LOG, Run, TrainingSettings, collate_pairs, sequence_loss, train
from attention_decoded.transformer import Transformer, build_transformer

NAME = "translator"
SOURCE_TOKENIZER, TARGET_TOKENIZER = "source.tokenizer.json", "target.tokenizer.json"
BEAM = 5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run depends on; a run resumes only under the same settings (`epochs` may grow)."""

    name: str = NAME
    recipe: str = "translator"
    """The module of this folder that runs it."""
    summary: str = "An encoder–decoder Transformer that translates Chinese sentences into English; see chapter 10."
    model: Mapping[str, Any] = field(default_factory=lambda: {"dropout": 0.3})
    """The model's config, without the two vocabularies' sizes, which the data decide."""
    epochs: int = 44
    seed: int = 0
    n_source_vocab: int = 4000
    n_target_vocab: int = 4000
    min_count: int = 4
    max_len: int = 64
    """Longer sentences, in tokens, are left out of training; they are kept for measuring."""
    batch_tokens: int = 4096
    learning_rate: float = 2e-3
    warmup_steps: int = 1000
    smoothing: float = 0.1
    ema: float | None = 0.999
    evaluate_every: int = 4
    """Epochs between two translations of the validation split."""


# ── data ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Side:
    """One split: the pairs, and the ids of both sides without special tokens."""

    pairs: tuple[Pair, ...]
    ids: list[tuple[list[int], list[int]]]


def make_tokenizers(pairs: Sequence[Pair], settings: Settings) -> tuple[Tokenizer, Tokenizer]:
    """Chinese and English tokenizers, learned from training pairs."""
    zh, en = (sorted({getattr(pair, side) for pair in pairs}) for side in ("zh", "en"))
    words = lexicon.words()
    return (
        train_tokenizer(zh, n_vocab=settings.n_source_vocab, min_count=settings.min_count, words=words),
        train_english_tokenizer(en, n_vocab=settings.n_target_vocab, min_count=settings.min_count),
    )


def encode_pairs(pairs: Sequence[Pair], source: Tokenizer, target: Tokenizer) -> Side:
    """The pairs with their ids."""
    zh = encode(source, [pair.zh for pair in pairs])
    en = encode(target, [pair.en for pair in pairs])
    return Side(tuple(pairs), list(zip(zh, en, strict=True)))


def prepare(
    settings: Settings, pairs: Path | None = None
) -> tuple[Splits, Tokenizer, Tokenizer, list[tuple[list[int], list[int]]]]:
    """The splits, the two tokenizers and the training examples: ids of both sides, none longer than `max_len`.

    Raises ValueError when there is too little of anything.
    """
    splits = load_splits(pairs)
    source, target = make_tokenizers(splits.train, settings)
    examples = [ids for ids in encode_pairs(splits.train, source, target).ids if max(map(len, ids)) < settings.max_len]
    if not (examples and splits.validation and splits.test):
        raise ValueError(
            f"{len(examples)} training, {len(splits.validation)} validation and {len(splits.test)} test pairs are too"
            " few to train and to measure. Give some hundreds of pairs"
        )
    return splits, source, target, examples


def untrained(
    settings: Settings,
    source: Tokenizer,
    target: Tokenizer,
    build: Callable[[Mapping[str, Any]], nn.Module] = build_transformer,
) -> tuple[nn.Module, dict[str, Any]]:
    """The model before its first step, from the seed alone, and its config."""
    sizes = {"n_source_vocab": source.get_vocab_size(), "n_target_vocab": target.get_vocab_size()}
    config = {**sizes, **settings.model}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return build(config), config


def training_settings(settings: Settings, device: str) -> TrainingSettings:
    """The settings as the training loop takes them."""
    return TrainingSettings(
        seed=settings.seed, epochs=settings.epochs, batch_tokens=settings.batch_tokens,
        learning_rate=settings.learning_rate, warmup_steps=settings.warmup_steps, ema=settings.ema,
        precision="fp32" if device == "cpu" else "auto",
    )  # fmt: skip


# ── translating and measuring ───────────────────────────────────────────────────────────────────


def translate(
    model: nn.Module, source: Tokenizer, target: Tokenizer, sentences: Sequence[str], search: Callable = greedy
) -> list[str]:
    """The best English text of each Chinese sentence. `search` is `greedy` or a `beam_search`.

    The sentences must be as `normalize_chinese` leaves them.
    """

    def best(ids):
        return [found[0] if isinstance(found, list) else found for found in search(model, ids)]

    ids = [[*ids, EOS] for ids in encode(source, list(sentences))]
    texts = batched(best, ids, batch_tokens=2048, device=next(model.parameters()).device)
    return [decode(target, text.ids) for text in texts]


def measure(
    model: nn.Module, source: Tokenizer, target: Tokenizer, pairs: Sequence[Pair], search: Callable = greedy
) -> dict[str, Any]:
    """Corpus BLEU and chrF of the pairs, every pair a sentence with one reference; and with all references at once.

    In "all_references" every Chinese sentence counts once, held against all its English translations.
    """
    references: dict[str, list[str]] = {}
    for pair in pairs:
        references.setdefault(pair.zh, []).append(pair.en)
    texts = dict(zip(references, translate(model, source, target, list(references), search), strict=True))
    written = [texts[pair.zh] for pair in pairs]
    expected = [pair.en for pair in pairs]
    figures = {"bleu": scoring.bleu(written, expected), "chrf": scoring.chrf(written, expected)}
    together = list(texts.values()), list(references.values())
    return {
        **{name: score.as_dict() for name, score in figures.items()},
        "all_references": {
            "bleu": scoring.bleu(*together).as_dict(),
            "chrf": scoring.chrf(*together).as_dict(),
        },
    }


# ── the run ─────────────────────────────────────────────────────────────────────────────────────


def load(folder: Path | str = NAME) -> tuple[Transformer, Tokenizer, Tokenizer, dict[str, Any]]:
    """The trained translator in eval mode, its Chinese and its English tokenizer, and its card."""
    model, card = load_model(folder, build_transformer)
    return model, *load_tokenizers(folder), card


def load_tokenizers(folder: Path | str) -> tuple[Tokenizer, Tokenizer]:
    """The Chinese and the English tokenizer of a translator's checkpoint."""
    folder = Path(folder) if Path(folder).is_dir() else SHIPPED / folder
    return load_tokenizer(folder / SOURCE_TOKENIZER), load_tokenizer(folder / TARGET_TOKENIZER)


def run(
    settings: Settings,
    *,
    out: Path,
    work: Path,
    pairs: Path | None = None,
    device: str = "cpu",
    build: Callable[[Mapping[str, Any]], nn.Module] = build_transformer,
    stop_after_minutes: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Tokenizers, model, scores, card: the whole recipe. Returns the card that it wrote.

    With `stop_after_minutes` the run rests then, with its state saved; the checkpoint is written all the same,
    from the best weights so far, with scores of the validation split alone.
    """
    work.mkdir(parents=True, exist_ok=True)
    splits, source, target, examples = prepare(settings, pairs)
    model, config = untrained(settings, source, target, build)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    report(f"{settings.name}: {len(examples):,} pairs, {sum(len(x) + len(y) for x, y in examples):,} tokens,"
           f" {n_parameters:,} parameters")  # fmt: skip
    steps = train(
        model,
        lambda epoch: examples,
        collate_pairs,
        partial(sequence_loss, smoothing=settings.smoothing),
        training_settings(settings, device),
        work=work, device=device, stop_after_minutes=stop_after_minutes,
        facts={"config": config, "smoothing": settings.smoothing}, log_every=50,
    )  # fmt: skip
    if steps.processes.rank:  # under torchrun one process speaks, measures and writes for all
        for _ in steps:
            pass
        return {}
    say_if_finished(steps, work, report)
    best = Best(work / "best.safetensors", by="bleu", run=steps)
    for record in steps:
        if record.epoch_ends and (record.epoch + 1) % settings.evaluate_every == 0:
            evaluate(steps, best, source, target, splits.validation, report)
    if steps.finished or not best.figures:
        evaluate(steps, best, source, target, splits.validation, report)
    best.load_into(model)
    model = model.to("cpu").eval()
    as_shipped(model)
    results = measure_all(model, source, target, splits, finished=steps.finished, report=report)
    results["validation_by_epoch"] = by_epoch(work / LOG)
    card = {
        "name": settings.name,
        "summary": settings.summary,
        "licence": "MIT; the training sentences keep their own licence (see data)",
        "recipe": f"python -m attention_decoded.recipes.{settings.recipe}",
        "data": data_of(pairs) | {"pairs": {k: len(getattr(splits, k)) for k in ("train", "validation", "test")}},
        "settings": asdict(settings),
        "training": training_of(steps, best, device),
        "measure": "sacreBLEU and chrF over the whole split, each pair a sentence with one reference;"
        " intervals: bootstrap, 95 %",
        "results": results,
        "parameters": n_parameters,
        "limits": "Short everyday sentences only; no names it has not seen; it repeats the habits of its data.",
    }  # fmt: skip
    files = {SOURCE_TOKENIZER: source, TARGET_TOKENIZER: target}
    save_checkpoint(
        out, model.state_dict(), config, card, {k: v.to_str(pretty=False).encode() for k, v in files.items()}
    )
    return json.loads((out / "card.json").read_text(encoding="utf-8"))


def evaluate(
    steps: Run,
    best: Best,
    source: Tokenizer,
    target: Tokenizer,
    validation: Sequence[Pair],
    report: Callable[[str], None],
) -> None:
    """Translate the validation split with the averaged weights, note the scores, keep the weights if they are best."""
    begun = time.perf_counter()
    with steps.averaged() as model:
        was_training = model.training
        model.eval()
        texts = translate(model, source, target, [pair.zh for pair in validation])
        expected = [pair.en for pair in validation]
        figures = {
            "epoch": steps.epoch,
            "bleu": scoring.bleu(texts, expected, n_bootstrap=0).value,
            "chrf": scoring.chrf(texts, expected, n_bootstrap=0).value,
        }
        kept = best.offer(model, figures)
        model.train(was_training)
    steps.note(**{f"validation_{name}": value for name, value in figures.items()}, seconds=time.perf_counter() - begun)
    report(f"epoch {steps.epoch}, {steps.seconds / 60:.0f} min: BLEU {figures['bleu']:.2f}, chrF {figures['chrf']:.2f}"
           f" on validation{', the best so far' if kept else ''}")  # fmt: skip


def by_epoch(log: Path) -> dict[str, dict[str, float]]:
    """The greedy validation scores that a run noted in its log, by epoch; the last word counts where a run went on."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        note = json.loads(line)
        if "validation_epoch" in note:
            found[str(note["validation_epoch"])] = {name: note[f"validation_{name}"] for name in ("bleu", "chrf")}
    return found


def measure_all(model, source, target, splits, *, finished: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Scores of greedy and beam search; the length penalty is chosen on the validation split."""
    by_alpha = {}
    for alpha in (0.6, 0.8, 1.0, 1.2, 1.4, 1.6):
        search = partial(beam_search, beam=BEAM, alpha=alpha)
        texts = translate(model, source, target, [pair.zh for pair in splits.validation], search)
        by_alpha[alpha] = scoring.bleu(texts, [pair.en for pair in splits.validation], n_bootstrap=0).value
    alpha = max(by_alpha, key=by_alpha.__getitem__)
    report(f"length penalty by validation BLEU: {by_alpha}")
    searches = {"greedy": greedy, f"beam_{BEAM}": partial(beam_search, beam=BEAM, alpha=alpha)}
    parts = {"validation": splits.validation} | ({"test": splits.test} if finished else {})
    results: dict[str, Any] = {"alpha": alpha, "validation_bleu_by_alpha": by_alpha}
    for part, pairs in parts.items():
        results[part] = {name: measure(model, source, target, pairs, search) for name, search in searches.items()}
        for name in searches:
            report(f"{part}, {name}: BLEU {results[part][name]['bleu']['value']:.2f},"
                   f" chrF {results[part][name]['chrf']['value']:.2f}")  # fmt: skip
    return results


def main(
    variants: Sequence[Settings] = (Settings(),), build: Callable[[Mapping[str, Any]], nn.Module] = build_transformer
) -> None:
    """The command line of this recipe and of those that share it; each variant is a model that it can train."""
    by_name = {settings.name: settings for settings in variants}
    parser = argparse.ArgumentParser(description="; ".join(settings.summary for settings in variants))
    parser.add_argument("--model", choices=by_name, help="only this one (default: each in turn)")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint (default: the package's own)")
    parser.add_argument("--work", type=Path, help="folder of the run's state and log (default: runs/NAME)")
    parser.add_argument("--pairs", type=Path, help="your own pairs: rows of Chinese, a tab, English")
    parser.add_argument("--epochs", type=int, help="how many (default: the recipe's); may grow when a run goes on")
    parser.add_argument("--minutes", type=float, help="rest after so many minutes; the same command goes on")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args()
    check_options(parser, given, "pairs", "epochs", "minutes")
    chosen = [by_name[given.model]] if given.model else list(variants)
    if len(chosen) > 1 and (given.out or given.work):
        parser.error("--out and --work are one model's folders: name it with --model")
    for settings in chosen:
        run(
            replace(settings, epochs=settings.epochs if given.epochs is None else given.epochs),
            out=given.out or SHIPPED / settings.name,
            work=given.work or Path("runs") / settings.name,
            pairs=given.pairs,
            device=given.device,
            build=build,
            stop_after_minutes=given.minutes,
        )


if __name__ == "__main__":
    main()
