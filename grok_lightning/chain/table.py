"""The report as a table: in the terminal, in Markdown, and saved beside the runs."""

import json
import math
from collections.abc import Callable
from statistics import median

from rich import box
from rich.table import Table

from grok_lightning.chain.faults import unwritable
from grok_lightning.chain.manifest import write_atomically
from grok_lightning.chain.report import Report

COLUMNS = ("stage", "runs", "grokked at", "sustained at", "seconds", "test accuracy", "speed-up", "with donor")
"""Steps, seconds and accuracies are medians, with the range over seeds in brackets."""


def terminal_table(report: Report) -> Table:
    """Return a report as a table for the terminal."""
    table = Table(title=report.name, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if index else "left")
    for row in _rows(report):
        table.add_row(*row)
    return table


def markdown_table(report: Report) -> str:
    """Return a report as a Markdown table."""
    rows = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *_rows(report)]
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


def _rows(report: Report) -> list[list[str]]:
    return [
        [
            stage,
            _count(report, stage),
            _spread(report.values(stage, "grokked_at"), _step),
            _spread(report.values(stage, "sustained_at"), _step),
            _spread(report.values(stage, "seconds"), "{:.1f}".format),
            _spread(report.values(stage, "test_accuracy"), "{:.4f}".format),
            _times(report.speedup(stage)),
            _times(report.speedup(stage, with_donor=True)) if report.has_donors(stage) else "",
        ]
        for stage in report.bodies
    ]


def _count(report: Report, stage: str) -> str:
    finished, all_runs = len(report.finished(stage)), len(report.findings[stage])
    return str(finished) if finished == all_runs else f"{finished} of {all_runs}"


def _spread(values: list[float], show: Callable[[float], str]) -> str:
    if not values:
        return "–"
    middle = show(float(median(values)))
    return middle if len(values) == 1 else f"{middle} ({show(min(values))}–{show(max(values))})"


def _step(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "never"


def _times(speedup: dict[str, float | int | None] | None) -> str:
    if speedup is None or not speedup["pairs"]:
        return ""
    steps, seconds = ("∞" if speedup[name] is None else f"{speedup[name]:.2f}×" for name in ("steps", "seconds"))
    return f"{steps} ({seconds} in time)"
