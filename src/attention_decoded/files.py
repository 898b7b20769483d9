"""Files that are either whole or absent, and recognised by their content. Standard library only."""

import hashlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that nobody ever sees half of it, not even after a crash.

    The bytes go to a neighbour first; renaming it onto `path` is one step for the file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp gives 0600, which a web server could not read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sha256(content: bytes) -> str:
    """The SHA-256 of the bytes, in hexadecimal: equal only if the content is."""
    return hashlib.sha256(content).hexdigest()
