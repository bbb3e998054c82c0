"""How a network answers parts of the data that it is neither trained nor tested on."""

from difflib import get_close_matches
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from grok_lightning.callbacks.asking import asked
from grok_lightning.metrics import AnswerMetrics


class PartAccuracy(Callback):
    """Logs loss and accuracy of further parts of the data at evaluations, as `<part>/loss` and `<part>/accuracy`.

    See `AnswerMetrics`. Such parts are the "square" of `AdditionSquareDataModule`, and the unseen pairs of
    `CompositeFunctionDataModule`.

    Results: `<part>_accuracy`, the last one of each part.

    Args:
        parts: Names of the parts.

    Raises:
        ValueError: If there is none, or one twice; before training, if the data have no such part.
    """

    def __init__(self, parts: list[str]) -> None:
        if not parts or isinstance(parts, str) or len(set(parts)) < len(parts):
            raise ValueError(f"parts is {parts!r}; expected a list of parts, each once, such as ['square']")
        self.parts = parts
        self.found: dict[str, float] = {}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse parts that the data have not.

        Raises:
            ValueError: If there is one.
        """
        known = list(getattr(datamodule, "parts", {}))
        for part in self.parts:
            if part not in known:
                near = get_close_matches(part, known, 1, 0)
                name, hint = type(datamodule).__name__, f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"PartAccuracy: {name} has no part {part!r}, only {', '.join(known) or 'none'}{hint}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the same where nobody has checked before."""
        self.check_run(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the network for the parts."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        found: dict[str, Tensor] = {}
        for part in self.parts:
            found |= {f"{part}/{name}": value for name, value in _measured(trainer, pl_module, part).items()}
        self.found = {f"{part}_accuracy": float(found[f"{part}/accuracy"]) for part in self.parts}
        pl_module.log_dict(found)

    def results(self) -> dict[str, float]:
        """Return the accuracies found last."""
        return dict(self.found)

    def state_dict(self) -> dict[str, Any]:
        """Return the accuracies found last."""
        return {"found": dict(self.found)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the accuracies found last."""
        self.found = dict(state_dict["found"])


def _measured(trainer: Trainer, task: Any, part: str) -> dict[str, Tensor]:
    """Loss and accuracy of a part, all devices together."""
    metric = AnswerMetrics().to(task.device)
    for batch, logits in asked(trainer, task, part):
        metric.update(task.loss(logits, batch.answers).detach(), logits.argmax(-1), batch.answers)
    measured: dict[str, Tensor] = metric.compute()
    return measured
