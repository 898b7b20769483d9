"""Pinyin and glosses: right reading, plain sense, short enough to stand under a token."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from attention_decoded.data import lexicon
from attention_decoded.data.sources import MissingPackageError
from attention_decoded.data.tokenization import load_tokenizer


@pytest.mark.parametrize(
    ("token", "pinyin", "gloss"),
    [
        ("银行", "yínháng", "bank"),
        ("女孩", "nǚhái", "girl"),
        ("绿", "lǜ", "green"),
        ("这儿", "zhèr", "here"),
        ("女儿", "nǚ’ér", "daughter"),
        ("喜欢", "xǐhuan", "like"),
        ("熊", "xióng", "bear"),  # not "surname Xiong"
        ("富士山", "Fùshìshān", "Mt. Fuji, Japan"),
        ("后", "hòu", "after; behind"),  # the dictionary begins with "empress"
        ("美女", "měinǚ", "beautiful woman"),
        ("龘龘", "dádá", lexicon.PART),
        ("Tom", "", ""),
        ("，", "", ""),
    ],
)
def test_entry(token: str, pinyin: str, gloss: str) -> None:
    assert lexicon.entry(token) == (pinyin, gloss)


@pytest.mark.parametrize(
    ("token", "label"),
    [("学校", "学校\nxué\nxiào"), ("银行", "银行\nyínháng"), ("。", "。"), ("Tom", "Tom"), ("", "")],
)
def test_pinyin_stands_under_each_character_unless_the_word_sounds_otherwise(token: str, label: str) -> None:
    assert lexicon.stacked(token) == label


@pytest.mark.parametrize(
    ("numbered", "marks"),
    [("gui4", "guì"), ("liu2", "liú"), ("nu:3", "nǚ"), ("Xi1 an1", "Xī’ān"), ("dou5", "dou"), ("r5", "r"),
     ("xiong2", "xióng"), ("yue4", "yuè"), ("Bei3 jing1", "Běijīng")],
)  # fmt: skip
def test_tone_marks(numbered: str, marks: str) -> None:
    assert lexicon.marked(numbered) == marks


@pytest.mark.parametrize(
    ("sense", "short"),
    [
        ("to run", "run"),
        ("bank (financial institution)", "bank"),
        ("(literary)", "literary"),
        ("to be happy", "happy"),
        ("to place upside down; to invert; to turn over", "place upside down"),
        ("a word whose explanation never seems to end", "a word whose explanation"[:23].rsplit(" ", 1)[0] + "…"),
    ],
)
def test_senses_are_cut_at_words(sense: str, short: str) -> None:
    assert lexicon.shorten(sense) == short
    assert len(short) <= lexicon.GLOSS_LENGTH


def test_every_token_of_the_shipped_vocabulary_is_explained(root: Path) -> None:
    tokenizer = load_tokenizer(root / "src/attention_decoded/weights/masked-lm/tokenizer.json")
    table = lexicon.table(tokenizer.get_vocab())
    assert len(table) > 3500
    for token, (pinyin, gloss) in table.items():
        assert pinyin, token
        assert 0 < len(gloss) <= lexicon.GLOSS_LENGTH, (token, gloss)
        assert not any("\u4e00" <= char <= "\u9fff" for char in pinyin + gloss), token
        assert not gloss.startswith(("surname ", "variant of", "see ", "CL:")), (token, gloss)
    assert sum(gloss == lexicon.PART for _, gloss in table.values()) < 50


def test_words_hold_no_phrase_that_hides_a_word() -> None:
    words = lexicon.words()
    assert {"银行", "美女", "图书馆"} <= words
    assert not words & lexicon.PHRASES


def test_missing_reader_of_pinyin_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'pypinyin>="):
        lexicon.entry("银行")


def test_missing_dictionary_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", nothing)
    with pytest.raises(MissingPackageError, match=r"CC-CEDICT.*'hsg'"):
        lexicon.entries.__wrapped__()
