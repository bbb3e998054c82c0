"""The processes of a distributed run, joined once before the first stage."""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from grok_lightning.chain.faults import ChainError

T = TypeVar("T")
log = logging.getLogger(__name__)


class Processes:
    """This process among those of the job.

    Attributes:
        rank: Number of this process; rank 0 alone decides and writes.
        size: Number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        shared: T = box[0]
        return shared


def join_processes(trainer: Trainer) -> Processes:
    """Start the other processes, where the Trainer needs them, and set up the process group.

    Every later Trainer of the chain finds both done. The subprocess launcher starts this very command again with
    other ranks; under torchrun and SLURM the processes exist already.

    Raises:
        ChainError: If the strategy starts its processes anew for each fit.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or trainer.world_size == 1:
        return Processes()
    if not isinstance(strategy, DDPStrategy | FSDPStrategy) or getattr(strategy, "_start_method", "popen") != "popen":
        raise ChainError("trainer.strategy: a chain needs processes that live through all stages; use 'ddp' or 'fsdp'")
    if isinstance(strategy.launcher, _SubprocessScriptLauncher):
        strategy.launcher.launch(lambda: None, trainer=trainer)
    strategy.setup_environment()
    return Processes(strategy.global_rank, trainer.world_size)


class Interruption:
    """Whether the job was asked to stop, and by which signal; a second Ctrl-C is obeyed at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Say whether to stop at the next chance."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a process ended by the signal."""
        return 128 + (self.signal or signal.SIGINT)

    def requeue(self) -> None:
        """Ask SLURM to start the job again, where it announced the end of the time limit (SIGUSR1)."""
        task = os.environ.get("SLURM_ARRAY_TASK_ID")
        array = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{task}" if task else None
        job = array or os.environ.get("SLURM_JOB_ID")
        if self.signal is signal.SIGUSR1 and job and os.environ.get("SLURM_PROCID", "0") == "0":
            result = subprocess.run(["scontrol", "requeue", job], check=False)
            log.log(logging.INFO if result.returncode == 0 else logging.ERROR, "requeue of job %s: %s", job, result)


@contextmanager
def heed_signals() -> Iterator[Interruption]:
    """Note Ctrl-C, SIGTERM and SIGUSR1 instead of dying of them, so that the run can save itself between two chunks.

    Lightning leaves signals alone that have a handler. Outside the main thread nothing is changed.
    """
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        interruption.signal = signal.Signals(number)

    before: dict[int, Any] = {}
    try:
        for heeded in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            before[heeded] = signal.signal(heeded, note)
    except ValueError:  # not the main thread
        pass
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
