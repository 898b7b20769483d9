"""Check style and types of everything: ruff, pyright, tsc, and a few words that no file may hold.

All checks run, then the exit status says whether one of them had something to mend. `--own` runs the words alone.
"""

import re
import subprocess
import sys
from collections.abc import Iterator

from setup import ROOT, VENV, bin_dir, environment

TEXT = {
    ".py",
    ".md",
    ".js",
    ".mjs",
    ".css",
    ".json",
    ".toml",
    ".yml",
    ".yaml",
    ".txt",
    ".cff",
    ".bib",
    ".html",
    ".ipynb",
    "",
}
# What would tie the repository to one machine or one network.
FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"""(?<![\w.~/:}-])/(?:work|tmp|root|home/\w+|Users/\w+)/[\w.]"""),
    "a lock file that names a server": re.compile(r'"resolved": "https?:'),
    "a package list that names a server": re.compile(r"^(?:--(?:extra-)?index-url|-i|--find-links|-f)\b", re.M),
}


def tracked_text() -> Iterator[tuple[str, str]]:
    """Name and text of each file that is in the repository or about to be."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in sorted(filter(None, names)):
        path = ROOT / name
        if path.suffix in TEXT and path.is_file():
            yield name, path.read_text("utf-8")


def own_checks() -> int:
    """Words that no file may hold, conflict markers, and line ends."""
    found = []
    for name, text in tracked_text():
        for what, pattern in FORBIDDEN.items():
            found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {what}: {m[0]}" for m in pattern.finditer(text)]
        if "\r" in text:
            found.append(f"{name}: carriage returns; save it with \\n line ends")
        if re.search(r"^(<{7}|>{7}) ", text, re.M):
            found.append(f"{name}: an unresolved merge conflict")
    print("\n".join(found) or "own checks: fine")
    return int(bool(found))


def main() -> int:
    if sys.argv[1:] == ["--own"]:
        return own_checks()
    python, node_bin = bin_dir(VENV) / "python", ROOT / "node_modules" / ".bin"
    commands = {
        "ruff check": [python, "-m", "ruff", "check", "--quiet", "."],
        "ruff format": [python, "-m", "ruff", "format", "--check", "--quiet", "--diff", "."],
        "pyright": [node_bin / "pyright", "--pythonpath", python],
        "tsc": [bin_dir(VENV) / "npm", "run", "--silent", "check"],
        "pins": [python, ROOT / ".ci" / "pins.py", "--check"],
    }
    failed = []
    for name, command in commands.items():
        print(f"· {name}", flush=True)
        if subprocess.run(list(map(str, command)), cwd=ROOT, env=environment()).returncode:
            failed.append(name)
    print("· own checks", flush=True)
    if own_checks():
        failed.append("own checks")
    print(f"\nTo mend: {', '.join(failed)} (make format does what it can)." if failed else "\nNothing to mend.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
