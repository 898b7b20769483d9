"""The word vectors: what is shipped is what the card says, and a tiny run does all that a long one does."""

import hashlib
import json
import math
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from toy_language import quiet

from attention_decoded.checkpoints import SHIPPED, CheckpointError, save_checkpoint
from attention_decoded.data.corpora import sotu_words
from attention_decoded.recipes import word_vectors as recipe
from attention_decoded.recipes.word_vectors import (
    ANALOGIES,
    BYTES,
    CANDIDATES,
    NAME,
    SIMLEX,
    TOLERANCE,
    WORDSIM,
    Settings,
    analogies,
    choose_words,
    figures,
    halves,
    load,
    main,
    pick,
    run,
    scored_pairs,
    similarity,
    train,
)
from attention_decoded.word2vec import nearest

TINY = Settings(d_latent=7, epochs=1, min_count=2)


@pytest.fixture(scope="module")
def toy() -> dict[str, list[list[str]]]:
    """Two bodies of some ten thousand words: enough for some pairs of each benchmark."""
    sentences = list(islice(sotu_words(), 3000))
    return {"pairs": sentences[:1500], "addresses": sentences[1500:]}


# ── what is shipped ─────────────────────────────────────────────────────────────────────────────


def test_shipped_words_are_words_and_the_file_is_small() -> None:
    words, vectors, card = load()
    assert len(words) == len(set(words)) == len(vectors) == card["config"]["n_words"]
    assert 5000 <= len(words) <= 10_000
    assert vectors.shape[1] == card["settings"]["d_latent"]
    assert bool(vectors.isfinite().all())
    assert bool((vectors.norm(dim=-1) > 0).all())
    assert words[0] == "the"
    assert [word for word in words if len(word) == 1] == sorted("ai", key=words.index)
    assert all(word.replace("'", "").isalpha() and word == word.lower() for word in words)
    folder = SHIPPED / NAME
    assert (folder / "model.safetensors").stat().st_size + (folder / "words.json").stat().st_size <= BYTES


def test_figures_of_the_card_are_those_of_the_shipped_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    words, vectors, card = load()
    reported = card["results"]["shipped"]
    index = {word: i for i, word in enumerate(words)}
    questions = analogies()
    known = [q for q in questions if all(word in index for word in q)]
    assert reported["analogies"]["asked"] == len(known)
    assert reported["analogies"]["not_asked"] == len(questions) - len(known)
    # All of them take long; an evenly spaced twentieth must agree within what chance allows it.
    monkeypatch.setattr(recipe, "analogies", lambda: known[::20])
    found = figures(vectors, words)
    share = reported["analogies"]["right"]
    assert abs(found["analogies"]["right"] - share) < 4 * math.sqrt(share * (1 - share) / len(known[::20]))
    for name in ("wordsim353_reporting_half", "simlex999"):
        assert found[name]["pairs"] == reported[name]["pairs"]
        assert found[name]["pairs_unknown"] == reported[name]["pairs_unknown"]
        assert found[name]["spearman"] == pytest.approx(reported[name]["spearman"], abs=1e-3)
        assert found[name]["interval_95"] == pytest.approx(reported[name]["interval_95"], abs=1e-3)


def test_shipped_vectors_know_something() -> None:
    words, vectors, card = load()
    index = {word: i for i, word in enumerate(words)}
    assert card["results"]["shipped"]["wordsim353_reporting_half"]["interval_95"][0] > 0.3
    for word, kin in (("army", "navy"), ("january", "february"), ("mother", "father")):
        close = [words[i] for i, _ in nearest(vectors, vectors[index[word]], 10, exclude=[index[word]])]
        assert kin in close, (word, close)


def test_the_choice_in_the_card_follows_the_rule() -> None:
    _, _, card = load()
    scores = {
        Settings(method=c["method"], d_latent=c["d_latent"]): c["wordsim353_choosing_half"]["spearman"]
        for c in card["choice"]
    }
    assert len(scores) == len(CANDIDATES)
    assert all(c["words_that_fit"] >= 5000 for c in card["choice"])
    chosen = pick(scores)
    assert (chosen.method, chosen.d_latent) == (card["settings"]["method"], card["settings"]["d_latent"])


