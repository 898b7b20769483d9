"""Attention maps of any model (chapter 12): checked on the way in, shown live, saved as one file that works offline."""

import base64
import hashlib
import html
import json
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float
from traitlets import Bytes, Dict, Enum, Int, TraitError, Unicode, validate

from attention_decoded.data.normalize import HAN
from attention_decoded.files import write_atomically
from attention_decoded.widgets.base import DIST, BookWidget

KINDS = ("encoder-self", "decoder-self", "cross")
VIEWS = ("head", "model", "neuron")
TOLERANCE = 1e-3
"""How far a weight may lie outside [0, 1], and a row's sum from 1."""

_STACKS = {"encoder-self": "encoder", "decoder-self": "decoder", "cross": "cross"}
_TITLES = {"encoder": "Encoder self-attention", "decoder": "Decoder self-attention", "cross": "Cross-attention"}


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """Weights of attention with the tokens they are about. Row = query (who looks), column = key (who is looked at).

    `weights` holds one head, or several in leading axes: an axis of layers if `layer` is None, then an axis of
    heads if `head` is None. Layers and heads count from 0. `q` and `k`, where they are given, are the vectors whose
    products, times 1/√d_head and plus `bias`, are the scores: [*lead, query, d_head], [*lead, key, d_head] and
    [*lead, query, key]. `kind` is "encoder-self", "decoder-self" or "cross".

    Everything is copied to read-only float32. Raises ValueError (TypeError for tokens that are no list of texts) for
    what cannot be attention: weights that are not finite or not between 0 and 1, shapes that do not fit the tokens, a
    row that does not sum to 1. A row of zeros is allowed, for a query that may look nowhere: `silent` lists such rows.
    """

    weights: Float[np.ndarray, "*lead query key"]
    query_tokens: Sequence[str]
    key_tokens: Sequence[str]
    kind: str
    layer: int | None = None
    head: int | None = None
    q: Float[np.ndarray, "..."] | None = None
    k: Float[np.ndarray, "..."] | None = None
    bias: Float[np.ndarray, "..."] | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is none of {', '.join(KINDS)}")
        for name in ("layer", "head"):
            object.__setattr__(self, name, _number(getattr(self, name), name))
        for name in ("query_tokens", "key_tokens"):
            object.__setattr__(self, name, _tokens(getattr(self, name), name))
        object.__setattr__(self, "weights", _numbers(self.weights, "weights"))
        for name in ("q", "k", "bias"):
            object.__setattr__(self, name, _maybe(getattr(self, name), name))
        self._check_shapes()
        self._check_weights()

    @classmethod
    def from_arrays(
        cls,
        weights: Any,
        query_tokens: Sequence[str],
        key_tokens: Sequence[str] | None = None,
        *,
        kind: str | None = None,
        layer: SupportsIndex | None = None,
        head: SupportsIndex | None = None,
        q: Any = None,
        k: Any = None,
        bias: Any = None,
    ) -> "AttentionMap":
        """A map of arrays, lists or tensors: [query, key], [head, query, key] or [layer, head, query, key].

        Without `key_tokens` the queries look at themselves. Without `kind` that is "encoder-self", and "cross"
        where the keys have tokens of their own. One map or one layer without a number gets number 0.
        """
        keys = query_tokens if key_tokens is None else key_tokens
        found = "encoder-self" if key_tokens is None or list(keys) == list(query_tokens) else "cross"
        array = _numbers(weights, "weights")
        if array.ndim <= 3 and layer is None:
            layer = 0
        if array.ndim <= 2 and head is None:
            head = 0
        return cls(
            weights=array,
            query_tokens=query_tokens,
            key_tokens=keys,
            kind=found if kind is None else kind,
            layer=_number(layer, "layer"),
            head=_number(head, "head"),
            q=_maybe(q, "q"),
            k=_maybe(k, "k"),
            bias=_maybe(bias, "bias"),
        )

    @property
    def silent(self) -> list[tuple[int, ...]]:
        """The rows of zeros: indices into `weights` without its last axis."""
        return [tuple(map(int, at)) for at in np.argwhere(self.weights.sum(-1) <= TOLERANCE)]

    def heads(self) -> dict[tuple[int, int], tuple[int, ...]]:
        """(layer, head) → where that head's weights lie in the leading axes of `weights`, `q` and `k`."""
        n_layers, n_heads = _lead(self)
        layers = range(n_layers) if self.layer is None else [self.layer]
        heads = range(n_heads) if self.head is None else [self.head]
        return {
            (layer, head): (*([layer] if self.layer is None else []), *([head] if self.head is None else []))
            for layer in layers
            for head in heads
        }

    def _check_shapes(self) -> None:
        axes = ["layer"] * (self.layer is None) + ["head"] * (self.head is None)
        if self.weights.ndim != len(axes) + 2:
            raise ValueError(
                f"weights has shape {self.weights.shape}, but with layer={self.layer} and head={self.head} "
                f"it should be [{', '.join([*axes, 'query', 'key'])}]"
            )
        if 0 in self.weights.shape:
            raise ValueError(f"weights has shape {self.weights.shape}: there is nothing to show")
        sizes = len(self.query_tokens), len(self.key_tokens)
        if self.weights.shape[-2:] != sizes:
            raise ValueError(
                f"weights ends in {self.weights.shape[-2:]} (query, key), but there are {sizes[0]} query tokens "
                f"and {sizes[1]} key tokens; special tokens and padding count, too"
            )
        if (self.q is None) != (self.k is None):
            raise ValueError(f"{'q' if self.q is None else 'k'} is missing: give both q and k, or neither")
        lead = self.weights.shape[:-2]
        if self.bias is not None and (self.q is None or self.bias.shape != self.weights.shape):
            raise ValueError(
                f"bias has shape {self.bias.shape}: it is added to q·k, which must be given, for each of the weights "
                f"{self.weights.shape}"
            )
        if self.q is None or self.k is None:
            return
        for name, rows, n in (("q", self.q, sizes[0]), ("k", self.k, sizes[1])):
            if rows.shape[:-1] != (*lead, n) or not rows.shape[-1]:
                raise ValueError(f"{name} has shape {rows.shape}, but should be {(*lead, n)} and then d_head")
        if self.q.shape[-1] != self.k.shape[-1]:
            raise ValueError(f"q has vectors of {self.q.shape[-1]} numbers, k of {self.k.shape[-1]}: no dot product")

    def _check_weights(self) -> None:
        outside = (self.weights < -TOLERANCE) | (self.weights > 1 + TOLERANCE)
        if outside.any():
            at = _first(outside)
            raise ValueError(
                f"weights{list(at)} = {self.weights[at]:.4g} is not between 0 and 1. If these are scores, take their "
                "softmax; if they are weights of a model in train mode, dropout is in them: call model.eval()"
            )
        sums = self.weights.sum(-1)
        odd = (abs(sums - 1) > TOLERANCE) & (abs(sums) > TOLERANCE)
        if odd.any():
            at = _first(odd)
            raise ValueError(
                f"weights{list(at)}, the row of query {self.query_tokens[at[-1]]!r}, sums to {sums[at]:.4g}, not to 1. "
                "Every row holds all the weights of one query: rows are queries, columns keys, none left out"
            )


