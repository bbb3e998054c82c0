"""Signals that ask a job to stop: noted, so that the run can save itself between two chunks of batches."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interruption(Callback):
    """Whether the job was asked to stop, and by which signal; a second Ctrl-C is obeyed at once.

    As a callback it takes SIGTERM back from Lightning, whose handler calls a collective wherever it happens to be and
    leaves the loop without a checkpoint.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Say whether to stop at the next chance."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a process ended by the signal."""
        return 128 + (self.signal or signal.SIGINT)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Heed signals again."""
        self.heed()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Heed signals again."""
        self.heed()

    def heed(self) -> None:
        """Note signals from now on; outside the main thread, which alone gets them, nothing is changed."""
        if threading.current_thread() is threading.main_thread():
            for number in HEEDED:
                signal.signal(number, self._note)

    def requeue(self) -> None:
        """Ask SLURM to start the job again, where it announced the end of the time limit (SIGUSR1)."""
        task = os.environ.get("SLURM_ARRAY_TASK_ID")
        array = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{task}" if task else None
        job = array or os.environ.get("SLURM_JOB_ID")
        if self.signal is not signal.SIGUSR1 or not job:
            return
        try:
            subprocess.run(["scontrol", "requeue", job], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            log.error("job %s is not requeued: %s", job, error)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


def is_requeued() -> bool:
    """Say whether SLURM has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


@contextmanager
def heed_signals() -> Iterator[Interruption]:
    """Note Ctrl-C, SIGTERM and SIGUSR1 instead of dying of them; the earlier handlers come back at the end."""
    interruption = Interruption()
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in HEEDED}
    interruption.heed()
    try:
        yield interruption
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
