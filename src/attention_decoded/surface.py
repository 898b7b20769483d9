"""Where does this code run: while a page of the book is being built, or in a notebook?

The Sphinx build sets `ATTENTION_DECODED_PAGE=1` for the kernels that execute the chapters. Figures
then come out as inline SVG that follows the page's colours, widgets name the URL of a checkpoint
instead of carrying its bytes, and `report` hands numbers to the prose. Everywhere else the
variable is absent.
"""

import os

VARIABLE = "ATTENTION_DECODED_PAGE"


def on_page() -> bool:
    """True while the book's pages are being built."""
    return os.environ.get(VARIABLE) == "1"


def report(**numbers: int | float | str) -> None:
    """Hand measured numbers to the prose: `{glue:text}` finds them on a page; a notebook prints them."""
    if on_page():
        from myst_nb import glue  # part of the book's build, not of the package

        for name, value in numbers.items():
            plain = getattr(value, "item", lambda value=value: value)()  # NumPy's numbers become Python's
            glue(name, plain, display=False)
    else:
        width = max(map(len, numbers), default=0)
        for name, value in numbers.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{name:<{width}}  {shown}")
