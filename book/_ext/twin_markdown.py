"""MyST Markdown to the plain Markdown that Colab and JupyterLab show.

Every role, directive and reference is resolved to what the page shows: numbers, titles, absolute
links. What is not known here raises `UnknownSyntax`, so nothing reaches a reader raw.
"""

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from exercises import exercise_label
from inline_roles import COLOURED, split_word


class UnknownSyntax(ValueError):
    """A role, directive or reference that the exporter cannot resolve."""


class References(Protocol):
    """What the converter asks the book for; each raises KeyError when there is no such thing."""

    chapter: str | None

    def equation(self, label: str) -> str: ...
    def numbered(self, label: str) -> tuple[str, str]: ...  # "Fig. 7.2", URL
    def titled(self, label: str) -> tuple[str, str]: ...  # title, URL
    def document(self, path: str) -> tuple[str, str]: ...  # title, URL
    def citation(self, key: str) -> tuple[str, str, str]: ...  # authors, year, URL
    def image(self, path: str) -> str: ...  # URL
    def file(self, path: str) -> str: ...  # URL of any other local link
    def glued(self, key: str, form: str) -> str: ...
    def substitution(self, name: str) -> str: ...
    def heading(self) -> str: ...  # number of the next heading of the page, or ""


ADMONITIONS = {
    name: name.capitalize() if name != "seealso" else "See also"
    for name in ("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "seealso")
}
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}|:{3,})(?:\{(?P<name>[\w:+-]+)\})?[ ]*(?P<argument>.*?)\s*$")
_TARGET = re.compile(r"^\s*\([^()\s]+\)=\s*$")
_ATTRIBUTES = re.compile(r"^\s*\{[.#][^{}`]*\}\s*$")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_FOOTNOTE = re.compile(r"^\[\^(?P<name>[^\]]+)\]:\s*(?P<text>.*)$")
_OPTION = re.compile(r"^:(?P<key>[\w-]+):\s*(?P<value>.*)$")
_INLINE = re.compile(
    r"""
      \{(?P<role>[a-zA-Z][\w:+.-]*)\}(?P<role_ticks>`+)(?P<body>.+?)(?<!`)(?P=role_ticks)(?!`)
    | (?P<code>(?<!`)(?P<code_ticks>`+)(?!`).+?(?<!`)(?P=code_ticks)(?!`))
    | (?P<math>(?<![\\$])\$(?!\$).+?(?<!\\)\$)
    | \{\{\s*(?P<substitution>[\w.-]+)\s*\}\}
    | (?P<image>!)\[(?P<alt>[^\]]*)\]\((?P<source>[^()\s]+)\)
    | \[\^(?P<note>[^\]]+)\]
    | \[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<link>[^()\s]*)\)
    | \[(?P<span>[^\[\]]+)\]\{[^{}`]*\}
    | <(?P<auto>(?:project|path|inv|myst):[^>\s]*|\#[^>\s]+)>
    """,
    re.VERBOSE | re.DOTALL,
)
_EXTERNAL = re.compile(r"(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


class Converter:
    """Turns one page's Markdown cells, in order, into plain Markdown."""

    def __init__(self, references: References):
        self.refs = references
        self.exercises = 0
        self.notes: dict[str, int] = {}

    # ------------------------------------------------------------------ blocks
    def markdown(self, source: str) -> str:
        out = "\n\n".join(block for block in self._blocks(source.split("\n")) if block.strip())
        return re.sub(r"\n{3,}", "\n\n", out).strip("\n")

    def _blocks(self, lines: list[str]) -> Iterator[str]:
        text: list[str] = []
        i = 0

        def flush() -> Iterator[str]:
            if any(line.strip() for line in text):
                yield self._text(text)
            text.clear()

        while i < len(lines):
            line = lines[i]
            fence = _FENCE.match(line)
            if fence and (fence["name"] or fence["fence"][0] != ":"):
                yield from flush()
                end = _closing(lines, i, fence)
                body = [_unindent(b, len(fence["indent"])) for b in lines[i + 1 : end]]
                block = (
                    self._directive(fence["name"], fence["argument"], body)
                    if fence["name"]
                    else "\n".join([line.strip(), *body, fence["fence"]])
                )
                yield "\n".join(fence["indent"] + b if b else b for b in block.split("\n"))
                i = end + 1
            elif line.lstrip().startswith("$$"):
                yield from flush()
                end, block = self._dollars(lines, i)
                yield block
                i = end + 1
            elif re.match(r"\s*\\begin\{(?:align|equation|gather|multline)", line):
                raise UnknownSyntax("a bare LaTeX environment: write $$ … $$ (label) around \\begin{aligned}")
            elif _TARGET.match(line) or _ATTRIBUTES.match(line) or line.startswith("%") or line.startswith("+++"):
                yield from flush()
                i += 1
            elif heading := _HEADING.match(line):
                yield from flush()
                number = self.refs.heading()
                yield f"{heading[1]} {number + ' ' if number else ''}{self.inline(heading[2])}"
                i += 1
            elif note := _FOOTNOTE.match(line):
                yield from flush()
                parts = [note["text"]]
                while i + 1 < len(lines) and lines[i + 1].startswith((" ", "\t")) and lines[i + 1].strip():
                    i += 1
                    parts.append(lines[i].strip())
                yield f"<sup>{self._note(note['name'])}</sup> {self.inline(' '.join(parts))}"
                i += 1
            else:
                text.append(line)
                i += 1
        yield from flush()

    def _text(self, lines: list[str]) -> str:
        """Paragraphs, lists and tables: inline syntax only, and definition lists."""
        out: list[str] = []
        for line in self.inline("\n".join(lines)).split("\n"):
            if line.startswith(": ") and out:
                out[-1] = f"**{out[-1]}**  " if out[-1].strip() and not out[-1].startswith("**") else out[-1]
                out.append(line[2:])
            else:
                out.append(line)
        return "\n".join(out).strip("\n")

    def _dollars(self, lines: list[str], i: int) -> tuple[int, str]:
        rest = lines[i].strip()[2:]
        formula: list[str] = []
        while True:
            before, closing, after = rest.partition("$$")
            if before.strip():
                formula.append(before.strip())
            if closing:
                break
            i += 1
            if i == len(lines):
                raise UnknownSyntax("a formula that opens with $$ and never closes")
            rest = lines[i]
        label = re.fullmatch(r"\s*\(([^()\s]+)\)\s*", after)
        if after.strip() and not label:
            raise UnknownSyntax(f"text after a formula: {after.strip()!r}")
        return i, self._formula("\n".join(formula), label[1] if label else None)

    def _formula(self, formula: str, label: str | None) -> str:
        tag = f"\n\\tag{{{self._known(self.refs.equation, label, 'equation')}}}" if label else ""
        return f"$$\n{formula}{tag}\n$$"

    # -------------------------------------------------------------- directives
    def _directive(self, name: str, argument: str, body: list[str]) -> str:
        options, body = _options(body)
        handler = DIRECTIVES.get(name)
        if handler is None:
            raise UnknownSyntax(f"directive {{{name}}}")
        return handler(self, name, argument, options, body)

    def quoted(self, title: str, body: list[str]) -> str:
        inner = self.markdown("\n".join(body))
        return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *inner.split("\n")])

    def folded(self, title: str, body: list[str]) -> str:
        return f"<details>\n<summary>{title}</summary>\n\n{self.markdown(chr(10).join(body))}\n\n</details>"

    def numbered(self, name: str | None) -> str:
        return self._known(self.refs.numbered, name, "figure or table")[0] if name else ""

    # ------------------------------------------------------------------ inline
    def inline(self, text: str) -> str:
        return _INLINE.sub(self._piece, text)

    def _piece(self, m: re.Match) -> str:
        if m["role"]:
            return self._role(m["role"], m["body"])
        if m["code"] or m["math"]:
            return m[0]
        if m["substitution"]:
            return self._known(self.refs.substitution, m["substitution"], "substitution")
        if m["image"]:
            source = m["source"] if _EXTERNAL.match(m["source"]) else self._known(self.refs.image, m["source"], "image")
            return f"![{m['alt']}]({source})"
        if m["note"]:
            return f"<sup>{self._note(m['note'])}</sup>"
        if m["span"]:
            return self.inline(m["span"])
        if m["auto"]:
            title, url = self._target(m["auto"])
            return f"[{title}]({url})"
        text, link = self.inline(m["text"]), m["link"]
        if _EXTERNAL.match(link) and not link.startswith(("project:", "path:", "myst:")):
            return f"[{text}]({link})"
        title, url = self._target(link)
        return f"[{text or title}]({url})"

    def _target(self, link: str) -> tuple[str, str]:
        link = re.sub(r"^(?:project|path|myst):", "", link)
        path, _, anchor = link.partition("#")
        if not path:
            for find in (self.refs.titled, self.refs.numbered):
                try:
                    return find(anchor)
                except KeyError:
                    continue
            raise UnknownSyntax(f"link to #{anchor}")
        if path.endswith(".md"):
            title, url = self._known(self.refs.document, path, "page")
            return title, f"{url}#{anchor}" if anchor else url
        return path, self._known(self.refs.file, link, "file")

    def _note(self, name: str) -> int:
        return self.notes.setdefault(name, len(self.notes) + 1)

    def _role(self, name: str, body: str) -> str:
        handler = ROLES.get(name)
        if handler is None:
            raise UnknownSyntax(f"role {{{name}}}")
        return handler(self, name, " ".join(body.split()) if name != "code" else body)

    @staticmethod
    def _known(find: Callable, key: str, kind: str):
        try:
            return find(key)
        except KeyError:
            raise UnknownSyntax(f"{kind} {key!r}, which the book does not have") from None


