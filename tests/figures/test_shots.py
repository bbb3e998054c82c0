import itertools
import math
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from grok_lightning.figures import PALETTE, shot_curves, shot_history

NAN, INF = math.nan, math.inf


def flat(value, examples=4):
    return np.full(examples, value)


def names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def swatches(figure):
    """What the lines of the legend look like: the colours of their pixels."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1]
    boxes = [line.get_window_extent() for line in figure.legends[0].get_lines()]
    return [pixels[round(box.y0), round(box.x0) : round(box.x1)].tobytes() for box in boxes]


def inside(figure):
    """Whether all that is drawn lies in the picture."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    return (drawn.min >= 0).all() and (drawn.max <= figure.get_size_inches()).all()


# --- several sets --------------------------------------------------------------------------------------------------


def test_each_set_is_a_coloured_line_over_the_examples_from_0_on():
    sets = {"known functions": np.array([0.1, 0.5, 0.75]), "new functions": torch.tensor([0.25, 0.5, 0.5])}
    (axes,) = shot_curves(sets, None, title="A title").axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [
        [[0, 0.1], [1, 0.5], [2, 0.75]],
        [[0, 0.25], [1, 0.5], [2, 0.5]],
    ]
    assert [line.get_color() for line in axes.lines] == list(PALETTE[:2])
    assert all(line.get_linestyle() == "-" for line in axes.lines)
    words = (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
    assert words == ("Examples in the context", "Accuracy", "A title")


def test_ceilings_are_dashed_grey_and_behind_and_named_after_the_sets():
    figure = shot_curves({"model": flat(0.5)}, 0.25, {"ratio matching": flat(0.7), "regression": flat(1.0)})
    *ceilings, model, chance = figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in ceilings] == [[0.7] * 4, [1.0] * 4]
    assert all(line.is_dashed() and len(set(to_rgb(line.get_color()))) == 1 for line in (*ceilings, chance))
    assert len(set(swatches(figure)[1:])) == 3
    assert model.get_color() == PALETTE[0]
    assert names(figure) == ["model", "ratio matching", "regression", "chance, 25.0%"]


def test_chance_is_a_level_line_and_may_be_left_out():
    figure = shot_curves({"model": flat(0.5)}, 1 / 29)
    assert figure.axes[0].lines[-1].get_ydata() == [1 / 29, 1 / 29]
    assert names(figure)[-1] == "chance, 3.4%"
    assert names(shot_curves({"model": flat(0.5)}, None)) == ["model"]


def test_a_ceiling_may_have_the_name_of_a_set():
    figure = shot_curves({"same": flat(0.5)}, None, {"same": flat(0.7)})
    assert names(figure) == ["same", "same"]
    assert len(figure.axes[0].lines) == 2


def test_many_sets_and_ceilings_are_told_apart():
    sets = {f"set {number}": flat(number / 10) for number in range(9)}
    figure = shot_curves(sets, None, {f"solver {number}": flat(0.5) for number in range(6)})
    assert len({to_hex(line.get_color()) for line in figure.axes[0].lines[6:]}) == 9
    assert len(names(figure)) == 15


@pytest.mark.parametrize(
    ("examples", "ticks"), [(32, list(range(0, 32, 4))), (12, [0, 2, 4, 6, 8, 10]), (3, [0, 1, 2]), (1, [0])]
)
def test_all_accuracies_there_can_be_over_all_the_examples(examples, ticks):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = shot_curves({"model": flat(0.5, examples)}, None)
        assert inside(figure)
    (axes,) = figure.axes
    assert axes.get_ylim() == pytest.approx((-0.02, 1.04))
    assert axes.yaxis.get_major_formatter()(1) == "100%"
    low, high = axes.get_xlim()
    assert low < 0 <= examples - 1 < high
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == ticks


def test_what_is_not_finite_is_a_gap_and_a_value_beside_gaps_is_a_dot():
    (line,) = shot_curves({"model": np.array([0.5, NAN, 0.5, INF, -INF])}, None).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [0.5, NAN, 0.5, NAN, NAN])
    assert line.get_marker() == "o"
    assert shot_curves({"model": flat(0.5, 61)}, None).axes[0].lines[0].get_marker() in ("", "None")


def test_long_names_stay_in_the_picture():
    assert inside(shot_curves({"functions as in training,\nnew inputs": flat(0.5)}, 0.1, {"ratio matching": flat(0.7)}))


@pytest.mark.parametrize(
    ("sets", "ceilings"),
    [
        ({}, {}),
        ({}, {"solver": flat(1.0)}),
        ({"a": flat(0.5), "b": flat(0.5, 5)}, {}),
        ({"a": flat(0.5)}, {"a": flat(0.5, 5)}),
        ({"a": np.ones((4, 1))}, {}),
        ({"a": np.ones(0)}, {}),
        ({"a": np.float64(1)}, {}),
    ],
)
def test_curves_that_do_not_fit_are_refused(sets, ceilings):
    with pytest.raises(ValueError, match=r"expected a curve at least, and one shape \(examples,\) for all"):
        shot_curves(sets, None, ceilings)


