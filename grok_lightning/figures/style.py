"""What all pictures share: colours, sizes of text, empty panels, axes for steps and accuracies, the legend."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[Any] | Tensor

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, MUTED, GRID = "#262626", "#6B6B6B", "#E8E8E8"
TITLE, TEXT, SMALL = 12, 9.5, 8.5
DPI = 100


def blank(width: float, height: float) -> Figure:
    """A white figure with a canvas of its own: its size in inches."""
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel(width: float, height: float, title: str, across: str, up: str) -> tuple[Figure, Axes]:
    """An empty picture in the style of the project: its size in inches, its title and the names of its axes."""
    figure, (axes,) = panels(width, height, title, across, [up])
    return figure, axes


def panels(width: float, height: float, title: str, across: str, ups: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Empty panels one below the other, which share the axis from left to right; each has a name for the other."""
    figure = blank(width, height)
    stack: list[Axes] = []
    for row, up in enumerate(ups):
        axes = figure.add_subplot(len(ups), 1, row + 1, facecolor="white", sharex=stack[0] if stack else None)
        axes.set_ylabel(up, color=INK, fontsize=TEXT)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set(color=MUTED, linewidth=0.8)
        axes.tick_params(color=MUTED, labelcolor=INK, labelsize=SMALL, length=3, width=0.8)
        axes.tick_params(axis="x", which="both", labelbottom=row + 1 == len(ups))
        axes.grid(True, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        stack.append(axes)
    # The height is given because matplotlib takes a third of the drawing time to find one.
    stack[0].set_title(title, loc="left", color=INK, fontsize=TITLE, pad=8, y=1.0)
    stack[-1].set_xlabel(across, color=INK, fontsize=TEXT)
    return figure, stack


def step_axis(axes: Axes, steps: Sequence[float], span: float = 1) -> None:
    """Makes the steps logarithmic from the first positive one on, and linear from 0 to there, so that 0 is shown.

    Args:
        axes: Where they go from left to right.
        steps: All of them.
        span: How many times the first positive step the last may be for the whole axis to stay linear.
    """
    first, last = min((step for step in steps if step > 0), default=math.inf), max(steps)
    if span * first < last:
        axes.set_xscale("symlog", linthresh=first, linscale=0.3)
        axes.set_xlim(0, last)
        tens = [10.0**power for power in range(math.floor(math.log10(first)), math.floor(math.log10(last)) + 1)]
        named = (1,) if last >= 50 * first else (1, 2, 5)
        ticks, between = ([d * ten for ten in tens for d in digits] for digits in (named, range(1, 10)))
        axes.xaxis.set_major_locator(FixedLocator([0, *(tick for tick in ticks if tick >= first)]))
        axes.xaxis.set_minor_locator(FixedLocator([tick for tick in between if tick >= first]))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif span > 1:
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{round(step):,}"))


def accuracy_axis(axes: Axes) -> None:
    """Shows accuracies in percent from bottom to top, all there can be."""
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def colours(count: int) -> Sequence[str]:
    """As many colours as asked for: those of the palette, or shades of viridis where it has too few."""
    if count <= len(PALETTE):
        return PALETTE[:count]
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.92, count))]


def legend(owner: Axes | Figure, handles: Sequence[Any], labels: Sequence[str], **place: Any) -> None:
    """Names the given handles, without a frame, at a place told in matplotlib's own words."""
    owner.legend(handles, labels, frameon=False, fontsize=SMALL, labelcolor=INK, labelspacing=1.1, **place)
