"""Build the site (`book.py build`), serve it (`book.py serve 8000`), or ask whether it is current (`book.py check`).

The site in `_build/html` is replaced in one step, by a build that went through to its end: an interrupted
or failed build leaves the last good one alone. A stamp holds hashes of all that went in and all that came
out, so a build with nothing to do takes a second, and a site that lost a file is built again.
"""

import argparse
import functools
import hashlib
import http.server
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from setup import LOGS, ROOT, VENV, bin_dir, follow

BUILD = ROOT / "_build"
SITE = BUILD / "html"
NEXT = BUILD / "next"
STAMP = BUILD / "book.json"
SOURCES = ("_config.yml", "_toc.yml", "requirements.txt", "package-lock.json", "book", "src", ".ci/book.py")
# What the build says that helps nobody; and where Jupyter Book begins to say where the site lies, which is where it
# lay before it was moved to its place.
NOISE = re.compile(r"^\s*$|fontTools|(?:Md|Nb)ParserConfig|Kernel is running over TCP")
LAST_WORDS = re.compile(r"The HTML pages are in|Finished generating HTML")
SKIP = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}


def files(*places: Path) -> Iterator[Path]:
    """All files in some places, in a fixed order."""
    for place in places:
        if place.is_file():
            yield place
        for path in sorted(place.rglob("*")) if place.is_dir() else ():
            if path.is_file() and not SKIP.intersection(path.parts):
                yield path


def tree_hash(paths: Iterator[Path]) -> str:
    """One hash for the names and the contents of many files."""
    h = hashlib.sha256()
    for path in paths:
        h.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        h.update(hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()


def inputs() -> str:
    """What the site is made from. The Colab twins (`*.ipynb`) lie among the sources, but come out of the build."""
    sources = (ROOT / name for name in SOURCES)
    return sys.version + tree_hash(path for path in files(*sources) if path.suffix != ".ipynb")


def outputs() -> str:
    """What came out: the site and the Colab twins."""
    return tree_hash(path for path in files(SITE, ROOT / "book") if SITE in path.parents or path.suffix == ".ipynb")


def is_current() -> bool:
    if not (STAMP.is_file() and (SITE / "index.html").is_file()):
        return False
    return json.loads(STAMP.read_text("utf-8")) == {"inputs": inputs(), "outputs": outputs()}


def call(*command: str | Path) -> int:
    """Run a step of the build: everything it says goes to a log, all but the known noise to whoever waits."""
    told = True

    def see(line: str) -> None:
        nonlocal told
        told = told and not LAST_WORDS.search(line)
        if told and not NOISE.search(line):
            print(line, end="", flush=True)

    return follow(list(command), LOGS / f"{Path(command[0]).name}.log", see)


def build() -> int:
    start = time.monotonic()
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "book.lock"):
        if is_current():
            print("The book is up to date.")
        else:
            STAMP.unlink(missing_ok=True)
            shutil.rmtree(NEXT, ignore_errors=True)
            NEXT.mkdir()
            npm = bin_dir(VENV) / "npm"
            jupyter_book = [bin_dir(VENV) / "jupyter-book", "build", ".", "--path-output", NEXT]
            strict = ["-W", "--keep-going", "-n", "--all"]  # a warning is an error, but show them all
            bundled = call(npm, "run", "--silent", "build") == 0
            made_from = inputs()  # taken before the build: what is edited meanwhile makes the site stale
            if not bundled or call(*jupyter_book, *strict):
                print("\nThe book was not built; the messages above say why.", file=sys.stderr)
                if SITE.exists():
                    print("The last good site was left as it is.", file=sys.stderr)
                return 1
            old = BUILD / "html.old"
            shutil.rmtree(old, ignore_errors=True)
            if SITE.exists():
                SITE.rename(old)
            (NEXT / "_build" / "html").rename(SITE)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(NEXT)
            STAMP.write_text(json.dumps({"inputs": made_from, "outputs": outputs()}), "utf-8")
            print(f"\nThe book was built in {time.monotonic() - start:.0f} s.")
    print(f"It lies in {SITE.relative_to(ROOT)}. Open {(SITE / 'index.html').as_uri()} in a browser, or: make serve")
    return 0


def serve(port: int) -> int:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        print(
            f"Port {port} cannot be used ({error.strerror}). Another one:  make serve PORT={port + 1}", file=sys.stderr
        )
        return 1
    print(f"http://localhost:{server.server_port}/  (stop with Ctrl-C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    commands.add_parser("check")
    commands.add_parser("serve").add_argument("port", type=int, nargs="?", default=8000)
    arguments = parser.parse_args()
    if arguments.command == "build":
        return build()
    if arguments.command == "check":
        return int(not is_current())
    return serve(arguments.port)


if __name__ == "__main__":
    sys.exit(main())
