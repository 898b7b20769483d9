"""`positions.py`: laws of each encoding, and Hugging Face's modules as references."""

import math

import pytest
import torch
from torch.testing import assert_close

from attention_decoded.attention import attend
from attention_decoded.positions import (
    RelativeBias,
    alibi,
    alibi_slopes,
    angles,
    query_positions,
    rotate,
    sinusoids,
    wavelengths,
)


def _reference(module: str, name: str):
    """A function of `transformers`, or a skip that says why."""
    pytest.importorskip("transformers", reason="transformers is the reference, and is installed for tests only")
    return getattr(__import__(f"transformers.models.{module}", fromlist=[name]), name)


def test_pitfall_18_sine_and_cosine_share_a_frequency():
    table = sinusoids(50, 14)
    assert_close(table[:, 0::2] ** 2 + table[:, 1::2] ** 2, torch.ones(50, 7))
    assert len(wavelengths(14)) == 7, "half as many frequencies as entries"


def test_pitfall_19_wavelengths_run_from_2_pi_to_almost_2_pi_times_the_base():
    found = wavelengths(512)
    assert found[0].item() == pytest.approx(2 * math.pi)
    assert_close(found[1:] / found[:-1], torch.full((255,), 10_000 ** (2 / 512)))
    assert found[-1].item() == pytest.approx(2 * math.pi * 10_000 ** (510 / 512), rel=1e-5)


def test_pitfall_20_a_shift_is_a_rotation():
    """PE(t + s) is PE(t) with every pair turned by the same angle, whatever t is."""
    table, shift = sinusoids(40, 14), 5
    turned = angles(torch.tensor([shift]), 14)[0]
    sin, cos = table[:-shift, 0::2], table[:-shift, 1::2]
    assert_close(table[shift:, 0::2], sin * turned.cos() + cos * turned.sin(), atol=1e-5, rtol=0)
    assert_close(table[shift:, 1::2], cos * turned.cos() - sin * turned.sin(), atol=1e-5, rtol=0)


def test_sinusoids_by_hand():
    assert_close(sinusoids(2, 4)[1], torch.tensor([math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]))


def test_rotation_makes_scores_depend_on_the_difference_alone():
    q, k = torch.randn(7, 10), torch.randn(7, 10)
    here = rotate(q, torch.arange(7)) @ rotate(k, torch.arange(7)).T
    far = rotate(q, torch.arange(7) + 100) @ rotate(k, torch.arange(7) + 100).T
    assert_close(here, far, atol=1e-4, rtol=1e-4)
    assert_close(rotate(q, torch.arange(7)).norm(dim=-1), q.norm(dim=-1))
    assert not torch.allclose(here, q @ k.T, atol=0.1)


def test_rotation_equals_gpt_j():
    reference = _reference("gptj.modeling_gptj", "apply_rotary_pos_emb")
    q, turned = torch.randn(2, 7, 3, 10), angles(torch.arange(7), 10)
    expected = reference(q, turned.sin()[None], turned.cos()[None])  # position before head there
    assert_close(rotate(q.transpose(1, 2), torch.arange(7)), expected.transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_heads", [2, 3, 5, 8, 12])
def test_alibi_equals_bloom(n_heads):
    """BLOOM adds slope × key position; that differs from the distance by a constant per row, as a softmax ignores."""
    reference = _reference("bloom.modeling_bloom", "build_alibi_tensor")
    theirs = reference(torch.ones(1, 7), n_heads, torch.float32).view(n_heads, 1, 7)
    ours = alibi(n_heads, 7, 7).tril()  # what a causal decoder uses
    allowed = torch.ones(7, 7).tril().bool()
    difference = (ours - theirs).masked_fill(~allowed, 0.0)
    for i in range(7):
        assert_close(difference[:, i, : i + 1], difference[:, i, :1].expand(-1, i + 1), atol=1e-5, rtol=1e-5)


def test_alibi_by_hand():
    assert_close(alibi_slopes(2), torch.tensor([1 / 16, 1 / 256]))
    assert_close(alibi(2, 1, 3)[0], torch.tensor([[-2 / 16, -1 / 16, 0.0]]))
    assert torch.equal(alibi(3, 5, 5), alibi(3, 5, 5).mT)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 20)])
def test_buckets_equal_t5(bidirectional, n_buckets, max_distance):
    reference = _reference("t5.modeling_t5", "T5Attention")._relative_position_bucket
    bias = RelativeBias(3, n_buckets=n_buckets, max_distance=max_distance, bidirectional=bidirectional)
    ahead = torch.arange(211)[None, :] - torch.arange(211)[:, None]
    expected = reference(ahead, bidirectional=bidirectional, num_buckets=n_buckets, max_distance=max_distance)
    assert torch.equal(bias.buckets(211, 211), expected)


def test_relative_bias_is_the_same_everywhere_and_learns():
    bias = RelativeBias(3)
    table = bias(7, 7)
    assert table.shape == (3, 7, 7)
    assert_close(table[:, 1:, 1:], table[:, :-1, :-1])
    assert_close(bias(2, 7), table[:, -2:])  # the last queries, as when decoding step by step
    table.sum().backward()
    assert bias.table.weight.grad is not None


def test_positions_break_the_permutation_symmetry():
    x, order = torch.randn(7, 10), torch.tensor([3, 1, 6, 0, 5, 2, 4])
    with_order = x + sinusoids(7, 10)
    shuffled = x[order] + sinusoids(7, 10)
    assert_close(attend(x[order], x[order], x[order])[0], attend(x, x, x)[0][order])
    assert not torch.allclose(attend(shuffled, shuffled, shuffled)[0], attend(*[with_order] * 3)[0][order], atol=1e-2)


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="d_model=7 is odd"):
        sinusoids(3, 7)
    with pytest.raises(ValueError, match="n_buckets=6"):
        RelativeBias(2, n_buckets=6)
    with pytest.raises(ValueError, match="n_key=3 is smaller than n_query=5"):
        query_positions(5, 3)
    for n, reach, both in ((32, 8, True), (32, 4, True), (64, 20, False), (32, 16, False)):
        exact = n // (4 if both else 2)
        with pytest.raises(ValueError, match=f"max_distance={reach} must be above {exact}"):
            RelativeBias(2, n_buckets=n, max_distance=reach, bidirectional=both)
        far = RelativeBias(2, n_buckets=n, max_distance=exact + 1, bidirectional=both).buckets(1, 300)
        assert far.diff().sign().unique().tolist() in ([-1, 0], [0]), "the nearer, the lower; none beyond the table"
        assert 0 <= far.min() <= far.max() < n
    for n_heads in (0, -3):
        with pytest.raises(ValueError, match=f"n_heads={n_heads} must be at least 1"):
            alibi_slopes(n_heads)
