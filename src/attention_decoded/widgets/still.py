"""Still pictures of the widgets' first states, for a page before its JavaScript has run, or without it.

The numbers come from the widgets' own JavaScript, run by Node while the book is built: no second
implementation that could differ from what the page then shows. Readers and notebooks never need it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from attention_decoded.widgets.base import DIST


def compute(request: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a widget's first state (see js/still.js). Raises RuntimeError when Node is missing or fails."""
    beside = Path(sys.executable).parent / "node"  # where the build puts it
    node = str(beside) if beside.exists() else shutil.which("node")
    if node is None:
        raise RuntimeError(
            "Building a page needs Node, for the widgets' still pictures: run `make book`, which sets it up"
        )
    done = subprocess.run(
        [node, str(DIST / "still.mjs")], input=json.dumps(request), capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError(f"{request['widget']}: its first state could not be computed:\n{done.stderr.strip()}")
    return json.loads(done.stdout)
