"""Accuracy curves of runs, and their median over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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

    Between two evaluations a run counts with the value on the line between them. After its last evaluation it counts
    with the last value if it had grokked, and not at all otherwise.

    Returns:
        The steps, and the median train and validation accuracy at each, NaN where no run has a value.
    """
    steps = np.unique(np.concatenate([run.steps for run in runs]))

    def at_steps(run: Curve, values: Sequence[float]) -> Tensor:
        known = np.isfinite(values)
        if not known.any():
            return torch.full((len(steps),), math.nan, dtype=torch.float64)
        last = math.nan if run.grokked_at is None else None
        levels = np.interp(steps, np.asarray(run.steps)[known], np.asarray(values)[known], left=math.nan, right=last)
        return torch.from_numpy(levels)

    train = torch.stack([at_steps(run, run.train) for run in runs]).nanquantile(0.5, dim=0)
    validation = torch.stack([at_steps(run, run.validation) for run in runs]).nanquantile(0.5, dim=0)
    return steps, train.numpy(), validation.numpy()
