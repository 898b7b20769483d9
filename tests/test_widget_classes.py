"""The widgets' Python classes: what they carry on a page and in a notebook, and what they refuse."""

import base64
import html
import json
import shutil
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
from traitlets import TraitError

from attention_decoded.plots.maps import attention_maps
from attention_decoded.surface import VARIABLE
from attention_decoded.widgets import AttentionLab, ScaleExplorer, SpaceMap, Translator
from attention_decoded.widgets.still import compute

WIDGETS = [AttentionLab, ScaleExplorer, SpaceMap, Translator]


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


# ---------------------------------------------------------------- the translator
def test_in_a_notebook_the_translator_carries_its_model() -> None:
    made = Translator(sentence="他昨天没有去学校。")
    assert (made.assets_url, made.example) == ("", {})
    assert 5_000_000 < len(made.weights) < 10_000_000
    assert {json.loads(text)["model"]["type"] for text in (made.source_tokenizer, made.target_tokenizer)} == {"BPE"}
    assert made.lexicon["昨天"][0] == "zuótiān"
    assert made.t2s["馬"] == "马"


def test_on_a_page_the_translator_brings_an_example_instead(page: None) -> None:
    cut = {"stack": "cross", "key": 1}
    made = Translator(sentence="他昨天沒有去學校。", form="calm", cuts=[cut])
    assert made.assets_url == "_static/models/translator/"
    assert (made.weights, made.source_tokenizer, made.lexicon, made.t2s) == (b"", "", {}, {})
    example = made.example
    assert example["sentence"] == "他昨天沒有去學校。"
    assert example["reading"]["text"] == "他昨天没有去学校。"
    n_source, n_target = len(example["reading"]["labels"]), len(example["base"]["ids"])
    assert [len(row) for row in example["base"]["alternatives"]] == [6] * n_target
    cross = example["base"]["looks"]["cross"]
    assert [(one["nQuery"], one["nKey"]) for one in cross] == [(n_target, n_source)] * len(cross)
    maps = np.frombuffer(base64.b64decode(cross[-1]["weights"]), np.uint8).reshape(-1, n_target, n_source) / 255
    assert maps.sum(-1) == pytest.approx(np.ones(maps.shape[:2]), abs=0.02)
    effects = {json.dumps(effect["cut"]): effect for effect in example["effects"]}
    mine = effects[json.dumps(cut)]
    assert mine["total"] == pytest.approx(sum(mine["deltas"]), abs=1e-3)
    assert mine["changed"] == (mine["written"]["text"] != example["base"]["text"])
    assert [abs(one["total"]) for one in example["effects"]] == sorted(
        (abs(one["total"]) for one in example["effects"]), reverse=True
    )
    assert len(json.dumps(example)) < 80_000  # it is a part of the page


@pytest.mark.parametrize("widget", [AttentionLab, Translator])
def test_examples_may_say_what_they_mean(widget: type) -> None:
    plain = widget(examples=["你好。", "你好吗？"])
    assert (plain.examples, plain.meanings) == (["你好。", "你好吗？"], {})
    glossed = widget(examples={"你好。": "hello", "你好吗？": "how are you?"})
    assert glossed.examples == plain.examples
    assert glossed.meanings == {"你好。": "hello", "你好吗？": "how are you?"}
    assert set(widget().meanings) == set(widget().examples), "those of the class itself say it all"
    with pytest.raises(TraitError, match="every example"):
        widget(examples={"hello": "你好"})


def test_the_still_picture_of_the_translator_says_its_translation(page: None) -> None:
    made = Translator(sentence="他昨天没有去学校。")
    assert html.escape(made.example["base"]["text"]) in made.fallback
    assert "他昨天没有去学校。" in made.fallback
    assert "row = query (English), column = key (Chinese)" in made.fallback


