"""`knockout.py` cuts from outside: what a cut means, that it stays in its row, and that nothing is left behind.

That the same cuts do the same in the page's JavaScript is held by test_js_models.py.
"""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from attention_decoded.capture import capture
from attention_decoded.decoding import beam_search, greedy
from attention_decoded.knockout import Cut, _check, knockout
from attention_decoded.masked_lm import MaskedLanguageModel, MaskedLanguageModelConfig
from attention_decoded.rnn import RNNConfig, RNNTranslator
from attention_decoded.transformer import (
    DecoderOnly,
    DecoderOnlyConfig,
    PositionKind,
    Transformer,
    TransformerConfig,
)

KINDS: tuple[PositionKind, ...] = get_args(PositionKind)
SOURCE = torch.tensor([[5, 6, 7, 8, 9], [9, 4, 11, 3, 0], [12, 13, 3, 0, 0]])
TARGET_IN = torch.tensor([[2, 5, 6, 7, 8, 9, 10], [2, 9, 8, 7, 6, 0, 0], [2, 11, 12, 13, 14, 15, 16]])


def strong(model: Any) -> Any:
    """Large random weights: its attention is far from even, so that a cut is felt."""
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=0.4)
    return model.eval().requires_grad_(False)


def transformer(**changes: Any) -> Transformer:
    sizes = {"n_source_vocab": 17, "n_target_vocab": 19, "d_model": 30, "n_heads": 3, "d_ff": 11, "max_len": 23}
    layers = {"n_encoder_layers": 2, "n_decoder_layers": 2}
    return strong(Transformer(TransformerConfig(**{**sizes, **layers, **changes})))


def decoder_only(**changes: Any) -> DecoderOnly:
    config = DecoderOnlyConfig(n_vocab=19, d_model=30, n_heads=3, d_ff=11, n_layers=2, max_len=23, **changes)
    return strong(DecoderOnly(config))


def rnn(**changes: Any) -> RNNTranslator:
    config = RNNConfig(n_source_vocab=17, n_target_vocab=19, d_embedding=5, d_hidden=7, **changes)
    return strong(RNNTranslator(config))


CUTS: dict[str, Cut] = {
    "cell": {"stack": "cross", "layer": 1, "head": 2, "query": 3, "key": 1},
    "pair": {"stack": "cross", "query": 2, "key": 0},
    "column": {"stack": "cross", "key": 1},
    "row": {"stack": "decoder", "layer": 0, "query": 4},
    "column of the encoder": {"stack": "encoder", "key": 2},
    "head of the encoder": {"stack": "encoder", "layer": 0, "head": 1},
    "head of the decoder": {"stack": "decoder", "layer": 1, "head": 0},
    "head of the cross-attention": {"stack": "cross", "layer": 0, "head": 2},
    "layer": {"stack": "cross", "layer": 1},
    "positions": {"positions": True},
}


# ── what a cut means ────────────────────────────────────────────────────────────────────────────


def test_no_cut_changes_nothing() -> None:
    model = transformer()
    plain = model(SOURCE, TARGET_IN)
    for how in ({}, {"cuts": []}, {"rows": [[], [], []]}):
        with knockout(model, **how):
            assert torch.equal(model(SOURCE, TARGET_IN), plain)


def test_a_column_is_a_masked_key() -> None:
    model = transformer()
    memory, mask = model.encode(SOURCE)
    assert mask is not None
    mask = mask.clone()
    mask[..., 1] = False
    expected = model.to_logits(model.decode(TARGET_IN, memory, mask))
    with knockout(model, [{"stack": "cross", "key": 1}]):
        assert_close(model(SOURCE, TARGET_IN), expected)
    one_by_one: list[Cut] = [
        {"stack": "cross", "layer": layer, "head": head, "query": query, "key": 1}
        for layer in range(2)
        for head in range(3)
        for query in range(7)
    ]
    with knockout(model, one_by_one):
        assert_close(model(SOURCE, TARGET_IN), expected)


