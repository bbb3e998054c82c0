"""How many runs at a time, and what each of them gets: threads, or a device."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch

from grok_lightning.chain.crew import Alone, Crew
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.plan import CheckedStage, Run
from grok_lightning.chain.take import Taker
from grok_lightning.chain.workers import Workers, WorkSetting

Engine = Literal["local", "ray"]


class Team(NamedTuple):
    """How the runs of a plan are shared out. It follows from the whole plan, not from what is left of it.

    Attributes:
        workers: How many runs train at a time.
        threads: Threads that each computes on; None leaves them as they are.
        devices: CUDA devices that they share; 0 if they compute on the CPU.
        engine: Who starts them.
    """

    workers: int = 1
    threads: int | None = None
    devices: int = 0
    engine: Engine = "local"


def plan_team(
    runs: Sequence[Run], checked: Mapping[str, CheckedStage], asked: int | None, engine: Engine = "local"
) -> Team:
    """Return how the runs of a plan are shared out.

    On the CPU by default one worker for each thread that torch would use: one network on all cores gains less from
    the second core than a second run does. On GPUs one worker for each device. Ray, which knows the cluster, is given
    all runs that can train at once, each with one core or device.

    Args:
        runs: All runs of the plan.
        checked: Their stages, checked.
        asked: How many workers the user wants, None for the default.
        engine: Who starts the workers.

    Raises:
        ChainError: If several are asked for, and each run takes several processes already.
    """
    stages = [checked[run.stage.name] for run in runs]
    if any(stage.processes > 1 for stage in stages):
        if engine == "ray" or (asked is not None and asked > 1):
            option = "--engine ray" if engine == "ray" else f"--workers {asked}"
            message = "each run takes several processes already (trainer.devices); leave one of the two out"
            raise ChainError(f"{option}: {message}")
        return Team()
    cores = torch.get_num_threads()
    devices = max((stage.devices for stage in stages), default=0)
    if engine == "ray":
        return Team(min(asked or len(runs), width(runs)), 1, devices, engine)
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
    """Have runs taken by workers or by Ray; by this process where one is enough for what is left of a plan.

    Args:
        team: How the plan is shared out.
        runs: What is left of it.
        taker: Takes runs in this process.

    Raises:
        ChainError: If Ray is not installed.
    """
    workers = min(team.workers, width(runs))
    if team.engine == "ray" and runs:
        from grok_lightning.chain.ray_crew import RayCrew

        setting = WorkSetting(taker.place, team.threads or 1, environment={})  # machines have their own
        with RayCrew(setting, team.workers, team.devices > 0, taker.screen) as crew:
            taker.interruption.heed()  # Ray has taken the signals
            yield crew
        return
    if workers == 1:
        with threads(team.threads):
            yield Alone(taker)
        return
    setting = WorkSetting(taker.place, team.threads or 1, taker.screen.is_live)
    with Workers(setting, workers, team.devices, taker.screen) as crew:
        yield crew


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute on a number of threads for a while, so that a run gives the same bits alone as beside others."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
