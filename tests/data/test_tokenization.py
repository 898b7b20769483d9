"""The tokenizer: fixed special ids, words not crossed, files whole, and a mirror simple enough for the page."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from attention_decoded.data.tokenization import (
    MASK,
    PAD,
    SPECIAL_TOKENS,
    UNK,
    TokenizerFileError,
    cut_into_words,
    decode,
    encode,
    load_tokenizer,
    save_tokenizer,
    tokens,
    train_tokenizer,
)

WORDS = frozenset({"我们", "喜欢", "银行", "喝茶"})
SENTENCES = [
    f"{who}{how}喜欢{what}{end}"
    for who in ("我们", "他", "Tom")
    for how in ("", "不", "也")
    for what in ("茶", "银行", "喝茶", "2023年")
    for end in ("。", "！")
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(SENTENCES, n_vocab=61, min_count=2, words=WORDS)


def test_special_tokens_have_their_ids(tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert (PAD, UNK, MASK) == (0, 1, 4)


def test_tokens_are_words_and_stay_inside_them(tokenizer) -> None:
    assert tokens(tokenizer, "我们喜欢喝茶。") == ["我们", "喜欢", "喝茶", "。"]
    merged = {token for token in tokenizer.get_vocab() if len(token) > 1 and re.match("[\u4e00-\u9fff]", token)}
    assert merged <= WORDS
    assert merged


def test_punctuation_stands_alone_and_latin_and_digits_apart(tokenizer) -> None:
    assert tokens(tokenizer, "Tom，2023年！！") == ["Tom", "，", "2023", "年", "！", "！"]


def test_unknown_character_is_unk_and_shown_as_itself(tokenizer) -> None:
    (ids,) = encode(tokenizer, ["我们喜欢龘。"])
    assert ids.count(UNK) == 1
    assert tokens(tokenizer, "我们喜欢龘。") == ["我们", "喜欢", "龘", "。"]


def test_decode_gives_back_what_encode_took(tokenizer) -> None:
    for sentence, ids in zip(SENTENCES, encode(tokenizer, SENTENCES), strict=True):
        assert decode(tokenizer, ids) == sentence
        assert decode(tokenizer, [PAD, *ids, MASK]) == sentence


def test_same_sentences_same_bytes() -> None:
    one, other = (train_tokenizer(SENTENCES, n_vocab=61, min_count=2, words=WORDS).to_str() for _ in range(2))
    assert one == other


def test_without_words_chinese_is_cut_into_characters() -> None:
    bare = train_tokenizer(SENTENCES, n_vocab=61, min_count=2)
    assert tokens(bare, "我们喜欢喝茶。") == list("我们喜欢喝茶。")


def test_words_are_cut_longest_first() -> None:
    words = {"图书", "图书馆", "书馆", "馆长"}
    assert cut_into_words("图书馆长，图书 ok99！", words) == ["图书馆", "长", "，", "图书", "ok", "99", "！"]


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"n_vocab=11 is too small: .* Raise n_vocab or min_count"):
        train_tokenizer(SENTENCES, n_vocab=11, min_count=1)


def mirror(file: dict, sentence: str) -> list[int]:
    """The algorithm of the module's head, from the file alone, as the page runs it."""
    vocab = file["model"]["vocab"]
    rank = {tuple(pair): n for n, pair in enumerate(file["model"]["merges"])}
    ids = []
    for piece in re.findall(file["pre_tokenizer"]["pattern"]["Regex"], sentence):
        symbols = list(piece)
        while len(symbols) > 1:
            pairs = [rank.get(pair, len(rank)) for pair in pairwise(symbols)]
            best = min(pairs)
            if best == len(rank):
                break
            at = pairs.index(best)
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        ids += [vocab.get(symbol, vocab["<unk>"]) for symbol in symbols]
    return ids


def test_the_mirror_agrees_on_the_shipped_tokenizer(root: Path) -> None:
    """What the page does equals what Python does, on sentences with unknown, rare and mixed characters."""
    path = root / "src/attention_decoded/weights/masked-lm/tokenizer.json"
    tokenizer, file = load_tokenizer(path), json.loads(path.read_text("utf-8"))
    sentences = [
        "美女，加个微信吧。", "美女，麻烦让一下。", "我们的朋友Tom在银行工作了20年！", "龘龘不会打网球？",
        "a1b2：「好」",
        "他们为什么不喜欢喝咖啡呢…", "今天下午三点半在图书馆门口见面，好不好？", "éß☕𠮷野家", "",
    ]  # fmt: skip
    for sentence, ids in zip(sentences, encode(tokenizer, sentences), strict=True):
        assert mirror(file, sentence) == ids


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path / "deep" / "tokenizer.json")
    again = load_tokenizer(tmp_path / "deep" / "tokenizer.json")
    assert list(encode(again, SENTENCES)) == list(encode(tokenizer, SENTENCES))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["tokenizer.json"]  # no half-written neighbour


def test_cut_short_file_is_named(tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(tokenizer, path)
    path.write_bytes(path.read_bytes()[:-101])
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.json is not a tokenizer .* run its recipe again"):
        load_tokenizer(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerFileError, match=r"nowhere\.json: no such file"):
        load_tokenizer(tmp_path / "nowhere.json")


def test_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    path.write_text(Tokenizer(models.BPE()).to_str(), encoding="utf-8")
    with pytest.raises(TokenizerFileError, match="ids 0 to 4 are not <pad> <unk> <bos> <eos> <mask>"):
        load_tokenizer(path)
