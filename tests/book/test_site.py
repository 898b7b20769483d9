"""The built site: everything that its pages promise is there, and nothing else is loaded."""

import base64
import html
import json
import re
from pathlib import Path

import model_assets
import pytest
import web_fonts
import yaml
from page_checks import check_site

CHAPTER = "book/context/queries-keys-values"


def documents(root: Path) -> list[str]:
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


@pytest.fixture(scope="session")
def texts(site: Path) -> dict[str, str]:
    """Page → its HTML."""
    files = [file for file in sorted(site.rglob("*.html")) if "_static" not in file.relative_to(site).parts]
    return {file.relative_to(site).as_posix().removesuffix(".html"): file.read_text("utf-8") for file in files}


@pytest.fixture(scope="session")
def chapters(root: Path, texts: dict[str, str]) -> dict[str, str]:
    """Every page of the table of contents → its HTML."""
    return {document: texts[document] for document in documents(root)}


def test_every_page_of_the_toc_is_built_and_no_check_finds_a_problem(site: Path, root: Path):
    assert check_site(site, documents(root)) == []


def test_every_page_has_one_main_heading(chapters: dict[str, str]):
    for name, text in chapters.items():
        article = text[text.index("<article") : text.index("</article>")]
        assert article.count("<h1") == 1, name


def test_chapters_figures_and_equations_carry_their_true_number(texts: dict[str, str]):
    text = texts[CHAPTER]
    assert re.search(r'<h1><span class="section-number">7\W*</span>', text)
    assert re.search(r'<h2><span class="section-number">7\.1\W*</span>', text)
    assert "Fig. 7.1" in text
    assert re.search(r'<span class="eqno">\(7\.1\)', text)


def test_formulas_are_html_already(chapters: dict[str, str]):
    assert any('class="katex"' in text for text in chapters.values())
    for name, text in chapters.items():
        scripts = re.findall(r'<script[^>]*src="([^"]+)"', text)
        assert not [s for s in scripts if re.search(r"katex|mathjax|require|thebe|html-manager|embed-amd", s, re.I)], (
            name
        )
        assert not re.search(r'class="math[^"]*">\s*(?:\\[\[(]|\$\$)', text), name
        if 'class="katex"' not in text:
            assert "katex" not in text, f"{name} has no formula, but loads KaTeX's style"


def test_katex_renders_with_the_version_that_styles_it(site: Path):
    css = (site / "_static" / "vendor" / "katex" / "katex.min.css").read_text("utf-8")
    assert ".woff2" in css
    assert not re.search(r"\.(?:woff|ttf)\)", css)
    for file in re.findall(r"url\(([^)]+)\)", css):
        assert (site / "_static" / "vendor" / "katex" / file).is_file()


def test_the_chinese_font_has_every_character_of_every_page(site: Path, texts: dict[str, str]):
    folder = site / "_static" / web_fonts.FOLDER
    css = (folder / "fonts.css").read_text("utf-8")
    rules = re.findall(r'font-family: "AD Chinese".*?url\("([^"]+)"\).*?unicode-range: ([^;]+);', css)
    assert rules
    promised: dict[str, str] = {}
    for file, ranges in rules:
        with web_fonts.open_font(folder / file) as font:
            inside = set(font.getBestCmap())
        for part in ranges.split(","):
            first, _, last = part.strip().removeprefix("U+").partition("-")
            for code in range(int(first, 16), int(last or first, 16) + 1):
                assert code in inside, f"{file} promises U+{code:X} and does not have it"
                promised.setdefault(chr(code), file)
    shown = web_fonts.chinese_in("".join(map(html.unescape, texts.values())))
    assert len(shown) > 50
    assert shown <= set(promised), f"no glyph for {''.join(sorted(shown - set(promised)))}"
    assert len({promised[c] for c in shown}) == 1, "what the pages show comes in one slice"


def test_a_reader_can_type_every_character_that_the_model_knows(site: Path, root: Path):
    css = (site / "_static" / web_fonts.FOLDER / "fonts.css").read_text("utf-8")
    covered = set()
    for ranges in re.findall(r'font-family: "AD Chinese".*?unicode-range: ([^;]+);', css):
        for part in ranges.split(","):
            first, _, last = part.strip().removeprefix("U+").partition("-")
            covered.update(map(chr, range(int(first, 16), int(last or first, 16) + 1)))
    weights = root / "src" / "attention_decoded" / "weights"
    tokenizers = [*weights.glob("*/tokenizer.json"), *weights.glob("*/source.tokenizer.json")]
    assert {path.parent.name for path in tokenizers} >= set(model_assets.ON_PAGES)
    for tokenizer in tokenizers:
        known = set(web_fonts.by_frequency(tokenizer))
        assert len(known - covered) <= len(known) / 100, f"no glyph for {''.join(sorted(known - covered))}"


def test_fonts_are_swapped_in_over_a_stand_in_of_the_same_size(site: Path):
    css = (site / "_static" / web_fonts.FOLDER / "fonts.css").read_text("utf-8")
    for rule in re.findall(r"@font-face \{.*?\}", css):
        assert ("font-display: swap" in rule) != ("size-adjust" in rule)
    assert css.count("size-adjust") == 2
    for path in web_fonts.preloads():
        assert (site / "_static" / path).is_file()


