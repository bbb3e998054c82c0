"""What a user sees while a run trains."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console

from grok_lightning.terminal import Line, Screen, make_console

REFRESH_SECONDS = 0.2


class StageProgress(ProgressBar):
    """One line a run: title, step, train and val accuracy (or loss), steps a second.

    In a terminal the line is live. Elsewhere it is printed at evaluations, each time the step has doubled; and at the
    end in any case.

    Args:
        title: What is being trained, such as "transfer · seed 0".
        screen: Where to show it.
    """

    def __init__(self, title: str = "", screen: Screen | None = None) -> None:
        super().__init__()
        self.title = title
        self.screen = screen or Screen(make_console())
        self.drawn, self.printed_step = 0.0, 0
        self.started, self.first_step = 0.0, 0
        self.measured: list[str] = []

    def disable(self) -> None:
        """Print nothing on other ranks."""
        self.screen = Screen(Console(quiet=True))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the line."""
        self.started, self.first_step = time.perf_counter(), trainer.global_step
        self.screen.show(Line(self.title, trainer.global_step, _last_step(trainer)))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the line, a few times a second at the most."""
        now = time.perf_counter()
        if self.screen.is_live and now - self.drawn > REFRESH_SECONDS:
            self.drawn = now
            self.screen.show(Line(self.title, trainer.global_step, _last_step(trainer), self._state(trainer)))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of what was measured, and print a line where there is no terminal."""
        if trainer.state.fn != "fit":
            return
        # Only here: reading a value off the device waits for all the work before it.
        self.measured = _measured(trainer)
        step = trainer.global_step
        if not self.screen.is_live and step >= max(100, 2 * self.printed_step):
            self.printed_step = step
            self._print(self._state(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the line, and say where the run ended."""
        self.screen.drop(self.title)
        self._print(f"ended at {self._state(trainer)}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the line."""
        self.screen.drop(self.title)

    def _state(self, trainer: Trainer) -> str:
        step = trainer.global_step
        rate = (step - self.first_step) / max(time.perf_counter() - self.started, 1e-9)
        return " · ".join([f"step {step}", *self.measured, f"{rate:.0f} steps/s"])

    def _print(self, text: str) -> None:
        self.screen.print(f"{self.title}: {text}")


def _last_step(trainer: Trainer) -> int | None:
    return trainer.max_steps if trainer.max_steps > 0 else None


def _measured(trainer: Trainer) -> list[str]:
    """Return the accuracies of train and validation as text, or the losses of a module without them."""
    metrics = trainer.callback_metrics
    accuracies = [name for name in ("train/accuracy", "val/accuracy") if name in metrics]
    shown = accuracies or [name for name in metrics if name.endswith("loss")][:2]
    return [f"{name.replace('/', ' ')} {float(metrics[name]):.3f}" for name in shown]
