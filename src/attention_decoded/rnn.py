"""Two RNNs that translate: through one fixed code, or with a fresh look at each step (chapters 5 and 6).

    fixed code   the source's last states become one vector c; every target step gets the same c
    attention    every target step gets its own c: a weighted average of all source states, the weights
                 from an additive score  vᵀ tanh(W s + U h)  of the decoder's state s and a source state h

Both share encoder, decoder cell and output, so that what differs between them is c alone.

Axes: batch, source, target, vocab; d_hidden is the width of a GRU state (`hidden`, the encoder's two
directions side by side: `memory`). Id 0 is padding. A decoding state is a dict of tensors whose first axis
is batch, so that any search can pick and reorder its hypotheses.

Sources: Cho et al. (2014), arXiv:1406.1078v3, section 2 (the fixed code); Bahdanau et al. (2015),
arXiv:1409.0473v7, section 3 and appendix A.2.2 (attention, and the maxout readout of both).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attention_decoded.sizes import check_sizes

PAD = 0


@dataclass(frozen=True, kw_only=True)
class RNNConfig:
    """Sizes of an `RNNTranslator`. `attention` chooses between the two machines of this module."""

    n_source_vocab: int
    n_target_vocab: int
    d_embedding: int = 192
    d_hidden: int = 256
    attention: bool = True
    dropout: float = 0.0

    def __post_init__(self):
        check_sizes(self)


class AdditiveAttention(nn.Module):
    """Scores by a small network instead of a dot product; returns the average and its weights."""

    def __init__(self, d_query: int, d_memory: int, d_score: int):
        super().__init__()
        self.to_q = nn.Linear(d_query, d_score, bias=False)
        self.to_k = nn.Linear(d_memory, d_score)
        self.to_score = nn.Linear(d_score, 1, bias=False)

    def forward(
        self,
        query: Float[Tensor, "batch hidden"],
        memory: Float[Tensor, "batch source memory"],
        keys: Float[Tensor, "batch source d_score"],
        mask: Bool[Tensor, "batch source"],
    ) -> tuple[Float[Tensor, "batch memory"], Float[Tensor, "batch source"]]:
        """`keys` is `to_k(memory)`, computed once per sentence. `mask` is True where a query may look.

        A query that may look nowhere gets weights of zero, as in `attention.attend`.
        """
        scores = self.to_score(torch.tanh(self.to_q(query)[:, None] + keys)).squeeze(-1)
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask
        return torch.einsum("bs,bsm->bm", weights, memory), weights


class RNNTranslator(nn.Module):
    """A bidirectional GRU reads; a GRU writes, one token at a time, seeing c at every step."""

    def __init__(self, config: RNNConfig):
        super().__init__()
        self.config = config
        d_memory = 2 * config.d_hidden
        self.source_embedding = nn.Embedding(config.n_source_vocab, config.d_embedding, padding_idx=PAD)
        self.target_embedding = nn.Embedding(config.n_target_vocab, config.d_embedding, padding_idx=PAD)
        self.encoder = nn.GRU(config.d_embedding, config.d_hidden, batch_first=True, bidirectional=True)
        self.to_start = nn.Linear(d_memory, config.d_hidden)
        self.attention = AdditiveAttention(config.d_hidden, d_memory, config.d_hidden) if config.attention else None
        self.cell = nn.GRUCell(config.d_embedding + d_memory, config.d_hidden)
        self.readout = nn.Linear(config.d_hidden + d_memory + config.d_embedding, 2 * config.d_embedding)
        self.to_vocab = nn.Linear(config.d_embedding, config.n_target_vocab)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, source: Int[Tensor, "batch source"]) -> dict[str, Tensor]:
        """Read the source; the state before the first target token.

        Padding stands on the right. Raises ValueError where it does not, and when a row is all padding: there is
        nothing to translate.
        """
        mask = source != PAD
        if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise ValueError(f"padding (id {PAD}) stands before a real token: it belongs on the right")
        lengths = mask.sum(-1)
        if not bool((lengths > 0).all()):
            raise ValueError("a source sentence is empty (all padding)")
        embedded = self.dropout(self.source_embedding(source))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(outputs, batch_first=True, total_length=source.shape[1])
        code = torch.cat([last[0], last[1]], dim=-1)
        state = {"hidden": torch.tanh(self.to_start(code)), "code": code}
        if self.attention is not None:
            state |= {"memory": memory, "keys": self.attention.to_k(memory), "mask": mask}
        return state

    def step(
        self, ids: Int[Tensor, " batch"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch vocab"], dict[str, Tensor]]:
        """Feed one target token; logits of the next, and the state that follows (with "weights", if any)."""
        x, state = self._advance(ids, state)
        return self.to_logits(x), state

    def to_logits(self, x: Float[Tensor, "*lead d_embedding"]) -> Float[Tensor, "*lead vocab"]:
        """What a readout says about each target token."""
        return self.to_vocab(x)

    def states(
        self, source: Int[Tensor, "batch source"], target_in: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target d_embedding"]:
        """The readout at every target position, the true tokens given so far (teacher forcing)."""
        state, readouts = self.start(source), []
        for ids in target_in.unbind(1):
            x, state = self._advance(ids, state)
            readouts.append(x)
        return torch.stack(readouts, dim=1)

    def _advance(
        self, ids: Int[Tensor, " batch"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch d_embedding"], dict[str, Tensor]]:
        """One step as far as the readout: the larger of each two numbers (maxout) seen from s, c and the token."""
        c, extra = state["code"], {}
        if self.attention is not None:
            c, extra["weights"] = self.attention(state["hidden"], state["memory"], state["keys"], state["mask"])
        embedded = self.dropout(self.target_embedding(ids))
        hidden = self.cell(torch.cat([embedded, c], dim=-1), state["hidden"])
        pairs = self.readout(self.dropout(torch.cat([hidden, c, embedded], dim=-1))).unflatten(-1, (-1, 2))
        return self.dropout(pairs.amax(-1)), {**state, **extra, "hidden": hidden}

    def forward(
        self, source: Int[Tensor, "batch source"], target_in: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits at every target position, the true tokens given so far."""
        return self.to_logits(self.states(source, target_in))


def build_rnn(config: Mapping[str, Any]) -> RNNTranslator:
    """The untrained model of a checkpoint's config, as `checkpoints.load_model` asks for it."""
    return RNNTranslator(RNNConfig(**config))
