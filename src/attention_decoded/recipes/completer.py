"""Train the two autocomplete models of chapter 14 on the English side of the pairs, each in half an hour on a core.

    python -m attention_decoded.recipes.completer                                both
    python -m attention_decoded.recipes.completer completer-decoder-only         one of them
    python -m attention_decoded.recipes.completer completer --out runs --pairs FILE.tsv --epochs 5

    completer                 an encoder–decoder: the encoder reads the beginning, the decoder writes the rest
    completer-decoder-only    one stack that reads and writes from left to right

Both have the same tokenizer, the same sentences and nearly the same number of parameters. What differs is what a
sentence teaches: the decoder-only model learns from every token of it, the encoder–decoder only from those
behind the cut. So the latter gets a third more epochs and the more minutes; it has still learned from fewer tokens.

The cut   In every epoch and from (seed, epoch) alone each sentence is cut in two at a place drawn anew: with chance
`inside` in the middle of a word, as if someone were typing it, else at the edge of a word or at either end.
The mark ▁, which a space becomes, belongs to the word behind it: "I want to g|o home." is cut into ▁I ▁want ▁to ▁g
and o ▁home . — the rest is written without a ▁ of its own in front, so joining both always gives the
sentence, and a token with ▁ says "a new word" while one without says "the word goes on". The decoder-only model is
not asked to predict the tokens of a half-typed word: they are chance's doing, not the language's.

Retyping   Behind such a cut the models spell badly: ▁enou is ▁en ou, and no word that is whole is divided so. So
whoever types is not answered behind the letters, but from the beginning of the half-typed word: the whole pieces
before it are read, and the word is written again under the condition that it begins as typed (`Retyping`; others call
this token healing). Tokens that fit are those that begin with the letters, and those that are a beginning
of them. A beginning that ends with a space promises a new word: then the letters are ▁ alone. A suggestion (`suggest`)
is the likeliest piece of text that goes beyond the letters, by beam search with `BEAM` suggestions side by side,
where a piece is as likely as its tokens and its end together.

Measured, on sentences that nothing has seen:
    perplexity         e to the mean cross-entropy in nats over the tokens behind the cut and the end of the sentence;
                       each sentence is cut at four places, and the letters are read as they stand, as in training;
                       the tokens are the same for every model
    next_word          share of words guessed at once, the words before it and the space behind them given (`suggest`)
    keystrokes_saved   1 − keys / characters, if each sentence is typed so: after every key one suggestion, the rest of
                       the word or, behind a word, the next one with its space. If it is right, one key takes it;
                       else the next character is typed. Nobody takes a wrong one, so nothing is ever deleted
Intervals are bootstraps over sentences (percentiles, 95 %). Beside them: a unigram and a bigram model of tokens
for the perplexity, and for the guesses the commonest words (`FrequentWords`).

How to suggest was chosen on the validation split. keystrokes_saved there, on every second sentence, where the commonest
words save 0.251; the cards have the figures of the whole split:
                                        encoder–decoder   decoder-only
    as the letters stand, greedily      0.186             0.200
    as the letters stand, beam 4        0.187             0.203
    retyping, greedily                  0.229             0.262
    retyping, beam 4                    0.269             0.297
    retyping, beam 8                    0.271             0.299          (more work for little)
The test split had been measured once before that choice, the first way (0.184 and 0.201); the cards state the second
time.

More English was tried on the validation split: the addresses of the presidents, the largest text of data/corpora.py,
are 4 times as many tokens, and beside them the bigram model's perplexity falls from 46.0 to 44.0 only, at the
best mixture. For so little they would take most of the time, so the pairs alone it is.

An interrupted run goes on where it was: run the same command again. `--epochs` may grow: a finished run is prolonged.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer

from attention_decoded.checkpoints import SHIPPED, load_model, save_checkpoint
from attention_decoded.data.pairs import Pair, load_splits
from attention_decoded.data.tokenization import SPACE_MARK, load_tokenizer, train_english_tokenizer
from attention_decoded.recipes._completion import (
    Completer,
    Cut,
    Ids,
    Kind,
    collate_decoder_only,
    collate_encoder_decoder,
    draw_cuts,
    lengths,
    mark,
)
from attention_decoded.recipes._completion_scores import baselines, cross_entropies, measure
from attention_decoded.recipes._runs import Best, as_shipped, check_options, data_of, say_if_finished, training_of
from attention_decoded.training import Run, TrainingSettings, seed_of, sequence_loss, train
from attention_decoded.transformer import (
    DecoderOnly,
    DecoderOnlyConfig,
    Transformer,
    TransformerConfig,
    build_decoder_only,
    build_transformer,
)

NAME = "completer"
TOKENIZER, BEST = "tokenizer.json", "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run depends on; a run resumes only under the same settings (`epochs` may grow)."""

    kind: Kind
    epochs: int
    seed: int = 0
    n_vocab: int = 4000
    min_count: int = 4
    d_model: int = 128
    n_heads: int = 4
    d_ff: int = 512
    n_layers: int = 2
    """Of the encoder and of the decoder, each; or of the one stack."""
    dropout: float = 0.1
    inside: float = 0.4
    """The chance that a cut falls inside a word."""
    max_len: int = 64
    """Longer sentences, in tokens, are left out of training; they are kept for measuring."""
    batch_tokens: int = 2048
    learning_rate: float = 2e-3
    warmup_steps: int = 500
    ema: float = 0.999
    evaluate_every: int = 2
    """Epochs between two looks at the validation split."""

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1")
        if not 0 <= self.inside <= 1:
            raise ValueError(f"inside={self.inside} is a chance: it lies between 0 and 1")


