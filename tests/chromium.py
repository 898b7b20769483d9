"""Find a Chromium or Chrome, start it, and serve a folder to it as a web server would.

Run as a program it prints the browser it finds, and fails if there is none.
"""

import functools
import gzip
import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# A quiet browser: nothing of its own goes to the network, and it runs as root in a container.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
COMPRESSED = {".html", ".js", ".mjs", ".css", ".json", ".svg", ".txt", ".xml", ".ipynb"}


def find_browser(playwright: Playwright) -> str | None:
    """The browser that CHROMIUM names, else one of the machine's own, else the one Playwright installed."""
    if named := os.environ.get("CHROMIUM"):
        if found := shutil.which(named):
            return found
        raise FileNotFoundError(f"CHROMIUM={named} is not a program")
    candidates = [shutil.which(name) for name in NAMES] + [*APPLICATIONS, playwright.chromium.executable_path]
    return next((path for path in candidates if path and Path(path).exists()), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A running headless browser."""
    with sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            raise FileNotFoundError("no Chromium or Chrome was found: `make test` installs one, or name it in CHROMIUM")
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Static files, gzipped where a web server would gzip them, with nothing cached."""

    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012  # the base class's own form; macOS and Windows may lack these types
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".css": "text/css",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".woff2": "font/woff2",
    }

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in COMPRESSED and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = compressed(body)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests look at what the browser reports."""


@functools.lru_cache(maxsize=256)
def compressed(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The folder on a local port of its own; gives the address, which ends in a slash."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    with sync_playwright() as playwright:
        path = find_browser(playwright)
    print(path or "no Chromium or Chrome was found")
    return int(path is None)


if __name__ == "__main__":
    sys.exit(main())
