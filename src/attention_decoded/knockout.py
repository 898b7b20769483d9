"""Knock-outs: take looks, heads, layers or the order of the words from a trained model, from outside (chapter 12).

    {"stack": "cross", "layer": 1, "head": 0, "query": 3, "key": 2}   one look: a cell of one head's map
    {"stack": "cross", "query": 3, "key": 2}                          a pair of tokens, in all heads and layers
    {"stack": "cross", "key": 2}                                      a column: nobody looks there
    {"stack": "decoder", "layer": 1, "head": 0}                       a head: its weights stay, its output is zero
    {"stack": "encoder", "layer": 0}                                  all heads of a layer
    {"positions": True}                                               the model is not told the order

What a cut leaves out stands for all. Whatever names a query or a key is cut by the mask, so the other keys share
the query's attention, and a query that may look nowhere gets zero; the rest is cut by zeroing outputs.

Positions count from 0 in the sequence they stand in: the source for the encoder, the tokens *fed* to the decoder
(BOS is 0) for the decoder; in "cross" the query stands in the target and the key in the source. So query t of
"decoder" and "cross" is the one that decides output token t. A decoder-only model has the stack "decoder" alone,
an RNN with attention "cross" alone, with layer and head 0.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from attention_decoded.attention import DotProductAttention

Stack = Literal["encoder", "decoder", "cross"]
PLACES = ("layer", "head", "query", "key")
ALL = -1


class Cut(TypedDict, total=False):
    """One thing cut; the module's docstring says how it is read. Plain data, as the page's JavaScript has it."""

    stack: Stack
    layer: int
    head: int
    query: int
    key: int
    positions: Literal[True]


@contextmanager
def knockout(
    model: nn.Module, cuts: Sequence[Cut] = (), *, rows: Sequence[Sequence[Cut]] | None = None
) -> Iterator[None]:
    """Everything that the model does inside the `with` block, it does under these cuts.

    >>> with knockout(model, [{"stack": "cross", "key": 2}]):
    ...     texts = greedy(model, source)

    `cuts` hold for every row of a batch. `rows` has a list of cuts for each row instead; the batch must then keep
    its rows in number and order, as one pass under teacher forcing does and a search does not.

    A cut at a place of the target that no text reaches has no effect. Raises ValueError, naming the cut, for what
    is no cut, for a layer or head that the model does not have, and inside the block for a key or query beyond
    the source; and for a model without attention to cut.
    """
    if rows is not None and len(cuts):
        raise ValueError(
            f"both {len(cuts)} cuts for all rows and {len(rows)} lists of cuts were given; give one of them"
        )
    if rows is not None and not len(rows):
        raise ValueError("rows is empty: give a list of cuts, which may be empty, for each row of the batch")
    lists = [list(cuts)] if rows is None else [list(each) for each in rows]
    for cut in (cut for each in lists for cut in each):
        _check(cut)
    sites = list(_sites(model))
    positions = [module for module in model.modules() if isinstance(module, Ordered)]
    _check_room(model, lists, sites, positions)
    looks = [[(row, cut) for row, each in enumerate(lists) for cut in each if _meets(cut, site)] for site in sites]
    unordered = torch.tensor([any("positions" in cut for cut in each) for each in lists])
    past = _Past()
    with ExitStack() as stack:
        for site, found in zip(sites, looks, strict=True):
            for handle in _Knife(site, found, len(lists), rows is not None, unordered, past).hook(model):
                stack.callback(handle.remove)
        if bool(unordered.any()):
            for module in positions:
                stack.enter_context(_without_order(module, unordered))
        yield


# ── what may be cut ─────────────────────────────────────────────────────────────────────────────


def _check(cut: Any) -> None:
    """Raise ValueError unless it is a cut."""
    if not isinstance(cut, Mapping):
        raise ValueError(f"{cut!r} is no cut: a mapping such as {{'stack': 'cross', 'key': 2}} is")
    if "positions" in cut:
        if dict(cut) != {"positions": True} or cut["positions"] is not True:
            raise ValueError(f"{dict(cut)} is no cut: positions are cut by {{'positions': True}} and nothing beside it")
        return
    if cut.get("stack") not in Stack.__args__:
        raise ValueError(f"{dict(cut)} is no cut: its stack must be one of {', '.join(Stack.__args__)}")
    if strange := [name for name in cut if name not in ("stack", *PLACES)]:
        raise ValueError(f"{dict(cut)} is no cut: {', '.join(map(str, strange))} is none of {', '.join(PLACES)}")
    for name in PLACES:
        at = cut.get(name, 0)
        if not isinstance(at, int) or isinstance(at, bool) or at < 0:
            raise ValueError(
                f"{dict(cut)} is no cut: its {name} must be a whole number from 0 up; leave it out for all"
            )


@dataclass(frozen=True)
class _Site:
    """One attention of the model."""

    module: nn.Module
    stack: Stack
    layer: int
    n_heads: int
    additive: bool = False


@runtime_checkable
class Ordered(Protocol):
    """What tells a stack the order: `transformer.Positions`, known by what it does, since no use imports a model."""

    add: Callable[..., Tensor]
    turn: Callable[..., Tensor]
    bias: Callable[..., Tensor | None]


@runtime_checkable
class Additive(Protocol):
    """`rnn.AdditiveAttention`, known in the same way."""

    to_score: nn.Module
    to_q: nn.Module


def _sites(model: nn.Module) -> Iterator[_Site]:
    """Every attention, with its place by its name, as in `decoder.2.cross.attend`."""
    own: Stack = "decoder" if hasattr(model, "step") else "encoder"  # of a model with one stack, named "blocks"
    stacks: dict[str, Stack] = {"encoder": "encoder", "decoder": "decoder", "blocks": own}
    for name, module in model.named_modules():
        place = re.fullmatch(r"(\w+)\.(\d+)\.(attention|cross)\.attend", name)
        if isinstance(module, DotProductAttention) and place and place[1] in stacks:
            stack: Stack = "cross" if place[3] == "cross" else stacks[place[1]]
            heads: Any = model.get_submodule(name.removesuffix(".attend"))
            yield _Site(module, stack, int(place[2]), heads.n_heads)
        elif isinstance(module, nn.Module) and isinstance(module, Additive):
            yield _Site(module, "cross", 0, 1, additive=True)


def _check_room(
    model: nn.Module, lists: Sequence[Sequence[Cut]], sites: Sequence[_Site], positions: Sequence[nn.Module]
) -> None:
    """Raise ValueError for a cut that this model has no place for."""
    kind = type(model).__name__
    if not sites:
        raise ValueError(f"{kind} has no attention, so there is nothing to cut")
    for cut in (cut for each in lists for cut in each):
        if "positions" in cut:
            if not positions:
                raise ValueError(
                    f"{kind} is told the order by no part that could be taken away: positions cannot be cut"
                )
            continue
        there = [site for site in sites if site.stack == cut.get("stack")]
        stacks = ", ".join(dict.fromkeys(site.stack for site in sites))
        if not there:
            raise ValueError(f"the cut {dict(cut)}: {kind} has no {cut.get('stack')} attention; it has: {stacks}")
        for name, n in {"layer": len(there), "head": there[0].n_heads}.items():
            if cut.get(name, 0) >= n:
                raise ValueError(f"the cut {dict(cut)}: {kind} has {n} {name}s there, counted from 0")


def _meets(cut: Cut, site: _Site) -> bool:
    return cut.get("stack") == site.stack and cut.get("layer", site.layer) == site.layer


# ── the hooks ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Past:
    """How many target tokens were fed before those now fed: cross-attention cannot see it, the decoder's own can."""

    n: int = 0


