"""What every test has: shapes checked on each call, fixed seeds, and the built site for whoever asks."""

import os
import random
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

# The tests' models are so small that two threads of one product wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before anything imports the package: its annotated shapes and types are checked on every call.
if loaded := [name for name in sys.modules if name.startswith("attention_decoded")]:
    raise RuntimeError(f"imported before the shape checks could be installed: {loaded}")
jaxtyping.install_import_hook("attention_decoded", "beartype.beartype")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def site(root: Path) -> Path:
    """The built site, current with its sources: built once if it is missing or stale."""
    result = subprocess.run([sys.executable, root / ".ci" / "book.py", "build"], capture_output=True, text=True)
    if result.returncode:
        pytest.fail(f"the book does not build:\n{(result.stdout + result.stderr)[-6000:]}", pytrace=False)
    return root / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site: Path) -> list[str]:
    """Every page a reader can open, as its path in the site: those that carry a document."""
    found = [path.relative_to(site) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return [path.as_posix() for path in found]
