"""Measure what single cuts do to the translations, and what attention weights tell of it.

    python -m attention_decoded.recipes.knockouts
    python -m attention_decoded.recipes.knockouts --model runs/mine --pairs FILE.tsv --out FILE.json

A sample of the test split is translated greedily. Then, one at a time, cells, token pairs, columns, heads, layers
and the positions are cut (`knockout.py`), and the model reads its own old translation again. Is every token still
the likeliest in its place? If not, the greedy translation has changed. And by how much has the log-probability of
the old translation changed (Δ, in nats)?

Of the cells a sample is cut: rows of single heads of the cross-attention are drawn, and in each of them first a
random cell, then the one that holds the most weight. The two kinds share their rows, so they are compared in pairs.

Attention weights are held against the pairs' effects: the rank correlation, per sentence, between the mean weight
of (query, key) and |Δ| of the very token that the query writes, when the pair is cut in all heads and layers; and
beside it what a random order and mere distance would give, and the paired differences from both. Intervals are
bootstraps over sentences, 95 %.
"""

import argparse
import json
import math
import operator
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from tokenizers import Tokenizer
from torch import Tensor

from attention_decoded.capture import capture
from attention_decoded.checkpoints import SHIPPED, WEIGHTS
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.tokenization import BOS, EOS, decode, encode
from attention_decoded.decoding import FORBIDDEN, Hypothesis, greedy
from attention_decoded.files import write_atomically
from attention_decoded.knockout import Cut, Stack, knockout
from attention_decoded.recipes._runs import check_options
from attention_decoded.recipes.translator import NAME, load
from attention_decoded.transformer import Transformer

RESULTS = "knockouts.json"
"""Its name beside the model's weights."""
BATCH_TOKENS = 4096
STACKS: tuple[Stack, ...] = ("encoder", "decoder", "cross")
CELLS = ("random_cell", "largest_cell")
"""The kinds of which a sample is cut; of the other kinds all are."""