# ── benchmarks and their halves ─────────────────────────────────────────────────────────────────


def test_benchmarks_are_whole() -> None:
    assert [len(scored_pairs(source)) for source in (WORDSIM, SIMLEX)] == [353, 999]
    assert ("tiger", "cat", 7.35) in scored_pairs(WORDSIM)
    assert len(analogies()) == 19_544
    assert analogies()[0] == ("athens", "greece", "baghdad", "iraq")
    assert all(source.sha256 for source in (WORDSIM, SIMLEX, ANALOGIES))


def test_halves_are_disjoint_complete_and_fixed() -> None:
    pairs = scored_pairs(WORDSIM)
    choosing, reporting = halves(pairs)
    assert sorted(choosing + reporting) == sorted(pairs)
    assert 150 < len(choosing) < 203
    assert not {frozenset(p[:2]) for p in choosing} & {frozenset(p[:2]) for p in reporting}
    assert halves([(b, a, s) for a, b, s in pairs])[0] == [(b, a, s) for a, b, s in choosing]
    assert halves([("tiger", "cat", 7.35)])[0] == []  # as on every machine


def test_interval_is_fishers() -> None:
    angle = torch.linspace(0, 3, 40)
    vectors = torch.stack([angle.cos(), angle.sin()], dim=-1)
    index = {str(i): i for i in range(40)}
    pairs = [("0", str(i), -float(i if i % 3 else i / 2)) for i in range(1, 40)]
    found = similarity(vectors, index, [*pairs, ("0", "nowhere", 1.0)])
    rho, n = found["spearman"], found["pairs"]
    assert (n, found["pairs_unknown"]) == (39, 1)
    assert 0.5 < rho < 1
    low, high = found["interval_95"]
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / 36)
    assert math.atanh(high) - math.atanh(rho) == pytest.approx(half)
    assert math.atanh(rho) - math.atanh(low) == pytest.approx(half)
    tiny = similarity(vectors, index, pairs[:3])  # three pairs say nothing
    assert tiny["interval_95"] == [-1, 1]


# ── which words ─────────────────────────────────────────────────────────────────────────────────


def test_choose_words_prefers_and_leaves_out_as_it_says() -> None:
    corpora = {
        "pairs": [["jiaozi", "it's", "i", "z"]] * 5 + [["it's"]] * 50 + [["tom's", "hutong"]] * 9,
        "addresses": [["tiger", "union", "union", "congress", "misread", "z", "nation's"]] * 7,
        "wikipedia": [["union", "colspan", "congress", "congress", "z", "nation's"]] * 30,
    }
    known = {word for body in corpora.values() for sentence in body for word in sentence}
    everything = choose_words(corpora, known, 5)
    assert set(everything) == {"tiger", "jiaozi", "it's", "i", "hutong", "union", "congress"}
    assert everything == ["congress", "it's", "union", "hutong", "tiger", "i", "jiaozi"]  # by frequency
    assert "union" not in choose_words(corpora, known - {"union"}, 5)
    cost = {word: 2 * 5 + len(word) + 3 for word in everything}
    first = ["tiger", "it's", "hutong", "i", "jiaozi"]  # the benchmarks' word, then those of the pairs
    for n in range(1, 6):
        room = 400 + sum(cost[word] for word in first[:n])
        assert set(choose_words(corpora, known, 5, room)) == set(first[:n])
        assert set(choose_words(corpora, known, 5, room - 1)) == set(first[: n - 1])


def test_pick_takes_the_narrowest_of_the_best() -> None:
    a, b, c = (Settings(method=m, d_latent=d) for m, d in (("skip-gram", 50), ("cbow", 50), ("cbow", 100)))
    assert pick({a: 0.5, b: 0.2, c: 0.5 + TOLERANCE / 2}) == a
    assert pick({a: 0.5, b: 0.2, c: 0.5 + 2 * TOLERANCE}) == c
    assert pick({a: 0.5, b: 0.505, c: 0.506}) == b


# ── a tiny run ──────────────────────────────────────────────────────────────────────────────────


