"""Features as they are learned: measures of progress over the steps, and the feature matrix itself."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from grok_lightning.figures import style
from grok_lightning.figures.style import DPI, INK, MUTED, PALETTE, SMALL, TEXT

Series = tuple[Sequence[float], Sequence[float]]

PARTS = {"val": ("validation", PALETTE[0]), "train": ("train", PALETTE[1]), "test": ("test", PALETTE[2])}
OTHERS = list(itertools.product([(0, (4, 2)), (0, (1, 1.5))], PALETTE[3:]))  # dashes and colours

LINEAR_SPAN = 50  # last over first positive step: above, the steps are logarithmic
VANISHING = 1e-12  # of the largest loss: below, a loss is 0 but for rounding
DOTTED = 60  # measurements of a line: with more, dots would hide it

# An odd number of colours, so that 0 is white.
SIGNS = LinearSegmentedColormap.from_list("signs", ["#002D47", PALETTE[0], "white", PALETTE[1], "#4A2000"], 257)
COLUMNS = 6
LARGEST_SHARE = 0.995

# In pixels: about the side of an image, the most inputs whose cells are drawn one by one, and the white around images.
SIDE, CELLS, LEFT, GAP, BENEATH, TOP, TITLED, BOTTOM = 200, 300, 32, 12, 28, 28, 30, 24


def progress_curves(series: Mapping[str, Series], title: str = "") -> Figure:
    """Draws accuracies, losses and measures of the features over the same steps, in panels one below the other.

    A metric has a line in the panel of its kind: an accuracy such as `val/accuracy` or `val/accuracy_add`, a loss such
    as `train/loss` or `val/correct_class_loss`, or whatever is below `features/`. Other metrics are left out, and so is
    a panel without lines. The steps are linear, or logarithmic if the last is more than 50 times the first positive
    one. Values that are not finite are gaps.

    Losses are logarithmic unless one is negative. Those below 10⁻¹² of the largest are gaps too, and the legend tells:
    a machine that interpolates has a training loss of rounding errors, such as 10⁻³¹, which would take all the height.

    Args:
        series: The steps and the value at each, by the name of the metric.
        title: What the picture shows.

    Raises:
        ValueError: If there is no metric to draw.
    """
    kinds: dict[str, dict[str, Series]] = {"Accuracy": {}, "Loss": {}, "Features": {}}
    for name, (steps, values) in series.items():
        if len(steps) and (kind := _kind(name)):
            kinds[kind][name] = (steps, np.where(np.isfinite(values), values, np.nan).tolist())
    kinds = {kind: lines for kind, lines in kinds.items() if lines}
    if not kinds:
        raise ValueError(f"series {list(series)}: expected an accuracy, a loss or features/… with at least one step")
    figure, stack = style.panels(8.8, 0.7 + 2.1 * len(kinds), title, "Optimiser step", list(kinds))
    all_steps = [step for lines in kinds.values() for steps, _ in lines.values() for step in steps]
    style.step_axis(stack[0], all_steps, LINEAR_SPAN)
    for axes, (kind, lines) in zip(stack, kinds.items(), strict=True):
        if kind == "Features":
            _draw_features(axes, lines)
        else:
            _draw_parts(axes, lines, _accuracy_axis(axes) if kind == "Accuracy" else _loss_axis(axes, lines))
        style.legend(axes, *axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1.01, 1.03))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    figure.align_ylabels(stack)
    return figure


def _kind(name: str) -> str:
    if name.startswith("features/"):
        return "Features"
    metric = name.rpartition("/")[2]
    return next((kind for kind in ("Accuracy", "Loss") if re.search(rf"(?i)^{kind}|{kind}$", metric)), "")


def _accuracy_axis(axes: Axes) -> float:
    """Shows all there can be, and returns the least value to draw."""
    style.accuracy_axis(axes)
    return -math.inf


def _loss_axis(axes: Axes, lines: Mapping[str, Series]) -> float:
    """Makes the axis logarithmic if it can be, and returns the least value to draw."""
    values = np.concatenate([values for _, values in lines.values()])
    low, high = np.nanmin(values, initial=math.inf), np.nanmax(values, initial=-math.inf)
    if low < 0 or high <= 0:
        return -math.inf
    axes.set_yscale("log")
    return float(VANISHING * high)


def _draw_parts(axes: Axes, lines: Mapping[str, Series], least: float) -> None:
    """Draws accuracies or losses; each part of the data has a colour, and what else there is of it others, dashed."""
    others = itertools.cycle(OTHERS)
    for name, (steps, values) in lines.items():
        part, _, metric = name.rpartition("/")
        rest = re.sub("^(accuracy|loss)_?|_?(accuracy|loss)$", "", metric).replace("_", " ")
        known, colour = PARTS.get(part, (part, ""))
        dashes, colour = ("-", colour) if colour and not rest else next(others)
        label = ", ".join(word for word in (known, rest) if word) or metric
        shown = np.where(np.less(values, least), np.nan, values)
        if np.less(values, least).any():
            label += " ≈ 0" if np.isnan(shown).all() else "\nin part ≈ 0"
        _draw_line(axes, steps, shown.tolist(), colour, label, dashes)


def _draw_features(axes: Axes, lines: Mapping[str, Series]) -> None:
    is_signed = any(value < 0 for _, values in lines.values() for value in values)
    axes.set_ylim(-1.04 if is_signed else -0.02, 1.04)
    for (name, (steps, values)), colour in zip(lines.items(), style.colours(len(lines)), strict=True):
        label = name.removeprefix("features/").replace("_", " ").replace("agop", "AGOP")
        _draw_line(axes, steps, values, colour, label, "-")


def _draw_line(
    axes: Axes, steps: Sequence[float], values: Sequence[float], colour: str, label: str, dashes: Any
) -> None:
    dots = "o" if len(steps) <= DOTTED else ""
    axes.plot(steps, values, color=colour, label=label, ls=dashes, lw=1.6, marker=dots, ms=3, mew=0, clip_on=False)


def feature_matrices(matrices: Mapping[int, Tensor], orders: Mapping[str, Tensor | None], title: str = "") -> Figure:
    """Draws a feature matrix without its diagonal, over the steps from left to right.

    Blue is negative and orange positive. Every image has a scale of its own, written beneath it, which ends where the
    largest 0.5 % of its entries begin. Up to 300 inputs a cell is drawn as whole pixels, at the figure's own resolution
    or a multiple of it.

    Args:
        matrices: The matrix (inputs, inputs) by the step. Of more than six, six evenly chosen ones are drawn, among
            them the first and the last.
        orders: Ways to order rows and columns, a row of the picture each, by their names: the inputs from first to last
            (inputs,), some of which may be left out, or None for all as they are.
        title: What the picture shows.

    Raises:
        ValueError: If there is no matrix or no order, or their sizes do not fit.
    """
    ranks = _checked_ranks(matrices, orders)
    sides = [len(rank) * max(1, round(SIDE / len(rank))) if len(rank) <= CELLS else CELLS for rank in ranks.values()]
    steps = sorted(matrices)
    kept = [steps[i] for i in np.linspace(0, len(steps) - 1, min(len(steps), COLUMNS)).round().astype(int)]
    top = TOP + (TITLED if title else 0)
    width, height = LEFT + len(kept) * (max(sides) + GAP), top + sum(sides) + len(sides) * BENEATH + BOTTOM
    figure = style.blank(width / DPI, height / DPI)
    figure.text(LEFT / width, 1 - 20 / height, title, color=INK, fontsize=style.TITLE)
    figure.text(LEFT / width, 9 / height, "blue: below 0, orange: above", color=MUTED, fontsize=SMALL)
    for row, (side, (name, rank)) in enumerate(zip(sides, ranks.items(), strict=True)):
        bottom = height - top - sum(sides[: row + 1]) - row * BENEATH
        for column, step in enumerate(kept):
            left = LEFT + column * (max(sides) + GAP)
            axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
            _show(axes, matrices[step], rank)
            axes.set_title("" if row else f"step {step:,}", color=INK, fontsize=TEXT, pad=6)
            axes.set_ylabel("" if column else name, color=INK, fontsize=TEXT)
    return figure


def _checked_ranks(matrices: Mapping[int, Tensor], orders: Mapping[str, Tensor | None]) -> dict[str, list[int]]:
    """The inputs in each order, as numbers."""
    if not matrices or not orders:
        raise ValueError(f"{len(matrices)} matrices, {len(orders)} orders: expected at least one of each")
    shapes = {tuple(matrix.shape) for matrix in matrices.values()}
    count = len(next(iter(matrices.values())))
    if shapes != {(count, count)}:
        raise ValueError(f"matrices {sorted(shapes)}: expected one shape, with as many columns as rows")
    ranks = {name: list(range(count)) if order is None else order.tolist() for name, order in orders.items()}
    for name, rank in ranks.items():
        if not rank or len(set(rank)) < len(rank) or not set(rank) <= set(range(count)):
            raise ValueError(f"order {name!r}: expected some of the {count} inputs, each once")
    return ranks


def _show(axes: Axes, matrix: Tensor, rank: list[int]) -> None:
    entries = matrix.detach().cpu().double().numpy()[np.ix_(rank, rank)]
    np.fill_diagonal(entries, 0)
    sizes = np.abs(entries[np.isfinite(entries)])
    # Where nearly all entries are 0, so is the quantile.
    limit = float(np.quantile(sizes, LARGEST_SHARE) or sizes.max())
    smoothing = "nearest" if len(rank) <= CELLS else "antialiased"
    axes.imshow(entries, SIGNS, vmin=-(limit or 1), vmax=limit or 1, interpolation=smoothing)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"±{limit:.2g}", color=MUTED, fontsize=SMALL)
    axes.spines[:].set(color=style.GRID, linewidth=0.8, position=("outward", 1.5))
