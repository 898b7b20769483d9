"""What every config refuses in the same words."""

from dataclasses import fields
from typing import Any


def check_sizes(config: Any) -> None:
    """Refuse a dataclass in which a whole number is below 1, or a `dropout` does not leave something: ValueError."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ValueError(f"{field.name}={value} must be at least 1")
        if field.name == "dropout" and not 0 <= value < 1:
            raise ValueError(f"dropout={value} is a part of the whole: at least 0, below 1")
