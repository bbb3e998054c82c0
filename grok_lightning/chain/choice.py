"""What the pictures of a varied recipe are to show, and which of its stages and axes that concerns."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from grok_lightning.chain.axes import Axis
from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.report import Report
from grok_lightning.chain.vary import Point


class Choice(NamedTuple):
    """What the pictures show.

    Attributes:
        result: Name of a result, such as `sustained_at`.
        across: Name of the axis from left to right, None for the first.
        up: Name of the axis from bottom to top, None for the second.
    """

    result: str = "sustained_at"
    across: str | None = None
    up: str | None = None


class Plane(NamedTuple):
    """Two axes of a stage that varies along two or more.

    Attributes:
        stage: Name of the stage.
        point: Where its other axes stand.
        across: The axis from left to right.
        up: The axis from bottom to top.
    """

    stage: str
    point: Point
    across: Axis
    up: Axis


def planes(report: Report, choice: Choice) -> Iterator[Plane]:
    """Yield the chosen axes of each stage that varies along two or more, at each combination of its other values.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    for stage, axes in _varied(report, choice).items():
        if len(axes) == 1:
            continue
        across = axes.pop(choice.across or next(name for name in axes if name != choice.up))
        up = axes.pop(choice.up or next(iter(axes)))
        for texts in itertools.product(*(axis.values for axis in axes.values())):
            yield Plane(stage, dict(zip(axes, texts, strict=True)), across, up)


def single_axes(report: Report, choice: Choice) -> Iterator[tuple[Axis, list[str]]]:
    """Yield each axis that is the only one of some stages, with their names.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    alone = {stage: next(iter(axes)) for stage, axes in _varied(report, choice).items() if len(axes) == 1}
    for axis in report.recipe.axes:
        if axis.name in alone.values():
            yield axis, [stage for stage, name in alone.items() if name == axis.name]


def stage_at(report: Report, base: str, point: Point) -> str:
    """Return the name of a stage at a point, whose axes may come in any order."""
    stages = (stage for stage in report.recipe.stages.values() if stage.base == base)
    return next(stage.name for stage in stages if stage.point.items() <= point.items())


def numbers(axis: Axis) -> list[float] | None:
    """Return the values of an axis, or None if some are no numbers."""
    found = [value for value in axis.values.values() if type(value) in (int, float) and math.isfinite(value)]
    return found if len(found) == len(axis.values) else None


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


def _check(report: Report, choice: Choice) -> None:
    axes = [axis.name for axis in report.recipe.axes]
    if not axes:
        raise ChainError(f"{report.folder}: its recipe varies nothing; a phase diagram needs `vary`")
    for option, name in (("--across", choice.across), ("--up", choice.up)):
        if name is not None and name not in axes:
            raise ChainError(f"{option} {name}: no such axis{nearest(name, axes)}")
    if choice.across is not None and choice.across == choice.up:
        raise ChainError(f"--up {choice.up}: this axis goes across already")
    results = [*report.names, *report.categories]
    if choice.result not in results:
        raise ChainError(f"--phase {choice.result}: no run has such a result{nearest(choice.result, results)}")
