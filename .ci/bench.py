"""Measure the book and print a table: how long it takes to build, what a page weighs, how soon it is alive and answers.

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
LIVE = "book/transformer/decoding-and-seeing.html"
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
# The translator of chapter 12: when it had first written, and what it costs the main thread until a change is drawn.
FIRST_WRITTEN = """
  new MutationObserver((_, observer) => {
    const live = document.querySelector("[data-widget=translator]");
    if (live?.dataset.status !== "ready" || "busy" in live.dataset) return;
    observer.disconnect();
    performance.mark("first-written");
  }).observe(document, { subtree: true, childList: true, attributeFilter: ["data-status", "data-busy"] });
"""
FIRST = """() => {
  const arrived = performance.getEntriesByType("resource").find((entry) => entry.name.includes("model.safetensors"));
  const written = performance.getEntriesByName("first-written")[0];
  return written && arrived && written.startTime - arrived.responseEnd;
}"""
SETTLED = """() => {
  const { dataset } = document.querySelector("[data-widget=translator]");
  return dataset.status === "ready" && !("busy" in dataset);
}"""
ACT = """(source) => new Promise((done) => setTimeout(() => requestAnimationFrame(() => {
  const channel = new MessageChannel(); // its message comes after this very frame has been drawn
  const start = performance.now();
  channel.port1.onmessage = () => done(performance.now() - start);
  channel.port2.postMessage(null);
  new Function("live", source)(document.querySelector("[data-widget=translator]"));
}), 100))"""
CLICK = "live.querySelector('{}').click()"
ALPHA = """
  const slider = live.querySelector("[data-control=alpha]");
  slider.value = {};
  slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
"""
TYPED = ("我想喝一杯热咖啡。", "他们明天早上去北京。", "你为什么不告诉我？", "这个问题很难回答。", "我们应该帮助她。")

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


def translator(browser: Browser, url: str) -> list[Row]:
    """The live translator: its first words, a token, and one change of each kind until it is drawn."""
    firsts = []
    for _ in range(5):
        page = browser.new_page()
        page.add_init_script(FIRST_WRITTEN)
        page.goto(url + LIVE)
        page.locator("[data-widget=translator]").first.scroll_into_view_if_needed()
        firsts.append(page.wait_for_function(FIRST, timeout=60_000).json_value())
        page.close()
    page = browser.new_page(reduced_motion="reduce")
    page.goto(url + LIVE)
    live = page.locator("[data-widget=translator]").first
    live.scroll_into_view_if_needed()
    page.wait_for_function(SETTLED)

    def after(*actions: str) -> float:
        """Median milliseconds from each action to its frame, the widget at rest in between."""
        times = []
        for action in actions:
            times.append(page.evaluate(ACT, action))
            page.wait_for_function(SETTLED)
        return statistics.median(times)

    steps, tokens = [], []
    for sentence in TYPED:
        live.locator("[data-control=sentence]").fill(sentence)
        live.locator("[data-control=sentence]").press("Enter")
        page.wait_for_timeout(100)
        page.wait_for_function(SETTLED)
        steps.append(float(live.get_attribute("data-step-ms") or "nan"))
        tokens.append(float(live.get_attribute("data-token-ms") or "nan"))
    views = [CLICK.format(f"[data-control=view-mode][value={mode}]") for mode in ("map", "model", "lines")]
    words = [CLICK.format(f'[data-word="target {at}"]') for at in (0, 1, 2)]
    page.evaluate(ACT, CLICK.format('[data-word="source 1"]'))
    figures = {
        "the first translation, its weights arrived": (statistics.median(firsts) / 1000, "s", "1 s"),
        "a token, computed": (statistics.median(steps), "ms", "5 ms"),
        "a token, with all frames painted": (statistics.median(tokens), "ms", ""),
        "another view": (after(*views * 5), "ms", "16 ms"),
        "a word chosen": (after(*words * 5), "ms", "16 ms"),
        "a cut, its first frame": (after(*[CLICK.format("[data-control=cut-word]")] * 14), "ms", "16 ms"),
    }
    page.evaluate(ACT, CLICK.format("[data-control=search][value=beam]"))
    page.wait_for_function(SETTLED)
    moved = after(*(ALPHA.format(tenths / 10) for tenths in range(15)))
    figures["the length penalty moved"] = (moved, "ms", "16 ms")
    page.close()
    return [(f"translator: {what}", f"{x:.2f} {unit}" if unit == "s" else f"{x:.1f} {unit}", budget)
            for what, (x, unit, budget) in figures.items()]  # fmt: skip


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
        rows += translator(browser, url)
        version = browser.version
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""  # above the cores: all is slower
    print(f"\n{platform.system()} {platform.machine()}, {os.cpu_count()} cores{busy}, Chromium {version}\n")
    for what, measured, budget in [("", "measured", "budget"), *rows]:
        print(f"{what:<56} {measured:>20}   {budget:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
