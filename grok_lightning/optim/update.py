"""An optimiser for what is not trained by gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Update(Optimizer):
    """An optimiser whose step is whatever its closure does to the parameters, such as an iteration of a solver.

    So iterations count as optimiser steps, and max_steps, callbacks, logs and checkpoints go by them.

    Args:
        params: Parameters, or groups of them.
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make the update and return its loss ()."""
        return closure()
