"""Measure the models' code against others' and print a table of ratios: training steps, decoding, reading pairs.

    python .ci/bench_models.py            every ratio beside its budget; the exit status is 0 whatever they are
    python .ci/bench_models.py --strict   1 if a ratio misses its budget
    python .ci/bench_models.py --only training       or decoding, or reading

Ratios compare two programs that get the same batches in the same run, turn by turn, so that whatever else the machine
does hits both. They are ratios of processor time on one thread; each is the median over the turns. Nothing here is
trained: time does not depend on what the weights are, but for where texts end, and that is set by hand.

What is compared with what
    training    one step on the same batches of sentences of like length. `nn.Transformer` and the textbook compute the
                logits of every position and drop out attention weights too, as they come; ours does neither
    decoding    a test set: ours sorts by length and lets texts that have ended leave the batch; Hugging Face's
                `generate` gets the sentences as they come, 64 a batch, and goes on until the longest text ends.
                Then single batches, the same for all: there both are bound by the same matrix products
"""

import argparse
import copy
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attention_decoded.data.pairs import read_tatoeba
from attention_decoded.data.tokenization import BOS, EOS, PAD
from attention_decoded.decoding import batched, greedy, pad
from attention_decoded.positions import sinusoids
from attention_decoded.training import bucketed_batches, collate_pairs, sequence_loss
from attention_decoded.transformer import Transformer, TransformerConfig

N_VOCAB, D_MODEL, N_HEADS, D_FF, N_LAYERS, DROPOUT, SMOOTHING = 4000, 192, 6, 768, 3, 0.1, 0.1
BATCH_TOKENS = 4096
"""Target tokens of one training step, about."""
ROUNDS = 5
Batch = tuple[Tensor, Tensor, Tensor]
Row = tuple[str, float, str, float | None]
"""What, how much, of which unit, and the least (or, where it says so, the most) that it should be."""


def ours() -> Transformer:
    sizes = {"d_model": D_MODEL, "n_heads": N_HEADS, "d_ff": D_FF, "dropout": DROPOUT}
    layers = {"n_encoder_layers": N_LAYERS, "n_decoder_layers": N_LAYERS}
    return Transformer(TransformerConfig(n_source_vocab=N_VOCAB, n_target_vocab=N_VOCAB, **sizes, **layers))


# ── what others do ──────────────────────────────────────────────────────────────────────────────


class TorchTranslator(nn.Module):
    """`nn.Transformer` as its tutorial uses it: tables, sinusoids, logits at every position."""

    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(N_VOCAB, D_MODEL), nn.Embedding(N_VOCAB, D_MODEL)
        self.stacks = self.make_stacks()
        self.to_logits = nn.Linear(D_MODEL, N_VOCAB)
        self.to_logits.weight = self.target.weight
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("table", sinusoids(128, D_MODEL), persistent=False)

    def make_stacks(self) -> nn.Module:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "enable_nested_tensor")  # of no concern in training
            sizes = (D_MODEL, N_HEADS, N_LAYERS, N_LAYERS, D_FF, DROPOUT)
            return nn.Transformer(*sizes, batch_first=True, norm_first=True)

    def embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return self.dropout(table(ids) * math.sqrt(D_MODEL) + self.table[: ids.shape[1]])

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        n = target_in.shape[1]
        padded = source == PAD
        x = self.stacks(
            self.embed(self.source, source),
            self.embed(self.target, target_in),
            tgt_mask=torch.ones(n, n, dtype=torch.bool).triu(1),  # True forbids, here and below
            src_key_padding_mask=padded,
            memory_key_padding_mask=padded,
            tgt_key_padding_mask=target_in == PAD,
            tgt_is_causal=False,
        )
        return self.to_logits(x)


