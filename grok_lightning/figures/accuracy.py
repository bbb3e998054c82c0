"""How the accuracy of every stage rises with the steps."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grok_lightning.curves import Curve, median_curve
from grok_lightning.figures.style import MUTED, accuracy_axis, colours, legend, panel, step_axis

DASHES = (0, (4, 2))


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
    figure, axes = panel(9.6, 4.4, title, "Optimiser step", "Accuracy")
    step_axis(axes, [step for runs in curves.values() for run in runs for step in run.steps])
    accuracy_axis(axes)
    for (name, runs), colour in zip(curves.items(), colours(len(curves)), strict=True):
        _draw_stage(axes, name, runs, colour)
    stages, names = axes.get_legend_handles_labels()
    kinds = [Line2D([], [], color=MUTED, lw=2.2), Line2D([], [], color=MUTED, lw=1.1, ls=DASHES)]
    thin = "\nthin: one seed" if any(len(runs) > 1 for runs in curves.values()) else ""
    legend(figure, [*stages, *kinds], [*names, f"validation{thin}", "train"], loc="outside right upper")
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
