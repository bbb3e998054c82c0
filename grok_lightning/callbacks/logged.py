"""What a module has logged, asked for by callbacks that cannot do without."""

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer


def logged(callback: Any, trainer: Trainer, pl_module: LightningModule, name: str) -> float:
    """Return the last value of a metric; NaN for one of training where no step was taken yet.

    Raises:
        ValueError: If the module does not log it.
    """
    if name not in trainer.callback_metrics:
        if name.startswith("train/") and trainer.global_step == 0:
            return math.nan
        asker, module = type(callback).__name__, type(pl_module).__name__
        raise ValueError(f"{asker} needs the metric {name}, which {module} does not log")
    return float(trainer.callback_metrics[name])
