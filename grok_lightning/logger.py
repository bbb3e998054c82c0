"""The logger of every run: `metrics.csv` and a TensorBoard event file, in one flat folder."""

from argparse import Namespace
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities import rank_zero_only
from lightning.pytorch.loggers import Logger

from grok_lightning.metrics_table import METRICS_FILE, MetricsTable, Series, read_metrics

if TYPE_CHECKING:
    from grok_lightning.events import EventWriter

__all__ = ["RunLogger", "Series", "read_metrics"]


class RunLogger(Logger):
    """Logs a run to `metrics.csv` and a TensorBoard event file in its folder.

    Whatever is logged has left the process when the call returns, so that a checkpoint written after it never knows
    more than the logs, and `save` and `finalize` have nothing to do. Ranks other than 0 log nothing.

    Args:
        folder: The run folder; it is made when something is logged. A folder that has logs is continued; call `rewind`
            first if the run resumes from a checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = Path(folder)
        self._writer: EventWriter | None = None
        self._has_results = False
        self.hyperparameters: dict[str, Any] = {}
        """What Lightning passes to `log_hyperparams`: the saved hyperparameters of task and data."""

    # Without name and version, Lightning's default for checkpoints is the folder `checkpoints` of the run folder.
    @property
    def name(self) -> str:
        """Empty: the folder says it all."""
        return ""

    @property
    def version(self) -> str:
        """Empty: a run has no versions."""
        return ""

    @property
    def root_dir(self) -> str:
        """The run folder."""
        return str(self._folder)

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._folder)

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self._folder)

    @property
    @rank_zero_experiment
    def experiment(self) -> "EventWriter":
        """The SummaryWriter of the run, for figures and text; on ranks other than 0, one that does nothing."""
        from grok_lightning.events import EventWriter, new_event_file

        if self._writer is None:
            self._writer = EventWriter(new_event_file(self._folder))
        return self._writer

    @cached_property
    def _table(self) -> MetricsTable:
        return MetricsTable(self._folder / METRICS_FILE)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs metrics at a step; those that the step already has with the same value are not logged again.

        Args:
            metrics: Numbers by name. "epoch", which Lightning adds, is dropped.
            step: The training step.

        Raises:
            ValueError: If the step is missing or negative, or a metric is named "step".
        """
        if step is None or step < 0:
            raise ValueError(f"step is {step}, expected a training step >= 0")
        if "step" in metrics:
            raise ValueError("metrics has the name 'step', which is the column of the training step")
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if values and (changed := self._table.record(step, values)):
            self.experiment.add_metrics(changed, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Keeps the hyperparameters in `hyperparameters`; `log_results` logs those of interest with the results."""
        self.hyperparameters.update(vars(params) if isinstance(params, Namespace) else params)

    @rank_zero_only
    def log_results(
        self, hyperparameters: Mapping[str, str | int | float | bool | None], results: Mapping[str, float | None]
    ) -> None:
        """Logs what TensorBoard's HParams tab shows of the run: once, at its end. Values that are None are left out.

        Args:
            hyperparameters: The hyperparameters by name.
            results: The final measures by name; they are logged as the scalars `results/<name>` at the last step.

        Raises:
            RuntimeError: If the results have been logged.
        """
        if self._has_results:
            raise RuntimeError("the results of this run have been logged")
        self._has_results = True
        self.experiment.add_results(
            {name: value for name, value in hyperparameters.items() if value is not None},
            {name: value for name, value in results.items() if value is not None},
            max(self._table.last_step, 0),
        )

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forgets what was logged after a step, and any results; call it before the fit that resumes from there.

        `metrics.csv` is cut, and the events up to the step are copied to a new event file, which is then continued.

        Args:
            step: The step of the checkpoint.

        Raises:
            ValueError: If `metrics.csv` is damaged elsewhere than in its last line.
        """
        from grok_lightning.events import EventWriter, rewind_events

        self._table.cut(step)
        self._writer = EventWriter(rewind_events(self._folder, step))
        self._has_results = False