# --- several steps -------------------------------------------------------------------------------------------------


def drawn_steps(figure):
    return [int(line.get_label().replace(",", "")) for line in figure.axes[0].lines]


def bar_names(figure):
    figure.canvas.draw()
    axis = figure.axes[1].yaxis
    return axis.get_major_formatter().format_ticks(axis.get_major_locator()())


def place(figure, step):
    """Where a step lies on the colour bar, from 0 to 1."""
    bar = figure.axes[1]
    return bar.transAxes.inverted().transform(bar.transData.transform((0, step)))[1]


def test_each_step_is_a_curve_in_rising_order():
    history = {100: np.array([0.2, 0.4]), 0: torch.tensor([0.0, 0.25]), 10: np.array([0.1, NAN])}
    figure = shot_history(history, "A title")
    lines = figure.axes[0].lines
    np.testing.assert_array_equal([line.get_ydata() for line in lines], [[0, 0.25], [0.1, NAN], [0.2, 0.4]])
    assert drawn_steps(figure) == [0, 10, 100]
    assert figure.axes[0].get_title(loc="left") == "A title"
    assert figure.axes[1].get_title(loc="left") == "step"
    assert inside(figure)


@pytest.mark.parametrize("steps", [[10, 100, 1000], [0, 10, 100, 1000], [7, 8], [5], [0], [0, 50]])
def test_the_colour_bar_has_the_colour_of_each_curve_at_its_step(steps):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = shot_history({step: flat(0.5) for step in steps})
        assert bar_names(figure) == [f"{step:,}" for step in steps]
    for step, line in zip(steps, figure.axes[0].lines, strict=True):
        expected = colormaps["viridis"](0.92 * place(figure, step))
        assert np.allclose(to_rgb(line.get_color()), expected[:3], atol=0.02)


def test_colours_are_even_in_the_logarithm_of_the_step():
    figure = shot_history({step: flat(0.5) for step in (10, 100, 1000, 10_000)})
    assert [place(figure, step) for step in (10, 100, 1000, 10_000)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    figure = shot_history({step: flat(0.5) for step in (0, 10, 100, 1000)})
    places = [place(figure, step) for step in (0, 10, 100, 1000)]
    assert places[0] == pytest.approx(0)
    assert places[0] < places[1]
    assert np.diff(places)[1] == pytest.approx(np.diff(places)[2])


def test_up_to_twelve_steps_are_drawn_in_full():
    steps = list(range(1000, 13_000, 1000))
    assert drawn_steps(shot_history({step: flat(0.5) for step in steps})) == steps


@pytest.mark.parametrize("steps", [range(1, 14), range(0, 200_001, 1000), [2**k for k in range(40)]])
def test_of_more_than_twelve_steps_some_are_drawn_the_first_and_the_last_among_them(steps):
    figure = shot_history({step: flat(0.5) for step in steps})
    drawn = drawn_steps(figure)
    assert (drawn[0], drawn[-1]) == (steps[0], steps[-1])
    assert 8 <= len(drawn) <= 12
    assert set(drawn) <= set(steps)
    assert list(figure.axes[1].yaxis.get_minor_locator()()) == drawn
    gaps = np.diff([place(figure, step) for step in drawn])
    assert gaps.max() < 0.35


@pytest.mark.parametrize(
    "steps", [range(19_000, 20_001, 100), [1, 9990, 9991, 9992, 10_000], range(0, 100_001, 10_000)]
)
def test_steps_named_on_the_colour_bar_do_not_touch(steps):
    figure = shot_history({step: flat(0.5) for step in steps})
    assert bar_names(figure)[0] == f"{steps[0]:,}"
    assert bar_names(figure)[-1] == f"{steps[-1]:,}"
    boxes = [label.get_window_extent() for label in figure.axes[1].get_yticklabels() if label.get_text()]
    assert all(low.y1 < high.y0 for low, high in itertools.pairwise(boxes))


@pytest.mark.parametrize("history", [{}, {0: flat(0.5), 1: flat(0.5, 5)}, {0: np.ones((2, 2))}])
def test_steps_whose_curves_do_not_fit_are_refused(history):
    with pytest.raises(ValueError, match=r"expected a curve at least, and one shape \(examples,\) for all"):
        shot_history(history)


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    shot_curves({"model": flat(0.5)}, 0.1).canvas.draw()
    shot_history({0: flat(0.5)}).canvas.draw()
    assert dict(matplotlib.rcParams) == before
