"""The Transformer: a stack that reads, a stack that writes, attention everywhere (chapter 10).

    encoder block   x = x + attention(norm(x));  x = x + ff(norm(x))
    decoder block   the same, with a look at the encoder's output in between:
                    x = x + cross(norm(x), memory)
    pre-norm        (the default) normalises before each part, as above, and needs one last norm per stack;
    post-norm       x = norm(x + part(x)), as in the paper of 2017, needs none

Every decoder block projects the same memory with W_K and W_V of its own. The source enters through
cross-attention alone: a Transformer decoder has no "initial state". `DecoderOnly` is one stack of
encoder blocks under a causal mask: it has no source but what it has read so far.

Axes: batch, source, target, position, head, vocab, d_model, d_ff, as in the notation page. Id 0 is padding.
A decoding state is a dict of tensors whose first axis is batch, so that any search can pick and reorder
its hypotheses: the cached keys and values, one pair of tensors a block.

Sources: Vaswani et al. (2017), arXiv:1706.03762v7, section 3; Xiong et al. (2020), arXiv:2002.04745v2
(pre-norm); Press and Wolf (2017), arXiv:1608.05859v3 (the output matrix is the target table).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attention_decoded.attention import MultiHeadAttention, causal_mask
from attention_decoded.positions import RelativeBias, alibi, query_positions, rotate, sinusoids
from attention_decoded.sizes import check_sizes

PAD = 0
Norm = Literal["pre", "post"]
PositionKind = Literal["sinusoidal", "learned", "relative", "alibi", "rotary"]
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of a `Transformer`. `shared`: source and target read one table (both sides in one language).

    `max_len` bounds learned positions alone; the other kinds know no longest sentence.
    """

    n_source_vocab: int
    n_target_vocab: int
    d_model: int = 192
    n_heads: int = 6
    d_ff: int = 768
    n_encoder_layers: int = 3
    n_decoder_layers: int = 3
    max_len: int = 128
    dropout: float = 0.0
    norm: Norm = "pre"
    positions: PositionKind = "sinusoidal"
    shared: bool = False

    def __post_init__(self):
        check_sizes(self)


@dataclass(frozen=True, kw_only=True)
class DecoderOnlyConfig:
    """Sizes of a `DecoderOnly`; `max_len` as in `TransformerConfig`."""

    n_vocab: int
    d_model: int = 192
    n_heads: int = 6
    d_ff: int = 768
    n_layers: int = 4
    max_len: int = 128
    dropout: float = 0.0
    norm: Norm = "pre"
    positions: PositionKind = "sinusoidal"

    def __post_init__(self):
        check_sizes(self)


# ── order ───────────────────────────────────────────────────────────────────────────────────────


class Positions(nn.Module):
    """How one stack is told the order: by what is added to its vectors, turned in q and k, or added to scores."""

    def __init__(self, config: TransformerConfig | DecoderOnlyConfig, *, bidirectional: bool):
        super().__init__()
        if config.positions not in PositionKind.__args__:
            raise ValueError(f"positions={config.positions!r} is none of {', '.join(PositionKind.__args__)}")
        self.kind, self.n_heads, self.max_len = config.positions, config.n_heads, config.max_len
        if self.kind == "learned":
            self.table = nn.Embedding(config.max_len, config.d_model)
            nn.init.normal_(self.table.weight, std=config.d_model**-0.5)
        elif self.kind == "relative":
            self.relative = RelativeBias(config.n_heads, bidirectional=bidirectional)

    def add(
        self, x: Float[Tensor, "batch position d_model"], at: Int[Tensor, "*#batch position"]
    ) -> Float[Tensor, "batch position d_model"]:
        """The vectors with their places added, for the kinds that do so; `at` counts from 0."""
        if self.kind == "learned":
            if int(at.max() if at.numel() else 0) >= self.max_len:
                raise ValueError(f"position {int(at.max())} is beyond the {self.max_len} learned positions (max_len)")
            return x + self.table(at)
        if self.kind == "sinusoidal":
            table = sinusoids(int(at.max()) + 1 if at.numel() else 0, x.shape[-1])
            return x + table.to(x.device)[at]
        return x

    def turn(self, x: Float[Tensor, "batch head query d_head"], n_key: int) -> Float[Tensor, "batch head query d_head"]:
        """Queries or keys that stand last among `n_key` positions, turned to their places if rotary."""
        return rotate(x, query_positions(x.shape[2], n_key).to(x.device)) if self.kind == "rotary" else x

    def bias(self, x: Tensor, n_query: int, n_key: int) -> Float[Tensor, "head query key"] | None:
        """What is added to the scores; on the device of `x`."""
        if self.kind == "relative":
            return self.relative(n_query, n_key)
        return alibi(self.n_heads, n_query, n_key).to(x.device) if self.kind == "alibi" else None


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────


