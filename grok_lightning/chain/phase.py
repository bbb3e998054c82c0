"""Phase diagrams: any result of a varied stage over any two axes of the grid."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grok_lightning.chain.axes import Axis
from grok_lightning.chain.faults import ChainError, nearest, unwritable
from grok_lightning.chain.report import Report
from grok_lightning.chain.stages import point_text
from grok_lightning.chain.vary import Point
from grok_lightning.figures import PhaseAxis, phase_diagram

ALONE = PhaseAxis("", [""])
"""The second axis of a grid that has only one."""


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


def save_phases(report: Report, choice: Choice) -> list[Path]:
    """Draw a result of every varied stage over two axes into the recipe's folder, and return the files.

    A stage that varies along more axes has a diagram for each combination of their values.

    Raises:
        ChainError: If there is no grid, axis or result of that name, or the folder cannot be written.
    """
    paths = []
    for stage, point, medians, shares, across, up in phases(report, choice):
        words = ("phase", choice.result, stage, point_text(point))
        where = "_".join(re.sub(r"[^\w.=+~-]+", "_", word) for word in words if word)
        title = f"{report.name}: {stage} {point_text(point)}".strip()
        figure = phase_diagram(medians, shares, across, up, choice.result.replace("_", " "), title)
        paths.append(report.folder / f"{where}.png")
        try:
            figure.savefig(paths[-1], dpi=160)
        except OSError as error:
            raise unwritable(report.folder, error) from None
    return paths


def phases(report: Report, choice: Choice) -> Iterator[Diagram]:
    """Yield the phase diagrams of a result over two axes.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    _check(report, choice)
    for stage in report.recipe.bodies:
        here = next(each.point for each in report.recipe.stages.values() if each.base == stage)
        axes = {axis.name: axis for axis in report.recipe.axes if axis.name in here}
        if not axes or not {choice.across, choice.up} <= {*axes, None}:
            continue  # a stage that does not vary, or not along these
        across = axes.pop(choice.across or next(name for name in axes if name != choice.up or len(axes) == 1))
        up = axes.pop(choice.up or next(iter(axes)), None) if axes else None
        for texts in itertools.product(*(axis.values for axis in axes.values())):
            yield _diagram(report, stage, dict(zip(axes, texts, strict=True)), _shown(across), _shown(up), choice)


def _shown(axis: Axis | None) -> PhaseAxis:
    return ALONE if axis is None else PhaseAxis(axis.name, list(axis.values))


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
