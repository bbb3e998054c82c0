"""Curves of runs, and what several of them have in common at each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class Trace(NamedTuple):
    """One metric of one run.

    Attributes:
        steps: The steps at which it was measured, rising.
        values: The value at each; one that is not finite counts as not measured.
        lasts: Whether the run keeps its last value after it: a run that had grokked would.
    """

    steps: Sequence[float]
    values: Sequence[float]
    lasts: bool


class Spread(NamedTuple):
    """One metric of several runs at each step at which one of them was measured, NaN where no run has a value."""

    steps: NDArray[Any]
    median: NDArray[Any]
    lowest: NDArray[Any]
    highest: NDArray[Any]


@dataclass(frozen=True)
class Curve:
    """The accuracies of one run at its evaluations.

    Attributes:
        steps: The steps of the evaluations, rising.
        train: Accuracy on the training rows at each, NaN where there is none.
        validation: Accuracy on the validation rows at each.
        grokked_at: The step at which the run grokked, None if it never did.
    """

    steps: Sequence[float]
    train: Sequence[float]
    validation: Sequence[float]
    grokked_at: int | None = None

    def __post_init__(self) -> None:
        if not len(self.steps) == len(self.train) == len(self.validation) > 0:
            lengths = f"{len(self.steps)} steps, {len(self.train)} train, {len(self.validation)} validation"
            raise ValueError(f"a curve with {lengths}: expected the same number of each, at least one")
        if np.any(np.diff(self.steps) <= 0):
            raise ValueError("steps must rise from one evaluation to the next")


def median_curve(runs: Sequence[Curve]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Takes the median of the accuracies of several runs at every step at which one of them was evaluated.

    A run counts at a step as for `spread`; its last value lasts if it had grokked.

    Returns:
        The steps, and the median train and validation accuracy at each, NaN where no run has a value.
    """
    train = spread([Trace(run.steps, run.train, run.grokked_at is not None) for run in runs])
    validation = spread([Trace(run.steps, run.validation, run.grokked_at is not None) for run in runs])
    return validation.steps, train.median, validation.median


def spread(runs: Sequence[Trace]) -> Spread:
    """Takes the median and the extremes of a metric of several runs at every step at which one of them was measured.

    Before its first value a run does not count. Between two it counts with the value on the line between them. After
    its last one it counts with the last value if that lasts, and not at all otherwise.
    """
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    levels = np.stack([_at_steps(steps, run) for run in runs])
    # numpy's nanmedian warns of steps at which no run counts, torch's does not.
    median = torch.from_numpy(levels).nanquantile(0.5, dim=0).numpy()
    return Spread(steps, median, np.fmin.reduce(levels), np.fmax.reduce(levels))


def _at_steps(steps: NDArray[Any], run: Trace) -> NDArray[Any]:
    """Reads a run off at steps, NaN where it does not count."""
    known = np.isfinite(run.values)
    if not known.any():
        return np.full(len(steps), np.nan)
    at, values = np.asarray(run.steps)[known], np.asarray(run.values)[known]
    levels: NDArray[Any] = np.interp(steps, at, values, left=np.nan, right=None if run.lasts else np.nan)
    return levels
