"""`capture.py` reads weights from outside: it changes nothing, keeps nothing, and never sees dropout."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from attention_decoded.attention import MultiHeadAttention, attend, causal_mask
from attention_decoded.capture import capture


def _model(dropout: float = 0.0) -> nn.Module:
    return nn.ModuleDict({"first": MultiHeadAttention(10, 2, dropout=dropout), "second": MultiHeadAttention(10, 5)})


def _run(model: nn.Module, x: torch.Tensor, mask=None) -> torch.Tensor:
    return model["second"](model["first"](x, mask=mask))


def test_records_are_what_made_the_output():
    model, x, mask = _model().eval(), torch.randn(3, 7, 10), causal_mask(7)
    with torch.no_grad(), capture(model) as records:
        captured = _run(model, x, mask)
        assert torch.equal(captured, _run(model, x, mask))
    assert [r.name for r in records[:2]] == ["first.attend", "second.attend"]
    first = records[0]
    assert first.weights.shape == (3, 2, 7, 7)
    mixed, weights = attend(first.q, first.k, first.v, mask)
    assert_close(first.weights, weights)
    assert_close(first.scores, first.q @ first.k.mT / 5**0.5)
    assert_close(model["first"].to_out(mixed.transpose(1, 2).flatten(2)), model["first"](x, mask=mask))


@pytest.mark.parametrize("by_keyword", [False, True])
def test_scores_and_weights_include_the_bias(by_keyword):
    """What is added to the scores, such as a distance, is part of what the softmax saw."""
    layer, x, mask = _model()["first"].eval(), torch.randn(3, 7, 10), causal_mask(7)
    bias = torch.randn(2, 7, 7, requires_grad=True)
    with capture(layer) as records:
        output = layer(x, mask=mask, bias=bias)
        q, k, v = layer.queries(x), *layer.keys_values(x)
        layer.attend(q, k, v, mask=mask, bias=bias) if by_keyword else layer.attend(q, k, v, mask, bias)
    assert [r.name for r in records] == ["attend", "attend"]
    for record in records:
        assert_close(record.scores, (q @ k.mT / 5**0.5 + bias).detach())
        expected = record.scores.masked_fill(~mask, -torch.inf).softmax(-1)
        assert_close(record.weights, expected)
        assert_close(layer.to_out((expected @ v).transpose(1, 2).flatten(2)), output)
        assert not record.scores.requires_grad
        assert not record.weights.requires_grad


def test_nothing_is_left_behind():
    model = _model()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with capture(model) as records:
        _run(model, torch.randn(2, 3, 10))
    _run(model, torch.randn(2, 3, 10))
    assert len(records) == 2, "the hooks must be gone after the block"
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert not any(m._forward_hooks for m in model.modules())


def test_hooks_are_removed_when_the_model_fails():
    model = _model()
    with pytest.raises(RuntimeError), capture(model):
        _run(model, torch.randn(2, 3, 11))
    assert not any(m._forward_hooks for m in model.modules())


def test_pitfall_07_rows_sum_to_one_before_dropout():
    model = _model(dropout=0.5).train()
    with capture(model) as records:
        _run(model, torch.randn(2, 7, 10))
    assert_close(records[0].weights.sum(-1), torch.ones(2, 2, 7))


def test_pitfall_08_two_captures_are_identical_even_in_train_mode():
    model, x = _model(dropout=0.5).train(), torch.randn(2, 7, 10)
    with capture(model) as records:
        outputs = [model["first"](x) for _ in range(2)]
    assert torch.equal(records[0].weights, records[1].weights)
    assert not torch.equal(*outputs), "dropout was on, yet the records did not see it"


def test_a_model_without_attention_is_refused():
    with pytest.raises(ValueError, match="Linear contains no DotProductAttention"), capture(nn.Linear(2, 2)):
        pass
