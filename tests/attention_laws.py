"""What must hold of `attention_decoded.attention`, as functions of the module under test.

tests/test_attention.py holds the real module to them; tests/test_mutants.py holds broken copies to
them and expects each to be caught. Sizes are unequal primes, so that swapped axes cannot pass.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

BATCH, HEAD, QUERY, KEY, D_HEAD, D_VALUE = 2, 3, 5, 7, 11, 13


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _qkv(n_query: int = QUERY, n_key: int = KEY):
    return (
        _random(BATCH, HEAD, n_query, D_HEAD, seed=1),
        _random(BATCH, HEAD, n_key, D_HEAD, seed=2),
        _random(BATCH, HEAD, n_key, D_VALUE, seed=3),
    )


def _mask(n_query: int = QUERY, n_key: int = KEY) -> torch.Tensor:
    mask = _random(BATCH, 1, n_query, n_key, seed=4) > 0
    mask[..., 0] = True  # every query may look somewhere
    return mask


def case_small_enough_to_check_by_hand(module):
    """Two keys, d_head 4, scores 0 and 2·ln 3 / √4 = ln 3: weights 1/4 and 3/4."""
    q = torch.tensor([[2 * math.log(3), 0.0, 0.0, 0.0]])
    k = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    v = torch.tensor([[0.0, 8.0], [4.0, 0.0]])
    out, weights = module.attend(q, k, v)
    assert_close(weights, torch.tensor([[0.25, 0.75]]))
    assert_close(out, torch.tensor([[3.0, 2.0]]))


def equals_the_fused_kernel(module):
    q, k, v = _qkv()
    for mask in (None, _mask()):
        assert_close(module.attend(q, k, v, mask)[0], F.scaled_dot_product_attention(q, k, v, mask))
    assert_close(module.attend(q, k, v, scale=0.5)[0], F.scaled_dot_product_attention(q, k, v, scale=0.5))


def rows_sum_to_one(module):
    q, k, v = _qkv()
    for mask in (None, _mask()):
        weights = module.attend(q, k, v, mask)[1]
        assert weights.shape == (BATCH, HEAD, QUERY, KEY)
        assert bool((weights >= 0).all())
        assert_close(weights.sum(-1), torch.ones(BATCH, HEAD, QUERY))


def masked_keys_get_no_weight_and_have_no_say(module):
    q, k, v = _qkv()
    mask = _mask()
    out, weights = module.attend(q, k, v, mask)
    assert bool((weights.masked_select(~mask.expand_as(weights)) == 0).all())
    unseen = ~mask[0, 0, 0]
    k2, v2 = k.clone(), v.clone()
    k2[0, :, unseen] += 100
    v2[0, :, unseen] -= 100
    assert torch.equal(module.attend(q, k2, v2, mask)[0][0, :, 0], out[0, :, 0])


def pitfall_06_scale_is_that_of_one_head(module):
    """The √ is over d_head, neither d_model nor the number of queries."""
    model = module.MultiHeadAttention(6, 2, d_head=5).eval()
    x = _random(1, 7, 6)
    q, k, v = (to(x).unflatten(-1, (2, 5)).transpose(1, 2) for to in (model.to_q, model.to_k, model.to_v))
    weights = (q @ k.mT / math.sqrt(5)).softmax(-1)
    assert_close(model(x), model.to_out((weights @ v).transpose(1, 2).flatten(2)))


def pitfall_12_future_cannot_be_seen(module):
    """Change the future: the past's output is the same to the bit (self-attention under a causal mask)."""
    model = module.MultiHeadAttention(10, 2).eval()
    x = _random(2, 7, 10)
    mask = module.causal_mask(7)
    before = model(x, mask=mask)
    for t in range(1, 7):
        later = x.clone()
        later[:, t:] = _random(2, 7 - t, 10, seed=t)
        after = model(later, mask=mask)
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.equal(after[:, t], before[:, t])  # and a position does see itself


def causal_mask_of_cached_steps(module):
    whole = module.causal_mask(7)
    assert torch.equal(whole, torch.ones(7, 7).tril().bool())
    assert torch.equal(module.causal_mask(3, 7), whole[-3:])


def padding_is_beyond_the_length(module):
    mask = module.padding_mask(torch.tensor([2, 5, 0]), 5)
    assert mask.shape == (3, 1, 1, 5)
    assert mask[:, 0, 0].sum(-1).tolist() == [2, 5, 0]
    assert mask[0, 0, 0].tolist() == [True, True, False, False, False]


def order_of_the_sequence_is_invisible(module):
    """Self-attention without positions is permutation-equivariant: shuffle in, shuffle out."""
    model = module.MultiHeadAttention(10, 2).eval()
    x = _random(2, 7, 10)
    order = torch.tensor([3, 1, 6, 0, 5, 2, 4])
    assert_close(model(x[:, order]), model(x)[:, order])


