"""The report as a table: in the terminal, in Markdown, and saved beside the runs."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from grok_lightning.chain.categories import Counts
from grok_lightning.chain.faults import ChainError, nearest, unwritable
from grok_lightning.chain.manifest import write_atomically
from grok_lightning.chain.report import Report, is_milestone
from grok_lightning.statistics import quartiles

COLUMNS = ("stage", "runs", "grokked at", "sustained at", "seconds", "test accuracy", "speed-up", "with donor")
"""Steps, seconds and accuracies are medians with their quartiles over seeds, a median step is Kaplan and Meier's where
some seeds never reached it; speed-ups are medians over pairs of seeds with a 95 % bootstrap interval. A column for each
result that is a category follows, with how often each was found."""


def terminal_table(report: Report) -> Table:
    """Return a report as a table for the terminal."""
    table = Table(title=report.name, title_justify="left", box=box.SIMPLE_HEAD)
    for column, is_number in _columns(report):
        table.add_column(escape(column), justify="right" if is_number else "left")
    for row in _rows(report):
        table.add_row(*map(escape, row))
    return table


def result_table(report: Report, results: Sequence[str]) -> Table:
    """Return chosen results as a table for the terminal: medians with quartiles, or counts of categories.

    Raises:
        ChainError: If no finished run has a result of a name.
    """
    known = [*report.names, *report.categories]
    for name in results:
        if name not in known:
            raise ChainError(f"--result {name}: no run has such a result{nearest(name, known)}")
    table = Table(title=report.name, title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("stage", "runs", *results):
        table.add_column(escape(column))
    for stage in report.findings:
        cells = [_result(report, stage, name) for name in results]
        table.add_row(*map(escape, [stage, _count(report, stage), *cells]))
    return table


def _result(report: Report, stage: str, name: str) -> str:
    if name in report.categories:
        return _categories(report.counts(stage, name))
    if is_milestone(name):
        return _steps(report, stage, name)
    return _spread(report.values(stage, name), "{:.4g}".format)


def markdown_table(report: Report) -> str:
    """Return a report as a Markdown table."""
    columns = _columns(report)
    rows = [[column for column, _ in columns], ["---:" if is_number else "---" for _, is_number in columns]]
    rows += [[cell.replace("|", "\\|") for cell in row] for row in _rows(report)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def save_report(report: Report) -> None:
    """Write report.md and report.json beside the runs.

    Raises:
        ChainError: If the folder cannot be written.
    """
    plain = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    try:
        write_atomically(report.folder / "report.md", f"# {report.name}\n\n{markdown_table(report)}")
        write_atomically(report.folder / "report.json", f"{plain}\n")
    except OSError as error:
        raise unwritable(report.folder, error) from None


def _columns(report: Report) -> list[tuple[str, bool]]:
    """Return the names of the columns, each with whether it has numbers."""
    numbers = [(column, column != "stage") for column in COLUMNS]
    return [*numbers, *((name.replace("_", " "), False) for name in report.categories)]


def _rows(report: Report) -> list[list[str]]:
    return [
        [
            stage,
            _count(report, stage),
            _steps(report, stage, "grokked_at"),
            _steps(report, stage, "sustained_at"),
            _spread(report.values(stage, "seconds"), "{:.1f}".format),
            _spread(report.values(stage, "test_accuracy"), "{:.4f}".format),
            _times(report.speedup(stage)),
            _times(report.speedup(stage, with_donor=True)) if report.has_donors(stage) else "",
            *(_categories(report.counts(stage, name)) for name in report.categories),
        ]
        for stage in report.findings
    ]


def _count(report: Report, stage: str) -> str:
    finished, planned = len(report.finished(stage)), report.planned(stage)
    return str(finished) if finished == planned else f"{finished} of {planned}"


def _steps(report: Report, stage: str, name: str) -> str:
    """Return the median step with its quartiles, and how many seeds reached it, unless all did."""
    values = report.values(stage, name)
    reached = sum(map(math.isfinite, values))
    if reached == len(values):
        return _spread(values, _step)
    if not reached:
        return "never"
    low, middle, high = map(_step, report.quartiles(stage, name))
    return f"{middle} ({low}–{high}), {reached} of {len(values)}"


def _spread(values: list[float], show: Callable[[float], str]) -> str:
    if not values:
        return "–"
    low, middle, high = map(show, quartiles(values))
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


def _step(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"


def _categories(counts: Counts) -> str:
    return ", ".join(f"{category} {number}" for category, number in counts.items() if number) or "–"


def _times(speedup: dict[str, Any] | None) -> str:
    if speedup is None or not speedup["pairs"]:
        return ""
    interval = speedup["steps_interval"]
    bounds = "" if interval is None else f" [{_ratio(interval[0])}–{_ratio(interval[1])}]"
    return f"{_ratio(speedup['steps'])}×{bounds} ({_ratio(speedup['seconds'])}× in time)".replace("∞×", "∞")


def _ratio(value: float | None) -> str:
    return "∞" if value is None else f"{value:.2f}"
