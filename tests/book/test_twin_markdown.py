"""The exporter: every role and directive that it knows, and its refusal of those that it does not."""

import pytest
from twin_markdown import ADMONITIONS, DIRECTIVES, ROLES, Converter, UnknownSyntax


class Book:
    """A book with one of everything."""

    chapter = "7"

    def equation(self, label):
        return {"eq-a": "7.1"}[label]

    def numbered(self, label):
        return {"fig-a": ("Fig. 7.2", "U#fig-a"), "tab-a": ("Table 7.1", "U#tab-a"), "list-a": ("Listing 7.1", "U#l")}[
            label
        ]

    def titled(self, label):
        return {"sec": ("A section", "U#sec")}[label]

    def document(self, path):
        return {"/other": ("Other page", "V"), "other.md": ("Other page", "V")}[path]

    def citation(self, key):
        return {"a": ("A et al.", "2017", "B#a"), "b": ("B and C", "2018", "B#b")}[key]

    def image(self, path):
        return {"p.png": "S/p.png"}[path]

    def file(self, path):
        return {"data.tsv": "G/data.tsv"}[path]

    def glued(self, key, form):
        return format({"x": 0.12345}[key], form)

    def substitution(self, name):
        return {"n": "56,578"}[name]

    def heading(self):
        return "7.1"


def convert(source: str) -> str:
    return Converter(Book()).markdown(source)


ROLE_CASES = {
    "eq": ("see {eq}`eq-a`.", "see (7.1)."),
    "numref": ("{numref}`fig-a`, {numref}`as in %s <fig-a>`", "[Fig. 7.2](U#fig-a), [as in 7.2](U#fig-a)"),
    "ref": ("{ref}`sec` {ref}`here <sec>`", "[A section](U#sec) [here](U#sec)"),
    "doc": ("{doc}`/other` {doc}`over\nthere </other>`", "[Other page](V) [over there](V)"),
    "term": ("{term}`latent space` {term}`codes <code>`", "latent space codes"),
    "cite": ("{cite}`a`", "[[A et al., 2017](B#a)]"),
    "cite:p": ("{cite:p}`a,b`", "[[A et al., 2017](B#a); [B and C, 2018](B#b)]"),
    "cite:t": ("{cite:t}`a`", "A et al. [[2017](B#a)]"),
    "glue:text": ("{glue:text}`x:.2f` {glue:text}`x`", "0.12 0.12345"),
    "glue": ("{glue}`x`", "0.12345"),
    "math": ("{math}`a_b`", "$a_b$"),
    "zh": ("{zh}`电话|diànhuà|telephone`", "电话 (diànhuà, telephone)"),
    "query": ("a {query}`q`", "a q"),
    "key": ("{key}`k`", "k"),
    "value": ("{value}`v`", "v"),
    "source": ("{source}`s`", "s"),
    "target": ("{target}`t`", "t"),
    "abbr": ("{abbr}`GRU (gated recurrent unit)`", '<abbr title="gated recurrent unit">GRU</abbr>'),
    "sub": ("x{sub}`2`", "x<sub>2</sub>"),
    "sup": ("x{sup}`2`", "x<sup>2</sup>"),
    "kbd": ("{kbd}`Tab`", "<kbd>Tab</kbd>"),
    "code": ("{code}`a  b`", "`a  b`"),
    "command": ("{command}`make`", "`make`"),
    "file": ("{file}`a.py`", "`a.py`"),
    "samp": ("{samp}`x`", "`x`"),
    "program": ("{program}`pip`", "`pip`"),
}


def test_every_role_has_a_case():
    assert set(ROLE_CASES) == set(ROLES)


@pytest.mark.parametrize("role", ROLE_CASES)
def test_role(role: str):
    source, expected = ROLE_CASES[role]
    assert convert(source) == expected


