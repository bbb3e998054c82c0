"""Results that are no numbers but categories, of which a report counts how often each was found."""

from collections.abc import Iterable
from typing import Any

Counts = dict[str, int]
"""How often each category was found."""


def counts_in(value: Any) -> Counts:
    """Return how often a result says that each category was found.

    A text is a category found once. A mapping from categories to whole numbers is what one run found in several
    systems. Anything else, null among it, counts nothing.
    """
    if isinstance(value, str):
        return {value: 1}
    if isinstance(value, dict) and all(map(_is_count, value.values())):
        return {category: int(number) for category, number in value.items()}
    return {}


def in_order(found: Iterable[Counts]) -> list[str]:
    """Return all categories, in an order that does not depend on which run comes first.

    It is that of the largest mapping, which somebody chose; what is not in there follows by the alphabet.
    """
    orders = {tuple(counts) for counts in found}
    largest = min(orders, key=lambda order: (-len(order), order), default=())
    return list(dict.fromkeys([*largest, *sorted({category for order in orders for category in order})]))


def _is_count(number: Any) -> bool:
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return is_number and number >= 0 and float(number).is_integer()
