"""Pairs of anchors: how often each is answered right, and which of their sequences a network makes alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from grok_lightning.figures.cells import colour_bar, image_grid, name_axes
from grok_lightning.figures.heads import BESIDE, COLOURS, COSINES, DARK
from grok_lightning.figures.style import INK, PALETTE, SMALL, TEXT, Numbers

CELL, SIDE, LEFT, RIGHT, BOTTOM = 58, 440, 70, 80, 52  # in pixels: a cell, a map, and the white around panels
BOX = PALETTE[2]


def pair_table(tables: Mapping[str, Numbers], marked: Sequence[tuple[int, int]] = (), title: str = "") -> Figure:
    """Draws the accuracy of every pair of anchors: a panel for every table, the first anchor in rows.

    After Zhang et al. (arXiv 2405.05409, Fig. 1), where the table says which pairs are seen.

    Args:
        tables: Accuracy (anchors, anchors), by the name of the panel.
        marked: Pairs with a frame, counted from 1: those that are not trained on.
        title: What the picture shows.

    Raises:
        ValueError: If there is no table, or they are not square and of one size.
    """
    entries = {name: np.asarray(table, dtype=float) for name, table in tables.items()}
    count = max((len(its) for its in entries.values()), default=0)
    if not count or {its.shape for its in entries.values()} != {(count, count)}:
        shapes = {name: its.shape for name, its in entries.items()}
        raise ValueError(f"tables {shapes}: expected (anchors, anchors) for each, at least one")
    figure, panels = image_grid(len(entries), len(entries), CELL * count, title, (LEFT, RIGHT, BOTTOM))
    names = [f"f{anchor}" for anchor in range(1, count + 1)]
    for number, (axes, (name, its)) in enumerate(zip(panels, entries.items(), strict=True)):
        image = axes.imshow(its, COLOURS, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, loc="left", color=INK, fontsize=TEXT, pad=5)
        name_axes(axes, "second anchor", "" if number else "first anchor")
        axes.set_xticks(range(count), names)
        axes.set_yticks(range(count), names)
        for (row, column), share in np.ndenumerate(its):
            ink = "white" if share < DARK else "black"
            axes.text(column, row, f"{share:.0%}", color=ink, fontsize=TEXT, ha="center", va="center")
        for first, second in marked:
            frame = Rectangle((second - 1.45, first - 1.45), 0.9, 0.9, fill=False, ec=PALETTE[1], lw=2)
            axes.add_patch(frame)
    bar = colour_bar(figure, image, "accuracy", cax=panels[-1].inset_axes(BESIDE), ticks=[0, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def target_map(
    lower: Numbers,
    upper: Numbers,
    boxes: tuple[Numbers, Numbers],
    keys: Sequence[int],
    names: Sequence[str],
    title: str,
) -> Figure:
    """Draws how alike the sequences of two pairs are below the diagonal, and those of two others above, by their keys.

    After Zhang et al. (arXiv 2405.05409, Fig. 4). The diagonal, where keys are equal, is left out.

    Args:
        lower: Cosines (keys, keys) of the first two pairs, keys of the first of them in rows from the top.
        upper: Cosines (keys, keys) of the two others.
        boxes: Where the answers of the first two pairs, and of the others, are equal (keys, keys): in boxes.
        keys: The keys.
        names: What is below the diagonal, and what is above.
        title: What the picture shows.

    Raises:
        ValueError: If these do not fit.
    """
    below, above, *marks = (np.asarray(each) for each in (lower, upper, *boxes))
    shapes = {each.shape for each in (below, above, *marks)}
    if shapes != {(len(keys), len(keys))} or not len(keys) or len(names) != 2:
        raise ValueError(f"cosines and boxes {shapes}: expected ({len(keys)}, {len(keys)}) for the keys, and two names")
    rows, columns = np.indices(below.shape)
    entries = np.where(rows == columns, np.nan, np.where(rows > columns, below, above))
    boxed = np.where(rows > columns, marks[0], marks[1]) & (rows != columns)
    cell = max(1, round(SIDE / len(keys)))
    figure, (axes,) = image_grid(1, 1, cell * len(keys), title, (LEFT, RIGHT, BOTTOM))
    image = axes.imshow(np.ma.masked_invalid(entries), COSINES.with_extremes(bad="white"), vmin=-1, vmax=1)
    _box(axes, boxed)
    name_axes(axes, "key of the second pair", "key of the first pair")
    axes.set_xticks(range(len(keys)), [f"{key}" for key in keys])
    axes.set_yticks(range(len(keys)), [f"{key}" for key in keys])
    axes.set_title(f"below: {names[0]}   above: {names[1]}", loc="left", color=INK, fontsize=SMALL, pad=6)
    colour_bar(figure, image, "cosine", cax=axes.inset_axes(BESIDE), ticks=[-1, 0, 1])
    axes.text(1.04, 0.36, "boxes:\nequal\nanswers", color=BOX, fontsize=SMALL, va="top", transform=axes.transAxes)
    return figure


def _box(axes: Any, boxed: NDArray[np.bool_]) -> None:
    for row, column in np.argwhere(boxed):
        axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec=BOX, lw=1.8))
