"""Attention maps of any model: what is refused, where the numbers come from, what is packed and saved."""

import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
import torch
from traitlets import TraitError

from attention_decoded.capture import capture
from attention_decoded.surface import VARIABLE
from attention_decoded.transformer import DecoderOnly, DecoderOnlyConfig, PositionKind, Transformer, TransformerConfig
from attention_decoded.widgets import AttentionMap, AttentionViews, show
from attention_decoded.widgets.attention_map import from_capture, from_transformers

QUERIES, KEYS = ["He", "went", "home"], ["他", "回", "家", "了", "</s>"]
LAYERS, HEADS, D_HEAD = 2, 7, 11


@pytest.fixture(autouse=True)
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def softmax(*shape: int, seed: int = 0) -> np.ndarray:
    x = np.exp(3 * np.random.default_rng(seed).normal(size=shape))
    return (x / x.sum(-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def grid() -> AttentionMap:
    """All layers and heads of a cross-attention, with q and k, in sizes that cannot be mistaken for one another."""
    draw = np.random.default_rng(1)
    q, k = (draw.normal(size=(LAYERS, HEADS, n, D_HEAD)) for n in (len(QUERIES), len(KEYS)))
    return AttentionMap.from_arrays(softmax(LAYERS, HEADS, len(QUERIES), len(KEYS)), QUERIES, KEYS, q=q, k=k)


# ── what a map takes, and what it refuses ───────────────────────────────────────────────────────


def test_from_arrays_fills_in_what_the_shape_tells(grid: AttentionMap) -> None:
    assert (grid.kind, grid.layer, grid.head) == ("cross", None, None)
    one = AttentionMap.from_arrays(softmax(3, 3), QUERIES)
    assert (one.kind, one.layer, one.head, one.key_tokens) == ("encoder-self", 0, 0, tuple(QUERIES))
    layer = AttentionMap.from_arrays(softmax(HEADS, 3, 3), QUERIES, kind="decoder-self", layer=np.int64(4))
    assert (layer.layer, layer.head, type(layer.layer)) == (4, None, int)
    assert list(layer.heads()) == [(4, head) for head in range(HEADS)]
    assert list(grid.heads()) == [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    heads = AttentionMap(
        weights=softmax(LAYERS, 3, 3), query_tokens=QUERIES, key_tokens=QUERIES, kind="decoder-self", head=2
    )
    assert list(heads.heads().items()) == [((0, 2), (0,)), ((1, 2), (1,))]


def test_a_map_is_a_copy_that_nobody_changes(grid: AttentionMap) -> None:
    mine = softmax(3, 5)
    made = AttentionMap.from_arrays(mine, QUERIES, KEYS)
    mine[:] = 0
    assert made.weights.sum() == pytest.approx(3)
    with pytest.raises(ValueError, match="read-only"):
        made.weights[0, 0] = 1
    tensor = torch.tensor(softmax(3, 5)).to(torch.bfloat16).softmax(-1).requires_grad_()
    assert AttentionMap.from_arrays(tensor.float().softmax(-1), QUERIES, KEYS).weights.dtype == np.float32


def bad(**changes: object) -> dict:
    return {"weights": softmax(3, 5), "query_tokens": QUERIES, "key_tokens": KEYS} | changes


def spoiled(*at: int, value: float) -> np.ndarray:
    weights = softmax(3, 5)
    weights[at] = value
    return weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (bad(weights=spoiled(1, 4, value=np.nan)), r"weights\[1, 4\] = nan is not a finite number"),
        (
            bad(weights=spoiled(2, 3, value=-0.25)),
            r"weights\[2, 3\] = -0\.25 is not between 0 and 1.*eval\(\)",
        ),
        (bad(weights=spoiled(0, 0, value=1.5)), r"weights\[0, 0\] = 1\.5 is not between"),
        (bad(weights=np.full((3, 5), 0.1)), r"weights\[0\], the row of query 'He', sums to 0\.5, not to 1"),
        (bad(weights=softmax(5, 3)), r"ends in \(5, 3\).*3 query tokens and 5 key tokens"),
        (bad(weights=softmax(2, 2, 2, 3, 5)), r"shape \(2, 2, 2, 3, 5\).*\[layer, head, query, key\]"),
        (bad(weights=softmax(2, 3, 5), head=1), r"shape \(2, 3, 5\), but with layer=0 and head=1.*\[query, key\]"),
        (bad(weights=[["x"] * 5] * 3), "weights is not an array of numbers"),
        (bad(weights=np.zeros((0, 5)), query_tokens=[]), "nothing to show"),
        (bad(kind="self"), "kind='self' is none of encoder-self, decoder-self, cross"),
        (bad(layer=-1), "layer=-1: layers count from 0"),
        (bad(q=np.ones((3, 2))), "k is missing"),
        (bad(q=np.ones((3, 2)), k=np.ones((3, 2))), r"k has shape \(3, 2\), but should be \(5,\) and then d_head"),
        (bad(q=np.ones((3, 2)), k=np.ones((5, 4))), "q has vectors of 2 numbers, k of 4"),
        (bad(q=np.ones((3, 0)), k=np.ones((5, 0))), r"q has shape \(3, 0\)"),
        (bad(q=np.full((3, 2), np.inf), k=np.ones((5, 2))), r"q\[0, 0\] = inf"),
        (bad(bias=np.ones((3, 5))), "bias has shape"),
    ],
)
def test_what_cannot_be_attention_is_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionMap.from_arrays(**arguments)


def test_tokens_are_a_list_of_texts() -> None:
    with pytest.raises(TypeError, match="query_tokens='abc' is one text: give a list of tokens"):
        AttentionMap.from_arrays(softmax(3, 5), "abc", KEYS)


def test_a_row_of_zeros_is_allowed_and_said() -> None:
    weights = softmax(HEADS, 3, 5)
    assert AttentionMap.from_arrays(weights, QUERIES, KEYS).silent == []
    assert show(AttentionMap.from_arrays(weights, QUERIES, KEYS)).note == ""
    weights[4, 1] = 0
    silent = AttentionMap.from_arrays(weights, QUERIES, KEYS)
    assert silent.silent == [(4, 1)]
    assert show(silent).note == "One row sums to 0, not to 1: that query may look nowhere."


# ── where maps come from ────────────────────────────────────────────────────────────────────────


def our_model(positions: PositionKind = "sinusoidal") -> Transformer:
    config = TransformerConfig(
        n_source_vocab=17, n_target_vocab=19, d_model=12, n_heads=3, d_ff=7, max_len=9,
        n_encoder_layers=2, n_decoder_layers=1, positions=positions,
    )  # fmt: skip
    return Transformer(config).eval()


@torch.no_grad()
def test_the_records_of_our_own_model_become_maps() -> None:
    model = our_model()
    source, target = torch.tensor([[5, 6, 7, 3], [8, 9, 3, 0]]), torch.tensor([[2, 11], [2, 12]])
    with capture(model) as records:
        model(source, target)
    maps = from_capture(records, ["a", "b", "c", "⏎"], ["▷", "x"], item=1)
    places = [(one.kind, one.layer, one.weights.shape) for one in maps]
    assert places == [
        ("encoder-self", 0, (3, 4, 4)),
        ("encoder-self", 1, (3, 4, 4)),
        ("decoder-self", 0, (3, 2, 2)),
        ("cross", 0, (3, 2, 4)),
    ]
    for one, record in zip(maps, records, strict=True):
        for name in ("weights", "q", "k"):
            np.testing.assert_array_equal(getattr(one, name), getattr(record, name)[1])
        assert one.bias is None
    assert maps[0].weights[..., -1].max() == 0  # item 1 has padding there, item 0 has not
    assert (maps[3].query_tokens, maps[3].key_tokens) == (("▷", "x"), ("a", "b", "c", "⏎"))
    with pytest.raises(ValueError, match="decoder: give target_tokens"):
        from_capture(records, ["a", "b", "c", "⏎"])
    with pytest.raises(ValueError, match="item=2: the batch has 2"):
        from_capture(records, ["a", "b", "c", "⏎"], ["▷", "x"], item=2)
    with pytest.raises(ValueError, match="was recorded twice"):
        from_capture(records * 2, ["a", "b", "c", "⏎"], ["▷", "x"])
    with pytest.raises(ValueError, match="records is empty"):
        from_capture([], ["a"])


@torch.no_grad()
def test_what_a_model_adds_to_its_scores_comes_along() -> None:
    model = our_model(positions="relative")
    for name, parameter in model.named_parameters():
        if "position" in name:
            torch.nn.init.normal_(parameter)
    with capture(model) as records:
        model(torch.tensor([[5, 6, 7]]), torch.tensor([[2, 11]]))
    made, _, _, _ = from_capture(records, list("abc"), list("xy"))
    assert made.q is not None
    assert made.k is not None
    assert made.bias is not None
    scores = made.q @ made.k.swapaxes(-1, -2) / np.sqrt(made.q.shape[-1]) + made.bias
    np.testing.assert_allclose(torch.tensor(scores).softmax(-1), made.weights, atol=1e-5)
    packed = show(made).stacks["encoder"]
    assert packed["bias"] is not None


@torch.no_grad()
def test_a_model_of_one_stack_says_what_it_does() -> None:
    model = DecoderOnly(DecoderOnlyConfig(n_vocab=17, d_model=12, n_heads=3, d_ff=7, max_len=9, n_layers=2)).eval()
    with capture(model) as records:
        model(torch.tensor([[5, 6, 7]]))
    made = from_capture(records, ["a", "b", "c"], kind="decoder-self")
    assert [(one.kind, one.layer) for one in made] == [("decoder-self", 0), ("decoder-self", 1)]
    assert np.triu(made[0].weights[0], 1).max() == 0


def packed_weights(widget: AttentionViews, stack: str) -> np.ndarray:
    """[layer, head, query, key], out of what goes to the browser."""
    one = widget.stacks[stack]
    shape = [len(one[name]) for name in ("layers", "heads", "queries", "keys")]
    return np.frombuffer(widget.numbers, "<f4")[one["weights"] :][: int(np.prod(shape))].reshape(shape)


@torch.no_grad()
def test_a_hugging_face_translator_is_shown_as_it_is() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the reference, for tests only")
    config = transformers.MarianConfig(
        vocab_size=17, d_model=12, init_std=0.5, max_position_embeddings=32, attn_implementation="eager",
        encoder_layers=2, decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=17, decoder_ffn_dim=17, pad_token_id=0, decoder_start_token_id=0, forced_eos_token_id=None,
    )  # fmt: skip
    model = transformers.MarianMTModel(config).eval()
    source, target = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]]), torch.tensor([[0, 11, 12], [0, 13, 14]])
    output = model(input_ids=source, decoder_input_ids=target, output_attentions=True)
    maps = from_transformers(output, list("abcd"), ["<pad>", "x", "y"], item=1)
    assert [one.kind for one in maps] == ["encoder-self"] * 2 + ["decoder-self"] * 3 + ["cross"] * 3
    widget = show(maps)
    assert widget.stack == "cross"
    names = {"encoder": "encoder_attentions", "decoder": "decoder_attentions", "cross": "cross_attentions"}
    for stack, name in names.items():
        expected = torch.stack(output[name], dim=1)[1]
        np.testing.assert_array_equal(packed_weights(widget, stack), expected)
    assert [label["text"] for label in widget.stacks["cross"]["queries"]] == ["<pad>", "x", "y"]
    with pytest.raises(ValueError, match=r"ends in \(4, 4\).*3 query tokens"):
        from_transformers(output, list("abc"), ["<pad>", "x", "y"])
    with pytest.raises(ValueError, match="output_attentions=True"):
        from_transformers(model(input_ids=source, decoder_input_ids=target), list("abcd"), list("xyz"))


