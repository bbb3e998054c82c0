"""Checks that constructors share."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args


def require_positive(**sizes: int) -> None:
    """Check that every size is at least one.

    Raises:
        ValueError: If a size is below one.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{name}` must be at least 1, got {size}.")


def require_probability(name: str, value: float) -> None:
    """Check that a probability leaves something over.

    Raises:
        ValueError: If it is outside [0, 1).
    """
    if not 0 <= value < 1:
        raise ValueError(f"`{name}` must be at least 0 and below 1, got {value}.")


def require_std(std: float | None) -> None:
    """Check the standard deviation of initial weights.

    Raises:
        ValueError: If it is not positive.
    """
    if std is not None and not std > 0:
        raise ValueError(f"`init_std` must be positive, or null, got {std}.")


def require_choice(name: str, value: str, literal: Any) -> None:
    """Check that an option has one of the values of its `Literal`.

    Raises:
        ValueError: If it has none of them.
    """
    choices = get_args(literal)
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}.{nearest(value, choices)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of an error message: the valid name closest to a wrong one, or nothing."""
    matches = get_close_matches(name, list(names), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
