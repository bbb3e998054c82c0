"""What a user sees while a run trains."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

REFRESH_SECONDS = 0.2


class StageProgress(ProgressBar):
    """One line a run: title, step, train and val accuracy (or loss), steps a second.

    In a terminal the line is live; elsewhere it is printed at evaluations, each time the step has doubled, and at the
    end.

    Args:
        title: What is being trained, such as "transfer · seed 0".
        console: Where to print.
    """

    def __init__(self, title: str = "", console: Console | None = None) -> None:
        super().__init__()
        self.title = title
        self.console = console or Console()
        self.bar: Progress | None = None
        self.line = TaskID(0)
        self.drawn, self.printed_step = 0.0, 0
        self.started, self.first_step = 0.0, 0

    def disable(self) -> None:
        """Print nothing on other ranks."""
        self.console = Console(quiet=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the line."""
        self.started, self.first_step = time.perf_counter(), trainer.global_step
        if self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}")
            self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, refresh_per_second=4)
            self.bar.start()
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self.line = self.bar.add_task(self.title, total=total, completed=trainer.global_step, state="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the line, a few times a second at the most."""
        now = time.perf_counter()
        if self.bar is not None and now - self.drawn > REFRESH_SECONDS:
            self.drawn = now
            self.bar.update(self.line, completed=trainer.global_step, state=self._state(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print a line where there is no terminal."""
        step = trainer.global_step
        if self.bar is None and step >= max(100, 2 * self.printed_step):
            self.printed_step = step
            self.console.print(f"{self.title}: {self._state(trainer)}", highlight=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the line."""
        if self.bar is not None:
            self.bar.update(self.line, completed=trainer.global_step, state=self._state(trainer))
        else:
            self.console.print(f"{self.title}: ended at {self._state(trainer)}", highlight=False)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the line."""
        self._close()

    def _state(self, trainer: Trainer) -> str:
        step = trainer.global_step
        metrics = trainer.callback_metrics
        wanted = ("train/accuracy", "val/accuracy")
        shown = [name for name in wanted if name in metrics] or [name for name in metrics if name.endswith("loss")][:2]
        values = (f"{name.replace('/', ' ')} {float(metrics[name]):.3f}" for name in shown)
        rate = (step - self.first_step) / max(time.perf_counter() - self.started, 1e-9)
        return " · ".join([f"step {step}", *values, f"{rate:.0f} steps/s"])

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
