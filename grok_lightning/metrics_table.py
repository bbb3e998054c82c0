"""`metrics.csv`: the table of what a run has measured."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

METRICS_FILE = "metrics.csv"


class Series(NamedTuple):
    """The values of one metric, and the steps they were logged at."""

    steps: list[int]
    values: list[float]


def read_metrics(folder: Path) -> dict[str, Series]:
    """Reads `metrics.csv` of a run, also while the run is writing it.

    Args:
        folder: The run folder.

    Returns:
        The series of each metric, in the order of the columns.

    Raises:
        FileNotFoundError: If the run has logged nothing.
        ValueError: If the file is not such a table. A torn last line, which a killed process leaves, is dropped.
    """
    columns, rows = _read_table(Path(folder) / METRICS_FILE)
    return {
        name: Series(
            [step for step, row in rows.items() if name in row],
            [row[name] for row in rows.values() if name in row],
        )
        for name in columns
    }


def _read_table(path: Path) -> tuple[list[str], dict[int, dict[str, float]]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    header, *lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))) or [["step"]]
    if header[0] != "step":
        raise ValueError(f"{path}: the first column is {header[0]!r}, expected 'step'")
    if lines and len(lines[-1]) != len(header):
        lines.pop()
    rows = {}
    for number, fields in enumerate(lines, 2):
        if len(fields) != len(header):
            raise ValueError(f"{path}: line {number} has {len(fields)} fields, expected {len(header)}")
        pairs = zip(header[1:], fields[1:], strict=True)
        rows[int(fields[0])] = {name: float(field) for name, field in pairs if field}
    return header[1:], rows


class MetricsTable:
    """The table in `metrics.csv`: a row for each step, in order; a column for each metric, as they were first seen.

    The rows are held in memory, and what is recorded stands in the file when `record` returns. A row is written in
    place by a single write; the whole file is replaced when a column is new, or a step comes out of order.

    Args:
        path: The file; it is made by the first record, and continued if it exists.

    Raises:
        ValueError: If the file exists and is not such a table.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns, self._rows = _read_table(path) if path.exists() else ([], {})
        self._last_row_at: int | None = None  # in bytes; unknown until the file is replaced by one of ours

    @property
    def last_step(self) -> int:
        """The last step in the table, -1 if it is empty."""
        return next(reversed(self._rows), -1)

    def record(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Merges values into the row of a step; the last value of a metric stands.

        Args:
            step: The step; not below 0.
            values: The metrics by name.

        Returns:
            The values that the row did not hold yet.
        """
        last_step = self.last_step
        row = self._rows.setdefault(step, {})
        changed = {name: value for name, value in values.items() if row.get(name) != value}
        row.update(changed)
        if self._last_row_at is None or step < last_step or not changed.keys() <= set(self._columns):
            self._replace_file()
        elif changed:
            self._write_last_row(append=step > last_step)
        return changed

    def cut(self, step: int) -> None:
        """Drops the rows after a step, and the columns that only they filled."""
        self._rows = {kept: row for kept, row in self._rows.items() if kept <= step}
        if self._path.exists():
            self._replace_file()

    def _replace_file(self) -> None:
        self._rows = dict(sorted(self._rows.items()))
        self._columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        lines = [_csv_line(["step", *self._columns]), *map(self._line, self._rows)]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_bytes(b"".join(lines))
        partial.replace(self._path)
        self._last_row_at = sum(map(len, lines[:-1]))

    def _write_last_row(self, append: bool) -> None:
        with self._path.open("r+b") as file:
            if append:
                self._last_row_at = file.seek(0, os.SEEK_END)
            file.seek(self._last_row_at or 0)
            file.write(self._line(self.last_step))
            file.truncate()  # killed before this, a shorter row leaves an end with too few fields: read as torn

    def _line(self, step: int) -> bytes:
        row = self._rows[step]
        return _csv_line([str(step), *(repr(row[name]) if name in row else "" for name in self._columns)])


def _csv_line(fields: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue().encode()
