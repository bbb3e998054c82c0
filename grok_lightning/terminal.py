"""Where everything a user reads is printed."""

import os
import sys
import time
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

UNBROKEN = 10_000
REFRESH_SECONDS = 0.1
TITLE_WIDTH = 16


def make_console(quiet: bool = False) -> Console:
    """Return a console as wide as the terminal; elsewhere lines are not broken unless COLUMNS says where.

    Args:
        quiet: Whether to print nothing.
    """
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(quiet=quiet, width=None if has_width else UNBROKEN, highlight=False)


class Line(NamedTuple):
    """The live line of one thing that goes on.

    Attributes:
        title: What goes on; a line is known by it.
        done: How far it is.
        total: Where it ends, None if nobody knows.
        state: What else there is to say.
    """

    title: str
    done: int
    total: int | None
    state: str = ""


class Screen:
    """What is printed, and below it one live line for everything that goes on at the moment.

    Args:
        console: Where to print; unless it is a terminal, there are no live lines.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_live = console.is_terminal and not console.quiet
        self.lines: dict[str, TaskID] = {}
        self.drawn = 0.0
        # In a narrow terminal the state is cut, which changes, and not the title.
        title = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=TITLE_WIDTH))
        state = TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True))
        columns = title, BarColumn(12), state, TimeElapsedColumn()
        self._bars = Progress(*columns, console=console, auto_refresh=False)  # no thread beside the training

    def print(self, *objects: RenderableType) -> None:
        """Print text as it is, and tables."""
        self.console.print(*(Text(item) if isinstance(item, str) else item for item in objects), highlight=False)

    def show(self, line: Line) -> None:
        """Open a line, or move it."""
        if not self.is_live:
            return
        if line.title not in self.lines:
            self._bars.start()
            self.lines[line.title] = self._bars.add_task(line.title, total=line.total, state=line.state)
        self._bars.update(self.lines[line.title], completed=line.done, total=line.total, state=line.state)
        if time.monotonic() - self.drawn > REFRESH_SECONDS:  # with many lines, drawing them all takes its time
            self.drawn = time.monotonic()
            self._bars.refresh()

    def drop(self, title: str) -> None:
        """Close a line, if it is open."""
        if title in self.lines:
            self._bars.remove_task(self.lines.pop(title))
            self._bars.refresh()
            if not self.lines:
                self._bars.stop()

    def close(self) -> None:
        """Close all lines."""
        for title in list(self.lines):
            self.drop(title)
