"""Saved attention maps in a real browser: opened from the disk, cut off from everything, with hostile tokens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Request
from visits import none

from attention_decoded.widgets import AttentionMap, show

AXE = Path(__file__).resolve().parent.parent.parent / "node_modules" / "axe-core" / "axe.min.js"
QUERIES = ["<img src=x onerror=document.title='run'>", "</script>", "<!--", "{{7*7}}", "They", "went"]
KEYS = ["他们", "回", "<svg onload=document.title='run'>", "家", "</s>"]
N_LAYERS, N_HEADS, D_HEAD = 2, 3, 7
VIEWS = {"head": "Lines and map", "model": "All heads", "neuron": "Products"}


def maps() -> list[AttentionMap]:
    """Cross-attention that is the softmax of its q·k, and an encoder of which only the weights are known."""
    draw = np.random.default_rng(0)
    q, k = (2 * draw.normal(size=(N_LAYERS, N_HEADS, n, D_HEAD)) for n in (len(QUERIES), len(KEYS)))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(D_HEAD)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    encoder = np.exp(scores[..., : len(KEYS), :]) / np.exp(scores[..., : len(KEYS), :]).sum(-1, keepdims=True)
    encoder[0, 0, 1] = 0
    return [AttentionMap.from_arrays(weights, QUERIES, KEYS, q=q, k=k), AttentionMap.from_arrays(encoder, KEYS)]


WEIGHTS = maps()[0].weights
SIGNS = [*QUERIES, *KEYS]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    title = "Maps of </title><script>document.title='run'</script>"
    return show(maps(), title=title).save(tmp_path_factory.mktemp("saved") / "maps.html")


class Opened:
    """The open file, and everything that it must not have done."""

    def __init__(self, page: Page, trouble: list[str]):
        self.page, self.trouble = page, trouble

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def choose(self, name: str, value: str) -> None:
        if name in {"view-layer", "view-head"}:
            self.page.locator(f"[data-control={name}]").select_option(index=int(value) + 1)  # the first is the mean
        else:
            self.page.locator(f"label:has-text('{value}')", has=self.page.locator("span")).click()

    def cell(self, query: int, key: int) -> Locator:
        return self.page.locator(f'[data-cell="{query},{key}"]')


@pytest.fixture
def opened(browser: Browser, saved: Path) -> Iterator[Callable[..., Opened]]:
    contexts = []

    def open_file(*, scheme: Literal["light", "dark"] = "light", width: int = 1100, touch: bool = False) -> Opened:
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, has_touch=touch, reduced_motion="reduce"
        )
        contexts.append(context)
        page, trouble = context.new_page(), []

        def asked(request: Request) -> None:
            if request.url != saved.as_uri():
                trouble.append(f"asked for {request.url}")

        page.on("request", asked)
        page.on("console", lambda m: trouble.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: trouble.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.goto(saved.as_uri(), wait_until="load")
        page.wait_for_selector("[data-widget=attention-map][data-status=ready]")
        return Opened(page, trouble)

    yield open_file
    for context in contexts:
        context.close()


def serious(page: Page) -> list[str]:
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [f"{v['id']}: {v['help']}: {[n['html'][:160] for n in v['nodes'][:4]]}" for v in found]


def test_hostile_tokens_stay_text(opened: Callable[..., Opened]) -> None:
    file = opened()
    file.page.wait_for_timeout(100)  # an image that does not exist would have failed by now
    assert file.page.title() == "Maps of </title><script>document.title='run'</script>"
    assert file.page.locator("h1").inner_text() == file.page.title()
    assert file.page.locator("script").count() == 2
    assert file.page.locator("main :is(img, script, iframe, object, link)").count() == 0
    for view in VIEWS.values():
        file.choose("view-mode", view)
    assert file.page.locator("main :is(img, script, iframe, object, link)").count() == 0
    file.choose("view-mode", VIEWS["head"])
    labels = file.page.locator("[data-panel=map] th .ad-heat-token").all_text_contents()
    assert labels == [*KEYS, *QUERIES]
    assert file.page.locator("[data-panel=lines] .ad-lines-text").all_text_contents() == [*KEYS, *QUERIES]
    none(file.trouble)


def test_the_policy_would_stop_a_script_all_the_same(opened: Callable[..., Opened]) -> None:
    file = opened()
    file.page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'run'";
      document.body.append(script);
      const image = document.createElement("img");
      image.setAttribute("onerror", "document.title = 'run'");
      image.src = "https://example.org/x.png";
      document.body.append(image);
    }""")
    file.page.wait_for_timeout(150)
    assert file.page.title() != "run"
    for what in ("Executing inline script", "Executing inline event handler", "Loading the image"):
        assert any(what in line and "has been blocked" in line for line in file.trouble), what


