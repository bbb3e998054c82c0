"""Where everything a user reads is printed."""

import os
import sys

from rich.console import Console

UNBROKEN = 10_000


def make_console(quiet: bool = False) -> Console:
    """Return a console as wide as the terminal; elsewhere lines are not broken unless COLUMNS says where.

    Args:
        quiet: Whether to print nothing.
    """
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(quiet=quiet, width=None if has_width else UNBROKEN, highlight=False)
