"""Every page of the built site, in a real browser that reaches nothing but the site."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Error, Page
from visits import none

ROOT = Path(__file__).resolve().parent.parent.parent
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
SCHEMES = ("light", "dark")


def toc_pages() -> list[str]:
    """Every page of the table of contents, as the address it gets in the site."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))

    def walk(node: dict) -> list[str]:
        own = [node[key] for key in ("root", "file") if key in node]
        children = (child for key in ("parts", "chapters", "sections") for child in node.get(key, []))
        return own + [name for child in children for name in walk(child)]

    return [f"{name}.html" for name in walk(toc)]


CHAPTERS = toc_pages()
PAGES = [*CHAPTERS, "search.html", "genindex.html"]
FRONT_DOOR = "index.html"  # leads on to the cover at once


def overflow(page: Page) -> list[str]:
    """What sticks out of the window to the right, if the page scrolls sideways."""
    return page.evaluate("""() => {
      const width = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth <= width) return [];
      return [...document.body.querySelectorAll("*")]
        .filter((el) => el.getBoundingClientRect().right > width + 1)
        .slice(0, 5)
        .map((el) => `${el.tagName}.${el.className} ends at ${el.getBoundingClientRect().right} of ${width}`);
    }""")


def violations(page: Page) -> list[str]:
    """Serious and critical findings of axe, one line each."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
    return [
        f"{v['impact']} {v['id']}: {v['help']}: {n['target']} {n['html'][:160]} {n['failureSummary'][:300]}"
        for v in found
        if v["impact"] in {"serious", "critical"}
        for n in v["nodes"][:6]
    ]


def test_the_table_of_contents_is_the_site(pages: list[str]) -> None:
    assert set(pages) == {*PAGES, FRONT_DOOR}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole(visit: Callable, name: str, scheme: str) -> None:
    """No failed or third-party request, nothing in the console, no sideways scrolling, at desk and phone width."""
    opened = visit(name, scheme=scheme)
    page = opened.page
    assert page.evaluate("document.documentElement.dataset.theme ?? matchMedia('(prefers-color-scheme: dark)').matches")
    sideways = [f"1280 px: {text}" for text in overflow(page)]
    page.evaluate("""async () => {
      for (const details of document.querySelectorAll("details")) details.open = true;
      for (let y = 0; y < document.body.scrollHeight; y += 700) {
        scrollTo(0, y); // what loads late, loads now
        await new Promise(requestAnimationFrame);
      }
    }""")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(100)
        sideways += [f"{width} px: {text}" for text in overflow(page)]
    none(opened.trouble() + sideways)


# What can be scrolled sideways takes a stop for the keyboard as soon as the page has been drawn at its new width.
STOPS = """() => [...document.querySelectorAll("article pre")].every((box) =>
  box.tabIndex === 0 || box.scrollWidth <= box.clientWidth + 1 || !box.checkVisibility())"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible(visit: Callable, name: str, scheme: str) -> None:
    """axe finds nothing serious or critical: contrast, names, roles, order."""
    opened = visit(name, scheme=scheme)
    assert opened.page.evaluate("document.documentElement.dataset.theme ?? 'light'") == scheme
    found = violations(opened.page)
    opened.page.set_viewport_size({"width": 390, "height": 844})
    opened.page.wait_for_function(STOPS)
    none(found + [f"390 px: {text}" for text in violations(opened.page)])


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_the_disk(visit: Callable, name: str) -> None:
    """A double click on the file: nothing missing, every widget alive."""
    opened = visit(name, files=True)
    none(opened.trouble())
    states = opened.page.evaluate("[...document.querySelectorAll('.ad-widget-host')].map((host) => host.dataset.state)")
    assert set(states) <= {"ready"}
    for widget in opened.page.locator("[data-widget]").all():
        widget.scroll_into_view_if_needed()  # a model is fetched when its figure comes into view
        widget.and_(opened.page.locator("[data-status=ready]")).wait_for(timeout=30_000)
    none(opened.trouble())


def test_the_front_door_leads_to_the_cover(visit: Callable) -> None:
    page = visit(FRONT_DOOR, leads_to="book/index.html").page
    assert page.title()


def test_the_reader_can_switch_the_theme(visit: Callable) -> None:
    """The button goes round light, dark and the system's choice, and the page's ground follows."""
    page = visit(CHAPTERS[1]).page
    ground = "() => getComputedStyle(document.body).backgroundColor"
    seen = {(page.evaluate("document.documentElement.dataset.theme"), page.evaluate(ground))}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add((page.evaluate("document.documentElement.dataset.theme"), page.evaluate(ground)))
    assert {theme for theme, _ in seen} == {"light", "dark"}
    assert len({colour for _, colour in seen}) == 2


def test_the_choice_of_theme_goes_along_to_the_next_page(visit: Callable, site_url: str) -> None:
    opened = visit(CHAPTERS[1])
    page = opened.page
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    page.goto(site_url + CHAPTERS[2])
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("files", [False, True], ids=["served", "from the disk"])
def test_search_finds_a_chapter_without_a_server(visit: Callable, files: bool) -> None:
    opened = visit("search.html?q=attention", files=files)
    opened.page.locator("#search-results li a").first.wait_for(timeout=15_000)
    links = opened.page.locator("#search-results li a").evaluate_all("(all) => all.map((a) => a.getAttribute('href'))")
    assert any("queries-keys-values" in link for link in links)
    none(opened.trouble())


