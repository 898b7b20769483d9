"""The rules of the house: who may import whom, what an import may do, and which files lie where."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "attention_decoded"

CONCEPTS = {"autoencoder", "vae", "word2vec", "rnn", "attention", "positions", "transformer", "masked_lm"}
USES = {"training", "decoding", "capture", "knockout", "scoring", "alignment", "checkpoints", "contexts"}
ROOMS = {"data", "plots", "widgets", "recipes", "cli"}
ANYWHERE = {"surface", "files", "sizes", "__init__"}  # small helpers without a room: standard library only

# What a concept may know of another: only what came before it in the book.
BEFORE = {
    "transformer": {"attention", "positions"},
    "vae": {"autoencoder"},
    "rnn": {"attention"},
    "masked_lm": {"attention", "positions"},
}
# Room → what it must not import, by the beginning of the module's name.
FORBIDDEN = {
    "data": {"torch", "matplotlib", "plotly", "ipywidgets", "anywidget"},
    "concept": {"matplotlib", "plotly", "ipywidgets", "anywidget", "tokenizers"},
    "use": {"matplotlib", "plotly", "ipywidgets", "anywidget"},
    "plots": {"torch", "ipywidgets", "anywidget"},
    "widgets": {"torch", "plotly", "tokenizers"},
    "helper": {"torch", "numpy", "matplotlib", "plotly", "ipywidgets", "anywidget"},
}
# Room → which other parts of the package it may import.
WITHIN = {
    "data": {"data"} | ANYWHERE,
    "use": {"attention", "positions", "data", "checkpoints", "capture"} | ANYWHERE,
    "plots": {"plots"} | ANYWHERE,
    "widgets": {"widgets", "plots", "data"} | ANYWHERE,
    "helper": ANYWHERE,
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The first name below the package: a room's folder or a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def room_of(path: Path) -> str:
    part = part_of(path)
    if part in CONCEPTS:
        return "concept"
    if part in USES:
        return "use"
    return part if part in ROOMS else "helper"


def imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Every module that the file imports, anywhere in it, as a full name."""
    package = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def complaints(path: Path, source: str) -> list[str]:
    """What the file imports against the rules."""
    room, part, found = room_of(path), part_of(path), []
    for name in imports(ast.parse(source), path):
        top, _, rest = name.partition(".")
        if top != "attention_decoded":
            if top in FORBIDDEN.get(room, ()):
                found.append(f"{room} imports {name}")
            continue
        other = rest.partition(".")[0] or "__init__"
        if other == "__version__":
            other = "__init__"
        if other in {"recipes", "cli"} and room not in {"recipes", "cli"}:
            found.append(f"{room} imports {name}: nothing imports recipes or the command line")
        elif room == "concept":
            if other not in BEFORE.get(part, set()) | ANYWHERE | {part}:
                found.append(f"{part} imports {name}, which the book teaches later or elsewhere")
        elif room in WITHIN and other not in WITHIN[room]:
            found.append(f"{room} imports {name}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_keep_to_their_room(path: Path) -> None:
    assert complaints(path, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("data/pairs.py", "import torch"),
        ("plots/maps.py", "def f():\n    from torch import nn"),
        ("widgets/lab.py", "import torch.nn.functional as F"),
        ("widgets/lab.py", "from attention_decoded.masked_lm import MaskedLanguageModel"),
        ("attention.py", "from attention_decoded.transformer import Transformer"),
        ("attention.py", "from . import positions"),
        ("capture.py", "from attention_decoded.transformer import Transformer"),
        ("checkpoints.py", "from attention_decoded.recipes.masked_lm import main"),
        ("surface.py", "import numpy"),
    ],
)
def test_a_broken_rule_is_seen(place: str, source: str) -> None:
    assert complaints(PACKAGE / place, source)


def test_every_module_has_a_room() -> None:
    """A new module or folder gets its place in the rules above before it lands."""
    known = CONCEPTS | USES | ROOMS | ANYWHERE
    assert {part_of(path) for path in modules()} <= known
    others = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert others <= ROOMS | {"weights"}


IMPORT_TIME_CALLS = re.compile(
    r"(manual_seed|random\.seed|np\.random\.seed|filterwarnings|simplefilter|urlopen|urlretrieve|requests\.|download)"
)


