"""What all pictures share: colours, sizes of text, an empty panel, the legend."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, MUTED, GRID = "#262626", "#6B6B6B", "#E8E8E8"
TITLE, TEXT, SMALL = 12, 9.5, 8.5
DPI = 100


def panel(width: float, height: float, title: str, across: str, up: str) -> tuple[Figure, Axes]:
    """An empty picture in the style of the project: its size in inches, its title and the names of its axes."""
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="white")
    # The height is given because matplotlib takes a third of the drawing time to find one.
    axes.set_title(title, loc="left", color=INK, fontsize=TITLE, pad=8, y=1.0)
    axes.set_xlabel(across, color=INK, fontsize=TEXT)
    axes.set_ylabel(up, color=INK, fontsize=TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=MUTED, linewidth=0.8)
    axes.tick_params(color=MUTED, labelcolor=INK, labelsize=SMALL, length=3, width=0.8)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def legend(owner: Axes | Figure, handles: Sequence[Any], labels: Sequence[str], **place: Any) -> None:
    """Names the given handles, without a frame, at a place told in matplotlib's own words."""
    owner.legend(handles, labels, frameon=False, fontsize=SMALL, labelcolor=INK, labelspacing=1.1, **place)