def equals_torch_multi_head_attention(module):
    """Copied weights, same numbers; torch's attn_mask is True where looking is *forbidden*."""
    d_model, n_heads = 15, 3
    reference = nn.MultiheadAttention(d_model, n_heads, batch_first=True).eval()
    ours = module.MultiHeadAttention(d_model, n_heads, bias=True).eval()
    with torch.no_grad():
        reference.in_proj_bias.copy_(_random(3 * d_model, seed=5))
        reference.out_proj.bias.copy_(_random(d_model, seed=6))
        for n, to in enumerate((ours.to_q, ours.to_k, ours.to_v)):
            to.weight.copy_(reference.in_proj_weight[n * d_model : (n + 1) * d_model])
            to.bias.copy_(reference.in_proj_bias[n * d_model : (n + 1) * d_model])
        ours.to_out.weight.copy_(reference.out_proj.weight)
        ours.to_out.bias.copy_(reference.out_proj.bias)
    x, context = _random(2, 5, d_model, seed=7), _random(2, 7, d_model, seed=8)
    mask = _mask()[0, 0]
    for m in (None, mask):
        theirs = reference(x, context, context, attn_mask=None if m is None else ~m, need_weights=False)[0]
        assert_close(ours(x, context, m), theirs, rtol=1e-5, atol=1e-5)


def bilinear_form_is_the_dot_product(module):
    w_q, w_k = _random(3, 7, seed=1), _random(3, 7, seed=2)
    x, y = _random(7, seed=3), _random(7, seed=4)
    form = module.bilinear_form(w_q, w_k)
    assert_close(x @ form @ y, (w_q @ x) @ (w_k @ y))
    assert torch.linalg.matrix_rank(form).item() == 3  # d_head, not d_model
    same = module.bilinear_form(w_q, w_q)
    assert_close(same, same.mT)


def pitfall_11_fully_masked_rows_are_zero_in_every_dtype(module):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        q, k, v = (x.to(dtype) for x in _qkv())
        mask = torch.ones(QUERY, KEY, dtype=torch.bool)
        mask[2] = False
        out, weights = module.attend(q, k, v, mask)
        assert bool(out.isfinite().all())
        assert not weights[..., 2, :].any()
        assert not out[..., 2, :].any()
        assert_close(weights.float().sum(-1)[..., 0], torch.ones(BATCH, HEAD), rtol=5e-3, atol=5e-3)


def pitfall_26_huge_scores_stay_finite(module):
    q, k = torch.full((2, 3), 1000.0), torch.eye(3)[:2] * 1000
    out, weights = module.attend(q, k, torch.eye(2))
    assert bool(out.isfinite().all())
    assert_close(weights.sum(-1), torch.ones(2))


def bias_is_added_to_the_scores(module):
    """Before the softmax, after the scale; a bias of log 3 makes a weight three times as large."""
    q, k, v = _qkv()
    bias = _random(HEAD, QUERY, KEY, seed=9)  # one per head, the same for every sentence
    for mask in (None, _mask()):
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(D_HEAD) + bias
        expected = scores.masked_fill(~mask, -math.inf).softmax(-1) if mask is not None else scores.softmax(-1)
        out, weights = module.attend(q, k, v, mask, bias=bias)
        assert_close(weights, expected)
        assert_close(out, expected @ v)
    even = torch.zeros(1, 4)
    assert_close(
        module.attend(even, torch.zeros(2, 4), torch.eye(2), bias=torch.tensor([[0.0, math.log(3)]]))[1],
        torch.tensor([[0.25, 0.75]]),
    )


def bias_equals_the_fused_kernel_s_float_mask(module):
    """Torch takes biases as a float mask, in which −∞ forbids; ours keeps the two apart."""
    q, k, v = _qkv()
    bias = _random(HEAD, QUERY, KEY, seed=9)
    for mask in (None, _mask()):
        theirs = bias if mask is None else bias.masked_fill(~mask, -math.inf)
        expected = F.scaled_dot_product_attention(q, k, v, theirs)
        assert_close(module.attend(q, k, v, mask, bias=bias)[0], expected)
        assert_close(module.DotProductAttention()(q, k, v, mask, bias), expected)


def fully_masked_rows_stay_zero_with_a_bias(module):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        q, k, v = (x.to(dtype) for x in _qkv())
        bias = _random(HEAD, QUERY, KEY, seed=9).to(dtype)
        mask = torch.ones(QUERY, KEY, dtype=torch.bool)
        mask[2] = False
        out, weights = module.attend(q, k, v, mask, bias=bias)
        assert not weights[..., 2, :].any()
        for y in (out, module.DotProductAttention()(q, k, v, mask, bias)):
            assert bool(y.isfinite().all())
            assert not y[..., 2, :].any()
            assert_close(y[..., 3, :], F.scaled_dot_product_attention(q, k, v, bias)[..., 3, :], rtol=2e-2, atol=2e-2)


def bias_of_the_heads_is_handed_on(module):
    """A bias that leaves each head one key makes each head's output that key's value."""
    model = module.MultiHeadAttention(6, 2, d_head=5).eval()
    x, context = _random(3, 4, 6, seed=1), _random(3, 7, 6, seed=2)
    chosen = torch.tensor([[1, 5, 0, 3], [6, 2, 2, 4]])  # head, query
    bias = F.one_hot(chosen, 7) * 1e4
    values = model.to_v(context).unflatten(-1, (2, 5))  # batch key head d_head
    expected = torch.stack([values[:, chosen[h], h] for h in range(2)], dim=2).flatten(2)
    everything = torch.ones(4, 7, dtype=torch.bool)
    for mask in (None, everything):
        assert_close(model(x, context, mask, bias), model.to_out(expected))


LAWS = [law for name, law in list(globals().items()) if callable(law) and getattr(law, "__module__", "") == __name__]
LAWS = [law for law in LAWS if not law.__name__.startswith("_")]