class Block(nn.Module):
    """Self-attention mixes the positions, the feed-forward network works on each alone; a decoder's block
    looks at the memory in between."""

    def __init__(self, config: TransformerConfig | DecoderOnlyConfig, *, cross: bool = False):
        super().__init__()
        if config.norm not in Norm.__args__:
            raise ValueError(f"norm={config.norm!r} is none of {', '.join(Norm.__args__)}")
        self.pre = config.norm == "pre"
        self.norm_attention = nn.LayerNorm(config.d_model)
        self.attention = MultiHeadAttention(config.d_model, config.n_heads)
        if cross:
            self.norm_cross = nn.LayerNorm(config.d_model)
            self.cross = MultiHeadAttention(config.d_model, config.n_heads)
        self.norm_ff = nn.LayerNorm(config.d_model)
        self.ff = nn.Sequential(
            nn.Linear(config.d_model, config.d_ff), nn.ReLU(inplace=True), nn.Linear(config.d_ff, config.d_model)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        positions: Positions,
        mask: Bool[Tensor, "*#lead #query key"] | None,
        bias: Float[Tensor, "head query key"] | None,
        memory: tuple[Tensor, Tensor] | None = None,
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None = None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Float[Tensor, "batch query d_model"], tuple[Tensor, Tensor]]:
        """The new stream, and this block's keys and values including those of the `past`.

        `memory` is `self.cross.keys_values(encoder output)`; True in a mask means may look.
        """
        y = self.norm_attention(x) if self.pre else x
        k, v = self.attention.keys_values(y)
        n_key = k.shape[2] + (past[0].shape[2] if past else 0)
        k = positions.turn(k, n_key)
        if past:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        q = positions.turn(self.attention.queries(y), n_key)
        x = self._join(x, self.attention.mix(q, k, v, mask, bias), self.norm_attention)
        if memory:
            y = self.norm_cross(x) if self.pre else x
            x = self._join(x, self.cross.mix(self.cross.queries(y), *memory, memory_mask), self.norm_cross)
        y = self.norm_ff(x) if self.pre else x
        return self._join(x, self.ff(y), self.norm_ff), (k, v)

    def _join(self, x: Tensor, part: Tensor, norm: nn.LayerNorm) -> Tensor:
        x = x + self.dropout(part)
        return x if self.pre else norm(x)


def embedding(n_vocab: int, d_model: int) -> nn.Embedding:
    """A token table whose vectors have length about 1, so that it serves as output matrix too."""
    table = nn.Embedding(n_vocab, d_model)
    nn.init.normal_(table.weight, std=d_model**-0.5)
    return table


def count(x: Tensor) -> Int[Tensor, " position"]:
    """0, 1, 2, … along the second axis."""
    return torch.arange(x.shape[1], device=x.device)


# ── encoder and decoder ─────────────────────────────────────────────────────────────────────────


