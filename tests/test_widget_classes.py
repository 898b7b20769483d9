"""The widgets' Python classes: what they carry on a page and in a notebook, and what they refuse."""

import json
import shutil
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
from traitlets import TraitError

from attention_decoded.plots.maps import attention_maps
from attention_decoded.surface import VARIABLE
from attention_decoded.widgets import AttentionLab, ScaleExplorer, SpaceMap
from attention_decoded.widgets.still import compute

WIDGETS = [AttentionLab, ScaleExplorer, SpaceMap]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


@pytest.fixture(autouse=True)
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_widget_is_a_plain_anywidget_with_its_bundle(widget: type) -> None:
    made = widget()
    assert isinstance(made, ipywidgets.DOMWidget)
    assert (made._model_module, made._model_name) == ("anywidget", "AnyModel")
    assert "do not edit" in made._esm
    assert ".ad-widget" in made._css
    assert made.fallback == ""


def test_in_a_notebook_the_laboratory_carries_its_model() -> None:
    lab = AttentionLab("我花了三个小时。")
    assert lab.assets_url == ""
    assert isinstance(lab.weights, bytes)
    assert 100_000 < len(lab.weights) < 1_000_000
    assert json.loads(lab.tokenizer)["model"]["type"] == "BPE"
    assert lab.lexicon["我们"][0] == "wǒmen"
    assert lab.t2s["馬"] == "马"


def test_on_a_page_the_laboratory_names_the_place_of_its_model(page: None) -> None:
    lab = AttentionLab("我花了三个小时。")
    assert lab.assets_url == "_static/models/masked-lm/"
    assert (lab.weights, lab.tokenizer, lab.lexicon, lab.t2s) == (b"", "", {}, {})


@pytest.mark.parametrize("widget", WIDGETS)
def test_on_a_page_a_still_picture_stands_in(widget: type, page: None) -> None:
    picture = widget().fallback
    assert "<svg" in picture
    assert 'aria-label="' in picture


def test_the_still_picture_of_the_laboratory_shows_its_own_state(page: None) -> None:
    lab = AttentionLab("我花了三个小时。", layer=1, head=2, hidden=[1], causal=True)
    assert "□" in lab.fallback
    assert "layer 2, head 3" in lab.fallback
    even = {"scale": 0, "temperature": 1, "causal": True, "matrices": "two", "scope": "all", "cuts": [], "hidden": []}
    request = {
        "widget": "attention_lab",
        "folder": str(lab._folder),
        "t2s": {},
        "sentence": "我花了。",
        "changes": even,
    }
    request |= {"layer": 0, "head": 0, "show": "weights"}
    first = compute(request)
    n = len(first["tokens"])
    assert first["values"][:n] == [1, *[0] * (n - 1)]
    assert first["values"][-n:] == pytest.approx([1 / n] * n)


def test_a_figure_or_html_can_take_the_place_of_the_still_picture(page: None) -> None:
    figure = attention_maps({"weights": np.ones((1, 1))}, ["我"], ["我"], alt="One token looks at itself.")
    assert 'aria-label="One token looks at itself."' in AttentionLab("我", fallback=figure).fallback
    assert AttentionLab("我", fallback="<p>still</p>").fallback == "<p>still</p>"
    with pytest.raises(TypeError, match=r"figure of attention_decoded\.plots or HTML, not int"):
        AttentionLab("我", fallback=3)
    with pytest.raises(TypeError, match="no HTML form"):
        AttentionLab("我", fallback=ipywidgets.Label("x"))


def test_a_sentence_that_is_too_long_for_the_map_fails_the_build(page: None) -> None:
    with pytest.raises(ValueError, match="40 tokens"):
        AttentionLab("我们" * 40)


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"sentence": "hello"}, "Chinese characters"),
        ({"examples": ["好", ""]}, "every example"),
        ({"layer": 2}, "layers count from 0 to 1"),
        ({"head": -1}, "heads count from 0 to 3"),
        ({"scale": 4.5}, "between 0 and 4"),
        ({"temperature": 0.0}, r"between 0\.125 and 8"),
        ({"show": "logits"}, "logits"),
        ({"matrices": "three"}, "three"),
        ({"scope": "model"}, "model"),
        ({"cuts": [(0, -1)]}, "count from 0"),
        ({"hidden": [-2]}, "count from 0"),
    ],
)
def test_the_laboratory_refuses_in_clear_words(traits: dict, message: str) -> None:
    with pytest.raises(TraitError, match=message):
        AttentionLab(**traits)
    lab = AttentionLab()
    with pytest.raises(TraitError, match=message):  # and afterwards, too
        lab.set_trait(*next(iter(traits.items())))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks model\.safetensors.*Models of this package: .*masked-lm"):
        AttentionLab(model=tmp_path)


def test_a_reader_s_own_model_works_in_a_notebook_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(AttentionLab()._folder, folder)
    assert AttentionLab(model=folder).weights
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(ValueError, match="only show a model of this package"):
        AttentionLab(model=folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScaleExplorer(0), "between 1 and 256"),
        (lambda: ScaleExplorer(factor=5.0), r"between 0\.015625 and 4"),
        (lambda: ScaleExplorer(mode="log"), "log"),
        (lambda: SpaceMap(x=(3.0, 0.0)), "between -2 and 2"),
        (lambda: SpaceMap(angle=270.0), "between -180 and 180"),
        (lambda: SpaceMap(matrices="none"), "none"),
    ],
)
def test_the_small_widgets_refuse_in_clear_words(make, message: str) -> None:
    with pytest.raises(TraitError, match=message):
        make()


def test_on_the_plane_one_matrix_is_mutual_and_a_quarter_turn_the_opposite() -> None:
    there, back = SpaceMap(angle=70.0, matrices="one").scores()
    assert there == back
    there, back = SpaceMap(angle=90.0).scores()
    assert there == pytest.approx(-back)
    there, back = SpaceMap((1.0, 0.0), (0.0, 1.0), angle=90.0).scores()  # B = rotation by 90°: x·Bx′ = (1, 0)·(−1, 0)
    assert (there, back) == pytest.approx((-1, 1))