def test_all_that_a_decoder_sees_of_a_token_is_cut() -> None:
    """Without the last token's column, in any layer, only what stands at that token depends on it."""
    model = decoder_only()
    ids = TARGET_IN[:1]
    with knockout(model, [{"stack": "decoder", "key": 3}]):
        logits = [model(torch.cat([ids[:, :3], torch.tensor([[id_]]), ids[:, 4:]], dim=1)) for id_ in (4, 17)]
    assert torch.equal(logits[0][:, 4:], logits[1][:, 4:])
    assert not torch.equal(logits[0][:, 3], logits[1][:, 3])


@pytest.mark.parametrize("head", [1, None], ids=["head", "layer"])
@pytest.mark.parametrize("stack", ["encoder", "decoder", "cross"])
def test_a_head_is_its_columns_of_the_output_matrix(stack: Any, head: int | None) -> None:
    model, silenced = transformer(), transformer()
    silenced.load_state_dict(model.state_dict())
    block: Any = (silenced.encoder if stack == "encoder" else silenced.decoder)[1]
    to_out = (block.cross if stack == "cross" else block.attention).to_out
    with torch.no_grad():
        to_out.weight[:, slice(None) if head is None else slice(10 * head, 10 * head + 10)] = 0
    cut: Cut = {"stack": stack, "layer": 1} | ({} if head is None else {"head": head})  # type: ignore[assignment]
    with knockout(model, [cut]):
        assert_close(model(SOURCE, TARGET_IN), silenced(SOURCE, TARGET_IN))


def test_a_query_that_may_look_nowhere_brings_nothing_home() -> None:
    """Its whole row cut is its share of the heads' outputs gone; the weights of all other rows still sum to 1."""
    model = transformer(n_decoder_layers=1)
    with knockout(model, [{"stack": "cross", "query": 3}]), capture(model) as records:
        cut = model(SOURCE, TARGET_IN)
    assert cut.isfinite().all()
    weights = records[-1].weights
    assert (weights[:, :, 3] == 0).all()
    assert_close(weights.sum(-1)[:, :, [0, 1, 2, 4, 5, 6]], torch.ones(3, 3, 6))
    with knockout(model, [{"stack": "cross"}]):
        blind = model(SOURCE, TARGET_IN)
    assert_close(cut[:, 3], blind[:, 3])
    assert not torch.allclose(cut[:, 4], blind[:, 4])


@pytest.mark.parametrize("kind", KINDS)
def test_without_positions_the_encoder_does_not_know_the_order(kind: PositionKind) -> None:
    model, order = transformer(positions=kind), torch.tensor([3, 0, 4, 1, 2])
    source = SOURCE[:1]
    with knockout(model, [{"positions": True}]):
        memory, _ = model.encode(source)
        shuffled, _ = model.encode(source[:, order])
    assert_close(shuffled, memory[:, order])
    assert not torch.allclose(model.encode(source[:, order])[0], model.encode(source)[0][:, order], atol=1e-3)


def test_captured_weights_are_those_under_the_cuts() -> None:
    model = transformer()
    cell: Cut = {"stack": "cross", "layer": 1, "head": 2, "query": 3, "key": 1}
    with knockout(model, [cell]), capture(model) as records:
        model(SOURCE, TARGET_IN)
    weights = records[-1].weights
    assert records[-1].name == "decoder.1.cross.attend"
    assert (weights[:, 2, 3, 1] == 0).all()
    assert (weights[:, 2, 2, 1] > 0).all()
    assert_close(weights.sum(-1), torch.ones(3, 3, 7))


# ── one token after the other ───────────────────────────────────────────────────────────────────


def stepwise(model: Any, source: Tensor, target_in: Tensor) -> Tensor:
    state, logits = model.start(source), []
    for ids in target_in.unbind(1):
        row, state = model.step(ids, state)
        logits.append(row)
    return torch.stack(logits, dim=1)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("kind", ["sinusoidal", "relative", "rotary"])
def test_cuts_meet_the_same_places_token_by_token(cut: Cut, kind: PositionKind) -> None:
    model, target_in = transformer(positions=kind), TARGET_IN[[0, 2, 0]]  # no padding is fed when writing
    plain = model(SOURCE, target_in)
    with knockout(model, [cut]):
        expected = model(SOURCE, target_in)
        for _ in range(2):  # a second text begins at its first token again
            assert_close(stepwise(model, SOURCE, target_in), expected, atol=2e-5, rtol=1e-5)
    assert (expected - plain).abs().max() > 1e-5


