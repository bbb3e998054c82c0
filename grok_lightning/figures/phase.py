"""The phase diagram: a result over a grid of two varied keys."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from grok_lightning.figures.style import DPI, INK, MUTED, SMALL, TEXT, legend, panel

COLOURS = "viridis"  # even to the eye, and to colour-blind readers too
NEVER = "#C4C4C4"
NOT_RUN: dict[str, Any] = {"facecolor": "white", "edgecolor": "#C4C4C4", "hatch": "////", "linewidth": 0}

# In inches: what all cells share, the largest cell, the colour bar, the white around the picture, and by how much an
# upright name may exceed the grid before it is laid down.
SPACE, CELL, BAR, MARGIN, OVERHANG = (8.0, 5.4), (1.0, 0.6), (2.2, 0.13), 0.12, 0.8
NAMED_CELLS = 20  # on a side: beyond, the names would be too small to read


@dataclass(frozen=True)
class PhaseAxis:
    """One axis of a phase diagram.

    Attributes:
        name: The varied key.
        labels: Its values as text, in their order.
    """

    name: str
    labels: Sequence[str]


def phase_diagram(
    medians: NDArray[Any], shares: NDArray[Any], across: PhaseAxis, up: PhaseAxis, quantity: str, title: str = ""
) -> Figure:
    """Draws a result at each point of a grid of two varied keys.

    The colour of a cell is the median over seeds; it is logarithmic if all medians are positive and span more than a
    factor of 10. Grey is where the median seed never had the result; hatched is where no run has finished. A cell names
    its median, and beneath it the share of the seeds that have the result, unless that is all of them.

    Args:
        medians: The median at each point, (up, across), the first row at the bottom: infinite where fewer than half of
            the seeds ever had the result, NaN where none has finished.
        shares: The share of the finished seeds that have the result, of the same shape, NaN where none has finished.
        across: The key that varies from left to right.
        up: The key that varies from bottom to top.
        quantity: What the median is of.
        title: What the picture shows.

    Raises:
        ValueError: If an axis is empty, or the arrays do not fit the axes.
    """
    expected = (len(up.labels), len(across.labels))
    if not medians.shape == shares.shape == expected or 0 in expected:
        given = f"medians {medians.shape}, shares {shares.shape}, labels {expected} (up, across)"
        raise ValueError(f"{given}: expected one shape, with at least one label on each axis")
    scale = ScalarMappable(_norm(medians), COLOURS)
    colours = scale.to_rgba(medians)  # without opacity for NaN
    colours[np.isposinf(medians)] = to_rgba(NEVER)
    cell = [min(largest, space / count) for largest, space, count in zip(CELL, SPACE, expected[::-1], strict=True)]
    figure, axes = _grid(colours, cell, title)
    _label(axes, across, up, cell)
    if max(expected) <= NAMED_CELLS:
        _name_cells(axes, medians, shares, colours, cell)
    _key(figure, scale, medians, quantity)
    _fit(figure)
    return figure


def _norm(medians: NDArray[Any]) -> Normalize:
    finite = medians[np.isfinite(medians)]
    if not finite.size:
        return Normalize(0, 1)
    low, high = float(finite.min()), float(finite.max())
    if low == high:  # the middle of the colours
        around = abs(low) / 10 or 1
        return Normalize(low - around, high + around)
    return LogNorm(low, high) if 0 < 10 * low < high else Normalize(low, high)


def _grid(colours: NDArray[Any], cell: Sequence[float], title: str) -> tuple[Figure, Axes]:
    """A picture of the coloured cells, with a corner at the origin of the figure; `_fit` moves all to its place."""
    rows, columns = colours.shape[:2]
    figure, axes = panel(columns * cell[0], rows * cell[1], title, "", "")
    axes.set_position((0, 0, 1, 1))
    axes.add_patch(Rectangle((0, 0), columns, rows, zorder=0, **NOT_RUN))  # seen through the cells without a colour
    axes.pcolormesh(colours, edgecolors="white", linewidth=min(1.5, 5 * min(cell)), antialiased=True)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure, axes


def _label(axes: Axes, across: PhaseAxis, up: PhaseAxis, cell: Sequence[float]) -> None:
    """Names the axes and their values; values thin out where the cells are dense and slant where they would touch."""
    axes.tick_params(length=0, pad=5)
    # What a value takes of its axis in inches, from left to right when it slants.
    lines = np.array((1.9, 1.4)) * SMALL / 72
    every = np.ceil(lines / cell).astype(int)
    for axis, labels, step in zip((axes.xaxis, axes.yaxis), (across.labels, up.labels), every, strict=True):
        axis.set_ticks(np.arange(0, len(labels), step) + 0.5, labels[::step], parse_math=False)
    values = axes.get_xticklabels()
    if max(value.get_window_extent().width for value in values) > 0.9 * DPI * cell[0] * every[0]:
        for value in values:
            value.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlabel(across.name, parse_math=False)
    axes.set_ylabel(up.name, labelpad=6, parse_math=False)
    if axes.yaxis.label.get_window_extent().height > axes.get_window_extent().height + OVERHANG * DPI:
        axes.yaxis.label.set(rotation=0, ha="right", va="center")


def _name_cells(
    axes: Axes, medians: NDArray[Any], shares: NDArray[Any], colours: NDArray[Any], cell: Sequence[float]
) -> None:
    names = {place: _name(float(medians[place]), float(shares[place])) for place in np.ndindex(medians.shape)}
    longest = max(1, *(len(line) for name in names.values() for line in name.split("\n")))
    # In points: a digit is 0.64 of its size wide, and a line 1.2 high.
    size = min(TEXT, 72 * 0.9 * cell[0] / (0.64 * longest), 72 * 0.9 * cell[1] / (2 * 1.2))
    for (row, column), name in names.items():
        ink = _readable(colours[row, column])
        axes.text(column + 0.5, row + 0.5, name, color=ink, fontsize=size, ha="center", va="center", linespacing=1.2)


def _name(median: float, share: float) -> str:
    if math.isnan(median):
        return ""
    never = median == math.inf
    name = "never" if never else _number(median)
    return f"{name}\n{share:.0%}" if share < 1 or (never and share == 1) else name


def _number(value: float) -> str:
    if abs(value) < 1e6 and (value.is_integer() or abs(value) >= 999.5):
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def _readable(colour: NDArray[Any]) -> str:
    """Black or white, whichever has the larger contrast to a colour: always 4.5 or more, as WCAG 2 asks for text."""
    linear = np.where(colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def _key(figure: Figure, scale: ScalarMappable, medians: NDArray[Any], quantity: str) -> None:
    """Draws beneath the grid the colour bar, and beside it what has no place on it."""
    below = figure.get_tightbbox().y0 - 0.45  # inches, for the quantity and some air
    width, height = figure.get_size_inches()
    place = figure.add_axes((0, below / height, BAR[0] / width, BAR[1] / height))
    ticks = _ticks(medians, isinstance(scale.norm, LogNorm))
    bar = figure.colorbar(scale, cax=place, orientation="horizontal", ticks=ticks)
    bar.formatter = FuncFormatter(lambda tick, _: f"{tick:,.10g}" if abs(tick) < 1e6 else f"{tick:.6g}")
    bar.minorticks_off()
    bar.outline.set_visible(False)
    place.set_title(quantity, loc="left", color=INK, fontsize=TEXT, pad=5)
    place.tick_params(color=MUTED, labelcolor=INK, labelsize=SMALL, length=3, width=0.8)
    shown = {"never": Patch(color=NEVER)} if np.isposinf(medians).any() else {}
    if np.isnan(medians).any():
        shown["not run"] = Patch(**NOT_RUN)
    if shown:
        legend(place, list(shown.values()), list(shown), loc="center left", bbox_to_anchor=(1.05, 0.5), ncols=2)


def _ticks(medians: NDArray[Any], logarithmic: bool) -> Locator:
    finite = np.unique(medians[np.isfinite(medians)]).tolist()
    if len(finite) < 2:
        return FixedLocator(finite)
    if logarithmic:
        return LogLocator(subs=(1, 3) if finite[-1] < 100 * finite[0] else (1,), numticks=5)
    return MaxNLocator(4, steps=[1, 2, 5, 10])


def _fit(figure: Figure) -> None:
    """Makes the picture as large as what is drawn on it: how large names and values are is known only then."""
    old, box = figure.get_size_inches(), figure.get_tightbbox().padded(MARGIN)
    figure.set_size_inches(box.width, box.height)
    for axes in figure.axes:
        corners = axes.get_position().get_points() * old - box.min
        axes.set_position(Bbox(corners / (box.width, box.height)))
