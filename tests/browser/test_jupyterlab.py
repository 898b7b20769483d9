"""A chapter in its second home, JupyterLab: its notebook run from top to bottom, and what can be moved there, moved."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as Late

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = ROOT / "book" / "context" / "queries-keys-values.ipynb"
SETTINGS = {
    # Every cell is drawn, also out of sight; nothing is asked of the network.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
STARTED = """() => /\\[(\\*|\\d+)\\]/.test(document.querySelector(".jp-CodeCell .jp-InputArea-prompt").textContent)"""
IDLE = """() => {
  const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")].map((el) => el.textContent);
  return prompts.length > 0 && prompts.every((text) => /\\[\\d+\\]/.test(text));
}"""


@pytest.fixture(scope="module")
def jupyterlab(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a folder that holds one notebook and nothing else; gives the notebook's address."""
    home = tmp_path_factory.mktemp("jupyterlab")
    notebooks = home / "notebooks"
    notebooks.mkdir()
    shutil.copy(CHAPTER, notebooks)
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
                urllib.request.urlopen(f"{url}/api?token=test", timeout=5)
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("JupyterLab does not start:\n" + (home / "server.log").read_text()[-4000:])
                time.sleep(0.5)
        yield f"{url}/lab/tree/{CHAPTER.name}?token=test&reset"
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture(scope="module")
def notebook(browser: Browser, jupyterlab: str) -> Iterator[Page]:
    """The chapter's notebook after "Run All Cells"."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    home = jupyterlab.split("/lab")[0]
    context.route("**/*", lambda r: r.continue_() if r.request.url.startswith((home, "data:", "blob:")) else r.abort())
    page = context.new_page()
    page.goto(jupyterlab)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=90_000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(state="attached", timeout=60_000)
    for _ in range(5):  # a kernel that is only just starting forgets what it was asked
        page.locator(".lm-MenuBar-item", has_text="Run").first.click()
        page.locator(".lm-Menu-item", has_text="Run All Cells").first.click()
        try:
            page.wait_for_function(STARTED, timeout=10_000)
            break
        except Late:
            page.keyboard.press("Escape")
    page.wait_for_function(IDLE, timeout=200_000)
    yield page
    context.close()


def test_every_cell_runs(notebook: Page) -> None:
    errors = notebook.locator(".jp-OutputArea-output[data-mime-type*='error']")
    assert errors.all_inner_texts() == []
    assert notebook.locator(".jp-RenderedText[data-mime-type*='stderr']").all_inner_texts() == []


def test_a_kernel_cell_redraws_its_picture(notebook: Page) -> None:
    """The cell that only notebooks have: a slider calls the package's own function, and the figure changes."""
    cell = notebook.locator(".jp-OutputArea-output", has=notebook.locator(".widget-interact")).first
    cell.scroll_into_view_if_needed()
    picture = cell.locator("img").first
    picture.wait_for(timeout=30_000)
    before = picture.get_attribute("src")
    cell.locator(".noUi-handle").last.click()  # a cell that is not the active one would leave the keys to JupyterLab
    for _ in range(30):
        notebook.keyboard.press("ArrowRight")
        notebook.wait_for_timeout(1000)
        if picture.get_attribute("src") != before:
            return
    pytest.fail("the slider moves, and the figure stays as it was")


def test_the_laboratory_lives_in_a_notebook_too(notebook: Page) -> None:
    """The same widget as on the page, with its model carried by the kernel instead of fetched."""
    lab = notebook.locator("[data-widget=attention-lab]").first
    lab.scroll_into_view_if_needed()
    notebook.wait_for_function("(el) => el.dataset.status === 'ready'", arg=lab.element_handle(), timeout=60_000)
    levels = "(el) => [...el.querySelectorAll('[data-cell]')].map((cell) => cell.dataset.level).join()"
    before = lab.evaluate(levels)
    lab.locator("[data-control=scale]").focus()
    for _ in range(5):
        notebook.keyboard.press("ArrowRight")
    notebook.wait_for_function(f"([el, before]) => ({levels})(el) !== before", arg=[lab.element_handle(), before])
    words = "(el) => [...el.querySelectorAll('tbody .ad-map-token')].map((word) => word.textContent).join('')"
    lab.locator("[data-control=sentence]").fill("你好。")
    lab.locator("[data-control=sentence]").press("Enter")
    notebook.wait_for_function(f"(el) => ({words})(el) === '你好。'", arg=lab.element_handle())
