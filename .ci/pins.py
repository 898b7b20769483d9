"""Write the second half of requirements.txt: the exact versions of everything that the first half needs.

To move a version: change it in the first half, install it (`.venv/bin/pip install name==version`),
run `.venv/bin/python .ci/pins.py`, then `make lint test`. With `--check` nothing is written and the
exit status says whether the file is complete, and holds nothing that nobody needs.
"""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path(__file__).resolve().parent.parent / "requirements.txt"
MARK = "# ---- What these need: written by .ci/pins.py, do not edit below this line ----"
# Packages that only other systems need cannot be seen from here: versions by hand, conditions from those who need them.
ELSEWHERE = {
    "appnope": ("1.0.0", 'platform_system == "Darwin"'),
    "pywinpty": ("3.1.2", 'os_name == "nt"'),
}
NOT_ON_WINDOWS = {"pexpect", "ptyprocess"}


def closure(direct: list[Requirement]) -> dict[str, str]:
    """Name → installed version of all that `direct` needs on this machine."""
    installed = {canonicalize_name(d.metadata["Name"]): d for d in distributions()}
    environment = {key: str(value) for key, value in default_environment().items()}
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()

    def visit(requirement: Requirement) -> None:
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            return
        seen.add((name, extras))
        if name not in installed:
            raise SystemExit(f"{requirement} is not installed: .venv/bin/pip install '{requirement}'")
        found[name] = installed[name].version.partition("+")[0]  # 2.13.0+cpu is a build of 2.13.0
        for text in installed[name].requires or []:
            needed = Requirement(text)
            if not needed.marker or any(needed.marker.evaluate({**environment, "extra": e}) for e in {"", *extras}):
                visit(needed)

    for requirement in direct:
        visit(requirement)
    return found


def main() -> int:
    text = FILE.read_text("utf-8")
    head = text.split(MARK)[0]
    direct = [Requirement(line.split("#")[0]) for line in head.splitlines() if re.match(r"\w", line)]
    found = closure(direct)
    for requirement in direct:
        version = found[canonicalize_name(requirement.name)]
        if str(requirement.specifier) != f"=={version}":
            raise SystemExit(f"requirements.txt has {requirement}, but {version} is installed")
    named = {canonicalize_name(requirement.name) for requirement in direct}
    lines = []
    for name, version in sorted(found.items()):
        if name not in named and name not in ELSEWHERE:
            lines.append(f"{name}=={version}" + (' ; os_name != "nt"' if name in NOT_ON_WINDOWS else ""))
    lines += [f"{name}=={version} ; {where}" for name, (version, where) in ELSEWHERE.items()]
    new = f"{head}{MARK}\n" + "\n".join(sorted(lines)) + "\n"
    if "--check" in sys.argv:
        return int(new != text)
    FILE.write_text(new, "utf-8")
    print(f"requirements.txt: {len(direct)} packages of our own choice, {len(lines)} that they need")
    return 0


if __name__ == "__main__":
    sys.exit(main())
