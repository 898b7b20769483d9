"""The translator's recipe on a tiny budget: it learns, rests, goes on, and says what it did; and what is shipped."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_language import ROWS, quiet

from attention_decoded.checkpoints import SHIPPED, CheckpointError, load_checkpoint
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.tokenization import EOS
from attention_decoded.decoding import greedy
from attention_decoded.recipes import rnn_translators, translator
from attention_decoded.recipes.translator import Settings, load, make_tokenizers, measure, run, translate
from attention_decoded.training import ResumeError

TINY = Settings(
    model={"d_model": 24, "n_heads": 3, "d_ff": 29, "n_encoder_layers": 1, "n_decoder_layers": 2, "dropout": 0.1},
    epochs=24, n_source_vocab=61, n_target_vocab=83, min_count=1, batch_tokens=509, learning_rate=1e-2,
    warmup_steps=20, ema=0.9, evaluate_every=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run at once."""
    folder = tmp_path_factory.mktemp("whole")
    run(TINY, out=folder / "out", work=folder / "work", pairs=corpus, report=quiet)
    return folder / "out"


def test_it_learns_a_toy_language(trained: Path, corpus: Path):
    model, source, target, card = load(trained)
    pairs = load_splits(corpus).test
    texts = translate(model, source, target, [pair.zh for pair in pairs])
    assert sum(text == pair.en for text, pair in zip(texts, pairs, strict=True)) > len(pairs) / 2
    assert card["results"]["test"]["greedy"]["bleu"]["value"] > 50
    assert not model.training


def test_the_card_says_what_was_done(trained: Path, corpus: Path):
    card = json.loads((trained / "card.json").read_text("utf-8"))
    assert card["training"]["finished"]
    assert card["training"]["epochs"] == TINY.epochs
    assert card["training"]["best_epoch"] in {8, 16, 24}
    assert card["settings"]["n_target_vocab"] == TINY.n_target_vocab
    assert sum(card["data"]["pairs"].values()) == len(ROWS)
    curve = card["results"]["validation_by_epoch"]
    assert list(curve) == ["8", "16", "24"]
    best = curve[str(card["training"]["best_epoch"])]
    assert best["bleu"] == max(point["bleu"] for point in curve.values())
    for part in ("validation", "test"):
        for search in ("greedy", "beam_5"):
            for figure in ("bleu", "chrf"):
                score = card["results"][part][search][figure]
                assert score["low"] <= score["value"] <= score["high"]
                assert "version:" in score["signature"]


def test_a_run_that_rests_goes_on_to_the_same_end(trained: Path, corpus: Path, tmp_path: Path):
    places = {"out": tmp_path / "out", "work": tmp_path / "work", "pairs": corpus, "report": quiet}
    card = run(TINY, **places, stop_after_minutes=1e-9)
    assert not card["training"]["finished"]
    assert set(card["results"]) >= {"validation"}
    assert "test" not in card["results"], "the test split is touched once, at the end"
    assert card["training"]["steps"] < load(trained)[3]["training"]["steps"]
    run(TINY, **places)
    whole, resumed = load_checkpoint(trained).state, load_checkpoint(tmp_path / "out").state
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_may_be_prolonged_but_not_changed(corpus: Path, tmp_path: Path):
    places = {"out": tmp_path / "out", "work": tmp_path / "work", "pairs": corpus, "report": quiet}
    run(replace(TINY, epochs=8), **places)
    said: list[str] = []
    run(replace(TINY, epochs=8), **places | {"report": said.append})
    assert any("holds a finished run, so nothing is trained" in line for line in said)
    assert run(replace(TINY, epochs=9), **places)["training"]["epochs"] == 9
    with pytest.raises(ResumeError, match="learning_rate"):
        run(replace(TINY, epochs=9, learning_rate=1e-3), **places)


def test_pitfall_21_tokenizers_know_the_training_split_alone(corpus: Path):
    splits = load_splits(corpus)
    source, target = make_tokenizers(splits.train, TINY)
    with_test = make_tokenizers((*splits.train, *splits.test, *splits.validation), TINY)
    assert (source.to_str(), target.to_str()) == tuple(t.to_str() for t in make_tokenizers(splits.train, TINY))
    rare = [pair for pair in splits.train if "鱼" not in pair.zh]
    assert make_tokenizers(rare, TINY)[0].token_to_id("鱼") is None, "what is not in the training split is unknown"
    assert with_test[0].token_to_id("鱼") is not None


def test_several_references_never_score_lower(trained: Path, corpus: Path):
    model, source, target, _ = load(trained)
    pairs = [pair for pair in load_splits(corpus).test for _ in range(2)]
    figures = measure(model, source, target, pairs, greedy)
    assert figures["all_references"]["bleu"]["n"] == len({pair.zh for pair in pairs})
    assert figures["all_references"]["bleu"]["value"] >= figures["bleu"]["value"] - 1e-9


