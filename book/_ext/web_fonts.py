"""The book's faces, cut to what its pages need and served from the site.

Text, headings and code come from pinned npm packages: their Latin files as they are, of the
extended Latin (pinyin) only the letters in use. Chinese comes from Noto Sans SC (in the package
`zhplot`): one slice with the characters of the built pages, and further slices with what else a
reader can type, which a browser fetches only when such a character appears. A fallback of the
same metrics stands in until a face arrives, so that no line moves.
"""

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import model_assets
from book_build import CACHE, hash_files, npm_file, write_if_changed
from fontTools import subset
from fontTools.ttLib import TTFont

FOLDER = "vendor/fonts"
_SLICE = 220  # characters of a Chinese slice: 30 to 40 kB
_PINYIN = "āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜüńňǹḿêĀÁǍÀĒÉĚÈŌÓǑÒ"
_CHINESE = re.compile(
    "[\u2e80-\u303f\u3100-\u312f\u3200-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Face:
    """One style of one family, and the local fonts whose metrics are bent to its own until it is there."""

    family: str
    package: str
    stem: str
    style: str = "normal"
    weights: str = "200 900"
    stand_ins: tuple[str, ...] = ()
    preload: bool = False


_SERIF = ("Georgia", "Times New Roman", "Liberation Serif", "DejaVu Serif")
_SANS = ("Arial", "Helvetica Neue", "Liberation Sans", "DejaVu Sans")
FACES = (
    Face(
        "Source Serif 4 Variable",
        "@fontsource-variable/source-serif-4",
        "source-serif-4",
        stand_ins=_SERIF,
        preload=True,
    ),
    Face("Source Serif 4 Variable", "@fontsource-variable/source-serif-4", "source-serif-4", "italic"),
    Face("Inter Variable", "@fontsource-variable/inter", "inter", weights="100 900", stand_ins=_SANS, preload=True),
    Face("Inter Variable", "@fontsource-variable/inter", "inter", "italic", weights="100 900"),
    Face("JetBrains Mono Variable", "@fontsource-variable/jetbrains-mono", "jetbrains-mono", weights="100 800"),
)
# Mean width of a letter of English text, in units of the em, of the first stand-in that a system usually has.
_STAND_IN_WIDTH = {_SERIF: 0.4437, _SANS: 0.4563}
_SAMPLE = "aaabcdeeeefghiijklmnnoopqrrssttuvwxyz      "  # letters about as often as English has them


def face_file(face: Face, script: str = "latin") -> Path:
    return npm_file(face.package, f"files/{face.stem}-{script}-wght-{face.style}.woff2")


def preloads() -> list[str]:
    """The files that nearly every page shows at once."""
    return [f"{FOLDER}/{face_file(face).name}" for face in FACES if face.preload]


def chinese_in(text: str) -> set[str]:
    return set(_CHINESE.findall(text))


def unicode_range(characters: Iterable[str]) -> str:
    """CSS notation of a set of characters, neighbours joined: U+4E00-4E01, U+4E03."""
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return ", ".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in runs)


def open_font(font: Path | bytes) -> TTFont:
    """A font from memory: fontTools leaves the files of compressed fonts open."""
    return TTFont(io.BytesIO(font if isinstance(font, bytes) else font.read_bytes()), lazy=True)


@cache
def _characters_of(font: Path) -> frozenset[str]:
    with open_font(font) as opened:
        return frozenset(map(chr, opened.getBestCmap()))


def cut(font: Path | bytes, characters: Iterable[str], *, flavor: str | None = "woff2") -> bytes:
    """A font with these characters alone, without hints: screens of today ignore them."""
    options = subset.Options(
        layout_features=["kern", "mark", "mkmk", "ccmp", "locl"], hinting=False, notdef_outline=True
    )
    options.flavor = flavor
    options.drop_tables += ["DSIG", "vhea", "vmtx", "VORG", "meta"]
    with open_font(font) as opened:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=map(ord, characters))
        subsetter.subset(opened)
        opened.flavor = flavor
        out = io.BytesIO()
        opened.save(out)
    return out.getvalue()


def _kept(font: Path, characters: Iterable[str], from_font: bytes | None = None) -> tuple[str, bytes]:
    """Hash and bytes of a cut font; from the cache when an earlier build has cut the same."""
    text = "".join(sorted(characters))
    key = hash_files([], font.name, str(font.stat().st_size), text)
    cached = CACHE / "fonts" / f"{key}.woff2"
    if not cached.is_file():
        write_if_changed(cached, cut(from_font or font, text))
    return key, cached.read_bytes()


