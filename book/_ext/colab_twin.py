"""`<chapter>.ipynb` beside each `<chapter>.md`: the edition for Colab and JupyterLab, written by every build.

Same words, same code. References are resolved (twin_markdown), one cell installs the package, cells
for the page alone are left out, cells for a kernel alone are in; no output is stored, and nothing
depends on when or where it was made, so that the same chapter gives the same bytes.
"""

import json
import posixpath
from pathlib import Path

import nbformat
from book_build import write_if_changed
from chapter_cells import KERNEL_ONLY, PAGE_ONLY, has_tag
from docutils import nodes
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from myst_nb.core.variables import format_plain_text
from sphinx.util import logging
from twin_markdown import Converter, UnknownSyntax

_log = logging.getLogger(__name__)
_FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
PACKAGE = "attention-decoded"
MODULE = "attention_decoded"


class Book:
    """References of one page, from Sphinx's environment after a build."""

    def __init__(self, app, docname: str):
        self.app, self.env, self.docname = app, app.env, docname
        self.base = app.config.html_baseurl.rstrip("/")
        self.std, self.math = app.env.get_domain("std"), app.env.get_domain("math")
        self.chapter = app.env.metadata[docname].get("chapter")
        toc = app.env.tocs[docname]
        numbers = app.env.toc_secnumbers.get(docname, {})
        self._headings = [numbers.get(reference["anchorname"]) for reference in toc.findall(nodes.reference)]

    def url(self, docname: str, anchor: str = "") -> str:
        page = f"{self.base}/{docname}.html"
        return f"{page}#{anchor}" if anchor else page

    def equation(self, label: str) -> str:
        found = self.math.equations[label]
        numbers = self.env.toc_fignumbers.get(found[0], {}).get("displaymath", {})
        number = numbers.get(f"equation-{nodes.make_id(label)}")
        return ".".join(map(str, number)) if number else str(found[1])

    def numbered(self, label: str) -> tuple[str, str]:
        docname, anchor = self.std.anonlabels[label.lower()]
        for kind, numbers in self.env.toc_fignumbers.get(docname, {}).items():
            if anchor in numbers and kind != "displaymath":
                form = self.app.config.numfig_format[kind]
                return form % ".".join(map(str, numbers[anchor])), self.url(docname, anchor)
        sections = self.env.toc_secnumbers.get(docname, {})
        if number := sections.get(f"#{anchor}"):
            return self.app.config.numfig_format["section"] % ".".join(map(str, number)), self.url(docname, anchor)
        if label in self.math.equations:
            return f"({self.equation(label)})", self.url(docname, anchor)
        raise KeyError(label)

    def titled(self, label: str) -> tuple[str, str]:
        docname, anchor, title = self.std.labels[label.lower()]
        return title, self.url(docname, anchor)

    def document(self, path: str) -> tuple[str, str]:
        path = path.removesuffix(".md")
        folder = posixpath.dirname(self.docname)
        docname = path.lstrip("/") if path.startswith("/") else posixpath.normpath(posixpath.join(folder, path))
        return self.env.titles[docname].astext(), self.url(docname)

    def citation(self, key: str) -> tuple[str, str, str]:
        for citation in self.env.get_domain("cite").citations:
            if citation.key == key:
                names = [
                    "".join(map(str, p.rich_prelast_names + p.rich_last_names))
                    for p in citation.entry.persons["author"]
                ]
                who = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
                return (
                    who,
                    citation.entry.fields["year"],
                    self.url(citation.bibliography_key.docname, citation.citation_id),
                )
        raise KeyError(key)

    def image(self, path: str) -> str:
        relative = (
            posixpath.normpath(posixpath.join(posixpath.dirname(self.docname), path)) if path[0] != "/" else path[1:]
        )
        return f"{self.base}/_images/{self.env.images[relative][1]}"

    def file(self, path: str) -> str:
        here = posixpath.join(posixpath.dirname(self.docname), path)
        if (Path(self.app.srcdir) / here.partition("#")[0]).is_file():
            options = self.app.config.html_theme_options
            return f"{options['repository_url']}/blob/{options['repository_branch']}/{posixpath.normpath(here)}"
        raise KeyError(path)

    def glued(self, key: str, form: str) -> str:
        docname, _, name = key.rpartition("::")
        docname = (
            posixpath.normpath(posixpath.join(posixpath.dirname(self.docname), docname)) if docname else self.docname
        )
        store = Path(self.app.env.mystnb_config.output_folder) / f"{docname.removesuffix('.md')}.glue.json"
        if not store.is_file():
            raise KeyError(key)
        text = json.loads(store.read_text("utf-8"))[name]["data"]["text/plain"]
        try:
            return format_plain_text(text, form)
        except ValueError as error:
            raise UnknownSyntax(f"glued value {key!r}: {error}") from None

    def substitution(self, name: str) -> str:
        return str(self.app.config.myst_substitutions[name])

    def heading(self) -> str:
        number = self._headings.pop(0) if self._headings else None
        return ".".join(map(str, number)) if number else ""