def test_searches_write_under_cuts() -> None:
    model, cuts = transformer(), [CUTS["column"]]
    with knockout(model, cuts):
        [one], [[also]] = greedy(model, SOURCE[:1], max_len=9), beam_search(model, SOURCE[:1], beam=1, max_len=9)
        texts = greedy(model, SOURCE, max_len=9)
        logits = model(SOURCE[:1], torch.tensor([[2, *one.ids[:-1]]]))
    assert one.ids == also.ids == texts[0].ids
    assert one.log_probs == pytest.approx(
        logits.log_softmax(-1)[0].gather(1, torch.tensor(one.ids)[:, None])[:, 0].tolist(), abs=1e-4
    )
    assert greedy(model, SOURCE[:1], max_len=9)[0].ids != one.ids


# ── a list of cuts for each row ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_has_its_own_cuts(kind: PositionKind) -> None:
    """Each row is as if it were alone under its cuts; the rows without are as without."""
    model = transformer(positions=kind)
    rows: list[list[Cut]] = [[], *([cut] for cut in CUTS.values()), list(CUTS.values()), []]
    source, target_in = SOURCE[:1].expand(len(rows), -1), TARGET_IN[:1].expand(len(rows), -1)
    plain = model(SOURCE[:1], TARGET_IN[:1])[0]
    with knockout(model, rows=rows):
        together = model(source, target_in)
    for i, cuts in enumerate(rows):
        with knockout(model, cuts):
            alone = model(SOURCE[:1], TARGET_IN[:1])[0]
        assert_close(together[i], alone, atol=2e-5, rtol=1e-5)
    moved = (together - plain).abs().amax((1, 2))
    assert moved[0] < 2e-5
    assert moved[-1] < 2e-5
    assert (moved > 1e-3).sum() > 8, "single cells may change little, the rest must be felt"


def test_rows_with_padding_keep_it() -> None:
    model, rows = transformer(), [[CUTS["pair"]], [], [CUTS["column"]]]
    with knockout(model, rows=rows):
        together = model(SOURCE, TARGET_IN)
    assert_close(together[1], model(SOURCE, TARGET_IN)[1])
    with knockout(model, rows[2]):
        assert_close(together[2], model(SOURCE[2:, :3], TARGET_IN[2:])[0])


def test_a_batch_that_does_not_keep_its_rows_is_refused() -> None:
    model = transformer()
    with knockout(model, rows=[[CUTS["pair"]], []]), pytest.raises(ValueError, match=r"2 lists of cuts.*3 rows"):
        model(SOURCE, TARGET_IN)
    for how in ({"rows": []}, {"cuts": [CUTS["pair"]], "rows": [[]]}):
        with pytest.raises(ValueError, match="give"), knockout(model, **how):
            pass


# ── other models ────────────────────────────────────────────────────────────────────────────────


def test_additive_attention_is_cut_too() -> None:
    """A column is a masked key, a row its query's c gone, from the first target token of every source on."""
    model, cuts = rnn(), [CUTS["column"]]
    state, logits = model.start(SOURCE), []
    state["mask"] = state["mask"].clone()
    state["mask"][:, 1] = False
    for ids in TARGET_IN.unbind(1):
        row, state = model.step(ids, state)
        logits.append(row)
    with knockout(model, cuts):
        for _ in range(2):
            assert_close(model(SOURCE, TARGET_IN), torch.stack(logits, dim=1))
    plain = model(SOURCE, TARGET_IN)
    with knockout(model, rows=[[{"stack": "cross", "query": 4}], [], [{"stack": "cross", "layer": 0, "head": 0}]]):
        by_row = model(SOURCE, TARGET_IN)
    assert torch.equal(by_row[0, :4], plain[0, :4])
    assert torch.equal(by_row[1], plain[1])
    assert not torch.allclose(by_row[0, 4], plain[0, 4])
    assert not torch.allclose(by_row[2, 0], plain[2, 0])
    with knockout(model, [{"stack": "cross"}]):
        assert_close(model(SOURCE, TARGET_IN)[2], by_row[2])