DIRECTIVE_CASES = {
    "math": ("```{math}\n:label: eq-a\na = b\n```", "$$\na = b\n\\tag{7.1}\n$$"),
    "admonition": (
        ":::{admonition} Set right: *x*\n:class: ad-set-right\nText {eq}`eq-a`.\n:::",
        "> **Set right: *x***\n>\n> Text (7.1).",
    ),
    "dropdown": (":::{dropdown} More\nText\n:::", "<details>\n<summary>More</summary>\n\nText\n\n</details>"),
    "toggle": ("```{toggle}\nText\n```", "<details>\n<summary>More</summary>\n\nText\n\n</details>"),
    "solution": ("```{solution}\nBecause.\n```", "<details>\n<summary>Solution</summary>\n\nBecause.\n\n</details>"),
    "exercise": (
        "```{exercise} Hot\nTry.\n```\n\n```{exercise}\nAgain.\n```",
        "**Exercise 7.1 · Hot**\n\nTry.\n\n**Exercise 7.2**\n\nAgain.",
    ),
    "div": ("::::{div} a\n:::{div} b\nText\n:::\n::::", "Text"),
    "figure": ("```{figure} p.png\n:name: fig-a\n:alt: a dog\nA dog.\n```", "![a dog](S/p.png)\n\n*Fig. 7.2 A dog.*"),
    "image": ("```{image} p.png\n:alt: a dog\n```", "![a dog](S/p.png)"),
    "table": ("```{table} Costs\n:name: tab-a\n| a |\n|---|\n| 1 |\n```", "*Table 7.1 Costs*\n\n| a |\n|---|\n| 1 |"),
    "list-table": (
        "```{list-table}\n:header-rows: 1\n* - a\n  - b\n* - {eq}`eq-a`\n  - 2\n```",
        "| a | b |\n|---|---|\n| (7.1) | 2 |",
    ),
    "code-block": (
        "```{code-block} python\n:name: list-a\n:caption: Short\nx = 1\n```",
        "*Listing 7.1 Short*\n\n```python\nx = 1\n```",
    ),
    "code": ("```{code} sh\nmake\n```", "```sh\nmake\n```"),
    "epigraph": ("```{epigraph}\nWords.\n```", "> Words."),
    "rubric": ("```{rubric} Aside\n```", "**Aside**"),
    "glossary": ("```{glossary}\nkey\n: what it is found by\n```", "**key**  \nwhat it is found by"),
    "bibliography": ("```{bibliography}\n:all:\n```", ""),
    "tableofcontents": ("```{tableofcontents}\n```", ""),
    "index": ("```{index} word\n```", ""),
    **{name: (f"```{{{name}}}\nText\n```", f"> **{title}**\n>\n> Text") for name, title in ADMONITIONS.items()},
}


def test_every_directive_has_a_case():
    assert set(DIRECTIVE_CASES) == set(DIRECTIVES)


@pytest.mark.parametrize("directive", DIRECTIVE_CASES)
def test_directive(directive: str):
    source, expected = DIRECTIVE_CASES[directive]
    assert convert(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# Title", "# 7.1 Title"),
        ("(label)=\nText", "Text"),
        ("% a remark\nText", "Text"),
        ("{.wide}\nText", "Text"),
        ("$$\na = b\n$$ (eq-a)", "$$\na = b\n\\tag{7.1}\n$$"),
        ("$$ a = b $$", "$$\na = b\n$$"),
        (
            "Word[^n], again[^m], again[^n].\n\n[^m]: two\n[^n]: one\n  more",
            "Word<sup>1</sup>, again<sup>2</sup>, again<sup>1</sup>.\n\n<sup>2</sup> two\n\n<sup>1</sup> one more",
        ),
        ("{{ n }} pairs", "56,578 pairs"),
        ("[text](#sec), [](#fig-a), [page](other.md#x)", "[text](U#sec), [Fig. 7.2](U#fig-a), [page](V#x)"),
        ("[file](data.tsv) and [web](https://example.org/a_b)", "[file](G/data.tsv) and [web](https://example.org/a_b)"),
        ("![a dog](p.png)", "![a dog](S/p.png)"),
        ("[blue]{.ad-query}", "blue"),
        ("`{eq}` and `` {eq}`eq-a` `` stay, $a`b$ too", "`{eq}` and `` {eq}`eq-a` `` stay, $a`b$ too"),
        ("```python\n{eq}`eq-a`\n# no heading\n```", "```python\n{eq}`eq-a`\n# no heading\n```"),
        ("* item\n\n  ```{note}\n  Text\n  ```\n* item", "* item\n\n  > **Note**\n  >\n  > Text\n\n* item"),
        ("term\n: what it means", "**term**  \nwhat it means"),
    ],
)  # fmt: skip
def test_markdown(source: str, expected: str):
    assert convert(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{nosuch}`x`", "```{nosuch}\nx\n```", "{eq}`gone`", "{numref}`gone`", "{ref}`gone`", "{doc}`gone`",
        "{cite:p}`gone`", "{glue:text}`gone:.2f`", "{{ gone }}", "[x](#gone)", "[x](gone.md)", "[x](gone.tsv)",
        "![x](gone.png)", "{cite:year}`a`",
        "$$\na", "$$ a $$ b", "\\begin{align}\na\n\\end{align}", ":::{note}\nnever closed", "```{figure} gone.png\n```",
    ],
)  # fmt: skip
def test_what_is_unknown_is_refused(source: str):
    with pytest.raises(UnknownSyntax):
        convert(source)
