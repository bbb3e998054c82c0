"""What the subcommands do, once the arguments are read."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import grok_lightning.callbacks
import grok_lightning.data
import grok_lightning.networks
import grok_lightning.optim
import grok_lightning.tasks  # noqa: F401 - short class names in recipes are those of imported classes
from grok_lightning.callbacks import StageInterrupted
from grok_lightning.catalogue import find_recipe, header, recipe_names
from grok_lightning.chain.build import RunCLI, quiet
from grok_lightning.chain.evaluate import EvaluateCommand, evaluate_run
from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.folders import find_finished
from grok_lightning.chain.picture import save_picture
from grok_lightning.chain.plan import Run, check_recipe, make_plan
from grok_lightning.chain.processes import heed_signals, join_processes
from grok_lightning.chain.recipe import Recipe, dump_recipe, load_recipe, parse_override
from grok_lightning.chain.report import Report
from grok_lightning.chain.schema import print_arguments
from grok_lightning.chain.table import save_report, terminal_table
from grok_lightning.chain.walk import Walk

quiet()


def read(config: str, overrides: Sequence[tuple[str, str]], tiny: bool) -> Recipe:
    """Read a recipe given by path or name, with overrides from the command line."""
    return load_recipe(find_recipe(config), [parse_override(key, text) for key, text in overrides], tiny)


def print_config(recipe: Recipe) -> int:
    """Print a resolved recipe that can be run."""
    check_recipe(recipe)
    print(dump_recipe(recipe), end="")
    return 0


def show_help(key: str, class_name: str) -> int:
    """Show the arguments of a class that a recipe can name."""
    return print_arguments(key, class_name)


def fit(recipe: Recipe, root: Path, fresh: bool, only: Sequence[str]) -> int:
    """Check a recipe whole, then take its runs to their end and report."""
    runs = _chosen(recipe, make_plan(recipe, check_recipe(recipe)), only)
    processes = join_processes(RunCLI(runs[0].config, folder=root).trainer)
    console = _console(quiet=not processes.leads)
    with heed_signals() as interruption:
        walk = Walk(recipe, root, processes, interruption, console, fresh)
        try:
            walk.enter(runs)
            walk.go(runs)
        except StageInterrupted as error:
            console.print(f"{error}; the same command goes on from there", highlight=False)
            interruption.requeue()
            return interruption.exit_code
        finally:
            if processes.leads and walk.folder != Path():
                _report(walk.folder, console)
    return 1 if walk.failed else 0


def finished(recipe: Recipe, root: Path, only: Sequence[str]) -> list[Path]:
    """Return the folders of the finished runs of a recipe.

    Raises:
        ChainError: If some are not finished.
    """
    runs = _chosen(recipe, make_plan(recipe, check_recipe(recipe)), only, with_donors=False)
    found = [find_finished(root, run.fingerprint) for run in runs]
    missing = [run.folder_name for run, folder in zip(runs, found, strict=True) if folder is None]
    if missing:
        raise ChainError(
            f"{recipe.path}: not finished: {', '.join(missing)}; run `lightning fit` with the same options"
        )
    return [folder for folder in found if folder is not None]


def evaluate(command: EvaluateCommand, folders: Sequence[Path]) -> int:
    """Validate, test or predict with finished runs."""
    rows = [(folder, evaluate_run(folder, command)) for folder in folders]
    names = list(dict.fromkeys(name for _, values in rows for name in values))
    table = Table("run", *names, box=None)
    for folder, values in rows:
        table.add_row(str(folder), *(f"{values[name]}" if name in values else "" for name in names))
    _console().print(table)
    return 0


def describe(name: str) -> int:
    """Say what a recipe shows, its stages and sizes."""
    path = find_recipe(name)
    recipe = load_recipe(path)
    checked = check_recipe(recipe)
    table = Table("stage", "data", "parameters", "takes", "compared to", box=None)
    for stage in recipe.stages.values():
        sizes = ", ".join(f"{part} {size}" for part, size in checked[stage.name].sizes.items())
        numbers = f"{sum(tensor.numel() for tensor in checked[stage.name].weights.tensors.values()):,}"
        takes = "; ".join(
            f"{', '.join(spec.parts)} of {spec.source}{' (frozen)' if spec.freeze else ''}" for spec in stage.transfers
        )
        table.add_row(stage.name, sizes, numbers, takes, stage.compare_to or "")
    console = _console()
    console.print(header(path), highlight=False, markup=False)
    console.print("", table)
    return 0


def check(names: Sequence[str]) -> int:
    """Find all faults of recipes, without training."""
    code = 0
    for name in names or recipe_names():
        try:
            check_recipe(load_recipe(find_recipe(name)))
            print(f"{name}: fine")
        except ChainError as error:
            print(error, file=sys.stderr)
            code = 2
    return code


def report(folder: Path, as_json: bool) -> int:
    """Say what the runs in a folder found."""
    found = Report(folder)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        _console().print(terminal_table(found))
    return 0


def _console(quiet: bool = False) -> Console:
    """Return a console; where there is no terminal, one wide enough for the report."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else 120)


def _report(folder: Path, console: Console) -> None:
    found = Report(folder)
    save_report(found)
    save_picture(found)
    console.print("", terminal_table(found), f"report, figure and runs: {folder}", highlight=False)


def _chosen(recipe: Recipe, runs: list[Run], only: Sequence[str], with_donors: bool = True) -> list[Run]:
    """Return the runs of some stages, and of those they take weights from."""
    for name in only:
        if name not in recipe.stages:
            raise ChainError(f"--only {name}: no such stage{nearest(name, recipe.stages)}")
    wanted = {run.fingerprint for run in runs if not only or run.stage.name in only}
    for run in reversed(runs):
        if with_donors and run.fingerprint in wanted:
            wanted |= {donor.run.fingerprint for donor in run.donors if donor.run is not None}
    return [run for run in runs if run.fingerprint in wanted]