def _closing(lines: list[str], start: int, fence: re.Match) -> int:
    """The line that closes a fence: the same sign, at least as often, and nothing else."""
    sign, least = fence["fence"][0], len(fence["fence"])
    for i in range(start + 1, len(lines)):
        line = lines[i].strip()
        if len(line) >= least and set(line) == {sign}:
            return i
    raise UnknownSyntax(f"a block that opens with {fence[0].strip()!r} and never closes")


def _unindent(line: str, width: int) -> str:
    return line[width:] if line[:width].isspace() or not width else line


def _options(body: list[str]) -> tuple[dict[str, str], list[str]]:
    """The `:key: value` lines at the head of a directive, and what follows them."""
    options, i = {}, 0
    while i < len(body) and (match := _OPTION.match(body[i])):
        options[match["key"]] = match["value"].strip()
        i += 1
    return options, body[i:]


def _explicit(body: str) -> tuple[str | None, str]:
    """`text <target>` → text and target; a bare target has no text of its own."""
    match = re.fullmatch(r"(.+?)\s*<([^<>]+)>", body, re.DOTALL)
    return (match[1], match[2].strip()) if match else (None, body.strip())


# ------------------------------------------------------------------- directives
def _admonition(c: Converter, name, argument, options, body):
    title = c.inline(argument) if name == "admonition" else ADMONITIONS[name]
    if name != "admonition" and argument:
        body = [argument, *body]
    if "dropdown" in options.get("class", "").split():
        return c.folded(title, body)
    return c.quoted(title, body)


