"""Figures: arrays in, figure out; drawn in the page's theme, accessible, deterministic."""

import io
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from attention_decoded import surface
from attention_decoded.plots import figure, style
from attention_decoded.plots.curves import curves, measured_and_theory, with_intervals
from attention_decoded.plots.maps import attention_maps

TOKENS = ["今天", "天气", "好"]
WEIGHTS = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])


def _map():
    return attention_maps({"weights": WEIGHTS, "scores": WEIGHTS - 0.5}, TOKENS, TOKENS, alt="Two <maps> & more")


def test_on_a_page_a_figure_is_svg_in_the_pages_colours(monkeypatch):
    monkeypatch.setenv(surface.VARIABLE, "1")
    bundle = _map()._repr_mimebundle_()
    svg = bundle["text/html"]
    assert "image/png" not in bundle
    assert 'role="img"' in svg
    assert "Two &lt;maps&gt; &amp; more" in svg
    assert "今天" in svg, "text must stay text, not outlines"
    bare = re.sub(r"var\(--ad-[a-z]+, #[0-9a-f]{6}\)", "", svg)
    assert not re.search(r"#[0-9a-f]{6}\b", bare), "a colour is not the palette's, so it would not follow the theme"
    assert "<style" not in svg, "a style element would leak into the whole page"
    assert "font-family" not in svg


def test_in_a_notebook_a_figure_is_a_picture(monkeypatch):
    monkeypatch.delenv(surface.VARIABLE, raising=False)
    bundle = _map()._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    pixels = plt.imread(io.BytesIO(bundle["image/png"]))
    assert pixels.std() > 0.05, "an empty picture"


def test_svg_is_the_same_on_every_run():
    assert _map().html() == _map().html()


def test_two_figures_on_a_page_share_no_id():
    x = np.arange(5)
    one = curves(x, {"a": x}, xlabel="x", ylabel="y", alt="first").svg()
    two = measured_and_theory({"g": x + 1.0}, 2.0, ylabel="y", theory_label="t", alt="second").svg()
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg in (one, two):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_dots_stand_in_their_intervals_and_series_get_a_legend():
    two = {"a": {"beam": (2.0, 1.0, 3.0), "greedy": (4.0, 3.5, 6.0)}, "b": {"greedy": (1.0, 0.0, 2.0)}}
    svg = with_intervals(two, xlabel="group", ylabel="figure", alt="dots").svg()
    for text in ("beam", "greedy", "group", "figure"):
        assert text in svg
    assert "beam" not in with_intervals({"a": (2.0, 1.0, 3.0)}, xlabel="x", ylabel="y", alt="dots").svg()
    with pytest.raises(ValueError, match=r"'b'.*5\.0 does not lie between 1\.0 and 2\.0"):
        with_intervals({"b": (5.0, 1.0, 2.0)}, xlabel="x", ylabel="y", alt="dots")


def test_figures_leave_matplotlib_as_they_found_it():
    before = dict(plt.rcParams)
    _map().png()
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_palette_is_legible(theme):
    """WCAG contrast of every text colour on both grounds, at least 4.5 : 1."""

    def luminance(colour: str) -> float:
        rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        rgb = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(rgb @ [0.2126, 0.7152, 0.0722])

    palette = style.PALETTE[theme]
    assert set(palette) == set(style.PALETTE["light"])
    for name in set(palette) - {"line", "surface", "panel"}:
        for ground in ("surface", "panel"):
            low, high = sorted((luminance(palette[name]), luminance(palette[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{name} on {ground} in {theme}"


def test_palette_file_is_the_only_source():
    assert json.loads((Path(style.__file__).parent / "palette.json").read_text("utf8")) == style.PALETTE


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"map 'w' has shape \(3, 3\), but there are 3 queries and 2 keys"):
        attention_maps({"w": WEIGHTS}, TOKENS, TOKENS[:2], alt="x")
    with pytest.raises(ValueError, match="alt text"):
        figure.Figure(plt.figure(), alt=" ")
    plt.close("all")
    with pytest.raises(ValueError, match="at least one"):
        figure.Panels([], alt="x")
    with pytest.raises(ValueError, match="curve 'a' has 2 values for 3"):
        curves(np.arange(3), {"a": np.arange(2)}, xlabel="x", ylabel="y", alt="x")
    plt.close("all")


def test_chinese_font_is_found_and_its_absence_explained(monkeypatch):
    assert style.chinese_font_path().is_file()

    def missing(_name):
        raise style.PackageNotFoundError

    monkeypatch.setattr(style, "files", missing)
    with pytest.raises(FileNotFoundError, match="pip install zhplot"):
        style.chinese_font_path()


@pytest.mark.parametrize(("limit", "strength"), [(None, 1.0), (1.0, 0.5)])
def test_the_darkest_colour_is_the_largest_number_or_the_limit(monkeypatch, limit, strength):
    monkeypatch.setenv(surface.VARIABLE, "1")
    panels = attention_maps({"w": np.array([[0.5, 0.0]])}, ["a"], ["b", "c"], alt="x", numbers=False, limit=limit)
    opacities = {
        float(x) for x in re.findall(r"fill-opacity: ([\d.]+)|\bopacity: ([\d.]+)", panels.html()) for x in x if x
    }
    assert max(opacities, default=1.0) == strength
