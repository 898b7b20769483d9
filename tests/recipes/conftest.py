"""What the recipes' tests share: a corpus small enough to train on within a second or two."""

from pathlib import Path

import pytest
from toy_language import ROWS


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.tsv"
    path.write_text("\n".join(ROWS), encoding="utf-8")
    return path
