"""The command: fit, validate, test and predict as LightningCLI's, on recipes; and what goes around them."""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from grok_lightning.chain.axes import OVERRIDE_KEYS
from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.manifest import package_versions

RUN_COMMANDS = {
    "fit": "train the runs of a recipe: what is finished is reused, what was interrupted resumes",
    "validate": "evaluate finished runs on their validation part",
    "test": "evaluate finished runs on their test part",
    "predict": "write the answers of finished runs to answers.csv in their folders",
}
OVERRIDES = """\
Any key of the recipe can be given as --KEY VALUE for all stages, or as --stages.NAME.KEY VALUE for one, for instance
  --trainer.max_steps 500   --data.modulus 31   --stages.scratch.model.optimizer.lr 3e-3
(`init_args` may be left out; a trailing + on a list's key appends: --trainer.callbacks+ Pictures).
--model.help CLASS, --data.help CLASS and --trainer.help show what there is to set."""
INTERRUPTED = 130
UNHEARD_SECONDS = 3
"""How long another rank waits after a fault: torchrun ends all processes with the first, the one that speaks too."""

Override = tuple[str, str]
"""Dotted key and value, as given on the command line."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        args: Arguments after the program's name, null for those of the process.

    Returns:
        The exit code: 0, 1 if a run failed, 2 for a recipe or command with faults, 128 + signal if interrupted.

    Raises:
        SystemExit: With 0, after the help or the version was asked for.
    """
    given = list(sys.argv[1:] if args is None else args)
    try:
        words, overrides = split_overrides(given)
        arguments, unknown = _parser().parse_known_args(words, argparse.Namespace(given=given))
        if unknown:
            raise ChainError(_unknown(unknown[0], arguments))
        if arguments.command is None:
            arguments.parser.print_help()
            return 2
        _import_from_working_directory()
        return _run(arguments, overrides) if arguments.command in RUN_COMMANDS else _around(arguments, overrides)
    except ChainError as error:
        if _speaks():
            print(error, file=sys.stderr)
        else:
            time.sleep(UNHEARD_SECONDS)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Return the words of a command line that are the command's own, and the keys of a recipe with their values.

    Raises:
        ChainError: If a key has no value.
    """
    own: list[str] = []
    overrides: list[Override] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        key, given, value = word.removeprefix("--").partition("=")
        if not (word.startswith("--") and ("." in key or key.removesuffix("+") in OVERRIDE_KEYS)):
            own.append(word)
            continue
        has_value = bool(waiting) and not waiting[0].startswith(("--", "-c", "-h"))
        if not given and has_value:
            value = waiting.pop(0)
        elif not given and not key.endswith(".help"):
            raise ChainError(f"--{key}: its value is missing; write --{key} VALUE")
        overrides.append((key, value))
    return own, overrides


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all of this program does; knows its options, and wants them written out."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    @property
    def options(self) -> list[str]:
        """The options that are written out."""
        return [word for action in self._actions for word in action.option_strings if word.startswith("--")]

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            message = f"no command {choice[1]!r}{nearest(choice[1], re.findall(r'[a-z]+', choice[2]))}"
        raise ChainError(f"{self.prog}: {message}; see {self.prog} -h")


def _parser() -> _Parser:
    parser = _Parser(prog="lightning", description="A laboratory for grokking: recipes that chain runs.")
    parser.add_argument("--version", action="version", version=f"grok_lightning {package_versions()['grok_lightning']}")
    parser.set_defaults(command=None, parser=parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in RUN_COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=OVERRIDES,
            formatter_class=argparse.RawTextHelpFormatter,
        )
        _add_run_options(command, name)
    _add_commands_around(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _add_run_options(command: argparse.ArgumentParser, name: str) -> None:
    if name == "fit":
        command.add_argument("-c", "--config", action="append", metavar="RECIPE", help="recipe or ordinary config")
        command.add_argument("--fresh", action="store_true", help="start over in a new folder, reuse nothing")
        command.add_argument(
            "--workers", type=_number, metavar="N", help="runs at a time (default: one a core, or one a GPU)"
        )
        command.add_argument(
            "--engine", choices=("local", "ray"), default="local", help="who starts the workers: this machine, or Ray"
        )
        command.add_argument(
            "--array", type=_number, metavar="N", help="print the command of a SLURM array of N tasks, and stop"
        )
    else:
        command.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders")
        command.add_argument(
            "-c", "--config", action="append", metavar="RECIPE", help="or the recipe whose finished runs are meant"
        )
        command.add_argument(
            "--weights", choices=("last", "best"), default="last", help="those a run ended with, or BestWeights kept"
        )
    command.add_argument("--tiny", action="store_true", help="apply the recipe's `tiny` overrides: seconds, to try it")
    command.add_argument(
        "--only", action="append", default=[], metavar="STAGE", help="this stage and what it needs; can be repeated"
    )
    command.add_argument(
        "--log_dir", type=Path, default=Path("logs"), metavar="FOLDER", help="where runs lie (default: logs)"
    )
    command.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")


def _number(text: str) -> int:
    """Read a positive number."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, found {text!r}")
    return int(text)


