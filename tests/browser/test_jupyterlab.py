"""A chapter in its second home, JupyterLab: its notebook run from top to bottom, and what can be moved there, moved."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as Late

from attention_decoded.recipes.translator import load, translate
from attention_decoded.widgets.translator import EXAMPLES

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = ROOT / "book" / "context" / "queries-keys-values.ipynb"
OWN = "own-model.ipynb"
# What a reader writes who has trained a model; the second cell repeats what the kernel hears from the widget.
OWN_CELLS = (
    """from attention_decoded.recipes.translator import load
from attention_decoded.widgets import Translator

model, source, target, card = load()
live = Translator(model, (source, target))
live""",
    """import ipywidgets

heard = ipywidgets.Label()
heard.add_class("heard")
live.observe(lambda change: setattr(heard, "value", f"{len(live.cuts)} cuts: {live.translation}"), "translation")
heard""",
)
SETTINGS = {
    # Every cell is drawn, also out of sight; nothing is asked of the network.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map((el) => el.textContent)"
FINISHED = f"() => {PROMPTS}.length > 0 && {PROMPTS}.every((text) => /\\[\\d+\\]/.test(text))"
# The notebook's own word on its kernel; before there is one it says "idle", too.
AT_REST = """() => document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status === "idle"
  && !/No Kernel/.test(document.querySelector(".jp-Toolbar-kernelName")?.textContent ?? "No Kernel")"""


class Lab:
    """JupyterLab with one notebook open, and a hand that answers its dialogs.

    On a slow machine it asks things: which kernel, when one did not start in time; what to do about a lost
    connection. A dialog lies over everything else, so it is answered with the button that Enter would take.
    """

    def __init__(self, page: Page, home: str, log: Path, notebook: str) -> None:
        self.page, self.home, self.log, self.notebook = page, home, log, notebook
        self.dialogs: list[str] = []
        self._dialog = page.locator("dialog.jp-Dialog")
        page.add_locator_handler(self._dialog, lambda _: self.answer(), no_wait_after=True)

    def answer(self) -> None:
        """Close the dialog that is open, if one is, and remember what it said."""
        if not self._dialog.count():
            return
        try:
            self.dialogs.append(" | ".join(self._dialog.first.inner_text(timeout=1000).split("\n")))
            self._dialog.first.locator("button.jp-Dialog-button").last.dispatch_event("click", timeout=1000)
        except Late:
            pass  # it has closed by itself

    def comes_true(self, holds: Callable[[], object] | str, seconds: float) -> bool:
        """Wait for a condition (here, or an expression in the page) while dialogs are answered."""
        deadline = time.monotonic() + seconds
        while not (self.page.evaluate(holds) if isinstance(holds, str) else holds()):
            if time.monotonic() > deadline:
                return False
            self.answer()
            self.page.wait_for_timeout(250)
        return True

    def until(self, holds: Callable[[], object] | str, seconds: float, what: str) -> None:
        """The same, and the test fails with all that is known if it does not come true."""
        if not self.comes_true(holds, seconds):
            prompts = self.page.evaluate(PROMPTS)
            end = self.log.read_text("utf-8")[-2000:]
            pytest.fail(
                f"not within {seconds:.0f} s: {what}.\nDialogs: {self.dialogs}\nCells: {prompts}\nServer: {end}"
            )

    def kernel_is_idle(self) -> bool:
        """What server and page say, both: each alone says so before the two know of each other."""
        sessions = [session for session in ask(f"{self.home}/api/sessions") if session["path"] == self.notebook]
        states = [session["kernel"]["execution_state"] for session in sessions]
        return states == ["idle"] and self.page.evaluate(AT_REST)

    def run_all(self) -> None:
        self.until(self.kernel_is_idle, 180, "the notebook has its kernel")
        for attempts_left in (2, 1, 0):
            try:
                self.page.locator(".lm-MenuBar-item", has_text="Run").first.click(timeout=30_000)
                self.page.locator(".lm-Menu-item", has_text="Run All Cells").first.click(timeout=30_000)
                break
            except Late as error:
                if not attempts_left:
                    pytest.fail(f'"Run All Cells" cannot be clicked. Dialogs: {self.dialogs}\n{error}')
                self.answer()  # a dialog came between the menu and its entry
                self.page.keyboard.press("Escape")
        self.until(FINISHED, 600, "every cell has run")
        self.until(self.kernel_is_idle, 60, "the kernel rests again")


def ask(url: str, body: dict | None = None, method: str | None = None) -> Any:
    """The server's answer to a request from outside the browser; None where it answers nothing."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "token test", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


