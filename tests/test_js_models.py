"""The mirror's models against Python's, on the same half-precision weights: every number, and every cut."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from mirror import agree, javascript
from torch import nn

from attention_decoded.autoencoder import Autoencoder
from attention_decoded.capture import capture
from attention_decoded.checkpoints import SHIPPED, load_model, save_checkpoint
from attention_decoded.knockout import Cut, knockout
from attention_decoded.positions import RelativeBias, alibi_slopes
from attention_decoded.rnn import RNNTranslator, build_rnn
from attention_decoded.transformer import build_decoder_only, build_transformer
from attention_decoded.vae import VAE, MixturePrior

BUILDERS: dict[str, Callable] = {
    "Transformer": build_transformer,
    "DecoderOnly": build_decoder_only,
    "RNNTranslator": build_rnn,
    "Autoencoder": lambda config: Autoencoder(**config),
    "VAE": lambda config: VAE(**config | {"prior": MixturePrior(*config["prior"]) if config.get("prior") else None}),
}
TWO = {"n_source_vocab": 31, "n_target_vocab": 37, "d_model": 30, "n_heads": 3, "d_ff": 17, "max_len": 53}
LAYERS = {"n_encoder_layers": 2, "n_decoder_layers": 3}
ONE = {"n_vocab": 37, "d_model": 30, "n_heads": 3, "d_ff": 17, "n_layers": 3, "max_len": 53}
RNN = {"n_source_vocab": 31, "n_target_vocab": 37, "d_embedding": 5, "d_hidden": 7}
POSITIONS = ("sinusoidal", "learned", "relative", "alibi", "rotary")
WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"transformer {kind}": ("Transformer", {**TWO, **LAYERS, "positions": kind}) for kind in POSITIONS},
    "transformer post-norm": ("Transformer", {**TWO, **LAYERS, "norm": "post"}),
    "transformer one table": ("Transformer", {**TWO, **LAYERS, "n_source_vocab": 37, "shared": True}),
    **{f"decoder only {kind}": ("DecoderOnly", {**ONE, "positions": kind}) for kind in POSITIONS},
    "decoder only post-norm": ("DecoderOnly", {**ONE, "norm": "post", "positions": "relative"}),
    "rnn": ("RNNTranslator", {**RNN, "attention": False}),
    "rnn attention": ("RNNTranslator", {**RNN, "attention": True}),
}
Case = dict[str, Any]
Made = Callable[[str], tuple[Any, dict[str, str]]]


def save_random(folder: Path, kind: str, config: dict[str, Any], std: float = 0.4) -> Path:
    """A model with large random weights: what it attends to is far from even, and no two tokens are alike."""
    model = BUILDERS[kind](config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for name, parameter in model.named_parameters():
            gain = "norm" in name and name.endswith("weight")  # about 1, or the norm's constant shift drowns its input
            nn.init.normal_(parameter, mean=float(gain), std=std)
    save_checkpoint(folder, model.state_dict(), config, {})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """By its name in WRITERS, a model as Python reads it from its checkpoint, and what to tell JavaScript."""
    folder = tmp_path_factory.mktemp("models")

    def get(name: str) -> tuple[nn.Module, dict[str, str]]:
        kind, config = WRITERS[name]
        path = folder / name.replace(" ", "-")
        if not path.is_dir():
            save_random(path, kind, config)
        model, _ = load_model(path, BUILDERS[kind])
        return model, {"kind": kind, "file": str(path / "model.safetensors")}

    return get


def texts(config: dict[str, Any], lengths: list[tuple[int, int]], seed: int = 0) -> list[Case]:
    """Random sources (none for a decoder-only model) and targets of these lengths."""
    draw = random.Random(seed)
    n_source, n_target = config.get("n_source_vocab", 0), config.get("n_target_vocab") or config["n_vocab"]
    return [
        {
            "source": [draw.randrange(1, n_source) for _ in range(source)] if n_source else None,
            "target": [2] + [draw.randrange(n_target) for _ in range(target - 1)],
        }
        for source, target in lengths
    ]


def logits_of(model: nn.Module, case: Case) -> torch.Tensor:
    """[target, vocab] under teacher forcing."""
    arguments = [torch.tensor([ids]) for ids in (case["source"], case["target"]) if ids is not None]
    with torch.no_grad():
        return model(*arguments)[0]


def looks_of(model: nn.Module, case: Case) -> dict[str, list[dict[str, torch.Tensor]]]:
    """Weights, queries, keys and values of all layers, heads side by side in a row as the mirror has them."""
    looks: dict[str, list] = {"encoder": [], "decoder": [], "cross": []}
    if isinstance(model, RNNTranslator):
        if model.attention is None:
            return looks
        state = model.start(torch.tensor([case["source"]]))
        keys, memory, weights, queries = state["keys"], state["memory"], [], []
        with torch.no_grad():
            for id_ in case["target"]:
                queries.append(model.attention.to_q(state["hidden"]))
                _, state = model.step(torch.tensor([id_]), state)
                weights.append(state["weights"])
        looks["cross"] = [{"weights": torch.cat(weights), "q": torch.cat(queries), "k": keys, "v": memory}]
        return looks
    with capture(model) as records:
        logits_of(model, case)
    for record in records:
        rows = {x: rearrange(getattr(record, x), "1 head pos d_head -> pos (head d_head)") for x in "qkv"}
        looks[place_of(record.name)[0]].append({"weights": record.weights, **rows})
    return looks


def place_of(name: str) -> tuple[str, int]:
    """Stack and layer of an attention by its module's name, as in `decoder.2.cross.attend`."""
    stack, layer, part, _ = name.split(".")
    return "cross" if part == "cross" else {"blocks": "decoder"}.get(stack, stack), int(layer)


