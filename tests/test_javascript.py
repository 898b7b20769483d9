"""The JavaScript tests of tests/js, run by Node; their own report follows if one fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_node_s_own_tests_pass() -> None:
    binaries = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    result = subprocess.run([binaries / "npm", "test", "--silent"], cwd=ROOT, env=env, capture_output=True, text=True)
    report = result.stdout + result.stderr
    assert result.returncode == 0, report[-8000:]
    counted = re.search(r"^\S+ pass (\d+)$", report, re.M)
    assert counted, report[-2000:]
    assert int(counted[1]) > 0, "Node found no test"
