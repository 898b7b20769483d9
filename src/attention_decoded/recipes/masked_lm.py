"""Train the masked language model of chapter 7 on the Chinese side of the pairs, in minutes on two cores.

    python -m attention_decoded.recipes.masked_lm --out runs/masked-lm
    python -m attention_decoded.recipes.masked_lm --out runs/mine --pairs FILE.tsv --minutes 5

Task (BERT's): in every sentence and anew in every epoch, 20 % of the tokens (at least one) are
chosen to be guessed. Of those, 80 % are replaced by <mask>, 10 % by a random token, 10 % stay.
(BERT chose 15 %. Of the two, 20 % guessed better on our validation sentences.)

An interrupted run goes on where its last finished epoch ended: run the same command again. Randomness
depends on the seed and the step alone (see training.py), so on one machine with one number of threads the resumed
run ends with the same weights as an uninterrupted one. With --minutes the clock decides when to stop, and runs differ.
"""

import argparse
import copy
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from attention_decoded.attention import padding_mask
from attention_decoded.checkpoints import SHIPPED, load_model, save_checkpoint
from attention_decoded.data import lexicon
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.tokenization import MASK, PAD, SPECIAL_TOKENS, encode, load_tokenizer, train_tokenizer
from attention_decoded.masked_lm import Block, MaskedLanguageModel, MaskedLanguageModelConfig, build_masked_lm
from attention_decoded.recipes._runs import as_shipped, check_options, data_of, machine
from attention_decoded.training import TrainingSettings, bucketed_batches, cross_entropy, pad_rows
from attention_decoded.training import train as train_in_steps