def install_cell(repository: str, branch: str) -> str:
    """The only cell that is about Colab: it takes the package where it is missing, and touches nothing else."""
    return (
        "# @title Get the book's package (needed once; Colab's own packages stay as they are)\n"
        "import importlib.util\n\n"
        f'if importlib.util.find_spec("{MODULE}") is None:\n'
        f'    %pip install -q "{PACKAGE} @ git+{repository}@{branch}"'
    )


def _form(cell, title: str | None) -> None:
    """Fold a code cell: in Colab a form with a title, in JupyterLab a hidden source."""
    cell.metadata = {"cellView": "form", "jupyter": {"source_hidden": True}}
    if title and not cell.source.lstrip().startswith(("%%", "# @title")):
        cell.source = f"# @title {title}\n{cell.source}"


def make_twin(source: str, book: Book, *, title: str, url: str, origin: str, repository: str, branch: str) -> str:
    """The notebook as JSON text. Raises UnknownSyntax, with the place, where the page cannot be resolved."""
    chapter = read_myst_markdown_notebook(source)
    converter = Converter(book)
    head = nbformat.v4.new_markdown_cell(
        f"*The notebook edition of [{title}]({url}), for Colab and JupyterLab. Generated from `{origin}`; do not edit.*"
    )
    install = nbformat.v4.new_code_cell(
        install_cell(repository, branch), metadata={"cellView": "form", "tags": ["install"]}
    )
    cells = [head, install]
    for cell in chapter.cells:
        kernel_only = has_tag(cell, KERNEL_ONLY)
        if cell.cell_type == "markdown":
            if kernel_only:
                outer, book.heading = book.heading, lambda: ""
            try:
                text = converter.markdown(cell.source)
            except UnknownSyntax as error:
                raise UnknownSyntax(f"{error} (in the cell that begins {cell.source.strip()[:50]!r})") from None
            if kernel_only:
                book.heading = outer
            if text and not has_tag(cell, PAGE_ONLY):
                cells.append(nbformat.v4.new_markdown_cell(text))
        elif cell.cell_type == "code" and not has_tag(cell, PAGE_ONLY):
            options = cell.metadata.get("mystnb", {})
            new = nbformat.v4.new_code_cell(cell.source)
            if _FOLDED.intersection(cell.metadata.get("tags", [])):
                _form(new, options.get("code_prompt_show"))
            cells.append(new)
            if caption := options.get("figure", {}).get("caption"):
                number = converter.numbered(options["figure"].get("name"))
                caption = converter.markdown(caption.strip())
                cells.append(
                    nbformat.v4.new_markdown_cell(" ".join(filter(None, [f"**{number}**" if number else "", caption])))
                )
    for position, cell in enumerate(cells):
        cell.id = f"cell-{position:03d}"
    notebook = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "colab": {"provenance": [], "toc_visible": True},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def twins(app) -> dict[str, str]:
    """Page → notebook text for every notebook page of the book; what cannot be resolved is logged and left out."""
    found = {}
    options = app.config.html_theme_options
    for docname in sorted(app.env.found_docs):
        path = Path(app.env.doc2path(docname))
        source = path.read_text("utf-8")
        if path.suffix != ".md" or not is_myst_markdown_notebook(source):
            continue
        book = Book(app, docname)
        try:
            found[docname] = make_twin(
                source,
                book,
                title=app.env.titles[docname].astext(),
                url=book.url(docname),
                origin=path.relative_to(app.srcdir).as_posix(),
                repository=options["repository_url"],
                branch=options["repository_branch"],
            )
        except UnknownSyntax as error:
            _log.error("the Colab edition cannot show %s", error, location=docname)
            app.statuscode = 1
    return found


def _write(app, exception) -> None:
    if exception or app.builder.format != "html":
        return
    for docname, text in twins(app).items():
        write_if_changed(Path(app.srcdir) / f"{docname}.ipynb", text)
        write_if_changed(Path(app.outdir) / "_sources" / f"{docname}.ipynb", text)  # the download button's


def _point_buttons(app, pagename, templatename, context, doctree) -> None:
    """The Colab button opens the twin, also in the very build that writes it for the first time."""
    if pagename not in app.env.found_docs:
        return
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                button["url"] = button["url"].removesuffix(".md").removesuffix(".ipynb") + ".ipynb"


def setup(app):
    app.connect("html-page-context", _point_buttons, priority=900)
    app.connect("build-finished", _write, priority=550)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
