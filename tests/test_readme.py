"""The figures in the README are those of the cards."""

import re
from pathlib import Path
from typing import Any

import pytest

from attention_decoded.checkpoints import load_checkpoint

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def stated(figure: dict[str, Any], factor: float = 1) -> str:
    value, low, high = (factor * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


@pytest.mark.parametrize(("search", "words"), [("greedy", "greedy"), ("beam_5", "a beam of 5")])
@pytest.mark.parametrize("name", ["translator", "rnn-attention", "rnn"])
def test_the_translators_scores_are_the_cards(name: str, search: str, words: str) -> None:
    test = load_checkpoint(name).card["results"]["test"][search]
    scores = f"BLEU {stated(test['bleu'])}, chrF {stated(test['chrf'])}"
    assert re.search(rf"^\| `{name}`[^,|]*, {words} \| {re.escape(scores)} \|$", README, re.M), scores


@pytest.mark.parametrize("name", ["completer", "completer-decoder-only"])
def test_the_completers_figures_are_the_cards(name: str) -> None:
    test = load_checkpoint(name).card["results"]["test"]
    saved = stated(test["keystrokes_saved"], 100)
    assert f"| `{name}` | perplexity {stated(test['perplexity'])}, keystrokes saved {saved} % |" in README


def test_every_file_that_the_readme_names_is_there() -> None:
    root = Path(__file__).parent.parent
    for place in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (root / place).exists(), place


def test_the_examples_in_python_run_as_they_stand(capsys: pytest.CaptureFixture) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert len(blocks) == 2
    results: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), results)
    assert results["averages"].shape == (5, 8)
    assert capsys.readouterr().out == "['I like tea.']\n"
    assert {record.name.split(".")[0] for record in results["records"]} == {"encoder", "decoder"}
