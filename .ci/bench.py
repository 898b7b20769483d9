"""Measure the book and print a table: how long it takes to build, what a page weighs, how soon it is alive.

Numbers depend on the machine, so no test asks for them; the budgets stand beside them. The built site is
thrown away and built again, since a cold build is one of the things measured.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from setup import ROOT, environment

sys.path.insert(0, str(ROOT / "tests"))

import chromium
from playwright.sync_api import Browser

CHAPTER = "book/context/queries-keys-values.html"
SITE = ROOT / "_build" / "html"
KINDS = {
    "html": (".html",),
    "js": (".js", ".mjs"),
    "css": (".css",),
    "fonts": (".woff2", ".woff"),
    "checkpoint": (".safetensors",),
    "vocabulary and glosses": (".json",),
    "pictures": (".svg", ".png", ".webp", ".ico"),
}
KIND_OF = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes}
ASIDE = {"fonts", "checkpoint"}
# A slow phone line and a slow phone, as the budget has them.
SLOW_LINE = {"offline": False, "latency": 100, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
SLOW_CPU = {"rate": 4}
ALIVE = "() => performance.getEntriesByName('ad-widget-ready')[0]?.startTime"
DRAG = """async () => {
  const slider = document.querySelector("[data-widget] input[type=range]");
  slider.scrollIntoView({ block: "center" });
  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const channel = new MessageChannel(); // its message comes after the frame has been drawn
    channel.port1.onmessage = done;
    channel.port2.postMessage(null);
  }));
  await painted();
  const steps = [];
  for (let i = 0; i < 60; i++) {
    const start = performance.now();
    slider.stepUp(i % 2 ? -3 : 4);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    const computed = performance.now() - start;
    await painted();
    steps.push([computed, performance.now() - start]);
  }
  return steps;
}"""

Row = tuple[str, str, str]


def make_book() -> float:
    start = time.monotonic()
    subprocess.run(["make", "--no-print-directory", "book"], cwd=ROOT, env=environment(), check=True, stdout=sys.stderr)
    return time.monotonic() - start


def build_times() -> list[Row]:
    """Cold: no site, no cached executions, but everything installed. Warm: nothing changed."""
    for path in (ROOT / "_build").iterdir() if (ROOT / "_build").is_dir() else ():
        if path.name != "log":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [
        ("make book, cold", f"{make_book():.0f} s", "120 s"),
        ("make book, nothing changed", f"{make_book():.1f} s", "10 s"),
    ]


def page_weight(browser: Browser, url: str) -> list[Row]:
    """What travels for one page on a first visit, gzipped, by kind."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    names: dict[str, str] = {}
    sizes: dict[str, float] = defaultdict(float)

    def finished(event: dict) -> None:
        path = Path(names[event["requestId"]].partition("?")[0])
        sizes[KIND_OF.get(path.suffix, "other")] += event["encodedDataLength"]

    session.on("Network.responseReceived", lambda e: names.update({e["requestId"]: e["response"]["url"]}))
    session.on("Network.loadingFinished", lambda e: finished(e) if e["requestId"] in names else None)
    page.goto(url + CHAPTER)
    page.wait_for_function(ALIVE)
    page.wait_for_load_state("networkidle")
    context.close()
    rows = [(f"chapter 7, {kind}", f"{size / 1000:.0f} kB", "") for kind, size in sorted(sizes.items())]
    light = sum(size for kind, size in sizes.items() if kind not in ASIDE)
    return [*rows, ("chapter 7 but for fonts and checkpoint", f"{light / 1000:.0f} kB", "450 kB")]


def until_alive(browser: Browser, url: str, *, slow: bool, runs: int) -> float:
    """Median seconds from the click on the link to a widget that answers, with nothing cached."""
    times = []
    for _ in range(runs):
        context = browser.new_context()
        page = context.new_page()
        if slow:
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", SLOW_LINE)
            session.send("Emulation.setCPUThrottlingRate", SLOW_CPU)
        page.goto(url + CHAPTER)
        times.append(page.wait_for_function(ALIVE, timeout=60_000).json_value() / 1000)
        context.close()
    return statistics.median(times)


def drag(browser: Browser, url: str) -> list[Row]:
    """One step of the first slider: until the numbers are computed, and until they are on the screen."""
    page = browser.new_page()
    page.goto(url + CHAPTER)
    page.wait_for_function(ALIVE)
    computed, painted = zip(*page.evaluate(DRAG), strict=True)
    page.close()
    return [
        ("a slider's step, computed (median)", f"{statistics.median(computed):.1f} ms", ""),
        ("a slider's step, painted (median)", f"{statistics.median(painted):.1f} ms", ""),
    ]


def main() -> int:
    rows = build_times()
    files = [path for path in SITE.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files) / 1e6
    rows.append(("the whole site", f"{total:.1f} MB, {len(files)} files", ""))
    with chromium.serve(SITE) as url, chromium.browser() as browser:
        rows += page_weight(browser, url)
        rows.append(("alive, local", f"{until_alive(browser, url, slow=False, runs=7):.2f} s", "0.7 s"))
        rows.append(("alive, 10 Mbit/s, 100 ms, CPU/4", f"{until_alive(browser, url, slow=True, runs=3):.2f} s", "3 s"))
        rows += drag(browser, url)
        version = browser.version
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""  # above the cores: all is slower
    print(f"\n{platform.system()} {platform.machine()}, {os.cpu_count()} cores{busy}, Chromium {version}\n")
    for what, measured, budget in [("", "measured", "budget"), *rows]:
        print(f"{what:<42} {measured:>20}   {budget:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
