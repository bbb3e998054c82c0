"""The weights of the best evaluation, beside the last ones."""

import math
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from grok_lightning.callbacks.logged import logged
from grok_lightning.data.module import check_choice
from grok_lightning.networks import named_tensors, network_of

Mode = Literal["max", "min"]


class BestWeights(Callback):
    """Keeps the weights of the evaluation at which a metric was largest, or smallest; the first of several.

    What a network has learned can pass: deep models that learn functions in context come to answer new functions and
    lose it again (He et al., arXiv 2406.02550). A finished run has the weights in `best.safetensors`, and a transfer
    with `weights: best` takes them. They are part of the checkpoint, so that a resumed run knows them.

    Results: `best_step`, and the metric there, such as `best_val_accuracy`.

    Args:
        monitor: Name of the metric.
        mode: Whether its largest (max) or its smallest value (min) is best.

    Raises:
        ValueError: If the largest loss is to be best; in training, if the module does not log the metric.
    """

    def __init__(self, monitor: str = "val/accuracy", mode: Mode = "max") -> None:
        check_choice("mode", mode, Mode)
        if mode == "max" and monitor.endswith("loss"):
            raise ValueError(f"monitor is {monitor!r}, whose largest value is the worst: give mode: min")
        self.monitor, self.mode = monitor, mode
        self.step: int | None = None
        self.value: float | None = None
        self.tensors: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if the metric is better than ever.

        Raises:
            ValueError: If the module does not log the metric.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = logged(self, trainer, pl_module, self.monitor)
        if self.value is None or math.isnan(self.value) or self._is_better(value, self.value):
            tensors = named_tensors(network_of(pl_module))
            self.step, self.value = trainer.global_step, value
            self.tensors = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

    def results(self) -> dict[str, float | int | None]:
        """Return the best step and value for the manifest."""
        return {"best_step": self.step, f"best_{self.monitor.replace('/', '_')}": self.value}

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights so far."""
        return {"step": self.step, "value": self.value, "tensors": dict(self.tensors)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the best weights so far."""
        self.step, self.value = state_dict["step"], state_dict["value"]
        self.tensors = {name: torch.as_tensor(tensor).cpu() for name, tensor in state_dict["tensors"].items()}

    def _is_better(self, value: float, than: float) -> bool:
        return value > than if self.mode == "max" else value < than
