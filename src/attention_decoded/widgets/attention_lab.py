"""The attention laboratory (chapter 7): type a Chinese sentence, see who looks at whom, change it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from traitlets import Bool, Enum, Float, Int, List, TraitError, Tuple, Unicode, validate

from attention_decoded.surface import on_page
from attention_decoded.widgets.base import DIST
from attention_decoded.widgets.chinese import (
    SHIPPED,
    ChineseWidget,
    checkpoint_folder,
    examples_of,
    on_the_page,
    simplified,
)  # fmt: skip
from attention_decoded.widgets.still import compute

EXAMPLES = {
    "我想喝一杯热咖啡。": "I would like a cup of hot coffee",
    "他昨天没有去学校。": "he did not go to school yesterday",
    "这本书比那本书贵。": "this book is dearer than that book",
}
MATRICES = ("two", "one", "none")
SCOPES = ("head", "layer", "all")


class AttentionLab(ChineseWidget):
    """A live map of one attention head on a sentence that the reader can type.

    What you look at: `layer` and `head` count from 0, as in code (the widget writes them from 1);
    `show` is "weights" or "scores".

    What you change: `scale` (0 to 4) multiplies 1/√d_head, `temperature` (1/8 to 8) divides the scores,
    `causal` forbids looking ahead, `matrices` is "two" (as trained), "one" (the query matrix makes the
    keys too) or "none" (Q = K = V = X), and `cuts` lists (query, key) pairs that may not look. `scope` says
    where this applies: to the "head" on show, its "layer", or "all" of them. `hidden` lists the
    positions that the model sees as <mask>.

    Every one of them is a synced trait: read it after the reader moved something, or set it.
    `look` is the (query, key) pair in focus at first; without one, the strongest look.
    `examples` are sentences to choose from, or a dict of sentences and what they mean.
    `tokens` holds the tokens of the sentence once the widget is shown. `model` is the name of a
    checkpoint of this package, or (in a notebook) the folder of another one.
    """

    _esm = DIST / "attention_lab.js"
    _css = DIST / "attention_lab.css"

    layer = Int(0).tag(sync=True)
    head = Int(0).tag(sync=True)
    show = Enum(("weights", "scores"), "weights").tag(sync=True)
    scale = Float(1.0).tag(sync=True)
    temperature = Float(1.0).tag(sync=True)
    causal = Bool(False).tag(sync=True)
    matrices = Enum(MATRICES, "two").tag(sync=True)
    scope = Enum(SCOPES, "all").tag(sync=True)
    cuts = List(Tuple(Int(), Int())).tag(sync=True)
    hidden = List(Int()).tag(sync=True)
    look = List(Int()).tag(sync=True)
    tokens = List(Unicode()).tag(sync=True)

    tokenizer = Unicode().tag(sync=True)

    def __init__(
        self,
        sentence: str = next(iter(EXAMPLES)),
        *,
        examples: Sequence[str] | Mapping[str, str] = EXAMPLES,
        layer: int = 0,
        head: int = 0,
        show: str = "weights",
        scale: float = 1.0,
        temperature: float = 1.0,
        causal: bool = False,
        matrices: str = "two",
        scope: str = "all",
        cuts: Iterable[tuple[int, int]] = (),
        hidden: Iterable[int] = (),
        look: Sequence[int] = (),
        model: str | Path = "masked-lm",
        fallback: object = None,
    ):
        self._folder = folder = _folder(model)
        self._sizes = _sizes(folder)
        super().__init__(
            sentence=sentence,
            **examples_of(examples),
            layer=layer,
            head=head,
            show=show,
            scale=scale,
            temperature=temperature,
            causal=causal,
            matrices=matrices,
            scope=scope,
            cuts=[tuple(cut) for cut in cuts],
            hidden=list(hidden),
            look=list(look),
            fallback=fallback,
            **_equipment(folder, on_page()),
        )

    def _still(self) -> object:
        # The lexicon and matplotlib: only while a page is built.
        from attention_decoded.data.lexicon import stacked
        from attention_decoded.plots.maps import attention_maps

        names = ("scale", "temperature", "causal", "matrices", "scope", "cuts", "hidden")
        first = compute(
            {
                "widget": "attention_lab",
                "folder": str(self._folder),
                "t2s": simplified(),
                "changes": {name: getattr(self, name) for name in names},
                **{name: getattr(self, name) for name in ("sentence", "layer", "head", "show")},
            }
        )
        if "problem" in first:
            raise ValueError(f"sentence={self.sentence!r}: {first['problem']}")
        tokens = first["tokens"]
        values = np.array(first["values"]).reshape(len(tokens), len(tokens))
        where = f"layer {self.layer + 1}, head {self.head + 1}"
        top = values.argmax(axis=1)
        looks = "; ".join(f"{token} looks most at {tokens[key]}" for token, key in zip(tokens, top, strict=True))
        alt = f"Attention {self.show} of {where} in 「{self.sentence}」, row = query, column = key: {looks}."
        below = [stacked(token) for token in tokens]
        limit = 1.0 if self.show == "weights" else None
        return attention_maps({f"{self.show}, {where}": values}, tokens, below, alt=alt, limit=limit)

    @validate("layer", "head")
    def _exists(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        count = self._sizes[f"n_{name}s"]
        if not 0 <= value < count:
            raise TraitError(f"{name}={value}: this model's {name}s count from 0 to {count - 1}")
        return value

    @validate("scale", "temperature")
    def _in_range(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        low, high = (0, 4) if name == "scale" else (1 / 8, 8)
        if not low <= value <= high:
            raise TraitError(f"{name}={value} is not between {low:g} and {high:g}")
        return value

    @validate("look")
    def _one_cell(self, proposal):
        if len(proposal["value"]) not in (0, 2) or any(position < 0 for position in proposal["value"]):
            raise TraitError(f"look={proposal['value']}: give one query and one key, counted from 0, or nothing")
        return proposal["value"]

    @validate("cuts", "hidden")
    def _positions(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        flat = [position for item in value for position in (item if isinstance(item, tuple) else (item,))]
        if any(position < 0 for position in flat):
            raise TraitError(f"{name}={value}: positions in the sentence count from 0")
        return value


def _folder(model: str | Path) -> Path:
    names = ", ".join(sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())) or "none"
    files = ("model.safetensors", "tokenizer.json", "card.json")
    return checkpoint_folder(model, files, f"Models of this package: {names}")


def _sizes(folder: Path) -> dict[str, int]:
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))["config"]


@cache
def _equipment(folder: Path, page: bool) -> dict[str, object]:
    """What the browser needs: on a page the place of the files, in a notebook the files themselves."""
    if page:
        return on_the_page(folder)
    from attention_decoded.data.lexicon import table  # slow to import, and a page does without

    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "tokenizer": tokenizer,
        "lexicon": table(json.loads(tokenizer)["model"]["vocab"]),
        "t2s": simplified(),
    }