class TextbookAttention(nn.Module):
    """Scores, softmax and dropout, each a table of its own in memory."""

    def __init__(self):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(D_MODEL, D_MODEL) for _ in range(4))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            to(y).view(len(y), -1, N_HEADS, D_MODEL // N_HEADS).transpose(1, 2)
            for to, y in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
        )
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(D_MODEL // N_HEADS)
        weights = self.dropout(F.softmax(scores.masked_fill(mask == 0, -1e9), dim=-1))
        mixed = torch.matmul(weights, v)
        return self.to_out(mixed.transpose(1, 2).contiguous().view(len(x), -1, D_MODEL))


class TextbookNorm(nn.Module):
    """Layer normalisation written out."""

    def __init__(self):
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(D_MODEL)), nn.Parameter(torch.zeros(D_MODEL))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)
        return self.gain * (x - mean) / (std + 1e-6) + self.shift


class TextbookBlock(nn.Module):
    def __init__(self, *, cross: bool):
        super().__init__()
        self.attention, self.cross = TextbookAttention(), TextbookAttention() if cross else None
        self.norms = nn.ModuleList(TextbookNorm() for _ in range(3 if cross else 2))
        self.ff = nn.Sequential(
            nn.Linear(D_MODEL, D_FF), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(D_FF, D_MODEL)
        )  # fmt: skip
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask=None) -> Tensor:
        y = self.norms[0](x)
        x = x + self.dropout(self.attention(y, y, mask))
        if self.cross is not None:
            x = x + self.dropout(self.cross(self.norms[1](x), memory, memory_mask))
        return x + self.dropout(self.ff(self.norms[-1](x)))


