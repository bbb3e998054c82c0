"""Accuracy over the number of examples in the context: of several sets, and of one set as it is trained."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from grok_lightning.figures.cells import colour_bar
from grok_lightning.figures.style import MUTED, Numbers, accuracy_axis, colours, legend, panel

CEILINGS: list[Any] = [(0, (6, 2)), (0, (3, 1.5)), (0, (7, 1.5, 1.2, 1.5)), (0, (4, 1.5, 1.2, 1.5, 1.2, 1.5))]
CHANCE: Any = (0, (1, 2))
STEPS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)), "steps")  # its yellow is too pale for lines
CURVES = 12
DOTTED = 60  # shots: with more, dots would hide the line
ROOM = 0.055  # of the colour bar, for a step


def shot_curves(
    accuracies: Mapping[str, Numbers], chance: float | None, ceilings: Mapping[str, Numbers] = {}, title: str = ""
) -> Figure:
    """Draws how often the answer after k examples is right, over k, a coloured line for every set of sequences.

    Dashed grey lines are what solvers of reference reach, and the dotted one is chance. Values that are not finite are
    gaps.

    Args:
        accuracies: Accuracy after k = 0, 1, … examples (examples,), by the name of the set.
        chance: Accuracy of a guess; None leaves its line out.
        ceilings: Accuracy of each solver after as many examples (examples,), by its name.
        title: What the picture shows.

    Raises:
        ValueError: If there is no set, or the curves differ in shape.
    """
    shots = _shots(accuracies=accuracies, ceilings=ceilings)
    figure, axes = _shot_panel(shots, title)
    for (name, values), dashes in zip(ceilings.items(), itertools.cycle(CEILINGS), strict=False):
        axes.plot(shots, _finite(values), color=MUTED, lw=1.2, ls=dashes, label=name)
    below = len(axes.lines)
    for (name, values), colour in zip(accuracies.items(), colours(len(accuracies)), strict=True):
        _draw(axes, shots, values, color=colour, label=name)
    lines = [*axes.lines[below:], *axes.lines[:below]]
    if chance is not None:
        lines.append(axes.axhline(chance, color=MUTED, lw=0.9, ls=CHANCE, label=f"chance, {chance:.1%}"))
    names = [str(line.get_label()) for line in lines]
    legend(figure, lines, names, loc="outside right upper", handlelength=2.8)
    return figure


def shot_history(history: Mapping[int, Numbers], title: str = "") -> Figure:
    """Draws how often the answer after k examples is right, over k, as training goes on.

    The colour is the step, logarithmic from the first positive one on. Of more than twelve steps up to twelve are
    drawn, about evenly spread over the colours, the first and the last among them; the colour bar marks them. Values
    that are not finite are gaps.

    Args:
        history: Accuracy after k = 0, 1, … examples (examples,), by the optimiser step.
        title: What the picture shows.

    Raises:
        ValueError: If there is no step, or the curves differ in shape.
    """
    shots = _shots(history=history)
    norm = _norm(sorted(history))
    kept = _spread(sorted(history), norm)
    figure, axes = _shot_panel(shots, title)
    for step in kept:
        _draw(axes, shots, history[step], color=STEPS(norm(step)), label=f"{step:,}")
    bar = colour_bar(figure, ScalarMappable(norm, STEPS), "step", ax=axes, pad=0.03, aspect=28)
    bar.ax.yaxis.set_major_locator(FixedLocator(_named(kept, norm)))
    bar.ax.yaxis.set_minor_locator(FixedLocator(kept))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{round(step):,}"))
    return figure


def _shots(**groups: Mapping[Any, Numbers]) -> list[int]:
    """The numbers of examples that all curves have; the first group must have one."""
    shapes = {group: {name: tuple(its.shape) for name, its in curves.items()} for group, curves in groups.items()}
    found = {shape for curves in shapes.values() for shape in curves.values()}
    if not next(iter(groups.values())) or len(found) > 1 or any(len(shape) != 1 or shape == (0,) for shape in found):
        raise ValueError(f"{shapes}: expected a curve at least, and one shape (examples,) for all")
    return list(range(found.pop()[0]))


def _shot_panel(shots: Sequence[int], title: str) -> tuple[Figure, Axes]:
    figure, axes = panel(8.4, 4.2, title, "Examples in the context", "Accuracy")
    accuracy_axis(axes)
    around = 0.02 * max(shots[-1], 1)
    axes.set_xlim(-around, shots[-1] + around)
    axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 4, 5, 10], integer=True, min_n_ticks=1))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure, axes


def _finite(values: Numbers) -> NDArray[Any]:
    numbers = np.asarray(values, dtype=float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _draw(axes: Axes, shots: Sequence[int], values: Numbers, **look: Any) -> None:
    dots = "o" if len(shots) <= DOTTED else ""
    axes.plot(shots, _finite(values), lw=1.7, marker=dots, ms=3.5, mew=0, clip_on=False, **look)


def _norm(steps: Sequence[int]) -> Normalize:
    """From the first step to the last; as for step axes, 0 has its place below the first positive one."""
    low, high = steps[0], steps[-1]
    if low == high:
        return Normalize(low - 1, low + 1)
    return LogNorm(low, high) if low > 0 else SymLogNorm(next(step for step in steps if step > 0), 0.3, low, high)


def _spread(steps: Sequence[int], norm: Normalize) -> list[int]:
    if len(steps) <= CURVES:
        return list(steps)
    heights = np.asarray(norm(np.array(steps, dtype=float)))
    nearest = np.abs(heights - np.linspace(0, 1, CURVES)[:, None]).argmin(1)
    return [steps[place] for place in np.unique(nearest)]


def _named(steps: Sequence[int], norm: Normalize) -> list[int]:
    """The steps that have room for their names on the colour bar, the first and the last in any case."""
    heights = dict(zip(steps, np.asarray(norm(np.array(steps, dtype=float))).tolist(), strict=True))
    named = [steps[-1]]
    for step in reversed(steps[1:-1]):
        if min(heights[named[-1]] - heights[step], heights[step] - heights[steps[0]]) >= ROOM:
            named.append(step)
    return sorted({steps[0], *named})