def _exercise(c: Converter, name, argument, options, body):
    c.exercises += 1
    title = exercise_label(c.refs.chapter, c.exercises) + (f" · {c.inline(argument)}" if argument else "")
    return f"**{title}**\n\n{c.markdown(chr(10).join(body))}"


def _figure(c: Converter, name, argument, options, body):
    source = argument if _EXTERNAL.match(argument) else c._known(c.refs.image, argument, "image")
    picture = f"![{options.get('alt', '')}]({source})"
    if name == "image":
        return picture
    caption = " ".join(filter(None, [c.numbered(options.get("name")), c.markdown("\n".join(body))]))
    return f"{picture}\n\n*{caption}*" if caption else picture


def _table(c: Converter, name, argument, options, body):
    caption = " ".join(filter(None, [c.numbered(options.get("name")), c.inline(argument)]))
    return f"*{caption}*\n\n{c.markdown(chr(10).join(body))}" if caption else c.markdown("\n".join(body))


def _list_table(c: Converter, name, argument, options, body):
    rows: list[list[str]] = []
    for line in body:
        if line.startswith("* -"):
            rows.append([line[3:].strip()])
        elif line.startswith("  -"):
            rows[-1].append(line[3:].strip())
        elif line.strip():
            rows[-1][-1] += " " + line.strip()
    cells = [[c.inline(cell) for cell in row] for row in rows]
    if options.get("header-rows", "0") == "0":
        cells.insert(0, [""] * len(cells[0]))
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + "---|" * len(cells[0]))
    return _table(c, name, argument, options, lines)