def test_a_masked_language_model_is_an_encoder() -> None:
    model = strong(MaskedLanguageModel(MaskedLanguageModelConfig(n_vocab=17, d_model=12, n_heads=3, d_ff=7)))
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    mask[..., 2] = False
    with knockout(model, [{"stack": "encoder", "key": 2}]):
        assert_close(model(SOURCE[:1]), model(SOURCE[:1], mask))
    with pytest.raises(ValueError, match="no decoder attention"), knockout(model, [{"stack": "decoder"}]):
        pass
    with pytest.raises(ValueError, match="positions cannot be cut"), knockout(model, [{"positions": True}]):
        pass


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "cut",
    [
        {}, {"layer": 1}, {"stack": "nowhere"}, {"stack": None}, {"stack": "cross", "key": -1},
        {"stack": "cross", "head": 1.0}, {"stack": "cross", "head": True}, {"stack": "cross", "query": "2"},
        {"stack": "cross", "keys": 2}, {"stack": "cross", "key": None}, {"positions": False}, {"positions": 1},
        {"stack": "cross", "positions": True}, "cross", None, ["cross", 1],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_cut_is_refused(cut: Any) -> None:
    with pytest.raises(ValueError, match="is no cut"):
        _check(cut)


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        ({"stack": "encoder", "layer": 2}, "2 layers"),
        ({"stack": "cross", "head": 3}, "3 heads"),
        ({"stack": "cross", "key": 5}, "5 tokens"),
        ({"stack": "encoder", "query": 5}, "5 tokens"),
        ({"stack": "encoder", "query": 0, "key": 7}, "5 tokens"),
    ],
)
def test_a_cut_out_of_range_is_named(cut: Cut, why: str) -> None:
    model = transformer()
    with pytest.raises(ValueError, match=f"{cut['stack']}.*{why}"), knockout(model, rows=[[], [cut], []]):  # type: ignore[typeddict-item]
        model(SOURCE, TARGET_IN)


def test_a_cut_behind_the_text_s_end_waits() -> None:
    model = transformer()
    plain = model(SOURCE, TARGET_IN)
    with knockout(model, [{"stack": "cross", "query": 20, "key": 1}, {"stack": "decoder", "key": 20}]):
        assert_close(model(SOURCE, TARGET_IN), plain)


def test_a_model_without_that_attention_is_refused() -> None:
    for model, cut, why in (
        (nn.Linear(2, 2), {"stack": "cross"}, "Linear has no attention"),
        (rnn(attention=False), {"stack": "cross"}, "RNNTranslator has no attention"),
        (decoder_only(), {"stack": "cross"}, "DecoderOnly has no cross attention; it has: decoder"),
        (rnn(), {"stack": "encoder"}, "RNNTranslator has no encoder attention; it has: cross"),
        (rnn(), {"positions": True}, "positions cannot be cut"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why), knockout(model, [cut]):
            pass


# ── nothing stays ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [transformer, lambda: transformer(positions="alibi"), decoder_only, rnn])
def test_nothing_is_left_behind(make: Any) -> None:
    model = make()
    stack = "decoder" if isinstance(model, DecoderOnly) else "cross"
    cuts: list[Any] = [{"stack": stack, "key": 1}, {"stack": stack, "layer": 0, "head": 0}]
    cuts += [] if isinstance(model, RNNTranslator) else [{"positions": True}]

    def run() -> Tensor:
        return model(TARGET_IN[:1]) if isinstance(model, DecoderOnly) else model(SOURCE[:1], TARGET_IN[:1])

    def traces() -> dict[str, Any]:
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
        return {name: [set(vars(m)), *(len(vars(m)[h]) for h in hooks)] for name, m in model.named_modules()}

    plain, before = run(), traces()
    with knockout(model, cuts):
        cut = run()
        with knockout(model, cuts[:1]):  # one inside the other: both hold, and the outer one goes on alone
            assert_close(run(), cut)
        assert torch.equal(run(), cut)
    assert traces() == before
    with pytest.raises(KeyError, match="stopped"), knockout(model, cuts):
        raise KeyError("stopped")
    assert traces() == before
    assert torch.equal(run(), plain)
    assert not torch.allclose(cut, plain, atol=1e-3)
