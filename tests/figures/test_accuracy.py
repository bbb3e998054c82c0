import math

import pytest

from grok_lightning.curves import Curve
from grok_lightning.figures import PALETTE, accuracy_curves

NAN = math.nan


def by_style(axes, style):
    return [line for line in axes.lines if line.get_linestyle() == style and line.get_marker() == "None"]


def dots(axes):
    return [line for line in axes.lines if line.get_marker() == "o"]


def test_each_seed_is_thin_and_the_median_thick():
    runs = [Curve([0, 25, 50], [NAN, 0.5, 1.0], [0.0, 0.1, level], at) for level, at in [(1, 50), (1, 50), (0.2, None)]]
    (axes,) = accuracy_curves({"scratch": runs, "transfer": runs[:1]}).axes
    solid = by_style(axes, "-")
    assert [line.get_color() for line in solid] == [PALETTE[0]] * 4 + [PALETTE[1]]
    assert [line.get_linewidth() > 2 for line in solid] == [False, False, False, True, True]
    assert len(by_style(axes, "--")) == len(solid)
    assert solid[3].get_ydata().tolist() == pytest.approx([0, 0.1, 1])


def test_the_median_step_of_grokking_is_marked_and_told():
    def run(at):
        return Curve([0, 100, 4000], [NAN, 1, 1], [0, 0.5, 1], at)

    figure = accuracy_curves(
        {"most": [run(1000), run(3000), run(None)], "few": [run(100), run(None)], "no": [run(None)]}
    )
    (axes,), (legend,) = figure.axes, figure.legends
    assert [dot.get_xdata().tolist() for dot in dots(axes)] == [[3000]]
    assert [text.get_text() for text in legend.get_texts()] == [
        "most\ngrokked at 3,000, 2 of 3 seeds",
        "few\ngrokked in 1 of 2 seeds",
        "no\nnot grokked",
        "validation\nthin: one seed",
        "train",
    ]


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([0, 25, 10_000], ["0", "100", "1,000", "10,000"]),
        ([0, 4, 40], ["0", "5", "10", "20"]),
        ([0, 1, 3], ["0", "1", "2"]),
    ],
)
def test_step_axis_is_logarithmic_and_shows_zero(steps, named):
    figure = accuracy_curves({"run": [Curve(steps, [NAN] * 3, [0.0] * 3)]})
    (axes,) = figure.axes
    figure.canvas.draw()
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert axes.get_xscale() == "symlog"
    assert (low, high) == (0, steps[-1])
    assert axes.xaxis.get_major_formatter().format_ticks(ticks) == named


def test_a_run_of_one_evaluation_is_drawn():
    (axes,) = accuracy_curves({"run": [Curve([0], [NAN], [0.5])]}).axes
    assert axes.lines[1].get_ydata().tolist() == [0.5]


def test_more_stages_than_the_palette_have_colours_of_their_own():
    run = Curve([0, 1], [0, 1], [0, 1])
    (axes,) = accuracy_curves({f"{stage}": [run] for stage in range(len(PALETTE) + 3)}).axes
    assert len({line.get_color() for line in by_style(axes, "-")}) == len(PALETTE) + 3


@pytest.mark.parametrize("curves", [{}, {"stage": []}])
def test_stages_without_curves_are_refused(curves):
    with pytest.raises(ValueError, match="curve for every stage"):
        accuracy_curves(curves)
