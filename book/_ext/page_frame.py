"""What stands around a page's text: the style sheet, fonts ahead of time, and what search engines read."""

import html
import re
from pathlib import Path
from posixpath import relpath

import web_fonts
from book_build import preload, write_if_changed
from docutils import nodes
from sphinx.application import Sphinx

_LONGEST = 180


def description(doctree: nodes.document | None, stated: str | None) -> str:
    """A page's description: stated in its front matter (`description:`), or its first paragraph, shortened."""
    if stated:
        return " ".join(stated.split())
    if doctree is None:
        return ""
    for paragraph in doctree.findall(nodes.paragraph):
        parents = []
        parent = paragraph.parent
        while parent is not None:
            parents.append(parent)
            parent = parent.parent
        if any(isinstance(p, nodes.Admonition | nodes.footnote | nodes.table | nodes.figure) for p in parents):
            continue
        text = " ".join(paragraph.astext().split())
        if len(text) > _LONGEST:
            text = text[:_LONGEST].rsplit(" ", 1)[0].rstrip(",;:—–") + " …"
        if text:
            return text
    return ""


def _frame(app: Sphinx, pagename, templatename, context, doctree) -> None:
    metadata = app.env.metadata.get(pagename, {})
    title = html.unescape(re.sub(r"<[^>]+>", "", context.get("title") or ""))
    text = description(doctree, metadata.get("description")) or f"{app.config.project}: {title or pagename}"
    here = f"{pagename}.html"
    tags = [f'<meta name="description" content="{html.escape(text)}" />']
    for name, content in {
        "og:type": "article",
        "og:site_name": app.config.project,
        "og:title": title,
        "og:description": text,
        "og:url": f"{app.config.html_baseurl.rstrip('/')}/{here}",
    }.items():
        tags.append(f'<meta property="{name}" content="{html.escape(content)}" />')
    fonts = [relpath(f"_static/{path}", Path(here).parent.as_posix()) for path in web_fonts.preloads()]
    tags.append(f"<script>{preload(fonts, as_='font', type='font/woff2')}</script>")
    # docutils gives a bibliography two roles that exclude each other: a list, and entries that are no list items.
    if body := context.get("body"):
        context["body"] = body.replace(' role="list" class="citation-list"', ' class="citation-list"').replace(
            ' role="doc-biblioentry"', ""
        )
    context["metatags"] = context.get("metatags", "") + "\n".join(tags)


def _search_summary(app, pagename, templatename, context, doctree) -> None:
    if pagename == "search":
        app.add_js_file("search/summary.js", priority=950)


def _add_templates(app, config) -> None:
    config.templates_path.append(str(Path(__file__).parent / "templates"))


def _write_entrance(app, exception) -> None:
    """`index.html` at the site's root, which leads to the cover; before Jupyter Book writes a bare one."""
    cover = f"{app.config.root_doc}.html"
    if exception or app.builder.format != "html" or cover == "index.html":
        return
    title = html.escape(app.config.html_title)
    entrance = f"""<!DOCTYPE html>
<html lang="{app.config.language}">
<head>
<meta charset="utf-8" />
<title>{title}</title>
<meta name="description" content="The way to the cover of {title}." />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="refresh" content="0; url={cover}" />
<link rel="canonical" href="{app.config.html_baseurl.rstrip("/")}/{cover}" />
</head>
<body><main><h1>{title}</h1><p><a href="{cover}">To the cover</a></p></main></body>
</html>
"""
    write_if_changed(Path(app.outdir) / "index.html", entrance)


def setup(app):
    app.add_css_file("book.css", priority=950)
    app.add_js_file("page.js", priority=950)
    app.connect("config-inited", _add_templates)
    app.connect("html-page-context", _frame)
    app.connect("html-page-context", _search_summary)
    app.connect("build-finished", _write_entrance, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
