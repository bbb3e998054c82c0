"""One run, taken to its end by this process: reused, left to another process, resumed or trained."""

import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from grok_lightning.callbacks import StageInterrupted, newest_checkpoint
from grok_lightning.chain.continuation import continue_from
from grok_lightning.chain.faults import ChainError, unwritable
from grok_lightning.chain.folders import RunIndex, is_finished, link_run
from grok_lightning.chain.interruption import Interruption
from grok_lightning.chain.locks import try_lock
from grok_lightning.chain.manifest import Manifest, read_manifest, write_atomically
from grok_lightning.chain.plan import Run
from grok_lightning.chain.processes import Processes
from grok_lightning.chain.run import RunSetting, train_run
from grok_lightning.terminal import Screen

TRACEBACK_FILE = "traceback.txt"
UNSAVED = "interrupted before it could save itself"
FORESEEN = (ChainError, FloatingPointError, OSError)
"""Errors whose message says all; of others, such as a bug in a user's module, the traceback is kept."""


class Outcome(NamedTuple):
    """What became of a run; "busy" if another process is at it.

    Attributes:
        status: How it ended.
        note: What there is to say of that.
    """

    status: Literal["finished", "failed", "interrupted", "busy"]
    note: str = ""


@dataclass(frozen=True)
class Place:
    """Where the runs of a recipe lie, as plain data that every worker can be told.

    Attributes:
        recipe: Name of the recipe.
        root: Log folder.
        folder: Folder of the recipe.
        fresh: Whether the command is to start over.
        alone: Whether runs in other folders are left alone, since this one was begun afresh.
    """

    recipe: str
    root: Path
    folder: Path
    fresh: bool = False
    alone: bool = False

    @property
    def again(self) -> str:
        """Return which command goes on with what was interrupted here."""
        return "the same command without --fresh" if self.fresh else "the same command"

    def of(self, run: Run) -> Path:
        """Return the folder of a run."""
        return self.folder / run.folder_name

    def find(self, run: Run, index: RunIndex, locked: bool = False) -> Path | None:
        """Return where a finished run lies: here, or in another folder, which is linked here.

        Args:
            run: The run.
            index: What lies in the log folder.
            locked: Whether this process holds the lock of the run.
        """
        own = self.of(run)
        try:
            if own.is_symlink() and not own.exists():  # the reused run was deleted
                if not locked:
                    return None
                own.unlink(missing_ok=True)
            if is_finished(own, read_manifest(own)):
                return own
            finished = None if self.alone or own.exists() else index.finished(run.fingerprint)
            if finished is not None:
                link_run(own, finished)
        except OSError as error:
            raise unwritable(self.folder, error) from None
        return finished


