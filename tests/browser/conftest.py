"""A browser that sees the built site as a reader does, cut off from everything that is not the site."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import chromium
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, Route

# Until this holds a page is still on its way: the fonts are in place, and every widget stands or has said why not.
READY = """() => {
  const hosts = [...document.querySelectorAll(".ad-widget-host")];
  const widgets = [...document.querySelectorAll("[data-widget]")];
  return !document.documentElement.classList.contains("ad-arriving")
    && hosts.every((host) => ["ready", "failed"].includes(host.dataset.state))
    && widgets.every((widget) => widget.dataset.status !== "loading");
}"""


@dataclass
class Visit:
    """One open page, and what happened on the way to it."""

    page: Page
    failed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def trouble(self) -> list[str]:
        """Everything that must not happen on any page."""
        return (
            [f"failed request: {text}" for text in self.failed]
            + [f"third-party request: {text}" for text in self.foreign]
            + [f"console: {text}" for text in self.console]
        )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium.browser() as running:
        yield running


@pytest.fixture(scope="session")
def site_url(site: Path) -> Iterator[str]:
    """The built site on a local web server that compresses as a real one does."""
    with chromium.serve(site) as url:
        yield url


def visit_in(context: BrowserContext, home: str) -> Visit:
    """An empty tab that only reaches what lies under `home`, and records everything else."""

    def guard(route: Route, request: Request) -> None:
        if request.url.startswith((home, "data:", "blob:")):
            route.continue_()
        else:
            visit.foreign.append(request.url)
            route.abort()

    context.route("**/*", guard)
    page = context.new_page()
    visit = Visit(page)
    answered = set()

    def response(got: Response) -> None:
        answered.add(got.url)
        if got.status >= 400:
            visit.failed.append(f"{got.url} {got.status}")

    def failed(request: Request) -> None:
        # Chromium calls a fetch aborted, too, when the page has read its whole body and lets go of it.
        if not (request.failure == "net::ERR_ABORTED" and request.url in answered):
            visit.failed.append(f"{request.url} {request.failure}")

    page.on("response", response)
    page.on("requestfailed", failed)
    page.on("console", lambda m: m.type in {"error", "warning"} and visit.console.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda error: visit.console.append(f"uncaught: {error}"))
    return visit


@pytest.fixture
def visit(browser: Browser, site: Path, site_url: str) -> Iterator[Callable[..., Visit]]:
    """Open a page of the site: `visit("book/index.html", scheme="dark", width=390)`.

    `files=True` opens it from the disk, as a double click on the file does; `javascript=False` without scripts.
    `leads_to` is the page on which a page that only leads on must arrive.
    """
    contexts = []

    def open_page(
        name: str,
        *,
        scheme: str = "light",
        width: int = 1280,
        files: bool = False,
        javascript: bool = True,
        leads_to: str | None = None,
    ) -> Visit:
        context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            java_script_enabled=javascript,
            reduced_motion="reduce",
            service_workers="block",
        )
        contexts.append(context)
        home = site.as_uri() + "/" if files else site_url
        opened = visit_in(context, home)
        opened.page.goto(home + name, wait_until="load")
        if leads_to is not None:
            opened.page.wait_for_url(home + leads_to)
        if javascript:
            # Not in the condition below: a promise counts as true before it is kept.
            opened.page.evaluate("document.fonts.ready.then(() => null)")
            opened.page.wait_for_function(READY, timeout=30_000)
        return opened

    yield open_page
    for context in contexts:
        context.close()
