"""Train the word vectors of chapter 4 on 2.8 million words of English, by gensim, in minutes on one core.

    python -m attention_decoded.recipes.word_vectors                        try all candidates, ship the chosen one
    python -m attention_decoded.recipes.word_vectors --method cbow --d-latent 50 --out runs/cbow

Text: presidents' addresses, the English side of the pairs' training split, a sample of Wikipedia (data/corpora.py).

Which candidate is shipped? A file for a page holds wide vectors of few words or narrow ones of many. Every
candidate is scored on one half of WordSim-353 (a pair's hash says which half); of those within `TOLERANCE` of the
best the narrowest is taken, for it holds the most words. The card's figures are of the other half, which no choice
has seen, and of SimLex-999 and the analogies.

Which words are shipped? See `choose_words`.

Randomness: gensim is deterministic with one worker and a seed. Since its version 4 the first vectors come from the
seed and a word's row, no longer from Python's hash of the word, so PYTHONHASHSEED does not matter; a test holds it
to that. An interrupted run is started again: nothing is written before all is measured.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from attention_decoded.checkpoints import SHIPPED, CheckpointError, load_checkpoint, save_checkpoint
from attention_decoded.data.corpora import pair_words, sotu_words, wikipedia_words
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.sources import SOTU, TATOEBA, WIKIPEDIA, Source, read_source
from attention_decoded.recipes._runs import check_options
from attention_decoded.word2vec import evaluate_analogies, evaluate_similarity, train_gensim

NAME = "word-vectors"
BYTES = 1_000_000
"""What the vectors and the list of their words may weigh together: the page fetches both."""
TOLERANCE = 0.01
"""Correlations closer than this on some 150 pairs are taken for equal (their standard error is about 0.07)."""

Corpora = Mapping[str, Sequence[Sequence[str]]]
"""Bodies of text by name, each a list of sentences of words. "pairs" is the side of Tatoeba."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one training depends on, beside the text."""

    method: Literal["skip-gram", "cbow"] = "skip-gram"
    d_latent: int = 64
    window: int = 5
    negative: int = 5
    sample: float = 1e-4
    """Threshold of subsampling, as a share of all words."""
    min_count: int = 5
    epochs: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("d_latent", "window", "negative", "min_count", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.method not in {"skip-gram", "cbow"}:
            raise ValueError(f"method={self.method!r} must be 'skip-gram' or 'cbow'")


CANDIDATES = tuple(
    Settings(method=method, d_latent=d_latent)
    for d_latent in (50, 64, 90)  # of 90, `BYTES` still hold 5,000 words
    for method in ("skip-gram", "cbow")
)


# ── benchmarks, from gensim's wheel ─────────────────────────────────────────────────────────────


def _benchmark(title: str, name: str, fingerprint: str) -> Source:
    file = f"gensim/test/test_data/{name}"
    return dataclasses.replace(WIKIPEDIA, title=title, file=file, sha256=fingerprint, creators="see word_vectors.py")


# Finkelstein et al. (2002), doi:10.1145/503104.503110; Hill et al. (2015), doi:10.1162/COLI_a_00237;
# Mikolov et al. (2013), arXiv:1301.3781v3, section 4.1.
WORDSIM = _benchmark(
    "WordSim-353", "wordsim353.tsv", "f92a022fc2537793a15bc3a8c162ebcd74990e033a228bb6388cb71e4c0b1e1d"
)
SIMLEX = _benchmark("SimLex-999", "simlex999.txt", "d5e0501971478a511430ee880bd0121e94ac701ba86d90544d83e6d2ba3db05d")
ANALOGIES = _benchmark(
    "The analogies of word2vec",
    "questions-words.txt",
    "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
)


def scored_pairs(source: Source) -> list[tuple[str, str, float]]:
    """`(word, word, people's score)` of WordSim-353 or SimLex-999, in lower case."""
    rows = (row.split("\t") for row in read_source(source).decode("utf-8").splitlines() if not row.startswith("#"))
    return [(a.lower(), b.lower(), float(score)) for a, b, score in rows]


def analogies() -> list[tuple[str, str, str, str]]:
    """ "a is to b as c is to d", 19,544 times, in lower case."""
    rows = read_source(ANALOGIES).decode("utf-8").lower().splitlines()
    return [(a, b, c, d) for a, b, c, d in (row.split() for row in rows if not row.startswith(":"))]


def halves(pairs: Iterable[tuple[str, str, float]]) -> tuple[list, list]:
    """`(choosing, reporting)`: a fixed hash of its two words, in either order, says where a pair goes."""
    parts: tuple[list, list] = ([], [])
    for pair in pairs:
        digest = hashlib.sha256(" ".join(sorted(pair[:2])).encode()).digest()
        parts[digest[0] % 2].append(pair)
    return parts


def similarity(
    vectors: Float[Tensor, "word latent"], index: Mapping[str, int], pairs: Iterable[tuple[str, str, float]]
) -> dict[str, Any]:
    """Spearman's rank correlation with people's scores, its 95 % interval, and how many pairs it is of.

    The interval is Fisher's, with the variance for ranks of Bonett and Wright (2000), doi:10.1007/BF02294183.
    """
    found = evaluate_similarity(vectors, index, pairs)
    rho, margin = found.spearman, math.inf
    if found.n_pairs > 3:
        margin = 1.96 * math.sqrt((1 + rho**2 / 2) / (found.n_pairs - 3))
    interval = [math.tanh(math.atanh(rho) + side * margin) for side in (-1, 1)]
    return {"spearman": rho, "interval_95": interval, "pairs": found.n_pairs, "pairs_unknown": found.n_unknown}


def figures(vectors: Float[Tensor, "word latent"], words: Sequence[str]) -> dict[str, Any]:
    """All that the card reports of these vectors."""
    index = {word: i for i, word in enumerate(words)}
    right, asked = evaluate_analogies(vectors, index, analogies())
    return {
        "words": len(words),
        "wordsim353_reporting_half": similarity(vectors, index, halves(scored_pairs(WORDSIM))[1]),
        "simlex999": similarity(vectors, index, scored_pairs(SIMLEX)),
        "analogies": {"right": right, "asked": asked, "not_asked": len(analogies()) - asked},
    }


# ── training ────────────────────────────────────────────────────────────────────────────────────


def read_corpora() -> dict[str, list[list[str]]]:
    """All English text of the book's packages, by name; see data/corpora.py for what can be missing."""
    return {
        "addresses": list(sotu_words()),
        "pairs": list(pair_words(load_splits().train)),
        "wikipedia": list(wikipedia_words()),
    }


def train(corpora: Corpora, settings: Settings, report=print) -> tuple[list[str], Float[Tensor, "word latent"]]:
    """`(words, vectors)` of every word that occurs `min_count` times, the most frequent first.

    Raises ValueError if no word does; ImportError where gensim is missing.
    """
    sentences = [sentence for body in corpora.values() for sentence in body]
    counts = Counter(word for sentence in sentences for word in sentence)
    if not any(count >= settings.min_count for count in counts.values()):
        raise ValueError(
            f"no word occurs min_count={settings.min_count} times in {counts.total():,} words of text."
            " Give more text or a lower min_count"
        )
    vectors = train_gensim(
        sentences,
        skip_gram=settings.method == "skip-gram",
        d_latent=settings.d_latent,
        window=settings.window,
        negative=settings.negative,
        sample=settings.sample,
        min_count=settings.min_count,
        epochs=settings.epochs,
        seed=settings.seed,
        workers=1,  # two workers would race for the same vectors, and no two runs would be equal
        callbacks=_progress(settings.epochs, report),
    )
    return [str(word) for word in vectors.index_to_key], torch.from_numpy(vectors.vectors)


def _progress(epochs: int, report) -> list:
    """Gensim's way of being told when an epoch ends."""
    from gensim.models.callbacks import CallbackAny2Vec

    class Progress(CallbackAny2Vec):
        def __init__(self):
            self.done = 0

        def on_epoch_end(self, model) -> None:
            self.done += 1
            report(f"{self.done / epochs:4.0%}  epoch {self.done}")

    return [Progress()]


def choose_words(corpora: Corpora, known: Iterable[str], d_latent: int, n_bytes: int = BYTES) -> list[str]:
    """The words to ship, the most frequent first, as many as `n_bytes` hold with their vectors.

    In this order, as far as the room goes: the words of the three benchmarks; words that the English side of the pairs
    has five times or more; then the most frequent of the rest. Left out, because they are no words or no use:
    single letters but "a" and "i"; what only one body of text has (markup of Wikipedia, misreadings of old
    speeches, rare names), unless a benchmark or the pairs ask for it; and what ends in 's, unless the pairs have it
    fifty times (it's, let's).
    """
    counts = {name: Counter(word for sentence in body for word in sentence) for name, body in corpora.items()}
    total = sum(counts.values(), Counter())
    tested = {word for pair in (*scored_pairs(WORDSIM), *scored_pairs(SIMLEX)) for word in pair[:2]}
    tested |= {word for question in analogies() for word in question}

    def rank(word: str) -> int | None:
        if word in tested:
            return 0
        if len(word) == 1 and word not in "ai":
            return None
        if counts.get("pairs", Counter())[word] >= (50 if word.endswith("'s") else 5):
            return 1
        if word.endswith("'s") or sum(word in count for count in counts.values()) < 2:
            return None
        return 2

    ranks = {word: rank(word) for word in known}
    wanted = [word for word, place in ranks.items() if place is not None]
    wanted.sort(key=lambda word: (ranks[word], -total[word], word))
    chosen, room = [], n_bytes - 400  # the header of the file of vectors
    for word in wanted:
        room -= 2 * d_latent + len(json.dumps(word)) + 1  # half precision; the word in quotes, and a comma
        if room < 0:
            break
        chosen.append(word)
    return sorted(chosen, key=lambda word: (-total[word], word))


def pick(scores: Mapping[Settings, float]) -> Settings:
    """Of the candidates within `TOLERANCE` of the best correlation the narrowest; of equally narrow ones the best."""
    good = [settings for settings, score in scores.items() if score >= max(scores.values()) - TOLERANCE]
    return min(good, key=lambda settings: (settings.d_latent, -scores[settings]))


# ── the whole run ───────────────────────────────────────────────────────────────────────────────


def load(folder: Path | str = NAME) -> tuple[list[str], Float[Tensor, "word latent"], dict[str, Any]]:
    """`(words, vectors, card)`: row i of the vectors is word i's; the most frequent words come first.

    Raises CheckpointError if a file is missing, cut short or altered, or if words and vectors do not agree.
    """
    checkpoint = load_checkpoint(folder)
    folder = Path(folder) if Path(folder).is_dir() else SHIPPED / folder
    if "words.json" not in checkpoint.card["sha256"] or set(checkpoint.state) != {"vectors"}:
        raise CheckpointError(f"{folder} is a checkpoint, but not one of word vectors")
    words, vectors = json.loads((folder / "words.json").read_text("utf-8")), checkpoint.state["vectors"]
    if len(words) != len(vectors):
        raise CheckpointError(f"{folder}: {len(words)} words but {len(vectors)} vectors. Run the recipe again")
    return words, vectors, checkpoint.card


def run(
    candidates: Sequence[Settings] = CANDIDATES, *, out: Path, corpora: Corpora | None = None, report=print
) -> dict[str, Any]:
    """Train the candidates, choose one, measure it, ship its words to `out`. Returns the card."""
    if not candidates:
        raise ValueError("no candidate to train: give at least one Settings")
    ours = corpora is None
    corpora = read_corpora() if corpora is None else corpora
    n_words = {name: sum(map(len, body)) for name, body in corpora.items()}
    report(f"{sum(n_words.values()):,} words: " + ", ".join(f"{name} {n:,}" for name, n in n_words.items()))
    choosing = halves(scored_pairs(WORDSIM))[0]
    trained, scores, choice = {}, {}, []
    for settings in candidates:
        report(f"{settings.method}, {settings.d_latent} numbers a word")
        start = time.process_time()
        words, vectors = trained[settings] = train(corpora, settings, report)
        minutes = (time.process_time() - start) / 60
        found = similarity(vectors, {word: i for i, word in enumerate(words)}, choosing)
        scores[settings] = found["spearman"]
        choice.append(
            {
                "method": settings.method,
                "d_latent": settings.d_latent,
                "wordsim353_choosing_half": _rounded(found),
                "words_that_fit": len(choose_words(corpora, words, settings.d_latent)),
                "minutes": round(minutes, 2),
            }
        )
        report(f"Spearman on the choosing half of WordSim-353: {found['spearman']:.3f} ({found['pairs']} pairs)")
    settings = pick(scores)
    known, vectors = trained[settings]
    shipped = choose_words(corpora, known, settings.d_latent)
    row = {word: i for i, word in enumerate(known)}
    half = vectors[[row[word] for word in shipped]].half()
    results = {"all_words": figures(vectors, known), "shipped": figures(half.float(), shipped)}
    sources = (SOTU, TATOEBA, WIKIPEDIA) if ours else ()
    card = {
        "name": NAME,
        "summary": f"{len(shipped):,} English words as vectors of {settings.d_latent} numbers; see chapter 4.",
        "licence": "MIT; the texts keep their own licences (see data)",
        "recipe": "python -m attention_decoded.recipes.word_vectors",
        "data": {
            "words_of_text": n_words,
            "sources": [
                {"title": source.title, "attribution": source.attribution(), "sha256": source.sha256}
                for source in sources
            ],
        },
        "settings": asdict(settings),
        "choice": choice,
        "choice_rule": f"narrowest within {TOLERANCE} of the best on the choosing half of WordSim-353",
        "training": {
            "minutes": next(c["minutes"] for c, s in zip(choice, candidates, strict=True) if s == settings),
            "minutes_all_candidates": round(sum(c["minutes"] for c in choice), 2),
            "clock": "processor time of one core",
            "cores": 1,
            "gensim": version("gensim"),
        },
        "measure": "Cosine against people's scores: Spearman's rank correlation over the pairs whose words both have a"
        " vector. WordSim-353: the half that the choice has not seen. Analogies: b − a + c nearest to d, a, b and c"
        " excluded, lower-case; the fewer words there are, the fewer can be mistaken for the answer.",
        "results": _rounded(results),
        "parameters": half.numel(),
        "limits": "2.8 million words are few, most of them speeches of presidents: what a word meant there is what its"
        " vector says. It repeats the habits of its texts.",
    }
    files = {"words.json": json.dumps(shipped, separators=(",", ":")).encode()}
    config = {"n_words": len(shipped), "d_latent": settings.d_latent}
    save_checkpoint(out, {"vectors": half}, config, card, files)
    report(json.dumps(card["results"], indent=2))
    report(f"{settings.method}, {settings.d_latent} numbers, {len(shipped):,} words written to {out}")
    return card


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m attention_decoded.recipes.word_vectors", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--method", choices=("skip-gram", "cbow"), help="train this one alone (both)")
    parser.add_argument("--d-latent", type=int, help="train with so many numbers a word alone (50, 64 and 90)")
    parser.add_argument("--epochs", type=int, help=f"passes over the text ({Settings.epochs})")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=SHIPPED / NAME, help="folder of the checkpoint (%(default)s)")
    given = parser.parse_args(arguments)
    check_options(parser, given, "method", "d_latent", "epochs", "seed")
    changes = {"d_latent": given.d_latent, "epochs": given.epochs, "seed": given.seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    chosen = [settings for settings in CANDIDATES if given.method in {None, settings.method}]
    try:
        chosen = list(dict.fromkeys(dataclasses.replace(settings, **changes) for settings in chosen))
    except ValueError as error:
        parser.error(str(error))
    run(chosen, out=given.out)


if __name__ == "__main__":
    main()