@pytest.mark.parametrize("settings", rnn_translators.VARIANTS, ids=lambda settings: settings.name)
def test_the_rnns_are_trained_by_the_same_recipe(settings: Settings, corpus: Path, tmp_path: Path):
    sizes = {**settings.model, "d_embedding": 19, "d_hidden": 23}
    tiny = replace(TINY, name=settings.name, recipe=settings.recipe, model=sizes, epochs=8)
    run(tiny, out=tmp_path / "out", work=tmp_path / "work", pairs=corpus, build=rnn_translators.build_rnn, report=quiet)
    model, source, _, card = rnn_translators.load(tmp_path / "out")
    assert (model.attention is not None) == (settings.name == "rnn-attention")
    assert card["recipe"].endswith("rnn_translators")
    ids = source.encode("我喝茶。").ids
    assert greedy(model, torch.tensor([[*ids, EOS]]), max_len=3)[0].ids
    same = {"n_source_vocab", "n_target_vocab", "epochs", "batch_tokens", "smoothing", "ema", "warmup_steps", "seed"}
    ours = Settings()
    assert all(getattr(settings, name) == getattr(ours, name) for name in same), "same data, tokens and schedule"


def test_too_small_a_corpus_is_refused(tmp_path: Path):
    path = tmp_path / "one.tsv"
    path.write_text("我喝茶。\tI drink tea.\n", encoding="utf-8")
    with pytest.raises(ValueError, match="too few"):
        run(TINY, out=tmp_path / "out", work=tmp_path / "work", pairs=path, report=quiet)
    assert not (tmp_path / "out").exists()


def test_the_command_line_refuses_one_folder_for_two_models(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rnn_translators", "--out", "here"])
    with pytest.raises(SystemExit):
        translator.main(rnn_translators.VARIANTS, rnn_translators.build_rnn)
    assert "--model" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused():
    with pytest.raises(CheckpointError, match="another model"):
        load("masked-lm")


def test_the_translator_is_as_good_as_was_asked():
    test = json.loads((SHIPPED / "translator" / "card.json").read_text("utf-8"))["results"]["test"]
    assert test["beam_5"]["bleu"]["value"] >= 30
    assert test["beam_5"]["bleu"]["n"] == len(load_splits().test)


def test_under_torchrun_one_process_writes_for_all(corpus: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "attention_decoded.recipes.translator", "--pairs", corpus, "--epochs", "1", "--out", tmp_path / "out",
         "--work", tmp_path / "work"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if "parameters" not in line]
    assert len(said) == len(set(said)), "nothing is said twice"
    assert load(tmp_path / "out")[3]["training"]["finished"]


@pytest.mark.parametrize("name", ["translator", "rnn-attention", "rnn"])
def test_shipped_files_are_small_enough_and_translate(name: str):
    assert (
        sum(path.stat().st_size for path in (SHIPPED / name).iterdir() if path.suffix == ".safetensors") <= 10_000_000
    )
    model, source, target, card = (load if name == "translator" else rnn_translators.load)(name)
    some = load_splits().validation[:200]
    score = measure(model, source, target, some, greedy)["bleu"]["value"]
    whole = card["results"]["validation"]["greedy"]["bleu"]["value"]
    assert abs(score - whole) < 8, f"BLEU {score:.1f} of 200 sentences is far from {whole:.1f}, which the card states"


@pytest.mark.parametrize("search", ["greedy", f"beam_{translator.BEAM}"])
@pytest.mark.parametrize(("better", "worse"), [("translator", "rnn-attention"), ("rnn-attention", "rnn")])
def test_attention_is_worth_three_points_and_a_transformer_three_more(better: str, worse: str, search: str):
    """On the same data, tokens and epochs, on the test split."""
    ours, theirs = (load_checkpoint(SHIPPED / name).card for name in (better, worse))
    for facts in ("data", "measure"):
        assert ours[facts] == theirs[facts]
    assert ours["training"]["steps"] == theirs["training"]["steps"]
    figures = [card["results"]["test"][search]["bleu"]["value"] for card in (ours, theirs)]
    assert figures[0] - figures[1] >= 3


def test_the_log_s_last_word_on_an_epoch_counts(tmp_path: Path):
    notes = [(4, 1.0), (8, 2.0), (4, 3.0)]  # a run went back to epoch 3 and came by again
    lines = [
        {"step": 1, "loss": 2.0},
        *({"validation_epoch": e, "validation_bleu": b, "validation_chrf": 2 * b} for e, b in notes),
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert translator.by_epoch(log) == {"4": {"bleu": 3.0, "chrf": 6.0}, "8": {"bleu": 2.0, "chrf": 4.0}}