# ── every number ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", WRITERS)
def test_logits_and_looks_are_python_s(name: str, made: Made) -> None:
    """All at once and token by token; the mirror may not tell the two apart either."""
    model, where = made(name)
    cases = texts(WRITERS[name][1], [(1, 1), (13, 7), (5, 47)])
    answers = javascript("teacherForced", cases=cases, **where)
    for case, answer in zip(cases, answers, strict=True):
        expected = logits_of(model, case)
        agree(answer["logits"], expected, "logits")
        agree(answer["stepwise"], expected, "stepwise")
        agree(answer["looks"], looks_of(model, case), "looks")
        assert expected.std() > 0.1


def test_sizes_that_a_config_leaves_open_are_python_s(tmp_path: Path) -> None:
    """The mirror knows the config classes' defaults, or it could not read a file that relies on them."""
    vocab = {"n_source_vocab": 7, "n_target_vocab": 11}
    for kind, given in (("Transformer", vocab), ("DecoderOnly", {"n_vocab": 11}), ("RNNTranslator", vocab)):
        folder = save_random(tmp_path / kind, kind, given, std=0.05)
        model, _ = load_model(folder, BUILDERS[kind])
        [case] = texts(given, [(3, 5)])
        [answer] = javascript("teacherForced", cases=[case], kind=kind, file=str(folder / "model.safetensors"))
        agree(answer["logits"], logits_of(model, case), kind)


def test_distances_fall_into_the_same_buckets() -> None:
    """PyTorch finds the bucket in single precision: at its edges the mirror must round alike."""
    answer = javascript("places", distances=list(range(-400, 1)), heads=list(range(1, 18)))
    for bidirectional, found in zip((False, True), answer["buckets"], strict=True):
        model = RelativeBias(1, bidirectional=bidirectional)
        assert found == model.buckets(401, 401)[400].tolist()
    ahead = javascript("places", distances=list(range(400)), heads=[])["buckets"][1]
    assert ahead == RelativeBias(1).buckets(400, 400)[0].tolist()
    agree(answer["slopes"], [alibi_slopes(n) for n in range(1, 18)], within=1e-7)