def test_the_example_is_the_package_s_own_translation(page: None) -> None:
    from attention_decoded.recipes.translator import load, translate

    model, source, target, _ = load()
    assert Translator().example["base"]["text"] == translate(model, source, target, [Translator().sentence])[0]


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"sentence": "hello"}, "Chinese characters"),
        ({"examples": ["好", ""]}, "every example"),
        ({"form": "small"}, "small"),
        ({"search": "best"}, "best"),
        ({"beam": 9}, "beam=9 is not between 1 and 8"),
        ({"alpha": -0.5}, "between 0 and 2"),
        ({"temperature": 0.0}, r"between 0\.1 and 3"),
        ({"top_k": -1}, "between 0 and 100"),
        ({"seed": -1}, "between 0 and 999999"),
        ({"prefix": ["▁He", " is"]}, "' is' is no token"),
        ({"pruned": [["▁He"], ["▁He", "it is"]]}, "'it is' is no token"),
        ({"pruned": [[]]}, "'' is no token"),
        ({"cuts": [{"key": 2}]}, "names no stack"),
        ({"cuts": [{"stack": "cross", "word": 2}]}, "a place other than"),
        ({"cuts": [{"stack": "cross", "key": -2}]}, "key counts from 0"),
        ({"cuts": [{"stack": "cross", "key": True}]}, "key counts from 0"),
        ({"view": {"mode": "map", "stack": "both"}}, "stack one of"),
        ({"view": {"layer": -1}}, "layer counts from 0"),
        ({"view": {"zoom": 2}}, "mode, stack, layer, head"),
    ],
)
def test_the_translator_refuses_in_clear_words(traits: dict, message: str) -> None:
    with pytest.raises(TraitError, match=message):
        Translator(**traits)
    made = Translator()
    with pytest.raises(TraitError, match=message):  # and afterwards, too
        made.set_trait(*next(iter(traits.items())))


def test_what_the_translator_wrote_can_be_read_and_not_set() -> None:
    made = Translator()
    made.set_state({"translation": "He did not.", "output_tokens": ["▁He", "▁did", "▁not", "."]})  # as the page does
    assert (made.translation, len(made.output_tokens)) == ("He did not.", 4)
    with pytest.raises(TraitError, match="read-only"):
        made.translation = "She did."


def test_what_does_not_fit_the_sentence_fails_the_build(page: None) -> None:
    with pytest.raises(ValueError, match=r"cuts outside the sentence or the model: cross\.\*\.\*\.\*\.40"):
        Translator(cuts=[{"stack": "cross", "key": 40}])
    with pytest.raises(ValueError, match="the prefix holds a token that the model does not have: ▁Qqq"):
        Translator(prefix=["▁He", "▁Qqq"])


def test_a_trained_model_of_the_reader_s_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import load

    from attention_decoded.recipes.translator import load_tokenizers
    from attention_decoded.transformer import build_transformer

    source, target = load_tokenizers("translator")
    sizes = {"n_source_vocab": source.get_vocab_size(), "n_target_vocab": target.get_vocab_size()}
    model = build_transformer({**sizes, "d_model": 24, "n_heads": 3, "d_ff": 40, "n_encoder_layers": 1})
    made = Translator(model, (source, target), sentence="好。")
    weights = load(made.weights)
    assert {str(array.dtype) for array in weights.values()} == {"float16"}
    np.testing.assert_allclose(weights["target.weight"], model.target.weight.detach().numpy(), atol=1e-2)
    header = json.loads(made.weights[8 : 8 + int.from_bytes(made.weights[:8], "little")])
    assert json.loads(header["__metadata__"]["config"]) | sizes | {"d_model": 24} == json.loads(
        header["__metadata__"]["config"]
    )
    assert json.loads(made.target_tokenizer) == json.loads(target.to_str())
    small = build_transformer({"n_source_vocab": 4, "n_target_vocab": 5, "d_model": 12, "n_heads": 2, "d_ff": 4})
    with pytest.raises(ValueError, match=r"source tokenizer knows \d+ tokens, the model 4"):
        Translator(small, (source, target))
    with pytest.raises(TypeError, match="needs tokenizers"):
        Translator(model)
    with pytest.raises(TypeError, match="give the name of a checkpoint, its folder, or a Transformer"):
        Translator(3)
    with pytest.raises(TypeError, match="brings its own tokenizers"):
        Translator("translator", (source, target))
    model.target.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"target\.weight hold numbers beyond half precision"):
        Translator(model, (source, target))
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(ValueError, match="only show a model of this package"):
        Translator(model, (source, target))


def test_a_translator_s_folder_that_lacks_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks model\.safetensors, source\.tokenizer\.json"):
        Translator(tmp_path)
