"""Phase diagrams: any result of a varied stage over any two axes of the grid.

Stages that vary along one axis alone have no diagram but a line each, all in one picture.
"""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from grok_lightning.chain.axes import Axis
from grok_lightning.chain.faults import ChainError, nearest, unwritable
from grok_lightning.chain.report import Report
from grok_lightning.chain.stages import point_text
from grok_lightning.chain.vary import Point
from grok_lightning.figures import PhaseAxis, phase_diagram, result_curves


class Choice(NamedTuple):
    """What a diagram shows.

    Attributes:
        result: Name of a result, such as `sustained_at`.
        across: Name of the axis from left to right, None for the first.
        up: Name of the axis from bottom to top, None for the second.
    """

    result: str = "sustained_at"
    across: str | None = None
    up: str | None = None


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

    A stage that varies along two axes has a diagram, and one for each combination of the values of further axes. The
    stages that vary along one and the same axis alone share a picture.

    Raises:
        ChainError: If there is no grid, axis or result of that name, or the folder cannot be written.
    """
    quantity, paths = choice.result.replace("_", " "), []
    for stage, point, medians, shares, across, up in phases(report, choice):
        title = f"{report.name}: {stage} {point_text(point)}".strip()
        figure = phase_diagram(medians, shares, across, up, quantity, title)
        paths.append(_save(figure, report.folder, choice.result, stage, point_text(point)))
    for levels, across, places in lines(report, choice):
        figure = result_curves(levels, across, quantity, report.name, places)
        paths.append(_save(figure, report.folder, choice.result, across.name))
    return paths


def _save(figure: Figure, folder: Path, *words: str) -> Path:
    path = folder / ("_".join(re.sub(r"[^\w.=+~-]+", "_", word) for word in ("phase", *words) if word) + ".png")
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise unwritable(folder, error) from None
    return path


def phases(report: Report, choice: Choice) -> Iterator[Diagram]:
    """Yield the phase diagrams of a result over two axes.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    for stage, axes in _varied(report, choice).items():
        if len(axes) == 1:
            continue
        across = axes.pop(choice.across or next(name for name in axes if name != choice.up))
        up = axes.pop(choice.up or next(iter(axes)))
        for texts in itertools.product(*(axis.values for axis in axes.values())):
            yield _diagram(report, stage, dict(zip(axes, texts, strict=True)), _shown(across), _shown(up), choice)


def lines(report: Report, choice: Choice) -> Iterator[Lines]:
    """Yield the results of the stages that vary along one axis alone, for each such axis.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    alone = {stage: next(iter(axes)) for stage, axes in _varied(report, choice).items() if len(axes) == 1}
    for axis in (axis for axis in report.recipe.axes if axis.name in alone.values()):
        levels = {stage: _levels(report, stage, axis, choice) for stage, name in alone.items() if name == axis.name}
        numbers = [value for value in axis.values.values() if type(value) in (int, float) and math.isfinite(value)]
        yield Lines(levels, _shown(axis), numbers if len(numbers) == len(axis.values) else None)


def _varied(report: Report, choice: Choice) -> dict[str, dict[str, Axis]]:
    """Return the axes of each stage that varies along those chosen."""
    _check(report, choice)
    points = {each.base: each.point for each in report.recipe.stages.values()}
    axes = {name: {a.name: a for a in report.recipe.axes if a.name in points[name]} for name in report.recipe.bodies}
    varied = {name: its for name, its in axes.items() if its and {choice.across, choice.up} <= {*its, None}}
    if not varied:
        each = "; ".join(f"{name} along {', '.join(its)}" for name, its in axes.items() if its)
        raise ChainError(f"no stage varies along both {choice.across} and {choice.up}: {each}")
    return varied


def _shown(axis: Axis) -> PhaseAxis:
    return PhaseAxis(axis.name, list(axis.values))


def _diagram(report: Report, stage: str, point: Point, across: PhaseAxis, up: PhaseAxis, choice: Choice) -> Diagram:
    medians = np.full((len(up.labels), len(across.labels)), np.nan)
    shares = medians.copy()
    for row, column in np.ndindex(*medians.shape):
        here = {**point, across.name: across.labels[column], up.name: up.labels[row]}
        name = _stage_at(report, stage, here)
        if values := report.values(name, choice.result):
            medians[row, column] = report.quartiles(name, choice.result)[1]
            shares[row, column] = np.isfinite(values).mean()
    return Diagram(stage, point, medians, shares, across, up)


def _levels(report: Report, stage: str, axis: Axis, choice: Choice) -> NDArray[np.float64]:
    names = [_stage_at(report, stage, {axis.name: text}) for text in axis.values]
    nothing = (math.nan,) * 3
    return np.array([report.quartiles(n, choice.result) if report.values(n, choice.result) else nothing for n in names])


def _stage_at(report: Report, base: str, point: Point) -> str:
    """Return the name of a stage at a point, whose axes may come in any order."""
    stages = (stage for stage in report.recipe.stages.values() if stage.base == base)
    return next(stage.name for stage in stages if stage.point.items() <= point.items())


def _check(report: Report, choice: Choice) -> None:
    axes = [axis.name for axis in report.recipe.axes]
    if not axes:
        raise ChainError(f"{report.folder}: its recipe varies nothing; a phase diagram needs `vary`")
    for option, name in (("--across", choice.across), ("--up", choice.up)):
        if name is not None and name not in axes:
            raise ChainError(f"{option} {name}: no such axis{nearest(name, axes)}")
    if choice.across is not None and choice.across == choice.up:
        raise ChainError(f"--up {choice.up}: this axis goes across already")
    results = report.names
    if choice.result not in results:
        raise ChainError(f"--phase {choice.result}: no run has such a result{nearest(choice.result, results)}")
