"""The command: fit, validate, test and predict as LightningCLI's, on recipes; and what goes around them."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from grok_lightning.arguments import RUN_COMMANDS, make_parser
from grok_lightning.chain.axes import OVERRIDE_KEYS
from grok_lightning.chain.faults import ChainError, nearest

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
        arguments, unknown = make_parser().parse_known_args(words, argparse.Namespace(given=given))
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
    if arguments.json and arguments.result:
        raise ChainError("lightning report: --json has all results; give it without --result")
    return commands.report(arguments.folder, arguments.json, arguments.result)


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
