"""Every chapter's Colab notebook runs in an empty folder with Colab's versions, and leaves those alone."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from run_twins import REQUIREMENT, redirected, twins

ROOT = Path(__file__).resolve().parent.parent.parent
TWINS = twins(ROOT / "book")
CHAPTERS = sorted(p for p in ROOT.glob("book/**/*.md") if "\nkernelspec:" in p.read_text("utf-8")[:800])
# The test's torch is the CPU build of requirements.txt: Colab's own is a CUDA build, and of that version the default
# index has no CPU build for Linux. Every other package is exactly Colab's.
STAND_IN = {"torch"}


def colab_versions() -> dict[str, str]:
    lines = (ROOT / "constraints" / "colab.txt").read_text("utf-8").splitlines()
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w-]+)==(\S+)$", "\n".join(lines), re.M)
    }


def installed(python: str) -> dict[str, str]:
    listing = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    return {canonicalize_name(item["name"]): item["version"] for item in json.loads(listing.stdout)}


def same(version: str, other: str) -> bool:
    """7.34 is 7.34.0."""
    return Requirement(f"x=={version}").specifier.contains(other)


def test_our_ranges_admit_colab_s_versions() -> None:
    versions = colab_versions()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    ours = [Requirement(text) for text in project["dependencies"]]
    refused = [str(r) for r in ours if (v := versions.get(canonicalize_name(r.name))) and not r.specifier.contains(v)]
    assert refused == []
    shared = {canonicalize_name(r.name) for r in ours} & set(versions)
    assert {"numpy", "torch", "ipywidgets", "anywidget", "plotly", "matplotlib", "tokenizers"} <= shared
    assert Requirement(f"python{project['requires-python']}").specifier.contains("3.13")


def test_the_constraints_say_of_when_they_are() -> None:
    assert re.search(r"\b20\d\d\b", (ROOT / "constraints" / "colab.txt").read_text("utf-8").split("\n==")[0])


def test_the_environment_has_colab_s_versions(colab_python: str) -> None:
    have = installed(colab_python)
    wrong = {n: (v, have.get(n)) for n, v in colab_versions().items() if n not in STAND_IN and not same(v, have[n])}
    assert wrong == {}


def test_installing_the_package_changes_nothing_of_colab_s(colab: str, wheel: Path) -> None:
    """What pip would do in Colab: bring what is missing there, touch nothing that is there."""
    options = ["--dry-run", "--quiet", "--report", "-", "--no-build-isolation"]
    report = subprocess.run([colab, "-m", "pip", "install", *options, wheel], capture_output=True, text=True)
    assert report.returncode == 0, report.stderr[-3000:]
    coming = {canonicalize_name(item["metadata"]["name"]) for item in json.loads(report.stdout)["install"]}
    assert "attention-decoded" in coming
    assert coming & set(colab_versions()) == set()


def test_the_wheel_needs_no_node_and_holds_what_it_uses(wheel: Path) -> None:
    """`pip install` gives bundles, weights and palette ready made, and nothing beside the package."""
    entries = zipfile.ZipFile(wheel).infolist()
    names = [entry.filename for entry in entries]
    for wanted in ("widgets/dist/", "weights/", "plots/palette.json"):
        assert any(name.startswith(f"attention_decoded/{wanted}") for name in names), wanted
    assert [n for n in names if not n.startswith(("attention_decoded/", "attention_decoded-"))] == []
    # What the trained weights may weigh is said where they are tested, model by model; all else is small.
    assert sum(entry.compress_size for entry in entries if "/weights/" not in entry.filename) < 1_500_000


def test_every_chapter_has_its_twin(site: Path) -> None:
    assert CHAPTERS
    assert [p for p in CHAPTERS if not p.with_suffix(".ipynb").exists()] == []
    assert [p for p in TWINS if not p.with_suffix(".md").exists()] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_install_cell_takes_the_package_from_the_one_named_place(chapter: Path) -> None:
    """Repository and ref stand in _config.yml alone, and the cell installs nothing else."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]
    text = chapter.with_suffix(".ipynb").read_text("utf-8")
    (found,) = set(REQUIREMENT.findall(text))
    assert found == f"attention-decoded @ git+{repository['url']}@{repository['branch']}"
    assert len(re.findall(r"pip install", text)) == 1


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_twin_runs_with_colab_s_versions(chapter: Path, wheel: Path, colab: str, tmp_path: Path) -> None:
    path = chapter.with_suffix(".ipynb")
    program = [sys.executable, Path(__file__).with_name("run_twins.py"), path]
    options = ["--install", wheel, "--python", colab, "--write", tmp_path]
    run = subprocess.run([*program, *options], capture_output=True, text=True)
    assert run.returncode == 0, (run.stdout + run.stderr)[-8000:]
    notebook = nbformat.read(tmp_path / path.name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source.strip())
    complaints = [o.text for c in code[1:] for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert complaints == []
    if re.search(r"^chapter: \d", chapter.read_text("utf-8"), re.M):
        outputs = json.dumps([cell.get("outputs", []) for cell in code]) + json.dumps(
            notebook.metadata.get("widgets", {})
        )
        assert "image/png" in outputs, "a notebook's figures are pictures"
        assert "application/vnd.jupyter.widget-view+json" in outputs, "nothing to move"
        assert any("interact(" in cell.source for cell in code), "no cell whose code behind the picture can be changed"
    have = installed(colab)
    wrong = {n: (v, have[n]) for n, v in colab_versions().items() if n not in STAND_IN and not same(v, have[n])}
    assert wrong == {}, "running the notebook changed a version of Colab's"


def test_a_notebook_without_its_install_cell_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": "1"}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
    with pytest.raises(ValueError, match="0 cells install"):
        redirected(path, tmp_path)
