"""The measurement of cuts on a tiny model: it counts what happens, keeps others' sentences to itself, repeats."""

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from toy_language import quiet

from attention_decoded.checkpoints import SHIPPED, load_checkpoint
from attention_decoded.data.normalize import normalize_chinese, simplified_characters
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.sources import TATOEBA, read_source
from attention_decoded.data.tokenization import EOS, decode
from attention_decoded.decoding import greedy
from attention_decoded.knockout import knockout
from attention_decoded.recipes import knockouts, translator
from attention_decoded.recipes.knockouts import (
    CELLS,
    RESULTS,
    SENTENCES,
    Sentence,
    Settings,
    all_cuts,
    bootstrap,
    count,
    difference,
    kept,
    knock_out,
    place,
    rank_correlation,
    ratio,
    run,
    tell,
    token_log_probs,
)
from attention_decoded.recipes.translator import load

OWN = ("我喝水和茶。", "他买花和书。", "今天你看马。", "我们看书看花。")
TINY = translator.Settings(
    model={"d_model": 24, "n_heads": 3, "d_ff": 29, "n_encoder_layers": 1, "n_decoder_layers": 2},
    epochs=10, n_source_vocab=61, n_target_vocab=83, min_count=1, batch_tokens=509, learning_rate=1e-2,
    warmup_steps=20, ema=0.9, evaluate_every=10,
)  # fmt: skip
FEW = Settings(n_sentences=5, n_cells=7, n_orders=5, max_len=23, n_bootstrap=50, n_examples=3)