class Transformer(nn.Module):
    """Reads a whole source sentence at once; writes the target one token after the other."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.target = embedding(config.n_target_vocab, config.d_model)
        if config.shared and config.n_source_vocab != config.n_target_vocab:
            raise ValueError(
                f"shared=True needs one vocabulary, but there are n_source_vocab={config.n_source_vocab}"
                f" and n_target_vocab={config.n_target_vocab}"
            )
        self.source = self.target if config.shared else embedding(config.n_source_vocab, config.d_model)
        self.source_positions = Positions(config, bidirectional=True)
        self.target_positions = Positions(config, bidirectional=False)
        self.encoder = nn.ModuleList(Block(config) for _ in range(config.n_encoder_layers))
        self.decoder = nn.ModuleList(Block(config, cross=True) for _ in range(config.n_decoder_layers))
        pre = config.norm == "pre"
        self.encoder_norm = nn.LayerNorm(config.d_model) if pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(config.d_model) if pre else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(config.n_target_vocab))
        self.dropout = nn.Dropout(config.dropout)

    def encode(
        self, source: Int[Tensor, "batch source"]
    ) -> tuple[Float[Tensor, "batch source d_model"], Bool[Tensor, "batch 1 1 source"] | None]:
        """The memory, and the mask of its real tokens: None where nothing is padded.

        Raises ValueError when a row is all padding: there is nothing to read.
        """
        real = source != PAD
        if not bool(real.any(1).all()):
            raise ValueError("a source sentence is empty (all padding)")
        mask = None if bool(real.all()) else real[:, None, None, :]
        x = self._embed(self.source, source, self.source_positions, count(source))
        bias = self.source_positions.bias(x, source.shape[1], source.shape[1])
        for block in self.encoder:
            x, _ = block(x, self.source_positions, mask, bias)
        return self.encoder_norm(x), mask

    def states(
        self, source: Int[Tensor, "batch source"], target_in: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target d_model"]:
        """The decoder's last vectors, the true tokens given so far (teacher forcing)."""
        return self.decode(target_in, *self.encode(source))

    def decode(
        self,
        target_in: Int[Tensor, "batch target"],
        memory: Float[Tensor, "batch source d_model"],
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None = None,
    ) -> Float[Tensor, "batch target d_model"]:
        """The second half of `states`, from what `encode` gave."""
        n = target_in.shape[1]
        x = self._embed(self.target, target_in, self.target_positions, count(target_in))
        mask = causal_mask(n, device=x.device)
        bias = self.target_positions.bias(x, n, n)
        for block, keys_values in zip(self.decoder, self._look_ups(memory), strict=True):
            x, _ = block(x, self.target_positions, mask, bias, keys_values, memory_mask)
        return self.decoder_norm(x)

    def to_logits(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead vocab"]:
        """Compare each vector with every target token's own vector (the tied output matrix)."""
        return nn.functional.linear(x, self.target.weight, self.bias)

    def forward(
        self, source: Int[Tensor, "batch source"], target_in: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits at every target position, under teacher forcing."""
        return self.to_logits(self.states(source, target_in))

    def start(self, source: Int[Tensor, "batch source"]) -> State:
        """Read the source; the state before the first target token. Raises ValueError as `encode` does."""
        memory, mask = self.encode(source)
        state = {} if mask is None else {"memory_mask": mask}
        for i, (k, v) in enumerate(self._look_ups(memory)):
            state[f"memory.{i}.k"], state[f"memory.{i}.v"] = k, v
            state[f"past.{i}.k"], state[f"past.{i}.v"] = k[:, :, :0], v[:, :, :0]
        return state

    def step(self, ids: Int[Tensor, " batch"], state: State) -> tuple[Float[Tensor, "batch vocab"], State]:
        """Feed one target token; logits of the next, and the state that follows."""
        state = dict(state)
        n_past = state["past.0.k"].shape[2]
        at = torch.full((1,), n_past, device=ids.device)
        x = self._embed(self.target, ids[:, None], self.target_positions, at)
        bias = self.target_positions.bias(x, 1, n_past + 1)
        for i, block in enumerate(self.decoder):
            memory = state[f"memory.{i}.k"], state[f"memory.{i}.v"]
            past = state[f"past.{i}.k"], state[f"past.{i}.v"]
            x, (k, v) = block(x, self.target_positions, None, bias, memory, state.get("memory_mask"), past)
            state[f"past.{i}.k"], state[f"past.{i}.v"] = k, v
        return self.to_logits(self.decoder_norm(x[:, 0])), state

    def _look_ups(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The memory's keys and values, as each decoder block projects them for itself."""
        return [block.cross.keys_values(memory) for block in self.decoder]  # type: ignore[operator,union-attr]

    def _embed(self, table: nn.Embedding, ids: Tensor, positions: Positions, at: Tensor) -> Tensor:
        return self.dropout(positions.add(table(ids) * math.sqrt(self.config.d_model), at))


def build_transformer(config: Mapping[str, Any]) -> Transformer:
    """The untrained model of a checkpoint's config, as `checkpoints.load_model` asks for it."""
    return Transformer(TransformerConfig(**config))


# ── decoder only ────────────────────────────────────────────────────────────────────────────────


class DecoderOnly(nn.Module):
    """One stack under a causal mask: it continues what it has read."""

    def __init__(self, config: DecoderOnlyConfig):
        super().__init__()
        self.config = config
        self.token = embedding(config.n_vocab, config.d_model)
        self.positions = Positions(config, bidirectional=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm == "pre" else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(config.n_vocab))
        self.dropout = nn.Dropout(config.dropout)

    def states(self, ids: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position d_model"]:
        """The last vector of every position, made from it and what stands before it; padding on the right."""
        n = ids.shape[1]
        x, _ = self._stack(ids, count(ids), causal_mask(n, device=ids.device), {})
        return x

    def to_logits(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead vocab"]:
        """Compare each vector with every token's own vector (the tied output matrix)."""
        return nn.functional.linear(x, self.token.weight, self.bias)

    def forward(self, ids: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position vocab"]:
        """Logits of what follows each position."""
        return self.to_logits(self.states(ids))

    def start(self, prompt: Int[Tensor, "batch position"]) -> State:
        """Read prompts without their last token, padded on the *left* so that all end together."""
        real = prompt != PAD
        mask = causal_mask(prompt.shape[1], device=prompt.device) & real[:, None, None, :]
        _, state = self._stack(prompt, (real.cumsum(1) - 1).clamp(min=0), mask, {})
        return {**state, "real": real}

    def step(self, ids: Int[Tensor, " batch"], state: State) -> tuple[Float[Tensor, "batch vocab"], State]:
        """Feed one token (first the prompt's last); logits of the next, and the state that follows."""
        real = torch.cat([state["real"], torch.ones_like(ids, dtype=torch.bool)[:, None]], dim=1)
        at = real.sum(1, keepdim=True) - 1
        x, state = self._stack(ids[:, None], at, real[:, None, None, :], state)
        return self.to_logits(x[:, 0]), {**state, "real": real}

    def _stack(self, ids: Tensor, at: Tensor, mask: Tensor, past: State) -> tuple[Tensor, State]:
        n_query, n_key = ids.shape[1], mask.shape[-1]
        x = self.positions.add(self.token(ids) * math.sqrt(self.config.d_model), at)
        x = self.dropout(x)
        bias, state = self.positions.bias(x, n_query, n_key), {}
        for i, block in enumerate(self.blocks):
            kv = (past[f"past.{i}.k"], past[f"past.{i}.v"]) if past else None
            x, (state[f"past.{i}.k"], state[f"past.{i}.v"]) = block(x, self.positions, mask, bias, past=kv)
        return self.norm(x), state


def build_decoder_only(config: Mapping[str, Any]) -> DecoderOnly:
    """The untrained model of a checkpoint's config, as `checkpoints.load_model` asks for it."""
    return DecoderOnly(DecoderOnlyConfig(**config))
