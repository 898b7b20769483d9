"""The book's extensions are plain modules in book/_ext; Sphinx puts that folder on the path, and so do these tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
sys.path.append(str(EXTENSIONS))


@pytest.fixture
def tiny_book(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Build a book of one page with some of our extensions; gives the finished process, the site lies in `out`."""

    def build(page: str, *extensions: str, **settings: str) -> subprocess.CompletedProcess:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / "index.md").write_text(page, "utf-8")
        values = {
            "extensions": ",".join(["myst_nb", *extensions]),
            "nb_execution_mode": "force",
            "language": "en",
            **settings,
        }
        options = [part for key, value in values.items() for part in ("-D", f"{key}={value}")]
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "-b",
            "html",
            "-C",
            "-q",
            *options,
            str(source),
            str(tmp_path / "out"),
        ]
        environment = os.environ | {"PYTHONPATH": str(EXTENSIONS), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return build
