"""What every task does that measures answers: accumulate on the device, log at evaluations, survive a checkpoint."""

from typing import Any

from torch import Tensor, nn

from grok_lightning.metrics import AnswerMetrics
from grok_lightning.tasks.network_task import CHECKPOINT_KEY, NetworkTask


class MeasuredTask(NetworkTask):
    """A task with torchmetrics for each part of the data.

    Logs `train/loss` and `train/accuracy` at evaluations, see `AnswerMetrics`, and what else the measures of a family
    compute. Arguments are those of `NetworkTask`.

    Attributes:
        measures: The measures by name, `<part>_<what>`; logged as `<part>/…`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.measures = nn.ModuleDict({"train_answers": AnswerMetrics()})

    def measure(self, part: str, what: str) -> Any:
        """Return the measure of a part."""
        return self.measures[f"{part}_{what}"]

    def observe(self, part: str, losses: Tensor, predictions: Tensor, answers: Tensor) -> None:
        """Accumulate loss and accuracy on the device."""
        self.measure(part, "answers").update(losses, predictions, answers)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the training batches since the last evaluation amount to."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CHECKPOINT_KEY]["train_totals"] = self.measure("train", "answers").totals()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network where that is needed; where training is resumed, also go on counting."""
        super().on_load_checkpoint(checkpoint)
        if self._trainer is not None and self.trainer.state.fn == "fit":
            totals = checkpoint[CHECKPOINT_KEY]["train_totals"]
            share = 1 if self.global_rank == 0 else 0  # the totals are those of all devices
            self.measure("train", "answers").restore({name: share * total for name, total in totals.items()})

    def on_validation_epoch_end(self) -> None:
        """Log the validation part, and the training batches since the last evaluation."""
        self._log("train", "val")

    def on_test_epoch_end(self) -> None:
        """Log the test part."""
        self._log("test")

    def _log(self, *parts: str) -> None:
        """Log and reset the measures of parts that have seen a batch, at the optimiser step."""
        values: dict[str, Tensor] = {}
        measure: Any
        for key, measure in self.measures.items():
            part = key.partition("_")[0]
            if part in parts and measure.update_called:
                values |= {f"{part}/{name}": value.float() for name, value in measure.compute().items()}
                measure.reset()
        if not values or self.trainer.sanity_checking:
            return
        # The step that Lightning tells the loggers; it would be the number of chunks.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.global_step
        if self.trainer.state.fn == "fit":  # self.log would take longer than the evaluation
            self.trainer.callback_metrics.update(values)
            for logger in self.loggers:
                logger.log_metrics({name: float(value) for name, value in values.items()}, self.global_step)
        else:
            self.log_dict(values, sync_dist=True)  # which validate and test return
