"""Every widget on every page: each control moved by mouse and by keyboard, and the picture answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import ElementHandle, Page
from playwright.sync_api import TimeoutError as Late
from visits import none

# What the widget shows, as opposed to what the reader holds: maps, drawings, chips, numbers.
PICTURE = """(host) => [...host.querySelectorAll("svg, canvas, table, img, output, .ad-chips, [data-panel]")]
  .filter((el) => el.getClientRects().length)
  .map((el) => (el.toDataURL ? el.toDataURL() : el.outerHTML))
  .join("\\n")"""
CONTROLS = "input:not([type=hidden]), select, textarea, button, [role=gridcell][tabindex='0']"
NAME = """(el) => el.dataset.control ?? el.getAttribute("aria-label") ?? el.labels?.[0]?.textContent
  ?? el.textContent.trim()"""


def chapters_with_widgets(site: Path) -> list[str]:
    found = [p.relative_to(site).as_posix() for p in sorted(site.rglob("*.html")) if "_static" not in p.parts]
    return [name for name in found if 'class="ad-widget-host"' in (site / name).read_text("utf-8")]


def answers(
    page: Page, host: ElementHandle, move: Callable[[Page, ElementHandle], None], control: ElementHandle
) -> bool:
    """Does the picture change when the control is moved?"""
    before = page.evaluate(PICTURE, host)
    move(page, control)
    try:
        page.wait_for_function(f"([host, before]) => ({PICTURE})(host) !== before", arg=[host, before], timeout=4_000)
    except Late:
        return False
    return True


def by_mouse(page: Page, control: ElementHandle) -> None:
    """What a hand does with this kind of control."""
    kind = control.evaluate("(el) => el.type ?? el.getAttribute('role')")
    control.scroll_into_view_if_needed()
    if kind == "range":
        box = control.bounding_box()
        assert box is not None
        at = control.evaluate("(el) => (el.valueAsNumber - el.min) / (el.max - el.min)")
        page.mouse.move(box["x"] + at * box["width"], box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + (0.3 if at > 0.5 else 0.7) * box["width"], box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
    elif kind == "select-one":
        control.evaluate("(el) => el.focus()")
        index = control.evaluate("(el) => (el.selectedIndex + 1) % el.options.length")
        control.select_option(index=index)
    elif kind == "radio":
        label = control.evaluate_handle("(el) => el.labels[0] ?? el").as_element()
        assert label is not None
        label.click()
    else:
        control.click()


def by_keyboard(page: Page, control: ElementHandle) -> None:
    """What the keys do with this kind of control, once it has the focus."""
    kind = control.evaluate("(el) => el.type ?? el.getAttribute('role')")
    at_end = control.evaluate("(el) => el.type === 'range' && el.valueAsNumber >= +el.max")
    last = control.evaluate("(el) => el.tagName === 'SELECT' && el.selectedIndex === el.options.length - 1")
    keys = {"range": "ArrowLeft" if at_end else "ArrowRight", "radio": "ArrowRight", "checkbox": "Space"}
    keys |= {"select-one": "ArrowUp" if last else "ArrowDown", "gridcell": "Enter"}
    page.keyboard.press(keys.get(kind, "Enter"))


# A radio button that is chosen and an example that is shown already are no moves.
FREE = """(el) => el.isConnected && el.getClientRects().length > 0 && !el.disabled && el.ariaDisabled !== "true"
  && !(el.type === "radio" && el.checked) && !el.matches(".ad-example[aria-pressed=true]")"""


def movable(host: ElementHandle) -> list[ElementHandle]:
    """The controls on show that can be moved now, but for text: that is typed in other tests."""
    shown = host.query_selector_all(CONTROLS)
    return [el for el in shown if el.evaluate(FREE) and el.evaluate("(el) => !['text', 'textarea'].includes(el.type)")]


def alive(page: Page, host: ElementHandle) -> None:
    """Come into view, where a large model is first fetched, and wait until it answers."""
    host.scroll_into_view_if_needed()
    ready = "(host) => [...host.querySelectorAll('[data-widget]')].every((el) => el.dataset.status === 'ready')"
    page.wait_for_function(ready, arg=host, timeout=60_000)


def test_there_are_widgets(site: Path) -> None:
    assert "book/context/queries-keys-values.html" in chapters_with_widgets(site)


@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_moves_the_picture_by_mouse(visit: Callable, site: Path, width: int) -> None:
    silent, moved = [], 0
    for name in chapters_with_widgets(site):
        opened = visit(name, width=width)
        page = opened.page
        for number, host in enumerate(page.query_selector_all(".ad-widget-host")):
            alive(page, host)
            for control in movable(host):
                if not control.evaluate(FREE):  # an earlier move has disabled, replaced or put it away
                    continue
                moved += 1
                if not answers(page, host, by_mouse, control):
                    silent.append(f"{name} widget {number}: {control.evaluate(NAME)}")
        none(opened.trouble())
    none(silent)
    assert moved > 10


def test_every_control_moves_the_picture_by_keyboard(visit: Callable, site: Path) -> None:
    """Tab reaches every control, the focus can be seen there, and its keys move the picture."""
    silent, unseen, unreached = [], [], []
    for name in chapters_with_widgets(site):
        page = visit(name).page
        for number, host in enumerate(page.query_selector_all(".ad-widget-host")):
            alive(page, host)
            wanted = {_group(control) for control in movable(host)}
            reached = set()
            host.evaluate("(el) => { el.tabIndex = -1; el.focus(); }")
            for _ in range(200):
                page.keyboard.press("Tab")
                control = page.evaluate_handle("document.activeElement").as_element()
                if control is None or not host.evaluate("(host, el) => host.contains(el)", control):
                    break
                if not control.evaluate(_FOCUS_SHOWS):
                    unseen.append(f"{name} widget {number}: {control.evaluate(NAME)}")
                reached.add(_group(control))
            unreached += [f"{name} widget {number}: {group}" for group in wanted - reached]
            for control in movable(host):
                if not control.evaluate(FREE):  # an earlier press has disabled, replaced or put it away
                    continue
                control.evaluate(_STAND_ON)
                if not answers(page, host, by_keyboard, control):
                    silent.append(f"{name} widget {number}: {control.evaluate(NAME)}")
    none(
        [f"no answer: {x}" for x in silent]
        + [f"no focus to see: {x}" for x in unseen]
        + [f"out of reach: {x}" for x in unreached]
    )


# Among radio buttons the keyboard stands on the one that is chosen.
_STAND_ON = """(el) => {
  const chosen = el.type === "radio" && [...document.getElementsByName(el.name)].find((one) => one.checked);
  (chosen || el).focus();
}"""


def _group(control: ElementHandle) -> str:
    """A control's identity for the keyboard: radio buttons of one name are one stop, so is a grid."""
    return control.evaluate("""(el) => {
      if (el.type === "radio") return `radio ${el.name}`;
      if (el.closest("[role=grid]")) return "grid";
      return `${el.tagName} ${el.id || el.dataset.control || el.dataset.chip || el.textContent}`;
    }""")


