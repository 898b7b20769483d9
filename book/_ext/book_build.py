"""What the book's extensions share: where things lie, and how a build's pieces are kept for the next one."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "attention_decoded"
CACHE = ROOT / "_build" / "cache"
"""Outside every builder's output folder, so that it outlives a build into another one."""

PALETTE: dict[str, dict[str, str]] = json.loads((PACKAGE / "plots" / "palette.json").read_text("utf-8"))


def npm_file(package: str, path: str) -> Path:
    """A file of a pinned npm package; ExtensionError if the package is missing or not the pinned version."""
    folder = ROOT / "node_modules" / package
    wanted = json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"].get(package)
    if wanted is None:
        raise ExtensionError(f"the build takes files from {package}, which package.json does not pin")
    try:
        found = json.loads((folder / "package.json").read_text("utf-8"))["version"]
    except FileNotFoundError:
        raise ExtensionError(f"{package} is missing from node_modules: run `make book`, or `npm ci`") from None
    if found != wanted:
        raise ExtensionError(f"node_modules has {package} {found}, package.json pins {wanted}: run `npm ci`")
    file = folder / path
    if not file.is_file():
        raise ExtensionError(f"{package} {found} has no file {path}")
    return file


def hash_files(files: Iterable[Path], *more: str) -> str:
    """A short hash of names (below the repository where they are) and contents."""
    h = hashlib.sha256("\0".join(more).encode())
    for file in sorted(files):
        name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
        h.update(str(name).encode() + b"\0" + file.read_bytes())
    return h.hexdigest()[:16]


def preload(links: list[str], as_: str, **attributes: str) -> str:
    """JavaScript that has files fetched before anything asks for them; not from a folder (file:), where that fails."""
    link = {"rel": "preload", "as": as_, "crossOrigin": "", **attributes}
    return (
        f'if (location.protocol.startsWith("http")) for (const href of {json.dumps(links)}) '
        f'document.head.append(Object.assign(document.createElement("link"), {json.dumps(link)}, {{ href }}));'
    )


def write_if_changed(path: Path, content: bytes | str) -> None:
    """Write a file unless it holds exactly this already: what is unchanged is copied nowhere again."""
    content = content.encode() if isinstance(content, str) else content
    if not (path.is_file() and path.read_bytes() == content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
