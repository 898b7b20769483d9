"""Subwords: byte-pair merges over characters, for Chinese kept inside dictionary words.

The tokenizer file (Hugging Face `tokenizers` format) is read by Python and, unchanged, by the
page. To mirror it in JavaScript:

    1  pieces   all matches of PIECE in the normalised text: a stretch of Chinese characters, a stretch of
                ASCII letters, a stretch of ASCII digits, or one other character; white space is dropped.
                The very pattern stands in the file under pre_tokenizer.pattern.Regex: new RegExp(it, "gu")
    2  symbols  each piece is taken apart into characters (code points)
    3  merges   in each piece, again and again, the adjacent pair that stands earliest in model.merges
                (leftmost first among equals) becomes one symbol, until no pair of the piece is in the list
    4  ids      model.vocab[symbol]; a character that is not in it is <unk>

Chinese merges are *learned* from sentences cut into dictionary words, so every token is a word, a piece of one
or a character (我们 is a token, 们的 is none), and can carry its pinyin and its meaning.

English differs in step 1 alone, so that text comes back from its tokens: one "▁" is put before the text and in
the place of every space, and the pattern is ENGLISH_PIECE: a word with the ▁ before it, a single digit, or one
other character. To decode, join the tokens, turn every ▁ into a space and drop the one in front.
The file names this step (pre_tokenizer.pretokenizers[0].type is "Metaspace"); the pattern stands in the second.

Sources: Sennrich et al. (2016), arXiv:1508.07909v5 (byte-pair merges); Kudo and Richardson (2018),
arXiv:1808.06226v1 (the ▁); Provilkov et al. (2020), arXiv:1910.13267v2 (`sample`: dropped merges).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from attention_decoded.data.normalize import HAN
from attention_decoded.files import write_atomically

SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>", "<mask>")
"""Their positions are their ids, in every tokenizer of the book."""
PAD, UNK, BOS, EOS, MASK = range(5)

_HAN = HAN.encode().decode("unicode_escape")  # literal characters: every regex engine reads those alike
PIECE = rf"[{_HAN}]+|[A-Za-z]+|[0-9]+|\S"
SPACE_MARK = "▁"
ENGLISH_PIECE = "▁?[A-Za-zÀ-ɏ']+|▁?[0-9]|▁?[^▁\\s]|▁"


class TokenizerFileError(RuntimeError):
    """A tokenizer file is missing, cut short or not one of ours; the message names it and the way out."""


def cut_into_words(sentence: str, words: frozenset[str] | set[str], longest: int = 4) -> list[str]:
    """Pieces of the sentence; Chinese ones cut into the longest dictionary word that fits, left to right."""
    cut: list[str] = []
    for piece in re.findall(PIECE, sentence):
        while piece:
            n = next((n for n in range(min(longest, len(piece)), 1, -1) if piece[:n] in words), 1)
            if not re.match(f"[{_HAN}]", piece):
                n = len(piece)
            cut.append(piece[:n])
            piece = piece[n:]
    return cut


def train_tokenizer(
    sentences: Iterable[str], *, n_vocab: int = 4000, min_count: int = 3, words: frozenset[str] = frozenset()
) -> Tokenizer:
    """Learn a tokenizer from normalised sentences — of the training split only, and the test stays unseen.

    Characters seen fewer than `min_count` times become <unk>; the rest of the `n_vocab` entries
    are the most frequent merges inside `words` (without any, Chinese is cut into characters alone).
    The same sentences give the same file, byte for byte.
    """
    lines = [" ".join(cut_into_words(sentence, words)) for sentence in sentences]
    return _learn_merges(lines, pre_tokenizers.Split(Regex(PIECE), "removed", invert=True), n_vocab, min_count)


def train_english_tokenizer(sentences: Iterable[str], *, n_vocab: int = 4000, min_count: int = 3) -> Tokenizer:
    """The same for normalised English; merges stay inside words, and `decode` gives back the text.

    Raises ValueError when `n_vocab` has no room for the characters.
    """
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(SPACE_MARK, prepend_scheme="always", split=False),
            pre_tokenizers.Split(Regex(ENGLISH_PIECE), "removed", invert=True),
        ]
    )
    return _learn_merges(list(sentences), pieces, n_vocab, min_count)


def _learn_merges(lines: Sequence[str], pieces: pre_tokenizers.PreTokenizer, n_vocab: int, min_count: int) -> Tokenizer:
    counts = Counter(char for line in lines for piece, _ in pieces.pre_tokenize_str(line) for char in piece)
    alphabet = sorted(char for char, count in counts.items() if count >= min_count)
    if len(SPECIAL_TOKENS) + len(alphabet) > n_vocab:
        raise ValueError(
            f"n_vocab={n_vocab} is too small: {len(alphabet)} characters occur {min_count} times or more."
            " Raise n_vocab or min_count"
        )
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pieces
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path | str) -> None:
    """Write the tokenizer's file, whole or not at all."""
    write_atomically(Path(path), tokenizer.to_str(pretty=False).encode())


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Read a tokenizer's file. Raises TokenizerFileError if it is missing, cut short or not one of ours."""
    path = Path(path)
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TokenizerFileError(f"{path}: no such file. It is made together with its model, by a recipe") from error
    except Exception as error:  # tokenizers raises bare Exception for whatever it cannot parse
        raise TokenizerFileError(
            f"{path} is not a tokenizer (tokenizers {tokenizers.__version__} says: {error})."
            " It may be cut short: fetch it again, or run its recipe again"
        ) from error
    if [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] != list(range(len(SPECIAL_TOKENS))):
        raise TokenizerFileError(f"{path}: ids 0 to 4 are not {' '.join(SPECIAL_TOKENS)}. It is not one of this book's")
    return tokenizer


def encode(tokenizer: Tokenizer, sentences: Sequence[str]) -> Iterator[list[int]]:
    """The ids of each normalised sentence; no special token is added."""
    for encoding in tokenizer.encode_batch(list(sentences), add_special_tokens=False):
        yield encoding.ids


def tokens(tokenizer: Tokenizer, sentence: str) -> list[str]:
    """The tokens of one normalised sentence as text; an unknown character stands as itself, a lone ▁ as nothing."""
    encoding = tokenizer.encode(sentence, add_special_tokens=False)
    pairs = zip(encoding.tokens, encoding.offsets, strict=True)
    return ["" if token == SPACE_MARK else sentence[start:end] for token, (start, end) in pairs]


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of the ids, special tokens left out.

    English comes back with its spaces; Latin words inside Chinese, which a space divided, come out joined.
    """
    text = "".join(tokenizer.id_to_token(i) or "" for i in ids if i >= len(SPECIAL_TOKENS))
    return text.replace(SPACE_MARK, " ").removeprefix(" ")