def test_the_map_shows_the_numbers_it_was_given(opened: Callable[..., Opened]) -> None:
    file = opened()
    mean = WEIGHTS.mean((0, 1))
    for query in range(len(QUERIES)):
        for key in range(len(KEYS)):
            label = file.cell(query, key).get_attribute("aria-label")
            assert label == f"{QUERIES[query]} looks at {KEYS[key]}: {mean[query, key]:.2f}"
    assert file.page.locator("[data-panel=map] td.ad-heat-sum").all_text_contents() == ["1.00"] * len(QUERIES)
    assert "mean of 6 heads (2 layers × 3)" in file.text(".ad-views-scope")
    file.choose("view-layer", "1")
    file.choose("view-head", "2")
    assert file.text(".ad-views-scope") == "Cross-attention · layer 2, head 3"
    label = file.cell(4, 3).get_attribute("aria-label")
    assert label == f"They looks at 家: {WEIGHTS[1, 2, 4, 3]:.2f}"
    none(file.trouble)


def test_lines_and_map_share_one_focus(opened: Callable[..., Opened]) -> None:
    file = opened()
    file.choose("view-layer", "1")
    file.choose("view-head", "2")
    word = file.page.locator('[data-word="query 5"]')
    word.hover()
    assert file.page.locator("th[data-in-row]").inner_text() == "went"
    numbers = file.page.locator("[data-panel=lines] [data-side=key] .ad-lines-weight").all_text_contents()
    shown = [f"{w:.2f}"[1:] if w < 0.995 else "1" for w in WEIGHTS[1, 2, 5]]
    assert numbers == [text if text != ".00" else "0" for text in shown]
    lines = file.page.locator("path[data-line]")
    assert {line.split(",")[0] for line in lines.evaluate_all("(all) => all.map((x) => x.dataset.line)")} == {"5"}
    word.click()
    file.page.locator('[data-word="key 3"]').click()
    assert file.text("[data-panel=look] .ad-look-title") == "went looks at 家"
    assert file.text("[data-panel=look] .ad-look-weight") == f"{WEIGHTS[1, 2, 5, 3]:.2f}"
    assert f"weight {WEIGHTS[1, 2, 5, 3]:.3f}" in file.text("[data-value=weight]")
    assert file.cell(5, 3).get_attribute("aria-selected") == "true"
    file.page.keyboard.press("Escape")
    file.page.mouse.move(5, 5)
    assert "strongest" in file.text("[data-panel=look]")
    file.cell(4, 1).hover()
    assert file.text("[data-panel=look] .ad-look-title") == "They looks at 回"
    none(file.trouble)


def test_a_line_tells_its_number_where_it_is_drawn(opened: Callable[..., Opened]) -> None:
    file = opened()
    file.choose("view-layer", "1")
    file.choose("view-head", "2")
    path = file.page.locator("path[data-line]").last  # the strongest lies on top
    query, key = map(int, str(path.get_attribute("data-line")).split(","))
    assert WEIGHTS[1, 2, query, key] == WEIGHTS[1, 2].max()
    x, y = path.evaluate("""(path) => {
      const at = path.getPointAtLength(path.getTotalLength() * 0.4);
      const box = path.ownerSVGElement.getBoundingClientRect();
      return [box.left + at.x, box.top + at.y];
    }""")
    file.page.mouse.move(x, y)
    assert file.page.locator(".ad-lines-number").text_content() == f"{WEIGHTS[1, 2, query, key]:.2f}"
    file.page.mouse.click(x, y)
    file.page.mouse.move(5, 5)
    assert file.cell(query, key).get_attribute("aria-selected") == "true"  # held
    none(file.trouble)