@pytest.fixture(scope="module")
def folder(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of the toy language, trained for a moment."""
    path = tmp_path_factory.mktemp("model")
    translator.run(TINY, out=path / "out", work=path / "work", pairs=corpus, report=quiet)
    return path / "out"


@pytest.fixture(scope="module")
def results(folder: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results") / RESULTS
    found = run(folder, out=out, settings=FEW, pairs=corpus, sentences=OWN, report=quiet)
    assert json.loads(out.read_text("utf-8")) == found
    return found


# ── one sentence ────────────────────────────────────────────────────────────────────────────────


def test_every_place_has_its_cut(folder: Path) -> None:
    model = load(folder)[0]
    weights = np.random.default_rng(0).random((2, 3, 7, 5))
    cuts = all_cuts(model, weights, random.Random(0), 11)
    assert {kind: len(each) for kind, each in cuts.items()} == {
        "random_cell": 11, "largest_cell": 11, "pair": 35, "column": 5,
        "encoder_head": 3, "decoder_head": 6, "cross_head": 6,
        "encoder_layer": 1, "decoder_layer": 2, "cross_layer": 2, "positions": 1,
    }  # fmt: skip
    for kind, each in cuts.items():
        assert len({json.dumps(cut) for cut in each}) == len(each), f"no {kind} comes twice"
    for drawn, largest in zip(cuts["random_cell"], cuts["largest_cell"], strict=True):
        most = int(weights[place(drawn)[:3]].argmax())
        assert largest == drawn | {"key": most}, "both kinds are cut in the same rows"
    assert len({place(cut)[3] for cut in cuts["random_cell"]}) > 1
    one = all_cuts(model, weights[:, :, :1, :1], random.Random(0), 99)
    assert len(one["random_cell"]) == len(one["largest_cell"]) == 2 * 3, "no more rows than there are"


def test_a_change_is_what_greedy_search_would_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag, from one pass over the old text, against the search itself; in batches as in one."""
    model, source, _, _ = load(folder)
    flags = []
    for sentence in ("我买水。", "今天他买花。"):
        read = [*source.encode(sentence).ids, EOS]
        [text] = greedy(model, torch.tensor([read]), max_len=23)
        assert text.finished
        weights = np.random.default_rng(0).random((2, 3, len(text.ids), len(read)))
        cuts = all_cuts(model, weights, random.Random(0), 3)
        rows = [[], *([cut] for each in cuts.values() for cut in each[:3])]
        log_probs, same = token_log_probs(model, read, text.ids, rows)
        assert log_probs[0].tolist() == pytest.approx(text.log_probs, abs=1e-4)
        for i, each in enumerate(rows):
            with knockout(model, each):
                [now] = greedy(model, torch.tensor([read]), max_len=23)
                [alone], _ = token_log_probs(model, read, text.ids, [[]])
            assert bool(same[i]) == (now.ids == text.ids), each
            torch.testing.assert_close(log_probs[i], alone, atol=1e-4, rtol=1e-4)
        with monkeypatch.context() as small:
            small.setattr(knockouts, "BATCH_TOKENS", 2 * len(text.ids))
            in_twos = token_log_probs(model, read, text.ids, rows)
        torch.testing.assert_close(in_twos[0], log_probs, atol=1e-4, rtol=1e-4)
        assert torch.equal(in_twos[1], same)
        flags += same.tolist()
    assert 3 <= flags.count(False) <= len(flags) / 2, "some cuts matter, most do not"


def test_a_sentence_is_measured_whole(folder: Path) -> None:
    model, source, _, _ = load(folder)
    read = [*source.encode("我买水。").ids, EOS]
    [text] = greedy(model, torch.tensor([read]), max_len=23)
    found = knock_out(model, read, text, random.Random(0), 5)
    assert found.weights.shape == (2, 3, len(text.ids), len(read))
    assert found.weights.sum(-1) == pytest.approx(np.ones((2, 3, len(text.ids))), abs=1e-5)
    for largest in found.cuts["largest_cell"]:
        assert found.weights[place(largest)] == found.weights[place(largest)[:3]].max()
    counts = count(found)
    assert counts["pair"] == pytest.approx(
        [found.weights[0, 0].size, found.changed["pair"].sum(), np.abs(found.deltas["pair"].sum(1)).sum()]
    )
    held = [found.weights[place(one)] for one in found.cuts["largest_cell"]]
    assert counts["largest_cell"][3] == pytest.approx(sum(held))
    assert 0 < counts["random_cell"][3] < counts["largest_cell"][3]
    assert found.cuts.keys() == found.deltas.keys() == found.changed.keys()
    one, _ = token_log_probs(model, read, text.ids, [[], found.cuts["column"][1:2]])
    assert found.deltas["column"][1] == pytest.approx((one[1] - one[0]).numpy(), abs=1e-4)
    before = found.deltas["pair"].reshape(len(text.ids), len(read), -1)
    assert np.abs(before[3, :, :3]).max() < 1e-4, "what is written before a look does not depend on it"
    assert np.abs(before[3, :, 3:]).max() > 1e-2


# ── figures ─────────────────────────────────────────────────────────────────────────────────────


def test_rank_correlation_is_spearman_s() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 4, (5, 7)), generator.normal(size=(5, 7))
    expected = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert rank_correlation(x, y) == pytest.approx(expected)
    assert rank_correlation(np.array([1.0, 2, 30]), np.array([5.0, 6, 6.1])) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))


def made_up(weights: np.ndarray, effect: np.ndarray) -> Sentence:
    """A sentence whose pairs have this effect on the token that their query writes, and a greater one on later ones.

    `weights` are the mean of two heads, which differ.
    """
    n_target, n_source = weights.shape
    heads = np.stack([weights + 0.5 * weights[::-1], weights - 0.5 * weights[::-1]])[None]
    deltas = np.full((n_target, n_source, n_target), 99.0)
    deltas[np.arange(n_target), :, np.arange(n_target)] = -effect
    return Sentence([], [], [], {}, {"pair": deltas.reshape(-1, n_target)}, {}, heads)


