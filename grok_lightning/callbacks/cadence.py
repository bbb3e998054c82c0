"""When something happens during a run: every n steps, or further and further apart."""

import math
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class Cadence:
    """Steps at which something happens: multiples of a spacing, or a growing sequence.

    The step after `s` is the next multiple of `every_n_steps`, or `growth · s` where that is later. So a growth of 1
    gives a linear cadence, and a larger one a cadence that is linear first and logarithmic later. Step 0 belongs to
    every cadence.

    Args:
        every_n_steps: Smallest spacing in optimiser steps.
        growth: Ratio of successive steps once the spacing is exceeded.

    Raises:
        ValueError: If the spacing is not positive, or the growth below 1 or not finite.
    """

    def __init__(self, every_n_steps: int = 25, growth: float = 1.0) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}; expected a positive number of steps")
        if not 1 <= growth < math.inf:
            raise ValueError(f"growth is {growth}; expected 1 (evenly spaced) or more (further and further apart)")
        self.every_n_steps, self.growth = every_n_steps, growth

    def after(self, step: int) -> int:
        """Return the first step of the cadence after a step that belongs to it."""
        multiple = (step // self.every_n_steps + 1) * self.every_n_steps
        # 930 · 1.1 is 1023.0000000000001
        return max(multiple, math.ceil(round(step * self.growth, 6)))

    def beyond(self, step: int, due: int) -> int:
        """Return the first step of the cadence after any step, from a step that belongs to it."""
        while due <= step:
            due = self.after(due)
        return due


@runtime_checkable
class Punctual(Protocol):
    """A callback that has to be called at a certain step, so that chunks of batches must end there."""

    next_step: int


def next_boundary(trainer: Trainer, step: int) -> int:
    """Return the next step after `step` at which evaluation, checkpoint, callback or the end of the run is due."""
    boundaries = [trainer.max_steps] if trainer.max_steps > step else []
    for callback in _callbacks(trainer):
        if isinstance(callback, Punctual) and callback.next_step > step:
            boundaries.append(callback.next_step)
        if isinstance(callback, ModelCheckpoint) and callback._every_n_train_steps:
            every = callback._every_n_train_steps
            boundaries.append((step // every + 1) * every)
    return min(boundaries, default=step + 1)


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(getattr(trainer, "callbacks", []))