class _Knife:
    """The cuts of one attention, and the hooks that make them."""

    def __init__(
        self,
        site: _Site,
        cuts: Sequence[tuple[int, Cut]],
        n_lists: int,
        by_row: bool,
        unordered: Bool[Tensor, " list"],
        past: _Past,
    ):
        """`cuts` are of this site, each with the number of its list."""
        self.site, self.n_lists, self.by_row, self.unordered, self.past = site, n_lists, by_row, unordered, past
        self.looks = [(row, cut) for row, cut in cuts if cut.keys() & {"query", "key"}]
        places = [[row, *(cut.get(name, ALL) for name in PLACES[1:])] for row, cut in self.looks]
        self.places = torch.tensor(places, dtype=torch.long).view(-1, 4)
        heads = [(row, cut) for row, cut in cuts if not cut.keys() & {"query", "key"}]
        self.keep = torch.ones(n_lists, site.n_heads) if heads else None
        for row, cut in heads:
            self.keep[row, cut.get("head", slice(None))] = 0  # type: ignore[index]

    def hook(self, model: nn.Module) -> Iterator[Any]:
        """Register what has to be done before and after the attention; the handles."""
        module, additive = self.site.module, self.site.additive
        yield module.register_forward_pre_hook(self.before_additive if additive else self.before, with_kwargs=True)
        yield module.register_forward_hook(self.after_additive if additive else self.after, with_kwargs=True)
        if additive:
            yield model.get_submodule("encoder").register_forward_hook(self.begin)

    # what hooks are given: module, arguments, and after the fact the output
    def before(self, _: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Forbid the looks that are cut."""
        given = dict(zip(("q", "k", "v", "mask", "bias"), args, strict=False)) | dict(kwargs)
        q, n_query, n_key = given["q"], given["q"].shape[-2], given["k"].shape[-2]
        self.check_batch(len(q))
        if self.site.stack == "decoder":
            self.past.n = n_key - n_query
        if given.get("bias") is not None and bool(self.unordered.any()):
            given["bias"] = given["bias"] * ~self.unordered.to(q.device)[:, None, None, None]
        if self.looks:
            first = 0 if self.site.stack == "encoder" else self.past.n
            may = ~self.met(range(first, first + n_query), n_key).to(q.device)
            given["mask"] = may if given.get("mask") is None else given["mask"] & may
        return (), given

    def after(self, _: nn.Module, _args: tuple, _kwargs: Mapping[str, Any], output: Tensor) -> Tensor:
        """Switch heads off."""
        return output if self.keep is None else output * self.keep[:, :, None, None].to(output)

    def begin(self, *_: Any) -> None:
        """A source has been read; what follows is about its first target token."""
        self.past.n = 0

    def before_additive(self, _: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Forbid the looks that are cut; one call is one target token."""
        given = dict(zip(("query", "memory", "keys", "mask"), args, strict=False)) | dict(kwargs)
        mask = given["mask"]
        self.check_batch(len(mask))
        if self.looks:
            met = self.met(range(self.past.n, self.past.n + 1), mask.shape[-1])[:, 0, 0]
            given["mask"] = mask & ~met.to(mask.device)
        self.past.n += 1
        return (), given

    def after_additive(
        self, _: nn.Module, _args: tuple, kwargs: Mapping[str, Any], output: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Switch the one head off; nothing comes home where a query may look nowhere, as with dot products."""
        c, weights = output
        sees = kwargs["mask"].any(-1, keepdim=True)
        keep = sees if self.keep is None else sees & (self.keep.to(sees.device) > 0)
        return c * keep, weights * sees

    def check_batch(self, n: int) -> None:
        if self.by_row and n != self.n_lists:
            raise ValueError(
                f"there are {self.n_lists} lists of cuts, one for each row, but a batch of {n} rows: searches drop and"
                " reorder rows. Cut all rows alike, or make one pass with the texts given"
            )

    def met(self, queries: range, n_key: int) -> Bool[Tensor, "list head query key"]:
        """Where these cuts forbid to look. Raises ValueError for a place beyond the source."""
        of_source = {"encoder": ("query", "key"), "decoder": (), "cross": ("key",)}[self.site.stack]
        for _, cut in self.looks:
            if any(int(cut.get(name, 0)) >= n_key for name in of_source):
                raise ValueError(f"the cut {dict(cut)}: the source has {n_key} tokens, counted from 0")
        row, *places = self.places.unbind(1)
        axes = torch.arange(self.site.n_heads), torch.tensor(queries), torch.arange(n_key)
        head, query, key = (
            (place[:, None] == ALL) | (place[:, None] == axis) for place, axis in zip(places, axes, strict=True)
        )
        met = head[:, :, None, None] & query[:, None, :, None] & key[:, None, None, :]
        counts = torch.zeros(self.n_lists, *met.shape[1:], dtype=torch.int32)
        return counts.index_add_(0, row, met.int()) > 0


@contextmanager
def _without_order(module: Any, rows: Bool[Tensor, " list"]) -> Iterator[None]:
    """Add and turn nothing in these rows. (What is added to the scores, the attention's own hook takes away.)"""
    whole = {name: getattr(module, name) for name in ("add", "turn")}
    changed = {name: vars(module).get(name) for name in whole}  # by a knock-out around this one

    def kept(name: str) -> Callable[..., Tensor]:
        def method(x: Tensor, where: Any) -> Tensor:
            off = rows.to(x.device).view(-1, *[1] * (x.dim() - 1))
            return torch.where(off, x, whole[name](x, where))

        return method

    for name in whole:
        setattr(module, name, kept(name))
    try:
        yield
    finally:
        for name, before in changed.items():
            delattr(module, name)
            if before is not None:
                setattr(module, name, before)