def test_what_weights_tell() -> None:
    generator = np.random.default_rng(1)
    effect = generator.random((3, 5))
    told = tell(made_up(effect**3, effect), generator, 2)
    assert told["attention"] == pytest.approx({"all_pairs": 1, "within_query": 1, "strongest": 1})
    told = tell(made_up(-effect, effect), generator, 2)
    assert told["attention"]["all_pairs"] == pytest.approx(-1)
    nearness = np.array([[3.0, 2, 1], [1, 3, 1], [1, 2, 3]])
    told = tell(made_up(np.ones((3, 3)), nearness), generator, 2)
    assert told["distance"]["within_query"] == pytest.approx(1)
    assert told["distance"]["strongest"] == 1
    assert np.isnan(told["attention"]["all_pairs"]), "weights that are all alike order nothing"
    one, many = ([tell(made_up(effect, effect), generator, n)["random"] for _ in range(100)] for n in (1, 25))
    for how, expected in (("all_pairs", 0), ("within_query", 0), ("strongest", 1 / 5)):
        spread, less = (np.std([each[how] for each in told]) for told in (one, many))
        assert 0.1 < spread < 0.5
        assert less < spread / 3, "the mean of 25 orders lies five times nearer to what is expected"
        assert np.mean([each[how] for each in many]) == pytest.approx(expected, abs=0.03)


def test_intervals_are_over_sentences() -> None:
    counts = np.array([[1.0, 10], [3, 10], [2, 20], [4, 10]])
    found = bootstrap(counts, ratio, Settings(n_bootstrap=400))
    assert found["value"] == pytest.approx(10 / 50)
    assert found["n"] == 4
    assert 0.1 <= found["low"] < 0.2 < found["high"] <= 0.4
    assert found == bootstrap(counts, ratio, Settings(n_bootstrap=400))
    assert bootstrap(counts[:1].repeat(5, 0), ratio, Settings())["low"] == pytest.approx(0.1)


def test_a_difference_is_paired() -> None:
    """Sentences that differ much among themselves, but each by the same: no doubt is left."""
    second = np.array([[1.0, 10], [9, 10], [5, 10], [3, 10]])
    both = np.hstack([second + np.array([0.5, 0]), second])
    found = bootstrap(both, difference, Settings(n_bootstrap=400))
    assert [found[x] for x in ("value", "low", "high")] == pytest.approx([0.05] * 3)
    assert bootstrap(second, ratio, Settings(n_bootstrap=400))["high"] > 0.6


def test_what_texts_have_in_common() -> None:
    assert kept("I drink tea.", "I drink tea.") == 1
    assert kept("a b c d", "a c d") == pytest.approx(6 / 7)
    assert kept("a b", "c d") == 0


# ── the whole ───────────────────────────────────────────────────────────────────────────────────


def test_the_file_says_what_was_done(results: dict[str, Any], folder: Path) -> None:
    assert results["model"]["sha256"] == load_checkpoint(folder).card["sha256"]["model.safetensors"]
    assert results["settings"]["n_cells"] == 7
    n = results["data"]["sentences"]
    assert n + results["data"]["left_out"] == 5
    assert n >= 2
    cells = [results["kinds"][kind] for kind in CELLS]
    assert [each["cuts"] for each in cells] == [7 * n] * 2
    assert 0 < cells[0]["mean_weight"]["high"] < cells[1]["mean_weight"]["low"] < 1
    for name, difference_ in results["largest_minus_random_cell"].items():
        assert difference_["value"] == pytest.approx(cells[1][name]["value"] - cells[0][name]["value"])
        assert difference_["low"] <= difference_["value"] <= difference_["high"]
    assert results["largest_minus_random_cell"]["mean_abs_delta"]["low"] > 0
    assert results["kinds"]["positions"]["cuts"] == n
    for figures in results["kinds"].values():
        share = figures["share_changed"]
        assert share["value"] == pytest.approx(figures["changed"] / figures["cuts"])
        assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
        assert figures["mean_abs_delta"]["value"] > 0
    assert (
        results["kinds"]["pair"]["share_changed"]["value"] < results["kinds"]["cross_layer"]["share_changed"]["value"]
    )
    for orders in results["correlation"].values():
        differences = {"attention_minus_distance", "attention_minus_random"}
        assert {"attention", "distance", "random"} | differences == orders.keys()
        for other in ("distance", "random"):
            apart = orders["attention"]["value"] - orders[other]["value"]
            assert orders[f"attention_minus_{other}"]["value"] == pytest.approx(apart)
    assert (
        results["correlation"]["all_pairs"]["attention"]["low"] > results["correlation"]["all_pairs"]["random"]["value"]
    )


