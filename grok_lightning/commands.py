"""What the subcommands do, once the arguments are read."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

import grok_lightning.callbacks
import grok_lightning.data
import grok_lightning.networks
import grok_lightning.optim
import grok_lightning.tasks  # noqa: F401 - short class names in recipes are those of imported classes
from grok_lightning.callbacks import StageInterrupted
from grok_lightning.catalogue import find_recipe, recipe_names
from grok_lightning.chain.build import RunCLI, quiet
from grok_lightning.chain.choice import Choice
from grok_lightning.chain.evaluate import EvaluateCommand, evaluate_run
from grok_lightning.chain.faults import ChainError, RecipeError, nearest
from grok_lightning.chain.folders import RunIndex
from grok_lightning.chain.interruption import heed_signals
from grok_lightning.chain.launcher import complete_environment
from grok_lightning.chain.locks import report_lock
from grok_lightning.chain.over_seeds import save_all_over_seeds
from grok_lightning.chain.phase import save_phases
from grok_lightning.chain.picture import save_picture
from grok_lightning.chain.plan import Run, check_recipe, make_plan
from grok_lightning.chain.processes import joined_processes
from grok_lightning.chain.recipe import Recipe, dump_recipe, load_recipe, parse_override
from grok_lightning.chain.report import Report
from grok_lightning.chain.schema import print_arguments
from grok_lightning.chain.slurm import array_command
from grok_lightning.chain.table import result_table, save_report, terminal_table
from grok_lightning.chain.take import Place, Taker
from grok_lightning.chain.team import Engine, Team, hire, plan_team, width
from grok_lightning.chain.walk import Walk
from grok_lightning.chain.workers import prepare_workers
from grok_lightning.description import print_description
from grok_lightning.terminal import Screen, make_console

quiet()
complete_environment()


@dataclass(frozen=True)
class FitOptions:
    """How a recipe is run.

    Attributes:
        root: Log folder.
        only: The stages to run, with those they need; all if empty.
        fresh: Whether to start over in a new folder.
        workers: How many runs at a time, None for as many as there are cores or devices.
        engine: Who starts the workers.
        array: Number of tasks of a SLURM array whose command is to be printed, None to run.
        arguments: Arguments of the command, which the other processes of a distributed job are given too.
    """

    root: Path
    only: Sequence[str] = ()
    fresh: bool = False
    workers: int | None = None
    engine: Engine = "local"
    array: int | None = None
    arguments: Sequence[str] = ()


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


def fit(recipe: Recipe, options: FitOptions) -> int:
    """Check a recipe whole, then take its runs to their end and report."""
    if options.workers != 1 and recipe.is_wide and options.engine == "local" and options.array is None:
        prepare_workers()
    checked = check_recipe(recipe)
    plan = make_plan(recipe, checked)
    runs = _chosen(recipe, plan, options.only)
    team = plan_team(plan, checked, options.workers, options.engine)
    if options.array is not None:
        if any(stage.processes > 1 for stage in checked.values()):
            raise ChainError("--array: each run takes several processes (trainer.devices), for which srun is the way")
        print(array_command(options.arguments, min(options.array, width(plan)), 1, team.devices > 0))
        return 0
    trainer = RunCLI(runs[0].config, folder=options.root).trainer
    with joined_processes(trainer, options.arguments) as processes, heed_signals() as interruption:
        place = Place(recipe.name, options.root, Path(), options.fresh)
        taker = Taker(place, processes, interruption, Screen(make_console(quiet=not processes.leads)))
        walk = Walk(recipe, taker)
        try:
            code = _walk(walk, runs, team)
        finally:
            taker.screen.close()
        if processes.leads and taker.place.folder != Path():
            _report(taker)
        # To whoever started them, another rank that does not end with 0 has crashed.
        return code if processes.leads else 0


def _walk(walk: Walk, runs: Sequence[Run], team: Team) -> int:
    """Take runs to their end and return the exit code."""
    try:
        walk.enter(runs)
        waiting = walk.settle(runs)
        with hire(team, waiting, walk.taker) as crew:
            walk.go(waiting, crew)
    except StageInterrupted as error:
        walk.taker.screen.print(f"{error}; {walk.taker.place.again} goes on from there")
        interruption = walk.taker.interruption
        interruption.signal = walk.taker.processes.first(interruption.signal)
        if walk.taker.processes.leads:
            interruption.requeue()
        return interruption.exit_code
    return int(bool(walk.failed))


def _report(taker: Taker) -> None:
    report = Report(taker.place.folder)
    with report_lock(report.folder):
        save_report(report)
        if report.recipe.axes and Choice().result in report.names:
            save_phases(report, Choice())
    save_picture(report)
    save_all_over_seeds(report)
    taker.screen.print("", terminal_table(report), f"report, figure and runs: {taker.place.folder}")


def finished(recipe: Recipe, root: Path, only: Sequence[str]) -> list[Path]:
    """Return the folders of the finished runs of a recipe.

    Raises:
        ChainError: If some are not finished.
    """
    runs = _chosen(recipe, make_plan(recipe, check_recipe(recipe)), only, with_donors=False)
    index = RunIndex(root)
    found = [index.finished(run.fingerprint) for run in runs]
    missing = [run.folder_name for run, folder in zip(runs, found, strict=True) if folder is None]
    if missing:
        raise ChainError(
            f"{recipe.path}: not finished in {root}: {', '.join(missing)}; run `lightning fit` with the same options"
        )
    return [folder for folder in found if folder is not None]


def evaluate(command: EvaluateCommand, folders: Sequence[Path], weights: str = "last") -> int:
    """Validate, test or predict with the last or best weights of finished runs, and print a row for each."""
    rows = [(folder, evaluate_run(folder, command, weights)) for folder in folders]
    names = list(dict.fromkeys(name for _, values in rows for name in values))
    table = Table("run", *names, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for folder, values in rows:
        cells = [values.get(name, "") for name in names]
        table.add_row(escape(str(folder)), *(escape(v) if isinstance(v, str) else f"{v:.6g}" for v in cells))
    make_console().print(table)
    return 0


def describe(name: str) -> int:
    """Say what a recipe shows, its stages and sizes."""
    recipe = load_recipe(find_recipe(name))
    print_description(recipe, check_recipe(recipe), make_console())
    return 0


def check(names: Sequence[str]) -> int:
    """Find all faults of recipes, as they are and with --tiny, without training."""
    code = 0
    for name in names or recipe_names():
        try:
            path = find_recipe(name)
            check_recipe(load_recipe(path))
            _check_tiny(path)
            print(f"{name}: fine")
        except ChainError as error:
            print(error, file=sys.stderr)
            code = 2
    return code


def report(folder: Path, as_json: bool, results: Sequence[str] = ()) -> int:
    """Say what the runs in a folder found: in short, as data, or some results alone."""
    found = Report(folder)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        make_console().print(result_table(found, results) if results else terminal_table(found))
    return 0


def draw_phases(folder: Path, result: str, across: str | None, up: str | None) -> int:
    """Draw a result of a varied recipe over its axes, and say where."""
    screen = Screen(make_console())
    for path in save_phases(Report(folder), Choice(result, across, up)):
        screen.print(str(path))
    return 0


def explore(folder: Path, to: Path | None) -> int:
    """Write the explorer's page of a finished run, and say where."""
    from grok_lightning.explorer import save_page  # Plotly is read only where it is needed

    print(save_page(folder, to))
    return 0


def _check_tiny(path: Path) -> None:
    try:
        check_recipe(load_recipe(path, tiny=True))
    except RecipeError as error:
        raise RecipeError(f"{path} with --tiny", error.faults) from None


def _chosen(recipe: Recipe, runs: list[Run], only: Sequence[str], with_donors: bool = True) -> list[Run]:
    """Return the runs of some stages, and of those they take weights from."""
    for name in only:
        if name not in recipe.bodies:
            raise ChainError(f"--only {name}: no such stage{nearest(name, recipe.bodies)}")
    wanted = {run.fingerprint for run in runs if not only or run.stage.base in only}
    for run in reversed(runs):
        if with_donors and run.fingerprint in wanted:
            wanted |= {donor.run.fingerprint for donor in run.donors if donor.run is not None}
    return [run for run in runs if run.fingerprint in wanted]
