"""The runs of a plan, one after another: reused, waited for, resumed or trained."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from grok_lightning.callbacks import StageInterrupted, newest_checkpoint
from grok_lightning.callbacks.checkpoint import CHECKPOINTS
from grok_lightning.chain.faults import unwritable
from grok_lightning.chain.folders import enter_recipe_folder, find_finished, find_shorter, link_run
from grok_lightning.chain.manifest import Manifest, read_manifest
from grok_lightning.chain.plan import Run
from grok_lightning.chain.processes import Interruption, Processes
from grok_lightning.chain.recipe import Recipe
from grok_lightning.chain.run import RunSetting, train_run

LOCKS = ".locks"


class Decision(NamedTuple):
    """What is done about a run: rank 0 decides, every rank does it."""

    action: Literal["reuse", "train", "skip"]
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
        folder = Path()
        if self.processes.leads:
            with self._lock(self.recipe.name.replace("/", ".")):
                folder = enter_recipe_folder(self.root, self.recipe, runs, self.fresh)
        self.folder = self.processes.broadcast(folder)

    def go(self, runs: Iterable[Run]) -> None:
        """Take every run to its end, as far as can be.

        Raises:
            StageInterrupted: If the job was asked to stop.
        """
        for run in runs:
            with ExitStack() as held:
                decision = self.processes.broadcast(self._decide(run, held) if self.processes.leads else None)
                assert decision is not None
                if decision.note:
                    self.console.print(f"{self._title(run)}: {decision.note}", highlight=False)
                if decision.action == "train":
                    self._train(run, decision.folder)
                elif decision.action == "skip":
                    self.failed[run.fingerprint] = decision.note
            if self.interruption():
                raise StageInterrupted("interrupted between two runs")

    def _decide(self, run: Run, held: ExitStack) -> Decision:
        """Decide about a run; a lock that training needs is put on the stack."""
        place = self.folder / run.folder_name
        lost = [d.run for d in run.donors if d.run is not None and d.run.fingerprint in self.failed]
        if lost:
            return Decision("skip", place, f"not trained: it needs {lost[0].folder_name}, which failed")
        finished = self._find(run, place)
        if finished is None:
            held.enter_context(self._lock(run.fingerprint, self._title(run)))
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
        return None if self.fresh or manifest is not None else find_finished(self.root, run.fingerprint)

    def _prepare(self, run: Run, place: Path) -> str:
        """Say how a run starts, and lay the checkpoint of a shorter run of its kind where it will find it."""
        if newest_checkpoint(place) is not None:
            return "resumed"
        shorter = None if self.fresh else find_shorter(self.root, run)
        if shorter is None or newest_checkpoint(shorter) is None:
            return ""
        place.mkdir(parents=True, exist_ok=True)
        for file in [shorter / "metrics.csv", *shorter.glob("events.out.tfevents*")]:
            shutil.copy2(file, place)
        shutil.copytree(shorter / CHECKPOINTS, place / CHECKPOINTS)
        return f"continues the shorter run {shorter}"

    def _train(self, run: Run, place: Path) -> None:
        donors = [d.run for d in run.donors]
        manifest = Manifest(
            recipe=self.recipe.name,
            stage=run.stage.name,
            seed=run.seed,
            fingerprint=run.fingerprint,
            lineage=run.lineage,
            max_steps=run.max_steps,
            donors=[donor.fingerprint for donor in donors if donor is not None],
        )
        sources = [Path(d.spec.source) if d.run is None else self.folder / d.run.folder_name for d in run.donors]
        title = self._title(run)
        setting = RunSetting(place, sources, title, self.processes, self.interruption, self.console)
        try:
            train_run(run, manifest, setting)
            manifest.status = "finished"
        except StageInterrupted as error:
            manifest.status, manifest.error = "interrupted", str(error)
            raise
        except (KeyboardInterrupt, SystemExit):
            manifest.status, manifest.error = "interrupted", "interrupted before it could save itself"
            raise
        except Exception as error:
            manifest.status, manifest.error = "failed", f"{type(error).__name__}: {error}"
            self.failed[run.fingerprint] = manifest.error
            self.console.print(f"{title}: failed: {_brief(error)}", highlight=False, markup=False)
            if self.processes.size > 1:  # the other ranks wait in a collective that this one has left
                raise
        finally:
            if self.processes.leads:
                manifest.write(place)

    def _title(self, run: Run) -> str:
        return f"{run.stage.name}, seed {run.seed}"

    @contextmanager
    def _lock(self, name: str, title: str = "") -> Iterator[None]:
        """Hold a lock by the kernel, which a dead process cannot keep; wait for it if need be."""
        folder = self.root / LOCKS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.console.print(f"{title or name}: another process is at it, waiting", highlight=False)
                lock.acquire()
        except OSError as error:
            raise unwritable(self.root, error) from None
        try:
            yield
        finally:
            lock.release()


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return "\n".join(lines[:6])
