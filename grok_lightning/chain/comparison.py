"""How many times sooner one stage grokked than another, seed by seed."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from grok_lightning.chain.manifest import plain
from grok_lightning.statistics import bootstrap_interval, quartiles


class Measured(Protocol):
    """A run with its results."""

    def value(self, name: str) -> Any:
        """Return a result by name."""


Pair = tuple[Measured, Sequence[Measured], Measured]
"""A run, the runs whose cost is added to its own, and the run of the same seed that it is compared to."""


def compare(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return by how much one of each pair grokked sooner: the median over pairs of ratios, with its 95 % interval.

    The ratios are those of `sustained_at` (steps) and of the seconds of training and evaluation. A pair in which the
    first did not grok counts as 0, one in which the other did not as infinite, shown as null; one in which neither did
    is left out. The interval is a bootstrap over pairs, and null for fewer than three: see `bootstrap_interval`.
    """
    known = [pair for pair in pairs if _grokked(pair[0]) is not None or _grokked(pair[2]) is not None]
    ratios = [_ratios(*pair) for pair in known]
    summary: dict[str, Any] = {}
    for index, name in enumerate(("steps", "seconds")):
        column = [each[index] for each in ratios]
        interval = bootstrap_interval(column)
        summary[name] = plain(quartiles(column)[1]) if column else None
        summary[f"{name}_interval"] = None if interval is None else [plain(bound) for bound in interval]
    return {**summary, "pairs": len(known)}


def _grokked(run: Measured) -> int | None:
    step: int | None = run.value("sustained_at")
    return step


def _ratios(run: Measured, donors: Sequence[Measured], other: Measured) -> tuple[float, float]:
    """Return how many times sooner a run grokked than another, in steps and in seconds."""
    grokked, other_grokked = _grokked(run), _grokked(other)
    if grokked is None:
        return 0.0, 0.0
    if other_grokked is None:
        return math.inf, math.inf
    steps = grokked + sum(donor.value("steps") for donor in donors)
    seconds = run.value("seconds") + sum(donor.value("seconds") for donor in donors)
    return _quotient(other_grokked, steps), _quotient(other.value("seconds"), seconds)


def _quotient(slower: float, faster: float) -> float:
    return slower / faster if faster else math.inf
