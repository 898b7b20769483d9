"""Text in both languages: what the page normalises, cuts into tokens and puts together again is what Python does."""

import json
import random
import unicodedata
from pathlib import Path

import pytest
from mirror import javascript

from attention_decoded.checkpoints import SHIPPED
from attention_decoded.data.normalize import normalize_chinese, normalize_english, simplified_characters
from attention_decoded.data.pairs import Splits, load_splits
from attention_decoded.data.tokenization import (
    decode,
    encode,
    load_tokenizer,
    save_tokenizer,
    tokens,
    train_english_tokenizer,
)

HOSTILE = [
    *(
        "",
        " ",
        "\u3000\t\n",
        "😀😀我👩‍👩‍👧‍👦",
        "\ufeff我們\u200b說",
        "\u202e我\u0000们\x7f",
        "ﬁ½①㍿㌀",
        "e\u0301é한국어カﾞ",
    ),
    *("constructor __proto__ toString", "<mask>我<pad>", "我<mask>的<unk><ma", "a" * 5000, "我们" * 2500, "龘" * 50),
    *("，。！？" * 30, "3,000:30 3, 000 10:30,", "A.B.C. 3.14. 好.", "......。。。…⋯⋯", '"我"说"好"""', "「『』」─—"),
    *("乾坤著名看著甚麼", "𠀀𪚥㐀我", "Tom  Smith，我 叫 Tom ．", "“ 我 ” ！", "100%的a1b2c3", "א ב שלום"),
    *("\u180e\u2028\u2029\u205f我", "\U0001f1e8\U0001f1f3中"),
    *(
        "  two  spaces ",
        "▁",
        "▁▁a",
        "_▁ ▁_",
        "don't, 'tis",
        "naïve Ünïcödé ǅ",
        "<eos> a<eos>b <eos>",
        "<b>1 < 2 & 3</b>",
    ),
    *("I " * 1500, "'" * 40, "1234567890", "a\tb\nc\x85d\u180ee", "ɏɐ À¿×÷"),
]
ALPHABETS = [
    "我你他们們說说的了不在是有這这個个乾著看甚么麼花钱錢",
    ",.!?:;()，。！？：；（）…⋯\"'「」『』“”",
    "abcXYZ0189ＡＢ１２",
    " \t\n\u3000\u200b\u00ad\ufeff",
    "😀👍é̈ßñ<>&%$#@",
    "龘𠀀㐀豈▁",
]
LONE = ["\ud83d", "我\udc00们\ud83d", "\udfff\ud800。", "a \ud83d b", "\ud83d😀"]
"""Halves of surrogate pairs: JavaScript's strings can hold them, Python's tokenizer cannot even be asked."""


def mixtures() -> list[str]:
    """Hostile strings, and random ones from alphabets that do not go together; the same in every run."""
    draw = random.Random(7)
    strings = ["".join(draw.choice(draw.choice(ALPHABETS)) for _ in range(draw.randrange(1, 40))) for _ in range(1500)]
    points = [chr(code) for code in range(0x20, 0x30000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    return HOSTILE + strings + ["".join(draw.choices(points, k=12)) for _ in range(1000)]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits()


@pytest.fixture(scope="module")
def corpora(splits: Splits) -> dict[str, list[str]]:
    """5,000 sentences of each language."""
    pairs = [*splits.test, *splits.validation, *splits.train][:5000]
    return {"zh": [pair.zh for pair in pairs], "en": [pair.en for pair in pairs]}


@pytest.fixture(scope="module")
def english(splits: Splits, tmp_path_factory) -> Path:
    """An English tokenizer of a size that leaves words in pieces."""
    file = tmp_path_factory.mktemp("tokenizers") / "tokenizer.json"
    save_tokenizer(train_english_tokenizer([pair.en for pair in splits.train[:6000]], n_vocab=1499), file)
    return file


def marks_words(file: Path) -> bool:
    """Whether a tokenizer's file is an English one."""
    return json.loads(file.read_text("utf-8"))["pre_tokenizer"]["type"] == "Sequence"


TOKENIZERS = sorted(path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*tokenizer.json"))
"""Those of the shipped checkpoints; "english" stands for the one made above."""


@pytest.mark.parametrize("language", ["zh", "en"])
def test_normalisation_is_the_same_in_both_languages(language: str, corpora: dict[str, list[str]]) -> None:
    texts = [*mixtures(), *corpora[language][:500], *LONE]
    if language == "zh":
        answers = javascript("normalize", texts=texts, table=simplified_characters())
        expected = [normalize_chinese(text, simplify="characters") for text in texts]
    else:
        answers = javascript("normalizeEnglish", texts=texts)
        expected = [normalize_english(text) for text in texts]
    different = [case for case in zip(texts, expected, answers, strict=True) if case[1] != case[2]]
    assert not different, f"{len(different)} differ, first: {different[0]!r}"


@pytest.mark.parametrize("name", ["english", *TOKENIZERS])
def test_tokens_are_the_same_in_both_languages(name: str, english: Path, corpora: dict[str, list[str]]) -> None:
    file = english if name == "english" else SHIPPED / name
    tokenizer, marked = load_tokenizer(file), marks_words(file)
    normal = [
        normalize_english(text) if marked else normalize_chinese(text, simplify="characters") for text in mixtures()
    ]
    texts = [*corpora["en" if marked else "zh"], *normal, *mixtures()[:1000]]  # also as typed, unnormalised
    assert len(corpora["en"]) == len(corpora["zh"]) == 5000
    answers = javascript("tokenize", file=str(file), texts=texts)
    for i, (text, python, answer) in enumerate(zip(texts, encode(tokenizer, texts), answers, strict=True)):
        assert [token["id"] for token in answer] == python, repr(text)
        if not marked:
            assert [token["text"] for token in answer] == tokens(tokenizer, text), repr(text)
        elif i < 5000 + len(normal):  # in normal English nothing is dropped, so that its tokens are the text
            assert "".join(token["text"] for token in answer) == text, repr(text)


@pytest.mark.parametrize("name", ["english", *TOKENIZERS])
def test_text_comes_back_the_same_in_both_languages(name: str, english: Path, corpora: dict[str, list[str]]) -> None:
    file = english if name == "english" else SHIPPED / name
    tokenizer, size, draw = load_tokenizer(file), load_tokenizer(file).get_vocab_size(), random.Random(5)
    sentences = corpora["en" if marks_words(file) else "zh"]
    ids = [*encode(tokenizer, [*sentences, *mixtures()])]
    ids += [draw.choices(range(size + 3), k=draw.randrange(9)) for _ in range(1000)]  # any order, some beyond the end
    answers = javascript("detokenize", file=str(file), texts=ids)
    assert answers == [decode(tokenizer, row) for row in ids]
    if marks_words(file):
        whole = [i for i, row in enumerate(ids[:5000]) if 1 not in row]
        assert len(whole) > 4900
        assert [answers[i] for i in whole] == [sentences[i] for i in whole]


@pytest.mark.parametrize("name", ["english", *TOKENIZERS])
def test_half_a_surrogate_pair_is_read_as_the_replacement_character(name: str, english: Path) -> None:
    """Python's tokenizer cannot even be asked; the page must survive it, and reads an unknown character."""
    file = english if name == "english" else SHIPPED / name
    replaced = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in LONE]
    assert all("\ufffd" in text for text in replaced)
    answers = javascript("tokenize", file=str(file), texts=LONE)
    python = [*encode(load_tokenizer(file), replaced)]
    assert [[token["id"] for token in answer] for answer in answers] == python
    assert all(1 in ids for ids in python)