@pytest.fixture(scope="module")
def jupyterlab(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """JupyterLab on a folder that holds two notebooks and nothing else; gives its address and its log."""
    home = tmp_path_factory.mktemp("jupyterlab")
    notebooks = home / "notebooks"
    notebooks.mkdir()
    shutil.copy(CHAPTER, notebooks)
    own = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in OWN_CELLS])
    nbformat.write(own, notebooks / OWN)
    for name, values in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": notebooks,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "LabApp.user_settings_dir": home / "settings",
        "LabApp.workspaces_dir": home / "workspaces",
    }
    folders = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    binaries = Path(sys.executable).parent
    env = {**os.environ, **folders, "JUPYTER_TOKEN": "test", "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    env.pop("ATTENTION_DECODED_PAGE", None)
    log = (home / "server.log").open("w")
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    server = subprocess.Popen(command, cwd=notebooks, env=env, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 90
        while True:
            try:
                ask(f"{url}/api")
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("JupyterLab does not start:\n" + (home / "server.log").read_text()[-4000:])
                time.sleep(0.5)
        yield url, home / "server.log"
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@contextmanager
def opened(browser: Browser, jupyterlab: tuple[str, Path], notebook: str) -> Iterator[Lab]:
    """A notebook after "Run All Cells"; its kernel ends with it."""
    home, log = jupyterlab
    # The notebook finds its kernel there: one that JupyterLab starts itself, on a slow machine, is asked about in
    # dialogs, and lets go of cells that were run too early.
    wanted = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}}
    session = ask(f"{home}/api/sessions", wanted)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route("**/*", lambda r: r.continue_() if r.request.url.startswith((home, "data:", "blob:")) else r.abort())
    page = context.new_page()
    page.goto(f"{home}/lab/tree/{notebook}?token=test&reset")
    lab = Lab(page, home, log, notebook)
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    lab.until(cell.is_visible, 90, "the notebook is open")
    lab.run_all()
    yield lab
    context.close()
    ask(f"{home}/api/sessions/{session['id']}", method="DELETE")


@pytest.fixture(scope="module")
def lab(browser: Browser, jupyterlab: tuple[str, Path]) -> Iterator[Lab]:
    """The chapter's notebook."""
    with opened(browser, jupyterlab, CHAPTER.name) as lab:
        yield lab


@pytest.fixture
def own(browser: Browser, jupyterlab: tuple[str, Path]) -> Iterator[Lab]:
    """The notebook of a reader with a model of their own."""
    with opened(browser, jupyterlab, OWN) as lab:
        yield lab


def test_every_cell_runs(lab: Lab) -> None:
    errors = lab.page.locator(".jp-OutputArea-output[data-mime-type*='error']")
    assert errors.all_inner_texts() == []
    assert lab.page.locator(".jp-RenderedText[data-mime-type*='stderr']").all_inner_texts() == []


def test_a_kernel_cell_redraws_its_picture(lab: Lab) -> None:
    """The cell that only notebooks have: a slider calls the package's own function, and the figure changes."""
    notebook = lab.page
    cell = notebook.locator(".jp-OutputArea-output", has=notebook.locator(".widget-interact")).first
    cell.scroll_into_view_if_needed()
    picture = cell.locator("img").first
    lab.until(picture.is_visible, 30, "the cell has drawn a picture")
    before = picture.get_attribute("src")
    cell.locator(".noUi-handle").last.click()  # a cell that is not the active one would leave the keys to JupyterLab

    def moved() -> bool:
        notebook.keyboard.press("ArrowRight")
        notebook.wait_for_timeout(750)
        return picture.get_attribute("src") != before

    lab.until(moved, 60, "the slider moves, and the figure with it")


def test_the_laboratory_lives_in_a_notebook_too(lab: Lab) -> None:
    """The same widget as on the page, with its model carried by the kernel instead of fetched."""
    widget = lab.page.locator("[data-widget=attention-lab]").first
    widget.scroll_into_view_if_needed()
    lab.until(lambda: widget.get_attribute("data-status") == "ready", 60, "the laboratory is ready")
    levels = "(el) => [...el.querySelectorAll('[data-cell]')].map((cell) => cell.dataset.level).join()"
    before = widget.evaluate(levels)
    widget.locator("[data-control=scale]").focus()
    for _ in range(5):
        lab.page.keyboard.press("ArrowRight")
    lab.until(lambda: widget.evaluate(levels) != before, 30, "the scale moves, and the map with it")
    words = "(el) => [...el.querySelectorAll('tbody .ad-map-token')].map((word) => word.textContent).join('')"
    widget.locator("[data-control=sentence]").fill("你好。")
    widget.locator("[data-control=sentence]").press("Enter")
    lab.until(lambda: widget.evaluate(words) == "你好。", 30, "the typed sentence stands in the map")


def test_the_translator_takes_the_reader_s_own_model(own: Lab) -> None:
    """A model that lives in the kernel is carried to the page; it translates there, and the kernel hears of it."""
    widget = own.page.locator("[data-widget=translator]").first
    settled = "(el) => el.dataset.status === 'ready' && !('busy' in el.dataset)"
    heard = own.page.locator(".heard")
    model, source, target, _ = load()

    def greedy_text(sentence: str) -> str:
        return translate(model, source, target, [sentence])[0]

    own.until(lambda: widget.count() and widget.evaluate(settled), 60, "the translator is ready")
    widget.scroll_into_view_if_needed()
    assert widget.get_attribute("data-translation") == greedy_text(next(iter(EXAMPLES)))
    widget.locator("[data-control=sentence]").fill("我们今天很高兴。")
    widget.locator("[data-control=sentence]").press("Enter")
    expected = f"0 cuts: {greedy_text('我们今天很高兴。')}"
    own.until(lambda: heard.inner_text() == expected, 30, f"the kernel hears {expected!r}")
    widget.locator("[data-try]").first.click()
    own.until(lambda: heard.inner_text().startswith("1 cuts: "), 30, "the kernel hears of a cut")
    own.until(lambda: widget.evaluate(settled), 30, "the cut is done")
    assert heard.inner_text() == f"1 cuts: {widget.get_attribute('data-translation')}"
