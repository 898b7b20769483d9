"""Roles of the prose: the five roles that keep their colour, and Chinese words with their reading.

{query}`q`  {key}`k`  {value}`v`  {source}`…`  {target}`…`     the word in the colour it has everywhere
{zh}`电话|diànhuà|telephone`                                    characters, pinyin and gloss
"""

from docutils import nodes

COLOURED = ("query", "key", "value", "source", "target")


def split_word(text: str) -> tuple[str, str, str]:
    """Characters, pinyin and gloss of a {zh} role; ValueError when a part is missing."""
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{{zh}} wants 词|pinyin|gloss, not {text!r}")
    return parts[0], parts[1], parts[2]


def _coloured(name, rawtext, text, lineno, inliner, options=None, content=()):
    return [nodes.inline(rawtext, text, classes=["ad-role", f"ad-{name}"])], []


def _chinese(name, rawtext, text, lineno, inliner, options=None, content=()):
    try:
        characters, pinyin, gloss = split_word(text)
    except ValueError as error:
        problem = inliner.reporter.error(str(error), line=lineno)
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    word = nodes.inline(rawtext, "", classes=["ad-zh"])
    word += nodes.raw("", f'<span lang="zh-Hans">{nodes.unescape(characters)}</span>', format="html")
    word += nodes.inline("", f" ({pinyin}, {gloss})", classes=["ad-zh-gloss"])
    return [word], []


def setup(app):
    for name in COLOURED:
        app.add_role(name, _coloured)
    app.add_role("zh", _chinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
