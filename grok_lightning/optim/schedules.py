"""Schedules of the learning rate that torch has only in pieces."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """A linear rise to the learning rate, then half a cosine down to a floor, where it stays.

    The defaults are those of the official code of He et al. (arXiv 2406.02550). Rates of several groups keep their
    ratios.

    Args:
        optimizer: The optimiser, whose learning rates are the top of the schedule.
        total_steps: Step at which the floor is reached, the warm-up included.
        warmup_steps: Steps of the rise.
        start: Share of the learning rate at step 0.
        floor: Share of the learning rate at the end.

    Raises:
        ValueError: If the warm-up is not shorter than the whole, or a share outside [0, 1].
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int = 200_000,
        warmup_steps: int = 10_000,
        start: float = 0.01,
        floor: float = 0.1,
    ) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}; expected 0 or more and fewer than {total_steps}, the total"
            )
        for name, share in (("start", start), ("floor", floor)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; expected a share of the learning rate, from 0 to 1")
        super().__init__(optimizer, _Share(total_steps, warmup_steps, start, floor))


class _Share:
    """The share of the learning rate at a step; its numbers are saved with the scheduler's state."""

    def __init__(self, total_steps: int, warmup_steps: int, start: float, floor: float) -> None:
        self.total_steps, self.warmup_steps, self.start, self.floor = total_steps, warmup_steps, start, floor

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.start + (1 - self.start) * step / self.warmup_steps
        passed = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * passed)) / 2
