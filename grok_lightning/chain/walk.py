"""The runs of a plan: which is next, what became of each, and who cannot go on without it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from grok_lightning.callbacks import StageInterrupted
from grok_lightning.chain.crew import Crew
from grok_lightning.chain.folders import RunIndex, enter_recipe_folder, was_begun_fresh
from grok_lightning.chain.locks import try_lock
from grok_lightning.chain.plan import Run
from grok_lightning.chain.recipe import Recipe
from grok_lightning.chain.take import Outcome, Taker, reused
from grok_lightning.terminal import Line

WAITING = "another process is at it, waiting"
PATIENCE = 0.5
"""Seconds until the walk looks up again: for signals, and for runs that another command was at."""
OVERALL = "runs"
"""Title of the line that counts them."""


@dataclass
class Walk:
    """One walk through the runs of a recipe.

    Attributes:
        recipe: The resolved recipe.
        taker: Takes runs in this process; its place is that of the recipe, once entered.
        finished: Folder names of the runs that are finished: of two that are the same run, one may be linked later.
        failed: Fingerprints of runs that failed, and of those that need them, with the reason.
    """

    recipe: Recipe
    taker: Taker
    finished: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def enter(self, runs: Sequence[Run]) -> None:
        """Enter the recipe's folder, under a lock: two commands at once get the same one.

        Raises:
            StageInterrupted: If the job was asked to stop while it waited for the lock.
        """
        folder = self.taker.processes.lead(partial(self._enter, runs))
        self.taker.place = replace(self.taker.place, folder=folder, alone=was_begun_fresh(folder))

    def _enter(self, runs: Sequence[Run]) -> Path:
        place = self.taker.place
        with ExitStack() as held:
            told = False
            while not try_lock(place.root, place.recipe.replace("/", "."), held, PATIENCE):
                if self.taker.interruption():
                    raise StageInterrupted("interrupted while waiting for another process")
                if not told:
                    self.taker.screen.print(f"{place.recipe}: {WAITING}")
                told = True
            return enter_recipe_folder(place.root, self.recipe, runs, place.fresh)

    def settle(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs that are still to be taken; the others are finished."""
        names = self.taker.processes.lead(partial(self._settled, runs))
        self.finished |= names
        return [run for run in runs if run.folder_name not in names]

    def _settled(self, runs: Sequence[Run]) -> set[str]:
        index, names = RunIndex(self.taker.place.root), set[str]()
        for run in runs:
            if (folder := self.taker.place.find(run, index)) is not None:
                self.taker.say(run, reused(folder))
                names.add(run.folder_name)
        return names

    def go(self, runs: Sequence[Run], crew: Crew) -> None:
        """Take every run to its end, as far as can be.

        Raises:
            StageInterrupted: If the job was asked to stop, once everybody has.
        """
        waiting, stopped = {run.folder_name: run for run in runs}, ""
        while waiting or crew.at_work:
            self._skip(waiting)
            chosen = self.taker.processes.lead(partial(self._choose, waiting, crew))
            if chosen is None and not stopped:
                stopped = "interrupted between two runs"
            for name in chosen or ():
                crew.give(waiting.pop(name))
            for run, outcome in crew.outcomes(PATIENCE):
                stopped = self._note(run, outcome, waiting) or stopped
            if stopped:
                waiting.clear()
                crew.interrupt()
            self._show(len(runs), len(waiting), crew)
        if stopped:
            raise StageInterrupted(stopped)

    def _skip(self, waiting: dict[str, Run]) -> None:
        """Give up the runs that need one that failed."""
        for run in list(waiting.values()):
            lost = [d.run for d in run.donors if d.run is not None and d.run.fingerprint in self.failed]
            if lost:
                del waiting[run.folder_name]
                self.failed[run.fingerprint] = f"not trained: it needs {lost[0].folder_name}, which failed"
                self.taker.say(run, self.failed[run.fingerprint])

    def _choose(self, waiting: dict[str, Run], crew: Crew) -> list[str] | None:
        """Return the runs to be given now, by name; without any to wait for, wait for other commands. None to stop."""
        if self.taker.interruption():
            return None
        able = [name for name, run in waiting.items() if self._has_donors(run)]
        ready = [name for name in able if self._not_before.get(name, 0.0) <= time.monotonic()]
        if not ready and not crew.at_work:
            for name in set(able) - self._told:
                self.taker.say(waiting[name], WAITING)
            self._told.update(able)
            time.sleep(PATIENCE)
        return ready[: crew.size - crew.at_work]

    def _has_donors(self, run: Run) -> bool:
        return all(donor.run is None or donor.run.folder_name in self.finished for donor in run.donors)

    def _note(self, run: Run, outcome: Outcome, waiting: dict[str, Run]) -> str:
        """Take note of what became of a run; if it was interrupted, return what there is to say of that."""
        if outcome.status == "finished":
            self.finished.add(run.folder_name)
        elif outcome.status == "failed":
            self.failed[run.fingerprint] = outcome.note
        elif outcome.status == "busy":
            waiting[run.folder_name] = run
            self._not_before[run.folder_name] = time.monotonic() + PATIENCE
        return outcome.note if outcome.status == "interrupted" else ""

    def _show(self, total: int, waiting: int, crew: Crew) -> None:
        """Show how far the walk is, where that is not seen by the run itself."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        if crew.size > 1:
            done = total - waiting - crew.at_work
            self.taker.screen.show(Line(OVERALL, done, total, f"{done} of {total}{failed}"))
            if done == total:
                self.taker.screen.drop(OVERALL)
