"""Where runs lie: `logs/<recipe>/run_000/<stage>/seed_<s>`."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from grok_lightning.chain.axes import VARY
from grok_lightning.chain.continuation import passes_through
from grok_lightning.chain.faults import ChainError, unwritable
from grok_lightning.chain.fingerprint import decisive
from grok_lightning.chain.interruption import is_requeued
from grok_lightning.chain.manifest import Manifest, all_manifests, read_manifest, write_atomically
from grok_lightning.chain.merge import Config, parse_yaml, read_config
from grok_lightning.chain.plan import Run
from grok_lightning.chain.recipe import Recipe, dump_recipe
from grok_lightning.chain.weights import WEIGHTS_FILE

RECIPE_FILE = "recipe.yaml"
LATEST_FILE = "latest"
FRESH_FILE = "fresh"
"""Says that a folder was begun without reuse, and by which SLURM job, if any."""


def enter_recipe_folder(root: Path, recipe: Recipe, runs: Sequence[Run], fresh: bool) -> Path:
    """Return the folder of a resolved recipe: the one it had before, the latest and fullest of several, or a new one.

    Args:
        root: Log folder.
        recipe: The resolved recipe.
        runs: All its runs.
        fresh: Whether to take the next number in any case, but where SLURM has started this very job before.

    Raises:
        ChainError: If the folder cannot be written.
    """
    home, text = root / recipe.name, dump_recipe(recipe)
    ours = parse_yaml(text)
    try:
        home.mkdir(parents=True, exist_ok=True)
        before = sorted(home.glob("run_[0-9]*"), key=_number, reverse=True)
        mine = [folder for folder in before if _is_of_this_job(folder)] if fresh else before
        same = [folder for folder in mine if _is_same(folder, ours, runs)]
        folder = max(same, key=_values) if same else home / f"run_{max(map(_number, before), default=-1) + 1:03d}"
        folder.mkdir(exist_ok=True)
        if fresh and not same:
            write_atomically(folder / FRESH_FILE, f"{os.environ.get('SLURM_JOB_ID', '')}\n")
        write_atomically(folder / RECIPE_FILE, text)
        write_atomically(home / LATEST_FILE, f"{folder.name}\n")
    except OSError as error:
        raise unwritable(home, error) from None
    return folder


def was_begun_fresh(folder: Path) -> bool:
    """Say whether the runs in a recipe's folder are all its own, so that whoever goes on there reuses none either."""
    return (folder / FRESH_FILE).is_file()


class RunIndex:
    """The runs that lie below a log folder, whichever recipes made them, read once, when they are first asked for.

    Args:
        root: Log folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def runs(self) -> list[tuple[Path, Manifest]]:
        """Every run with its folder."""
        return list(all_manifests(self.root))

    @cached_property
    def by_fingerprint(self) -> dict[str, Path]:
        """Folders of the finished runs."""
        return {m.fingerprint: folder for folder, m in reversed(self.runs) if is_finished(folder, m)}

    def finished(self, fingerprint: str) -> Path | None:
        """Return the folder of a finished run with this fingerprint."""
        return self.by_fingerprint.get(fingerprint)

    def shorter(self, run: Run) -> Path | None:
        """Return the longest finished run that this run only continues: the same but for a smaller `max_steps`.

        A run that ended before its last step ended for a reason, and would end there again.
        """
        candidates = [
            (manifest.max_steps, folder)
            for folder, manifest in self.runs
            if manifest.lineage == run.lineage
            and is_finished(folder, manifest)
            and 0 < manifest.max_steps < run.max_steps
            and manifest.results.get("steps") == manifest.max_steps
            and passes_through(folder, manifest.max_steps)
        ]
        return max(candidates, default=(0, None))[1]


def is_finished(folder: Path, manifest: Manifest | None) -> bool:
    """Say whether a run is finished, and still has the weights that others may take from it."""
    return manifest is not None and manifest.status == "finished" and (folder / WEIGHTS_FILE).is_file()


def link_run(place: Path, target: Path) -> None:
    """Let a reused run stand in this recipe's folder too, as a relative link."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # another process that found it finished too
        place.symlink_to(os.path.relpath(target.resolve(), place.parent.resolve()), target_is_directory=True)


def _number(folder: Path) -> int:
    digits = folder.name.removeprefix("run_")
    return int(digits) if digits.isdigit() else -1


def _is_of_this_job(folder: Path) -> bool:
    if not was_begun_fresh(folder) or not is_requeued():
        return False
    return (folder / FRESH_FILE).read_text(encoding="utf-8").strip() == os.environ.get("SLURM_JOB_ID")


def _values(folder: Path) -> int:
    """Return how many values the varied keys have in a folder's recipe."""
    return sum(len(values) for values in read_config(folder / RECIPE_FILE).get(VARY, {}).values())


def _is_same(folder: Path, ours: Config, runs: Sequence[Run]) -> bool:
    """Say whether a folder holds the stages of this recipe, whatever is displayed of them and how often they run.

    Of a key that varies this recipe has all values that are in the folder: its report leaves out none of them.
    """
    try:
        written = read_config(folder / RECIPE_FILE)
        manifests = [(run, read_manifest(folder / run.folder_name)) for run in runs]
    except ChainError:  # not a folder of ours, or no longer
        return False
    if _decisive(written) != _decisive(ours) or not _is_within(written.get(VARY, {}), ours.get(VARY, {})):
        return False
    return all(manifest is None or manifest.fingerprint == run.fingerprint for run, manifest in manifests)


def _is_within(axes: Config, others: Config) -> bool:
    return all(value in others[key] for key, values in axes.items() for value in values)


def _decisive(recipe: Config) -> list[tuple[str, Any]]:
    axes = list(recipe.get(VARY, {}))  # more values of a varied key are more runs, as more replicates are
    return [(VARY, axes), *((name, decisive(body)) for name, body in recipe.get("stages", {}).items())]