def test_every_head_opens_from_the_model_view(opened: Callable[..., Opened]) -> None:
    file = opened()
    file.choose("view-mode", VIEWS["model"])
    heads = file.page.locator("[data-panel=model] button")
    assert heads.count() == N_LAYERS * (N_HEADS + 1)
    pixel = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    painted = np.array(heads.nth(N_HEADS + 2).locator("canvas").evaluate(pixel)).reshape(len(QUERIES), len(KEYS), 4)
    assert np.abs(painted[..., 3] / 255 - WEIGHTS[1, 1]).max() < 0.005
    assert painted[..., :3].max(axis=(0, 1)).max() > 100  # in a colour of the palette
    heads.nth(0).focus()
    file.page.keyboard.press("ArrowDown")
    file.page.keyboard.press("ArrowRight")
    file.page.keyboard.press("Enter")
    assert file.text(".ad-views-scope") == "Cross-attention · layer 2, head 2"
    assert file.page.locator("[data-panel=map]").is_visible()
    none(file.trouble)


def test_the_products_of_one_query_with_all_keys(opened: Callable[..., Opened]) -> None:
    file = opened()
    file.choose("view-mode", VIEWS["neuron"])
    file.choose("view-layer", "0")
    file.choose("view-head", "1")
    file.page.locator("[data-panel=neuron] [data-query='4']").click()
    dots = file.page.locator(".ad-neuron-number").all_text_contents()
    made = maps()[0]
    assert made.q is not None
    assert made.k is not None
    expected = made.k[0, 1] @ made.q[0, 1, 4]
    assert [float(text.replace("−", "-")) for text in dots] == pytest.approx(expected, abs=0.051)
    weights = file.page.locator(".ad-neuron-weight").all_text_contents()
    assert weights == [f"{w:.2f}" for w in WEIGHTS[0, 1, 4]]
    file.choose("view-stack", "Encoder")
    assert "only its weights were given" in file.text("[data-panel=neuron]")
    none(file.trouble)


def test_by_keyboard_alone(opened: Callable[..., Opened]) -> None:
    file = opened()
    page = file.page
    page.locator('[data-word="query 4"]').focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.word") == "query 5"
    page.keyboard.press("ArrowUp")  # to the word that it looks at most
    best = int(WEIGHTS.mean((0, 1))[5].argmax())
    assert page.evaluate("document.activeElement.dataset.word") == f"key {best}"
    page.keyboard.press("Enter")
    assert page.locator("th[data-in-column]").inner_text() == KEYS[best]
    page.keyboard.press("Escape")
    file.cell(0, 0).focus()
    page.keyboard.press("Control+End")
    assert page.evaluate("document.activeElement.dataset.cell") == f"{len(QUERIES) - 1},{len(KEYS) - 1}"
    assert file.text("[data-panel=look] .ad-look-title") == "went looks at </s>"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.innerText") == "went"
    none(file.trouble)


def test_a_query_that_looks_nowhere_is_said(opened: Callable[..., Opened]) -> None:
    file = opened()
    assert file.text(".ad-maps-note") == "One row sums to 0, not to 1: that query may look nowhere."
    file.choose("view-stack", "Encoder")
    file.choose("view-layer", "0")
    file.choose("view-head", "0")
    assert file.page.locator("td.ad-heat-sum[data-zero]").all_text_contents() == ["0.00"]
    none(file.trouble)


@pytest.mark.parametrize("width", [1100, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(opened: Callable[..., Opened], scheme: str, width: int) -> None:
    file = opened(scheme=scheme, width=width, touch=width == 390)
    for view in VIEWS.values():
        file.choose("view-mode", view)
        none(serious(file.page))
        outside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert file.page.evaluate(outside) == 0, view
    dark = file.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    assert dark == (scheme == "dark")
    none(file.trouble)


def test_with_a_finger_the_first_tap_shows(opened: Callable[..., Opened]) -> None:
    file = opened(width=390, touch=True)
    assert file.page.locator(".ad-lines").get_attribute("data-form") == "columns"
    file.page.locator('[data-word="query 4"]').tap()
    assert file.text("[data-panel=look] .ad-look-title") == "They looks at"
    file.page.locator("[data-panel=look] .ad-look-row").first.tap()
    best = int(WEIGHTS.mean((0, 1))[4].argmax())
    assert file.text("[data-panel=look] .ad-look-title") == f"They looks at {KEYS[best]}"
    none(file.trouble)
