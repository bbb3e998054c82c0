"""When a network is evaluated."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from grok_lightning.callbacks.cadence import Cadence

NEVER = 2**62


class Evaluation(Callback):
    """Runs Lightning's validation loop at step 0, on a cadence in optimiser steps, and at the last step.

    Lightning's own `EarlyStopping` and `ModelCheckpoint` look at these evaluations.

    Args:
        every_n_steps: Smallest number of steps between evaluations.
        growth: Ratio of successive evaluation steps, 1 for evenly spaced ones, for instance 1.1 for log-spaced ones.

    Raises:
        ValueError: If an argument is out of range, or the Trainer was given a cadence of its own.
    """

    def __init__(self, every_n_steps: int = 25, growth: float = 1.0) -> None:
        self.cadence = Cadence(every_n_steps, growth)
        self.next_step = 0
        self.off_cadence = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a second cadence, and let the callbacks that go by evaluations see them."""
        if stage != "fit":
            return
        self.check(trainer)
        # By default both wait for the end of an epoch, and this one lasts as long as the run.
        for stop in trainer.early_stopping_callbacks:
            stop._check_on_train_epoch_end = False
        for checkpoint in trainer.checkpoint_callbacks:
            if isinstance(checkpoint, ModelCheckpoint):
                checkpoint._save_on_train_epoch_end = False

    @staticmethod
    def check(trainer: Trainer) -> None:
        """Refuse a Trainer that has a cadence of its own, or an early stop that cannot be asked at step 0.

        Raises:
            ValueError: If it has.
        """
        by_epoch, interval = trainer.check_val_every_n_epoch, getattr(trainer, "val_check_interval", "a time")
        if by_epoch != 1 or interval != 1 or isinstance(interval, int):  # 1.0 is the default, 1 is every batch
            raise ValueError(
                f"trainer.val_check_interval is {interval} and check_val_every_n_epoch {by_epoch}, but this task is "
                "evaluated by the callback Evaluation: leave them out and set its every_n_steps"
            )
        for callback in trainer.early_stopping_callbacks:
            if callback.strict and callback.monitor.startswith("train/"):
                raise ValueError(
                    f"EarlyStopping monitors {callback.monitor}, which the untrained network does not have: "
                    "give it strict: false"
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the untrained network, or one whose checkpoint was saved just before its evaluation."""
        trainer.val_check_batch = NEVER
        if self._is_due(trainer) and trainer.enable_validation:
            loop = trainer.fit_loop.epoch_loop.val_loop
            loop.restarting = False
            trainer.validating = True
            loop.run()
            trainer.training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let Lightning evaluate after this chunk where the cadence or the end of the run says so."""
        # Lightning evaluates after batches whose number is a multiple of this.
        trainer.val_check_batch = trainer.fit_loop.batch_idx + 1 if self._is_due(trainer) else NEVER

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look out for the next step of the cadence."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.off_cadence = trainer.global_step < self.next_step
            self.next_step = self.cadence.beyond(trainer.global_step, self.next_step)

    def state_dict(self) -> dict[str, int]:
        """Return the step of the next evaluation, and whether the last one was due only because the run ended."""
        return {"next_step": self.next_step, "off_cadence": self.off_cadence}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue with the next evaluation."""
        self.next_step = state_dict["next_step"]

    def _is_due(self, trainer: Trainer) -> bool:
        return trainer.global_step >= self.next_step or trainer.global_step == trainer.max_steps
