"""The digits' models: what is shipped is what the cards say, and a tiny run does all that a long one does."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch.testing import assert_close
from toy_language import quiet

from attention_decoded.autoencoder import Autoencoder
from attention_decoded.checkpoints import SHIPPED, load_checkpoint
from attention_decoded.data.digits import Digits, DigitSplits, load_digits
from attention_decoded.recipes import digits as recipe
from attention_decoded.recipes.digits import (
    MODELS,
    Settings,
    decoder_file,
    evaluate,
    found_digits,
    likelihood,
    load,
    main,
    measure,
    pca_squared_error,
    pixels,
    responsibilities,
    run,
    shifted,
    squared_error,
    standard_error,
    train,
)
from attention_decoded.vae import VAE, MixturePrior

TINY = {
    kind: Settings(kind=kind, d_latent=3, n_components=n, hidden=(17, 11), epochs=2, batch_size=37)
    for kind, n in (("autoencoder", 0), ("vae", 5))
}


@pytest.fixture(scope="module")
def real() -> DigitSplits:
    return load_digits()


@pytest.fixture(scope="module")
def few(real: DigitSplits) -> DigitSplits:
    """A dozen or so images of each class to train on, three of each to measure on."""
    parts = ((real.train, 130), (real.validation, 31), (real.test, 29))
    return DigitSplits(*(Digits(part.images[:n], part.labels[:n]) for part, n in parts))


# ── what is shipped ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MODELS)
def test_the_card_tells_how_the_shipped_model_was_made(name: str) -> None:
    model, card = load(name)
    assert not model.training
    assert card["name"] == name
    assert card["settings"] == json.loads(json.dumps(dataclasses.asdict(MODELS[name])))
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert card["training"]["minutes"] > 0
    assert card["data"]["images"] == {"train": 4000, "validation": 500, "test": 500}
    assert card["data"]["sha256"] == recipe.DIGITS.sha256


@pytest.mark.parametrize("name", MODELS)
def test_figures_of_the_card_are_those_of_the_shipped_weights(name: str, real: DigitSplits) -> None:
    model, card = load(name)
    x, reported = pixels(real.test), card["results"]["test"]
    figures = measure(model, x)
    assert set(figures) <= set(reported)
    for key, value in figures.items():
        assert value == pytest.approx(reported[key], abs=6e-3), key


def test_all_figures_of_one_card_likelihood_and_digits_included(real: DigitSplits) -> None:
    model, card = load("digits-vae-mixture")
    figures, reported = evaluate(model, real, real.test), card["results"]["test"]
    assert figures.pop("images_by_component_and_digit") == reported.pop("images_by_component_and_digit")
    assert figures == pytest.approx(reported, abs=6e-3)


def test_pca_of_the_cards_is_pca(real: DigitSplits) -> None:
    for name in ("digits-ae-2d", "digits-ae-16d"):
        size, reported = MODELS[name].d_latent, load(name)[1]["results"]["test"]["pca_squared_error"]
        centre = pixels(real.train).mean(0)
        axes = torch.linalg.svd(pixels(real.train) - centre, full_matrices=False)[2][:size]
        decoded = (pixels(real.test) - centre) @ axes.T @ axes + centre
        assert squared_error(decoded.clamp(0, 1), pixels(real.test)) == pytest.approx(reported, abs=6e-3)


def test_what_the_chapters_say_of_these_models_holds() -> None:
    test = {name: load(name)[1]["results"]["test"] for name in MODELS}
    for name, figures in test.items():
        assert figures["squared_error"] < figures["pca_squared_error"], name  # bent beats flat at the same size
        if "elbo" in figures:
            assert figures["elbo"] == pytest.approx(-figures["reconstruction"] - figures["kl"], abs=2e-3)
            assert figures["log_likelihood"] > figures["elbo"], name
    betas = [test[name] for name in ("digits-vae-2d-beta-0.5", "digits-vae-2d", "digits-vae-2d-beta-4")]
    assert [f["kl"] for f in betas] == sorted((f["kl"] for f in betas), reverse=True)
    assert [f["reconstruction"] for f in betas] == sorted(f["reconstruction"] for f in betas)
    assert test["digits-vae-16d"]["log_likelihood"] > test["digits-vae-2d"]["log_likelihood"]


def test_files_are_small_enough_for_a_page() -> None:
    sizes = {name: len(decoder_file(name)) for name in MODELS}
    assert max(sizes.values()) <= 300_000
    assert sum(sizes.values()) <= 1_500_000
    assert max((SHIPPED / name / "model.safetensors").stat().st_size for name in MODELS) <= 500_000


def test_decoder_file_decodes_as_the_model(tmp_path: Path) -> None:
    name = "digits-vae-mixture"
    model, card = load(name)
    path = tmp_path / "decoder.safetensors"
    path.write_bytes(decoder_file(name))
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["config"]) == card["config"]
    tensors = {key: tensor.float() for key, tensor in safetensors.torch.load_file(path).items()}
    assert {key.split(".")[0] for key in tensors} == {"decoder", "prior"}
    z = torch.randn(5, 2)
    x = z
    for layer in (0, 2, 4):  # the ReLUs between have no parameters
        x = F.linear(x, tensors[f"decoder.{layer}.weight"], tensors[f"decoder.{layer}.bias"])
        x = x.relu() if layer < 4 else x
    assert_close(x, model.decode(z))


# ── a tiny run ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", TINY)
def test_run_trains_measures_and_writes(kind: str, few: DigitSplits, tmp_path: Path) -> None:
    said: list[str] = []
    card = run("mine", TINY[kind], out=tmp_path / "mine", splits=few, report=said.append)
    model, loaded = load(tmp_path / "mine")
    assert isinstance(model, Autoencoder if kind == "autoencoder" else VAE)
    assert loaded["results"] == json.loads(json.dumps(card["results"]))
    assert loaded["data"] == {"title": "images of the caller", "images": {"train": 130, "validation": 31, "test": 29}}
    assert loaded["training"]["steps"] == 2 * math.ceil(130 / 37)
    assert measure(model, pixels(few.test))["squared_error"] == pytest.approx(
        card["results"]["test"]["squared_error"], abs=6e-4
    )  # what was measured is what was written, half precision included
    assert said[0].startswith("100%  epoch 2  loss ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("kind", TINY)
def test_training_lowers_the_loss(kind: str, few: DigitSplits) -> None:
    x = pixels(few.train)
    errors = [
        measure(train(x, x, dataclasses.replace(TINY[kind], epochs=epochs), quiet)[0], x)["squared_error"]
        for epochs in (1, 40)
    ]
    assert errors[1] < 0.8 * errors[0]


def weights(folder: Path, few: DigitSplits, **changes) -> dict[str, torch.Tensor]:
    run("mine", dataclasses.replace(TINY["vae"], **changes), out=folder, splits=few, report=quiet)
    return load_checkpoint(folder).state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_same_seed_same_weights_other_seed_others(few: DigitSplits, tmp_path: Path) -> None:
    one = weights(tmp_path / "a", few)
    torch.rand(7)  # whatever happened to the global generator in between
    assert same(weights(tmp_path / "b", few), one)
    assert not same(weights(tmp_path / "c", few, seed=1), one)


def test_the_caller_keeps_random_state_and_threads(few: DigitSplits, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    torch.set_num_threads(2)
    try:
        weights(tmp_path, few)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.rand(5), expected)


def test_an_interrupted_run_leaves_what_was_there_and_can_be_started_again(few: DigitSplits, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("mine", TINY["vae"], out=tmp_path / "new", splits=few, report=interrupt)
    assert not (tmp_path / "new").exists()
    old = weights(tmp_path / "old", few, seed=1)
    with pytest.raises(KeyboardInterrupt):
        run("mine", TINY["vae"], out=tmp_path / "old", splits=few, report=interrupt)
    assert same(load_checkpoint(tmp_path / "old").state, old)
    assert same(weights(tmp_path / "new", few), weights(tmp_path / "whole", few))


def test_command_line(few: DigitSplits, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(recipe, "load_digits", lambda: few)
    main(["digits-ae-2d", "digits-vae-mixture", "--epochs", "1", "--seed", "5", "--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-ae-2d", "digits-vae-mixture"]
    assert load(tmp_path / "digits-ae-2d")[1]["settings"]["seed"] == 5
    assert "digits-vae-mixture: A VAE of handwritten digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["digits-vae-3d"], "there is no model digits-vae-3d; there are: digits-ae-2d, "),
        (["--epochs", "0"], "epochs=0 must be at least 1"),
    ],
)
def test_command_line_names_what_is_wrong(arguments: list[str], complaint: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"d_latent": 0}, "d_latent=0 must be at least 1"),
        ({"batch_size": -3}, "batch_size=-3 must be at least 1"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0 must be above 0"),
        ({"beta": -1.0}, r"beta=-1\.0 .* must not be negative"),
        ({"shift": 28}, "shift=28 must be 0 to 27"),
        ({"kind": "autoencoder", "beta": 4.0}, "neither beta nor a prior"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**{"kind": "vae", "d_latent": 2, **changes})


# ── parts ───────────────────────────────────────────────────────────────────────────────────────


def test_shifted_moves_each_image_whole_and_by_its_own_way() -> None:
    x = torch.rand(211, 28 * 28)
    moved = shifted(x, 1, torch.Generator().manual_seed(0))
    ways: set[tuple[int, int]] = set()
    for before, after in zip(x.view(-1, 28, 28), moved.view(-1, 28, 28), strict=True):
        framed = F.pad(before, (1, 1, 1, 1))
        ways |= {(i, j) for i in range(3) for j in range(3) if torch.equal(framed[i : i + 28, j : j + 28], after)}
    assert len(ways) == 9
    assert shifted(x, 0, torch.Generator()) is x


def test_measures_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0, 0.25], [1.0, 1.0, 0.5]])
    decoded = torch.tensor([[0.5, 1.0, 0.25], [1.0, 0.0, 0.0]])
    assert squared_error(decoded, x) == pytest.approx((0.25 + 1 + 0.25) / 2)
    assert standard_error(torch.tensor([1.0, 2.0, 3.0, 6.0])) == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)
    model = Autoencoder(3, 2, (5,))
    for parameter in model.parameters():
        parameter.data.zero_()  # every pixel is decoded as 1/2
    figures = measure(model, x)
    assert figures["cross_entropy"] == pytest.approx(3 * math.log(2))
    assert figures["squared_error"] == pytest.approx((0.25 + 0.25 + 0.0625 + 0.25 + 0.25) / 2)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert figures["cross_entropy_floor"] == pytest.approx((quarter + math.log(2)) / 2)


def test_elbo_and_likelihood_of_a_vae_that_ignores_its_code() -> None:
    """Then log p(x) is known, the KL is zero, and bound and estimate must both hit it."""
    model = VAE(3, 2, (5,))
    for parameter in model.parameters():
        parameter.data.zero_()
    x = torch.rand(7, 3)
    figures = measure(model, x) | likelihood(model, x, 11)
    assert figures["kl"] == pytest.approx(0)
    assert figures["elbo"] == pytest.approx(-3 * math.log(2), rel=1e-5)
    assert figures["log_likelihood"] == pytest.approx(-3 * math.log(2), rel=1e-5)
    assert figures["log_likelihood_se"] == pytest.approx(0, abs=1e-5)


def test_pca_with_all_axes_loses_nothing_and_with_one_loses_the_rest() -> None:
    x = torch.rand(23, 5)
    assert pca_squared_error(x, x, 5) == pytest.approx(0, abs=1e-8)
    lost = torch.linalg.svdvals(x - x.mean(0))[1:].square().sum() / 23
    assert pca_squared_error(x, x, 1) <= float(lost) + 1e-6  # cutting to 0–1 can only help


def test_responsibilities_are_shares_of_the_density() -> None:
    prior = MixturePrior(5, 3)
    for parameter in prior.parameters():
        parameter.data.normal_()
    z = torch.randn(7, 3)
    shares = responsibilities(prior, z)
    assert_close(shares.sum(-1), torch.ones(7))
    for k in range(5):
        alone = torch.distributions.Normal(prior.mu[k], (prior.logvar[k] / 2).exp()).log_prob(z).sum(-1)
        expected = (alone + prior.logits.log_softmax(-1)[k] - prior.log_prob(z)).exp()
        assert_close(shares[:, k], expected)


def test_found_digits_counts_agreement_and_only_that() -> None:
    """Ten places on a circle, one for each digit; the encoder sends an image to its digit's place."""
    turn = 2 * math.pi * torch.arange(10) / 10
    places = 9 * torch.stack([turn.cos(), turn.sin()], dim=-1)
    model = VAE(28 * 28, 2, (10,), MixturePrior(10, 2))
    assert model.prior is not None
    for parameter in model.parameters():
        parameter.data.zero_()
    model.prior.mu.data = places.flip(0)  # which Gaussian has which digit does not matter
    model.encoder[0].weight.data[:, :10] = torch.eye(10)
    model.encoder[2].weight.data[:2] = places.T
    labels = np.arange(70, dtype=np.uint8) % 10
    images = np.zeros((70, 28, 28), np.float32)
    images[np.arange(70), 0, labels] = 1
    held = Digits(images, labels)
    share, counts = found_digits(model, held, held)
    assert share == 1
    assert counts.tolist() == (7 * np.eye(10, dtype=int)[::-1]).tolist()
    share, counts = found_digits(model, held, Digits(images, (labels + labels % 2) % 10))  # odd ones misnamed
    assert share == 0.5
    model.prior = None  # a mixture is then fitted to the codes, and finds the places by itself
    assert found_digits(model, held, held)[0] > 0.85
