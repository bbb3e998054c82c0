"""How many runs at a time, and what each of them gets: threads, or a device."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from grok_lightning.chain.crew import Alone, Crew, threads
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.plan import CheckedStage, Run
from grok_lightning.chain.take import Taker
from grok_lightning.chain.workers import Workers, WorkSetting


class Team(NamedTuple):
    """How the runs of a plan are shared out. It follows from the whole plan, not from what is left of it.

    Attributes:
        workers: How many runs train at a time.
        threads: Threads that each computes on; None leaves them as they are.
        devices: CUDA devices that they share; 0 if they compute on the CPU.
    """

    workers: int = 1
    threads: int | None = None
    devices: int = 0


def plan_team(runs: Sequence[Run], checked: Mapping[str, CheckedStage], asked: int | None) -> Team:
    """Return how the runs of a plan are shared out.

    On the CPU by default one worker for each thread that torch would use: one network on all cores gains less from
    the second core than a second run does. On GPUs one worker for each device.

    Args:
        runs: All runs of the plan.
        checked: Their stages, checked.
        asked: How many workers the user wants, None for the default.

    Raises:
        ChainError: If several are asked for, and each run takes several processes already.
    """
    stages = [checked[run.stage.name] for run in runs]
    if any(stage.processes > 1 for stage in stages):
        if asked is not None and asked > 1:
            message = "each run takes several processes already (trainer.devices); leave one of the two out"
            raise ChainError(f"--workers {asked}: {message}")
        return Team()
    cores = torch.get_num_threads()
    devices = max((stage.devices for stage in stages), default=0)
    workers = min(asked or devices or cores, width(runs))
    return Team(workers, max(1, cores // workers), devices) if workers > 1 else Team()


def width(runs: Iterable[Run]) -> int:
    """Return how many of some runs can train at once: the most that are equally many donors away from a beginning."""
    depths: dict[str, int] = {}
    for run in runs:  # donors come before those they serve
        known = [depths[d.run.fingerprint] for d in run.donors if d.run is not None and d.run.fingerprint in depths]
        depths[run.fingerprint] = 1 + max(known, default=0)
    return max(Counter(depths.values()).values(), default=1)


@contextmanager
def hire(team: Team, runs: Sequence[Run], taker: Taker) -> Iterator[Crew]:
    """Have runs taken by workers, or by this process where one is enough for what is left of a plan.

    Args:
        team: How the plan is shared out.
        runs: What is left of it.
        taker: Takes runs in this process.
    """
    workers = min(team.workers, width(runs))
    if workers == 1:
        with threads(team.threads):
            yield Alone(taker)
        return
    setting = WorkSetting(taker.place, team.threads or 1, taker.screen.is_live)
    with Workers(setting, workers, team.devices, taker.screen) as crew:
        yield crew
