"""What a run measured and how long it took."""

import math
import time
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer


class RunRecord(Callback):
    """Keeps the last value of every logged metric and splits time into training and evaluation.

    An evaluation lasts until the next chunk of batches is there: what other callbacks do with it, drawing and saving,
    belongs to it, and making that chunk too. Metrics and seconds survive an interruption: they are part of the
    checkpoint.

    Results: every logged metric under its name with `_` for `/` (`val_accuracy`), and `steps`, the optimiser steps
    taken.

    Raises:
        FloatingPointError: When a logged loss is not finite, so that no run goes on from NaN.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.steps = 0
        self.before = {"training": 0.0, "evaluation": 0.0}
        self.doing: str | None = None
        self.since = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of training and evaluation so far, over all sessions of the run."""
        if self.doing is None:
            return dict(self.before)
        return {**self.before, self.doing: self.before[self.doing] + time.perf_counter() - self.since}

    def results(self) -> dict[str, float | int]:
        """Return the last metrics and the number of steps."""
        return {**{name.replace("/", "_"): value for name, value in self.metrics.items()}, "steps": self.steps}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._turn_to("training")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Go back from evaluation to training."""
        if self.doing == "evaluation":
            self._turn_to("training")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._note_step(trainer)
        self._turn_to(None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the clock."""
        self._turn_to(None)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the evaluation's time from the training's."""
        if self.doing is not None:
            self._turn_to("evaluation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the metrics of an evaluation."""
        if not trainer.sanity_checking:
            self._note(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the metrics of the test part."""
        self._note(trainer)

    def state_dict(self) -> dict[str, object]:
        """Return metrics and seconds so far."""
        return {"metrics": dict(self.metrics), "seconds": self.seconds, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Continue with metrics and seconds from before."""
        self.metrics = dict(state_dict["metrics"])  # type: ignore[call-overload]
        self.before = dict(state_dict["seconds"])  # type: ignore[call-overload]
        self.steps = int(state_dict["steps"])  # type: ignore[call-overload]

    def _note(self, trainer: Trainer) -> None:
        self._note_step(trainer)
        self.metrics.update({name: float(value) for name, value in trainer.callback_metrics.items()})
        losses = {name: value for name, value in self.metrics.items() if name.endswith("loss")}
        broken = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
        # All devices fail together, also where a module logs what each of them found.
        if trainer.strategy.reduce_boolean_decision(bool(broken), all=False):
            what = broken[0] if broken else "a loss on another device is not finite"
            raise FloatingPointError(f"{what} at step {self.steps}: try a lower learning rate")

    def _note_step(self, trainer: Trainer) -> None:
        self.steps = max(self.steps, trainer.global_step)

    def _turn_to(self, what: Literal["training", "evaluation"] | None) -> None:
        """Let the clock run for something else, or stop it."""
        now = time.perf_counter()
        if self.doing is not None:
            self.before[self.doing] += now - self.since
        self.doing, self.since = what, now
