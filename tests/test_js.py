"""The widgets' JavaScript: types, committed bundles, and equality with the Python that it mirrors."""

import gzip
import math
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from mirror import ENV, JS, ROOT, agree, javascript, node

from attention_decoded.attention import attend, causal_mask
from attention_decoded.checkpoints import SHIPPED, load_model, save_checkpoint
from attention_decoded.masked_lm import MaskedLanguageModel, MaskedLanguageModelConfig, build_masked_lm

DIST = JS.parent / "dist"


# ── types and bundles ───────────────────────────────────────────────────────────────────────────


def test_types_hold_under_strict_typescript() -> None:
    done = subprocess.run(
        ["node_modules/.bin/tsc", "--project", "tsconfig.json"], cwd=ROOT, env=ENV, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_committed_bundles_are_what_the_sources_give(tmp_path: Path) -> None:
    node(JS / "build.mjs", f"--outdir={tmp_path}")
    fresh = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in DIST.iterdir()}
    assert fresh.keys() == committed.keys()
    stale = [name for name, content in fresh.items() if committed[name] != content]
    assert not stale, f"run `npm run build`: {stale} are not what the sources give"
    assert all(b"do not edit" in content[:120] for content in fresh.values())


def test_the_runtime_is_small() -> None:
    assert len(gzip.compress((DIST / "runtime.js").read_bytes(), 9)) < 4096


def test_what_is_typed_never_becomes_markup() -> None:
    """Data goes into the page as text; the one parser is the inert DOMParser of the runtime's HTML control."""
    sources = {path.relative_to(JS).as_posix(): path.read_text("utf-8") for path in JS.rglob("*.js")}
    risky = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    assert not [(name, word) for name, text in sources.items() for word in risky if word in text]
    assert [name for name, text in sources.items() if "DOMParser" in text] == ["runtime/controls.js"]


# ── the model ───────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def reference(model: MaskedLanguageModel, ids: list[int], edit: dict | None, where: list[list[int]]) -> dict:
    """The forward pass with changed heads, written with the package's own modules and `attend`."""
    n, heads = len(ids), model.config.n_heads
    mask = torch.ones(n, n, dtype=torch.bool)
    edit = dict(edit or {})
    if edit.pop("causal", False):
        mask &= causal_mask(n)
    for query, key in edit.pop("cuts", []):
        mask[query, key] = False
    stream = model.token(torch.tensor([ids])) + model.position.weight[:n]
    layers = []
    for layer, block in enumerate(model.blocks):
        x = block.norm_attention(stream)
        q, k, v = (
            rearrange(to(x), "1 pos (head d_head) -> head pos d_head", head=heads)
            for to in (block.attention.to_q, block.attention.to_k, block.attention.to_v)
        )
        mixed, direct, runs = torch.zeros_like(v), torch.zeros_like(x[0]), []
        for head in range(heads):
            edited = edit if [layer, head] in where else {}
            matrices = edited.get("matrices", "two")
            hq, hk, hv = q[head], q[head] if matrices == "one" else k[head], v[head]
            if matrices == "none":
                hq = hk = hv = x[0]
            scale = edited.get("scale", 1) / math.sqrt(hq.shape[-1]) / edited.get("temperature", 1)
            output, weights = attend(hq, hk, hv, mask if [layer, head] in where else None, scale=scale)
            if matrices == "none":
                direct += output / heads
            else:
                mixed[head] = output
            runs.append({"q": hq, "k": hk, "v": hv, "scores": hq @ hk.mT * scale, "weights": weights, "output": output})
        added = block.attention.to_out(rearrange(mixed, "head pos d_head -> 1 pos (head d_head)")) + direct
        stream = stream + added
        stream = stream + block.ff(block.norm_ff(stream))
        layers.append({"x": x, "residual": stream, "heads": runs})
    return {"layers": layers, "hidden": model.norm(stream), "logits": model.to_logits(stream)}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    """A model of sizes that cannot be mistaken for one another, with large weights: its attention is far from even."""
    config = MaskedLanguageModelConfig(n_vocab=101, d_model=15, n_heads=3, n_layers=3, d_ff=7, max_len=13)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = MaskedLanguageModel(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    save_checkpoint(folder, model.state_dict(), vars(config), {})
    return folder


EDITS: list[tuple[str, dict | None]] = [
    ("as trained", None),
    ("no scores", {"scale": 0}),
    ("large scale", {"scale": 4}),
    ("cold", {"temperature": 0.125}),
    ("scale and temperature", {"scale": 2.5, "temperature": 3}),
    ("causal", {"causal": True}),
    ("cut edges", {"cuts": [[0, 1], [3, 3], [4, 0]]}),
    ("cut row", {"cuts": [[2, key] for key in range(7)]}),
    ("cut column", {"cuts": [[query, 1] for query in range(7)]}),
    ("causal and cut to nothing", {"causal": True, "cuts": [[0, 0]]}),
    ("one matrix", {"matrices": "one"}),
    ("no matrix", {"matrices": "none"}),
    ("no matrix, changed", {"matrices": "none", "scale": 0.5, "causal": True, "cuts": [[6, 0]]}),
]


@pytest.mark.parametrize("scope", ["all", "layer", "head"])
@pytest.mark.parametrize("which", ["shipped", "untrained"])
def test_every_number_of_the_model_is_python_s(which: str, scope: str, untrained: Path) -> None:
    folder = SHIPPED / "masked-lm" if which == "shipped" else untrained
    model, _ = load_model(folder, build_masked_lm)
    draw = random.Random(11)
    every = [[layer, head] for layer in range(model.config.n_layers) for head in range(model.config.n_heads)]
    where = {"all": every, "layer": [place for place in every if place[0] == 1], "head": [[1, 2]]}[scope]
    cases = [
        {"ids": [draw.randrange(model.config.n_vocab) for _ in range(7)], "edit": edit, "where": where}
        for _, edit in EDITS
    ]
    cases += [{"ids": [4], "edit": {"causal": True}, "where": where}]
    answers = javascript("forward", file=str(folder / "model.safetensors"), cases=cases)
    for (name, _), case, answer in zip([*EDITS, ("one token", None)], cases, answers, strict=True):
        agree(answer, json_shape(reference(model, case["ids"], case["edit"], where)), name)
        if case["edit"] is None:  # and the reference itself is the model
            logits = reference(model, case["ids"], None, [])["logits"]
            assert torch.allclose(logits, model(torch.tensor([case["ids"]])), atol=1e-5)


def json_shape(run: dict) -> dict:
    """The reference's run in the shape of the JavaScript's answer: one row of logits per position."""
    return {**run, "logits": list(run["logits"][0])}


def test_an_intervention_changes_something(untrained: Path) -> None:
    """Otherwise the parity above could hold between two models that both ignore what they are asked."""
    cases = [{"ids": [5, 6, 7, 8, 9, 10, 11], "edit": edit, "where": [[1, 2]]} for _, edit in EDITS]
    answers = javascript("forward", file=str(untrained / "model.safetensors"), cases=cases)
    for (name, _), answer in zip(EDITS[1:], answers[1:], strict=True):
        assert np.abs(np.array(answer["logits"]) - np.array(answers[0]["logits"])).max() > 1e-4, name
