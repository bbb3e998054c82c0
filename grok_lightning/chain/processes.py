"""The processes of a job: started or joined once before the first stage, in step until the last."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import torch.distributed
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy

from grok_lightning.callbacks import StageInterrupted
from grok_lightning.chain.faults import ChainError

T = TypeVar("T")
Process = subprocess.Popen[bytes]

LEADER = "GROK_LIGHTNING_LEADER"
"""Environment variable by which a process knows the one that started it."""

GRACE_SECONDS = 20.0
"""How long rank 0 may take to notice that another process failed, and to say so."""


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

    def lead(self, decide: Callable[[], T]) -> T:
        """Let rank 0 alone decide, and return what it decided on every rank.

        Raises:
            ChainError: On the other ranks, where rank 0 fails.
            StageInterrupted: On the other ranks, where rank 0 raises it.
        """
        if self.size == 1:
            return decide()
        decided: list[Any] = [None, None]
        try:
            if self.leads:
                decided[0] = decide()
        except BaseException as error:
            known = isinstance(error, ChainError | StageInterrupted)
            decided[1] = error if known else ChainError(f"rank 0 failed: {error}")
            raise
        finally:
            torch.distributed.broadcast_object_list(decided, src=0)
        if decided[1] is not None:
            raise decided[1]
        decision: T = decided[0]
        return decision

    def first(self, value: T | None) -> T | None:
        """Return the value of the first rank that has one, on every rank."""
        values: list[T | None] = [value]
        if self.size > 1:
            values = [None] * self.size
            torch.distributed.all_gather_object(values, value)
        return next((value for value in values if value is not None), None)


@contextmanager
def joined_processes(trainer: Trainer, arguments: Sequence[str]) -> Iterator[Processes]:
    """Start the other processes, where the Trainer needs them, and set up the process group; both for all stages.

    Under torchrun and SLURM the processes exist already. Lightning's own launcher would start them at the first fit,
    which is too late: rank 0 decides before it. When this process fails, those it started end too.

    Args:
        trainer: A Trainer as all stages have it.
        arguments: Arguments of the command, which the other processes are given too.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or trainer.world_size == 1:
        yield Processes()
        return
    with _started(strategy, arguments):
        strategy.setup_environment()
        yield Processes(strategy.global_rank, trainer.world_size)
        torch.distributed.destroy_process_group()


@contextmanager
def _started(strategy: ParallelStrategy, arguments: Sequence[str]) -> Iterator[None]:
    """Run this very command with the other local ranks, unless somebody else starts the processes."""
    environment = strategy.cluster_environment
    if not isinstance(environment, LightningEnvironment) or environment.creates_processes_externally:
        if LEADER in os.environ:
            threading.Thread(target=_follow, args=(int(os.environ[LEADER]),), daemon=True).start()
        yield
        return
    variables = {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "LOCAL_RANK": "0",  # which also tells Lightning that the other processes exist
    }
    command = [sys.executable, "-m", "grok_lightning", *arguments]
    with _environment(variables), ExitStack() as others:
        started = [
            subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank), LEADER: str(os.getpid())})
            for rank in range(1, len(strategy.parallel_devices or ()))
        ]
        others.push(partial(_end, started))
        others.enter_context(_watched(started))
        yield


def _end(others: Sequence[Process], kind: type[BaseException] | None, *_: object) -> None:
    """Wait for the other processes; after a failure, or when they do not come to an end, kill them."""
    deadline = time.monotonic() + (GRACE_SECONDS if kind is None else 0)
    for other in others:
        try:
            other.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()


@contextmanager
def _watched(others: Sequence[Process]) -> Iterator[None]:
    """End this process if it outlives the failure of another: it hangs in a collective that the other has left."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            if any(other.poll() for other in others) and not done.wait(GRACE_SECONDS):
                print("another process of the job failed: this one ends too", file=sys.stderr, flush=True)
                os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have variables in the environment for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _follow(leader: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == leader:
        time.sleep(1)
    os._exit(1)
