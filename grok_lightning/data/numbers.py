"""Ranges of whole numbers, as recipes give them: the first and the last."""

from collections.abc import Sequence

LARGEST_RANGE = 10_000
"""Numbers of a range at most; each is a token, or every pair of them a row."""


def number_range(key: str, ends: Sequence[int]) -> range:
    """Return the numbers from a first to a last one.

    Args:
        key: What a recipe calls them.
        ends: First and last number.

    Raises:
        ValueError: If there are no two ends, none between them or too many.
    """
    if len(ends) != 2 or not 0 <= ends[1] - ends[0] < LARGEST_RANGE:
        raise ValueError(
            f"{key} is {list(ends)}; expected first and last number, at most {LARGEST_RANGE} from one to the other"
        )
    return range(ends[0], ends[1] + 1)


def shown(numbers: range) -> str:
    """Return a range for a message, `20 … 99`."""
    return f"{numbers[0]} … {numbers[-1]}"


def within(inner: range, outer: range) -> bool:
    """Return whether a range is a part of another."""
    return outer[0] <= inner[0] and inner[-1] <= outer[-1]
