"""Exercises and their folded solutions.

```{exercise} Title, if it has one
Text.
```
```{solution}
Text; folded until the reader opens it, in print always open.
```

Exercises are numbered within their page: "Exercise 7.2" in chapter 7.
"""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective


class exercise(nodes.Admonition, nodes.Element):
    """An exercise; its title is written once the chapter's number is known."""


class solution(nodes.General, nodes.Element):
    """The folded solution of the exercise before it."""


class Exercise(SphinxDirective):
    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = {}  # noqa: RUF012

    def run(self):
        self.assert_has_content()
        node = exercise(classes=["admonition", "ad-exercise"])
        self.set_source_info(node)
        title = nodes.title("", "")
        if self.arguments:
            parsed, messages = self.state.inline_text(self.arguments[0], self.lineno)
            title.extend([*parsed, *messages])
        node += title
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class Solution(SphinxDirective):
    has_content = True
    option_spec = {}  # noqa: RUF012

    def run(self):
        self.assert_has_content()
        node = solution()
        self.set_source_info(node)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def exercise_label(chapter: str | None, position: int) -> str:
    """ "Exercise 7.2" in chapter 7, "Exercise 2" on a page without a number."""
    return f"Exercise {chapter}.{position}" if chapter else f"Exercise {position}"


class NumberExercises(SphinxPostTransform):
    default_priority = 10

    def run(self, **kwargs) -> None:
        chapter = self.env.metadata[self.env.docname].get("chapter")
        for position, node in enumerate(self.document.findall(exercise), 1):
            title = node[0]
            label = nodes.strong("", exercise_label(chapter, position))
            title.insert(0, [label, nodes.Text(" · ")] if len(title) else label)


def _visit_exercise(self, node):
    self.visit_admonition(node)


def _depart_exercise(self, node):
    self.depart_admonition(node)


def _visit_solution(self, node):
    self.body.append('<details class="ad-solution"><summary>Solution</summary>\n')


def _depart_solution(self, node):
    self.body.append("</details>\n")


def setup(app):
    app.add_node(exercise, html=(_visit_exercise, _depart_exercise))
    app.add_node(solution, html=(_visit_solution, _depart_solution))
    app.add_directive("exercise", Exercise)
    app.add_directive("solution", Solution)
    app.add_post_transform(NumberExercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
