"""How often a varied stage found each category of a result, over any axes of the grid."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grok_lightning.chain.axes import Axis
from grok_lightning.chain.choice import Choice, numbers, planes, single_axes, stage_at
from grok_lightning.chain.report import Report
from grok_lightning.chain.vary import Point
from grok_lightning.figures import PhaseAxis


class Bars(NamedTuple):
    """The numbers of one picture of bars.

    Attributes:
        stage: Name of the stage, None where the panels are stages.
        point: Where the axes stand that are not shown.
        counts: How often each category was found `(values, categories)`, by the name of the panel from top to bottom.
        across: The axis from left to right, its numbers rising.
        categories: The categories of the result.
    """

    stage: str | None
    point: Point
    counts: dict[str, NDArray[np.int64]]
    across: PhaseAxis
    categories: list[str]


def shares(report: Report, choice: Choice) -> Iterator[Bars]:
    """Yield the counts of a result that is a category, for each picture.

    A stage that varies along two axes has a picture with a panel for each value of the one that goes up, and a picture
    for each combination of the values of further axes. The stages that vary along one and the same axis alone share a
    picture, with a panel each.

    Raises:
        ChainError: If there is no grid, axis or result of that name.
    """
    result = choice.result
    categories = report.categories.get(result, [])
    for stage, point, across, up in planes(report, choice):
        rows = {f"{up.name} = {text}": {**point, up.name: text} for text in reversed(_rising(up).labels)}
        counts = {name: _counts(report, result, stage, across, row) for name, row in rows.items()}
        yield Bars(stage, point, counts, _rising(across), categories)
    for across, stages in single_axes(report, choice):
        counts = {stage: _counts(report, result, stage, across, {}) for stage in stages}
        yield Bars(None, {}, counts, _rising(across), categories)


def _rising(axis: Axis) -> PhaseAxis:
    """Return an axis with its values as the recipe has them, or in rising order if they are numbers."""
    labels = list(axis.values)
    return PhaseAxis(axis.name, labels if numbers(axis) is None else sorted(labels, key=axis.values.__getitem__))


def _counts(report: Report, result: str, stage: str, across: Axis, point: Point) -> NDArray[np.int64]:
    """Return how often each category was found at each value of an axis `(values, categories)`."""
    names = [stage_at(report, stage, {**point, across.name: text}) for text in _rising(across).labels]
    found = [report.counts(name, result) for name in names]
    return np.array([[counts.get(category, 0) for category in report.categories[result]] for counts in found])