# An outline or a shadow on the control itself, or on the label that stands for it.
_FOCUS_SHOWS = """(el) => [el, ...(el.labels ?? []), el.closest("label"), el.parentElement].some((node) => {
  if (!node) return false;
  const style = getComputedStyle(node);
  return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
})"""


def test_a_reset_brings_the_first_picture_back(visit: Callable, site: Path) -> None:
    for name in chapters_with_widgets(site):
        page = visit(name).page
        for host in page.query_selector_all(".ad-widget-host"):
            reset = host.query_selector("[data-control=reset]")
            sliders = host.query_selector_all("input[type=range]")
            if not (reset and sliders):
                continue
            values = "(host) => [...host.querySelectorAll('input[type=range]')].map((el) => el.value).join()"
            first = host.evaluate(values)
            for slider in sliders:
                slider.focus()
                page.keyboard.press("ArrowRight")
            assert host.evaluate(values) != first
            reset.click()
            page.wait_for_function(f"([host, first]) => ({values})(host) === first", arg=[host, first], timeout=4_000)


def test_without_javascript_a_still_picture_stands_in(visit: Callable, site: Path) -> None:
    for name in chapters_with_widgets(site):
        page = visit(name, javascript=False).page
        hosts = page.locator(".ad-widget-host").count()
        still = page.locator(".ad-widget-host .ad-fallback:visible")
        assert still.count() == hosts
        for number in range(hosts):
            picture = still.nth(number).locator("svg, img").first
            box = picture.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) > 80
            assert picture.get_attribute("aria-label") or picture.get_attribute("alt")


