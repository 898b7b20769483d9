"""What the widgets that read Chinese with a model share: the sentence, the examples, and what the browser needs."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from traitlets import Bytes, Dict, List, TraitError, Unicode, validate

from attention_decoded.data.normalize import HAN
from attention_decoded.surface import on_page
from attention_decoded.widgets.base import BookWidget

SHIPPED = Path(__file__).parent.parent / "weights"


class ChineseWidget(BookWidget):
    """A widget with a Chinese `sentence`, `examples` to choose from, and a model that runs in the browser.

    Those who do not read Chinese choose by the examples' `meanings`, sentence by sentence.

    On a page the browser fetches the model's files from `assets_url`; in a notebook the traits carry them:
    the `weights`, the `lexicon` (pinyin and gloss by token) and `t2s` (traditional → simplified).
    """

    sentence = Unicode().tag(sync=True)
    examples = List(Unicode()).tag(sync=True)
    meanings = Dict(value_trait=Unicode(), key_trait=Unicode()).tag(sync=True)

    assets_url = Unicode().tag(sync=True)
    weights = Bytes().tag(sync=True)
    lexicon = Dict().tag(sync=True)
    t2s = Dict().tag(sync=True)

    @validate("sentence")
    def _readable(self, proposal):
        return _chinese(proposal["value"], "sentence")

    @validate("examples")
    def _all_readable(self, proposal):
        return [_chinese(text, "every example") for text in proposal["value"]]


def examples_of(examples: Sequence[str] | Mapping[str, str]) -> dict[str, object]:
    """The traits of examples given as sentences, or as sentences with what they mean."""
    return {"examples": list(examples), "meanings": dict(examples) if isinstance(examples, Mapping) else {}}


def _chinese(text: str, what: str) -> str:
    if not re.search(f"[{HAN}]", unicodedata.normalize("NFKC", text)):
        raise TraitError(f"{what} must hold Chinese characters: {text!r} has none, and this model reads Chinese only")
    return text


def checkpoint_folder(model: str | Path, files: Iterable[str], way_out: str) -> Path:
    """Where the checkpoint lies that `model` names: one of this package's, or a folder.

    Raises FileNotFoundError, closing with the `way_out`, where one of its `files` is missing, and ValueError for a
    page that would show a folder of the reader's own.
    """
    folder = SHIPPED / model if isinstance(model, str) and (SHIPPED / model).is_dir() else Path(model)
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}. {way_out}")
    if on_page() and folder.parent != SHIPPED:
        raise ValueError(f"{folder}: a page of the book can only show a model of this package")
    return folder


def on_the_page(folder: Path) -> dict[str, object]:
    """The equipment of a widget on a page: the place of the checkpoint's files."""
    return {"assets_url": f"_static/models/{folder.name}/"}


def simplified() -> dict[str, str]:
    """Traditional → simplified: other people's data, so it is made anew and never shipped."""
    from attention_decoded.data.normalize import simplified_characters

    return simplified_characters()