@pytest.mark.parametrize("name", ["transformer learned", "decoder only learned", "rnn attention"])
def test_what_is_no_sentence_is_refused_in_words(name: str, made: Made) -> None:
    _, where = made(name)
    target_only = name.startswith("decoder")
    bad: list[list[Any]] = [[], [-1], [37], [10**9], [1.5], ["a"], [None], [5] * 100_000]
    good = {"source": None if target_only else [5, 6], "target": [2, 3]}
    cases = [good, *({**good, "target": ids} for ids in bad)]
    if not target_only:
        cases += [{**good, "source": ids} for ids in [*bad, [5, 0, 6]]]
    if "learned" in name:
        cases += [{**good, "target": [5] * 54}]
    answers = javascript("refusal", cases=cases, **where)
    assert answers[0] is None
    for case, message in zip(cases[1:], answers[1:], strict=True):
        assert message is not None, str(case)[:100]
        assert message.endswith("."), message


# ── cuts ────────────────────────────────────────────────────────────────────────────────────────

CUTS: dict[str, list[Cut]] = {
    "column": [{"stack": "cross", "key": 2}],
    "row": [{"stack": "encoder", "layer": 0, "query": 2}],
    "head of the encoder": [{"stack": "encoder", "layer": 0, "head": 2}],
    "head of the decoder": [{"stack": "decoder", "layer": 1, "head": 1}],
    "head of the cross-attention": [{"stack": "cross", "layer": 0, "head": 0}],
    "layer": [{"stack": "cross", "layer": 0}],
    "all that a first token sees": [{"stack": "decoder", "query": 0, "key": 0}],
    "the whole source": [{"stack": "cross"}],
    "positions": [{"positions": True}],
    "much": [
        {"stack": "encoder", "query": 0, "key": 1},
        {"stack": "decoder", "layer": 1, "head": 1},
        {"stack": "decoder", "key": 0},
        {"stack": "cross", "layer": 0, "head": 0, "query": 1},
        {"positions": True},
    ],
}


def strongest(looks: dict[str, list[dict[str, torch.Tensor]]]) -> dict[str, list[dict[str, Any]]]:
    """The strongest look of each stack's second layer, to be cut there or everywhere: most change next to nothing."""
    found = {}
    for stack, layers in looks.items():
        if layers:
            weights = layers[1]["weights"][0, :, 1:]  # a first token can only look at itself
            head, query, key = np.unravel_index(int(weights.argmax()), weights.shape)
            cell = {"stack": stack, "layer": 1, "head": int(head), "query": int(query) + 1, "key": int(key)}
            found[f"cell of the {stack}"] = [cell]
            found[f"pair of the {stack}"] = [{axis: cell[axis] for axis in ("stack", "query", "key")}]
            found[f"column of a head of the {stack}"] = [{axis: cell[axis] for axis in cell if axis != "query"}]
    return found


def token_log_probs(logits: torch.Tensor, out: list[int]) -> torch.Tensor:
    return logits.log_softmax(-1).gather(1, torch.tensor(out)[:, None])[:, 0]


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.startswith("rnn")])
def test_a_cut_does_what_it_does_in_python(name: str, made: Made) -> None:
    """Δ log-probability of every token of a known text, within 1e-3; and no cut is without effect."""
    model, where = made(name)
    [case] = texts(WRITERS[name][1], [(5, 7)], seed=1)
    case["out"] = [*case["target"][1:], 3]
    uncut = token_log_probs(logits_of(model, case), case["out"])
    there = {"decoder", None} if case["source"] is None else {"encoder", "decoder", "cross", None}
    here = {what: cuts for what, cuts in CUTS.items() if {each.get("stack") for each in cuts} <= there}
    here |= strongest(looks_of(model, case))
    assert len(here) > 5
    cases = [{**case, "cuts": cuts} for cuts in ([], *here.values())]
    [plain, *answers] = javascript("scored", cases=cases, **where)
    agree(plain, uncut)
    forced = javascript("teacherForced", cases=cases[1:], **where)
    for (what, cuts), answer, run in zip(here.items(), answers, forced, strict=True):
        with knockout(model, cuts):
            expected = token_log_probs(logits_of(model, case), case["out"])
        changed = np.array(answer) - np.array(plain)
        assert np.abs(changed - (expected - uncut).numpy()).max() < 1e-3, what
        assert np.abs(changed).max() > 1e-3, f"{what} changes nothing"
        agree(run["stepwise"], torch.tensor(run["logits"]), what)


