"""Widgets on a page: a still picture until the runtime mounts them, and no widget that it cannot mount.

The kernel leaves the standard embed format. From it this extension lifts the trait `fallback` (the
first state as a picture) into the page:

    <div class="ad-widget-host"><script type="…widget-view+json">…</script><div class="ad-fallback">…</div>…</div>

so that a reader without JavaScript, or before it has run, or on paper, sees what the widget shows. A last line in it
tells the runtime that the place has been read: a widget need not wait for the rest of a long page.
"""

import json
import posixpath
import re

import model_assets
from book_build import PACKAGE, preload
from docutils import nodes
from sphinx.errors import ExtensionError

SUPPORTED = PACKAGE / "widgets" / "js" / "runtime" / "supported.json"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
_PASSED = "(globalThis.adPlaces ??= []).push(document.currentScript.parentNode);"
_VIEW_SCRIPT = re.compile(rf'<script type="{re.escape(VIEW)}">(?P<view>.*?)</script>', re.DOTALL)


def unsupported(state: dict, modules: dict[str, list[str]]) -> list[str]:
    """The kinds of widget models in an embed state that the page's runtime cannot mount."""
    kinds = {(entry["model_module"], entry["model_name"]) for entry in state.values()}
    return sorted(f"{module} {name}" for module, name in kinds if name not in modules.get(module, []))


def fallback(state: dict, model_id: str) -> str:
    """The still picture of a widget: its own, or for a box those of its children in order."""
    values = state[model_id]["state"]
    if values.get("fallback"):
        return values["fallback"]
    children = [child.removeprefix("IPY_MODEL_") for child in values.get("children", [])]
    return "".join(fallback(state, child) for child in children if child in state)


def assets(state: dict, model_id: str) -> list[str]:
    """The files of the site that a widget loads as soon as it is shown."""
    return model_assets.loaded_files(state[model_id]["state"].get("assets_url") or "")


def host(view: str, picture: str, early: str = "") -> str:
    """The element that holds a widget's place: its view script and its still picture, and a script to run early."""
    note = "<noscript>With JavaScript this picture can be moved; without it, this is how it starts.</noscript>"
    still = f'<div class="ad-fallback">{picture}</div>{note}' if picture else ""
    scripts = f'<script type="{VIEW}">{view}</script>', f"<script>{_PASSED}{early}</script>"
    return f'<div class="ad-widget-host">{scripts[0]}{still}{scripts[1]}</div>'


def _prepare_page(app, doctree) -> None:
    docname = app.env.docname
    files = getattr(app.env, "nb_metadata", {}).get(docname, {}).get("js_files", {})
    if "ipywidgets_state" not in files:
        return
    path, attributes = files["ipywidgets_state"]
    embedded = json.loads(attributes["body"])
    state = embedded["state"]
    modules = json.loads(SUPPORTED.read_text("utf-8"))["modules"]
    if strangers := unsupported(state, modules):
        raise ExtensionError(
            f"{docname}: the page's runtime cannot mount {', '.join(strangers)}. Use a widget of the package, "
            f"a control listed in {SUPPORTED.relative_to(PACKAGE.parents[1])}, or tag the cell `kernel-only`."
        )
    root = posixpath.relpath(".", posixpath.dirname(docname) or ".")
    first = True
    for node in list(doctree.findall(nodes.raw)):
        found = _VIEW_SCRIPT.fullmatch(node.astext())
        if not found:
            continue
        model_id = json.loads(found["view"])["model_id"]
        if model_id not in state:
            raise ExtensionError(f"{docname}: the state of widget {model_id} was not saved with the notebook")
        # The first widget starts at once: its files set out before its code has arrived.
        loaded = [f"{root}/{file}" for file in assets(state, model_id)] if first else []
        first = False
        place = host(found["view"], fallback(state, model_id), preload(loaded, "fetch") if loaded else "")
        node.replace_self(nodes.raw("", place, format="html"))
    for entry in state.values():
        entry["state"].pop("fallback", None)
    body = json.dumps(embedded, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    files["ipywidgets_state"] = (path, {**attributes, "body": body})


def setup(app):
    app.connect("doctree-read", _prepare_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
