"""Shares of the categories of a result along one varied key: stacked bars."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from grok_lightning.figures.phase import PhaseAxis
from grok_lightning.figures.style import INK, MUTED, SMALL, TEXT, TITLE, colours, legend, panels
from grok_lightning.figures.threshold import WIDTH, value_axis

# In inches: what the bars of all panels share from bottom to top, the lowest and the highest panel, what is written
# above a panel, and what is around all of them.
SPACE, LOWEST, HIGHEST, HEAD, AROUND = 6.0, 0.9, 2.2, 0.5, 1.0
BAR, WIDEST = 0.8, 0.9  # of the room of a value, and in inches
# In points: how high above a panel the title, its name and the numbers are, and the smallest size of numbers.
TITLED, NAMED, NUMBERED, SMALLEST = 38, 18, 3, 5
LINE = 24  # letters of a name in the legend


def share_bars(
    counts: Mapping[str, NDArray[Any]],
    across: PhaseAxis,
    categories: Sequence[str],
    quantity: str,
    title: str = "",
) -> Figure:
    """Draws the shares of categories along one varied key as stacked bars, in panels one below the other.

    A colour is a category, the first at the bottom. Above a bar stands how many were counted, unless the bars are too
    narrow for that; where nothing was counted there is no bar.

    Args:
        counts: How often each category was found at each value of the key (values, categories), by the name of the
            panel, from top to bottom.
        across: The varied key.
        categories: What is counted.
        quantity: What the categories are of.
        title: What the picture shows.

    Raises:
        ValueError: If there is no panel, or the counts are negative or do not fit the key and the categories.
    """
    _check(counts, across, categories)
    height = float(np.clip(SPACE / len(counts), LOWEST, HIGHEST))
    figure, stack = panels(8.4, AROUND + len(counts) * (height + HEAD), "", "", ["share"] * len(counts))
    stack[0].set_title(title, loc="left", color=INK, fontsize=TITLE, pad=TITLED, y=1.0)
    for axes, (name, its) in zip(stack, counts.items(), strict=True):
        _draw_bars(axes, its, colours(len(categories)))
        _write(axes, name, its.sum(1))
    value_axis(stack[-1], np.arange(len(across.labels)), across.labels, numeric=False)
    stack[-1].set_xlabel(across.name, parse_math=False)
    _name(figure, categories, sum(its.sum(0) for its in counts.values()), quantity)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def _check(counts: Mapping[str, NDArray[Any]], across: PhaseAxis, categories: Sequence[str]) -> None:
    expected = (len(across.labels), len(categories))
    shapes = {name: its.shape for name, its in counts.items()}
    if 0 in expected or set(shapes.values()) != {expected}:
        raise ValueError(f"counts {shapes}: expected panels of {expected} (values, categories), at least one of each")
    for name, its in counts.items():
        odd = its[~((its >= 0) & np.isfinite(its))]
        if odd.size:
            raise ValueError(f"{name}: a count is {odd[0]:g}; expected 0 or more")


def _draw_bars(axes: Axes, counts: NDArray[Any], shades: Sequence[str]) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 5))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False, axis="x")
    axes.tick_params(axis="x", length=0)
    at, totals, bottoms = np.arange(len(counts)), counts.sum(1), np.zeros(len(counts))
    width, edge = min(BAR, WIDEST * len(counts) / WIDTH), min(0.8, 20 / len(counts))
    for number, colour in zip(counts.T, shades, strict=True):
        there = number > 0
        share = number[there] / totals[there]
        axes.bar(at[there], share, width, bottoms[there], color=colour, edgecolor="white", linewidth=edge)
        bottoms[there] += share


def _write(axes: Axes, name: str, totals: NDArray[Any]) -> None:
    """Writes above a panel its name, and beneath that how many were counted at each value."""
    place: dict[str, Any] = {"textcoords": "offset points", "parse_math": False}
    axes.annotate(name, (0, 1), (0, NAMED), xycoords="axes fraction", color=INK, fontsize=TEXT, **place)
    # In points: a digit is 0.64 of its size wide.
    digits = max(len(f"{total:,.10g}") for total in totals) + 1
    size = min(SMALL, 72 * WIDTH / len(totals) / (0.64 * digits))
    for at, total in enumerate(totals):
        if total and size >= SMALLEST:
            axes.annotate(f"{total:,.10g}", (at, 1), (0, NUMBERED), ha="center", color=MUTED, fontsize=size, **place)


def _name(figure: Figure, categories: Sequence[str], totals: NDArray[Any], quantity: str) -> None:
    """Names the categories that occur, in the order of the stacks."""
    shades = zip(categories, colours(len(categories)), totals, strict=True)
    shown = [(textwrap.fill(name, LINE), Patch(color=colour)) for name, colour, total in shades if total][::-1]
    if not shown:
        return
    names, patches = zip(*shown, strict=True)
    place = {"loc": "outside right upper", "title": quantity, "title_fontsize": TEXT, "alignment": "left"}
    legend(figure, patches, names, **place)
    for text in (figure.legends[0].get_title(), *figure.legends[0].get_texts()):
        text.set(color=INK, parse_math=False)