def test_a_page_prints(visit: Callable, site: Path) -> None:
    """On paper: the widgets' pictures are there, nothing is cut off at the right, and controls without use are gone."""
    for name in chapters_with_widgets(site):
        page = visit(name).page
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 720, "height": 1000})
        for number in range(page.locator(".ad-widget-host").count()):
            box = page.locator(".ad-widget-host").nth(number).bounding_box()
            assert box is not None
            assert box["height"] > 80
            assert box["x"] + box["width"] <= 721
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        assert len(pdf) > 50_000


# ---------------------------------------------------------------- the attention laboratory
CHAPTER_7 = "book/context/queries-keys-values.html"


@pytest.fixture
def lab(visit: Callable) -> "Lab":
    return Lab(visit(CHAPTER_7))


class Lab:
    """The first attention laboratory of chapter 7, as a reader handles it."""

    def __init__(self, opened) -> None:
        self.visit, self.page = opened, opened.page
        self.root = self.page.locator("[data-widget=attention-lab]").first
        self.sentence = self.root.locator("[data-control=sentence]")

    @property
    def tokens(self) -> list[str]:
        return self.root.locator("tbody .ad-map-token").all_inner_texts()

    def weights(self) -> list[list[float]]:
        """What the map shows, row by row, from the names of its cells."""
        cells = self.root.locator("[data-cell]").evaluate_all(
            "(all) => all.map((el) => [el.dataset.cell, el.getAttribute('aria-label')])"
        )
        n = len(self.tokens)
        table = [[0.0] * n for _ in range(n)]
        for where, label in cells:
            row, column = map(int, where.split(","))
            said = label.rsplit(": ", 1)[1].replace("−", "-")
            table[row][column] = float(said) if said[0] in "-.0123456789" else 0.0
        return table

    def type(self, text: str) -> None:
        self.sentence.fill(text)
        self.sentence.press("Enter")

    def choose(self, control: str, value: str) -> None:
        chosen = self.root.locator(f"[data-control={control}][value={value}]")
        self.root.locator(f"label[for={chosen.get_attribute('id')}]").click()

    def settle(self) -> None:
        self.page.wait_for_timeout(300)


def test_a_typed_sentence_is_read(lab: Lab) -> None:
    before = lab.tokens
    lab.type("我在家喝茶。")
    lab.page.wait_for_function("(el) => el.dataset.status === 'ready'", arg=lab.root.element_handle())
    lab.settle()
    assert lab.tokens != before
    assert "".join(lab.tokens) == "我在家喝茶。"
    assert all(abs(sum(row) - 1) < 0.05 for row in lab.weights())
    none(lab.visit.trouble())


def test_an_input_method_may_finish_its_syllable(lab: Lab) -> None:
    """While pinyin is being composed nothing is read; when the signs are chosen, the sentence is."""
    before = lab.tokens
    lab.sentence.evaluate("""(el) => {
      el.focus();
      el.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
      el.value = "ni hao";
      el.dispatchEvent(new CompositionEvent("compositionupdate", { data: "ni hao", bubbles: true }));
      el.dispatchEvent(new InputEvent("input", { data: "ni hao", isComposing: true, bubbles: true }));
      el.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true }));
    }""")
    lab.settle()
    assert lab.tokens == before
    lab.sentence.evaluate("""(el) => {
      el.value = "你好。";
      el.dispatchEvent(new CompositionEvent("compositionend", { data: "你好", bubbles: true }));
      el.dispatchEvent(new InputEvent("input", { data: "你好", bubbles: true }));
    }""")
    lab.settle()
    assert "".join(lab.tokens) == "你好。"


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>",
        "美" * 5000,
        "\u202e\u0000\ud83d\ude00 ∑ \u200b",
        "   ",
        "__proto__ constructor toString",
        "这是一個很長的句子，" * 9,
    ],
    ids=["markup", "endless", "strange signs", "blank", "names of objects", "traditional and long"],
)
def test_hostile_input_does_no_harm(lab: Lab, text: str) -> None:
    """Whatever is typed is text: it is read, or refused in words, and the widget lives on."""
    title = lab.page.title()
    lab.type(text)
    lab.settle()
    assert lab.page.title() == title
    none(lab.visit.trouble())
    assert lab.tokens, "the map went away"
    rows = lab.weights()
    assert all(value == value for row in rows for value in row), "NaN in the map"
    lab.type("你好。")
    lab.settle()
    assert "".join(lab.tokens) == "你好。"


