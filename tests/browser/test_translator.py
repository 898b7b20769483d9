"""The live translator, on the cover and in chapter 12: it writes and cuts as Python does; hands, keys, links, files."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route
from visits import none

COVER, CHAPTER_12 = "book/index.html", "book/transformer/decoding-and-seeing.html"
SENTENCE = "他昨天没有去学校。"
SETTLED = "(el) => el.dataset.status === 'ready' && !('busy' in el.dataset)"


class Live:
    """One translator, as a reader handles it."""

    def __init__(self, page: Page, form: str) -> None:
        self.page = page
        self.root = page.locator(f"[data-widget=translator][data-form={form}]").first
        self.sentence = self.root.locator("[data-control=sentence]")
        self.spoken = self.root.locator("[role=status].ad-unseen")

    def ready(self) -> "Live":
        self.root.scroll_into_view_if_needed()
        return self.settle(30_000)

    def settle(self, timeout: int = 15_000) -> "Live":
        self.page.wait_for_function(SETTLED, arg=self.root.element_handle(), timeout=timeout)
        return self

    def wait_until(self, condition: str, timeout: int = 15_000) -> None:
        """Until a JavaScript expression of `el`, the widget, holds."""
        self.page.wait_for_function(f"(el) => {condition}", arg=self.root.element_handle(), timeout=timeout)

    def type(self, text: str) -> None:
        """Type it and let the pause pass after which it is read."""
        self.sentence.fill(text)
        self.sentence.press("Enter")
        self.page.wait_for_timeout(50)

    @property
    def translation(self) -> str:
        return self.root.get_attribute("data-translation") or ""

    def word(self, side: str, at: int):
        return self.root.locator(f'[data-word="{side} {at}"]')

    def words(self, side: str) -> list[str]:
        found = self.root.locator(f'[data-word^="{side} "]')
        return found.evaluate_all("(all) => all.map((el) => (el.querySelector('.ad-chip-text') ?? el).textContent)")

    def deltas(self) -> list[float]:
        rows = self.root.locator("tr[data-delta]")
        return [float(value) for value in rows.evaluate_all("(all) => all.map((el) => el.dataset.delta)")]

    def says(self, pattern: str) -> None:
        self.wait_until(
            f"new RegExp({json.dumps(pattern)}, 'u').test(el.querySelector('[role=status].ad-unseen').textContent)"
        )


@pytest.fixture
def cover(visit: Callable) -> Iterator[Live]:
    opened = visit(COVER)
    yield Live(opened.page, "calm").ready()
    none(opened.trouble())


@pytest.fixture
def chapter(visit: Callable) -> Iterator[Live]:
    opened = visit(CHAPTER_12)
    yield Live(opened.page, "full").ready()
    none(opened.trouble())


@pytest.fixture(scope="module")
def python() -> tuple[Any, Any, Any]:
    """The same model in Python, with its tokenizers."""
    from attention_decoded.recipes.translator import load

    return load()[:3]


# ---------------------------------------------------------------- the same as Python
# Write sentences into the field, one after the other, and collect what comes out.
WRITE_ALL = """async ([root, sentences]) => {
  const input = root.querySelector("[data-control=sentence]");
  const found = [];
  for (const sentence of sentences) {
    input.value = sentence;
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    await new Promise((resolve) => requestAnimationFrame(resolve));
    while ("busy" in root.dataset) await new Promise((resolve) => setTimeout(resolve, 4));
    found.push(root.dataset.translation);
  }
  return found;
}"""


def test_the_page_translates_as_python_does(cover: Live, python) -> None:
    """200 sentences of the test split, greedily; the page takes up to 64 tokens."""
    from attention_decoded.data.pairs import load_splits
    from attention_decoded.data.tokenization import encode
    from attention_decoded.recipes.translator import translate

    model, source, target = python
    whole = sorted({pair.zh for pair in load_splits().test})
    every = [zh for zh, ids in zip(whole, encode(source, whole), strict=True) if len(ids) <= 64]
    sentences = every[:: len(every) // 200][:200]
    expected = translate(model, source, target, sentences)
    cover.page.set_default_timeout(180_000)
    written = cover.page.evaluate(WRITE_ALL, [cover.root.element_handle(), sentences])
    none([f"{zh}: {js} ≠ {py}" for zh, js, py in zip(sentences, written, expected, strict=True) if js != py])
    assert len(set(written)) > 150


CUTS = {
    "a cell": {"stack": "cross", "layer": 2, "head": 1, "query": 1, "key": 2},
    "a token pair": {"stack": "cross", "query": 1, "key": 2},
    "a column": {"stack": "cross", "key": 4},
    "a column of the encoder": {"stack": "encoder", "key": 2},
    "a head": {"stack": "decoder", "layer": 1, "head": 3},
    "a layer": {"stack": "encoder", "layer": 0},
    "all positions": {"positions": True},
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_cut_on_the_page_is_the_same_cut_in_python(visit: Callable, python, cut: Any) -> None:
    """The new translation, and Δ log-probability of every token of the old one."""
    import torch

    from attention_decoded.data.tokenization import BOS, EOS, encode
    from attention_decoded.knockout import knockout
    from attention_decoded.recipes.translator import translate

    places = ".".join(str(cut.get(name, "*")) for name in ("stack", "layer", "head", "query", "key"))
    opened = visit(f"{CHAPTER_12}#try?zh={SENTENCE}&cut={'positions' if 'positions' in cut else places}")
    live = Live(opened.page, "full").ready()
    model, source, target = python
    (ids,) = encode(source, [SENTENCE])
    (out,) = encode(target, translate(model, source, target, [SENTENCE]))
    read = torch.tensor([[*ids, EOS]])
    fed, wanted = torch.tensor([[BOS, *out]]), torch.tensor([[*out, EOS]])

    def log_probs() -> torch.Tensor:
        with torch.no_grad():
            return model(read, fed).log_softmax(-1).gather(-1, wanted[..., None])[0, :, 0]

    before = log_probs()
    with knockout(model, [cut]):
        expected = (log_probs() - before).tolist()
        text = translate(model, source, target, [SENTENCE])[0]
    assert live.deltas() == pytest.approx(expected, abs=1e-3)
    assert live.translation == text
    assert max(map(abs, expected)) > 1e-3, "a cut without any effect shows nothing"
    none(opened.trouble())


# ---------------------------------------------------------------- writing
def test_tokens_have_pinyin_gloss_probability_and_alternatives(cover: Live) -> None:
    assert "".join(cover.words("source")) == f"{SENTENCE}⏎"
    for chip in cover.root.locator(".ad-chip").all()[:-2]:  # the full stop and the end have none
        assert chip.locator(".ad-chip-pinyin").inner_text()
        assert chip.locator(".ad-chip-gloss").inner_text()
    first = cover.word("target", 0)
    assert re.search(r"\d %", first.get_attribute("aria-label") or "")
    first.click()
    panel = cover.root.locator("[data-panel=word]")
    choices = panel.locator("[data-choice]")
    assert choices.count() >= 5
    numbers = [
        float(re.sub(r"[^\d.]", "", text)) for text in panel.locator("[data-choice] .ad-row-number").all_inner_texts()
    ]
    assert numbers == sorted(numbers, reverse=True)


def test_another_word_goes_on_from_it(cover: Live) -> None:
    before = cover.words("target")
    cover.word("target", 1).click()
    other = cover.root.locator("[data-choice]:not([aria-current])").first
    text = other.locator(".ad-row-text").inner_text()
    other.click()
    cover.settle()
    after = cover.words("target")
    assert after[:2] == [before[0], text]
    assert after != before
    assert cover.word("target", 1).get_attribute("data-forced") is not None
    cover.root.locator("[data-control=free]").click()
    cover.settle()
    assert cover.words("target") == before


def test_traditional_characters_are_read(cover: Live) -> None:
    before = cover.translation
    cover.type("他昨天沒有去學校。")
    cover.settle()
    assert cover.translation == before
    assert SENTENCE in cover.root.locator(".ad-notes").inner_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I like tea.", "reads Chinese"),
        ("   ", "Type a Chinese sentence"),
        ("美" * 5000, "5,000 characters"),
        ("<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>", "reads Chinese"),
        ("__proto__ constructor toString", "reads Chinese"),
    ],
    ids=["English", "blank", "endless", "markup", "names of objects"],
)
def test_what_cannot_be_translated_gets_a_kind_word(cover: Live, text: str, said: str) -> None:
    title, before = cover.page.title(), cover.translation
    cover.type(text)
    assert said in cover.root.locator(".ad-problem").inner_text()
    assert cover.translation == before, "the last good translation went away"
    assert cover.root.locator(".ad-pairing[data-stale]").count() == 1
    assert cover.page.title() == title
    cover.type("你好。")
    cover.settle()
    assert cover.root.locator(".ad-problem").inner_text() == ""
    assert "".join(cover.words("source")) == "你好。⏎"


def test_markup_between_chinese_is_text(cover: Live) -> None:
    cover.type("<b>你好</b><img src=x onerror=\"document.title='caught'\">")
    cover.settle()
    assert cover.page.title() != "caught"
    assert cover.root.locator("b, img").count() == 0


def test_an_input_method_may_finish_its_syllable(cover: Live) -> None:
    """While pinyin is being composed nothing is read, Enter included; when the signs are chosen, the sentence is."""
    before = cover.translation
    cover.sentence.evaluate("""(el) => {
      el.focus();
      el.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
      el.value = "ni hao";
      el.dispatchEvent(new InputEvent("input", { data: "ni hao", isComposing: true, bubbles: true }));
      el.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true }));
    }""")
    cover.page.wait_for_timeout(500)
    assert cover.translation == before
    assert cover.root.locator(".ad-problem").inner_text() == ""
    cover.sentence.evaluate("""(el) => {
      el.value = "你好。";
      el.dispatchEvent(new CompositionEvent("compositionend", { data: "你好", bubbles: true }));
      el.dispatchEvent(new InputEvent("input", { data: "你好", bubbles: true }));
    }""")
    cover.wait_until("el.querySelectorAll('.ad-chip').length === 3 && !('busy' in el.dataset)")
    assert cover.translation != before


# ---------------------------------------------------------------- searching
def choose(live: Live, control: str, value: str) -> None:
    chosen = live.root.locator(f"[data-control={control}][value={value}]")
    live.root.locator(f"label[for={chosen.get_attribute('id')}]").click()


def test_the_beam_is_searched_as_in_python_and_ranked_anew_by_the_slider(chapter: Live, python) -> None:
    from functools import partial

    from attention_decoded.decoding import beam_search
    from attention_decoded.recipes.translator import translate

    model, source, target = python
    best_of_four = partial(beam_search, beam=4, alpha=1.0)
    choose(chapter, "search", "beam")
    chapter.settle()
    assert chapter.translation == translate(model, source, target, [SENTENCE], best_of_four)[0]
    ranking = chapter.root.locator(".ad-ranking li")
    scores = """(el) => [...el.querySelectorAll(".ad-ranking .ad-row-number")]
      .map((one) => Number(one.textContent.replace("−", "-")))"""
    first = chapter.root.evaluate(scores)
    assert ranking.count() > 1
    assert first == sorted(first, reverse=True)
    chapter.root.locator("[data-control=alpha]").focus()
    chapter.page.keyboard.press("Home")
    chapter.page.wait_for_timeout(400)
    sums = chapter.root.evaluate(scores)
    assert sums == sorted(sums, reverse=True)
    assert sums[0] < first[0], "without a penalty the scores are the sums themselves"
    assert chapter.translation == ranking.first.locator(".ad-row-text").inner_text()


def test_the_tree_of_the_search_is_walked_pruned_and_continued_by_keyboard(chapter: Live) -> None:
    choose(chapter, "search", "beam")
    chapter.settle()
    before = chapter.translation
    tree = chapter.root.locator(".ad-tree-panel")
    tree.locator("summary").focus()
    chapter.page.keyboard.press("Enter")
    chapter.page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowUp", "ArrowRight", "ArrowRight"):
        chapter.page.keyboard.press(key)
    node = tree.locator("[aria-selected=true]")
    assert node.get_attribute("data-node") == "2,0"
    assert tree.locator("td[data-path]").count() == 3
    assert tree.locator("path[data-path]").count() == 2, "a line leads to each but the first"
    fates = set(tree.locator("[data-node]").evaluate_all("(all) => all.map((el) => el.dataset.fate)"))
    assert fates == {"goes on", "found", "dropped"}
    widths = tree.locator("[data-node^='0,']").count()
    chapter.page.keyboard.press("Delete")
    chapter.page.wait_for_timeout(100)
    chapter.settle()
    assert chapter.translation != before, "the best text went with its branch"
    assert "without=" in chapter.page.url
    # The search has gone on with the others: nothing follows the branch, its place is taken, and the hand stays there.
    assert node.get_attribute("data-fate") == "left out"
    assert node.evaluate("(el) => el === document.activeElement")
    assert tree.locator("[data-node^='2,']:not([data-fate='left out'])").count() == widths
    assert tree.locator("[data-control=tree-prune]").inner_text() == "Bring this branch back"
    chapter.page.keyboard.press("Delete")
    chapter.page.wait_for_timeout(100)
    chapter.settle()
    assert chapter.translation == before, "it is back"
    chapter.page.keyboard.press("Delete")
    chapter.page.wait_for_timeout(100)
    chapter.settle()
    chapter.root.locator("[data-control=undo]").click()
    chapter.settle()
    assert chapter.translation == before, "undone"
    chapter.root.locator("[data-control=reset]").click()
    chapter.settle()


def test_a_link_leaves_branches_out(visit: Callable) -> None:
    opened = visit(CHAPTER_12 + "#try?zh=" + SENTENCE + "&search=beam&without=%E2%96%81He&without=%E2%96%81Qqq")
    live = Live(opened.page, "full").ready()
    assert live.translation
    assert not live.translation.startswith("He ")


def test_sampling_is_drawn_again_with_another_seed(chapter: Live) -> None:
    chapter.type("我想喝一杯热咖啡。")
    chapter.settle()
    choose(chapter, "search", "sample")
    chapter.settle()
    chapter.root.locator("[data-control=temperature]").focus()
    for _ in range(3):
        chapter.page.keyboard.press("ArrowRight")
    chapter.settle()
    texts = []
    for _ in range(6):
        texts.append(chapter.translation)
        chapter.root.locator("[data-control=draw]").click()
        chapter.settle()
    assert len(set(texts)) > 2
    for _ in range(6):
        chapter.root.locator("[data-control=undo]").click()
        chapter.settle()
    assert chapter.translation == texts[0], "the same seed draws the same"


# ---------------------------------------------------------------- cutting
def test_a_cut_shows_both_translations_and_is_spoken(cover: Live) -> None:
    before = cover.translation
    at = cover.words("source").index("昨天")
    cover.word("source", at).click()
    cover.root.locator("[data-control=cut-word]").click()
    cover.settle()
    effect = cover.root.locator("[data-panel=effect]")
    assert effect.locator(".ad-before").inner_text() == before
    assert cover.translation != before
    assert effect.locator(".ad-now").inner_text() == cover.translation
    gone = effect.locator(".ad-before del").all_inner_texts()
    assert any("yesterday" in word for word in gone)
    cover.says(r"^Without the translation looking at 昨天 the translation becomes: ")
    cover.root.locator("[data-control=undo]").click()
    cover.settle()
    assert cover.translation == before
    assert effect.is_hidden()


def test_a_thread_is_cut_by_a_press(cover: Live) -> None:
    cover.word("target", 4).hover()
    thread = cover.root.locator("[data-thread]").last  # the strongest
    pair = thread.get_attribute("data-thread")
    thread.dispatch_event("click")
    cover.settle()
    assert f"cut=cross.*.*.{(pair or '').replace(',', '.')}" in cover.page.url
    cover.root.locator("[data-control=reset]").click()
    cover.settle()
    assert "cut=" not in cover.page.url


LONG = "昨天晚上我和我的朋友们一起去了那家新开的中国饭馆吃饭，但是因为人太多了，我们等了一个多小时才坐下来。"
CELLS = """(table) => [...table.querySelectorAll("td[data-cell]")].map((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return { width: cell.offsetWidth, height: cell.offsetHeight, lines: range.getClientRects().length,
           over: cell.scrollWidth - cell.clientWidth };
})"""


def test_the_heatmap_of_a_long_sentence_scrolls_and_is_not_squeezed(chapter: Live) -> None:
    chapter.type(LONG)
    chapter.settle()
    heatmap = chapter.root.locator(".ad-heat")
    cells = heatmap.evaluate(CELLS)
    assert len(cells) > 30 * 20
    # As wide as high, give or take a pixel of rounding; a number is not broken over two lines.
    assert {abs(cell["width"] - cell["height"]) <= 1 for cell in cells} == {True}
    assert min(cell["width"] for cell in cells) >= 24
    assert max(cell["lines"] for cell in cells) == 1
    assert max(cell["over"] for cell in cells) == 0
    assert heatmap.evaluate("(table) => table.parentElement.scrollWidth > table.parentElement.clientWidth")


def test_the_pointer_reaches_the_buttons_of_a_look(chapter: Live) -> None:
    """On its way from a cell to the panel below it crosses other cells, which then are not looked at."""
    views = chapter.root.locator("[data-panel=views]")
    choose(chapter, "view-mode", "map")
    cell = views.locator(".ad-heat [data-row='1'][data-column='0']")
    button = views.locator(".ad-look-cut")
    button.evaluate("(el) => el.scrollIntoView({ block: 'end' })")
    cell.hover()
    title = views.locator("[data-panel=look] .ad-look-title")
    chapter.page.wait_for_timeout(200)
    meant = title.inner_text()
    box, at = button.bounding_box(), cell.bounding_box()
    assert box is not None
    assert at is not None
    middle = at["x"] + at["width"] / 2
    crossed = set()
    for step in range(1, 13):
        y = at["y"] + at["height"] / 2 + step / 12 * (box["y"] + box["height"] / 2 - at["y"] - at["height"] / 2)
        chapter.page.mouse.move(middle, y)
        under = "([x, y]) => document.elementFromPoint(x, y).closest('[data-row]')?.dataset.row"
        crossed.add(chapter.page.evaluate(under, [middle, y]))
    assert len(crossed) > 3, "the way leads over other rows"
    chapter.page.wait_for_timeout(300)
    assert title.inner_text() == meant
    # Away from it, and rested elsewhere, the look is that of the cell below the pointer.
    other = views.locator(".ad-heat [data-row='0'][data-column='1']")
    other.hover()
    chapter.page.wait_for_timeout(300)
    assert title.inner_text() != meant


def test_suggestions_are_ordered_by_their_measured_effect(chapter: Live) -> None:
    chapter.wait_until("el.querySelectorAll('[data-try]').length > 5", 60_000)
    said = chapter.root.locator("[data-try] .ad-row-number").all_inner_texts()
    sizes = [abs(float(text.rstrip("*").replace("−", "-"))) for text in said]
    assert sizes == sorted(sizes, reverse=True)
    first = chapter.root.locator("[data-try]").first
    first.click()
    chapter.settle()
    assert sum(chapter.deltas()) == pytest.approx(float(said[0].rstrip("*").replace("−", "-")), abs=0.011)
    assert first.get_attribute("aria-pressed") == "true"
    # Of another sentence these cuts say nothing: they wait, out of reach, until new ones are measured.
    chapter.type("这本书比那本书贵。")
    chapter.wait_until("el.querySelector('.ad-tips[data-stale] [data-try][aria-disabled=true]')")
    first.dispatch_event("click")  # Playwright's own click would wait until it may be pressed
    chapter.wait_until("!el.querySelector('.ad-tips[data-stale]')", 60_000)
    assert not chapter.root.locator("[data-try][aria-pressed=true]").count()
    listed = set("".join(chapter.root.locator("[data-try]").all_inner_texts()))
    assert listed & set("这本书比那贵")
    assert not listed & set("昨天学校")


# ---------------------------------------------------------------- links
def test_the_address_follows_the_reader_and_leads_back(visit: Callable) -> None:
    opened = visit(CHAPTER_12)
    live = Live(opened.page, "full").ready()
    assert "#try" not in opened.page.url, "nothing was changed yet"
    live.type("这本书比那本书贵。")
    live.settle()
    live.word("source", 1).click()
    live.root.locator("[data-control=cut-word]").click()
    live.settle()
    link, text, deltas = opened.page.url, live.translation, live.deltas()
    assert "#try?zh=" in link
    again = visit(f"{CHAPTER_12}#{link.partition('#')[2]}")
    other = Live(again.page, "full").ready()
    assert (other.translation, other.deltas()) == (text, deltas)
    assert other.sentence.input_value() == "这本书比那本书贵。"
    none(opened.trouble() + again.trouble())


@pytest.mark.parametrize(
    "fragment",
    [
        "zh=%3Cimg%20src%3Dx%20onerror%3D%22document.title%3D'caught'%22%3E你好。&cut=cross.*.*.900.900",
        "zh=你好。&beam=1e9&alpha=NaN&search=__proto__&cut=evil&cut=cross.99.*.*.*&view=x&begin=%E2%96%81Qqq",
        "zh=" + "好" * 3000,
        "%E0%A4%A&zh=%ZZ&&&===",
        "constructor=1&__proto__=2&cut=positions",
    ],
    ids=["markup", "out of range", "endless", "broken", "names of objects"],
)
def test_a_hostile_link_does_no_harm(visit: Callable, fragment: str) -> None:
    opened = visit(f"{CHAPTER_12}#try?{fragment}")
    live = Live(opened.page, "full").ready()
    assert opened.page.title() != "caught"
    assert live.root.locator("img").count() == 0
    assert live.translation
    assert "left out" in live.root.locator(".ad-notes").inner_text().lower()
    live.type(SENTENCE)
    live.settle()
    assert "".join(live.words("source")) == f"{SENTENCE}⏎"
    none(opened.trouble())


# ---------------------------------------------------------------- keys, fingers, ears
def test_everything_is_done_by_keyboard_and_the_focus_stays(cover: Live) -> None:
    page = cover.page
    cover.says("^$")  # nothing is spoken before something is done
    cover.sentence.focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("我在家喝茶。")
    page.keyboard.press("Enter")
    cover.says("^Translation: ")
    cover.settle()
    focused = "document.activeElement?.dataset"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate(f"{focused}?.word") == "target 0":
            break
    assert cover.root.locator("[data-focused]").count() == 1, "the focus shows where the word looks"
    page.keyboard.press("Enter")  # opens what is known of the word, and goes there
    assert page.evaluate(f"{focused}?.choice") is not None
    page.keyboard.press("Escape")
    assert page.evaluate(f"{focused}?.word") == "target 0"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    text = page.evaluate("document.activeElement.querySelector('.ad-row-text').textContent")
    page.keyboard.press("Enter")  # the second choice
    cover.settle()
    assert cover.words("target")[0] == text
    assert page.evaluate(f"{focused}?.word") == "target 0"
    page.keyboard.press("Shift+Tab")  # the last Chinese token
    page.keyboard.press("Enter")
    while page.evaluate(f"{focused}?.control") != "cut-word":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    cover.settle()
    cover.says("^Without the translation looking at ")
    assert page.evaluate(f"{focused}?.control") == "cut-word"


def test_by_touch_on_a_phone(browser: Browser, site_url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(site_url + COVER)
    live = Live(page, "calm").ready()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    live.word("target", 1).tap()
    live.root.locator("[data-cut-look]").first.tap()
    live.settle()
    assert live.root.locator("[data-panel=effect]").is_visible()
    small = live.root.locator("button:visible, a:visible, input:visible").evaluate_all(
        """(all) => all.map((el) => [el.textContent || el.dataset.control, el.getBoundingClientRect()])
          .filter(([, box]) => Math.min(box.width, box.height) < 31.5)
          .map(([name, box]) => `${name}: ${box.width.toFixed(0)} × ${box.height.toFixed(0)}`)"""
    )
    none(small)
    context.close()


# ---------------------------------------------------------------- files that are late, cut short, or gone
@pytest.fixture
def tab(browser: Browser, site_url: str) -> Iterator[Page]:
    context = browser.new_context(service_workers="block")
    yield context.new_page()
    context.close()


def test_before_the_model_is_there_the_example_is_explored(tab: Page, site_url: str) -> None:
    held: list[Route] = []
    tab.route("**/translator/model.safetensors", lambda route: held.append(route))
    tab.goto(site_url + COVER)
    live = Live(tab, "calm")
    live.root.locator(".ad-loader progress").wait_for()
    assert live.translation
    live.word("target", 1).click()
    assert live.root.locator("[data-choice]").count() >= 5
    live.root.locator("[data-try]").first.click()
    live.wait_until("!('busy' in el.dataset)")
    assert live.root.locator("[data-panel=effect] .ad-now").inner_text() == live.translation
    live.type("你好。")
    assert live.root.locator(".ad-pairing[data-stale]").count() == 1, "this needs the model"
    tab.wait_for_timeout(200)
    for route in held:
        route.continue_()
    live.settle(30_000)
    assert "".join(live.words("source")) == "你好。⏎"


@pytest.mark.parametrize("trouble", ["gone", "cut short", "not JSON"])
def test_a_lost_file_is_said_and_asked_for_again(tab: Page, site_url: str, trouble: str) -> None:
    broken = True

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if not broken or name != ("target.tokenizer.json" if trouble == "not JSON" else "model.safetensors"):
            route.continue_()
        elif trouble == "gone":
            route.abort()
        else:
            body = route.fetch().body()
            route.fulfill(status=200, body=body[: len(body) // 2])

    tab.route("**/models/translator/**", answer)
    tab.goto(site_url + COVER)
    live = Live(tab, "calm")
    retry = live.root.locator("button", has_text="Try again")
    retry.wait_for(timeout=30_000)
    said = live.root.locator(".ad-loading").inner_text()
    assert {"gone": "could not be fetched", "cut short": "file ends at", "not JSON": "cut short"}[trouble] in said
    assert live.root.get_attribute("data-status") == "failed"
    assert live.translation, "the example is there all the same"
    broken = False
    retry.click()
    live.ready()
    live.type("你好。")
    live.settle()
    assert "".join(live.words("source")) == "你好。⏎"


def test_loading_can_be_stopped(tab: Page, site_url: str) -> None:
    tab.route("**/translator/model.safetensors", lambda route: None)  # for ever
    tab.goto(site_url + COVER)
    live = Live(tab, "calm")
    live.root.locator("button", has_text="Stop").click()
    assert "stopped" in live.root.locator(".ad-loading").inner_text()
    assert live.root.locator("button", has_text="Try again").is_visible()


def test_a_reader_who_saves_data_is_asked_first(tab: Page, site_url: str) -> None:
    fetched: list[str] = []
    tab.on("request", lambda request: fetched.append(request.url))
    tab.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
    tab.goto(site_url + COVER)
    live = Live(tab, "calm")
    live.root.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)
    assert not [url for url in fetched if "models/translator" in url]
    assert live.translation
    live.root.locator("[data-control=load]").click()
    live.settle(30_000)
    assert [url for url in fetched if url.endswith("translator/model.safetensors")]


def test_out_of_sight_nothing_is_loaded(tab: Page, site_url: str) -> None:
    fetched: list[str] = []
    tab.on("request", lambda request: fetched.append(request.url))
    tab.add_init_script("globalThis.IntersectionObserver = class { observe() {} disconnect() {} unobserve() {} }")
    tab.goto(site_url + COVER)
    tab.locator("[data-widget=translator]").wait_for()
    tab.wait_for_timeout(500)
    assert not [url for url in fetched if url.endswith("model.safetensors")]


def test_from_a_folder_on_the_disk(visit: Callable) -> None:
    opened = visit(COVER, files=True)
    live = Live(opened.page, "calm").ready()
    live.type("我在家喝茶。")
    live.settle()
    assert "tea" in live.translation
    none(opened.trouble())
