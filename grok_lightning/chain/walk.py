"""The runs of a plan, one after another: reused, waited for, resumed or trained."""

import traceback
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from grok_lightning.callbacks import StageInterrupted, newest_checkpoint
from grok_lightning.chain.continuation import continue_from
from grok_lightning.chain.faults import ChainError, unwritable
from grok_lightning.chain.folders import enter_recipe_folder, find_finished, find_shorter, link_run
from grok_lightning.chain.interruption import Interruption
from grok_lightning.chain.manifest import Manifest, read_manifest, write_atomically
from grok_lightning.chain.plan import Run
from grok_lightning.chain.processes import Processes
from grok_lightning.chain.recipe import Recipe
from grok_lightning.chain.run import RunSetting, train_run

LOCKS = ".locks"
WAITING = "another process is at it, waiting"
TRACEBACK_FILE = "traceback.txt"
FORESEEN = (ChainError, FloatingPointError, OSError)
"""Errors whose message says all; of others, such as a bug in a user's module, the traceback is kept."""


class Decision(NamedTuple):
    """What is done about a run: rank 0 decides, every rank does it."""

    action: Literal["reuse", "train", "skip", "wait", "stop"]
    folder: Path
    note: str = ""


@dataclass
class Walk:
    """One walk through the runs of a recipe.

    Attributes:
        recipe: The resolved recipe.
        root: Log folder.
        processes: The processes of the job.
        interruption: Asked whether to stop.
        console: Where to print.
        fresh: Whether to start over, in a new folder, without reuse.
        folder: Folder of the recipe, once entered.
        failed: Runs that failed, and those that need them, with the reason.
    """

    recipe: Recipe
    root: Path
    processes: Processes
    interruption: Interruption
    console: Console
    fresh: bool = False
    folder: Path = field(default_factory=Path)
    failed: dict[str, str] = field(default_factory=dict)

    def enter(self, runs: Sequence[Run]) -> None:
        """Enter the recipe's folder, under a lock: two commands at once get the same one."""
        self.folder = self.processes.lead(partial(self._enter, runs))

    def _enter(self, runs: Sequence[Run]) -> Path:
        with ExitStack() as held:
            if not self._lock(self.recipe.name.replace("/", "."), held):
                self.console.print(f"{self.recipe.name}: {WAITING}", highlight=False)
                while not self._lock(self.recipe.name.replace("/", "."), held):
                    if self.interruption():
                        raise StageInterrupted("interrupted while waiting for another process")
            return enter_recipe_folder(self.root, self.recipe, runs, self.fresh)

    def go(self, runs: Iterable[Run]) -> None:
        """Take every run to its end, as far as can be.

        Raises:
            StageInterrupted: If the job was asked to stop.
        """
        for run in runs:
            with ExitStack() as held:
                decision = self._await_decision(run, held)
                if decision.action == "train":
                    self._train(run, decision.folder)
                elif decision.action == "skip":
                    self.failed[run.fingerprint] = decision.note
                elif decision.action == "stop":
                    raise StageInterrupted("interrupted between two runs")

    def _await_decision(self, run: Run, held: ExitStack) -> Decision:
        """Return what rank 0 decides about a run once no other process is at it; the other ranks are kept awake."""
        note, decision = "", Decision("wait", self.folder)
        while decision.action == "wait":
            decision = self.processes.lead(partial(self._decide, run, held))
            if decision.note not in ("", note):
                self.console.print(f"{self._title(run)}: {decision.note}", highlight=False, markup=False)
            note = decision.note
        return decision

    def _decide(self, run: Run, held: ExitStack) -> Decision:
        """Decide about a run; a lock that training needs is put on the stack.

        Raises:
            ChainError: If the recipe's folder cannot be written.
        """
        try:
            return self._decision(run, self.folder / run.folder_name, held)
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def _decision(self, run: Run, place: Path, held: ExitStack) -> Decision:
        if self.interruption():
            return Decision("stop", place)
        if place.is_symlink() and not place.exists():  # the reused run was deleted
            place.unlink()
        lost = [d.run for d in run.donors if d.run is not None and d.run.fingerprint in self.failed]
        if lost:
            return Decision("skip", place, f"not trained: it needs {lost[0].folder_name}, which failed")
        finished = self._find(run, place)
        if finished is None:
            if not self._lock(run.fingerprint, held):
                return Decision("wait", place, WAITING)
            finished = self._find(run, place)
        if finished is not None:
            if not place.exists():
                link_run(place, finished)
            return Decision("reuse", place, f"finished before, reused from {finished}")
        return Decision("train", place, self._prepare(run, place))

    def _find(self, run: Run, place: Path) -> Path | None:
        manifest = read_manifest(place)
        if manifest is not None and manifest.status == "finished":
            return place
        return None if self.fresh or place.exists() else find_finished(self.root, run.fingerprint)

    def _prepare(self, run: Run, place: Path) -> str:
        """Say how a run starts, and lay the checkpoint of a shorter run of its kind where it will find it."""
        if newest_checkpoint(place) is not None:
            return "resumed"
        shorter = None if self.fresh else find_shorter(self.root, run)
        if shorter is None:
            return ""
        continue_from(shorter, place)
        return f"continues the shorter run {shorter}"

    def _train(self, run: Run, place: Path) -> None:
        """Train a run, and let its manifest say how that went."""
        manifest = self._manifest(run)
        (place / TRACEBACK_FILE).unlink(missing_ok=True)
        sources = [Path(d.spec.source) if d.run is None else self.folder / d.run.folder_name for d in run.donors]
        setting = RunSetting(place, sources, self._title(run), self.processes, self.interruption, self.console)
        try:
            train_run(run, manifest, setting)
            manifest.status = "finished"
        except StageInterrupted as error:
            manifest.status, manifest.error = "interrupted", str(error)
            raise
        except (KeyboardInterrupt, SystemExit):
            manifest.status, manifest.error = "interrupted", "interrupted before it could save itself"
            if self.processes.size > 1:  # the other ranks may wait in a collective that this one has left
                raise SystemExit(self.interruption.exit_code) from None
            raise StageInterrupted(manifest.error) from None
        except Exception as error:
            manifest.status, manifest.error = "failed", f"{type(error).__name__}: {error}"
            self._fail(run, error)
            if self.processes.size > 1 and not isinstance(error, FloatingPointError):  # a loss is NaN on all ranks
                if self.processes.leads:
                    raise SystemExit(1) from None
                raise
        finally:
            self._write(run, manifest, place)

    def _manifest(self, run: Run) -> Manifest:
        return Manifest(
            recipe=self.recipe.name,
            stage=run.stage.name,
            seed=run.seed,
            fingerprint=run.fingerprint,
            lineage=run.lineage,
            max_steps=run.max_steps,
            donors=[donor.run.fingerprint for donor in run.donors if donor.run is not None],
        )

    def _write(self, run: Run, manifest: Manifest, place: Path) -> None:
        """Write a manifest; a run whose end cannot be written down has failed."""
        try:
            if self.processes.leads:
                manifest.write(place)
        except OSError as error:
            if run.fingerprint not in self.failed:  # else that is said
                self._fail(run, error)

    def _fail(self, run: Run, error: Exception) -> None:
        """Tell that a run failed, and note it for those that need it."""
        text = str(error) if isinstance(error, FORESEEN) else f"{type(error).__name__}: {error}"
        lines = text.strip().splitlines() or [type(error).__name__]
        self.failed[run.fingerprint] = text
        self.console.print(f"{self._title(run)}: failed: " + "\n".join(lines[:6]), highlight=False, markup=False)
        if not isinstance(error, FORESEEN) and self.processes.leads:
            path = self.folder / run.folder_name / TRACEBACK_FILE
            write_atomically(path, "".join(traceback.format_exception(error)))
            self.console.print(f"  its traceback: {path}", highlight=False, markup=False)

    def _title(self, run: Run) -> str:
        return f"{run.stage.name}, seed {run.seed}"

    def _lock(self, name: str, held: ExitStack) -> bool:
        """Try for a second to take a lock, which the kernel takes back from a dead process; put it on the stack."""
        folder = self.root / LOCKS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(folder / f"{name}.lock").acquire(timeout=1))
        except Timeout:
            return False
        except OSError as error:
            raise unwritable(self.root, error) from None
        return True