def test_every_widget_has_its_still_picture(texts: dict[str, str]):
    text = texts[CHAPTER]
    hosts = text.count('class="ad-widget-host"')
    assert hosts >= 2
    assert text.count('class="ad-fallback"') == hosts
    (state,) = re.findall(r'widget-state\+json">(.*?)</script>', text, re.DOTALL)
    assert not [entry for entry in json.loads(state)["state"].values() if "fallback" in entry["state"]]
    assert re.search(r'<script[^>]*src="[^"]*vendor/widgets/runtime\.js', text)


def test_plotly_and_the_runtime_are_loaded_only_where_they_are_used(texts: dict[str, str]):
    for name, text in texts.items():
        assert ("vendor/plotly/mount.js" in text) == ('class="ad-plotly"' in text), name
        assert ("vendor/widgets/runtime.js" in text) == ('class="ad-widget-host"' in text), name
        assert "plotly.min.js" not in text, name


def test_cells_for_a_kernel_alone_are_not_on_the_page(root: Path, texts: dict[str, str]):
    source = (root / f"{CHAPTER}.md").read_text("utf-8")
    assert "kernel-only" in source
    assert "interact(" not in html.unescape(re.sub(r"<[^>]+>", "", texts[CHAPTER]))


def test_every_model_file_has_a_script_twin_with_the_same_bytes(site: Path, texts: dict[str, str]):
    folders = [path.parent for path in (site / "_static" / "models").glob("*/model.safetensors")]
    assert {folder.name for folder in folders} == set(model_assets.ON_PAGES)
    used = {name for text in texts.values() for name in re.findall(r"_static/models/([\w-]+)/", text)}
    assert used == set(model_assets.ON_PAGES), "a page names exactly the models that are published"
    for folder in folders:
        tokenizers = {path.name for path in folder.glob("*tokenizer.json")}
        assert tokenizers in ({"tokenizer.json"}, {"source.tokenizer.json", "target.tokenizer.json"})
        for name in ("model.safetensors", *tokenizers, "lexicon.json", "t2s.json"):
            content = (folder / name).read_bytes()
            twin = re.fullmatch(
                r'globalThis\.__adAsset\((".*?"), "(.*)"\);\n', (folder / f"{name}.js").read_text("utf-8")
            )
            assert json.loads(twin[1]) == f"{folder.name}/{name}"
            assert base64.b64decode(twin[2]) == content


@pytest.mark.parametrize(
    ("model", "tokenizer"), [("masked-lm", "tokenizer.json"), ("translator", "source.tokenizer.json")]
)
def test_the_lexicon_covers_the_chinese_tokens(site: Path, model: str, tokenizer: str):
    folder = site / "_static" / "models" / model
    lexicon = json.loads((folder / "lexicon.json").read_text("utf-8"))
    vocabulary = json.loads((folder / tokenizer).read_text("utf-8"))["model"]["vocab"]
    han = [token for token in vocabulary if re.search("[\u4e00-\u9fff]", token)]
    assert len(han) > 1000
    assert set(han) <= set(lexicon)
    assert all(isinstance(pinyin, str) and isinstance(gloss, str) for pinyin, gloss in lexicon.values())


def test_the_palette_on_the_site_is_the_palette_of_the_package(site: Path, root: Path):
    palette = json.loads((root / "src" / "attention_decoded" / "plots" / "palette.json").read_text("utf-8"))
    css = (site / "_static" / "palette.css").read_text("utf-8")
    light, dark = css.split("@media")
    for part, theme in ((light, "light"), (dark, "dark")):
        assert all(f"--ad-{name}: {colour};" in part for name, colour in palette[theme].items())


def test_the_colab_button_opens_the_twin(root: Path, chapters: dict[str, str]):
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    repository, branch = config["repository"]["url"], config["repository"]["branch"]
    linked = 0
    for name, text in chapters.items():
        for path in re.findall(r'href="https://colab\.research\.google\.com/([^"]+)"', text):
            expected = f"github/{repository.removeprefix('https://github.com/')}/blob/{branch}/{name}.ipynb"
            assert path == expected
            assert (root / f"{name}.ipynb").is_file()
            linked += 1
    assert linked


def test_what_the_theme_does_not_need_is_not_shipped(site: Path):
    static = site / "_static"
    assert not list(static.rglob("*.map"))
    assert not (static / "scripts" / "fontawesome.js").exists()
    icons = sum(font.stat().st_size for font in (static / "vendor" / "fontawesome" / "webfonts").iterdir())
    assert icons < 30_000


def test_every_icon_of_a_page_is_in_the_icon_font(site: Path, texts: dict[str, str]):
    css = (site / "_static" / "styles" / "pydata-sphinx-theme.css").read_text("utf-8")
    folder = site / "_static" / "vendor" / "fontawesome" / "webfonts"
    characters = set().union(*(web_fonts.open_font(font).getBestCmap() for font in folder.glob("*.woff2")))
    named = set(re.findall(r'class="[^"]*?(fa-(?!solid|brands|regular|lg|fw|svg)[a-z-]+)', "".join(texts.values())))
    assert named
    for name in named:
        code = re.search(rf'\.{name}:before[^{{]*\{{content:"\\([0-9a-f]+)"', css)
        assert code, name
        assert int(code[1], 16) in characters, name
