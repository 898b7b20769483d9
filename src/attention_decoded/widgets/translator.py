"""The live translator (cover, chapter 12): type Chinese, watch it become English, cut a connection, see the change."""

import dataclasses
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from traitlets import Dict, Enum, Float, Int, List, TraitError, Unicode, validate

from attention_decoded.surface import on_page
from attention_decoded.widgets.base import DIST
from attention_decoded.widgets.chinese import ChineseWidget, checkpoint_folder, examples_of, on_the_page, simplified
from attention_decoded.widgets.still import compute

EXAMPLES = {
    "他昨天没有去学校。": "he did not go to school yesterday",
    "这本书比那本书贵。": "this book is dearer than that book",
    "我花了三个小时。": "I spent three hours",
    "你想喝茶还是咖啡？": "would you like tea, or coffee?",
}
CHAPTER = "book/transformer/decoding-and-seeing.html"
SOURCE, TARGET = "source.tokenizer.json", "target.tokenizer.json"
STACKS = ("encoder", "decoder", "cross")
MODES = ("lines", "map", "model")
_VIEW = {"mode": "map", "stack": "cross", "layer": None, "head": None}
_RANGES = {"beam": (1, 8), "alpha": (0, 2), "temperature": (0.1, 3), "top_k": (0, 100), "seed": (0, 999_999)}
_STATE = ("sentence", "prefix", "search", "beam", "pruned", "alpha", "temperature", "top_k", "seed", "cuts", "view")


