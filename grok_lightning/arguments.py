"""What the command can be given: its commands and their options."""

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

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


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all of this program does; knows its options, and wants them written out."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    @property
    def options(self) -> list[str]:
        """The options that are written out."""
        return [word for action in self._actions for word in action.option_strings if word.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Refuse a command line.

        Raises:
            ChainError: Always.
        """
        choice = re.search(r"COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            message = f"no command {choice[1]!r}{nearest(choice[1], re.findall(r'[a-z]+', choice[2]))}"
        raise ChainError(f"{self.prog}: {message}; see {self.prog} -h")


def make_parser() -> Parser:
    """Return the parser of the command, whose commands have parsers of their own."""
    parser = Parser(prog="lightning", description="A laboratory for grokking: recipes that chain runs.")
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


def _add_commands_around(commands: "argparse._SubParsersAction[Parser]") -> None:
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
    report.add_argument(
        "--result", action="append", default=[], metavar="RESULT", help="show this result; can be repeated"
    )
    report.add_argument("--phase", metavar="RESULT", help="draw a result of a varied recipe over its axes")
    report.add_argument("--across", metavar="AXIS", help="from left to right (default: the first)")
    report.add_argument("--up", metavar="AXIS", help="from bottom to top (default: the second)")
    explore = commands.add_parser("explore", help="write a page that shows the embedding of a run over training")
    explore.add_argument(
        "run", type=Path, metavar="RUN", help="run folder, such as logs/<recipe>/run_000/<stage>/seed_0"
    )
    explore.add_argument("--to", type=Path, metavar="FILE", help="the page (default: explorer.html in the run folder)")
