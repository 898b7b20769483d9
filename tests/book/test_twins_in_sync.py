"""The Colab editions: in step with their chapters, and plain notebooks that stand alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from chapter_cells import KERNEL_ONLY, PAGE_ONLY, has_tag
from colab_twin import install_cell
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook


def notebook_pages(root: Path) -> list[Path]:
    return [
        path for path in sorted((root / "book").rglob("*.md")) if is_myst_markdown_notebook(path.read_text("utf-8"))
    ]


def text_of(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.fixture(scope="session")
def twins(site: Path, root: Path) -> dict[Path, nbformat.NotebookNode]:
    """Chapter source → its twin."""
    return {page: nbformat.read(page.with_suffix(".ipynb"), as_version=4) for page in notebook_pages(root)}


def test_another_build_gives_the_same_bytes(site: Path, root: Path, tmp_path: Path):
    before = {page: page.with_suffix(".ipynb").read_bytes() for page in notebook_pages(root)}
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", root, "--path-output", tmp_path, "-W", "-n", "--keep-going"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    for page, content in before.items():
        name = page.relative_to(root).with_suffix(".ipynb")
        assert (tmp_path / "_build" / "html" / "_sources" / name).read_bytes() == content, name
        assert page.with_suffix(".ipynb").read_bytes() == content, name


def test_the_download_button_gives_the_twin(site: Path, root: Path):
    for page in notebook_pages(root):
        name = page.relative_to(root).with_suffix(".ipynb")
        assert (site / "_sources" / name).read_bytes() == page.with_suffix(".ipynb").read_bytes()


@pytest.mark.skipif(not os.environ.get("CI"), reason="only in CI is every local change committed")
def test_the_committed_twins_are_those_of_the_build(site: Path, root: Path):
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "book"], cwd=root, capture_output=True, text=True, check=True
    )
    assert not [line for line in changed.stdout.splitlines() if line.endswith(".ipynb")], (
        "run make book and commit the twins"
    )


def test_no_twin_is_left_over(site: Path, root: Path):
    orphans = [path for path in (root / "book").rglob("*.ipynb") if not path.with_suffix(".md").is_file()]
    assert orphans == []


def test_a_twin_holds_no_output_and_regular_ids(twins):
    for page, twin in twins.items():
        nbformat.validate(twin)
        assert [cell.id for cell in twin.cells] == [f"cell-{i:03d}" for i in range(len(twin.cells))], page
        for cell in twin.cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None


def test_a_twin_begins_with_the_install_cell_of_the_config(twins, root: Path):
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))["repository"]
    expected = install_cell(config["url"], config["branch"])
    assert f'%pip install -q "attention-decoded @ git+{config["url"]}@{config["branch"]}"' in expected
    for twin in twins.values():
        assert twin.cells[1].source == expected
        assert sum("pip install" in cell.source for cell in twin.cells) == 1


def test_a_twin_has_the_chapters_code_and_the_kernels_cells(twins):
    seen = 0
    for page, twin in twins.items():
        sources = [re.sub(r"\A# @title .*\n", "", cell.source) for cell in twin.cells if cell.cell_type == "code"]
        for cell in read_myst_markdown_notebook(page.read_text("utf-8")).cells:
            if cell.cell_type == "code":
                assert (cell.source in sources) != has_tag(cell, PAGE_ONLY), cell.source
                seen += has_tag(cell, KERNEL_ONLY)
    assert seen, "no chapter has a cell for a kernel"


def test_folded_cells_are_forms_with_a_title(twins):
    for page, twin in twins.items():
        titles = [cell.source.split("\n")[0] for cell in twin.cells if cell.metadata.get("cellView") == "form"]
        for cell in read_myst_markdown_notebook(page.read_text("utf-8")).cells:
            if has_tag(cell, "hide-input") or has_tag(cell, "hide-cell"):
                assert f"# @title {cell.metadata['mystnb']['code_prompt_show']}" in titles


def test_nothing_of_myst_is_left_in_a_twin(twins):
    for page, twin in twins.items():
        prose = re.sub(r"```.*?```|`[^`]*`", "", text_of(twin), flags=re.DOTALL)
        assert not re.search(r"\{[\w:-]+\}`|^[:`]{3,}\{|^\([\w-]+\)=$|\{\{|\]\{[.#]", text_of(twin), re.MULTILINE), page
        assert not re.search(r"\]\((?!https?://|#)[^)]*\)", prose), f"{page} has a link that leads nowhere in Colab"


def test_numbers_and_titles_are_those_of_the_page(twins, site: Path, root: Path):
    page = root / "book" / "context" / "queries-keys-values.md"
    prose = text_of(twins[page])
    assert prose.count("\n# 7 ") + prose.startswith("# 7 ") == 1
    assert "\n## 7.1 " in prose
    assert "\\tag{7.1}" in prose
    html = (site / "book" / "context" / "queries-keys-values.html").read_text("utf-8")
    for number in re.findall(r"\*\*(Fig\. 7\.\d+)\*\*", prose):
        assert f'<span class="caption-number">{number} </span>' in html
    cited = {
        re.sub(r"<[^>]+>", "", label)
        for label in re.findall(r'<a class="reference internal"[^>]*#id\d+"[^>]*>(.*?)</a>', html)
    }
    assert cited
    for label in cited:
        assert label in prose.replace("*", ""), label
    for url in set(
        re.findall(r"\(https://attention-decoded\.github\.io/attention-decoded/([^)#]+)(?:#([^)]+))?\)", prose)
    ):
        target = (site / url[0]).read_text("utf-8")
        assert not url[1] or f'id="{url[1]}"' in target, url


def test_a_twin_is_plain_json_with_sorted_keys(twins):
    for page in twins:
        text = page.with_suffix(".ipynb").read_text("utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=1, sort_keys=True) + "\n"
