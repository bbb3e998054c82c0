"""Runs on the machines of a Ray cluster that see the log folder; an optional extra."""

import logging
from collections.abc import Sequence
from io import StringIO
from typing import Any

from rich.console import Console

from grok_lightning.chain.crew import Crew
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.interruption import heed_signals
from grok_lightning.chain.plan import Run
from grok_lightning.chain.processes import Processes
from grok_lightning.chain.take import Outcome, Taker, bury, take_safely
from grok_lightning.chain.workers import WorkSetting, settle_in
from grok_lightning.terminal import UNBROKEN, Screen

try:
    import ray
    from ray.exceptions import RayError
except ImportError:
    raise ChainError("--engine ray: Ray is not installed; pip install 'grok_lightning[ray]'") from None


class RayCrew(Crew):
    """Hands runs to Ray as tasks; Ray decides where each is done, and when there is room for it.

    The cluster is the one of RAY_ADDRESS or of this machine, or else one that is started here. What a run prints is
    shown when it has ended.

    Args:
        setting: What every task is told.
        size: How many tasks Ray has at a time at the most.
        on_gpu: Whether each run takes a GPU.
        screen: Where to show what the runs print.
    """

    def __init__(self, setting: WorkSetting, size: int, on_gpu: bool, screen: Screen) -> None:
        self.setting, self.size, self.screen = setting, size, screen
        self.runs: dict[Any, Run] = {}
        self.is_ours = not ray.is_initialized()
        quietly: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(ignore_reinit_error=True, **quietly)
        as_task = ray.remote(num_cpus=setting.threads, num_gpus=int(on_gpu), max_retries=0)
        self.task: Any = as_task(take_remotely)

    def __enter__(self) -> "RayCrew":
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_ours:
            ray.shutdown()

    def give(self, run: Run) -> None:
        """Hand the run to Ray."""
        self.runs[self.task.remote(self.setting, run)] = run
        self.at_work += 1

    def outcomes(self, seconds: float) -> Sequence[tuple[Run, Outcome]]:
        """Return what has come out, after some seconds at the latest."""
        if not self.runs:
            return []
        done, _ = ray.wait(list(self.runs), timeout=seconds)
        self.at_work -= len(done)
        return [(run, self._outcome(task, run)) for task in done for run in [self.runs.pop(task)]]

    def _pass_on(self) -> None:
        """Cancel all tasks: those that wait do not begin, those that train save themselves."""
        for task in self.runs:
            ray.cancel(task)

    def _outcome(self, task: Any, run: Run) -> Outcome:
        try:
            outcome, printed = ray.get(task)
        except RayError as error:
            if self.is_interrupted:
                return Outcome("interrupted", "interrupted")
            self.screen.print(f"{run.title}: failed: {error}")
            bury(self.setting.place, run, str(error))
            return Outcome("failed", f"{type(error).__name__}: {error}")
        if printed:
            self.screen.print(printed)
        return Outcome(*outcome)


def take_remotely(setting: WorkSetting, run: Run) -> tuple[Outcome, str]:
    """Take a run in a process of Ray's; return also what it printed."""
    settle_in(setting)
    printed = StringIO()
    screen = Screen(Console(file=printed, width=UNBROKEN))
    with heed_signals() as interruption:
        outcome = take_safely(Taker(setting.place, Processes(), interruption, screen), run)
    return outcome, printed.getvalue().rstrip()
