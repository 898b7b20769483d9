"""The programs behind `make`: set-up that can be interrupted, a build that is never half written, and honest help."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / ".ci"))

import lint  # noqa: E402
import setup  # noqa: E402

import book  # noqa: E402  # the folder of these programs is not on the path by itself


def test_make_alone_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    assert re.findall(r"^  make (\w+) +\S", shown, re.M) == phony.split()
    assert {"book", "serve", "test", "lint", "colab", "models", "bench", "help"} <= set(phony.split())


def test_a_python_that_does_not_fit_is_refused_with_a_way_out(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    old.chmod(0o755)
    finder = ["/bin/sh", str(ROOT / ".ci" / "python.sh"), "-c", "print('ran')"]
    named = subprocess.run(finder, env={**os.environ, "PYTHON": str(old)}, capture_output=True, text=True)
    assert named.returncode == 1
    assert "older than Python 3.11" in named.stderr
    (tmp_path / "cat").symlink_to("/bin/cat")
    none = subprocess.run(finder, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert none.returncode == 1
    assert "Install one" in none.stderr
    good = subprocess.run(finder, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert good.stdout == "ran\n"


def test_an_interrupted_set_up_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp comes last: a step that fails half way leaves none, and the next run starts it again."""
    (tmp_path / "node_modules").mkdir()
    for name in ("package.json", "package-lock.json", "requirements.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    calls = []

    def cut_short(*_: object, **__: object) -> None:
        calls.append(1)
        raise setup.SetupError("the line went dead")

    monkeypatch.setattr(setup, "run", cut_short)
    for _ in range(2):
        with pytest.raises(setup.SetupError):
            setup.set_up_node()
    monkeypatch.setattr(setup, "run", lambda *_, **__: calls.append(1))
    setup.set_up_node()
    setup.set_up_node()
    assert len(calls) == 3, "twice cut short, once done, then left alone"
    (tmp_path / "package-lock.json").write_text("{}", "utf-8")
    setup.set_up_node()
    assert len(calls) == 4, "a changed lock is set up again"


def report(requires: list[str]) -> str:
    return json.dumps({"install": [{"metadata": {"name": "torch", "version": "1", "requires_dist": requires}}]})


def test_a_cuda_build_of_torch_is_seen_before_it_is_fetched() -> None:
    linux = ["filelock", 'nvidia-cudnn-cu13==9; platform_system == "Linux"', "networkx>=2.5"]
    assert setup.brings_cuda(report(linux))
    assert setup.brings_cuda(report(['cuda-bindings<14,>=13; platform_system == "Linux"']))
    assert not setup.brings_cuda(report(["filelock", "sympy>=1.13", 'pyyaml; extra == "pyyaml"']))


def small_book(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretended repository of one page, so that building it costs nothing."""
    for name, value in {"ROOT": root, "BUILD": root / "_build", "SITE": root / "_build" / "html"}.items():
        monkeypatch.setattr(book, name, value)
    monkeypatch.setattr(book, "NEXT", root / "_build" / "next")
    monkeypatch.setattr(book, "STAMP", root / "_build" / "book.json")
    (root / "book").mkdir()
    (root / "book" / "index.md").write_text("# One", "utf-8")


def pretend_build(*command: object) -> int:
    """What Jupyter Book would leave behind."""
    if "--path-output" in command:
        html = book.NEXT / "_build" / "html"
        html.mkdir(parents=True)
        (html / "index.html").write_text((book.ROOT / "book" / "index.md").read_text("utf-8"), "utf-8")
    return 0


def test_a_build_happens_when_it_must_and_only_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_book(tmp_path, monkeypatch)
    calls = []
    monkeypatch.setattr(book, "call", lambda *command: calls.append(command) or pretend_build(*command))

    def builds() -> bool:
        calls.clear()
        assert book.build() == 0
        return bool(calls)

    assert builds()
    assert not builds(), "nothing changed"
    (tmp_path / "book" / "index.md").write_text("# Two", "utf-8")
    assert builds(), "a source changed"
    assert (book.SITE / "index.html").read_text("utf-8") == "# Two"
    (book.SITE / "index.html").write_text("damaged", "utf-8")
    assert builds(), "the site was damaged"
    (tmp_path / "book" / "index.ipynb").write_text("{}", "utf-8")
    assert builds(), "a twin was edited by hand"


def test_a_failed_build_leaves_the_last_good_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_book(tmp_path, monkeypatch)
    monkeypatch.setattr(book, "call", pretend_build)
    assert book.build() == 0
    (tmp_path / "book" / "index.md").write_text("# Broken", "utf-8")
    monkeypatch.setattr(book, "call", lambda *command: pretend_build(*command) or int("--path-output" in command))
    assert book.build() == 1
    assert (book.SITE / "index.html").read_text("utf-8") == "# One"
    assert not book.is_current(), "and the next run tries again"


def test_what_is_edited_during_a_build_makes_the_site_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_book(tmp_path, monkeypatch)

    def edited_meanwhile(*command: object) -> int:
        code = pretend_build(*command)
        if "--path-output" in command:
            (tmp_path / "book" / "index.md").write_text("# Later", "utf-8")
        return code

    monkeypatch.setattr(book, "call", edited_meanwhile)
    assert book.build() == 0
    assert not book.is_current()


def test_a_taken_port_is_said_with_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert book.serve(taken.getsockname()[1]) == 1
    assert "make serve PORT=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("open('/" + "home/someone/notes.txt')", True),
        ("see https://example.org/work/page, ./tmp/file, book/work/a.md", False),
    ],
)
def test_paths_of_one_machine_are_seen(text: str, bad: bool) -> None:
    pattern = lint.FORBIDDEN["an absolute path of one machine"]
    assert bool(pattern.search(text)) == bad


def test_requirements_are_complete() -> None:
    """Nothing that is needed is missing from requirements.txt, and nothing is in it that nobody needs."""
    assert subprocess.run([sys.executable, ROOT / ".ci" / "pins.py", "--check"]).returncode == 0
