"""The recipe of chapter 7's model on a tiny budget: it learns, resumes exactly, and says what it did.

The corpus is a toy grammar of our own: who · does · what, each verb with objects of its own.
"""

import copy
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from toy_language import quiet

from attention_decoded.checkpoints import load_checkpoint
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.tokenization import MASK, PAD
from attention_decoded.masked_lm import MaskedLanguageModel, MaskedLanguageModelConfig
from attention_decoded.recipes.masked_lm import (
    Settings,
    evaluate,
    evaluate_unigram,
    hide_tokens,
    load,
    main,
    pad,
    run,
    train,
    without_attention,
)
from attention_decoded.training import ResumeError

OBJECTS = {"喝": "茶水酒汤奶", "读": "书信报诗文", "骑": "马车牛驴象"}
ROWS = [
    f"{who}{when}{verb}{what}。\t{who!r} {when!r} {verb!r} {what!r}"
    for who in "我你他她它谁"
    for when in ("", "天天", "不")
    for verb, objects in OBJECTS.items()
    for what in objects
]
TINY = Settings(epochs=3, n_vocab=67, min_count=1, batch_tokens=211, d_model=20, d_ff=23, max_len=11, dropout=0.2)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "toy.tsv"
    path.write_text("\n".join(ROWS), encoding="utf-8")
    return path


def go(folder: Path, corpus: Path, settings: Settings = TINY, **more) -> dict[str, torch.Tensor]:
    run(settings, out=folder / "out", work=folder / "work", pairs=corpus, report=more.pop("report", quiet), **more)
    return load_checkpoint(folder / "out").state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_run_writes_a_whole_checkpoint_a_card_and_a_log(tmp_path: Path, corpus: Path) -> None:
    go(tmp_path, corpus)
    model, tokenizer, card = load(tmp_path / "out")
    assert model.config.n_vocab == tokenizer.get_vocab_size() == card["config"]["n_vocab"]
    assert card["data"]["title"] == "toy.tsv"
    assert card["task"].startswith("20 %")
    assert sum(card["data"]["sentences"].values()) == len(ROWS)
    assert card["training"]["epochs"] == 3
    assert set(card["results"]) == {
        "validation", "test", "test_unigram", "test_trained_without_attention", "test_attention_cut_after_training"
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[2]["loss"] < lines[0]["loss"]
    assert "validation_top1" in lines[2]


def test_same_seed_same_weights_other_seed_others(tmp_path: Path, corpus: Path) -> None:
    one = go(tmp_path / "a", corpus)
    torch.rand(7)  # whatever happened to the global generator in between
    assert same(go(tmp_path / "b", corpus), one)
    assert not same(go(tmp_path / "c", corpus, Settings(**{**vars_of(TINY), "seed": 5})), one)


def vars_of(settings: Settings) -> dict:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


@pytest.mark.parametrize("stop_at", [2, 3])
def test_interrupted_run_goes_on_to_the_very_same_weights(tmp_path: Path, corpus: Path, stop_at: int) -> None:
    whole = go(tmp_path / "whole", corpus)

    def interrupt(line: str) -> None:
        if f"epoch {stop_at} " in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "cut", corpus, report=interrupt)
    assert not (tmp_path / "cut" / "out").exists()
    said: list[str] = []
    assert same(go(tmp_path / "cut", corpus, report=said.append), whole)
    assert f"going on after epoch {stop_at - 1}" in said


def test_state_of_another_run_is_refused(tmp_path: Path, corpus: Path) -> None:
    go(tmp_path, corpus)
    with pytest.raises(ResumeError, match=r"belongs to another run\. Delete it, or take another work folder"):
        go(tmp_path, corpus, Settings(**{**vars_of(TINY), "hide": 0.3}))
    corpus.write_text("\n".join(ROWS[:-7]), encoding="utf-8")
    load_splits.cache_clear()
    with pytest.raises(ResumeError):
        go(tmp_path, corpus)


def test_damaged_state_is_named(tmp_path: Path, corpus: Path) -> None:
    state = tmp_path / "work" / "state.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"\0" * 101)
    with pytest.raises(ResumeError, match=r"state\.safetensors is not the state of a run .* Delete it to start again"):
        go(tmp_path, corpus)


