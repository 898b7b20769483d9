"""A page of attention maps: one HTML file that needs no network, no script and no other file.

Every map is a table, so that a screen reader can walk it: row = query (the English word that looks), column =
key (the Chinese token that is looked at). A cell shows hundredths; its title shows three digits. Whatever text
comes in is escaped, and a content security policy forbids the page to run or to fetch anything at all.
"""

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

_SHADE = 0.5
"""How opaque the colour of weight 1 is: black and white text stay legible on it, in the light and in the dark."""

STYLE = """
body{margin:0 auto;padding:1rem 1.2rem 3rem;max-width:72rem;font:16px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--surface)}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}
[lang=zh-Hans]{font-family:"Noto Sans SC","PingFang SC","Microsoft YaHei",sans-serif}
p{max-width:44rem}.muted{color:var(--muted)}.query{color:var(--query)}.key{color:var(--key)}
.maps{display:flex;flex-wrap:wrap;gap:1rem 2rem}
.map{overflow-x:auto;max-width:100%}
.map:focus-visible,summary:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.3rem 0 .6rem}
caption{text-align:left;font-weight:600;padding:.2rem 0;white-space:nowrap}
th{font-weight:500;padding:.1rem .35rem;white-space:nowrap}
th[scope=col]{color:var(--key)}th[scope=row]{color:var(--query);text-align:right}
td{min-width:1.7rem;padding:.1rem .2rem;text-align:center;font-size:.8rem;border:1px solid var(--line);
background:rgb(var(--weight) / calc(var(--a) * SHADE))}
summary{cursor:pointer;padding:.3rem 0}
""".replace("SHADE", str(_SHADE))


def sentence(
    number: int,
    source: str,
    written: str,
    queries: Sequence[str],
    keys: Sequence[str],
    layers: Sequence[Float[np.ndarray, "head query key"]],
) -> str:
    """The section of one translated sentence: the mean of all maps, and behind a fold each layer's heads.

    Raises ValueError when a layer's maps are not len(queries) × len(keys), or when there is no layer.
    """
    if not layers:
        raise ValueError("layers is empty: there is no attention to show")
    for i, maps in enumerate(layers, start=1):
        if maps.ndim != 3 or maps.shape[1:] != (len(queries), len(keys)):
            raise ValueError(
                f"layer {i}: maps of shape {maps.shape}, but there are {len(queries)} queries and {len(keys)} keys"
            )
    n_maps = sum(len(maps) for maps in layers)
    everything = np.concatenate(list(layers)).mean(0)
    parts = [
        f'<section aria-labelledby="s{number}"><h2 id="s{number}">{number}. '
        f'<span lang="zh-Hans">{_text(source)}</span> → <span lang="en">{_text(written)}</span></h2>',
        _map(f"Mean of all {n_maps} maps" if n_maps > 1 else "The one map there is", everything, queries, keys),
    ]
    for i, maps in enumerate(layers if n_maps > 1 else (), start=1):
        heads = f"{len(maps)} heads and their mean" if len(maps) > 1 else "one head"
        parts.append(f'<details><summary>Layer {i} of {len(layers)}: {heads}</summary><div class="maps">')
        if len(maps) > 1:
            parts.append(_map(f"Layer {i}, mean of the heads", maps.mean(0), queries, keys))
        parts += [_map(f"Layer {i}, head {j}", head, queries, keys) for j, head in enumerate(maps, start=1)]
        parts.append("</div></details>")
    return "".join([*parts, "</section>\n"])


def page(sections: Iterable[str], *, model: str, note: str = "") -> str:
    """The whole file; `sections` come from `sentence`, `model` and `note` are plain text."""
    palette = json.loads(Path(__file__).with_name("palette.json").read_text("utf-8"))
    light, dark = (_variables(palette[theme]) for theme in ("light", "dark"))
    body = "".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<title>Cross-attention</title>\n'
        f"<style>:root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{STYLE}</style>\n</head>\n"
        f"<body><main>\n<h1>Where the translator looked</h1>\n"
        '<p>Row = <strong class="query">query</strong> (who looks): the English word that is being written. '
        'Column = <strong class="key">key</strong> (who is looked at): a token of the Chinese sentence; “end” is its '
        "end mark. A row that begins with + goes on with the word above it. Numbers are hundredths, and a row sums "
        "to 100 up to rounding; the exact weight shows when the pointer rests on a cell.</p>\n"
        f'<p class="muted">Model: {_text(model)}. {_text(note)}</p>\n{body}</main></body>\n</html>\n'
    )


def _variables(colours: dict[str, str]) -> str:
    """The palette as CSS variables; the weight's colour as three numbers, to be given an opacity."""
    weight = " ".join(str(int(colours["weight"][i : i + 2], 16)) for i in (1, 3, 5))
    return ";".join(f"--{name}:{weight if name == 'weight' else colour}" for name, colour in colours.items())


def _map(title: str, weights: Float[np.ndarray, "query key"], queries: Sequence[str], keys: Sequence[str]) -> str:
    columns = "".join(f'<th scope="col" lang="zh-Hans">{_text(key)}</th>' for key in keys)
    rows = []
    for query, row in zip(queries, weights.tolist(), strict=True):
        cells = "".join(
            f'<td style="--a:{x:.3f}" title="{_text(query)} looks at {_text(key)}: {x:.3f}">{100 * x:.0f}</td>'
            for key, x in zip(keys, row, strict=True)
        )
        rows.append(f'<tr><th scope="row" lang="en">{_text(query)}</th>{cells}</tr>')
    corner = '<td style="--a:0"><span class="query">query ↓</span> <span class="key">key →</span></td>'
    label = html.escape(title, quote=True)
    return (
        f'<div class="map" role="region" aria-label="{label}" tabindex="0"><table><caption>{label}</caption>'
        f"<thead><tr>{corner}{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _text(text: str) -> str:
    """Text as text, in an element or in a quoted attribute, whatever it holds."""
    return html.escape(text, quote=True)