def test_run_chooses_measures_and_writes(toy: dict, tmp_path: Path) -> None:
    said: list[str] = []
    candidates = [TINY, Settings(method="cbow", d_latent=5, epochs=2, min_count=2)]
    card = run(candidates, out=tmp_path / "mine", corpora=toy, report=said.append)
    words, vectors, loaded = load(tmp_path / "mine")
    assert len(loaded["choice"]) == 2
    assert vectors.shape == (len(words), loaded["settings"]["d_latent"])
    assert card["results"]["all_words"]["words"] > card["results"]["shipped"]["words"] == len(words)
    assert loaded["data"]["words_of_text"] == {name: sum(map(len, body)) for name, body in toy.items()}
    index = {word: i for i, word in enumerate(words)}
    again = similarity(vectors, index, halves(scored_pairs(WORDSIM))[1])
    reported = loaded["results"]["shipped"]["wordsim353_reporting_half"]
    assert again["spearman"] == pytest.approx(reported["spearman"], abs=1e-3)
    assert [line for line in said if "epoch" in line] == ["100%  epoch 1", " 50%  epoch 1", "100%  epoch 2"]
    everyone = train(toy, Settings(**loaded["settings"]), quiet)
    rows = [everyone[0].index(word) for word in words]
    assert_close(vectors, everyone[1][rows], rtol=1e-3, atol=1e-4)  # each word kept its own vector


def fingerprint(corpora: dict, settings: Settings) -> str:
    words, vectors = train(corpora, settings, quiet)
    return hashlib.sha256(json.dumps(words).encode() + vectors.numpy().tobytes()).hexdigest()


def test_same_seed_same_vectors_other_seed_others(toy: dict) -> None:
    one = fingerprint(toy, TINY)
    torch.rand(7)
    assert fingerprint(toy, TINY) == one
    assert fingerprint(toy, Settings(d_latent=7, epochs=1, min_count=2, seed=1)) != one


def test_pythons_hash_seed_does_not_matter(tmp_path: Path, toy: dict) -> None:
    text = tmp_path / "text.json"
    text.write_text(json.dumps(toy), encoding="utf-8")
    code = (
        "import hashlib, json, sys\n"
        "from attention_decoded.recipes.word_vectors import Settings, train\n"
        "words, vectors = train(json.load(open(sys.argv[1])), Settings(d_latent=7, epochs=1, min_count=2), print)\n"
        "print(hashlib.sha256(json.dumps(words).encode() + vectors.numpy().tobytes()).hexdigest(), hash('word'))\n"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", code, str(text)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs, their_hash = done.stdout.splitlines()[-1].split()
    assert their_hash != str(hash("word"))  # the seed took effect
    assert theirs == fingerprint(toy, TINY)


def test_an_interrupted_run_writes_nothing(toy: dict, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "Spearman" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([TINY], out=tmp_path / "mine", corpora=toy, report=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_command_line(toy: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(recipe, "read_corpora", lambda: toy)
    main(["--method", "cbow", "--d-latent", "6", "--epochs", "1", "--seed", "3", "--out", str(tmp_path / "o")])
    _, vectors, card = load(tmp_path / "o")
    assert vectors.shape[1] == 6
    assert (card["settings"]["method"], card["settings"]["seed"], len(card["choice"])) == ("cbow", 3, 1)
    assert "written to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--epochs", "0"], "epochs=0 must be at least 1"), (["--method", "glove"], "invalid choice: 'glove'")],
)
def test_command_line_names_what_is_wrong(arguments: list[str], complaint: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="d_latent=0 must be at least 1"):
        Settings(d_latent=0)
    with pytest.raises(ValueError, match=r"no word occurs min_count=5 times in 2 words of text\. Give more"):
        train({"mine": [["two", "words"]]}, Settings(), quiet)
    with pytest.raises(ValueError, match="no candidate to train"):
        run([], out=tmp_path, corpora={})


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not one of word vectors"):
        load("masked-lm")
    save_checkpoint(tmp_path / "x", {"vectors": torch.rand(3, 2)}, {}, {}, {"words.json": b'["a", "b"]'})
    with pytest.raises(CheckpointError, match=r"2 words but 3 vectors\. Run the recipe again"):
        load(tmp_path / "x")