MODELS = {
    "completer": Settings(kind="encoder-decoder", epochs=24),
    # A block without cross-attention has 4 d_model² weights fewer, which its wider feed-forward network makes up for.
    "completer-decoder-only": Settings(kind="decoder-only", epochs=18, n_layers=4, d_ff=640),
}


# ── the run ─────────────────────────────────────────────────────────────────────────────────────


def config_of(settings: Settings, n_vocab: int) -> dict[str, Any]:
    """The config of the model, as the checkpoint keeps it."""
    common = {name: getattr(settings, name) for name in ("d_model", "n_heads", "d_ff", "max_len", "dropout")}
    if settings.kind == "decoder-only":
        return asdict(DecoderOnlyConfig(n_vocab=n_vocab, n_layers=settings.n_layers, **common))
    return asdict(
        TransformerConfig(
            n_source_vocab=n_vocab, n_target_vocab=n_vocab, shared=True,
            n_encoder_layers=settings.n_layers, n_decoder_layers=settings.n_layers, **common,
        )
    )  # fmt: skip


def build(config: Mapping[str, Any]) -> Transformer | DecoderOnly:
    """The untrained model of a checkpoint's config, of either kind."""
    return build_transformer(config) if "n_encoder_layers" in config else build_decoder_only(config)


def load(folder: Path | str = NAME) -> tuple[Transformer | DecoderOnly, Tokenizer, dict[str, Any]]:
    """The trained model in eval mode, its tokenizer and its card; `Completer(model, tokenizer)` completes text.

    Raises CheckpointError or TokenizerFileError.
    """
    model, card = load_model(folder, build)
    folder = Path(folder) if Path(folder).is_dir() else SHIPPED / folder
    return model, load_tokenizer(folder / TOKENIZER), card


def english(pairs: Sequence[Pair]) -> list[str]:
    """The English sentences of pairs, each once, marked, in a fixed order."""
    return [mark(text) for text in sorted({pair.en for pair in pairs})]