def runs_on_import(tree: ast.Module) -> Iterator[ast.Call]:
    """Every call that importing a module makes: everything outside functions and the `__main__` block."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif not isinstance(node, ast.Lambda) and not (isinstance(node, ast.If) and "__name__" in ast.dump(node.test)):
            if isinstance(node, ast.Call):
                yield node
            waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_importing_seeds_downloads_and_silences_nothing(path: Path) -> None:
    calls = [ast.unparse(call.func) for call in runs_on_import(ast.parse(path.read_text("utf-8")))]
    assert [name for name in calls if IMPORT_TIME_CALLS.search(name)] == []


def test_the_import_check_sees_a_seed() -> None:
    tree = ast.parse("import torch\nclass A:\n    x = torch.manual_seed(0)\ndef f():\n    torch.manual_seed(1)\n")
    assert [ast.unparse(call) for call in runs_on_import(tree)] == ["torch.manual_seed(0)"]


def test_importing_the_package_is_light_and_quiet() -> None:
    """`import attention_decoded` brings the standard library and itself, warns of nothing, changes no filter."""
    code = (
        "import json, sys, warnings, random\n"
        "before, filters, state = set(sys.modules), list(warnings.filters), random.getstate()\n"
        "import attention_decoded\n"
        "assert warnings.filters == filters and random.getstate() == state\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == ["attention_decoded"]
    assert result.stderr == ""


def tracked() -> list[str]:
    """Every file of the repository: those that git has, and those it would add."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in result.stdout.split("\0") if name and (ROOT / name).exists()]


def test_the_top_level_is_as_designed() -> None:
    """One look at the repository's root tells what it is; a new name there is a decision, not an accident."""
    assert {name.partition("/")[0] for name in tracked()} <= {
        *("README.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "LICENSE-prose"),
        *("Makefile", "_config.yml", "_toc.yml", "requirements.txt", "pyproject.toml"),
        *("package.json", "package-lock.json", "tsconfig.json", ".npmrc"),
        *(".ci", ".github", ".gitignore", ".gitattributes", ".pre-commit-config.yaml"),
        *("book", "constraints", "src", "tests"),
    }


def test_generated_files_are_marked() -> None:
    """Twins and bundles say that they are generated: to git, so that reviews fold them, and to whoever opens them."""
    names = [n for n in tracked() if re.match(r"book/.*\.ipynb$|src/attention_decoded/widgets/dist/|package-lock", n)]
    query = ["git", "check-attr", "-z", "linguist-generated", "--", *names]
    fields = subprocess.run(query, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    unmarked = [name for name, value in zip(fields[::3], fields[2::3], strict=False) if value not in {"set", "true"}]
    assert unmarked == []
    silent = [
        n
        for n in names
        if n.endswith((".js", ".css")) and "generated" not in (ROOT / n).read_text("utf-8")[:300].lower()
    ]
    assert silent == []


def test_third_party_data_is_not_committed() -> None:
    """What the book takes from data packages is made at build time; only our own weights and tokenizers are ours."""
    data = (".tsv", ".csv", ".u8", ".gz", ".parquet", ".pkl", ".pickle", ".ttf", ".otf", ".woff", ".woff2")
    assert [name for name in tracked() if name.endswith(data)] == []
    heavy = [name for name in tracked() if (ROOT / name).stat().st_size > 1_000_000]
    assert [name for name in heavy if not name.startswith("src/attention_decoded/weights/")] == []


def pins(path: Path) -> dict[str, Requirement]:
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return {canonicalize_name(r.name): r for r in map(Requirement, filter(None, lines))}


def test_requirements_pin_exactly_and_hold_the_package_s_own_ranges() -> None:
    exact = pins(ROOT / "requirements.txt")
    for requirement in exact.values():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{requirement} is not one exact version"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        version = str(exact[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), (
            f"pyproject asks for {requirement}, requirements.txt has {version}"
        )


def test_every_import_is_pinned() -> None:
    """What any Python file of the repository imports comes from a package that requirements.txt names."""
    names = [ROOT / name for name in tracked() if name.endswith(".py")]
    own = {path.stem for path in names} | {"attention_decoded"}
    exact, where = pins(ROOT / "requirements.txt"), packages_distributions()
    unpinned = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in names
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in imported(node)
        if name not in own | sys.stdlib_module_names
        if not any(canonicalize_name(found) in exact for found in where.get(name, []))
    }
    assert unpinned == set()


def imported(node: ast.AST) -> list[str]:
    """The top-level packages that one statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


def test_the_citation_names_this_version() -> None:
    version = re.search(r'__version__ = "(.*)"', (PACKAGE / "__init__.py").read_text("utf-8"))
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_no_file_contradicts_the_pins() -> None:
    """Where a message or a text names a version (`pip install name==version`), it is the pinned one."""
    exact = {name: str(r.specifier).removeprefix("==") for name, r in pins(ROOT / "requirements.txt").items()}
    spelled = "|".join(sorted(map(re.escape, exact), key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.-])({spelled})==([\w.]*\w)", re.I)
    texts = [name for name in tracked() if name.endswith((".md", ".py", ".toml", ".yml", ".yaml"))]
    places = [name for name in texts if not name.startswith("tests/")]  # tests may make up versions
    found = [(n, m[1], m[2]) for n in places for m in pattern.finditer((ROOT / n).read_text("utf-8"))]
    assert [(n, name, v) for n, name, v in found if exact[canonicalize_name(name)] != v] == []
