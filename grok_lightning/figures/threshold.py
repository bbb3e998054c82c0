"""A result of several stages along one varied key: from where on it is reached."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from grok_lightning.figures.phase import PhaseAxis
from grok_lightning.figures.style import MUTED, SMALL, accuracy_axis, colours, legend, panel

WIDTH = 5.5  # inches from the first value to the last, about: the legend takes the rest
LETTER, LINE, AIR = 0.65 * SMALL / 72, 1.6 * SMALL / 72, 0.12  # of a label, and between two, in inches
EVENER = 3  # how many times more evenly values must lie on a logarithmic axis
ROW = 0.06  # of the height, for the triangles of one stage
TRIANGLE: dict[str, Any] = {"marker": "^", "ls": "", "ms": 7, "mfc": "white", "mew": 1.3}
BAR: dict[str, Any] = {"lw": 5, "alpha": 0.3}


def result_curves(
    levels: Mapping[str, NDArray[Any]],
    across: PhaseAxis,
    quantity: str,
    title: str = "",
    places: Sequence[float] | None = None,
) -> Figure:
    """Draws a result of each stage along one varied key, a colour for a stage.

    A dot is the median over seeds, and the bar through it goes from the first to the third quartile. Where fewer than
    half of the seeds ever had the result, the line has a gap and a triangle at the top tells so; a bar whose third
    quartile is infinite goes to the top. Where no run has finished there is only the gap. An accuracy goes from 0 to
    100 %; another result is logarithmic if all of it is positive and spans more than a factor of 10. The key is
    logarithmic if its values lie more than three times as evenly so.

    Args:
        levels: First quartile, median and third quartile of the result at each value (values, 3), by the name of the
            stage: infinite where too few seeds ever had the result, NaN where no run has finished.
        across: The varied key.
        quantity: What the result is.
        title: What the picture shows.
        places: The values as numbers; without them they stand side by side.

    Raises:
        ValueError: If there is no stage, or its levels or the places do not fit the key.
    """
    count = len(across.labels)
    shapes = {name: its.shape for name, its in levels.items()}
    if not count or set(shapes.values()) != {(count, 3)} or (places is not None and len(places) != count):
        raise ValueError(f"levels {shapes}, places {places}: expected (values, 3) and a place for {across.labels}")
    figure, axes = panel(8.4, 4.2, title, "", "")
    axes.set_xlabel(across.name, parse_math=False)
    axes.set_ylabel(quantity, parse_math=False)
    at = np.arange(count) if places is None else np.array(places, dtype=float)
    order = np.argsort(at)
    stages = np.stack(list(levels.values()))[:, order]
    value_axis(axes, at[order], [across.labels[place] for place in order], numeric=places is not None)
    _result_axis(axes, stages, quantity)
    _draw_stages(axes, at[order], stages)
    _name(figure, axes, list(levels), stages)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def value_axis(axes: Axes, at: NDArray[Any], labels: Sequence[str], numeric: bool) -> None:
    """Names the values; those that would touch the one before are aslant, or left out if they are numbers."""
    if numeric:
        _scale(axes, at)
    scale = axes.xaxis.get_transform()
    spread = scale.transform(at)
    width = np.ptp(spread)
    pad = 0.04 * width if numeric and width else 0.5
    axes.set_xlim(*scale.inverted().transform(np.array([spread[0] - pad, spread[-1] + pad])))
    inches = WIDTH * (spread - spread[0]) / (width or 1)
    room = LETTER * max(map(len, labels)) + AIR
    aslant = not numeric and min(np.diff(inches), default=room) < room
    kept = [0]
    for place in range(1, len(at)):
        if inches[place] - inches[kept[-1]] >= (LINE if aslant else room):
            kept.append(place)
    axes.set_xticks(at[kept], [labels[place] for place in kept], parse_math=False)
    axes.xaxis.set_minor_locator(NullLocator())
    if aslant:
        for value in axes.get_xticklabels():
            value.set(rotation=45, ha="right", rotation_mode="anchor")


def _scale(axes: Axes, at: NDArray[Any]) -> None:
    """Makes the axis logarithmic where that suits the values, which rise; 0 has its place on it too."""

    def evenness(values: NDArray[Any]) -> float:
        return float(np.diff(values).min() / np.ptp(values))

    positive = at[at > 0]
    if at[0] < 0 or len(positive) < 3 or evenness(np.log(positive)) <= EVENER * evenness(positive):
        return
    if len(positive) == len(at):
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)


def _result_axis(axes: Axes, stages: NDArray[Any], quantity: str) -> None:
    """Makes room for all finite levels, and above them for the triangles."""
    finite = stages[np.isfinite(stages)]
    if quantity.endswith("accuracy"):
        accuracy_axis(axes)
    elif finite.size:
        _number_axis(axes, float(finite.min()), float(finite.max()))
    else:
        axes.set_yticks([])
    rows = np.isposinf(stages[..., 1]).any(1).sum()
    _widen(axes, 0, ROW * rows)


def _number_axis(axes: Axes, low: float, high: float) -> None:
    if 0 < 10 * low < high:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    around = 0 if low < high else abs(low) / 10 or 1
    axes.set_ylim(low - around, high + around)
    _widen(axes, 0.06, 0.06)


def _widen(axes: Axes, below: float, above: float) -> None:
    """Moves the ends of the axis from bottom to top by shares of its height, whatever its scale."""
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_ylim()))
    ends = np.array([low - below * (high - low), high + above * (high - low)])
    axes.set_ylim(*scale.inverted().transform(ends))


def _draw_stages(axes: Axes, at: NDArray[Any], stages: NDArray[Any]) -> None:
    row = 0
    for levels, colour in zip(stages, colours(len(stages)), strict=True):
        low, middle, high = levels.T
        axes.vlines(at, np.where(np.isfinite(low), low, np.nan), np.minimum(high, axes.get_ylim()[1]), colour, **BAR)
        axes.plot(at, np.where(np.isfinite(middle), middle, np.nan), color=colour, lw=1.8, marker="o", ms=5, mew=0)
        never = at[np.isposinf(middle)]
        if never.size:
            height, row = 1 - ROW * (row + 0.5), row + 1
            where = axes.get_xaxis_transform()
            axes.plot(never, np.full(len(never), height), transform=where, color=colour, zorder=4, **TRIANGLE)


def _name(figure: Figure, axes: Axes, names: Sequence[str], stages: NDArray[Any]) -> None:
    """Names the stages, and the signs that occur."""
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    signs: dict[str, Line2D] = {}
    if (stages[..., 2] > stages[..., 0]).any():
        signs["quartiles over seeds"] = Line2D([], [], color=MUTED, **BAR)
    if np.isposinf(stages[..., 1]).any():
        signs["median: never"] = Line2D([], [], color=MUTED, **TRIANGLE)
    legend(figure, [*lines, *signs.values()], [*names, *signs], loc="outside right upper")
