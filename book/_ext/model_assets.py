"""The models that run in the page, with what their tokens mean: `_static/models/<name>/`.

Beside the shipped files lie two that are made from installed packages at build time, since
third-party data is never committed: `lexicon.json` (pinyin and gloss of each Chinese token) and
`t2s.json` (traditional → simplified, character by character, for typed text). Each file has a
`.js` twin for pages opened from a folder, where a browser forbids `fetch`.
"""

import base64
import json
import shutil
from pathlib import Path

from book_build import CACHE, PACKAGE, hash_files, write_if_changed
from vendored_assets import STATIC

WEIGHTS = PACKAGE / "weights"
ON_PAGES = ("masked-lm", "translator")
"""The models that some page runs; the others wait for their chapters, and no reader need fetch them."""
CHINESE = ("tokenizer.json", "source.tokenizer.json")
"""The tokenizer of the language that a model reads: it has one of these."""
_LOADED = ("model.safetensors", *CHINESE, "target.tokenizer.json", "lexicon.json", "t2s.json")
_EARLY = {"masked-lm"}
"""The models that are fetched before their figure's code has arrived; a large one waits until its figure is in view."""


def script_twin(name: str, content: bytes) -> str:
    """A classic script that hands over the bytes of `name`."""
    return f"globalThis.__adAsset({json.dumps(name)}, {json.dumps(base64.b64encode(content).decode())});\n"


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def glosses(tokenizer: Path) -> bytes:
    """`lexicon.json` for a tokenizer's vocabulary; kept from the last build while nothing it depends on changes."""
    from attention_decoded.data import lexicon

    cached = CACHE / "lexicon" / f"{hash_files([tokenizer, *Path(lexicon.__file__).parent.glob('*.py')])}.json"
    if not cached.is_file():
        write_if_changed(cached, compact(lexicon.table(_vocabulary(tokenizer))))
    return cached.read_bytes()


def simplification() -> bytes:
    """`t2s.json`, kept like the glosses."""
    from attention_decoded.data import normalize

    cached = CACHE / "lexicon" / f"t2s-{hash_files([Path(normalize.__file__)])}.json"
    if not cached.is_file():
        write_if_changed(cached, compact(normalize.simplified_characters()))
    return cached.read_bytes()


def _vocabulary(tokenizer: Path) -> list[str]:
    return list(json.loads(tokenizer.read_text("utf-8"))["model"]["vocab"])


def vocabulary_characters() -> set[str]:
    """Every character that a model of the book can read or write: what a reader may type."""
    return {character for file in chinese_tokenizers() for token in _vocabulary(file) for character in token}


def chinese_tokenizers() -> list[Path]:
    """The tokenizers of what is read, of all models."""
    return [file for name in CHINESE for file in sorted(WEIGHTS.glob(f"*/{name}"))]


def publish() -> None:
    """Put the files of the models on pages, and their twins, where Sphinx copies them from."""
    for folder in (STATIC / "models").glob("*"):
        if folder.name not in ON_PAGES:
            shutil.rmtree(folder)  # left by an earlier build
    for folder in (WEIGHTS / name for name in ON_PAGES):
        content = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        for tokenizer in CHINESE:
            if tokenizer in content:
                content["lexicon.json"] = glosses(folder / tokenizer)
                content["t2s.json"] = simplification()
        for name, data in content.items():
            target = STATIC / "models" / folder.name / name
            write_if_changed(target, data)
            if name in _LOADED:
                write_if_changed(target.with_name(f"{name}.js"), script_twin(f"{folder.name}/{name}", data))


def loaded_files(address: str) -> list[str]:
    """What a widget with this `assets_url` loads as soon as it is shown, as paths in the site."""
    folder = STATIC / address.removeprefix("_static/")
    if folder.name not in _EARLY:
        return []
    return [f"{address}{name}" for name in _LOADED if (folder / name).is_file()]


def _publish(app) -> None:
    publish()


def setup(app):
    app.connect("builder-inited", _publish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
