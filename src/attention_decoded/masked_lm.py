"""A masked language model: a small self-attention encoder that guesses hidden tokens (chapter 7).

    x = token[ids] + position[0 … n−1]
    x = x + attention(norm_attention(x))     \\ n_layers times; normalised *before* each part (pre-norm),
    x = x + ff(norm_ff(x))                   / so a final norm is needed
    logits = norm(x) · tokenᵀ + bias           the output matrix is the token table itself (tied)

Sources: Devlin et al. (2019), "BERT", arXiv:1810.04805v2, section 3.1 (the task); Xiong et al. (2020),
arXiv:2002.04745v2 (pre-norm); Press and Wolf (2017), arXiv:1608.05859v3 (the tied matrix).
Differences from BERT: pre-norm, ReLU, no segment vectors, no [CLS]; two layers, not twelve.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attention_decoded.attention import MultiHeadAttention
from attention_decoded.sizes import check_sizes


@dataclass(frozen=True, kw_only=True)
class MaskedLanguageModelConfig:
    """The sizes of a `MaskedLanguageModel`; `dropout` acts on what each part adds, in training only."""

    n_vocab: int
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int = 256
    max_len: int = 64
    dropout: float = 0.0

    def __post_init__(self):
        check_sizes(self)


class Block(nn.Module):
    """Attention mixes the positions, then the feed-forward network works on each alone; both add to x."""

    def __init__(self, config: MaskedLanguageModelConfig):
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.d_model)
        self.attention = MultiHeadAttention(config.d_model, config.n_heads)
        self.norm_ff = nn.LayerNorm(config.d_model)
        self.ff = nn.Sequential(
            nn.Linear(config.d_model, config.d_ff), nn.ReLU(), nn.Linear(config.d_ff, config.d_model)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch position d_model"], mask: Bool[Tensor, "#batch 1 #query position"] | None = None
    ) -> Float[Tensor, "batch position d_model"]:
        x = x + self.dropout(self.attention(self.norm_attention(x), mask=mask))
        return x + self.dropout(self.ff(self.norm_ff(x)))


class MaskedLanguageModel(nn.Module):
    """Reads a whole sentence at once, in both directions, and gives every position a guess at its token."""

    def __init__(self, config: MaskedLanguageModelConfig):
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.n_vocab, config.d_model)
        self.position = nn.Embedding(config.max_len, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.bias = nn.Parameter(self.token.weight.new_zeros(config.n_vocab))
        for table in (self.token, self.position):  # the table is the output matrix too: keep first logits near 0
            nn.init.normal_(table.weight, std=config.d_model**-0.5)

    def streams(
        self, ids: Int[Tensor, "batch position"], mask: Bool[Tensor, "#batch 1 #query position"] | None = None
    ) -> list[Float[Tensor, "batch position d_model"]]:
        """The stream after 0, 1, …, n_layers blocks: first token plus position, last the contextual vectors.

        `mask` is True where a query may look; it broadcasts over heads and queries, so that it can hide
        padding (`padding_mask`) as well as cut a single edge.
        """
        if ids.shape[1] > self.config.max_len:
            raise ValueError(f"{ids.shape[1]} tokens are more than the {self.config.max_len} positions of this model")
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        streams = [x]
        for block in self.blocks:
            streams.append(block(streams[-1], mask))
        return streams

    def to_logits(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead n_vocab"]:
        """Compare each vector with every token's own vector: the larger the logit, the better the guess."""
        return nn.functional.linear(self.norm(x), self.token.weight, self.bias)

    def forward(
        self, ids: Int[Tensor, "batch position"], mask: Bool[Tensor, "#batch 1 #query position"] | None = None
    ) -> Float[Tensor, "batch position n_vocab"]:
        """Logits for every position; `mask` as in `streams`."""
        return self.to_logits(self.streams(ids, mask)[-1])


def build_masked_lm(config: Mapping[str, Any]) -> MaskedLanguageModel:
    """The untrained model of a checkpoint's config, as `checkpoints.load_model` asks for it."""
    return MaskedLanguageModel(MaskedLanguageModelConfig(**config))
