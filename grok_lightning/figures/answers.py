"""The error grid: which equations are answered right."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor

from grok_lightning.figures.style import DPI, legend, panel

# The answers of an error grid, indexed by 2 · held out + wrong: the hue says right or wrong, the depth says held out.
ANSWERS = {
    "trained, right": "#CBDFEC",
    "trained, wrong": "#F6CFA8",
    "held out, right": "#0072B2",
    "held out, wrong": "#D55E00",
}


def error_grid(correct: Tensor, elements: Sequence[str], symbol: str, part: Tensor) -> Figure:
    """Draws which equations ``a ∘ b`` the network answers right, a row for every a and a column for every b.

    Args:
        correct: 1 where the answer is right, 0 where it is wrong, −1 where a ∘ b is undefined, (elements, elements).
        elements: The names of the elements.
        symbol: The sign of the operation.
        part: Where each equation belongs: 0 train, 1 validation, 2 test, (elements, elements).

    Raises:
        ValueError: If the shapes differ.
    """
    count = len(elements)
    if not tuple(correct.shape) == tuple(part.shape) == (count, count):
        shapes = f"correct {tuple(correct.shape)}, part {tuple(part.shape)}"
        raise ValueError(f"{shapes}: expected {(count, count)} for {count} elements")
    right, held_out = correct.cpu().numpy(), part.cpu().numpy() > 0
    answer = np.where(right < 0, len(ANSWERS), 2 * held_out + (right == 0))
    tally = np.bincount(answer.ravel(), minlength=len(ANSWERS))
    share = tally[2] / max(tally[2] + tally[3], 1)
    side = count * math.ceil(380 / count)  # whole pixels for a cell, or some would look larger than others
    width, height = side + 200, side + 80
    title = f"a {symbol} b:  {share:.1%} of the held-out answers right"
    figure, axes = panel(width / DPI, height / DPI, title, "b", "a")
    axes.set_position((55 / width, 45 / height, side / width, side / height))
    colours = np.array([to_rgb(colour) for colour in (*ANSWERS.values(), "white")])
    axes.imshow((255 * colours).round().astype(np.uint8)[answer], interpolation="nearest")
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_major_formatter(FuncFormatter(lambda tick, _: elements[round(tick)] if 0 <= tick < count else ""))
    patches = [Patch(color=colour) for colour in ANSWERS.values()]
    labels = [f"{name}\n{number:,}" for name, number in zip(ANSWERS, tally, strict=False)]
    legend(axes, patches, labels, loc="upper left", bbox_to_anchor=(1.01, 1.02), handlelength=0.8)
    return figure
