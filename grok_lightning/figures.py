"""Every picture of the project, from plain data, in one style.

Each function returns a `matplotlib.figure.Figure` with its own canvas. pyplot and the global settings of matplotlib are
left alone, so pictures can be drawn in any thread and look the same beside any style of the reader's own. The colours
are those of Okabe and Ito (2008, "Color universal design"), which colour-blind readers can tell apart.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)
from matplotlib.transforms import Affine2D
from torch import Tensor

from grok_lightning.curves import Curve, median_curve
from grok_lightning.spectra import fourier_power, principal_components

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, MUTED, GRID = "#262626", "#6B6B6B", "#E8E8E8"
TITLE, TEXT, SMALL = 12, 9.5, 8.5
DPI = 100
DASHES = (0, (4, 2))

# Once around the residues: the ends meet, as 0 and n − 1 do.
CYCLE = LinearSegmentedColormap.from_list("cycle", [PALETTE[hue] for hue in (0, 2, 4, 1, 3, 0)])

# The answers of an error grid, indexed by 2 · held out + wrong: the hue says right or wrong, the depth says held out.
ANSWERS = {
    "trained, right": "#CBDFEC",
    "trained, wrong": "#F6CFA8",
    "held out, right": "#0072B2",
    "held out, wrong": "#D55E00",
}


def accuracy_curves(curves: Mapping[str, Sequence[Curve]], title: str = "") -> Figure:
    """Draws how the accuracy of every stage rises with the steps.

    A colour is a stage; validation is solid and training dashed. Of several replicates each is a thin line, and the
    thick line is their median at each step, where a run that stopped after it had grokked counts with its last value,
    and one that stopped before counts no further. A dot marks the median step of grokking, if most replicates grokked.

    Args:
        curves: The curves of the replicates of each stage, by the stage's name.
        title: What the picture shows.

    Raises:
        ValueError: If there is no stage, or a stage without a curve.
    """
    if not curves or not all(curves.values()):
        numbers = {name: len(runs) for name, runs in curves.items()}
        raise ValueError(f"curves={numbers}: expected a stage, and a curve for every stage")
    figure, axes = _panel(9.6, 4.4, title, "Optimiser step", "Accuracy")
    _step_axis(axes, [step for runs in curves.values() for run in runs for step in run.steps])
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for (name, runs), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        _draw_stage(axes, name, runs, colour)
    stages, names = axes.get_legend_handles_labels()
    kinds = [Line2D([], [], color=MUTED, lw=2.2), Line2D([], [], color=MUTED, lw=1.1, ls=DASHES)]
    thin = "\nthin: one seed" if any(len(runs) > 1 for runs in curves.values()) else ""
    _legend(figure, [*stages, *kinds], [*names, f"validation{thin}", "train"], loc="outside right upper")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def _draw_stage(axes: Axes, name: str, runs: Sequence[Curve], colour: str) -> None:
    for run in runs if len(runs) > 1 else ():
        axes.plot(run.steps, run.train, color=colour, lw=0.6, alpha=0.3, ls=DASHES)
        axes.plot(run.steps, run.validation, color=colour, lw=0.8, alpha=0.4)
    steps, train, validation = median_curve(runs)
    axes.plot(steps, train, color=colour, lw=1.1, alpha=0.8, ls=DASHES)
    grokked_at = median(math.inf if run.grokked_at is None else run.grokked_at for run in runs)
    axes.plot(steps, validation, color=colour, lw=2.2, label=f"{name}\n{_grokking(runs, grokked_at)}")
    if math.isfinite(grokked_at):
        height = np.interp(grokked_at, steps, validation)
        axes.plot([grokked_at], [height], "o", color=colour, ms=8, mec="white", mew=1.5, zorder=5, clip_on=False)


def _grokking(runs: Sequence[Curve], grokked_at: float) -> str:
    grokked = sum(run.grokked_at is not None for run in runs)
    share = f"{grokked} of {len(runs)} seeds"
    if math.isfinite(grokked_at):
        return f"grokked at {grokked_at:,.0f}" + (f", {share}" if len(runs) > 1 else "")
    return f"grokked in {share}" if grokked else "not grokked"


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
    figure, axes = _panel(width / DPI, height / DPI, title, "b", "a")
    axes.set_position((55 / width, 45 / height, side / width, side / height))
    colours = np.array([to_rgb(colour) for colour in (*ANSWERS.values(), "white")])
    axes.imshow((255 * colours).round().astype(np.uint8)[answer], interpolation="nearest")
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_major_formatter(FuncFormatter(lambda tick, _: elements[round(tick)] if 0 <= tick < count else ""))
    patches = [Patch(color=colour) for colour in ANSWERS.values()]
    labels = [f"{name}\n{number:,}" for name, number in zip(ANSWERS, tally, strict=False)]
    _legend(axes, patches, labels, loc="upper left", bbox_to_anchor=(1.01, 1.02), handlelength=0.8)
    return figure


def embedding_plane(vectors: Tensor, names: Sequence[str], residues: Sequence[int] | None = None) -> Figure:
    """Draws the embedding vectors in the plane of their first two principal components, each with its name.

    Args:
        vectors: The vector of every token, (tokens, width).
        names: The name of every token.
        residues: The tokens that stand for 0, 1, 2, …, coloured in this order; all in one colour without it.

    Raises:
        ValueError: If names and vectors differ in number, or there are fewer than two components.
    """
    if len(names) != len(vectors):
        raise ValueError(f"{len(names)} names for {len(vectors)} vectors")
    coordinates, shares = principal_components(vectors.detach(), 2)
    points = coordinates.cpu().numpy()
    colours = np.tile(to_rgb(INK), (len(points), 1))
    if residues is not None:
        colours[list(residues)] = CYCLE(np.linspace(0, 1, len(residues), endpoint=False))[:, :3]
    across, up = (
        f"component {place}   {share:.1%} of the variance" for place, share in zip("12", shares.tolist(), strict=True)
    )
    figure, axes = _panel(5, 4.7, "Embedding, principal components", across, up)
    axes.scatter(points[:, 0], points[:, 1], s=14, c=colours, linewidths=0)
    # One collection of outlines for all the names: a text artist each takes several times as long.
    outlines = [_outline(name) for name in names]
    labels = PathCollection(outlines, offsets=points, offset_transform=axes.transData, facecolors=INK, linewidths=0)
    labels.set_snap(False)  # or the strokes of "+" snap to the pixels and one of them is lost
    labels.set_transform(Affine2D().scale(1 / 72) + figure.dpi_scale_trans)
    axes.add_collection(labels, autolim=False)
    axes.margins(0.08)
    axes.set(xticks=[0], yticks=[0], xticklabels=[], yticklabels=[])
    axes.set_aspect("equal", "datalim")
    figure.subplots_adjust(0.07, 0.09, 0.98, 0.92)
    return figure


def fourier_spectrum(vectors: Tensor) -> Figure:
    """Draws how much of the variation of the embedding over the residues lies at each frequency.

    The height at frequency k = 1 … n // 2 is the share `grok_lightning.spectra.fourier_power` gives it: of
    ``Σ_x |v_x − mean|²`` over the residues x, the part made of waves ``cos 2πkx/n`` and ``sin 2πkx/n``. The dotted line
    is the share each would have if all had the same; the frequencies with twice that, five at most, are named.

    Args:
        vectors: The vector of each residue, in the order of the residues, (n, width).

    Raises:
        ValueError: If there are fewer than two residues.
    """
    if len(vectors) < 2:
        raise ValueError(f"vectors has {len(vectors)} rows: a spectrum needs at least two residues")
    shares = fourier_power(vectors.detach()).cpu().numpy()[1:]
    even = 1 / len(shares)
    peaks = [peak for peak in np.argsort(-shares)[:5] if shares[peak] >= 2 * even]
    figure, axes = _panel(6.4, 3.4, "Embedding, power by frequency", "frequency", "share of the power")
    colours = [PALETTE[0] if peak in peaks else "#9DB8C9" for peak in range(len(shares))]
    axes.vlines(range(1, len(shares) + 1), 0, shares, colors=colours, linewidths=min(40, 280 / len(shares)))
    axes.axhline(even, color=MUTED, lw=0.9, ls=(0, (1, 2)))
    axes.set_title(f"dotted: equal shares, {even:.1%}", loc="right", color=MUTED, fontsize=SMALL, pad=8, y=1.0)
    for peak in peaks:
        axes.text(peak + 1, shares[peak] + 0.02 * shares.max(), f"{peak + 1}", ha="center", color=INK, fontsize=SMALL)
    axes.set_xlim(0, len(shares) + 1)
    axes.set_ylim(0, 1.12 * max(shares.max(), even))
    axes.grid(False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    figure.subplots_adjust(0.11, 0.15, 0.98, 0.89)
    return figure


@lru_cache(maxsize=4096)
def _outline(name: str) -> Path:
    """The outlines of a name in points, to the right of the origin and centred on it in height."""
    if not name.strip():
        return Path(np.empty((0, 2)))  # TextPath fails without a glyph
    return TextPath((3, -2.4), name, size=6.5)


def _panel(width: float, height: float, title: str, across: str, up: str) -> tuple[Figure, Axes]:
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


def _legend(owner: Axes | Figure, handles: Sequence[Any], labels: Sequence[str], **place: Any) -> None:
    owner.legend(handles, labels, frameon=False, fontsize=SMALL, labelcolor=INK, labelspacing=1.1, **place)


def _step_axis(axes: Axes, steps: Sequence[float]) -> None:
    """Makes the steps logarithmic from the first positive one on, and linear from 0 to there, so that 0 is shown."""
    first, last = min((step for step in steps if step > 0), default=math.inf), max(steps)
    if first < last:
        axes.set_xscale("symlog", linthresh=first, linscale=0.3)
        axes.set_xlim(0, last)
        tens = [10.0**power for power in range(math.floor(math.log10(first)), math.floor(math.log10(last)) + 1)]
        named = (1,) if last >= 50 * first else (1, 2, 5)
        ticks, between = ([d * ten for ten in tens for d in digits] for digits in (named, range(1, 10)))
        axes.xaxis.set_major_locator(FixedLocator([0, *(tick for tick in ticks if tick >= first)]))
        axes.xaxis.set_minor_locator(FixedLocator([tick for tick in between if tick >= first]))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _colours(count: int) -> Sequence[str]:
    if count <= len(PALETTE):
        return PALETTE[:count]
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 0.92, count))]
