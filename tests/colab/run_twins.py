"""Run Colab notebooks as Colab would: from an empty folder, top to bottom, with nothing of this checkout in reach.

    python run_twins.py book --install path/to/wheel-or-checkout

Only one thing differs from what a reader runs: the install cell takes the package from `--install`
instead of from the repository's address, which may not have this state of it yet.
"""

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

REQUIREMENT = re.compile(r"attention-decoded @ git\+https://\S+?@[\w./-]+")


class OnePython(KernelSpecManager):
    """Kernels run on one given Python, whatever Jupyter finds on the machine."""

    python = sys.executable

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


def twins(book: Path) -> list[Path]:
    return sorted(path for path in book.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def redirected(path: Path, install: Path) -> nbformat.NotebookNode:
    """The notebook with its one install cell pointed at `install`."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and REQUIREMENT.search(cell.source)]
    if len(cells) != 1 or len(REQUIREMENT.findall(cells[0].source)) != 1:
        raise ValueError(f"{path.name}: {len(cells)} cells install the package from its repository; it must be one")
    cells[0].source = REQUIREMENT.sub(lambda _: str(install), cells[0].source)
    return notebook


def execute(path: Path, install: Path, python: str = sys.executable, timeout: int = 600) -> nbformat.NotebookNode:
    """The executed notebook; CellExecutionError where a cell fails."""
    notebook = redirected(path, install)
    OnePython.python = python
    with tempfile.TemporaryDirectory() as empty:
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=OnePython())
        NotebookClient(notebook, km=manager, timeout=timeout, resources={"metadata": {"path": empty}}).execute()
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("book", type=Path, help="a folder of notebooks, or one notebook")
    parser.add_argument("--install", type=Path, required=True, help="the package: a wheel or a checkout")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the cells")
    parser.add_argument("--write", type=Path, help="a folder for the executed notebooks")
    arguments = parser.parse_args()
    found = [arguments.book] if arguments.book.is_file() else twins(arguments.book)
    if not found:
        print(f"no notebook in {arguments.book}", file=sys.stderr)
        return 1
    failed = 0
    for path in found:
        start = time.monotonic()
        try:
            notebook = execute(path, arguments.install.resolve(), arguments.python)
            if arguments.write:
                nbformat.write(notebook, arguments.write / path.name)
            print(f"{path}: fine, {time.monotonic() - start:.0f} s", flush=True)
        except CellExecutionError as error:
            failed += 1
            print(f"{path}: FAILED\n{error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