@pytest.mark.parametrize("word", ["attention", "softmax", "vectors"])
def test_what_a_search_shows_is_text(visit: Callable, word: str) -> None:
    """Around the word, in whole words, without buttons, TeX or code, and no longer than a few lines."""
    page = visit(f"search.html?q={word}").page
    page.wait_for_function("() => document.querySelectorAll('#search-results li p.context').length > 1")
    page.wait_for_function(
        "() => /finished/.test(document.querySelector('#search-results .search-summary').textContent)"
    )
    shown = page.locator("#search-results p.context").all_inner_texts()
    furniture = re.compile(r"Skip to|\.pdf|Print|Contents|Back to top|\\[a-z]+|[{}]|import |\s\s|^\s*$", re.IGNORECASE)
    none([text for text in shown if furniture.search(text) or len(text) > 260])
    found = [text for text in shown if word[:5] in text.lower()]
    assert found, shown
    assert all(text.startswith("… ") or text[0].isupper() or not text[0].isalpha() for text in shown)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_image_is_drawn(visit: Callable, name: str) -> None:
    broken = visit(name).page.evaluate("""async () => {
      const images = [...document.images].filter((image) => image.getClientRects().length);
      for (const image of images) image.loading = "eager";
      await Promise.allSettled(images.map((image) => image.decode()));
      return images.filter((image) => !image.naturalWidth).map((image) => image.src);
    }""")
    none(broken)


SETTLED = """() => [...document.querySelectorAll("[data-widget]")].every((el) => {
  const { top, bottom } = el.getBoundingClientRect();
  return el.dataset.status === "ready" || bottom < 0 || top > innerHeight;
})"""


@pytest.mark.parametrize("name", CHAPTERS)
def test_chinese_is_drawn_with_the_book_s_own_font(visit: Callable, name: str) -> None:
    """No reader sees boxes: wherever Chinese stands, the font comes with the page and not from the machine."""
    page = visit(name).page
    page.wait_for_function(SETTLED, timeout=60_000)  # a live figure in view must not draw itself anew meanwhile
    page.evaluate("""() => {
      const han = /\\p{Script=Han}/u;
      for (const el of document.querySelectorAll("article *, .ad-widget-host *")) {
        const texts = [...el.childNodes].filter((node) => node.nodeType === 3 && han.test(node.data));
        if (!texts.length || !el.checkVisibility()) continue;
        for (const text of texts) text.data = text.data.replace(/[^\\p{Script=Han}，。！？：；、]/gu, "");
        el.setAttribute("data-test-han", "");
      }
    }""")
    page.wait_for_timeout(100)  # a picture that has come meanwhile asks for its letters when it is laid out
    page.wait_for_function("document.fonts.status === 'loaded'")
    session = page.context.new_cdp_session(page)
    for domain in ("DOM", "CSS"):
        session.send(f"{domain}.enable")
    document = session.send("DOM.getDocument")["root"]["nodeId"]
    nodes = session.send("DOM.querySelectorAll", {"nodeId": document, "selector": "[data-test-han]"})["nodeIds"]
    foreign, gone = set(), 0
    for node in nodes:
        try:
            fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        except Error:  # a live figure has drawn it anew; of its kin enough remain
            gone += 1
            continue
        foreign |= {font["familyName"] for font in fonts if not font["isCustomFont"]}
    assert foreign == set()
    assert gone <= len(nodes) / 2


CHAPTER = "book/context/queries-keys-values.html"
LAST = "[...document.querySelectorAll('.bd-article > section > section')].at(-1)"
TOP = f"() => {LAST}.getBoundingClientRect().top"


def test_an_anchor_is_where_the_visit_begins(visit: Callable) -> None:
    """Sections wait to be laid out while a page arrives; a link into the page lands right all the same."""
    name = visit(CHAPTER).page.evaluate(f"{LAST}.id")
    page = visit(f"{CHAPTER}#{name}").page
    page.wait_for_function(f"() => Math.abs(({TOP})()) < 200")


def test_a_click_on_the_way_lands_where_it_says(browser: Browser, site_url: str) -> None:
    """At once after the page has arrived, before the sections below have been laid out; and back again."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.goto(site_url + CHAPTER, wait_until="commit")
    name = page.wait_for_function(f"() => document.readyState !== 'loading' && {LAST}?.id").json_value()
    page.evaluate(f'document.querySelector(\'.bd-sidebar-secondary a[href$="#{name}"], a[href="#{name}"]\').click()')
    page.wait_for_function(f"() => Math.abs(({TOP})()) < 200")
    page.wait_for_function("() => !document.documentElement.classList.contains('ad-arriving')")
    page.wait_for_timeout(300)
    assert abs(page.evaluate(TOP)) < 200, "and stays there while the rest is laid out"
    page.go_back()
    page.wait_for_function("() => scrollY < 200")
    page.close()


def test_on_paper_every_section_is_there(browser: Browser, site_url: str) -> None:
    """Printed before anything was scrolled: nothing waits to come into sight."""
    page = browser.new_page()
    page.goto(site_url + CHAPTER)
    page.emulate_media(media="print")
    sections = "[...document.querySelectorAll('.bd-article > section > section')]"
    states = page.evaluate(f"{sections}.map((section) => getComputedStyle(section).contentVisibility)")
    assert states
    assert set(states) == {"visible"}
    page.close()
