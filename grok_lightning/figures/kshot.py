"""The k-shot grid: which queries are answered right after k examples, and which of them ratio matching solves."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from grok_lightning.figures import style
from grok_lightning.figures.answers import ANSWERS
from grok_lightning.figures.cells import image_grid, name_axes
from grok_lightning.figures.style import INK, MUTED, SMALL, TEXT, Numbers

RIGHT, WRONG, ALIKE = ANSWERS["held out, right"], ANSWERS["held out, wrong"], "#DCDCDC"
# What is drawn from top to bottom, the kinds of cells by number: blue is where the model is right or the query solved.
ROWS = {
    "model": {"right": RIGHT, "wrong": WRONG},
    "ratio matching": {"solved": RIGHT, "not solved": WRONG},
    "difference": {"model only (+)": RIGHT, "ratio matching\nonly (−)": WRONG, "both or neither": ALIKE},
}

# In pixels: the least side of a grid, and the white around grids.
SIDE, LEFT, BOTTOM, NAMES = 174, 52, 42, 150


def shot_grids(correct: Mapping[int, Numbers], mask: Mapping[int, Numbers], title: str = "") -> Figure:
    """Draws which queries (x, y) are answered right after k examples, a column of the picture for each k.

    The top row is the model; the middle row is ratio matching, which solves a query that is a multiple of an example;
    the bottom row is where the two differ. x goes from left to right and y from bottom to top. Cells of queries that
    were not asked are blank; above a grid stands the share of the others that are right, solved, or different.

    Args:
        correct: Whether the model answers each query right, by the number of examples: 1, 0, or NaN where it was not
            asked, (p, p), a row for each x and a column for each y.
        mask: Whether ratio matching solves it, in the same form.
        title: What the picture shows.

    Raises:
        ValueError: If there is no grid, the numbers of examples or the shapes differ, or an entry is something else.
    """
    grids = _checked_grids(correct, mask)
    count = len(next(iter(grids.values()))[0])
    side = count * math.ceil(SIDE / count)  # whole pixels for a cell, or some would look larger than others
    figure, panels = image_grid(3 * len(grids), len(grids), side, title, (LEFT, NAMES, BOTTOM))
    for column, (shots, (model, solver)) in enumerate(grids.items()):
        kinds = (1 - model, 1 - solver, _difference(model, solver))
        stack = panels[column :: len(grids)]
        stack[0].set_title(f"{shots} shot{'' if shots == 1 else 's'}", loc="left", color=INK, fontsize=TEXT, pad=5)
        for axes, name, kind in zip(stack, ROWS, kinds, strict=True):
            _show(axes, name, kind)
            name_axes(axes, "x" if axes is stack[-1] else "", "" if column else "y")
    for axes, name in zip(panels[len(grids) - 1 :: len(grids)], ROWS, strict=True):
        _name(axes, name)
    return figure


def _checked_grids(correct: Mapping[int, Numbers], mask: Mapping[int, Numbers]) -> dict[int, NDArray[Any]]:
    """What model and ratio matching solve (2, p, p), by the number of examples in rising order."""
    shapes = [{shots: tuple(its.shape) for shots, its in sorted(grids.items())} for grids in (correct, mask)]
    count = next((shape[0] for shape in shapes[0].values() if shape), 0)
    if not count or set(shapes[0].values()) != {(count, count)} or shapes[0] != shapes[1]:
        raise ValueError(f"correct {shapes[0]}, mask {shapes[1]}: expected one shape (p, p), for the same shots")
    grids = {shots: np.stack([np.asarray(its[shots], dtype=float) for its in (correct, mask)]) for shots in shapes[0]}
    for shots, grid in grids.items():
        odd = grid[~(np.isin(grid, (0, 1)) | np.isnan(grid))]
        if odd.size:
            raise ValueError(f"{shots} shots: {odd[0]:g} in a grid: expected 0, 1 or NaN")
    return grids


def _difference(model: NDArray[Any], solver: NDArray[Any]) -> NDArray[Any]:
    """0 where only the model is right, 1 where only ratio matching is, 2 where both or neither is."""
    return np.where(np.isnan(model - solver), np.nan, np.select([model > solver, model < solver], [0, 1], 2))


def _show(axes: Axes, name: str, kind: NDArray[Any]) -> None:
    colours = np.array([to_rgb(colour) for colour in (*ROWS[name].values(), "white")])
    blank = np.isnan(kind)
    cells = np.where(blank, len(colours) - 1, kind).astype(int).T
    axes.imshow((255 * colours).round().astype(np.uint8)[cells], interpolation="nearest", origin="lower")
    shares = [(kind == number).sum() / max((~blank).sum(), 1) for number in (0, 1)]
    words = "+{:.1%}   −{:.1%}" if name == "difference" else "{:.1%} " + next(iter(ROWS[name]))
    axes.set_title(words.format(*shares), loc="right", color=MUTED, fontsize=SMALL, pad=5)


def _name(axes: Axes, name: str) -> None:
    """Names the colours of a row to the right of its last grid."""
    patches = [Patch(color=colour) for colour in ROWS[name].values()]
    place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.03), "handlelength": 0.8, "alignment": "left"}
    style.legend(axes, patches, list(ROWS[name]), title=name, title_fontsize=TEXT, **place)