def from_capture(
    records: Iterable[Any],
    source_tokens: Sequence[str],
    target_tokens: Sequence[str] | None = None,
    *,
    item: int = 0,
    kind: str | None = None,
) -> list[AttentionMap]:
    """The maps of a model of this package, from the records of one forward pass inside `capture(model)`.

    `item` is the place in the batch. `source_tokens` and `target_tokens` name what was fed, special tokens included:
    the decoder's tokens begin with <bos>. `kind` says what a model of one stack does; "encoder-self" when absent.
    """
    maps, seen = [], set()
    for record in records:
        if record.name in seen:
            raise ValueError(f"{record.name} was recorded twice: capture one forward pass over the whole text")
        seen.add(record.name)
        parts = record.name.split(".")
        single = parts[0] not in {"encoder", "decoder"}
        found = "cross" if "cross" in parts else "decoder-self" if parts[0] == "decoder" else kind or "encoder-self"
        queries, keys = _sides(found, source_tokens, target_tokens, record.name, single=single)
        weights, scores, q, k = (
            _numbers(_item(getattr(record, name), item, f"{record.name}.{name}"), f"{record.name}.{name}")
            for name in ("weights", "scores", "q", "k")
        )
        bias = scores - q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        maps.append(
            AttentionMap(
                weights=weights,
                q=q,
                k=k,
                bias=bias if abs(bias).max() > TOLERANCE else None,  # else it is the rounding
                query_tokens=queries,
                key_tokens=keys,
                kind=found,
                layer=next((int(part) for part in parts if part.isdigit()), 0),
            )
        )
    if not maps:
        raise ValueError("records is empty: run the model inside `with capture(model) as records:`")
    return maps