class TextbookStacks(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList(TextbookBlock(cross=False) for _ in range(N_LAYERS))
        self.decoder = nn.ModuleList(TextbookBlock(cross=True) for _ in range(N_LAYERS))
        self.norms = nn.ModuleList(TextbookNorm() for _ in range(2))

    def forward(self, x: Tensor, y: Tensor, *, tgt_mask, src_key_padding_mask, tgt_key_padding_mask, **_) -> Tensor:
        seen = ~src_key_padding_mask[:, None, None, :]
        past = ~tgt_mask & ~tgt_key_padding_mask[:, None, None, :]
        for block in self.encoder:
            x = block(x, seen)
        x = self.norms[0](x)
        for block in self.decoder:
            y = block(y, past, x, seen)
        return self.norms[1](y)


class Textbook(TorchTranslator):
    """The same model as textbooks print it: norms and attention written out, one table of numbers after another."""

    def make_stacks(self) -> nn.Module:
        return TextbookStacks()


def text_lengths(source: Tensor, spread: float) -> Tensor:
    """How long the text of each source is to be: as long as the source, give or take a share up to `spread`.

    Untrained models end nowhere, so they are told. Which way a sentence errs hangs on its first token.
    """
    share = 1 + spread * ((source[:, 0] % 101) / 50 - 1)
    return ((source != PAD).sum(1) * share).round().long().clamp(min=1)


class Ending(nn.Module):
    """A writer whose texts end where `text_lengths` says.

    What is left travels in the state, so that it stays with its row whichever rows leave the batch.
    """

    def __init__(self, model: nn.Module, spread: float):
        super().__init__()
        self.model, self.spread = model, spread
        self.eval()

    def start(self, source: Tensor) -> dict[str, Tensor]:
        return {**self.model.start(source), "left": text_lengths(source, self.spread)}

    def step(self, ids: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        left = state["left"] - 1
        logits, after = self.model.step(ids, {name: x for name, x in state.items() if name != "left"})
        logits[:, EOS] = torch.where(left == 0, 1e4, -1e4)
        return logits, {**after, "left": left}


class Forgetful(nn.Module):
    """Ours without a cache: each step is a whole `forward` over the source and all that was written."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model

    def start(self, source: Tensor) -> dict[str, Tensor]:
        return {"source": source, "written": source[:, :0]}

    def step(self, ids: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        written = torch.cat([state["written"], ids[:, None]], dim=1)
        return self.model(state["source"], written)[:, -1], {**state, "written": written}


class Rereading(Forgetful):
    """Less forgetful: the source is read once, and only the last position's logits are computed."""

    def start(self, source: Tensor) -> dict[str, Tensor]:
        memory, mask = self.model.encode(source)
        mask = (source != PAD)[:, None, None, :] if mask is None else mask
        return {"memory": memory, "mask": mask, "written": source[:, :0]}

    def step(self, ids: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        written = torch.cat([state["written"], ids[:, None]], dim=1)
        states = self.model.decode(written, state["memory"], state["mask"])
        return self.model.to_logits(states[:, -1]), {**state, "written": written}


# ── measuring ───────────────────────────────────────────────────────────────────────────────────


def alternate(programs: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Processor seconds of each program, turn by turn, after one turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            start = time.process_time()
            program()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def sentences(mean: float, n: int) -> list[tuple[list[int], list[int]]]:
    """Pairs of random ids whose lengths are spread as those of real sentence pairs: gamma, both sides alike."""
    random, made = np.random.default_rng(0), []
    for length in random.gamma(6.0, mean / 6, n):
        source, target = (max(1, round(length * jitter) - 1) for jitter in random.uniform(0.85, 1.15, 2))
        made.append(tuple(random.integers(5, N_VOCAB, side).tolist() for side in (source, target)))
    return made


def training_batches(mean: float, *, n: int) -> list[Batch]:
    """As a training run makes them: sentences of like length side by side."""
    pairs = sentences(mean, 40 * BATCH_TOKENS // int(mean))
    lengths = [(len(source) + 1, len(target) + 1) for source, target in pairs]
    chosen = bucketed_batches(lengths, 2 * BATCH_TOKENS, torch.Generator().manual_seed(0))
    return [collate_pairs([pairs[i] for i in batch]) for batch in chosen[:n]]


def steps_of(model: nn.Module, loss: Callable, batches: list[Batch], *, bf16: bool = False) -> Callable[[], None]:
    """One training step on the next batch, at each call."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    endless: Iterator[Batch] = (batch for _ in iter(int, 1) for batch in batches)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss(model, next(endless))
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    model.train()
    return step


def textbook_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Label smoothing as textbooks print it: a table of smoothed targets, and the divergence from it."""
    source, target_in, target_out = batch
    log_probs = model(source, target_in).log_softmax(-1).flatten(0, 1)
    wanted = torch.full_like(log_probs, SMOOTHING / (N_VOCAB - 2))
    wanted.scatter_(1, target_out.flatten()[:, None], 1 - SMOOTHING)
    wanted[:, PAD] = 0
    wanted.masked_fill_((target_out.flatten() == PAD)[:, None], 0)
    return F.kl_div(log_probs, wanted, reduction="sum") / (target_out != PAD).sum()


def plain_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy over the logits of every position, those of padding left out of the mean."""
    source, target_in, target_out = batch
    logits = model(source, target_in).flatten(0, 1)
    return F.cross_entropy(logits, target_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING)


def our_loss(model: nn.Module, batch: Batch) -> Tensor:
    value, n = sequence_loss(model, batch, SMOOTHING)
    return value / n


# ── the three parts ─────────────────────────────────────────────────────────────────────────────


def training() -> list[Row]:
    rows: list[Row] = []
    for mean in (9, 32):
        batches = training_batches(mean, n=ROUNDS + 1)
        shape = f"{mean} tokens a sentence"
        model = ours()
        programs = {
            "ours": steps_of(model, our_loss, batches),
            "torch": steps_of(TorchTranslator(), plain_loss, batches),
            "textbook": steps_of(Textbook(), textbook_loss, batches),
            "bf16": steps_of(copy.deepcopy(model), our_loss, batches, bf16=True),
        }
        times = alternate(programs)
        tokens = statistics.mean(int((b[0] != PAD).sum() + (b[2] != PAD).sum()) for b in batches)
        speed = tokens / statistics.median(times["ours"])
        rows += [
            (f"training step, {shape}: ours", speed, "source+target tokens/s", None),
            (f"training step, {shape}: ours over nn.Transformer", ratio(times, "torch", "ours"), "×", 1.3),
            (f"training step, {shape}: ours over a textbook", ratio(times, "textbook", "ours"), "×", 1.5),
            (f"training step, {shape}: nn.Transformer over a textbook", ratio(times, "textbook", "torch"), "×", None),
            (f"training step, {shape}: bf16 over fp32, both ours", ratio(times, "ours", "bf16"), "×", None),
        ]
    return rows


def marian():
    """Hugging Face's Marian of the same size."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.MarianConfig(
        vocab_size=N_VOCAB, d_model=D_MODEL, encoder_layers=N_LAYERS, decoder_layers=N_LAYERS,
        encoder_attention_heads=N_HEADS, decoder_attention_heads=N_HEADS, encoder_ffn_dim=D_FF, decoder_ffn_dim=D_FF,
        activation_function="relu", scale_embedding=True, max_position_embeddings=256, pad_token_id=PAD,
        bos_token_id=BOS, eos_token_id=EOS, decoder_start_token_id=BOS, forced_eos_token_id=None,
    )  # fmt: skip
    return transformers.MarianMTModel(config).eval()


def ctranslate2_of(model, folder: Path):
    """The same Marian in CTranslate2's format, opened on one thread."""
    ctranslate2 = import_module("ctranslate2")  # optional, so no import statement: those are all pinned
    loader = import_module("ctranslate2.converters.transformers").BartLoader()
    model.config.normalize_before, model.config.normalize_embedding = False, False
    spec = loader.get_model_spec(model)
    tokens = ["<pad>", "<unk>", "<s>", "</s>", *map(str, range(4, N_VOCAB))]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir()
    spec.save(str(folder))
    return ctranslate2.Translator(str(folder), device="cpu", intra_threads=1, inter_threads=1), tokens


def one_length(n_batch: int, n: int) -> Tensor:
    """Sources of one length, as they lie side by side in a batch that was sorted by length."""
    source = torch.randint(5, N_VOCAB, (n_batch, n), generator=torch.Generator().manual_seed(0))
    source[:, -1] = EOS
    return source


def hugging_face_greedy(model: nn.Module, source: Tensor, spread: float) -> list[list[int]]:
    """`generate`, whose texts end where `Ending`'s do."""
    from transformers import LogitsProcessorList

    lengths = text_lengths(source, spread)

    def end(input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, EOS] = torch.where(lengths == input_ids.shape[1], 1e4, -1e4)
        return scores

    found = model.generate(  # type: ignore[operator]
        source,
        attention_mask=(source != PAD).long(),
        do_sample=False,
        max_new_tokens=int(lengths.max()),
        logits_processor=LogitsProcessorList([end]),
    )
    return [row[:n] for row, n in zip(found[:, 1:].tolist(), lengths.tolist(), strict=True)]


@torch.no_grad()
def decoding() -> list[Row]:
    """First the work itself, a test set to translate; then single batches, which tell where the time goes."""
    model, theirs = ours().eval(), marian()
    forgetful, rereading = Forgetful(model), Rereading(model)
    rows: list[Row] = []

    spread = 0.3
    encoded = [[*source, EOS] for source, _ in sentences(10, 512)]
    wanted = [int(text_lengths(torch.tensor([ids]), spread)) for ids in encoded]

    def by_ours(writer: nn.Module) -> list[int]:
        ending = Ending(writer, spread)
        return [len(text.ids) for text in batched(lambda source: greedy(ending, source), encoded)]

    def by_theirs() -> list[int]:
        batches = [pad(encoded[i : i + 64]) for i in range(0, len(encoded), 64)]
        return [len(ids) for source in batches for ids in hugging_face_greedy(theirs, source, spread)]

    programs: dict[str, Callable[[], object]] = {
        "ours": partial(by_ours, model),
        "forgetful": partial(by_ours, forgetful),
        "theirs": by_theirs,
    }
    if not all(program() == wanted for program in programs.values()):
        raise RuntimeError("the programs that are compared write texts of different lengths")
    times = alternate(programs)
    what = f"greedy, {len(encoded)} sentences of about 10 tokens"
    rows += [
        (f"{what}: ours, `batched`", sum(wanted) / statistics.median(times["ours"]), "tokens/s", None),
        (f"{what}: cached over uncached", ratio(times, "forgetful", "ours"), "×", 5.0),
        (f"{what}: ours over Hugging Face, 64 a batch", ratio(times, "theirs", "ours"), "×", 2.0),
    ]

    with tempfile.TemporaryDirectory() as folder:
        try:
            fast, tokens = ctranslate2_of(theirs, Path(folder) / "marian")
        except ImportError as error:
            fast, tokens = None, []
            print(f"CTranslate2 is left out: {error} (pip install ctranslate2)", file=sys.stderr)
        for n_batch, n, spread in ((64, 10, 0.0), (64, 10, 0.3), (64, 32, 0.0), (64, 32, 0.3)):
            source = one_length(n_batch, n)
            programs = {
                name: partial(greedy, Ending(writer, spread), source)
                for name, writer in (("ours", model), ("forgetful", forgetful), ("rereading", rereading))
            }
            programs["theirs"] = partial(hugging_face_greedy, theirs, source, spread)
            if fast is not None and not spread:
                words = [[tokens[i] for i in row] for row in source.tolist()]
                programs["ctranslate2"] = partial(
                    fast.translate_batch, words, beam_size=1, min_decoding_length=n, max_decoding_length=n
                )
            times = alternate(programs)
            what = f"one batch, {n_batch} × {n} tokens" + (f" ± up to {spread:.0%}" if spread else "")
            written = int(text_lengths(source, spread).sum())
            rows += [
                (f"{what}: ours", written / statistics.median(times["ours"]), "tokens/s", None),
                (f"{what}: cached over uncached", ratio(times, "forgetful", "ours"), "×", 5.0),
                (f"{what}: the same, source read once", ratio(times, "rereading", "ours"), "×", None),
                (f"{what}: ours over Hugging Face", ratio(times, "theirs", "ours"), "×", 2.0),
            ]
            if "ctranslate2" in programs:
                rows.append((f"{what}: CTranslate2 over ours", ratio(times, "ours", "ctranslate2"), "×", None))
    return rows


READ = """
import os, subprocess, sys
from pathlib import Path
from attention_decoded.data.pairs import read_pairs
def held():
    if (table := Path("/proc/self/statm")).exists():
        return int(table.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])) / 1e3
for number, _ in enumerate(read_pairs(sys.argv[1]), start=1):
    if number in (100_000, 1_000_000):
        print(held())
"""


def reading() -> list[Row]:
    """The memory that a process of its own holds while a million pairs go by."""
    if os.name == "nt":
        print("Reading is left out: Windows has neither /proc nor ps", file=sys.stderr)
        return []
    some = [f"{pair.zh}\t{pair.en}\n" for pair, _ in zip(read_tatoeba(), range(1000), strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.tsv"
        with path.open("w", encoding="utf-8") as file:
            for _ in range(1000):
                file.writelines(some)
        run = subprocess.run([sys.executable, "-c", READ, str(path)], check=True, capture_output=True, text=True)
        size = path.stat().st_size / 1e6
    early, late = map(float, run.stdout.split())
    what = f"reading 1,000,000 pairs ({size:.0f} MB)"
    return [
        (f"{what}: memory of the process", late, "MB", None),
        (f"{what}: growth after the first 100,000", late - early, "MB, at most", 2.0),
    ]


def kept(row: Row) -> bool:
    _, value, unit, budget = row
    return budget is None or (value <= budget if "at most" in unit else value >= budget)


def main() -> int:
    parts = {"training": training, "decoding": decoding, "reading": reading}
    parser = argparse.ArgumentParser(description="Ratios of the models' code to others', beside their budgets.")
    parser.add_argument("--only", choices=parts, help="one part of the three")
    parser.add_argument("--strict", action="store_true", help="fail if a ratio misses its budget")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows: list[Row] = []
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            rows += part()
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"\n{platform.system()} {platform.machine()}, {os.cpu_count()} cores{busy}, PyTorch {torch.__version__}\n")
    print(f"{'':<74} {'measured':>30}   {'budget':>8}")
    for row in rows:
        what, value, unit, budget = row
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
        verdict = "" if budget is None else f"{budget:>8.1f}   {'pass' if kept(row) else 'MISSED'}"
        print(f"{what:<74} {shown + ' ' + unit:>30}   {verdict}".rstrip())
    missed = [row[0] for row in rows if not kept(row)]
    if missed:
        print("\nMissed: " + "; ".join(missed))
    return int(arguments.strict and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