def test_examples_are_our_own_and_as_the_model_writes_them(results: dict[str, Any], folder: Path, corpus: Path) -> None:
    model, source, target, _ = load(folder)
    assert results["examples"]
    assert len({one["source"] for one in results["examples"]}) == len(results["examples"]) <= 3
    for one in results["examples"]:
        assert one["source"] in OWN
        assert one["translation"] != one["new_translation"]
        read = torch.tensor([[*source.encode(one["source"]).ids, EOS]])
        with knockout(model, [one["cut"]]):
            [now] = greedy(model, read, max_len=23)
        assert decode(target, now.ids) == one["new_translation"]
        assert one["delta"] == pytest.approx(sum(one["deltas"]), abs=1e-2)
        assert len(one["deltas"]) == len(one["translation_tokens"])
    text = json.dumps(results, ensure_ascii=False)
    assert not [pair.zh for pair in load_splits(corpus).test if pair.zh in text and pair.zh not in OWN]


def test_the_same_run_gives_the_same_figures(
    results: dict[str, Any], folder: Path, corpus: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    again = run(folder, out=tmp_path / "x.json", settings=FEW, pairs=corpus, sentences=OWN, report=lines.append)
    assert {k: v for k, v in again.items() if k != "minutes"} == {k: v for k, v in results.items() if k != "minutes"}
    assert lines[-1].startswith("5 of 5 sentences")


def test_too_few_texts_that_end_are_refused(folder: Path, corpus: Path, tmp_path: Path) -> None:
    settings = Settings(n_sentences=4, max_len=1)
    with pytest.raises(ValueError, match="of 4 sentences 0 have a translation that ends within 1 tokens"):
        run(folder, out=tmp_path / "x.json", settings=settings, pairs=corpus, sentences=OWN, report=quiet)
    assert list(tmp_path.iterdir()) == []


def test_the_command(folder: Path, corpus: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    given = ["--model", str(folder), "--pairs", str(corpus), "--sentences", "3", "--out", str(tmp_path / "x.json")]
    monkeypatch.setattr(sys, "argv", ["knockouts", *given])
    monkeypatch.setattr(knockouts, "SENTENCES", OWN[:2])
    knockouts.main()
    said = capsys.readouterr().out
    assert "cuts change the translation" in said
    assert "largest less random cell: " in said
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["settings"]["n_sentences"] == 3
    monkeypatch.setattr(sys, "argv", ["knockouts", "--sentences", "1"])
    with pytest.raises(SystemExit):
        knockouts.main()
    assert "--sentences 1" in capsys.readouterr().err


# ── our sentences, and what is shipped ──────────────────────────────────────────────────────────


def test_the_sentences_are_our_own() -> None:
    """None of them stands in the corpus, not even with other punctuation."""
    assert len(set(SENTENCES)) == len(SENTENCES) == 40
    assert [text for text in SENTENCES if normalize_chinese(text) != text] == []
    simplified = str.maketrans(simplified_characters())
    rows = read_source(TATOEBA).decode("utf-8-sig").translate(simplified).splitlines()
    theirs = {re.sub(r"\W", "", row.split("\t")[1]) for row in rows}
    assert len(theirs) > 10_000
    assert [text for text in SENTENCES if re.sub(r"\W", "", text) in theirs] == []


@pytest.mark.skipif(not (SHIPPED / "translator" / RESULTS).is_file(), reason="no translator was measured yet")
def test_the_shipped_figures_are_of_the_shipped_translator() -> None:
    results = json.loads((SHIPPED / "translator" / RESULTS).read_text("utf-8"))
    assert results["model"]["sha256"] == load_checkpoint("translator").card["sha256"]["model.safetensors"]
    assert results["settings"]["n_sentences"] >= 300
    assert {one["source"] for one in results["examples"]} <= set(SENTENCES)
