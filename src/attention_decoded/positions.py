"""Positions: how a model that sees all words at once is told their order (chapter 9).

Attention alone is permutation-equivariant. Two families mend that:
    absolute   something is added to the word vectors: `sinusoids`, or a learned table
    relative   the scores, not the data, learn who stands how far from whom:
               `RelativeBias` (T5) and `alibi` add to the scores, `rotate` (RoPE) turns q and k

Axes: position, query, key, head, d_model, d_head as in the notation page.

Sources: Vaswani et al. (2017), arXiv:1706.03762v7, section 3.5 (sinusoids); Shaw et al. (2018),
arXiv:1803.02155v2, and Raffel et al. (2020), arXiv:1910.10683v4, section 2.1 (relative bias);
Press et al. (2022), arXiv:2108.12409v2 (ALiBi); Su et al. (2021), arXiv:2104.09864v5 (RoPE).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def wavelengths(d_model: int, base: float = 10_000.0) -> Float[Tensor, " pair"]:
    """Positions per turn of each sin/cos *pair*: a geometric series from 2π to almost 2π · base."""
    if d_model % 2:
        raise ValueError(f"d_model={d_model} is odd: a sine and a cosine share each frequency, so it must be even")
    return 2 * math.pi * base ** (torch.arange(0, d_model, 2) / d_model)


def angles(
    positions: Int[Tensor, " position"] | Float[Tensor, " position"], d_model: int, base: float = 10_000.0
) -> Float[Tensor, "position pair"]:
    """How far each pair has turned at each position, in radians."""
    return positions[:, None] * (2 * math.pi / wavelengths(d_model, base).to(positions.device))


def sinusoids(n_positions: int, d_model: int, base: float = 10_000.0) -> Float[Tensor, "position d_model"]:
    """The paper's fixed encoding: entries 2i and 2i+1 are the sine and cosine of one angle.

    Much code puts all sines first and all cosines after them. That is a permutation of the
    entries, and a model that learns with one learns as well with the other.
    """
    turned = angles(torch.arange(n_positions), d_model, base)
    return torch.stack([turned.sin(), turned.cos()], dim=-1).flatten(1)


def rotate(
    x: Float[Tensor, "*lead position d_head"], positions: Int[Tensor, " position"], base: float = 10_000.0
) -> Float[Tensor, "*lead position d_head"]:
    """Rotary encoding: turn entries (2i, 2i+1) of each query or key by its position's angle.

    Turned so, q·k depends on the two positions only through their difference. Lengths are kept.
    """
    turned = angles(positions, x.shape[-1], base)
    cos, sin = turned.cos().to(x.dtype), turned.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def alibi_slopes(n_heads: int) -> Float[Tensor, " head"]:
    """One slope per head: 2^(−8/n), 2^(−16/n), …, 2^(−8); the paper's rule between powers of two."""
    if n_heads < 1:
        raise ValueError(f"n_heads={n_heads} must be at least 1")
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (2 * i + 1) / power) for i in range(n_heads - power)]
    return torch.tensor(slopes)


def alibi(n_heads: int, n_query: int, n_key: int) -> Float[Tensor, "head query key"]:
    """Attention with linear biases: a score loses `slope` for every position of distance.

    The queries are the last `n_query` of the keys' positions, as in `causal_mask`.
    """
    distance = (query_positions(n_query, n_key)[:, None] - torch.arange(n_key)[None, :]).abs()
    return -alibi_slopes(n_heads)[:, None, None] * distance


def query_positions(n_query: int, n_key: int) -> Int[Tensor, " query"]:
    """Where the queries stand when they are the last ones of `n_key` positions (earlier keys are cached)."""
    if n_key < n_query:
        raise ValueError(f"n_key={n_key} is smaller than n_query={n_query}: every query must be among the keys")
    return torch.arange(n_key - n_query, n_key)


class RelativeBias(nn.Module):
    """A learned number per head and distance, added to the scores; far distances share buckets (T5).

    Distances up to half of a direction's buckets have one each; the rest widen logarithmically up to
    `max_distance`, beyond which all are one. `bidirectional` keeps left and right apart; without it
    (a decoder) the future, which the mask forbids anyway, falls into bucket 0.
    """

    def __init__(self, n_heads: int, *, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True):
        super().__init__()
        if n_buckets < 4 or n_buckets % 4:
            raise ValueError(f"n_buckets={n_buckets} must be a multiple of 4: two directions, each half exact")
        exact = n_buckets // (4 if bidirectional else 2)
        if max_distance <= exact:
            raise ValueError(f"max_distance={max_distance} must be above {exact}: so many distances have a bucket each")
        self.bidirectional = bidirectional
        self.n_buckets = n_buckets
        self.max_distance = max_distance
        self.table = nn.Embedding(n_buckets, n_heads)

    def buckets(self, n_query: int, n_key: int) -> Int[Tensor, "query key"]:
        """Which entry of the table each pair of positions reads."""
        ahead = torch.arange(n_key)[None, :] - query_positions(n_query, n_key)[:, None]  # key − query
        n, bucket = self.n_buckets, torch.zeros_like(ahead)
        if self.bidirectional:
            n //= 2
            bucket += (ahead > 0) * n
            distance = ahead.abs()
        else:
            distance = (-ahead).clamp(min=0)
        exact = n // 2
        logarithmic = exact + (
            torch.log(distance.clamp(min=1) / exact) / math.log(self.max_distance / exact) * (n - exact)
        ).to(torch.long)
        return bucket + torch.where(distance < exact, distance, logarithmic.clamp(max=n - 1))

    def forward(self, n_query: int, n_key: int) -> Float[Tensor, "head query key"]:
        buckets = self.buckets(n_query, n_key).to(self.table.weight.device)
        return self.table(buckets).permute(2, 0, 1)
