"""What a few replicates say of all seeds: quartiles, time to an event that some never had, the error of a median."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # scipy.stats, which takes half a second to import, is loaded when it is first used
from numpy.typing import NDArray

ROUNDING = 1e-12
"""How far rounding may move a product of survival fractions, so that one half is known as one half."""
FAR = 1e30
"""Stands for infinity in the bootstrap, as a multiple of the largest number there."""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the first quartile, the median and the third quartile, on the line between the two neighbours.

    Args:
        values: At least one number, in any order; infinite where something was never reached. Between a number and
            infinity lies infinity, and a quartile that falls on a number is that number.

    Raises:
        ValueError: If there is no value, or one is NaN or −∞.
    """
    ranked = np.sort(_checked(values))
    return _quantile(ranked, 0.25), _quantile(ranked, 0.5), _quantile(ranked, 0.75)


def kaplan_meier_quantile(reached: Sequence[float | None], followed: Sequence[float], share: float = 0.5) -> float:
    """Estimates by which step a share of all seeds has an event that some had not had when they were last looked at.

    The product-limit estimate of Kaplan & Meier (1958): at every step of an event the share of seeds that have not had
    it shrinks by the fraction, of those still followed, that have it then. A seed that ends at that very step is still
    followed. The quantile is the smallest step at which that share is 1 − `share` or less. If every seed had the event,
    the median is the middle one of the sorted steps, and of an even number the lower of the two in the middle
    (`statistics.median_low`), not the mean of both. It is always a step of some seed's event, or infinity.

    Args:
        reached: The step of the event of each seed, None if it had none.
        followed: The last step of each seed, not before its event.
        share: One half for the median.

    Returns:
        The step; infinity if too many seeds never had the event.

    Raises:
        ValueError: If there is no seed, the lengths differ, a step is not finite, or an event is after the last step.
    """
    if not 0 < len(reached) == len(followed):
        raise ValueError(f"{len(reached)} seeds reached, {len(followed)} followed: expected as many, at least one")
    if not all(math.isfinite(step) for step in (*followed, *(step for step in reached if step is not None))):
        raise ValueError("a step is not finite; one that was never reached is None")
    if any(step is not None and step > last for step, last in zip(reached, followed, strict=True)):
        raise ValueError("a seed reached the event after the last step to which it was followed")
    events = [step for step in reached if step is not None]
    lost = [last for step, last in zip(reached, followed, strict=True) if step is None]
    survival = scipy.stats.ecdf(scipy.stats.CensoredData(uncensored=events, right=lost)).sf
    there = survival.probabilities <= 1 - share + ROUNDING
    return float(survival.quantiles[there.argmax()]) if there.any() else math.inf


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 9999
) -> tuple[float, float] | None:
    """Estimates between which bounds the median over all seeds lies: the percentile bootstrap of the median.

    The same values in any order give the same interval. It is a rough one for a handful of values, and never wider than
    they are: at 95 %, three to five values give their range.

    Args:
        values: One number for each seed, infinite where something was never reached.
        confidence: Share of the medians of resamples that lie within the bounds; between 0 and 1.
        resamples: How often to draw as many values with replacement.

    Returns:
        The bounds, which may be infinite; None for fewer than three values, of which no error can be told.

    Raises:
        ValueError: If a value is NaN or −∞, or `confidence` or `resamples` is out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected a share between 0 and 1")
    if len(values) < 3:
        return None
    ranked = np.sort(_checked(values))
    finite = ranked[np.isfinite(ranked)]
    scale = max(1.0, float(np.abs(finite).max(initial=0)))
    # scipy's standard error is NaN, with a warning, for infinity. What is half a stand-in is known by its size.
    stand_ins = np.where(np.isinf(ranked), FAR * scale, ranked)
    bootstrap = scipy.stats.bootstrap((stand_ins,), np.median, n_resamples=resamples, method="percentile", rng=0)
    medians = bootstrap.bootstrap_distribution
    medians = np.sort(np.where(medians > 2 * scale, math.inf, medians))
    return _quantile(medians, (1 - confidence) / 2), _quantile(medians, (1 + confidence) / 2)


def _quantile(ranked: NDArray[Any], share: float) -> float:
    """Returns the value that a share of the sorted values lies below, on the line between its two neighbours.

    numpy's and scipy's are NaN between two infinities, and scipy's is not always the number that both neighbours are.
    """
    position = round((len(ranked) - 1) * share, 9)  # or rounding lets one that falls on a number miss it
    rest = position % 1
    low, high = float(ranked[math.floor(position)]), float(ranked[math.ceil(position)])
    return low if low == high else low * (1 - rest) + high * rest


def _checked(values: Sequence[float]) -> NDArray[Any]:
    numbers = np.asarray(values, dtype=float)
    if not numbers.size or not (numbers > -math.inf).all():
        raise ValueError(f"expected at least one value, each a number or ∞, but there is {list(values)}")
    return numbers