def stand_in(face: Face) -> str:
    """The @font-face of a local font stretched to the width and the line of `face`."""
    with open_font(face_file(face)) as font:
        em, cmap, widths = font["head"].unitsPerEm, font.getBestCmap(), font["hmtx"]
        width = sum(widths[cmap[ord(letter)]][0] for letter in _SAMPLE) / len(_SAMPLE) / em
        line = font["hhea"]
        stretch = width / _STAND_IN_WIDTH[face.stand_ins]
        metrics = {
            "ascent-override": line.ascent / em / stretch,
            "descent-override": -line.descent / em / stretch,
            "line-gap-override": line.lineGap / em / stretch,
            "size-adjust": stretch,
        }
    sources = ", ".join(f'local("{name}")' for name in face.stand_ins)
    rules = " ".join(f"{name}: {value:.2%};" for name, value in metrics.items())
    return f'@font-face {{ font-family: "{face.family} stand-in"; src: {sources}; {rules} }}'


def _rule(family: str, style: str, weights: str, file: str, characters: Iterable[str]) -> str:
    return (
        f'@font-face {{ font-family: "{family}"; font-style: {style}; font-weight: {weights}; font-display: swap; '
        f'src: url("{file}") format("woff2"); unicode-range: {unicode_range(characters)}; }}'
    )


def latin_faces(used: set[str]) -> tuple[list[str], dict[str, bytes]]:
    """CSS rules and files of the faces for Latin text; `used` are the characters of the pages."""
    rules, files = [], {}
    for face in FACES:
        if face.stand_ins:
            rules.append(stand_in(face))
        latin = face_file(face)
        covered = _characters_of(latin)
        files[latin.name] = latin.read_bytes()
        rules.append(_rule(face.family, face.style, face.weights, latin.name, covered))
        extended = face_file(face, "latin-ext")
        wanted = (_characters_of(extended) - covered) & (used | set(_PINYIN))
        if wanted:
            key, content = _kept(extended, wanted)
            name = f"{face.stem}-extended-{face.style}-{key}.woff2"
            files[name] = content
            rules.append(_rule(face.family, face.style, face.weights, name, wanted))
    return rules, files


def slices(characters: list[str], size: int = _SLICE) -> list[list[str]]:
    return [characters[i : i + size] for i in range(0, len(characters), size)]


def by_frequency(tokenizer: Path) -> list[str]:
    """A vocabulary's Chinese characters, those of early merges (frequent words) first."""
    model = json.loads(tokenizer.read_text("utf-8"))["model"]
    merged = "".join("".join(m) if isinstance(m, list) else m for m in model.get("merges", []))
    return [c for c in dict.fromkeys(merged + "".join(model["vocab"])) if _CHINESE.match(c)]


def chinese_face(used: set[str], typed: list[str]) -> tuple[list[str], dict[str, bytes]]:
    """CSS rules and files for Chinese: `used` on the pages in one slice, then all that can be `typed`."""
    from attention_decoded.plots.style import chinese_font_path

    font = chinese_font_path()
    available = _characters_of(font)
    pages = sorted(used & available)
    typable = slices([c for c in typed if c in available])
    jobs = [("pages", pages, set(pages))] if pages else []
    jobs += [(f"{i:02d}", chunk, set(chunk) - used) for i, chunk in enumerate(typable)]
    rules, files = [], {}
    small: bytes | None = None
    for name, chunk, needed in jobs:
        key = hash_files([], font.name, str(font.stat().st_size), "".join(sorted(chunk)))
        if small is None and not (CACHE / "fonts" / f"{key}.woff2").is_file():
            small = cut(
                font, {*pages, *(c for chunk in typable for c in chunk)}, flavor=None
            )  # 10 MB are slow to cut ten times
        key, content = _kept(font, chunk, small)
        if needed:
            file = f"noto-sans-sc-{name}-{key}.woff2"
            files[file] = content
            rules.append(_rule("AD Chinese", "normal", "100 900", file, needed))
    return rules, files


def _write(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    text = "".join(page.read_text("utf-8") for page in out.rglob("*.html") if "_static" not in page.parts)
    typed = list(dict.fromkeys(c for file in model_assets.chinese_tokenizers() for c in by_frequency(file)))
    latin_rules, latin_files = latin_faces(set(text))
    chinese_rules, chinese_files = chinese_face(chinese_in(text), typed)
    folder = out / "_static" / FOLDER
    files = latin_files | chinese_files
    for name, content in files.items():
        write_if_changed(folder / name, content)
    write_if_changed(folder / "fonts.css", "\n".join(latin_rules + chinese_rules) + "\n")
    for old in folder.iterdir():
        if old.name not in files and old.name != "fonts.css":
            old.unlink()


def setup(app):
    app.add_css_file(f"{FOLDER}/fonts.css", priority=680)
    app.connect("build-finished", _write, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
