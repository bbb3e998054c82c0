"""The command: fit, validate, test and predict as LightningCLI's, on recipes; and what goes around them."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from grok_lightning.chain.faults import ChainError

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


def main(args: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        args: Arguments after the program's name, null for those of the process.

    Returns:
        The exit code: 0, 1 if a run failed, 2 for a recipe or command with faults, 128 + signal if interrupted.
    """
    arguments, rest = _parser().parse_known_args(args)
    _import_from_working_directory()
    try:
        if arguments.command in RUN_COMMANDS:
            return _run(arguments, rest)
        if rest:
            raise ChainError(
                f"{arguments.command} does not know {' '.join(rest)}; see lightning {arguments.command} -h"
            )
        return _around(arguments)
    except ChainError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning", description="A laboratory for grokking: recipes that chain runs."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in RUN_COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, epilog=OVERRIDES, formatter_class=argparse.RawTextHelpFormatter
        )
        _add_run_options(command, name)
    commands.add_parser("list", help="list recipes, operations, networks, tasks and data")
    describe = commands.add_parser("describe", help="say what a recipe shows, its stages, sizes and cost")
    describe.add_argument("recipe")
    copy = commands.add_parser("copy", help="copy a recipe, to be edited")
    copy.add_argument("recipe")
    copy.add_argument("to", nargs="?", default=".", metavar="TO", help="file or folder (default: here)")
    check = commands.add_parser("check", help="find all faults of recipes, without training")
    check.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all that come with the package")
    report = commands.add_parser("report", help="say what the runs in a folder found")
    report.add_argument("folder", type=Path, help="logs/<recipe> or logs/<recipe>/run_000")
    report.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


def _add_run_options(command: argparse.ArgumentParser, name: str) -> None:
    if name == "fit":
        command.add_argument("-c", "--config", required=True, metavar="RECIPE", help="recipe or ordinary config")
    else:
        command.add_argument("-c", "--config", metavar="RECIPE", help="the recipe whose finished runs are meant")
        command.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="or run folders")
    command.add_argument("--tiny", action="store_true", help="apply the recipe's `tiny` overrides: seconds, to try it")
    command.add_argument("--only", action="append", default=[], metavar="STAGE", help="this stage and what it needs")
    command.add_argument("--log_dir", type=Path, default=Path("logs"), help="where runs lie (default: logs)")
    command.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")
    if name == "fit":
        command.add_argument("--fresh", action="store_true", help="start over in a new folder, reuse nothing")


def _run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run fit, validate, test or predict."""
    from grok_lightning import commands

    overrides = _overrides(rest)
    for key, value in overrides:
        if key.endswith(".help"):
            return commands.show_help(key.removesuffix(".help"), value)
    if arguments.config is None:
        if not arguments.runs:
            raise ChainError(f"{arguments.command}: name a recipe with --config, or run folders")
        if overrides:
            raise ChainError(f"--{overrides[0][0]}: a run folder has its config already; overrides go with --config")
        return commands.evaluate(arguments.command, arguments.runs)
    recipe = commands.read(arguments.config, overrides, arguments.tiny)
    if arguments.print_config:
        return commands.print_config(recipe)
    if arguments.command == "fit":
        return commands.fit(recipe, arguments.log_dir, arguments.fresh, arguments.only)
    return commands.evaluate(arguments.command, commands.finished(recipe, arguments.log_dir, arguments.only))


def _around(arguments: argparse.Namespace) -> int:
    """Run the commands around the runs."""
    if arguments.command == "list":
        from grok_lightning.listing import print_list

        return print_list()
    if arguments.command == "copy":
        from grok_lightning.catalogue import copy_recipe

        print(copy_recipe(arguments.recipe, Path(arguments.to)))
        return 0
    from grok_lightning import commands

    if arguments.command == "describe":
        return commands.describe(arguments.recipe)
    if arguments.command == "check":
        return commands.check(arguments.recipes)
    return commands.report(arguments.folder, arguments.json)


def _overrides(rest: Sequence[str]) -> list[tuple[str, str]]:
    """Return `--key value` and `--key=value` arguments as pairs.

    Raises:
        ChainError: If something is neither.
    """
    pairs, waiting = [], list(rest)
    while waiting:
        word = waiting.pop(0)
        key, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise ChainError(f"{word!r} is no option; recipe keys are given as --KEY VALUE")
        if not given and key.endswith(".help"):
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else ""
        elif not given:
            if not waiting:
                raise ChainError(f"--{key} needs a value")
            value = waiting.pop(0)
        pairs.append((key, value))
    return pairs


def _import_from_working_directory() -> None:
    """Let a recipe name a user's own module that lies where the command is given."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
