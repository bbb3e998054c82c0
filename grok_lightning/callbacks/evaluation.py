"""When a network is evaluated."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from grok_lightning.callbacks.cadence import Cadence

NEVER = 2**62


class Evaluation(Callback):
    """Runs Lightning's validation loop at step 0, on a cadence in optimiser steps, and at the last step.

    Args:
        every_n_steps: Smallest number of steps between evaluations.
        growth: Ratio of successive evaluation steps, 1 for evenly spaced ones, for instance 1.1 for log-spaced ones.

    Raises:
        ValueError: If an argument is out of range, or the Trainer was given a `val_check_interval` of its own.
    """

    def __init__(self, every_n_steps: int = 25, growth: float = 1.0) -> None:
        self.cadence = Cadence(every_n_steps, growth)
        self.next_step = self.cadence.after(0)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a second cadence."""
        if stage == "fit":
            self.check(trainer)

    @staticmethod
    def check(trainer: Trainer) -> None:
        """Refuse a Trainer that has a cadence of its own.

        Raises:
            ValueError: If it has.
        """
        if trainer.val_check_interval not in (None, 1.0):
            raise ValueError(
                f"trainer.val_check_interval is {trainer.val_check_interval}, but this task is evaluated by the "
                "callback Evaluation: set its every_n_steps instead"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the untrained network."""
        trainer.val_check_batch = NEVER
        if trainer.global_step == 0 and trainer.enable_validation:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let Lightning evaluate after this chunk where the cadence or the end of the run says so."""
        step = trainer.global_step
        due = step >= self.next_step or step == trainer.max_steps
        # Lightning evaluates after batches whose number is a multiple of this.
        trainer.val_check_batch = trainer.fit_loop.batch_idx + 1 if due else NEVER
        while self.next_step <= step:
            self.next_step = self.cadence.after(self.next_step)

    def state_dict(self) -> dict[str, int]:
        """Return the step of the next evaluation."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue with the next evaluation."""
        self.next_step = state_dict["next_step"]