def score(folder: Path | str = NAME, pairs: Path | None = None, n_sentences: int | None = None) -> dict[str, Any]:
    """The test figures of a checkpoint, measured again: what its card has under results.test.

    With `n_sentences` only so many of the test sentences, spread evenly: quicker, and the intervals wider.
    """
    model, tokenizer, card = load(folder)
    sentences = english(load_splits(pairs).test)
    if n_sentences is not None:
        sentences = sentences[:: max(1, len(sentences) // n_sentences)][:n_sentences]
    return measure(Completer(model, tokenizer), sentences, card["settings"]["inside"])


def run(
    name: str,
    settings: Settings,
    *,
    out: Path,
    work: Path,
    pairs: Path | None = None,
    device: str = "cpu",
    stop_after_minutes: float | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Tokenizer, model, figures, card: the whole recipe for one model. Returns the card that it wrote.

    With `stop_after_minutes` the run rests then, with its state saved; the checkpoint is written all the same,
    from the best weights so far, with figures of the validation split alone.
    """
    work.mkdir(parents=True, exist_ok=True)
    splits = load_splits(pairs)
    texts, validation, test = (english(part) for part in (splits.train, splits.validation, splits.test))
    tokenizer = train_english_tokenizer(
        [text.removeprefix(SPACE_MARK).replace(SPACE_MARK, " ") for text in texts],
        n_vocab=settings.n_vocab, min_count=settings.min_count,
    )  # fmt: skip
    ids, n_vocab = Ids(tokenizer), tokenizer.get_vocab_size()
    sentences = [text for text in texts if len(ids(text)) < settings.max_len]
    if not (sentences and validation and test):
        raise ValueError(
            f"{len(sentences)} training, {len(validation)} validation and {len(test)} test sentences are too few to"
            " train and to measure. Give some hundreds of pairs"
        )
    config = config_of(settings, n_vocab)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = build(config)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    n_tokens = sum(len(ids(text)) for text in sentences)
    report(f"{name}: {len(sentences):,} sentences, {n_tokens:,} tokens, {n_parameters:,} parameters")
    steps = train(
        model,
        lambda epoch: draw_cuts(sentences, ids, settings.inside, seed_of("cuts", settings.seed, epoch)),
        collate_encoder_decoder if settings.kind == "encoder-decoder" else collate_decoder_only,
        partial(sequence_loss, smoothing=0.0),
        TrainingSettings(
            seed=settings.seed, epochs=settings.epochs, batch_tokens=settings.batch_tokens,
            learning_rate=settings.learning_rate, warmup_steps=settings.warmup_steps, ema=settings.ema,
            precision="fp32" if device == "cpu" else "auto",
        ),
        length=partial(lengths, kind=settings.kind), work=work, device=device,
        stop_after_minutes=stop_after_minutes, facts={"config": config, "inside": settings.inside}, log_every=50,
    )  # fmt: skip
    if steps.processes.rank:  # under torchrun one process speaks, measures and writes for all
        for _ in steps:
            pass
        return {}
    say_if_finished(steps, work, report)
    best = Best(work / BEST, by="perplexity", run=steps, lowest=True)
    watched = draw_cuts(validation, ids, settings.inside, seed_of("validation"))
    for record in steps:
        if record.epoch_ends and (record.epoch + 1) % settings.evaluate_every == 0:
            evaluate(steps, best, tokenizer, watched, report)
    if best.figures.get("epoch") != steps.epoch:
        evaluate(steps, best, tokenizer, watched, report)
    best.load_into(model)
    model = model.to("cpu").eval()
    as_shipped(model)
    completer = Completer(model, tokenizer)
    results: dict[str, Any] = {"validation": measure(completer, validation, settings.inside)}
    if steps.finished:
        results["test"] = measure(completer, test, settings.inside)
        results["test_baselines"] = baselines(sentences, validation, test, ids, n_vocab, settings.inside)
    machine = "An encoder–decoder" if settings.kind == "encoder-decoder" else "A decoder-only"
    counts = {"train": len(sentences), "validation": len(validation), "test": len(test)}
    card = {
        "name": name,
        "summary": f"{machine} Transformer that completes English sentences; see chapter 14.",
        "licence": "MIT; the training sentences keep their own licence (see data)",
        "recipe": f"python -m attention_decoded.recipes.completer {name}",
        "data": data_of(pairs) | {"sentences": counts, "train_tokens": n_tokens},
        "settings": asdict(settings),
        "training": training_of(steps, best, device),
        "measure": "perplexity per token behind the cut; share of next words guessed; share of keys saved; as the"
        " recipe defines them. Intervals: bootstrap over sentences, 95 %. How suggestions are searched for was chosen"
        " on the validation split, after a first way had been measured on the test split too: see the recipe",
        "results": results,
        "parameters": n_parameters,
        "limits": "Short everyday sentences only; not a source of facts; it repeats the habits of its data.",
    }  # fmt: skip
    save_checkpoint(out, model.state_dict(), config, card, {TOKENIZER: tokenizer.to_str(pretty=False).encode()})
    report(json.dumps(results, indent=2))
    report(f"written to {out}")
    return json.loads((out / "card.json").read_text(encoding="utf-8"))


def evaluate(steps: Run, best: Best, tokenizer: Tokenizer, cuts: Sequence[Cut], report: Callable[[str], None]) -> None:
    """Note the validation perplexity of the averaged weights, and keep them if it is the lowest so far."""
    begun = time.perf_counter()
    with steps.averaged() as model:
        was_training = model.training
        completer = Completer(cast(Transformer | DecoderOnly, model.eval()), tokenizer)
        n_tokens = sum(len(cut.rest) + 1 for cut in cuts)
        figures = {"epoch": steps.epoch, "perplexity": math.exp(sum(cross_entropies(completer, cuts)) / n_tokens)}
        kept = best.offer(model, figures)
        model.train(was_training)
    steps.note(**{f"validation_{name}": x for name, x in figures.items()}, seconds=time.perf_counter() - begun)
    report(f"epoch {steps.epoch}, {steps.seconds / 60:.0f} min: perplexity {figures['perplexity']:.2f} on validation"
           f"{', the best so far' if kept else ''}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m attention_decoded.recipes.completer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to train (both): {', '.join(MODELS)}")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the checkpoints' folders (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs"),
                        help="folder of the runs' states and logs, a folder a model (%(default)s)")  # fmt: skip
    parser.add_argument(
        "--pairs", type=Path, metavar="FILE.tsv", help="your own pairs: rows of Chinese, a tab, English"
    )
    parser.add_argument("--epochs", type=int, help="passes over the sentences")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--minutes", type=float, help="rest after so many minutes; the same command goes on")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    given = parser.parse_args(arguments)
    check_options(parser, given, "pairs", "epochs", "minutes", "seed")
    if unknown := [name for name in given.names if name not in MODELS]:
        parser.error(f"there is no model {', '.join(unknown)}; there are: {', '.join(MODELS)}")
    changes = {"seed": given.seed} | ({} if given.epochs is None else {"epochs": given.epochs})
    try:
        chosen = {name: dataclasses.replace(MODELS[name], **changes) for name in given.names or MODELS}
    except ValueError as error:
        parser.error(str(error))
    for name, settings in chosen.items():
        run(name, settings, out=given.out / name, work=given.work / name, pairs=given.pairs, device=given.device,
            stop_after_minutes=given.minutes)  # fmt: skip


if __name__ == "__main__":
    main()
