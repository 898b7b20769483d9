"""Numbers reach the prose on a page, and the reader's eye in a notebook."""

import subprocess
import sys

import pytest

from attention_decoded import surface


def test_a_notebook_prints_the_numbers(monkeypatch, capsys):
    monkeypatch.delenv(surface.VARIABLE, raising=False)
    assert not surface.on_page()
    surface.report(loss=0.69314718, chosen_head=3)
    assert capsys.readouterr().out == "loss         0.6931\nchosen_head  3\n"


def test_a_page_glues_them(monkeypatch):
    glued = {}
    monkeypatch.setenv(surface.VARIABLE, "1")
    myst_nb = pytest.importorskip("myst_nb", reason="myst_nb builds the pages; the package works without it")
    monkeypatch.setattr(myst_nb, "glue", lambda name, value, display: glued.update({name: value}))
    surface.report(loss=0.5)
    assert glued == {"loss": 0.5}


def test_importing_the_package_changes_nothing():
    """No seed, no warning filter, no heavy import (run apart, so that this process's imports do not count)."""
    code = (
        "import sys, random, warnings; state, filters = random.getstate(), list(warnings.filters);"
        "import attention_decoded, attention_decoded.surface;"
        "assert random.getstate() == state and warnings.filters == filters;"
        "assert not {'torch', 'numpy', 'matplotlib', 'myst_nb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