def _code(c: Converter, name, argument, options, body):
    caption = " ".join(filter(None, [c.numbered(options.get("name")), c.inline(options.get("caption", ""))]))
    block = "\n".join([f"```{argument}", *body, "```"])
    return f"*{caption}*\n\n{block}" if caption else block


def _nothing(c: Converter, name, argument, options, body):
    return ""


DIRECTIVES: dict[str, Callable[..., str]] = {
    "math": lambda c, n, a, o, b: c._formula("\n".join([a, *b]).strip("\n"), o.get("label") or o.get("name")),
    **dict.fromkeys([*ADMONITIONS, "admonition"], _admonition),
    **dict.fromkeys(("dropdown", "toggle"), lambda c, n, a, o, b: c.folded(c.inline(a) or "More", b)),
    "solution": lambda c, n, a, o, b: c.folded("Solution", b),
    "exercise": _exercise,
    "div": lambda c, n, a, o, b: c.markdown("\n".join(b)),
    "figure": _figure,
    "image": _figure,
    "table": _table,
    "list-table": _list_table,
    **dict.fromkeys(("code-block", "code"), _code),
    "epigraph": lambda c, n, a, o, b: "\n".join(f"> {line}" for line in c.markdown("\n".join(b)).split("\n")),
    "rubric": lambda c, n, a, o, b: f"**{c.inline(a)}**",
    "glossary": lambda c, n, a, o, b: c.markdown("\n".join(b)),
    **dict.fromkeys(("bibliography", "tableofcontents", "index"), _nothing),
}  # fmt: skip


# ------------------------------------------------------------------------ roles
def _linked(find: str, kind: str):
    def role(c: Converter, name: str, body: str) -> str:
        text, target = _explicit(body)
        title, url = c._known(getattr(c.refs, find), target, kind)
        return f"[{text or title}]({url})"

    return role


def _numref(c: Converter, name: str, body: str) -> str:
    text, target = _explicit(body)
    number, url = c._known(c.refs.numbered, target, "numbered thing")
    if text:
        number = text.replace("%s", number.split()[-1]).replace("{number}", number.split()[-1])
    return f"[{number}]({url})"


def _cite(c: Converter, name: str, body: str) -> str:
    works = [c._known(c.refs.citation, key.strip(), "citation") for key in body.split(",")]
    style = name.partition(":")[2] or "p"
    if style == "p":
        return "[" + "; ".join(f"[{who}, {year}]({url})" for who, year, url in works) + "]"
    if style == "t":
        return ", ".join(f"{who} [[{year}]({url})]" for who, year, url in works)
    raise UnknownSyntax(f"role {{{name}}}")


def _glued(c: Converter, name: str, body: str) -> str:
    key, _, form = body.rpartition(":") if ":" in body.replace("::", "") else (body, "", "")
    return c._known(lambda k: c.refs.glued(k, form), key, "glued value")


def _chinese(c: Converter, name: str, body: str) -> str:
    characters, pinyin, gloss = split_word(body)
    return f"{characters} ({pinyin}, {gloss})"


def _abbreviation(c: Converter, name: str, body: str) -> str:
    match = re.fullmatch(r"(.+?)\s*\((.+)\)", body)
    return f'<abbr title="{match[2]}">{match[1]}</abbr>' if match else body


ROLES: dict[str, Callable[[Converter, str, str], str]] = {
    "eq": lambda c, n, b: f"({c._known(c.refs.equation, b, 'equation')})",
    "numref": _numref,
    "ref": _linked("titled", "label"),
    "doc": _linked("document", "page"),
    "term": lambda c, n, b: _explicit(b)[0] or _explicit(b)[1],
    **dict.fromkeys(("cite", "cite:p", "cite:t"), _cite),
    **dict.fromkeys(("glue:text", "glue"), _glued),
    "math": lambda c, n, b: f"${b}$",
    "zh": _chinese,
    **dict.fromkeys(COLOURED, lambda c, n, b: b),
    "abbr": _abbreviation,
    **{tag: lambda c, n, b: f"<{n}>{b}</{n}>" for tag in ("sub", "sup", "kbd")},
    **dict.fromkeys(("code", "command", "file", "samp", "program"), lambda c, n, b: f"`{b}`"),
}  # fmt: skip
