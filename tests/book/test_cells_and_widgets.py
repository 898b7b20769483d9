"""Which cells reach the page, and what becomes of their widgets and plotly figures."""

import json

import pytest
from chapter_cells import without_kernel_only
from plotly_outputs import figure_html
from sphinx.errors import ExtensionError
from widget_outputs import fallback, host, unsupported

HEADER = "---\njupytext: {text_representation: {format_name: myst}}\nkernelspec: {name: python3}\n---\n"

CHAPTER = f"""{HEADER}
# Title

```{{code-cell}} ipython3
shown = 1
```

Before.

+++ {{"tags": ["kernel-only"]}}

## For a kernel

```{{code-cell}} ipython3
:tags: [kernel-only]
hidden = 1
```

+++

After.

```{{code-cell}} ipython3
---
tags: [kernel-only, hide-input]
---
hidden = 2
```
"""


def test_kernel_only_cells_are_blanked_and_lines_keep_their_numbers():
    page = without_kernel_only(CHAPTER)
    assert "hidden" not in page
    assert "For a kernel" not in page
    for kept in ("# Title", "shown = 1", "Before.", "After."):
        assert page.split("\n").index(kept) == CHAPTER.split("\n").index(kept)
    assert without_kernel_only(page) == page


def test_a_page_that_is_no_notebook_is_left_alone():
    assert (
        without_kernel_only("# Title\n\n```{code-cell}\n:tags: [kernel-only]\n```")
        == "# Title\n\n```{code-cell}\n:tags: [kernel-only]\n```"
    )


def entry(name: str, module: str = "@jupyter-widgets/controls", **state) -> dict:
    return {"model_name": name, "model_module": module, "state": state}


def test_models_that_the_runtime_cannot_mount_are_named():
    state = {
        "a": entry("AnyModel", "anywidget"),
        "b": entry("FloatSliderModel"),
        "c": entry("OutputModel", "@jupyter-widgets/output"),
    }
    modules = {"anywidget": ["AnyModel"], "@jupyter-widgets/controls": ["FloatSliderModel"]}
    assert unsupported(state, modules) == ["@jupyter-widgets/output OutputModel"]
    assert unsupported({k: state[k] for k in "ab"}, modules) == []


def test_a_box_shows_the_pictures_of_its_children_in_order():
    state = {
        "box": entry("VBoxModel", children=["IPY_MODEL_b", "IPY_MODEL_a"]),
        "a": entry("AnyModel", "anywidget", fallback="<svg>a</svg>"),
        "b": entry("AnyModel", "anywidget", fallback="<svg>b</svg>"),
    }
    assert fallback(state, "box") == "<svg>b</svg><svg>a</svg>"
    assert host("{}", "").count("ad-fallback") == 0
    assert '<div class="ad-fallback"><svg>a</svg></div>' in host("{}", "<svg>a</svg>")


def test_a_plotly_figure_needs_an_alt_text_and_cannot_break_out_of_its_script():
    with pytest.raises(ExtensionError, match="alt text"):
        figure_html({"data": [], "layout": {}})
    made = figure_html({"data": [{"name": "</script><b>"}], "layout": {"height": 300, "meta": {"alt": 'a "curve"'}}})
    assert 'aria-label="a &quot;curve&quot;"' in made
    assert "min-height:300px" in made
    assert made.count("</script>") == 1
    body = made[made.index('json">') + 6 : made.index("</script>")]
    assert json.loads(body)["data"][0]["name"] == "</script><b>"


WIDGET_PAGE = f"""{HEADER}
# Title

```{{code-cell}} ipython3
import anywidget, traitlets
import ipywidgets

class W(anywidget.AnyWidget):
    _esm = "export default {{}}"
    fallback = traitlets.Unicode("<svg role='img' aria-label='still'></svg>").tag(sync=True)

WIDGET
```
"""


def test_a_widget_on_a_page_has_its_picture_and_its_state_has_none(tiny_book, tmp_path):
    result = tiny_book(WIDGET_PAGE.replace("WIDGET", "W()"), "chapter_cells", "widget_outputs")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "<div class=\"ad-fallback\"><svg role='img' aria-label='still'></svg></div>" in page
    state = page[page.index('widget-state+json">') :]
    assert "still" not in state[: state.index("</script>")]


def test_a_widget_that_the_page_cannot_mount_fails_the_build(tiny_book):
    result = tiny_book(WIDGET_PAGE.replace("WIDGET", "ipywidgets.FileUpload()"), "chapter_cells", "widget_outputs")
    assert result.returncode != 0
    assert "FileUploadModel" in result.stderr
    assert "kernel-only" in result.stderr  # the way out