class Translator(ChineseWidget):
    """A Transformer that translates as you type, with everything it looks at.

    `model` is the name of a checkpoint of this package, the folder of another one, or your own trained
    `Transformer`; a model of your own needs its two `tokenizers`, the Chinese one first:

    >>> Translator(model, (source, target))

    `examples` are sentences to choose from, or a dict of sentences and what they mean.

    `form` is "calm" (the sentence pair alone) or "full" (every control). `search` is "greedy", "beam" (with
    `beam` beginnings and length penalty `alpha`) or "sample" (with `temperature`, `top_k`, 0 for all tokens,
    and `seed`). `prefix` lists the target tokens that the translation has to begin with, as the vocabulary
    writes them ("▁He"); `pruned` lists beginnings, behind the prefix, that beam search leaves out. `cuts`
    lists what may not look where, each a dict of the places it names, counted from 0:

        {"stack": "cross", "key": 4}                  no English token may look at Chinese token 4
        {"stack": "cross", "query": 2, "key": 4}      the token at place 2 may not
        {"stack": "decoder", "layer": 1, "head": 3}   this head is switched off
        {"positions": True}                           the model is not told the order of the words

    `view` is what the maps show: {"mode": "lines", "map" or "model", "stack": …, "layer": …, "head": …}, where
    None is the mean over all.

    Each of them is a synced trait: read it after the reader moved something, or set it. `translation`,
    `output_tokens` and `tokens` (of the sentence) can be read once the widget is shown.
    """

    _esm = DIST / "translator.js"
    _css = DIST / "translator.css"

    form = Enum(("calm", "full"), "full").tag(sync=True)
    prefix = List(Unicode()).tag(sync=True)
    pruned = List(List(Unicode())).tag(sync=True)
    search = Enum(("greedy", "beam", "sample"), "greedy").tag(sync=True)
    beam = Int(4).tag(sync=True)
    alpha = Float(1.0).tag(sync=True)
    temperature = Float(1.0).tag(sync=True)
    top_k = Int(0).tag(sync=True)
    seed = Int(1).tag(sync=True)
    cuts = List(Dict()).tag(sync=True)
    view = Dict().tag(sync=True)
    tokens = List(Unicode(), read_only=True).tag(sync=True)
    translation = Unicode(read_only=True).tag(sync=True)
    output_tokens = List(Unicode(), read_only=True).tag(sync=True)

    example = Dict().tag(sync=True)
    chapter_url = Unicode().tag(sync=True)
    source_tokenizer = Unicode().tag(sync=True)
    target_tokenizer = Unicode().tag(sync=True)

    def __init__(
        self,
        model: object = "translator",
        tokenizers: Sequence[Any] | None = None,
        *,
        sentence: str = next(iter(EXAMPLES)),
        examples: Sequence[str] | Mapping[str, str] = EXAMPLES,
        form: str = "full",
        prefix: Iterable[str] = (),
        pruned: Iterable[Sequence[str]] = (),
        search: str = "greedy",
        beam: int = 4,
        alpha: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        seed: int = 1,
        cuts: Iterable[Mapping[str, Any]] = (),
        view: Mapping[str, Any] | None = None,
        fallback: object = None,
    ):
        named = isinstance(model, str | Path)
        if named and tokenizers is not None:
            raise TypeError(f"model={str(model)!r} brings its own tokenizers: leave them out, or give a model itself")
        if not named and on_page():
            raise ValueError("a page of the book can only show a model of this package")
        self._folder = _folder(model) if isinstance(model, str | Path) else None
        self._first: dict[str, Any] | None = None
        equipment = _equipment(self._folder, on_page()) if self._folder else _own(model, tokenizers)
        super().__init__(
            sentence=sentence,
            **examples_of(examples),
            form=form,
            prefix=list(prefix),
            pruned=[list(path) for path in pruned],
            search=search,
            beam=beam,
            alpha=alpha,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            cuts=[dict(cut) for cut in cuts],
            view={**_VIEW, **(view or {})},
            fallback=fallback,
            **equipment,
        )
        if on_page():
            self.example = self._start()["example"]
            self.chapter_url = CHAPTER

    def _start(self) -> dict[str, Any]:
        """The first state as the page's own code computes it: its example, and the numbers of the still picture."""
        if self._first is None:
            from attention_decoded.data.lexicon import table  # slow to import, and a notebook's widget brings its own
            from attention_decoded.data.normalize import normalize_chinese

            folder = self._folder
            assert folder is not None  # a page has no other model
            text = normalize_chinese(self.sentence, simplify="characters")
            tokens = table(token for token in _vocabulary(folder / SOURCE) if token in text)
            state = {name: getattr(self, name) for name in _STATE}
            request = {"folder": str(folder), "t2s": simplified(), "lexicon": tokens, "state": state}
            self._first = compute({"widget": "translator", **request})
        if "problem" in self._first:
            raise ValueError(f"sentence={self.sentence!r}: {self._first['problem']}")
        return self._first

    def _still(self) -> str:
        # The lexicon and matplotlib: only while a page is built.
        from attention_decoded.data.lexicon import stacked
        from attention_decoded.plots.maps import attention_maps

        first = self._start()
        queries, keys = first["queries"], first["keys"]
        values = np.array(first["weights"]).reshape(len(queries), len(keys))
        looks = "; ".join(
            f"{query} looks most at {keys[key]}" for query, key in zip(queries, values.argmax(axis=1), strict=True)
        )
        alt = (
            f"「{self.sentence}」 becomes “{first['translation']}”. Cross-attention, mean of all heads and layers, "
            f"row = query (English), column = key (Chinese): {looks}."
        )
        below = [stacked(key) for key in keys]
        figure = attention_maps({"cross-attention, mean of all heads": values}, queries, below, alt=alt, limit=1.0)
        zh, en = html.escape(self.sentence), html.escape(first["translation"])
        pair = f'<p class="ad-still-text"><span lang="zh">{zh}</span> → <b lang="en">{en}</b></p>'
        return pair + figure._repr_mimebundle_()["text/html"]

    @validate(*_RANGES)
    def _in_range(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise TraitError(f"{name}={value} is not between {low} and {high}")
        return value

    @validate("prefix", "pruned")
    def _pieces(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        for piece in value if name == "prefix" else [piece for path in value for piece in path or [""]]:
            if not piece or re.search(r"\s", piece):
                raise TraitError(f"{name}={value}: {piece!r} is no token; the vocabulary writes ▁ for a space")
        return value

    @validate("cuts")
    def _all_cuts(self, proposal):
        return [_cut(cut) for cut in proposal["value"]]

    @validate("view")
    def _places(self, proposal):
        view = {**_VIEW, **proposal["value"]}
        if set(view) != set(_VIEW):
            raise TraitError(f"view={proposal['value']}: it has {', '.join(_VIEW)}")
        if view["mode"] not in MODES or view["stack"] not in STACKS:
            raise TraitError(
                f"view={proposal['value']}: mode is one of {', '.join(MODES)}, stack one of {', '.join(STACKS)}"
            )
        for name in ("layer", "head"):
            if view[name] is not None and not _counts(view[name]):
                raise TraitError(f"view={proposal['value']}: {name} counts from 0, or is None for the mean over all")
        return view


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _cut(cut: Mapping[str, Any]) -> dict[str, Any]:
    """A cut as the widget and the package's Python write it, or a TraitError that says what is wrong with it."""
    if cut == {"positions": True}:
        return dict(cut)
    places = {name: at for name, at in cut.items() if name != "stack" and at is not None}
    if cut.get("stack") not in STACKS or not set(places) <= {"layer", "head", "query", "key"}:
        raise TraitError(
            f"cuts: {dict(cut)} names no stack ({', '.join(STACKS)}) or a place other than layer, head, query, key"
        )
    for name, at in places.items():
        if not _counts(at):
            raise TraitError(f"cuts: {dict(cut)}: {name} counts from 0")
    return {"stack": cut["stack"], **places}


def _folder(model: str | Path) -> Path:
    way_out = (
        "The translator of this package is called 'translator'; its recipe, attention_decoded.recipes.translator,"
        " makes such folders"
    )
    return checkpoint_folder(model, ("model.safetensors", SOURCE, TARGET), way_out)


def _vocabulary(tokenizer: Path | str) -> list[str]:
    text = tokenizer.read_text(encoding="utf-8") if isinstance(tokenizer, Path) else tokenizer
    return list(json.loads(text)["model"]["vocab"])


@cache
def _equipment(folder: Path, page: bool) -> dict[str, object]:
    """What the browser needs: on a page the place of the files, in a notebook the files themselves."""
    if page:
        return on_the_page(folder)
    source, target = ((folder / name).read_text(encoding="utf-8") for name in (SOURCE, TARGET))
    return _carried((folder / "model.safetensors").read_bytes(), source, target)


def _carried(weights: bytes, source: str, target: str) -> dict[str, object]:
    from attention_decoded.data.lexicon import table  # slow to import, and a page does without

    return {
        "weights": weights,
        "source_tokenizer": source,
        "target_tokenizer": target,
        "lexicon": table(_vocabulary(source)),
        "t2s": simplified(),
    }


def _own(model: Any, tokenizers: Sequence[Any] | None) -> dict[str, object]:
    """A model of the reader's own, as the files of a checkpoint."""
    config = getattr(model, "config", None)
    sizes = {} if not dataclasses.is_dataclass(config) or isinstance(config, type) else dataclasses.asdict(config)
    if not {"n_source_vocab", "n_target_vocab"} <= set(sizes) or not hasattr(model, "state_dict"):
        raise TypeError(f"model={type(model).__name__}: give the name of a checkpoint, its folder, or a Transformer")
    if tokenizers is None or len(tokenizers) != 2 or not all(hasattr(one, "to_str") for one in tokenizers):
        raise TypeError("a model of your own needs tokenizers=(source, target): its Chinese and its English tokenizer")
    source, target = (one.to_str(pretty=False) for one in tokenizers)
    for side, text in (("source", source), ("target", target)):
        size, expected = len(_vocabulary(text)), sizes[f"n_{side}_vocab"]
        if size != expected:
            raise ValueError(f"the {side} tokenizer knows {size} tokens, the model {expected}: they do not fit")
    return _carried(_half_precision(model.state_dict(), sizes), source, target)


def _half_precision(state: Mapping[str, Any], config: Mapping[str, Any]) -> bytes:
    """The weights as a checkpoint has them: fp16 safetensors, the config in its metadata."""
    from safetensors.numpy import save

    full = {name: tensor.detach().cpu().float().numpy() for name, tensor in state.items()}
    with np.errstate(over="ignore"):  # what is lost is named below
        half = {name: np.ascontiguousarray(array.astype(np.float16)) for name, array in full.items()}
    if lost := [name for name, array in half.items() if not np.isfinite(array).all()]:
        raise ValueError(f"{', '.join(lost)} hold numbers beyond half precision (65,504) or NaN")
    return save(half, metadata={"config": json.dumps(dict(config))})