# Our own sentences: those of the test split belong to others, and are counted but never shown.
SENTENCES = (
    "昨天我在书店买了三本书。", "我妹妹每天早上喝一杯热牛奶。", "他昨天没有来上班，因为他病了。",
    "你想喝茶还是喝咖啡？", "这条红裙子比那条蓝裙子贵。", "下雨的时候，我们都待在家里。",
    "我的老师住在一座小城市里。", "请把那扇窗户关上。", "她会说中文，但是不会写。", "他们坐火车去北京看朋友。",
    "桌子上有两个苹果和一杯水。", "我爸爸不喜欢吃鱼。", "明天你打算做什么？", "这个问题比我想的难。",
    "小狗跟着孩子跑进了花园。", "我已经三年没有见过他了。", "她一边唱歌，一边洗碗。", "如果明天天气好，我们就去爬山。",
    "他的哥哥是医生，姐姐是老师。", "昨天晚上你为什么没有给我打电话？", "我们学校旁边有一家很好的饭馆。",
    "那位老人每天在公园里散步。", "我不知道她是什么时候离开的。", "孩子们在河边玩得很高兴。",
    "这部电影我看过两次。", "他把钥匙忘在办公室里了。", "冬天这里常常下大雪。", "我从来没有去过日本。",
    "她比她丈夫大五岁。", "我的手机被弟弟弄坏了。", "请你慢一点说，我听不懂。", "那家商店星期天不开门。",
    "我正在学怎么做中国菜。", "他跑得比我快得多。", "今天早上的公共汽车来得很晚。", "妈妈让我去买一些面包。",
    "我们认识已经十年了。", "医生告诉他不要再抽烟。", "外面太冷了，穿上你的大衣吧。", "谁把我的自行车骑走了？",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the figures depend on, beside the model and its data."""

    n_sentences: int = 300
    seed: int = 0
    n_cells: int = 24
    """Rows of single heads of the cross-attention drawn for each sentence: each loses one cell of either kind."""
    n_orders: int = 20
    """Random orders of each sentence's pairs, of which the mean is kept: one alone is mostly luck."""
    max_len: int = 64
    """Sentences whose translation has not ended by then are left out."""
    n_bootstrap: int = 1000
    n_examples: int = 12


place = operator.itemgetter("layer", "head", "query", "key")
"""Where a cell is, in the weights of a stack."""

# ── the cuts ────────────────────────────────────────────────────────────────────────────────────


def all_cuts(
    model: Transformer, weights: Float[np.ndarray, "layer head target source"], draw: random.Random, n_cells: int
) -> dict[str, list[Cut]]:
    """By kind, the cuts that a sentence with these weights of its cross-attention has; of its cells a sample."""
    config, (n_target, n_source) = model.config, weights.shape[2:]
    sizes = {"encoder": config.n_encoder_layers, "decoder": config.n_decoder_layers, "cross": config.n_decoder_layers}
    layers = {stack: range(sizes[stack]) for stack in STACKS}
    heads, queries, keys = range(config.n_heads), range(n_target), range(n_source)
    rows = list(product(layers["cross"], heads, queries))
    rows = draw.sample(rows, min(n_cells, len(rows)))
    lost = {
        "random_cell": [draw.randrange(n_source) for _ in rows],
        "largest_cell": [int(weights[row].argmax()) for row in rows],
    }
    cuts: dict[str, list[Cut]] = {
        kind: [
            {"stack": "cross", "layer": layer, "head": head, "query": query, "key": key}
            for (layer, head, query), key in zip(rows, lost[kind], strict=True)
        ]
        for kind in CELLS
    }
    cuts |= {
        "pair": [{"stack": "cross", "query": query, "key": key} for query, key in product(queries, keys)],
        "column": [{"stack": "cross", "key": key} for key in keys],
    }
    for stack in STACKS:
        places = product(layers[stack], heads)
        cuts[f"{stack}_head"] = [{"stack": stack, "layer": layer, "head": head} for layer, head in places]
    for stack in STACKS:
        cuts[f"{stack}_layer"] = [{"stack": stack, "layer": layer} for layer in layers[stack]]
    return {**cuts, "positions": [{"positions": True}]}


@torch.no_grad()
def token_log_probs(
    model: Transformer, source: Sequence[int], written: Sequence[int], rows: Sequence[Sequence[Cut]]
) -> tuple[Float[Tensor, "row target"], Bool[Tensor, " row"]]:
    """Of a known text under each list of cuts: every token's log-probability; whether each is still the likeliest.

    `source` and `written` end with EOS. While every token is the likeliest in its place, greedy search writes
    just this text.
    """
    out, n = torch.tensor(written), max(1, BATCH_TOKENS // max(len(source), len(written)))
    log_probs, same = torch.zeros(len(rows), len(written)), torch.zeros(len(rows), dtype=torch.bool)
    read = torch.tensor([source])
    memory, _ = model.encode(read)
    before = [any(cut.get("stack", "encoder") == "encoder" for cut in cuts) for cuts in rows]  # positions, too
    for anew in (False, True):  # most cuts leave what the encoder gives as it is
        chosen = [i for i, reaches in enumerate(before) if reaches == anew]
        for at in (chosen[i : i + n] for i in range(0, len(chosen), n)):
            target_in = torch.tensor([[BOS, *written[:-1]]]).expand(len(at), -1)
            with knockout(model, rows=[rows[i] for i in at]):
                if anew:
                    states = model.states(read.expand(len(at), -1), target_in)
                else:
                    states = model.decode(target_in, memory.expand(len(at), -1, -1))
            each = model.to_logits(states).log_softmax(-1)
            log_probs[at] = each.gather(2, out.expand(len(at), -1)[:, :, None])[:, :, 0]
            each[:, :, list(FORBIDDEN)] = -math.inf
            same[at] = (each.argmax(-1) == out).all(-1)
    return log_probs, same


# ── one sentence ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sentence:
    """A source, its greedy translation, and what each cut does to it."""

    source: list[int]
    written: list[int]
    log_probs: list[float]
    cuts: dict[str, list[Cut]]
    deltas: dict[str, Float[np.ndarray, "cut target"]]
    """By kind: the change of every token's log-probability, in nats."""
    changed: dict[str, Bool[np.ndarray, " cut"]]
    weights: Float[np.ndarray, "layer head target source"]
    """Of the cross-attention, nothing being cut."""


def knock_out(
    model: Transformer, source: Sequence[int], text: Hypothesis, draw: random.Random, n_cells: int
) -> Sentence:
    """Measure every cut of a sentence. `text` is its greedy translation, finished."""
    written = list(text.ids)
    with torch.no_grad(), capture(model) as records:
        model.states(torch.tensor([source]), torch.tensor([[BOS, *written[:-1]]]))
    looks = [record.weights[0] for record in records if ".cross." in record.name]
    weights = torch.stack(looks).double().numpy()
    cuts = all_cuts(model, weights, draw, n_cells)
    rows = [[], *([cut] for kind in cuts.values() for cut in kind)]
    log_probs, same = token_log_probs(model, source, written, rows)
    deltas = (log_probs[1:] - log_probs[0]).double().numpy()
    ends = np.cumsum([len(kind) for kind in cuts.values()])[:-1]
    by_kind = zip(cuts, np.split(deltas, ends), np.split(~same[1:].numpy(), ends), strict=True)
    found = {kind: (each, moved) for kind, each, moved in by_kind}
    return Sentence(
        list(source),
        written,
        log_probs[0].tolist(),
        cuts,
        {kind: each for kind, (each, _) in found.items()},
        {kind: moved for kind, (_, moved) in found.items()},
        weights,
    )


# ── what weights tell ───────────────────────────────────────────────────────────────────────────


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's ρ along the last axis, equal values sharing their mean rank; NaN where a side is all alike."""
    a, b = (rankdata(each, axis=-1) for each in (x, y))
    a, b = (each - each.mean(-1, keepdims=True) for each in (a, b))
    size = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    with np.errstate(invalid="ignore"):
        return np.where(size > 0, (a * b).sum(-1) / np.where(size > 0, size, 1), np.nan)


def tell(sentence: Sentence, draw: np.random.Generator, n_orders: int) -> dict[str, dict[str, float]]:
    """How well weights, nearness and chance (`n_orders` times) order the pairs of a sentence by their cuts' effect.

    all_pairs      ρ over all pairs of the sentence
    within_query   mean over the queries of ρ over the keys
    strongest      share of queries whose first key in that order is the one whose cut is felt most
    """
    weights = sentence.weights.mean((0, 1))
    n_target, n_source = weights.shape
    each = sentence.deltas["pair"].reshape(n_target, n_source, n_target)
    effect = np.abs(each[np.arange(n_target), :, np.arange(n_target)])  # of the token that the query itself writes
    queries, keys = ((np.arange(n) + 0.5) / n for n in (n_target, n_source))
    orders = {  # each an array [order query key]; the larger, the stronger the effect should be
        "attention": weights[None],
        "distance": -np.abs(queries[:, None] - keys[None, :])[None],
        "random": np.stack([draw.permutation(weights.size).reshape(weights.shape) for _ in range(n_orders)]),
    }
    told = {}
    for name, order in orders.items():
        within = rank_correlation(order, effect)
        told[name] = {
            "all_pairs": float(rank_correlation(order.reshape(len(order), -1), effect.ravel()).mean()),
            "within_query": float(np.nanmean(within)) if np.isfinite(within).any() else math.nan,
            "strongest": float((order.argmax(-1) == effect.argmax(-1)).mean()),
        }
    return told


# ── all sentences ───────────────────────────────────────────────────────────────────────────────


def bootstrap(
    statistics: Float[np.ndarray, "sentence count"], figure: Callable[[np.ndarray], Any], settings: Settings
) -> dict[str, float | int]:
    """A figure of the sums over sentences, and the middle 95 % of it over samples drawn from them with replacement."""
    generator, n = np.random.default_rng(settings.seed), len(statistics)
    drawn = [float(figure(statistics[generator.integers(0, n, n)].sum(0))) for _ in range(settings.n_bootstrap)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": float(figure(statistics.sum(0))), "low": float(low), "high": float(high), "n": n}


def ratio(sums: np.ndarray) -> float:
    return sums[0] / sums[1]


def difference(sums: np.ndarray) -> float:
    """Of two ratios of one drawing, so that it is paired."""
    return sums[0] / sums[1] - sums[2] / sums[3]


def count(sentence: Sentence) -> dict[str, np.ndarray]:
    """By kind: how many cuts, how many changed the text, the sum of |Δ|; of cells also the weight that they held."""
    counts = {}
    for kind, deltas in sentence.deltas.items():
        sums = [len(deltas), sentence.changed[kind].sum(), np.abs(deltas.sum(1)).sum()]
        if kind in CELLS:
            sums.append(sum(float(sentence.weights[place(cut)]) for cut in sentence.cuts[kind]))
        counts[kind] = np.array(sums, dtype=float)
    return counts


def summary(
    sentences: Sequence[dict[str, np.ndarray]], told: Sequence[dict[str, Any]], settings: Settings
) -> dict[str, Any]:
    """The figures of all sentences, each given by what `count` and `tell` say of it."""
    kinds = {}
    for kind in sentences[0]:
        counts = np.stack([each[kind] for each in sentences])
        kinds[kind] = {
            "cuts": int(counts[:, 0].sum()),
            "changed": int(counts[:, 1].sum()),
            "share_changed": bootstrap(counts[:, [1, 0]], ratio, settings),
            "mean_abs_delta": bootstrap(counts[:, [2, 0]], ratio, settings),
        }
        if kind in CELLS:
            kinds[kind]["mean_weight"] = bootstrap(counts[:, [3, 0]], ratio, settings)
    drawn, largest = (np.stack([each[kind] for each in sentences]) for kind in CELLS)
    by_weight = {
        name: bootstrap(np.hstack([largest[:, [i, 0]], drawn[:, [i, 0]]]), difference, settings)
        for i, name in ((1, "share_changed"), (2, "mean_abs_delta"))
    }
    correlation: dict[str, Any] = {}
    for how in told[0]["attention"]:
        whole = [each for each in told if all(math.isfinite(order[how]) for order in each.values())]
        rows = {name: np.array([[each[name][how], 1.0] for each in whole]) for name in told[0]}
        for name in [name for name in rows if name != "attention"]:
            rows[f"attention_minus_{name}"] = rows["attention"] - rows[name] * [1, 0]
        correlation[how] = {name: bootstrap(each, ratio, settings) for name, each in rows.items()}
    return {"kinds": kinds, "largest_minus_random_cell": by_weight, "correlation": correlation}


def translations(model: Transformer, sources: Sequence[Sequence[int]], max_len: int) -> Iterator[Hypothesis]:
    """Each source's greedy translation, one at a time: the very numbers that its cuts are held against."""
    for source in sources:
        yield greedy(model, torch.tensor([source]), max_len=max_len)[0]


def run(
    folder: Path | str = NAME,
    *,
    out: Path,
    settings: Settings,
    pairs: Path | None = None,
    sentences: Sequence[str],
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure, choose the examples, write the file. Returns what it wrote.

    Raises ValueError when fewer than two sentences could be measured.
    """
    begun = time.perf_counter()
    model, source, target, card = load(folder)
    test = sorted({pair.zh for pair in load_splits(pairs).test})
    draw = random.Random(settings.seed)
    chosen = draw.sample(test, min(settings.n_sentences, len(test)))
    sources = [[*ids, EOS] for ids in encode(source, chosen)]
    generator = np.random.default_rng(settings.seed)
    counts, told = [], []
    for i, (ids, text) in enumerate(zip(sources, translations(model, sources, settings.max_len), strict=True), start=1):
        if not text.finished:
            continue
        measured = knock_out(model, ids, text, draw, settings.n_cells)
        counts.append(count(measured))
        told.append(tell(measured, generator, settings.n_orders))
        if i % 20 == 0 or i == len(sources):
            minutes = (time.perf_counter() - begun) / 60
            report(f"{i} of {len(sources)} sentences, {minutes:.1f} min; {minutes / i * (len(sources) - i):.1f} to go")
    if len(counts) < 2:
        raise ValueError(
            f"of {len(sources)} sentences {len(counts)} have a translation that ends within {settings.max_len} tokens:"
            " too few to measure. Take more sentences, or a model that was trained for longer"
        )
    results = {
        "summary": "What single cuts in the translator's attention do to its translations; see chapter 12.",
        "licence": "MIT; the example sentences are the book's own",
        "recipe": "python -m attention_decoded.recipes.knockouts",
        "model": {"name": card["name"], "sha256": card["sha256"][WEIGHTS]},
        "settings": asdict(settings),
        "data": {"split": "test", "sentences": len(counts), "left_out": len(sources) - len(counts)},
        "measure": "greedy translations; Δ: change of the old translation's log-probability, in nats; intervals:"
        " bootstrap over sentences, 95 %",
        **summary(counts, told, settings),
        "examples": examples(model, source, target, sentences, settings),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
    }
    write_atomically(out, (json.dumps(results, ensure_ascii=False, indent=1) + "\n").encode())
    return results


# ── examples ────────────────────────────────────────────────────────────────────────────────────


def kept(before: str, after: str) -> float:
    """How much two texts have in common, 0 to 1: the share of their words that stand in both, in the same order."""
    return SequenceMatcher(a=before.split(), b=after.split(), autojunk=False).ratio()


def examples(
    model: Transformer, source: Tokenizer, target: Tokenizer, sentences: Sequence[str], settings: Settings
) -> list[dict[str, Any]]:
    """The most telling cut of each of the most telling sentences, best first.

    A cut tells much when its effect is strong and yet leaves most of the translation as it was: one can see
    what hung on it. So cuts are ranked by |Δ| times what the two texts have in common; each sentence comes once,
    and no kind of cut makes up more than a third.
    """
    draw, ids = random.Random(settings.seed), [[*each, EOS] for each in encode(source, list(sentences))]
    found = []
    for sentence, read, text in zip(sentences, ids, translations(model, ids, settings.max_len), strict=True):
        if not text.finished:
            continue
        measured, before = knock_out(model, read, text, draw, 0), decode(target, text.ids)
        for kind, cuts in measured.cuts.items():
            totals = np.where(measured.changed[kind], np.abs(measured.deltas[kind].sum(1)), 0)
            for i in np.argsort(-totals, kind="stable")[:2]:
                if not totals[i]:
                    continue
                with knockout(model, [cuts[i]]):
                    [now] = greedy(model, torch.tensor([read]), max_len=settings.max_len)
                after = decode(target, now.ids)
                found.append(
                    {
                        "source": sentence,
                        "source_tokens": [source.id_to_token(id_) for id_ in read],
                        "translation": before,
                        "translation_tokens": [target.id_to_token(id_) for id_ in text.ids],
                        "kind": kind,
                        "cut": cuts[i],
                        "new_translation": after,
                        "delta": round(float(measured.deltas[kind][i].sum()), 4),
                        "deltas": [round(float(x), 4) for x in measured.deltas[kind][i]],
                        "kept": round(kept(before, after), 3),
                    }
                )
    chosen: dict[str, dict[str, Any]] = {}
    for one in sorted(found, key=lambda one: -abs(one["delta"]) * one["kept"]):
        alike = sum(other["kind"] == one["kind"] for other in chosen.values())
        if one["source"] not in chosen and alike < math.ceil(settings.n_examples / 3):
            chosen[one["source"]] = one
    return list(chosen.values())[: settings.n_examples]


def main() -> None:
    usual = Settings()
    parser = argparse.ArgumentParser(description="Measure what single cuts do to the translator's translations")
    parser.add_argument("--model", default=NAME, help="a translator's folder, or the name of a shipped one")
    parser.add_argument(
        "--sentences", type=int, default=usual.n_sentences, help="how many of the test split (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="of the sample (default: %(default)s)")
    parser.add_argument("--out", type=Path, help=f"the file (default: {RESULTS} beside the model's weights)")
    parser.add_argument("--pairs", type=Path, help="the file that the model was trained on, where it is your own")
    given = parser.parse_args()
    if given.sentences < 2:
        parser.error(f"--sentences {given.sentences}: give at least 2")
    if not Path(given.model).is_dir():
        check_options(parser, given, "sentences", "seed", "pairs")
    folder = Path(given.model) if Path(given.model).is_dir() else SHIPPED / given.model
    settings = Settings(n_sentences=given.sentences, seed=given.seed)
    out = given.out or folder / RESULTS
    results = run(folder, out=out, settings=settings, pairs=given.pairs, sentences=SENTENCES)
    for kind, figures in results["kinds"].items():
        share, delta = figures["share_changed"], figures["mean_abs_delta"]
        print(
            f"{kind}: {figures['changed']:,} of {figures['cuts']:,} cuts change the translation"
            f" ({share['value']:.1%}, {share['low']:.1%} to {share['high']:.1%}); mean |Δ| {delta['value']:.3f}"
        )
    more = results["largest_minus_random_cell"]["share_changed"]
    print(f"largest less random cell: {more['value']:+.1%}, {more['low']:+.1%} to {more['high']:+.1%}")
    for how, orders in results["correlation"].items():
        print(f"{how}: " + ", ".join(f"{name} {x['value']:.2f}" for name, x in orders.items()))


if __name__ == "__main__":
    main()