def test_the_causal_mask_closes_the_future_and_nothing_else(lab: Lab) -> None:
    lab.root.locator("[data-control=causal]").check(force=True)
    lab.settle()
    rows = lab.weights()
    assert all(value == 0 for i, row in enumerate(rows) for value in row[i + 1 :])
    assert all(abs(sum(row) - 1) < 0.05 for row in rows)
    assert rows[0][0] == pytest.approx(1)


def test_one_matrix_makes_the_scores_symmetric(lab: Lab) -> None:
    lab.choose("show", "scores")
    lab.settle()
    assert float(lab.root.get_attribute("data-asymmetry") or "nan") > 1e-2
    lab.choose("matrices", "one")
    lab.settle()
    assert float(lab.root.get_attribute("data-asymmetry") or "nan") < 1e-4
    rows = lab.weights()
    assert all(rows[i][j] == pytest.approx(rows[j][i], abs=0.02) for i in range(len(rows)) for j in range(i))


def test_a_cut_closes_one_cell_and_its_row_still_sums_to_one(lab: Lab) -> None:
    lab.choose("scope", "head")  # a cut in an earlier layer moves the vectors that all later rows are made of
    lab.settle()
    before = lab.weights()
    query, key = max(
        ((q, k) for q in range(len(before)) for k in range(len(before))), key=lambda at: before[at[0]][at[1]]
    )
    lab.root.locator(f"[data-cell='{query},{key}']").click()
    lab.settle()
    after = lab.weights()
    assert before[query][key] > 0.2
    assert after[query][key] == 0
    assert sum(after[query]) == pytest.approx(1, abs=0.05)
    other = (query + 1) % len(before)
    assert after[other] == before[other]
    lab.root.locator("[data-control=undo]").click()
    lab.settle()
    assert lab.weights() == before


def test_pointing_at_a_cell_shows_the_products_behind_it(lab: Lab) -> None:
    detail = lab.root.locator("[data-panel=detail]")
    lab.root.locator("[data-cell='0,0']").hover()
    lab.settle()
    first = detail.inner_text()
    lab.root.locator("[data-cell='2,1']").hover()
    lab.settle()
    assert detail.inner_text() != first
    for name in lab.tokens[1:3]:
        assert name in detail.inner_text()


def test_every_chinese_token_has_pinyin(lab: Lab) -> None:
    texts = lab.root.locator("[data-chip] .ad-chip-text").all_inner_texts()
    pinyin = lab.root.locator("[data-chip] .ad-chip-pinyin").all_inner_texts()
    chinese = {text: sound for text, sound in zip(texts, pinyin, strict=True) if "\u4e00" <= text[0] <= "\u9fff"}
    assert chinese
    assert all(chinese.values()), chinese


def test_zero_scale_is_a_plain_average(lab: Lab) -> None:
    """The left end of the scale slider: every score is zero, so every weight is one in n."""
    lab.root.locator("[data-control=scale]").focus()
    lab.page.keyboard.press("Home")
    lab.settle()
    rows = lab.weights()
    assert all(value == pytest.approx(1 / len(rows), abs=0.006) for row in rows for value in row)


def test_a_missing_model_is_said_and_can_be_asked_for_again(browser, site_url: str) -> None:
    """A lost connection: the widget says so and offers another try, which works once the model is there."""
    page = browser.new_page()
    down = True
    page.route("**/masked-lm/**", lambda route: route.abort() if down else route.continue_())
    page.goto(site_url + CHAPTER_7)
    retry = page.locator("[data-widget=attention-lab] button", has_text="Try again").first
    retry.wait_for(timeout=15_000)
    down = False
    retry.click()
    page.locator("[data-widget=attention-lab][data-status=ready]").first.wait_for(timeout=15_000)
    assert json.loads(page.locator("[data-widget=attention-lab]").first.get_attribute("data-tokens") or "0") > 0
    page.close()
