"""One optimiser step within a chunk.

Its gradients are those of a batch, or of its parts added up; the step is Lightning's, or straight where Lightning would
only ask who wants to know.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
"""What Lightning calls on module and callbacks in each step; it takes a tenth of a millisecond when nobody listens."""

Backward = Callable[[Tensor], Any]
Step = Callable[[LightningOptimizer], Any]


def descent_of(module: LightningModule) -> tuple[Backward, Step]:
    """Return how a module backpropagates a loss and steps its optimiser; the two ways give the same bits."""
    if is_listened_to(module.trainer, module):
        return module.manual_backward, LightningOptimizer.step
    return Tensor.backward, _step


def gradient_scale(module: LightningModule) -> float:
    """Return what the gradients are multiplied by: with precision 16-mixed they carry the scale of the loss."""
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)
    return 1.0 if scaler is None else float(scaler.get_scale())


def descend(task: Any, tokens: Tensor, answers: Tensor, backward: Backward) -> tuple[Tensor, Tensor]:
    """Add up the gradients of a batch, in as many equal parts as the task says, one after another.

    Args:
        task: A `NetworkTask`.
        tokens: Token numbers (batch, length).
        answers: Answers (batch, …).
        backward: How the task backpropagates a loss.

    Returns:
        Mean loss () and predictions (batch, …).

    Raises:
        ValueError: If the parts are not equal.
    """
    parts = task.accumulate
    if len(tokens) % parts:
        raise ValueError(f"accumulate is {parts}; expected a divisor of the {len(tokens)} rows of a batch on a device")
    seen = []
    for number, (some, their) in enumerate(zip(tokens.chunk(parts), answers.chunk(parts), strict=True), start=1):
        loss, predictions = task.step(some, their)
        with nullcontext() if number == parts else unsynced(task):
            objective = task.objective(loss, some)
            backward(objective if parts == 1 else objective / parts)
        seen.append((loss.detach(), predictions))
    if parts == 1:
        return seen[0]
    return torch.stack([loss for loss, _ in seen]).mean(), torch.cat([predictions for _, predictions in seen])


def unsynced(module: LightningModule) -> AbstractContextManager[Any]:
    """Return where a backward pass leaves its gradients on each device, to be added to by those that follow."""
    block = getattr(module.trainer.strategy, "block_backward_sync", nullcontext)
    return cast("AbstractContextManager[Any]", block())


def is_listened_to(trainer: Trainer, module: LightningModule) -> bool:
    """Say whether anything hangs on Lightning's way of taking a step: precision, strategy, profiler or a hook."""
    parts = trainer.precision_plugin, trainer.strategy, trainer.profiler  # type: ignore[attr-defined]
    if tuple(map(type, parts)) != (Precision, SingleDeviceStrategy, PassThroughProfiler):
        return True
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    by_module = any(is_overridden(hook, module, LightningModule) for hook in (*HOOKS, "backward"))
    return by_module or any(is_overridden(hook, each, Callback) for each in callbacks for hook in HOOKS)


def _step(optimizer: LightningOptimizer) -> None:
    optimizer._on_before_step()  # counts the step: max_steps and global_step go by it
    optimizer.optimizer.step()
    optimizer._on_after_step()
