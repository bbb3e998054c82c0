"""When a network memorised, when it grokked, and for how long that held."""

import math

from lightning.pytorch import Callback, LightningModule, Trainer

from grok_lightning.callbacks.logged import logged

KIND = "val/accuracy_"
"""What the names of the accuracies by kind begin with, see `AccuracyByKind`."""


class Milestones(Callback):
    """Finds the steps at which a run memorised and grokked, and stops it once grokking is sustained.

    Results, each the step of an evaluation or null if it never came:

    - `memorised_at`: first evaluation at which train/accuracy is at or above the threshold;
    - `grokked_at`: first evaluation at which the monitored accuracy is;
    - `sustained_at`: first of the first `patience` evaluations in a row at which it is. A first crossing alone can be a
      spike, and the two rank methods differently;
    - `grokked_at_<kind>`: as `grokked_at`, for each kind of equations where the data have several;
    - `fitted_at`: first evaluation at which train/loss is below `fitted_loss`, where that is given.

    Args:
        threshold: Accuracy that counts as learned.
        patience: Evaluations in a row that count as sustained.
        stop: Whether to end the run when grokking is sustained.
        monitor: Name of the accuracy that has to be learned.
        fitted_loss: Training loss that counts as fitted: Zhang et al. (arXiv 2501.08537, figure 8) count until 0.1.

    Raises:
        ValueError: If the threshold is not an accuracy, or patience or loss not positive.
    """

    def __init__(
        self,
        threshold: float = 0.99,
        patience: int = 5,
        stop: bool = True,
        monitor: str = "val/accuracy",
        fitted_loss: float | None = None,
    ) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected an accuracy above 0 and at most 1")
        if patience < 1:
            raise ValueError(f"patience is {patience}; expected a positive number of evaluations")
        if fitted_loss is not None and not fitted_loss > 0:
            raise ValueError(f"fitted_loss is {fitted_loss}; expected a positive loss, or null")
        self.threshold, self.patience, self.stop, self.monitor = threshold, patience, stop, monitor
        self.fitted_loss = fitted_loss
        self.steps: dict[str, int | None] = {"memorised_at": None, "grokked_at": None, "sustained_at": None}
        if fitted_loss is not None:
            self.steps["fitted_at"] = None
        self.held: list[int] = []

    def observe(self, step: int, train_accuracy: float, val_accuracy: float) -> None:
        """Take note of one evaluation."""
        if train_accuracy >= self.threshold and self.steps["memorised_at"] is None:
            self.steps["memorised_at"] = step
        self.held = [*self.held, step][-self.patience :] if val_accuracy >= self.threshold else []
        if self.held and self.steps["grokked_at"] is None:
            self.steps["grokked_at"] = step
        if len(self.held) == self.patience and self.steps["sustained_at"] is None:
            self.steps["sustained_at"] = self.held[0]

    def observe_loss(self, step: int, loss: float) -> None:
        """Take note of the training loss at an evaluation."""
        if self.fitted_loss is not None and self.steps.get("fitted_at") is None and loss < self.fitted_loss:
            self.steps["fitted_at"] = step

    def observe_kind(self, step: int, kind: str, accuracy: float) -> None:
        """Take note of the accuracy of one kind of equations at an evaluation."""
        name = f"grokked_at_{kind}"
        if self.steps.setdefault(name, None) is None and accuracy >= self.threshold:
            self.steps[name] = step

    def results(self) -> dict[str, int | None]:
        """Return the steps for the manifest."""
        return dict(self.steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not train on a run that was resumed after it had ended."""
        self._stop_if_sustained(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe an evaluation, and stop if grokking is sustained.

        Raises:
            ValueError: If the module does not log the monitored accuracy.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        monitored, metrics = logged(self, trainer, pl_module, self.monitor), trainer.callback_metrics
        # The untrained network has neither train/accuracy nor train/loss.
        train = float(metrics.get("train/accuracy", -1.0))
        self.observe_loss(trainer.global_step, float(metrics.get("train/loss", math.inf)))
        self.observe(trainer.global_step, train, monitored)
        for name in (name for name in metrics if name.startswith(KIND)):
            self.observe_kind(trainer.global_step, name.removeprefix(KIND), float(metrics[name]))
        self._stop_if_sustained(trainer)

    def state_dict(self) -> dict[str, object]:
        """Return what was found so far."""
        return {"steps": dict(self.steps), "held": list(self.held)}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Continue from what was found so far."""
        self.steps, self.held = dict(state_dict["steps"]), list(state_dict["held"])  # type: ignore[call-overload]

    def _stop_if_sustained(self, trainer: Trainer) -> None:
        if self.stop and self.steps["sustained_at"] is not None:
            trainer.should_stop = True
