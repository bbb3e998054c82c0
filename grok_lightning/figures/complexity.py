"""How complex a network is: its singular values, the spectrum of its embedding over time, cosines of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from grok_lightning.figures.style import INK, MUTED, PALETTE, SMALL, Numbers, colours, legend, panel, step_axis

EIGENVALUES = 12
LINEAR_SPAN = 50  # last over first positive step: above, the steps are logarithmic
VANISHING = 1e-12  # of the largest value: below, one is 0 but for rounding
DOTTED = 60  # points of a line: with more, dots would hide it
ENTRY = 0.26  # inches of the legend for a line


def singular_value_curves(values: Mapping[str, Numbers], title: str = "Singular values") -> Figure:
    """Draws the singular values of matrices on a logarithmic axis, each matrix a line, the largest value first.

    Those below 10⁻¹² of the largest of all are 0 but for rounding, and left out.

    Args:
        values: The singular values in falling order (count,), by the name of the matrix.
        title: What the picture shows.

    Raises:
        ValueError: If there is no matrix, or one has no values.
    """
    lines = {name: np.asarray(its, dtype=float) for name, its in values.items()}
    if not lines or any(its.ndim != 1 or not its.size for its in lines.values()):
        shapes = {name: its.shape for name, its in lines.items()}
        raise ValueError(f"values {shapes}: expected a matrix at least, and (count,) for each")
    figure, axes = panel(8.4, max(4.2, 0.8 + ENTRY * len(lines)), title, "number", "singular value")
    shown = _logarithmic(axes, list(lines.values()))
    for name, its, colour in zip(lines, shown, colours(len(lines)), strict=True):
        _draw(axes, range(1, len(its) + 1), its, color=colour, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    return _finished(figure, axes)


def spectrum_history(history: Mapping[int, Numbers], title: str = "Eigenvalues of the covariance") -> Figure:
    """Draws how the eigenvalues of a covariance grow over the steps, the twelve largest of them, on a logarithmic axis.

    The steps are linear, or logarithmic if the last is more than 50 times the first positive one. Values below 10⁻¹² of
    the largest of all are 0 but for rounding, and left out.

    Args:
        history: The eigenvalues in falling order (count,), by the optimiser step.
        title: What the picture shows.

    Raises:
        ValueError: If there is no step, or the spectra differ in shape or have no values.
    """
    steps = sorted(history)
    spectra = [np.asarray(history[step], dtype=float) for step in steps]
    shapes = {its.shape for its in spectra}
    if len(shapes) != 1 or len(spectra[0].shape) != 1 or not spectra[0].size:
        raise ValueError(f"history {sorted(shapes)}: expected a step at least, and one shape (count,) for all")
    figure, axes = panel(8.4, 4.2, title, "Optimiser step", "eigenvalue")
    step_axis(axes, steps, LINEAR_SPAN)
    table = np.stack(spectra, axis=1)[:EIGENVALUES]
    shades = [to_hex(shade) for shade in colormaps["viridis"](np.linspace(0, 0.92, len(table)))]
    for number, (its, shade) in enumerate(zip(_logarithmic(axes, list(table)), shades, strict=True), start=1):
        _draw(axes, steps, its, color=shade, label=f"{number}")
    return _finished(figure, axes)


def cosine_curve(cosines: Numbers, title: str = "Cosines of numbers") -> Figure:
    """Draws the mean cosine of the vectors of two numbers over their difference, from 1 on.

    Args:
        cosines: The mean cosine by difference (differences,), from 0 on; what is not known is a gap.
        title: What the picture shows.

    Raises:
        ValueError: If there is no difference but 0.
    """
    means = np.asarray(cosines, dtype=float)
    if means.ndim != 1 or len(means) < 2:
        raise ValueError(f"cosines {means.shape}: expected (differences,), two or more")
    figure, axes = panel(6.4, 3.4, title, "difference of two numbers", "mean cosine")
    axes.axhline(0, color=MUTED, lw=0.9, ls=(0, (1, 2)))
    _draw(axes, range(1, len(means)), means[1:], color=PALETTE[0])
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_title("few pairs at the right", loc="right", color=MUTED, fontsize=SMALL, pad=8, y=1.0)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def _logarithmic(axes: Axes, lines: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Makes the axis logarithmic, if anything is positive, and returns the lines without what vanishes."""
    largest = max(float(np.max(its, initial=0, where=np.isfinite(its))) for its in lines)
    if not largest:
        return [np.where(np.isfinite(its), its, np.nan) for its in lines]
    axes.set_yscale("log")
    return [np.where(np.isfinite(its) & (its > VANISHING * largest), its, np.nan) for its in lines]


def _draw(axes: Axes, places: Sequence[int], values: NDArray[Any], **look: Any) -> None:
    dots = "o" if len(places) <= DOTTED else ""
    axes.plot(places, values, lw=1.6, marker=dots, ms=3, mew=0, **look)


def _finished(figure: Figure, axes: Axes) -> Figure:
    """Names the lines beside the panel."""
    axes.tick_params(which="minor", color=MUTED, labelcolor=INK)
    legend(figure, *axes.get_legend_handles_labels(), loc="outside right upper")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure
