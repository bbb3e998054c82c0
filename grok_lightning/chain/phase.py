"""The pictures of a varied recipe: any result of its stages over any axes of the grid.

Over two axes a number is a phase diagram; stages that vary along one axis alone have a line each, all in one picture.
Categories are bars of their shares, see `shares`.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from grok_lightning.chain.axes import Axis
from grok_lightning.chain.choice import Choice, numbers, planes, single_axes, stage_at
from grok_lightning.chain.faults import unwritable
from grok_lightning.chain.report import Report
from grok_lightning.chain.shares import shares
from grok_lightning.chain.stages import point_text
from grok_lightning.chain.vary import Point
from grok_lightning.figures import PhaseAxis, phase_diagram, result_curves, share_bars

Picture = tuple[tuple[str, ...], Figure]
"""A picture, and before it the words that tell its file from others."""


class Diagram(NamedTuple):
    """The numbers of one phase diagram.

    Attributes:
        stage: Name of the stage.
        point: Where the other axes stand.
        medians: Median over seeds `(up, across)`: infinite if the median seed never had the result, NaN if none ran.
        shares: Share of the finished seeds that have the result `(up, across)`.
        across: The axis from left to right.
        up: The axis from bottom to top.
    """

    stage: str
    point: Point
    medians: NDArray[np.float64]
    shares: NDArray[np.float64]
    across: PhaseAxis
    up: PhaseAxis


class Lines(NamedTuple):
    """The numbers of the stages that vary along one axis alone.

    Attributes:
        levels: Quartiles over seeds `(values, 3)` by the name of the stage: infinite where too few seeds ever had the
            result, NaN if none ran.
        across: The axis.
        places: Its values, None if some are no numbers.
    """

    levels: dict[str, NDArray[np.float64]]
    across: PhaseAxis
    places: list[float] | None


def save_phases(report: Report, choice: Choice) -> list[Path]:
    """Draw a result of every varied stage over its axes into the recipe's folder, and return the files.

    A stage that varies along two axes has a picture, and one for each combination of the values of further axes. The
    stages that vary along one and the same axis alone share a picture.

    Raises:
        ChainError: If there is no grid, axis or result of that name, or the folder cannot be written.
    """
    draw = _bars if choice.result in report.categories else _numbers
    pictures = draw(report, choice, choice.result.replace("_", " "))
    return [_save(figure, report.folder, choice.result, *words) for words, figure in pictures]


def phases(report: Report, choice: Choice) -> Iterator[Diagram]:
    """Yield the phase diagrams of a result over two axes.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    for stage, point, across, up in planes(report, choice):
        yield _diagram(report, stage, point, _shown(across), _shown(up), choice)


def lines(report: Report, choice: Choice) -> Iterator[Lines]:
    """Yield the results of the stages that vary along one axis alone, for each such axis.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    for axis, stages in single_axes(report, choice):
        levels = {stage: _levels(report, stage, axis, choice) for stage in stages}
        yield Lines(levels, _shown(axis), numbers(axis))


def _numbers(report: Report, choice: Choice, quantity: str) -> Iterator[Picture]:
    for stage, point, medians, reached, across, up in phases(report, choice):
        title = _title(report, stage, point)
        yield (stage, point_text(point)), phase_diagram(medians, reached, across, up, quantity, title)
    for levels, across, places in lines(report, choice):
        yield (across.name,), result_curves(levels, across, quantity, report.name, places)


def _bars(report: Report, choice: Choice, quantity: str) -> Iterator[Picture]:
    for stage, point, counts, across, categories in shares(report, choice):
        words = (across.name,) if stage is None else (stage, point_text(point))
        title = report.name if stage is None else _title(report, stage, point)
        yield words, share_bars(counts, across, categories, quantity, title)


def _title(report: Report, stage: str, point: Point) -> str:
    return f"{report.name}: {stage} {point_text(point)}".strip()


def _save(figure: Figure, folder: Path, *words: str) -> Path:
    path = folder / ("_".join(re.sub(r"[^\w.=+~-]+", "_", word) for word in ("phase", *words) if word) + ".png")
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise unwritable(folder, error) from None
    return path


def _shown(axis: Axis) -> PhaseAxis:
    return PhaseAxis(axis.name, list(axis.values))


def _diagram(report: Report, stage: str, point: Point, across: PhaseAxis, up: PhaseAxis, choice: Choice) -> Diagram:
    medians = np.full((len(up.labels), len(across.labels)), np.nan)
    shares = medians.copy()
    for row, column in np.ndindex(*medians.shape):
        here = {**point, across.name: across.labels[column], up.name: up.labels[row]}
        name = stage_at(report, stage, here)
        if values := report.values(name, choice.result):
            medians[row, column] = report.quartiles(name, choice.result)[1]
            shares[row, column] = np.isfinite(values).mean()
    return Diagram(stage, point, medians, shares, across, up)


def _levels(report: Report, stage: str, axis: Axis, choice: Choice) -> NDArray[np.float64]:
    names = [stage_at(report, stage, {axis.name: text}) for text in axis.values]
    nothing = (math.nan,) * 3
    return np.array([report.quartiles(n, choice.result) if report.values(n, choice.result) else nothing for n in names])
