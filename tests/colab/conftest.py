"""Colab's versions in an environment of their own, and the package as a reader would install it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CONSTRAINTS = ROOT / "constraints" / "colab.txt"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package built from this checkout, as `pip install git+…` would build it."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def colab_python() -> str:
    """The Python of .venv-colab."""
    folder = ROOT / ".venv-colab"
    if not (folder / ".set-up").is_file():
        pytest.skip("Colab's versions are not set up: make colab (needs the package index)")
    return str(next(folder.glob("bin/python")))


@pytest.fixture
def colab(colab_python: str) -> str:
    """The same without our package, so that whoever needs it has to bring it."""
    subprocess.run([colab_python, "-m", "pip", "uninstall", "--yes", "--quiet", "attention-decoded"], check=True)
    return colab_python
