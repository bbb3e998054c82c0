"""The curves of a stage over its seeds, for TensorBoard: median, lowest and highest of every metric."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from grok_lightning.chain.faults import unwritable
from grok_lightning.chain.locks import report_lock
from grok_lightning.chain.manifest import read_manifest
from grok_lightning.chain.report import Report
from grok_lightning.curves import Spread, Trace, spread
from grok_lightning.metrics_table import Series, read_metrics

OVER_SEEDS = "over_seeds"
"""Folder beside the runs of a stage."""
LEVELS: Mapping[str, Callable[[Spread], NDArray[Any]]] = {
    "median": lambda found: found.median,
    "min": lambda found: found.lowest,
    "max": lambda found: found.highest,
}
"""What is written, by subfolder; TensorBoard shows each as a run."""


class _Measured(NamedTuple):
    metrics: Mapping[str, Series]
    grokked: bool


def save_all_over_seeds(report: Report) -> None:
    """Write the curves of all stages of a report over their seeds, beside the runs of each.

    Raises:
        ChainError: If the folder cannot be written.
    """
    with report_lock(report.folder):
        for name, findings in report.findings.items():
            folder = report.folder / report.recipe.stages[name].folder
            save_over_seeds([found.folder for found in findings], folder / OVER_SEEDS)


def save_over_seeds(folders: Sequence[Path], target: Path) -> None:
    """Writes median, lowest and highest of all metrics of the replicates of a stage as scalars for TensorBoard.

    Every metric that a run logged is a scalar under its own name, at every step at which a run logged it. Between two
    of its values a run counts by linear interpolation; after its last one with that value if it had grokked, and not
    at all otherwise. Values that are not finite are as if not logged. Of fewer than two runs with metrics nothing is
    written. Two processes must not write to one target at a time.

    Args:
        folders: The run folders.
        target: Folder in which `median`, `min` and `max` hold one event file each; older ones are replaced.

    Raises:
        ChainError: If the target cannot be written, or a manifest is damaged.
        ValueError: If a table of metrics is damaged.
    """
    runs = [run for run in map(_measured, folders) if run.metrics]
    if len(runs) < 2:
        return
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    spreads = {name: _spread_of(name, runs) for name in names}
    try:
        for name, level in LEVELS.items():
            _replace_events(target / name, _scalars({metric: (s.steps, level(s)) for metric, s in spreads.items()}))
    except OSError as error:
        raise unwritable(target, error) from None


def _measured(folder: Path) -> _Measured:
    try:
        metrics = read_metrics(folder)
    except (FileNotFoundError, NotADirectoryError):
        metrics = {}
    manifest = read_manifest(folder)
    return _Measured(metrics, manifest is not None and manifest.results.get("grokked_at") is not None)


def _spread_of(metric: str, runs: Sequence[_Measured]) -> Spread:
    return spread([Trace(*run.metrics[metric], run.grokked) for run in runs if metric in run.metrics])


def _scalars(levels: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> dict[int, dict[str, float]]:
    """Returns the metrics at each step, in the order of the steps, without those that are NaN there."""
    scalars: dict[int, dict[str, float]] = {}
    for metric, columns in levels.items():
        for step, value in zip(*(column.tolist() for column in columns), strict=True):
            if not math.isnan(value):
                scalars.setdefault(step, {})[metric] = value
    return dict(sorted(scalars.items()))


def _replace_events(folder: Path, scalars: Mapping[int, Mapping[str, float]]) -> None:
    """Writes the only event file of a folder, so that TensorBoard sees the old one or the new one, whole."""
    from grok_lightning.events import EventWriter, new_event_file  # imports TensorBoard, which is slow

    folder.mkdir(parents=True, exist_ok=True)
    old, partial = list(folder.glob("*tfevents*")), folder / "events.partial"
    partial.write_bytes(b"")  # what a killed process left would be continued
    writer = EventWriter(partial)
    for step, values in scalars.items():
        writer.add_metrics(values, step)
    for path in old:
        path.unlink()
    partial.replace(new_event_file(folder))
