"""`attention.py` obeys its laws, and bad input gets a word that helps."""

import attention_laws
import pytest
import torch
from torch.testing import assert_close

from attention_decoded import attention


@pytest.mark.parametrize("law", attention_laws.LAWS, ids=lambda law: law.__name__)
def test_law(law):
    assert law(attention) is None  # a law asserts by itself


def test_pitfall_04_softmax_gradients_vanish_when_it_saturates():
    """The largest entry of the softmax's Jacobian: alive at scale 1, dead at scale 20."""
    scores = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))

    def largest_gradient(scale: float) -> float:
        w = (scores * scale).softmax(-1)
        return float((w * (1 - w)).amax(-1).median())

    assert largest_gradient(1) > 0.05
    assert largest_gradient(20) < 1e-3


def test_pitfall_05_variance_of_the_dot_product_needs_independence():
    """Var(q·k) = d_head for independent unit-variance entries, and is not when q and k agree."""
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(20_000, 64, generator=generator) for _ in range(2))
    assert (q * k).sum(-1).var().item() == pytest.approx(64, rel=0.05)
    assert (q * (q + k) / 2**0.5).sum(-1).mean().item() == pytest.approx(64 / 2**0.5, rel=0.05)  # no longer centred


def test_pitfall_10_mask_polarity_against_both_torch_conventions():
    q, k, v = (torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(s)) for s in range(3))
    may_look = attention.causal_mask(5)
    ours = attention.attend(q, k, v, may_look)[0]
    assert_close(ours, torch.nn.functional.scaled_dot_product_attention(q, k, v, may_look))
    reference = torch.nn.MultiheadAttention(4, 1, bias=False, batch_first=True).eval()
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.eye(4).repeat(3, 1))
        reference.out_proj.weight.copy_(torch.eye(4))
    assert_close(ours, reference(q, k, v, attn_mask=~may_look)[0])


def test_symmetric_scores_are_not_symmetric_weights():
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    scores = x @ x.T
    weights = attention.attend(x, x, x)[1]
    assert_close(scores, scores.T)
    assert (weights - weights.T).abs().max() > 0.1


def test_width_that_no_head_count_divides_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"d_model=10 is not a multiple of n_heads=3; give d_head"):
        attention.MultiHeadAttention(10, 3)


def test_masks_refuse_impossible_sizes():
    with pytest.raises(ValueError, match="n_key=3 is smaller than n_query=5"):
        attention.causal_mask(5, 3)
    with pytest.raises(ValueError, match="lengths go up to 9"):
        attention.padding_mask(torch.tensor([2, 9]), 5)


@pytest.mark.parametrize("n_heads", [0, -4])
def test_no_heads_are_refused(n_heads):
    with pytest.raises(ValueError, match=f"n_heads={n_heads} must be at least 1"):
        attention.MultiHeadAttention(16, n_heads)