def from_transformers(
    output: Any,
    source_tokens: Sequence[str],
    target_tokens: Sequence[str] | None = None,
    *,
    item: int = 0,
    kind: str = "encoder-self",
) -> list[AttentionMap]:
    """The maps of a Hugging Face model, from the output of one forward pass with `output_attentions=True`.

    `item` is the place in the batch; the tokens name what was fed (for a decoder its `decoder_input_ids`), padding
    included. `kind` says what `attentions` are in a model of one stack: "encoder-self" (BERT) or "decoder-self" (GPT).
    """
    kinds = {
        "encoder_attentions": "encoder-self",
        "decoder_attentions": "decoder-self",
        "cross_attentions": "cross",
        "attentions": kind,
    }
    maps = []
    for name, found in kinds.items():
        layers = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        for layer, weights in enumerate(layers or ()):
            if weights is None:
                raise ValueError(
                    f"{name}[{layer}] is None: load the model with attn_implementation='eager'; others keep none"
                )
            if isinstance(weights, tuple | list):
                raise ValueError(
                    f"{name}[{layer}] is a {type(weights).__name__}: generate() gives one per step. Run the model "
                    "once more on the whole text, model(..., decoder_input_ids=..., output_attentions=True)"
                )
            queries, keys = _sides(found, source_tokens, target_tokens, name, single=name == "attentions")
            one = _numbers(_item(weights, item, f"{name}[{layer}]"), f"{name}[{layer}]")
            maps.append(AttentionMap(weights=one, query_tokens=queries, key_tokens=keys, kind=found, layer=layer))
    if not maps:
        raise ValueError("the output holds no attentions: call the model with output_attentions=True")
    return maps


def show(
    maps: AttentionMap | Iterable[AttentionMap],
    *,
    view: str = "head",
    layer: int | None = None,
    head: int | None = None,
    kind: str | None = None,
    title: str = "Attention",
) -> "AttentionViews":
    """The maps as a figure to look into: "head" (lines and heatmap), "model" (every head), "neuron" (the products).

    `layer`, `head` and `kind` say what is open at first; without them it is the mean over all layers and heads of the
    cross-attention, if there is one ("neuron" is of one head, and opens the first). All maps are of one text.
    """
    listed = [maps] if isinstance(maps, AttentionMap) else list(maps)
    return AttentionViews(listed, view=view, layer=layer, head=head, kind=kind, title=title)


