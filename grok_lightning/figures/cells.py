"""What pictures of coloured cells share: images of whole pixels side by side, their axes, and what colours mean."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grok_lightning.figures import style
from grok_lightning.figures.style import DPI, INK, MUTED, SMALL, TEXT

GAP, ABOVE, TITLED, LETTER = 16, 26, 30, 10
"""White between images, above each, and for the title; and a letter of it, about: in pixels."""


def image_grid(
    count: int, columns: int, side: int, title: str, margins: tuple[int, int, int]
) -> tuple[Figure, list[Axes]]:
    """Square places of whole pixels for images, row by row from the top, with room for a line of text above each.

    Args:
        count: How many places there are.
        columns: How many of them stand side by side.
        side: The side of each, in pixels.
        title: What the picture shows.
        margins: The white to the left, to the right and at the bottom, in pixels.
    """
    left, right, bottom = margins
    rows, top = math.ceil(count / columns), TITLED if title else 8
    width = max(left + columns * (side + GAP) + right, left + LETTER * len(title))
    height = top + rows * (ABOVE + side) + bottom
    figure = style.blank(width / DPI, height / DPI)
    figure.text(left / width, 1 - 21 / height, title, color=INK, fontsize=style.TITLE)
    places = [divmod(place, columns) for place in range(count)]
    corners = [(left + column * (side + GAP), height - top - (row + 1) * (ABOVE + side)) for row, column in places]
    return figure, [figure.add_axes((x / width, y / height, side / width, side / height)) for x, y in corners]


def name_axes(axes: Axes, across: str, up: str) -> None:
    """Names and numbers the axes of an image; without a name an axis has no numbers."""
    axes.spines[:].set(color=style.GRID, linewidth=0.8, position=("outward", 1.5))
    axes.tick_params(color=MUTED, labelcolor=INK, labelsize=SMALL, length=3, width=0.8)
    axes.tick_params(labelbottom=bool(across), bottom=bool(across), labelleft=bool(up), left=bool(up))
    for axis, name in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axis.set_label_text(name, color=INK, fontsize=TEXT)


def colour_bar(figure: Figure, scale: ScalarMappable, name: str, **place: Any) -> Colorbar:
    """Draws what the colours mean, at a place told in matplotlib's own words, the name above."""
    bar = figure.colorbar(scale, **place)
    bar.outline.set_visible(False)
    bar.ax.set_title(name, loc="left", color=INK, fontsize=SMALL, pad=9)
    bar.ax.tick_params(which="both", color=MUTED, labelcolor=INK, labelsize=SMALL, length=3, width=0.8)
    return bar
