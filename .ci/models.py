"""Train shipped models again: `models.py` for all, `models.py masked_lm` for some. Each is a module in recipes/."""

import subprocess
import sys

from setup import ROOT, VENV, environment, python_of

RECIPES = ROOT / "src" / "attention_decoded" / "recipes"
LAST = {"knockouts", "translator_ablations"}  # they need a model that another recipe trains


def main() -> int:
    known = sorted((path.stem for path in RECIPES.glob("[!_]*.py")), key=lambda name: (name in LAST, name))
    wanted = [name.replace("-", "_") for name in sys.argv[1:]] or known
    if unknown := set(wanted) - set(known):
        there = ", ".join(sorted(known))
        print(f"There is no recipe {', '.join(sorted(unknown))}; there are: {there}", file=sys.stderr)
        return 1
    for name in wanted:
        print(f"· {name}", flush=True)
        command = [python_of(VENV), "-m", f"attention_decoded.recipes.{name}"]
        if code := subprocess.run(command, cwd=ROOT, env=environment()).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