class AttentionViews(BookWidget):
    """Attention maps of one text as a live figure; `show` makes it. See there for `view`, `layer`, `head` and `kind`.

    `view`, `stack` ("encoder", "decoder", "cross"), `layer` and `head` (None: the mean) are synced traits: read them
    after the reader moved something, or set them.
    """

    _esm = DIST / "attention_map.js"
    _css = DIST / "attention_map.css"

    stacks = Dict().tag(sync=True)
    numbers = Bytes().tag(sync=True)
    title = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)
    view = Enum(VIEWS, VIEWS[0]).tag(sync=True)
    stack = Unicode().tag(sync=True)
    layer = Int(None, allow_none=True).tag(sync=True)
    head = Int(None, allow_none=True).tag(sync=True)

    def __init__(
        self,
        maps: Sequence[AttentionMap],
        *,
        view: str = "head",
        layer: int | None = None,
        head: int | None = None,
        kind: str | None = None,
        title: str = "Attention",
        fallback: object = None,
    ):
        stacks, numbers = _pack(maps)
        if kind is not None and _STACKS.get(kind) not in stacks:
            given = ", ".join(name for name, stack in _STACKS.items() if stack in stacks)
            raise ValueError(f"kind={kind!r}: the maps are of {given}")
        stack = _STACKS[kind] if kind is not None else "cross" if "cross" in stacks else next(iter(stacks))
        if view == "neuron":
            if stacks[stack]["q"] is None:
                raise ValueError("view='neuron' shows the products of q and k: give every map its q and k")
            layer = stacks[stack]["layers"][0] if layer is None else layer
            head = stacks[stack]["heads"][0] if head is None else head
        self._packed = stacks
        super().__init__(
            stacks=stacks,
            numbers=numbers.tobytes(),
            title=title,
            note=_silence(maps),
            view=view,
            stack=stack,
            layer=layer,
            head=head,
            fallback=fallback,
        )

    def to_html(self) -> str:
        """One HTML file that needs no network and no other file: the figure, its code and its numbers.

        Its content security policy lets nothing run but the one script that lies in it, and nothing be fetched.
        """
        names = ("stacks", "title", "note", "view", "stack", "layer", "head")
        state = {name: getattr(self, name) for name in names}
        state["numbers"] = base64.b64encode(self.numbers).decode()
        # In JSON "<" only stands inside strings; written in another way it can neither end nor open an element.
        data = json.dumps(state, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        script, style = ((DIST / f"attention_page.{kind}").read_text("utf-8").strip() for kind in ("js", "css"))
        policy = (
            f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
            "base-uri 'none'; form-action 'none'"
        )
        title = html.escape(self.title)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{title}</title>\n<style>{style}</style>\n</head>\n"
            f'<body class="ad-widget">\n<main class="ad-page">\n<h1>{title}</h1>\n'
            "<noscript><p>These maps are drawn by the script in this file: allow it to run.</p></noscript>\n</main>\n"
            f'<script type="application/json" id="attention-maps">{data}</script>\n'
            f"<script>{script}</script>\n</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write `to_html()` to `path`, whole or not at all; gives the path back."""
        path = Path(path)
        write_atomically(path, self.to_html().encode("utf-8"))
        return path

    def _still(self) -> object:
        # The lexicon and matplotlib: only while a page is built.
        from attention_decoded.data.lexicon import stacked
        from attention_decoded.plots.maps import attention_maps

        packed = self._packed[self.stack]
        n = len(packed["layers"]), len(packed["heads"]), len(packed["queries"]), len(packed["keys"])
        all_maps = np.frombuffer(self.numbers, "<f4")[packed["weights"] :][: np.prod(n)].reshape(n)
        layers = [i for i, layer in enumerate(packed["layers"]) if self.layer in {None, layer}]
        heads = [i for i, head in enumerate(packed["heads"]) if self.head in {None, head}]
        values = all_maps[layers][:, heads].mean((0, 1))
        queries, keys = ([label["text"] for label in packed[side]] for side in ("queries", "keys"))
        what = "mean" if self.layer is None or self.head is None else f"layer {self.layer + 1}, head {self.head + 1}"
        top = values.argmax(axis=1)
        looks = "; ".join(f"{query} looks most at {keys[key]}" for query, key in zip(queries, top, strict=True))
        alt = f"{packed['title']}, {what}, row = query, column = key: {looks}."
        below = [stacked(key) for key in keys]
        return attention_maps({f"{packed['title']}, {what}": values}, queries, below, alt=alt, limit=1.0)

    @validate("stack")
    def _known_stack(self, proposal):
        value = proposal["value"]
        if value not in self._packed:
            raise TraitError(f"stack={value!r}: there is {', '.join(self._packed)}")
        return value

    @validate("layer", "head")
    def _known(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        numbers = sorted({number for packed in self._packed.values() for number in packed[f"{name}s"]})
        if value is not None and value not in numbers:
            raise TraitError(f"{name}={value}: the maps are of {name}s {', '.join(map(str, numbers))}")
        return value


def _pack(maps: Sequence[AttentionMap]) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """Per stack its labels and where its numbers begin, and all the numbers, one after another.

    Raises ValueError when the maps do not make whole grids of layers × heads of one text.
    """
    if not maps:
        raise ValueError("maps is empty: there is nothing to show")
    if strangers := [type(one).__name__ for one in maps if not isinstance(one, AttentionMap)]:
        raise TypeError(f"maps holds a {strangers[0]}: make maps with AttentionMap.from_arrays, or its helpers")
    stacks: dict[str, dict[str, Any]] = {}
    parts: list[np.ndarray] = []
    size = 0

    def add(arrays: list[np.ndarray]) -> int:
        nonlocal size
        begin = size
        parts.extend(array.ravel() for array in arrays)
        size += sum(array.size for array in arrays)
        return begin

    for kind, stack in _STACKS.items():
        ours = [one for one in maps if one.kind == kind]
        if not ours:
            continue
        first = ours[0]
        heads: dict[tuple[int, int], tuple[AttentionMap, tuple[int, ...]]] = {}
        for one in ours:
            if (one.query_tokens, one.key_tokens) != (first.query_tokens, first.key_tokens):
                raise ValueError(f"{kind}: the maps are of different tokens; show one text at a time")
            for place, at in one.heads().items():
                if place in heads:
                    raise ValueError(f"{kind}: layer {place[0]}, head {place[1]} is there twice")
                heads[place] = one, at
        layers, numbers = (sorted({place[axis] for place in heads}) for axis in (0, 1))
        grid = [(layer, head) for layer in layers for head in numbers]
        if missing := [place for place in grid if place not in heads]:
            layer, head = missing[0]
            raise ValueError(
                f"{kind}: layer {layer} has no head {head}, which another layer has. Give each layer the same heads"
            )
        ordered = [heads[place] for place in grid]
        known = all(one.q is not None for one, _ in ordered)
        widths = {one.q.shape[-1] for one, _ in ordered if one.q is not None}
        known = known and len(widths) == 1
        stacks[stack] = {
            "title": _TITLES[stack],
            "queries": _labels(first.query_tokens),
            "keys": _labels(first.key_tokens),
            "layers": layers,
            "heads": numbers,
            "weights": add([one.weights[at] for one, at in ordered]),
            "q": add([one.q[at] for one, at in ordered if one.q is not None]) if known else None,
            "k": add([one.k[at] for one, at in ordered if one.k is not None]) if known else None,
            "bias": add([_bias(one)[at] for one, at in ordered])
            if known and any(one.bias is not None for one, _ in ordered)
            else None,
            "d_head": widths.pop() if known else 0,
        }
    return stacks, np.concatenate(parts).astype("<f4")


def _bias(one: AttentionMap) -> np.ndarray:
    return np.zeros_like(one.weights) if one.bias is None else one.bias


def _labels(tokens: Sequence[str]) -> list[dict[str, str]]:
    """Tokens as the axes write them: Chinese ones say so, and have their pinyin."""
    chinese = {token for token in tokens if re.search(f"[{HAN}]", token)}
    if not chinese:
        return [{"text": token} for token in tokens]
    from attention_decoded.data.lexicon import table  # slow to import, and only Chinese needs it

    bare = {token: token.strip("▁Ġ ") for token in chinese}
    pinyin = table(set(bare.values()))
    return [
        {"text": token, "lang": "zh-Hans", "sub": pinyin[bare[token]][0]} if token in chinese else {"text": token}
        for token in tokens
    ]


def _silence(maps: Sequence[AttentionMap]) -> str:
    """A sentence on rows of zeros, if there are any."""
    count = sum(len(one.silent) for one in maps)
    rows = "One row sums" if count == 1 else f"{count:,} rows sum"
    return f"{rows} to 0, not to 1: that query may look nowhere." if count else ""


def _sides(
    kind: str, source: Sequence[str], target: Sequence[str] | None, name: str, *, single: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """The tokens of the queries and of the keys; a `single` stack has one text, and looks at itself."""
    if kind == "encoder-self" or (single and target is None):
        return source, source
    if target is None:
        raise ValueError(f"{name} is of a decoder: give target_tokens, the tokens that were fed to it")
    return target, (target if kind == "decoder-self" else source)


def _item(batch: Any, item: int, name: str) -> Any:
    """One item of [batch, head, …]."""
    if len(batch.shape) != 4:
        raise ValueError(f"{name} has shape {tuple(batch.shape)}, but should be [batch, head, query, key or d_head]")
    if not 0 <= item < batch.shape[0]:
        raise ValueError(f"item={item}: the batch has {batch.shape[0]}, which count from 0")
    return batch[item]


def _tokens(tokens: Any, name: str) -> tuple[str, ...]:
    if isinstance(tokens, str):
        raise TypeError(f"{name}={tokens!r} is one text: give a list of tokens")
    listed = tuple(tokens)
    wrong = next((token for token in listed if not isinstance(token, str)), None)
    if wrong is not None:
        raise TypeError(f"{name} holds {wrong!r}, which is no text")
    return listed


def _maybe(values: Any, name: str) -> np.ndarray | None:
    return None if values is None else _numbers(values, name)


def _number(value: Any, name: str) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"{name}={value!r}: {name}s count from 0; None where `weights` has an axis of them")
    return number


def _numbers(values: Any, name: str) -> np.ndarray:
    """A read-only copy in float32, of an array, a list, or a tensor of PyTorch (which may need gradients)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    try:
        array = np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of numbers: {error}") from None
    if not np.isfinite(array).all():
        at = _first(~np.isfinite(array))
        raise ValueError(f"{name}{list(at)} = {array[at]} is not a finite number")
    array.setflags(write=False)
    return array


def _first(wrong: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, np.argwhere(wrong)[0]))


def _lead(one: AttentionMap) -> tuple[int, int]:
    """How many layers and heads there are in the leading axes; 1 where an axis is absent."""
    lead = list(one.weights.shape[:-2])
    n_layers = lead.pop(0) if one.layer is None else 1
    return n_layers, lead.pop(0) if one.head is None else 1


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
