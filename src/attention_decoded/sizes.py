"""What every config refuses in the same words."""

from dataclasses import fields
from typing import Any


def check_sizes(config: Any) -> None:
    """ValueError for a dataclass in which an `int` field is no whole number above 0, or `dropout` not in [0, 1)."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type is int and not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{field.name}={value} must be a whole number, at least 1")
        if field.name == "dropout" and not 0 <= value < 1:
            raise ValueError(f"dropout={value} is a part of the whole: at least 0, below 1")
