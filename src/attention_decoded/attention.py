"""Attention: every query takes a weighted average of the values (chapters 6 to 8).

Axes, named the same in every signature and in the book's notation page:
    batch, head   independent copies; nothing mixes across them
    query         positions that ask          key       positions that answer
    d_model       width of a token vector     d_head    width of one head's queries and keys
    d_value       width of one head's values

A mask is boolean and True means *may look*, as in `F.scaled_dot_product_attention`.
(`nn.MultiheadAttention` means the opposite: its True forbids.)

Source: Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762v7, section 3.2.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn


def attend(
    q: Float[Tensor, "*lead query d_head"],
    k: Float[Tensor, "*lead key d_head"],
    v: Float[Tensor, "*lead key d_value"],
    mask: Bool[Tensor, "*#lead #query key"] | None = None,
    *,
    bias: Float[Tensor, "*#lead #query key"] | None = None,
    scale: float | None = None,
) -> tuple[Float[Tensor, "*lead query d_value"], Float[Tensor, "*lead query key"]]:
    """Scaled dot-product attention (Vaswani et al., eq. 1): the averages, and the weights that made them.

    `scale` multiplies q·k; None means 1/√d_head. `bias` is added to the scores, as relative positions
    are. A query that may look nowhere gets weights of zero and an output of zero, never NaN and never a
    silent uniform average.
    """
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        floor = torch.finfo(scores.dtype).min  # finite in every dtype, unlike -1e9 in fp16
        weights = scores.masked_fill(~mask, floor).softmax(dim=-1) * mask
    return weights @ v, weights


def causal_mask(n_query: int, n_key: int | None = None, *, device=None) -> Bool[Tensor, "query key"]:
    """True where key j ≤ query i: a position reads itself and the past, never a later position.

    With `n_key > n_query` the queries are the last ones, as when earlier keys are cached.
    """
    n_key = n_query if n_key is None else n_key
    if n_key < n_query:
        raise ValueError(f"n_key={n_key} is smaller than n_query={n_query}: every query must be among the keys")
    last_visible = torch.arange(n_key - n_query, n_key, device=device)[:, None]
    return torch.arange(n_key, device=device)[None, :] <= last_visible


def padding_mask(lengths: Tensor, n_key: int) -> Bool[Tensor, "batch 1 1 key"]:
    """True on the first `lengths[b]` keys of each sequence; broadcasts over heads and queries."""
    if lengths.numel() and int(lengths.max()) > n_key:
        raise ValueError(f"lengths go up to {int(lengths.max())}, but there are only n_key={n_key} keys")
    return (torch.arange(n_key, device=lengths.device)[None, :] < lengths[:, None])[:, None, None, :]


def bilinear_form(
    w_q: Float[Tensor, "d_head d_model"], w_k: Float[Tensor, "d_head d_model"]
) -> Float[Tensor, "d_model d_model"]:
    """The matrix B with q·k = x B x′ᵀ for q = x w_qᵀ and k = x′ w_kᵀ; its rank is at most d_head.

    Weights are stored as `nn.Linear` stores them (output first): the book's W_Q is w_qᵀ, so
    B = W_Q W_Kᵀ = w_qᵀ w_k. With W_Q = W_K it is symmetric: what x finds in x′, x′ finds in x.
    """
    return w_q.mT @ w_k


class DotProductAttention(nn.Module):
    """`attend` without the weights, through PyTorch's fused kernel.

    It has no parameters and keeps nothing: it is a module so that `capture.py` can hook it.
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout

    def forward(
        self,
        q: Float[Tensor, "*lead query d_head"],
        k: Float[Tensor, "*lead key d_head"],
        v: Float[Tensor, "*lead key d_value"],
        mask: Bool[Tensor, "*#lead #query key"] | None = None,
        bias: Float[Tensor, "*#lead #query key"] | None = None,
    ) -> Float[Tensor, "*lead query d_value"]:
        """`mask` and `bias` as in `attend`."""
        dropout = self.dropout if self.training else 0.0
        if bias is None:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)
        bias = bias.to(q.dtype)
        if mask is None:
            return F.scaled_dot_product_attention(q, k, v, bias, dropout_p=dropout)
        bias = torch.where(mask, bias, torch.finfo(q.dtype).min)  # the kernel takes one of the two: merged
        return F.scaled_dot_product_attention(q, k, v, bias, dropout_p=dropout) * mask.any(-1, keepdim=True)


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own d_head-wide projection (section 3.2.2).

    Queries come from `x`; keys and values from `context` (x itself when absent: self-attention).
    The paper's projections have no bias, and so have these unless `bias=True`. A mask or a bias broadcasts to
    [batch, head, query, key]: one for each sentence is [batch, 1, query, key].
    """

    def __init__(
        self, d_model: int, n_heads: int, *, d_head: int | None = None, bias: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        if n_heads < 1:
            raise ValueError(f"n_heads={n_heads} must be at least 1")
        if d_head is None:
            if d_model % n_heads:
                raise ValueError(f"d_model={d_model} is not a multiple of n_heads={n_heads}; give d_head instead")
            d_head = d_model // n_heads
        self.n_heads = n_heads
        self.to_q = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.to_k = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.to_v = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.attend = DotProductAttention(dropout)
        self.to_out = nn.Linear(n_heads * d_head, d_model, bias=bias)

    def queries(self, x: Float[Tensor, "batch query d_model"]) -> Float[Tensor, "batch head query d_head"]:
        """What each position asks, per head."""
        return self._split(self.to_q(x))

    def keys_values(
        self, context: Float[Tensor, "batch key d_model"]
    ) -> tuple[Float[Tensor, "batch head key d_head"], Float[Tensor, "batch head key d_head"]]:
        """What each position of the context is found by, and what it gives; these are what a decoder caches."""
        return self._split(self.to_k(context)), self._split(self.to_v(context))

    def mix(
        self,
        q: Float[Tensor, "batch head query d_head"],
        k: Float[Tensor, "batch head key d_head"],
        v: Float[Tensor, "batch head key d_head"],
        mask: Bool[Tensor, "*#lead #query key"] | None = None,
        bias: Float[Tensor, "*#lead #query key"] | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Every head attends; the heads' outputs side by side, mixed by W_O."""
        mixed = self.attend(q, k, v, mask, bias)
        return self.to_out(rearrange(mixed, "batch head query d_head -> batch query (head d_head)"))

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        context: Float[Tensor, "batch key d_model"] | None = None,
        mask: Bool[Tensor, "*#lead #query key"] | None = None,
        bias: Float[Tensor, "*#lead #query key"] | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        return self.mix(self.queries(x), *self.keys_values(x if context is None else context), mask, bias)

    def _split(self, x: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch head pos d_head"]:
        return rearrange(x, "batch pos (head d_head) -> batch head pos d_head", head=self.n_heads)
