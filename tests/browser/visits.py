"""What the browser tests share beside their fixtures."""


def none(found: list[str]) -> None:
    """Nothing was found; else say all of it, one finding a line."""
    assert not found, "\n" + "\n".join(found)