def _add_commands_around(commands: "argparse._SubParsersAction[_Parser]") -> None:
    listing = commands.add_parser("list", help="list recipes, operations, networks, tasks, data, callbacks")
    listing.add_argument("sections", nargs="*", metavar="WHAT", help="only these, such as operations")
    describe = commands.add_parser(
        "describe", help="say what a recipe shows, its stages, sizes, cost and expected result"
    )
    describe.add_argument("recipe", metavar="RECIPE")
    copy = commands.add_parser("copy", help="copy a recipe, to be edited")
    copy.add_argument("recipe", metavar="RECIPE")
    copy.add_argument("to", nargs="?", default=".", metavar="TO", help="file or folder (default: here)")
    check = commands.add_parser("check", help="find all faults of recipes, without training")
    check.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all that come with the package")
    report = commands.add_parser("report", help="say what the runs in a folder found")
    report.add_argument("folder", type=Path, metavar="FOLDER", help="logs/<recipe> or logs/<recipe>/run_000")
    report.add_argument("--json", action="store_true", help="print it as JSON")
    report.add_argument("--phase", metavar="RESULT", help="draw a result of a varied recipe over its axes")
    report.add_argument("--across", metavar="AXIS", help="from left to right (default: the first)")
    report.add_argument("--up", metavar="AXIS", help="from bottom to top (default: the second)")
    explore = commands.add_parser("explore", help="write a page that shows the embedding of a run over training")
    explore.add_argument(
        "run", type=Path, metavar="RUN", help="run folder, such as logs/<recipe>/run_000/<stage>/seed_0"
    )
    explore.add_argument("--to", type=Path, metavar="FILE", help="the page (default: explorer.html in the run folder)")


def _run(arguments: argparse.Namespace, overrides: Sequence[Override]) -> int:
    """Run fit, validate, test or predict."""
    name, configs = arguments.command, arguments.config or []
    runs = getattr(arguments, "runs", [])
    help_on = [(key.removesuffix(".help"), value) for key, value in overrides if key.endswith(".help")]
    if not help_on:
        _check_target(name, configs, runs, overrides)
    from grok_lightning import commands

    if help_on:
        return commands.show_help(*help_on[0])
    if not configs:
        return commands.evaluate(name, runs, arguments.weights)
    recipe = commands.read(configs[0], overrides, arguments.tiny)
    if arguments.print_config:
        return commands.print_config(recipe)
    if name == "fit":
        options = commands.FitOptions(
            root=arguments.log_dir,
            only=arguments.only,
            fresh=arguments.fresh,
            workers=arguments.workers,
            engine=arguments.engine,
            array=arguments.array,
            arguments=arguments.given,
        )
        return commands.fit(recipe, options)
    finished = commands.finished(recipe, arguments.log_dir, arguments.only)
    return commands.evaluate(name, finished, arguments.weights)


def _check_target(name: str, configs: Sequence[str], runs: Sequence[Path], overrides: Sequence[Override]) -> None:
    """Refuse a command that does not say what to run, or says it twice.

    Raises:
        ChainError: If so.
    """
    if len(configs) > 1:
        raise ChainError(f"lightning {name}: one recipe at a time, found --config {' --config '.join(configs)}")
    if configs and runs:
        raise ChainError(f"lightning {name}: give a recipe or run folders, not both; found {configs[0]} and {runs[0]}")
    if not configs and not runs:
        folders = "" if name == "fit" else ", or give run folders"
        raise ChainError(f"lightning {name}: name a recipe with --config RECIPE{folders}; `lightning list` shows some")
    if runs and overrides:
        raise ChainError(f"--{overrides[0][0]}: a run folder has its config already; overrides go with --config")


def _around(arguments: argparse.Namespace, overrides: Sequence[Override]) -> int:
    """Run the commands around the runs."""
    if overrides:
        raise ChainError(_unknown(f"--{overrides[0][0]}", arguments))
    if arguments.command == "list":
        from grok_lightning.listing import print_list

        return print_list(arguments.sections)
    if arguments.command == "copy":
        from grok_lightning.catalogue import copy_recipe

        print(copy_recipe(arguments.recipe, arguments.to))
        return 0
    from grok_lightning import commands

    if arguments.command == "describe":
        return commands.describe(arguments.recipe)
    if arguments.command == "check":
        return commands.check(arguments.recipes)
    if arguments.command == "explore":
        return commands.explore(arguments.run, arguments.to)
    if arguments.phase:
        return commands.draw_phases(arguments.folder, arguments.phase, arguments.across, arguments.up)
    if arguments.across or arguments.up:
        raise ChainError("lightning report: --across and --up go with --phase RESULT, such as --phase sustained_at")
    return commands.report(arguments.folder, arguments.json)


def _unknown(word: str, arguments: argparse.Namespace) -> str:
    """Return what is wrong with a word that the command does not know."""
    command = arguments.parser.prog
    if not word.startswith("-"):
        hint = f"; did you mean --config {word}?" if arguments.command == "fit" else ""
        return f"{command}: nothing is expected at {word!r}{hint or f'; see {command} -h'}"
    keys = [f"--{key}" for key in OVERRIDE_KEYS] if arguments.command in RUN_COMMANDS else []
    return f"{command}: no option {word}{nearest(word, arguments.parser.options + keys)}; see {command} -h"


def _speaks() -> bool:
    """Say whether this process is the one that speaks for all of a distributed job."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def _import_from_working_directory() -> None:
    """Let a recipe name a user's own module that lies where the command is given."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