@dataclass
class Taker:
    """Takes runs, one at a time.

    Attributes:
        place: Where they lie.
        processes: The processes of the job.
        interruption: Asked whether to stop.
        screen: Where to print.
    """

    place: Place
    processes: Processes
    interruption: Interruption
    screen: Screen

    def take(self, run: Run) -> Outcome:
        """Take a run whose donors are finished as far as it goes; rank 0 decides how, every rank does it.

        Raises:
            ChainError: If the recipe's folder cannot be written.
        """
        with ExitStack() as held:
            settled = self.processes.lead(partial(self._settle, run, held))
            return settled or self._train(run)

    def _settle(self, run: Run, held: ExitStack) -> Outcome | None:
        """Return what became of a run that needs no training, else None; the lock for training is on the stack."""
        if not try_lock(self.place.root, run.fingerprint, held):
            return Outcome("busy")
        index = RunIndex(self.place.root)  # what is finished may be news since anybody last looked
        if (finished := self.place.find(run, index, locked=True)) is not None:
            self.say(run, reused(finished))
            return Outcome("finished")
        try:
            if note := self._prepare(run, index):
                self.say(run, note)
        except OSError as error:
            raise unwritable(self.place.folder, error) from None
        return None

    def _prepare(self, run: Run, index: RunIndex) -> str:
        """Say how a run starts, and lay the checkpoint of a shorter run of its kind where it will find it."""
        own = self.place.of(run)
        (own / TRACEBACK_FILE).unlink(missing_ok=True)
        if newest_checkpoint(own) is not None:
            return "resumed"
        shorter = None if self.place.alone else index.shorter(run)
        if shorter is None:
            return ""
        continue_from(shorter, own)
        return f"continues the shorter run {shorter}"

    def _train(self, run: Run) -> Outcome:
        """Train a run, and let its manifest say how that went."""
        manifest = self._manifest(run)
        outcome = Outcome("interrupted", UNSAVED)
        try:
            train_run(run, manifest, self._setting(run))
            outcome = Outcome("finished")
        except StageInterrupted as error:
            outcome = Outcome("interrupted", str(error))
        except (KeyboardInterrupt, SystemExit):
            if self.processes.size > 1:  # the other ranks may wait in a collective that this one has left
                raise SystemExit(self.interruption.exit_code) from None
        except Exception as error:
            outcome = self._fail(run, error)
            if self.processes.size > 1 and not isinstance(error, FloatingPointError):  # a loss is NaN on all ranks
                if self.processes.leads:
                    raise SystemExit(1) from None
                raise
        finally:
            unwritten = self._write(run, manifest, outcome)
        if unwritten is not None and outcome.status != "failed":  # a run whose end cannot be written down has failed
            outcome = self._fail(run, unwritten)
        return self.processes.lead(lambda: outcome)

    def _setting(self, run: Run) -> RunSetting:
        donors = [Path(d.spec.source) if d.run is None else self.place.of(d.run) for d in run.donors]
        return RunSetting(self.place.of(run), donors, run.title, self.processes, self.interruption, self.screen)

    def _manifest(self, run: Run) -> Manifest:
        return Manifest(
            recipe=self.place.recipe,
            stage=run.stage.name,
            seed=run.seed,
            fingerprint=run.fingerprint,
            lineage=run.lineage,
            max_steps=run.max_steps,
            donors=[donor.run.fingerprint for donor in run.donors if donor.run is not None],
        )

    def _write(self, run: Run, manifest: Manifest, outcome: Outcome) -> OSError | None:
        assert outcome.status != "busy"
        manifest.status, manifest.error = outcome.status, outcome.note or None
        try:
            if self.processes.leads:
                manifest.write(self.place.of(run))
        except OSError as error:
            return error
        return None

    def _fail(self, run: Run, error: Exception) -> Outcome:
        """Tell that a run failed."""
        text = str(error) if isinstance(error, FORESEEN) else f"{type(error).__name__}: {error}"
        lines = text.strip().splitlines() or [type(error).__name__]
        self.say(run, "failed: " + "\n".join(lines[:6]))
        if not isinstance(error, FORESEEN) and self.processes.leads:
            path = self.place.of(run) / TRACEBACK_FILE
            with suppress(OSError):  # a full disk
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, "".join(traceback.format_exception(error)))
                self.screen.print(f"  its traceback: {path}")
        return Outcome("failed", f"{type(error).__name__}: {error}")

    def say(self, run: Run, text: str) -> None:
        """Print something about a run."""
        self.screen.print(f"{run.title}: {text}")


def take_safely(taker: Taker, run: Run) -> Outcome:
    """Take a run in a process that others wait for: an error that would end a command has failed the run."""
    try:
        return taker.take(run)
    except (ChainError, OSError) as error:
        taker.say(run, f"failed: {error}")
        return Outcome("failed", str(error))


def bury(place: Place, run: Run, reason: str) -> None:
    """Let the manifest of a run whose process is gone say that it failed, unless another process is at it by now."""
    with ExitStack() as held, suppress(ChainError, OSError):
        if try_lock(place.root, run.fingerprint, held):
            manifest = read_manifest(place.of(run))
            if manifest is not None and manifest.status == "running":
                manifest.status, manifest.error = "failed", reason
                manifest.write(place.of(run))


def reused(folder: Path) -> str:
    """Return what is said of a run that was finished before."""
    return f"finished before, reused from {folder}"