def test_too_small_a_corpus_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.tsv"
    path.write_text("\n".join(ROWS[:3]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"too few to train and to measure\. Give some hundreds of pairs"):
        go(tmp_path, path)


def test_the_callers_random_state_is_left_alone(tmp_path: Path, corpus: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    go(tmp_path, corpus)
    assert torch.equal(torch.rand(5), expected)


def test_minutes_stop_a_long_run(tmp_path: Path, corpus: Path) -> None:
    run(
        Settings(**{**vars_of(TINY), "epochs": 100_000}), out=tmp_path / "out", work=tmp_path / "work", pairs=corpus,
        minutes=0.01, report=quiet,
    )  # fmt: skip
    assert 0 < load_checkpoint(tmp_path / "out").card["training"]["epochs"] < 1000


def test_pitfall_21_vocabulary_comes_from_the_training_split_alone(tmp_path: Path) -> None:
    """Every sentence has a character of its own: those of held-out sentences must be unknown."""
    path = tmp_path / "unique.tsv"
    path.write_text("\n".join(f"我喝{chr(0x4E00 + 7 * n)}。\tnumber {n}" for n in range(300)), encoding="utf-8")
    splits = load_splits(path)
    go(tmp_path, path, Settings(**{**vars_of(TINY), "n_vocab": 400, "epochs": 1}))
    vocabulary = load(tmp_path / "out")[1].get_vocab()
    assert splits.validation
    assert splits.test
    assert all(pair.zh[2] in vocabulary for pair in splits.train)
    assert not any(pair.zh[2] in vocabulary for pair in (*splits.validation, *splits.test))


def test_it_learns_the_grammar_and_needs_attention_for_it(tmp_path: Path, corpus: Path) -> None:
    """A verb tells which objects may follow; only attention carries that from one position to the other."""
    longer = Settings(**{**vars_of(TINY), "epochs": 60, "learning_rate": 1e-2, "dropout": 0.0})
    card = run(longer, out=tmp_path / "out", work=tmp_path / "work", pairs=corpus, report=quiet)
    results = card["results"]
    assert results["test"]["loss"] < results["test_trained_without_attention"]["loss"] - 0.5
    assert results["test"]["top1"] > results["test_unigram"]["top1"] + 0.2
    assert results["test"]["loss"] < results["test_attention_cut_after_training"]["loss"]


def test_command_line(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture) -> None:
    main(
        ["--epochs", "1", "--seed", "2", "--pairs", str(corpus), "--out", str(tmp_path / "o"), "--work", str(tmp_path)]
    )
    assert "vocabulary entries" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "o").card["settings"]["seed"] == 2


# ── parts ───────────────────────────────────────────────────────────────────────────────────────


def test_pad_masks_padding_and_only_then() -> None:
    ids, mask = pad([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, PAD, PAD]]
    assert mask is not None
    assert mask.squeeze().tolist() == [[True] * 3, [True, False, False]]
    assert pad([[5, 6], [7, 8]])[1] is None


def test_hidden_tokens_are_chosen_as_stated() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 997, (3001, 13))
    ids[:, 11:] = PAD
    ids[0, 1:] = PAD  # a sentence of one token
    seen, chosen = hide_tokens(ids, 997, 0.2, generator)
    assert not chosen[ids == PAD].any()
    assert chosen.any(dim=1).all()
    assert torch.equal(seen[~chosen], ids[~chosen])
    share = chosen.sum() / (ids != PAD).sum()
    assert 0.19 < share < 0.22  # "at least one" adds a little to 20 %
    masked, kept = (seen == MASK)[chosen].float().mean(), (seen == ids)[chosen].float().mean()
    assert abs(masked - 0.8) < 0.02
    assert abs(kept - 0.1) < 0.02
    strangers = seen[chosen & (seen != MASK) & (seen != ids)]
    assert strangers.min() >= 5
    assert len(strangers.unique()) > 300


@pytest.fixture
def model() -> MaskedLanguageModel:
    return MaskedLanguageModel(
        MaskedLanguageModelConfig(n_vocab=31, d_model=14, n_heads=2, n_layers=2, d_ff=17, max_len=11)
    )


def test_evaluation_hides_each_token_once_alone(model: MaskedLanguageModel) -> None:
    sentences = [[5, 9, 30], [7, 1, 7, 8, 11]]  # 1 is <unk>: seen as context, not asked for
    losses, top1, top5 = [], 0, 0
    model.eval()
    for sentence in sentences:
        for at, truth in enumerate(sentence):
            if truth == 1:
                continue
            hidden = torch.tensor([[MASK if i == at else token for i, token in enumerate(sentence)]])
            logits = model(hidden)[0, at].detach()
            losses.append(F.cross_entropy(logits, torch.tensor(truth)))
            rank = int((logits > logits[truth]).sum())
            top1, top5 = top1 + (rank < 1), top5 + (rank < 5)
    figures = evaluate(model, sentences)
    assert figures["tokens"] == 7
    assert_close(figures["loss"], float(torch.stack(losses).mean()), rtol=1e-4, atol=1e-4)
    assert (figures["top1"], figures["top5"]) == (top1 / 7, top5 / 7)


def test_evaluation_gives_the_mode_back(model: MaskedLanguageModel) -> None:
    for mode in (True, False):
        evaluate(model.train(mode), [[5, 6]])
        assert model.training is mode


def test_unigram_baseline_by_hand() -> None:
    train_ids = [[5, 5, 5, 6], [6, 7, 8, 9, 10, 1]]
    assert Counter([*train_ids[0], *train_ids[1]]).most_common(2) == [(5, 3), (6, 2)]
    figures = evaluate_unigram(train_ids, [[5, 6, 11, 1], [10]])
    assert figures == {"top1": 1 / 4, "top5": 2 / 4, "tokens": 4}


def test_without_attention_positions_are_alone(model: MaskedLanguageModel) -> None:
    ids = torch.tensor([[5, 6, 7]])
    other = torch.tensor([[5, 9, 7]])
    twin = copy.deepcopy(model)
    assert not torch.allclose(twin(ids)[0, 0], twin(other)[0, 0])
    alone = without_attention(twin)
    assert torch.equal(alone(ids)[0, 0], alone(other)[0, 0])
    train(alone, [[5, 6, 7]] * 7, [[5, 6]], TINY, report=quiet)
    assert torch.equal(alone(ids)[0, 0], alone(other)[0, 0])
    assert model.blocks[0].attention.to_out.weight.any()  # the original was not cut