@pytest.mark.parametrize(
    "cuts",
    [
        [{"stack": "cross", "key": 1}],
        [{"stack": "cross", "query": 2, "key": 0}, {"stack": "cross", "layer": 0, "head": 0, "query": 4, "key": 3}],
        [{"stack": "cross", "query": 3}],
        [{"stack": "cross", "layer": 0, "head": 0}],
    ],
    ids=["column", "cells", "row", "head"],
)
def test_cuts_in_additive_attention(cuts: list[Cut], made: Made) -> None:
    model, where = made("rnn attention")
    [case] = texts(RNN, [(5, 7)])
    case["out"] = [*case["target"][1:], 3]
    [plain, answer] = javascript("scored", cases=[{**case, "cuts": []}, {**case, "cuts": cuts}], **where)
    with knockout(model, cuts):
        expected = token_log_probs(logits_of(model, case), case["out"])
    agree(answer, expected)
    assert np.abs(np.array(answer) - np.array(plain)).max() > 1e-3


# ── pictures ────────────────────────────────────────────────────────────────────────────────────

DRAWN: dict[str, tuple[str, dict[str, Any]]] = {
    "autoencoder": ("Autoencoder", {"n_pixels": 23, "d_latent": 3, "hidden": [13, 7]}),
    "one hidden layer": ("Autoencoder", {"n_pixels": 23, "d_latent": 5, "hidden": [11]}),
    "vae": ("VAE", {"n_pixels": 23, "d_latent": 3, "hidden": [13, 7]}),
    "vae with a mixture": ("VAE", {"n_pixels": 23, "d_latent": 3, "hidden": [13, 7], "prior": [5, 3]}),
}


def check_pictures(model: Autoencoder | VAE, kind: str, file: Path, n_pixels: int, d_latent: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(4, n_pixels, generator=generator)
    z = 2 * torch.randn(6, d_latent, generator=generator)
    answer = javascript("pictures", kind=kind, file=str(file), inputs=x.flatten().tolist(), codes=z.flatten().tolist())
    with torch.no_grad():
        code = model.encode(x)
        agree(answer["encoded"], code if kind == "Autoencoder" else dict(zip(("mu", "logvar"), code, strict=True)))
        agree(answer["decoded"], model.decode(z))
        if isinstance(model, VAE):
            agree(answer["log_prior"], model.log_prior(z))


@pytest.mark.parametrize("name", DRAWN)
def test_autoencoders_are_python_s(name: str, tmp_path: Path) -> None:
    kind, config = DRAWN[name]
    model, _ = load_model(save_random(tmp_path / "model", kind, config), BUILDERS[kind])
    check_pictures(model, kind, tmp_path / "model/model.safetensors", config["n_pixels"], config["d_latent"])


def test_a_file_with_the_decoder_alone_is_enough_to_draw(tmp_path: Path) -> None:
    kind, config = DRAWN["vae"]
    model, _ = load_model(save_random(tmp_path / "whole", kind, config), BUILDERS[kind])
    half = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("encoder.")}
    save_checkpoint(tmp_path / "half", half, config, {})
    z = torch.randn(6, 3)
    file = str(tmp_path / "half/model.safetensors")
    answer = javascript("pictures", kind=kind, file=file, inputs=[], codes=z.flatten().tolist())
    agree(answer["decoded"], model.decode(z))
    assert answer["encoded"] is None


# ── the shipped checkpoints ─────────────────────────────────────────────────────────────────────


def digits_models() -> list[str]:
    """The shipped autoencoders: their config says which kind they are."""
    cards = {path.parent.name: json.loads(path.read_text("utf-8")) for path in SHIPPED.glob("*/card.json")}
    return sorted(name for name, card in cards.items() if card["config"].get("kind") in {"autoencoder", "vae"})


@pytest.mark.parametrize("name", digits_models())
def test_shipped_autoencoders_are_python_s(name: str) -> None:
    from attention_decoded.recipes.digits import load

    model, card = load(name)
    kind = {"autoencoder": "Autoencoder", "vae": "VAE"}[card["config"]["kind"]]
    config = card["config"]
    check_pictures(model, kind, SHIPPED / name / "model.safetensors", config["n_pixels"], config["d_latent"])
