"""What the tests of the JavaScript mirror share: asking Node, and comparing its numbers with Python's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
JS = ROOT / "src/attention_decoded/widgets/js"
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def node(*arguments: str | Path, request: object = None) -> str:
    """What a program prints under Node; `request` is its standard input, as JSON."""
    done = subprocess.run(
        ["node", *map(str, arguments)],
        cwd=ROOT, env=ENV, capture_output=True, text=True, encoding="utf-8",
        input=None if request is None else json.dumps(request),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def javascript(what: str, **request: object) -> Any:
    """The mirror's answer; tests/js/answer.mjs says what it can be asked."""
    return json.loads(node(ROOT / "tests/js/answer.mjs", request={"what": what, **request}))


def agree(answer: object, expected: object, where: str = "", *, within: float = 1e-4) -> None:
    """Every number of the JavaScript's answer is Python's, to 1e-4."""
    if isinstance(expected, torch.Tensor):
        flat = expected.detach().flatten().numpy()
        found = np.array(answer, dtype=np.float64).ravel()
        assert found.shape == flat.shape, where
        worst = float(np.abs(found - flat).max(initial=0))
        assert worst <= within, f"{where}: {worst}"
    elif isinstance(expected, dict):
        assert isinstance(answer, dict)
        assert answer.keys() == expected.keys(), where
        for name in expected:
            agree(answer[name], expected[name], f"{where}.{name}", within=within)
    else:
        assert isinstance(answer, list)
        assert isinstance(expected, list)
        for i, (a, b) in enumerate(zip(answer, expected, strict=True)):
            agree(a, b, f"{where}[{i}]", within=within)
