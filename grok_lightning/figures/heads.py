"""Attention heads: where they look, what they put out, how alike that is, and what is lost without them."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from grok_lightning.figures import style
from grok_lightning.figures.cells import colour_bar, image_grid, name_axes
from grok_lightning.figures.embedding import CYCLE
from grok_lightning.figures.features import SIGNS
from grok_lightning.figures.style import DPI, INK, MUTED, SMALL, TEXT, Numbers

COLOURS, DARK = "viridis", 0.42  # and where white letters on it are read better than black ones
COSINES = SIGNS.with_extremes(bad="#C4C4C4")
CROSS: dict[str, Any] = {"marker": "x", "color": "#8A8A8A", "lw": 0.9}

# In pixels: about the sides of images, the white around them, a letter of a title, the least cell that is named.
ATTENTION, SIMILARITY, LEFT, RIGHT, BOTTOM, LETTER, LEAST_NAME = 360, 420, 64, 76, 48, 10, 9
BESIDE = (1.04, 0.45, 0.033, 0.55)  # the place of a colour bar, in parts of its image
PLANE, CELL = 3.3, (0.85, 0.5)  # in inches: a plane with its colours, and a cell with a number


def attention_map(weights: Numbers, tokens: Sequence[str], title: str = "") -> Figure:
    """Draws where each head looks: a row for every position that looks, a column for every one looked at.

    Colours go from 0 to 1. Weights above the diagonal that are 0 in every head are masked, and blank. Positions are
    named by their tokens where these fit, and else by numbers from 0 on.

    Args:
        weights: Attention after the softmax (heads, length, length).
        tokens: The name of the token at each position.
        title: What the picture shows.

    Raises:
        ValueError: If weights and tokens do not fit, or there are none.
    """
    heads, count = np.asarray(weights, dtype=float), len(tokens)
    if heads.shape[1:] != (count, count) or not heads.size:
        raise ValueError(f"weights {heads.shape}: expected (heads, length, length) for {count} tokens")
    heads = np.where(np.triu(~heads.any(0), 1), np.nan, heads)
    cell = max(1, round(ATTENTION / count))
    names = [f"{name}" for name in tokens] if cell >= LEAST_NAME else []
    size = min(7.5, 0.6 * cell)  # in points, of 1.4 pixels
    room = math.ceil(0.9 * size * max(map(len, names), default=0))
    columns = math.ceil(math.sqrt(len(heads)))
    figure, panels = image_grid(len(heads), columns, count * cell, title, (LEFT + room, RIGHT, BOTTOM + room))
    for head, (axes, its) in enumerate(zip(panels, heads, strict=True)):
        image = axes.imshow(its, COLOURS, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"head {head}", loc="left", color=INK, fontsize=TEXT, pad=5)
        across = "looked at (key)" if head + columns >= len(heads) else ""
        name_axes(axes, across, "" if head % columns else "looks (query)")
        if names:
            axes.set_xticks(range(count), names, rotation=90 if room > cell else 0, parse_math=False)
            axes.set_yticks(range(count), names, parse_math=False)
            axes.tick_params(labelsize=size, length=0, pad=2)
    colour_bar(figure, image, "weight", cax=panels[columns - 1].inset_axes(BESIDE), ticks=[0, 0.5, 1])
    return figure


def head_plane(
    points: Numbers, labels: Mapping[str, Numbers], title: str = "", shares: tuple[float, float] | None = None
) -> Figure:
    """Draws the outputs of a head in the plane of their first two principal components, once for each labelling.

    Labels are residues 0 … m − 1, the largest that occurs being m − 1, and their colours form a circle, as residues do.
    A grey cross has the label −1: it stands for the logarithm of 0, which does not exist.

    Args:
        points: Where each output lies (rows, 2).
        labels: The label of each output (rows,), by the name of the labelling.
        title: What the picture shows.
        shares: The share of the variance along each component.

    Raises:
        ValueError: If there is no output or labelling, points and labels do not fit, or a label is something else.
    """
    places = np.asarray(points, dtype=float)
    kinds = _checked_labels(places, labels)
    columns = math.ceil(math.sqrt(len(kinds)))
    rows = math.ceil(len(kinds) / columns)
    figure = style.blank(PLANE * columns, PLANE * rows + 0.4)
    _title(figure, title)
    names = [f"component {k + 1}" + (f"   {shares[k]:.1%} of the variance" if shares else "") for k in (0, 1)]
    for place, (name, its) in enumerate(kinds.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_title(name, loc="left", color=INK, fontsize=TEXT, pad=5)
        _draw_plane(figure, axes, places, its)
        axes.set_xlabel(names[0] if place + columns >= len(kinds) else "", color=INK, fontsize=SMALL)
        axes.set_ylabel("" if place % columns else names[1], color=INK, fontsize=SMALL)
    if any(-1 in its for its in kinds.values()):
        style.legend(figure, [Line2D([], [], ls="", **CROSS)], ["0 has no logarithm"], loc="outside lower right")
    return figure


def similarity_map(matrix: Numbers, title: str = "", boundaries: Sequence[int] = ()) -> Figure:
    """Draws cosine similarities: blue is negative, orange positive, and grey unknown.

    Args:
        matrix: The similarity of each two vectors (vectors, vectors).
        title: What the picture shows.
        boundaries: The first vector of every group but the first; lines divide the groups.

    Raises:
        ValueError: If the matrix is not square, or a boundary lies outside.
    """
    entries = np.asarray(matrix, dtype=float)
    count = max(entries.shape, default=0)
    if entries.shape != (count, count) or not count or not all(0 < place < count for place in boundaries):
        raise ValueError(f"matrix {entries.shape}, boundaries {boundaries}: expected (n, n), 0 < boundary < n")
    side = count * max(1, round(SIMILARITY / count))  # whole pixels for a cell, or some would look larger than others
    figure, (axes,) = image_grid(1, 1, side, title, (LEFT, RIGHT, BOTTOM))
    image = axes.imshow(entries, COSINES, vmin=-1, vmax=1, interpolation="nearest")
    name_axes(axes, "vector", "vector")
    for place, line in itertools.product(boundaries, (axes.axhline, axes.axvline)):
        line(place - 0.5, color=INK, lw=0.6)
    colour_bar(figure, image, "cosine", cax=axes.inset_axes(BESIDE), ticks=[-1, 0, 1])
    return figure


def pruning_chart(accuracy: Numbers, baseline: float, title: str = "") -> Figure:
    """Draws the accuracy that is left when one head is taken out: a row for every block, the first one at the bottom.

    Colours go from 0 to 100 %, and the colour bar marks the accuracy with all heads. What is not known is blank.

    Args:
        accuracy: The accuracy without each head (blocks, heads).
        baseline: The accuracy with all heads.
        title: What the picture shows.

    Raises:
        ValueError: If there is no head.
    """
    left = np.asarray(accuracy, dtype=float)
    if left.ndim != 2 or not left.size:
        raise ValueError(f"accuracy {left.shape}: expected (blocks, heads)")
    blocks, heads = left.shape
    figure, axes = style.panel(2.6 + CELL[0] * heads, 1.4 + CELL[1] * max(blocks, 3), "", "head", "block")
    _title(figure, title)
    mesh = axes.pcolormesh(left, cmap=COLOURS, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for (block, head), value in np.ndenumerate(left):
        name, ink = "" if math.isnan(value) else f"{value:.1%}", "white" if value < DARK else "black"
        axes.text(head + 0.5, block + 0.5, name, color=ink, fontsize=TEXT, ha="center", va="center")
    axes.set_xticks(np.arange(heads) + 0.5, [f"{head}" for head in range(heads)])
    axes.set_yticks(np.arange(blocks) + 0.5, [f"{block}" for block in range(blocks)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    ticks = {tick: f"{tick:.0%}" for tick in (0, 0.5, 1) if abs(tick - baseline) > 0.1}
    ticks |= {baseline: f"{baseline:.1%} all heads"}
    bar = colour_bar(figure, mesh, "without the head", ax=axes, ticks=list(ticks))
    bar.set_ticklabels(list(ticks.values()))
    return figure


def _checked_labels(points: NDArray[Any], labels: Mapping[str, Numbers]) -> dict[str, NDArray[Any]]:
    numbers = {name: np.asarray(its) for name, its in labels.items()}
    shapes = {name: its.shape for name, its in numbers.items()}
    if points.shape[1:] != (2,) or not points.size or set(shapes.values()) != {points.shape[:1]}:
        raise ValueError(f"points {points.shape}, labels {shapes}: expected (rows, 2), and (rows,) for every labelling")
    odd = [name for name, its in numbers.items() if (its < -1).any() or (its % 1 != 0).any()]
    if odd:
        raise ValueError(f"labels {odd}: expected residues, or −1 where there is none")
    return numbers


def _draw_plane(figure: Figure, axes: Axes, points: NDArray[Any], labels: NDArray[Any]) -> None:
    """Draws points and crosses on a square, so that circles stay round, and the colours of the residues beside it."""
    known, size = labels >= 0, float(np.clip(6000 / len(points), 8, 32))
    modulus = max(int(labels.max()) + 1, 1)
    circle = ListedColormap(CYCLE(np.arange(modulus) / modulus))
    axes.scatter(points[known, 0], points[known, 1], s=size, c=circle(labels[known].astype(int)), linewidths=0)
    axes.scatter(points[~known, 0], points[~known, 1], s=size, **CROSS)
    centre, half = (points.max(0) + points.min(0)) / 2, 0.54 * np.ptp(points, axis=0).max() or 1
    axes.set(xticks=[], yticks=[], xlim=centre[0] + (-half, half), ylim=centre[1] + (-half, half), box_aspect=1)
    axes.axhline(0, color=style.GRID, lw=0.8, zorder=0)
    axes.axvline(0, color=style.GRID, lw=0.8, zorder=0)
    axes.spines[:].set(color=MUTED, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if known.any():
        scale = ScalarMappable(Normalize(-0.5, modulus - 0.5), circle)
        colour_bar(figure, scale, "", ax=axes, ticks=MaxNLocator(5, integer=True), shrink=0.8, aspect=25, pad=0.02)


def _title(figure: Figure, title: str) -> None:
    """Writes the title above all, in as many lines as it takes, and makes room for what is drawn later."""
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    lines = textwrap.fill(title, int(figure.get_figwidth() * DPI / LETTER))
    figure.suptitle(lines, x=0.015, ha="left", color=INK, fontsize=style.TITLE)