@torch.no_grad()
def test_a_hugging_face_encoder_is_shown_as_it_is() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the reference, for tests only")
    config = transformers.BertConfig(
        vocab_size=17, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=7,
        attn_implementation="eager",
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    output = model(torch.tensor([[3, 4, 5, 6]]), output_attentions=True)
    maps = from_transformers(output, list("abcd"))
    assert {one.kind for one in maps} == {"encoder-self"}
    np.testing.assert_array_equal(packed_weights(show(maps), "encoder"), torch.stack(output.attentions, dim=1)[0])
    model.train()
    with pytest.raises(ValueError, match=r"dropout is in them: call model\.eval\(\)|sums to"):
        from_transformers(model(torch.tensor([[3, 4, 5, 6]]), output_attentions=True), list("abcd"))


def test_what_hugging_face_gives_otherwise_is_explained() -> None:
    step = tuple(torch.ones(1, 1, 1, 1) for _ in range(2))
    with pytest.raises(ValueError, match=r"cross_attentions\[0\] is a tuple: generate\(\) gives one per step"):
        from_transformers(SimpleNamespace(cross_attentions=(step, step)), ["a"], ["x"])
    with pytest.raises(ValueError, match=r"attentions\[0\] is None: .*attn_implementation='eager'"):
        from_transformers({"attentions": (None, None)}, ["a"])
    with pytest.raises(ValueError, match=r"attentions\[0\] has shape \(1, 1\)"):
        from_transformers({"attentions": (torch.ones(1, 1),)}, ["a"])


# ── the figure ──────────────────────────────────────────────────────────────────────────────────


def test_the_figure_is_a_plain_anywidget_with_its_bundle(grid: AttentionMap) -> None:
    made = show(grid)
    assert isinstance(made, ipywidgets.DOMWidget)
    assert (made._model_module, made._model_name) == ("anywidget", "AnyModel")
    assert "do not edit" in str(made._esm)
    assert ".ad-views" in str(made._css)
    assert (made.view, made.stack, made.layer, made.head, made.fallback) == ("head", "cross", None, None, "")
    labels = made.stacks["cross"]["keys"]
    assert labels[0] == {"text": "他", "lang": "zh-Hans", "sub": "tā"}
    assert labels[-1] == {"text": "</s>"}


def test_all_numbers_arrive_in_their_places(grid: AttentionMap) -> None:
    """One map per head, given in any order, makes the same picture as all heads in one array."""
    assert grid.q is not None
    assert grid.k is not None
    single = [
        AttentionMap(
            weights=grid.weights[at], q=grid.q[at], k=grid.k[at], query_tokens=QUERIES, key_tokens=KEYS,
            kind="cross", layer=at[0], head=at[1],
        )
        for at in reversed(list(grid.heads()))
    ]  # fmt: skip
    whole, parts = show(grid), show(single)
    assert whole.stacks == parts.stacks
    assert whole.numbers == parts.numbers
    np.testing.assert_array_equal(packed_weights(whole, "cross"), grid.weights)
    numbers, one = np.frombuffer(whole.numbers, "<f4"), whole.stacks["cross"]
    assert (one["layers"], one["heads"], one["d_head"]) == ([0, 1], list(range(HEADS)), D_HEAD)
    np.testing.assert_array_equal(numbers[one["q"] :][: grid.q.size], grid.q.ravel())
    np.testing.assert_array_equal(numbers[one["k"] :][: grid.k.size], grid.k.ravel())
    assert len(numbers) == grid.weights.size + grid.q.size + grid.k.size


def test_maps_that_make_no_grid_are_refused(grid: AttentionMap) -> None:
    def one(layer: int, head: int, tokens: list[str] = QUERIES) -> AttentionMap:
        return AttentionMap.from_arrays(softmax(3, 3), tokens, layer=layer, head=head)

    with pytest.raises(ValueError, match="layer 1 has no head 0"):
        show([one(0, 0), one(0, 1), one(1, 1)])
    with pytest.raises(ValueError, match="layer 0, head 1 is there twice"):
        show([one(0, 1), one(0, 1)])
    with pytest.raises(ValueError, match="different tokens"):
        show([one(0, 0), one(0, 1, ["x", "y", "z"])])
    with pytest.raises(ValueError, match="maps is empty"):
        show([])
    some = show([one(4, 7), one(9, 7), grid])
    assert (some.stacks["encoder"]["layers"], some.stacks["encoder"]["heads"]) == ([4, 9], [7])
    assert list(some.stacks) == ["encoder", "cross"]


def test_what_is_open_at_first_can_be_chosen(grid: AttentionMap) -> None:
    made = show(grid, view="neuron")
    assert (made.view, made.layer, made.head) == ("neuron", 0, 0)
    made = show(grid, view="model", layer=1, head=6)
    assert (made.layer, made.head) == (1, 6)
    with pytest.raises(TraitError, match="head=7: the maps are of heads 0, 1, 2, 3, 4, 5, 6"):
        made.head = 7
    with pytest.raises(TraitError, match="stack='decoder': there is cross"):
        made.stack = "decoder"
    with pytest.raises(ValueError, match="kind='encoder-self': the maps are of cross"):
        show(grid, kind="encoder-self")
    with pytest.raises(ValueError, match="give every map its q and k"):
        show(AttentionMap.from_arrays(softmax(3, 5), QUERIES, KEYS), view="neuron")


def test_on_a_page_a_still_picture_stands_in(grid: AttentionMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    best = KEYS[int(grid.weights[1, 2, 0].argmax())]
    picture = show(grid, layer=1, head=2).fallback
    assert "<svg" in picture
    assert f"Cross-attention, layer 2, head 3, row = query, column = key: He looks most at {best}" in picture.replace(
        "&lt;", "<"
    ).replace("&gt;", ">")


# ── the file ────────────────────────────────────────────────────────────────────────────────────

HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "<!--", "&lt;b&gt;", "‮\u2028\"'"]


def test_the_file_holds_everything_and_lets_nothing_else_in(grid: AttentionMap, tmp_path: Path) -> None:
    title = "</title><script>alert(3)</script>"
    made = show(AttentionMap.from_arrays(softmax(5, 5), HOSTILE), title=title)
    path = made.save(tmp_path / "deep" / "maps.html")
    text = path.read_text("utf-8")
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    assert "<title>&lt;/title&gt;&lt;script&gt;alert(3)&lt;/script&gt;</title>" in text
    assert not any(hostile in text for hostile in [title, *HOSTILE[:3]])
    state = json.loads(scripts[0])
    assert [label["text"] for label in state["stacks"]["encoder"]["queries"]] == HOSTILE
    assert "<" not in scripts[0]
    assert base64.b64decode(state["numbers"]) == made.numbers
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert rules["default-src"] == "'none'"
    for name, content in (("script-src", scripts[1]), ("style-src", style[0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert "unsafe" not in policy
    assert not re.search(r'(src|href)="?http|@import|url\(', text)


def test_the_file_opens_as_the_figure_stands(grid: AttentionMap) -> None:
    made = show(grid)
    made.view, made.layer, made.head = "neuron", 1, 3
    state = json.loads(re.findall(r'id="attention-maps">(.*?)</script>', made.to_html())[0])
    assert (state["view"], state["layer"], state["head"], state["stack"]) == ("neuron", 1, 3, "cross")
