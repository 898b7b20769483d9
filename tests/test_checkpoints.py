"""Checkpoints: whole, checked, never executed; every way to be wrong has its message."""

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.testing import assert_close

from attention_decoded.checkpoints import SHIPPED, CheckpointError, load_checkpoint, load_model, save_checkpoint
from attention_decoded.masked_lm import MaskedLanguageModel, MaskedLanguageModelConfig, build_masked_lm

CONFIG = MaskedLanguageModelConfig(n_vocab=31, d_model=14, n_heads=2, n_layers=3, d_ff=17, max_len=11)


@pytest.fixture
def model() -> MaskedLanguageModel:
    return MaskedLanguageModel(CONFIG).eval()


@pytest.fixture
def folder(model: MaskedLanguageModel, tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "model"
    save_checkpoint(
        folder, model.state_dict(), dataclasses.asdict(CONFIG), {"name": "ours"}, {"extra.txt": "甲".encode()}
    )
    return folder


def test_what_is_saved_is_loaded_up_to_half_precision(model: MaskedLanguageModel, folder: Path) -> None:
    again, card = load_model(folder, build_masked_lm)
    ids = torch.randint(0, 31, (3, 7))
    assert_close(again(ids), model(ids), rtol=1e-2, atol=1e-2)
    assert again.config == CONFIG
    assert not again.training
    assert card["name"] == "ours"
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().float())


def test_page_finds_the_config_in_the_metadata(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["config"]) == dataclasses.asdict(CONFIG)
        assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118


def test_nothing_half_written_is_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "extra.txt", "model.safetensors"]


def test_same_weights_same_bytes(model: MaskedLanguageModel, folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "b", model.state_dict(), dataclasses.asdict(CONFIG), {"name": "ours"})
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["model.safetensors", "extra.txt"])
def test_truncated_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{name} is cut short, altered.*Fetch the folder again"):
        load_checkpoint(folder)


def test_altered_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is cut short, altered"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "card.json", "extra.txt"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 3}', '{"sha256": {}}'])
def test_card_that_is_no_card_is_refused(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"card\.json"):
        load_checkpoint(folder)


def test_weights_of_another_config_are_refused(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text("utf-8"))
    card["config"]["n_heads"] = 7
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(CheckpointError, match="state different configs"):
        load_checkpoint(folder)


def test_weights_that_do_not_fit_the_code_are_refused(folder: Path) -> None:
    other = dataclasses.replace(CONFIG, d_ff=19)
    with pytest.raises(CheckpointError, match="of another model than the code builds"):
        load_model(folder, lambda config: MaskedLanguageModel(other))
    with pytest.raises(CheckpointError, match="of another model than the code builds"):
        load_model(folder, lambda config: build_masked_lm({**config, "n_words": 3}))


def test_whole_numbers_are_kept_as_they_are(tmp_path: Path) -> None:
    state = {"n": torch.tensor([2049, 70_001]), "seen": torch.tensor([True, False]), "w": torch.tensor([0.5])}
    save_checkpoint(tmp_path, state, {}, {})
    again = load_checkpoint(tmp_path).state
    assert all(torch.equal(again[name], tensor) and again[name].dtype == tensor.dtype for name, tensor in state.items())


@pytest.mark.parametrize("error", [KeyError("n_pixels"), ValueError("n_vocab=0"), TypeError("d_mode")])
def test_a_config_that_the_code_cannot_build_from_is_said(folder: Path, error: Exception) -> None:
    def build(config):
        raise error

    with pytest.raises(CheckpointError, match="the weights are of another model than the code builds"):
        load_model(folder, build)


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    """Not even with a card that vouches for it: its code does not run."""
    from attention_decoded.files import sha256

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    content = pickle.dumps(Trap())
    (folder / "model.safetensors").write_bytes(content)
    card = json.loads((folder / "card.json").read_text("utf-8"))
    card["sha256"]["model.safetensors"] = sha256(content)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a checkpoint of this book"):
        load_checkpoint(folder)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(content)
    assert (tmp_path / "sprung").exists()  # the trap works


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"neither a folder nor .*masked-lm"):
        load_checkpoint("no-such-model")


@pytest.mark.parametrize("bad", [float("nan"), 70_000.0])
def test_numbers_beyond_half_precision_are_not_shipped(tmp_path: Path, bad: float) -> None:
    with pytest.raises(CheckpointError, match="a hold numbers beyond half precision"):
        save_checkpoint(tmp_path / "x", {"a": torch.tensor([1.0, bad])}, {}, {})
    assert not (tmp_path / "x").exists()


def test_crash_while_saving_keeps_the_old_checkpoint(
    model: MaskedLanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("attention_decoded.files.os.fsync", crash)
    other = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, other, dataclasses.asdict(CONFIG), {"name": "newer"}, {"extra.txt": b"other"})
    monkeypatch.undo()
    assert load_checkpoint(folder).card["name"] == "ours"


LARGEST = {"translator": 10_000_000, "rnn": 10_000_000, "rnn-attention": 10_000_000}
"""Bytes that the models of whole chapters may have; the completers' have half, all others a tenth."""


@pytest.mark.parametrize("path", sorted(p for p in SHIPPED.iterdir() if p.is_dir()), ids=lambda path: path.name)
def test_shipped_checkpoints_are_whole_small_and_described(path: Path) -> None:
    checkpoint = load_checkpoint(path.name)
    training = checkpoint.card["training"]
    minutes = training["minutes"]
    assert min(minutes.values() if isinstance(minutes, dict) else [minutes]) > 0
    assert training["cores"] >= 1
    largest = 5_000_000 if path.name.startswith("completer") else LARGEST.get(path.name, 1_000_000)
    assert (path / "model.safetensors").stat().st_size <= largest
    for field in ("name", "summary", "licence", "recipe", "data", "training", "results", "limits"):
        assert checkpoint.card[field]
    assert checkpoint.card["name"] == path.name
    assert all(tensor.isfinite().all() for tensor in checkpoint.state.values())