NAME = "masked-lm"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run depends on; a run resumes only under the same settings."""

    epochs: int = 80
    seed: int = 0
    n_vocab: int = 4000
    min_count: int = 4
    batch_tokens: int = 2048
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    hide: float = 0.2
    d_model: int = 64
    d_ff: int = 256
    max_len: int = 64


# ── masks ───────────────────────────────────────────────────────────────────────────────────────


def pad(sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """The sentences as one table of ids, and the mask of its real tokens: None where nothing is padded."""
    ids = pad_rows(sentences)
    lengths = (ids != PAD).sum(1)
    return ids, None if bool((lengths == ids.shape[1]).all()) else padding_mask(lengths, ids.shape[1])


def hide_tokens(
    ids: Tensor, n_vocab: int, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """The ids with some tokens hidden, and True where the model must guess."""
    real = ids != PAD
    chance = torch.rand(ids.shape, generator=generator).masked_fill(~real, 2.0)
    chosen = (chance < share) | (chance == chance.min(dim=1, keepdim=True).values)  # at least one a sentence
    fate = torch.rand(ids.shape, generator=generator)
    strangers = torch.randint(len(SPECIAL_TOKENS), n_vocab, ids.shape, generator=generator)
    hidden = torch.where(chosen & (fate < 0.8), MASK, ids)
    return torch.where(chosen & (fate >= 0.9), strangers, hidden), chosen


# ── evaluation: every token of every sentence is hidden once, alone ─────────────────────────────


@torch.no_grad()
def evaluate(model: MaskedLanguageModel, sentences: Sequence[Sequence[int]]) -> dict[str, float]:
    """Loss in nats and top-1 / top-5 accuracy over all tokens but <unk>, each hidden by <mask> in turn."""
    was_training = model.training
    model.eval()
    loss, top1, top5, count = 0.0, 0, 0, 0
    for sentence in sentences:
        ids = torch.tensor(sentence)
        states = model.streams(ids.repeat(len(ids), 1).fill_diagonal_(MASK))[-1]  # row i hides token i
        known = ids >= len(SPECIAL_TOKENS)
        logits, truth = model.to_logits(states.diagonal().mT[known]), ids[known]
        guesses = logits.topk(5).indices == truth[:, None]
        loss += F.cross_entropy(logits, truth, reduction="sum").item()
        top1, top5, count = top1 + int(guesses[:, 0].sum()), top5 + int(guesses.sum()), count + len(truth)
    model.train(was_training)
    return {"loss": loss / count, "top1": top1 / count, "top5": top5 / count, "tokens": count}


def evaluate_unigram(train: Sequence[Sequence[int]], sentences: Sequence[Sequence[int]]) -> dict[str, float]:
    """The same figures for guessing the most frequent training tokens whatever the sentence says."""
    counts = Counter(i for sentence in train for i in sentence if i >= len(SPECIAL_TOKENS))
    best = [token for token, _ in counts.most_common(5)]
    truth = Counter(i for sentence in sentences for i in sentence if i >= len(SPECIAL_TOKENS))
    total = truth.total()
    return {"top1": truth[best[0]] / total, "top5": sum(truth[i] for i in best) / total, "tokens": total}


def without_attention(model: MaskedLanguageModel) -> MaskedLanguageModel:
    """The same model whose attention adds nothing, trained or not: each position is on its own."""
    for block in model.blocks:
        assert isinstance(block, Block)
        block.attention.to_out.weight.requires_grad_(False).zero_()
    return model


# ── training, resumable at the end of every epoch ───────────────────────────────────────────────


def train(
    model: MaskedLanguageModel,
    sentences: Sequence[Sequence[int]],
    validation: Sequence[Sequence[int]],
    settings: Settings,
    *,
    work: Path | None = None,
    minutes: float | None = None,
    report=print,
) -> dict:
    """Train in place; facts of the run: epochs, minutes, steps. With `work`, save state and log there and resume."""

    def loss(model: MaskedLanguageModel, batch: tuple[Tensor, Tensor | None]) -> tuple[Tensor, int]:
        ids, mask = batch
        seen, chosen = hide_tokens(ids, model.config.n_vocab, settings.hide)  # seeded for every step, as dropout is
        return cross_entropy(model.to_logits(model.streams(seen, mask)[-1][chosen]), ids[chosen])

    n_steps = settings.epochs * len(bucketed_batches(list(map(len, sentences)), settings.batch_tokens))
    steps = train_in_steps(
        model,
        lambda epoch: sentences,
        pad,
        loss,
        TrainingSettings(
            seed=settings.seed, epochs=settings.epochs, minutes=minutes, batch_tokens=settings.batch_tokens,
            learning_rate=settings.learning_rate, warmup_steps=n_steps // 50, schedule="linear",
            weight_decay=settings.weight_decay, precision="fp32", save_minutes=math.inf,
        ),
        work=work, facts=asdict(settings), log_every=0,
    )  # fmt: skip
    if steps.step:
        report(f"going on after epoch {steps.epoch}")
    total, guessed = 0.0, 0
    for record in steps:
        total, guessed = total + record.loss * record.tokens, guessed + record.tokens
        done = steps.progress()
        if record.epoch_ends or done == 1:
            line = {"epoch": record.epoch + 1, "loss": total / guessed, "minutes": round(steps.seconds / 60, 3)}
            if steps.epoch % 5 == 0 or done == 1:
                line |= {f"validation_{name}": value for name, value in evaluate(model, validation).items()}
            report(f"{done:4.0%}  " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}"
                                                 for k, v in line.items()))  # fmt: skip
            steps.note(**line)
            steps.save()
            total, guessed = 0.0, 0
    return {"epoch": steps.epoch, "steps": steps.step, "minutes": steps.seconds / 60}


# ── the whole run ───────────────────────────────────────────────────────────────────────────────


def load(folder: Path | str = NAME) -> tuple[MaskedLanguageModel, Tokenizer, dict]:
    """The trained model in eval mode, its tokenizer and its card."""
    model, card = load_model(folder, build_masked_lm)
    folder = Path(folder) if Path(folder).is_dir() else SHIPPED / folder
    return model, load_tokenizer(folder / "tokenizer.json"), card


def run(
    settings: Settings,
    *,
    out: Path,
    work: Path,
    pairs: Path | None = None,
    minutes: float | None = None,
    report=print,
) -> dict:
    """Tokenizer, model, baselines, card: the whole recipe. Returns the card that it wrote."""
    work.mkdir(parents=True, exist_ok=True)
    splits = load_splits(pairs)
    texts = [sorted({pair.zh for pair in part}) for part in (splits.train, splits.validation, splits.test)]
    tokenizer = train_tokenizer(texts[0], n_vocab=settings.n_vocab, min_count=settings.min_count, words=lexicon.words())
    sentences, validation, test = (
        [ids for ids in encode(tokenizer, part) if 1 < len(ids) <= settings.max_len] for part in texts
    )
    if not (sentences and validation and test):
        raise ValueError(
            f"{len(sentences)} training, {len(validation)} validation and {len(test)} test sentences of 2 to"
            f" {settings.max_len} tokens are too few to train and to measure. Give some hundreds of pairs"
        )
    n_vocab = tokenizer.get_vocab_size()
    report(f"{len(sentences):,} sentences, {sum(map(len, sentences)):,} tokens, {n_vocab:,} vocabulary entries")

    config = MaskedLanguageModelConfig(
        n_vocab=n_vocab, d_model=settings.d_model, d_ff=settings.d_ff, max_len=settings.max_len,
        dropout=settings.dropout,
    )  # fmt: skip

    def fresh() -> MaskedLanguageModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return MaskedLanguageModel(config)

    model = fresh()
    facts = train(model, sentences, validation, settings, work=work, minutes=minutes, report=report)
    as_shipped(model)
    report("baseline: the same model without attention (ten epochs: it soon has nothing left to learn)")
    alone = without_attention(fresh())
    short = Settings(**{**asdict(settings), "epochs": min(10, settings.epochs)})
    train(alone, sentences, validation, short, minutes=minutes and minutes / 4, report=report)
    results = {
        "validation": evaluate(model, validation),
        "test": evaluate(model, test),
        "test_trained_without_attention": evaluate(alone, test),
        "test_attention_cut_after_training": evaluate(without_attention(copy.deepcopy(model)), test),
        "test_unigram": evaluate_unigram(sentences, test),
    }
    card = {
        "name": NAME,
        "summary": "A self-attention encoder that guesses hidden tokens of Chinese sentences; see chapter 7.",
        "licence": "MIT; the training sentences keep their own licence (see data)",
        "recipe": "python -m attention_decoded.recipes.masked_lm",
        "data": {
            **data_of(pairs),
            "sentences": {"train": len(sentences), "validation": len(validation), "test": len(test)},
            "train_tokens": sum(map(len, sentences)),
        },
        "task": f"{100 * settings.hide:.0f} % of the tokens chosen anew in every epoch:"
        " 80 % <mask>, 10 % a random token, 10 % unchanged",
        "settings": asdict(settings),
        "training": {"epochs": facts["epoch"], "steps": facts["steps"], "minutes": round(facts["minutes"], 1),
                     **machine()},
        "measure": "every token of every sentence hidden by <mask> once, alone; <unk> not counted; loss in nats",
        "results": {part: {k: round(v, 4) for k, v in figures.items()} for part, figures in results.items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "limits": "Short everyday sentences only; not a source of facts; it repeats the habits of its data.",
    }  # fmt: skip
    files = {"tokenizer.json": tokenizer.to_str(pretty=False).encode()}
    save_checkpoint(out, model.state_dict(), asdict(config), card, files)
    report(json.dumps(card["results"], indent=2))
    report(f"written to {out}")
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m attention_decoded.recipes.masked_lm", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--epochs", type=int, default=Settings.epochs, help="passes over the sentences (%(default)s)")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes, if the epochs take longer")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="(%(default)s)")
    parser.add_argument("--pairs", type=Path, metavar="FILE.tsv", help="your own corpus: rows of Chinese, tab, English")
    parser.add_argument("--out", type=Path, default=SHIPPED / NAME, help="folder of the checkpoint (%(default)s)")
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME,
                        help="folder of the log and of the state to resume from (%(default)s)")  # fmt: skip
    given = parser.parse_args(arguments)
    check_options(parser, given, "pairs", "epochs", "minutes", "seed")
    settings = Settings(epochs=given.epochs, seed=given.seed)
    run(settings, out=given.out, work=given.work, pairs=given.pairs, minutes=given.minutes)


if __name__ == "__main__":
    main()
