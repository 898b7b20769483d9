"""Capture: read the weights of dot-product attention from outside a model, without changing it.

A forward hook on every `DotProductAttention` recomputes the weights from the very q, k, mask
and bias that went in. Nothing is stored in the model, training keeps its fused kernel, and dropout never
touches what is recorded: rows sum to 1 also in train mode. (Additive attention, as in `rnn.py`, gives its
weights itself, in the state of each step.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from attention_decoded.attention import DotProductAttention, attend


@dataclass(frozen=True, kw_only=True)
class Attention:
    """One call of one attention layer, detached from the graph. Row = query, column = key."""

    name: str
    q: Float[Tensor, "*lead query d_head"]
    k: Float[Tensor, "*lead key d_head"]
    v: Float[Tensor, "*lead key d_value"]
    scores: Float[Tensor, "*lead query key"]
    weights: Float[Tensor, "*lead query key"]


@contextmanager
def capture(model: nn.Module) -> Iterator[list[Attention]]:
    """Record every attention that happens inside the `with` block, in the order of the calls.

    >>> with capture(model) as records:
    ...     model(ids)
    >>> records[0].name, records[0].weights.shape

    Raises ValueError when the model has no `DotProductAttention` to listen to.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, DotProductAttention)]
    if not layers:
        raise ValueError(f"{type(model).__name__} contains no DotProductAttention, so there is nothing to capture")
    records: list[Attention] = []

    def listen(name: str):
        def hook(_module, args, kwargs, _output) -> None:
            bound = dict(zip(("q", "k", "v", "mask", "bias"), args, strict=False)) | kwargs
            q, k, v = (bound[x].detach() for x in "qkv")
            bias = bound.get("bias")
            bias = None if bias is None else bias.detach()
            _, weights = attend(q, k, v, bound.get("mask"), bias=bias)
            scores = q @ k.mT / q.shape[-1] ** 0.5
            scores = scores if bias is None else scores + bias
            records.append(Attention(name=name, q=q, k=k, v=v, scores=scores, weights=weights))

        return hook

    handles = [module.register_forward_hook(listen(name), with_kwargs=True) for name, module in layers]
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()
