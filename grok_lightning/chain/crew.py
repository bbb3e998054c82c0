"""Who takes the runs of a walk: this process alone, or somebody else (see `workers` and `ray_crew`)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from grok_lightning.chain.plan import Run
from grok_lightning.chain.take import Outcome, Taker


class Crew(ABC):
    """Takes runs whose donors are finished, some at a time.

    Attributes:
        size: How many at a time.
        at_work: How many it has at the moment.
        is_interrupted: Whether it was asked to stop.
    """

    size: int = 1
    at_work: int = 0
    is_interrupted: bool = False

    @abstractmethod
    def give(self, run: Run) -> None:
        """Hand over a run; there must be a free hand."""

    @abstractmethod
    def outcomes(self, seconds: float) -> Sequence[tuple[Run, Outcome]]:
        """Return what has come out since, after some seconds at the latest where others do the work."""

    def interrupt(self) -> None:
        """Ask, once, for all runs to be saved and stopped; one that this process takes has heard of it itself."""
        if not self.is_interrupted:
            self.is_interrupted = True
            self._pass_on()

    @abstractmethod
    def _pass_on(self) -> None:
        """Tell those who do not hear of an interruption by themselves."""


class Alone(Crew):
    """This process, or in a distributed job all of them together.

    Args:
        taker: Takes the runs.
    """

    def __init__(self, taker: Taker) -> None:
        self.taker = taker
        self.run: Run | None = None

    def give(self, run: Run) -> None:
        """Remember the run."""
        self.run, self.at_work = run, 1

    def outcomes(self, seconds: float) -> Sequence[tuple[Run, Outcome]]:
        """Take the run, now."""
        run, self.run, self.at_work = self.run, None, 0
        return [] if run is None else [(run, self.taker.take(run))]

    def _pass_on(self) -> None:
        """Nobody else is there."""
