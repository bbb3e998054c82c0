"""The command that runs a recipe as a SLURM array: every task gives the same command, and takes what is left."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from grok_lightning.chain.faults import ChainError

NOT_IN_A_TASK = ("--array", "--workers", "--engine")
"""Options of this command that its tasks are not given."""
SECONDS_TO_SAVE = 90


def array_command(arguments: Sequence[str], tasks: int, threads: int, on_gpu: bool) -> str:
    """Return the sbatch command that runs this command in the tasks of an array.

    The tasks find each other by the log folder, which all must see. One that is told of its end by SIGUSR1 saves its
    run, requeues itself and goes on.

    Args:
        arguments: Arguments of this command.
        tasks: Number of tasks.
        threads: Threads that each task computes on.
        on_gpu: Whether each task needs a GPU.

    Raises:
        ChainError: If the arguments ask for a fresh start, which every task would make.
    """
    if "--fresh" in arguments:
        raise ChainError("--fresh: every task of the array would start over; leave it out")
    command = shlex.join([sys.executable, "-m", "grok_lightning", *_of_a_task(arguments), "--workers", "1"])
    options = [
        f"--array=0-{tasks - 1}",
        "--ntasks=1",
        f"--cpus-per-task={threads}",
        *(["--gpus-per-task=1"] if on_gpu else []),
        f"--signal=B:USR1@{SECONDS_TO_SAVE}",
        "--requeue",
        f"--chdir={Path.cwd()}",
        f"--export=ALL,OMP_NUM_THREADS={threads}",
    ]
    return shlex.join(["sbatch", *options, "--wrap", f"exec {command}"])


def _of_a_task(arguments: Sequence[str]) -> list[str]:
    kept, waiting = list[str](), list(arguments)
    while waiting:
        word = waiting.pop(0)
        option, has_value, _ = word.partition("=")
        if option not in NOT_IN_A_TASK:
            kept.append(word)
        elif not has_value:
            waiting.pop(0)
    return kept
