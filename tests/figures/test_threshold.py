import math
import warnings

import numpy as np
import pytest

from grok_lightning.figures import PALETTE, PhaseAxis, result_curves

NAN, INF = math.nan, math.inf


def draw(levels, labels=None, quantity="steps", numeric=True, **names):
    """The picture of levels, one number for all three quartiles; the values are numbers unless told."""
    levels = {
        name: np.array([level if isinstance(level, tuple) else (level,) * 3 for level in its], dtype=float)
        for name, its in levels.items()
    }
    labels = labels or [f"{place}" for place in range(len(next(iter(levels.values()))))]
    places = [float(label) for label in labels] if numeric else None
    return result_curves(levels, PhaseAxis("key", labels), quantity, places=places, **names)


def by_marker(figure, marker):
    return [line for line in figure.axes[0].lines if line.get_marker() == marker]


def bars(figure):
    return [[segment.tolist() for segment in bars.get_segments()] for bars in figure.axes[0].collections]


def shown(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def kinds(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_stage_is_a_line_of_its_medians_in_its_own_colour():
    figure = draw({"one": [1, 2, 3], "two": [3, 2, 2]}, ["0.1", "0.2", "0.4"], title="A title")
    lines = by_marker(figure, "o")
    assert [line.get_xydata().tolist() for line in lines] == [
        [[0.1, 1], [0.2, 2], [0.4, 3]],
        [[0.1, 3], [0.2, 2], [0.4, 2]],
    ]
    assert [line.get_color() for line in lines] == list(PALETTE[:2])
    assert all(line.get_linestyle() == "-" for line in lines)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("key", "steps", "A title")
    assert kinds(figure) == ["one", "two"]


def test_bars_go_from_quartile_to_quartile_and_to_the_top_where_the_third_is_infinite():
    figure = draw({"one": [(1, 2, 4), (2, 3, INF), (5, INF, INF), INF, NAN]})
    top = figure.axes[0].get_ylim()[1]
    assert top > 5
    drawn = [segment for segment in bars(figure)[0] if segment]
    assert drawn == [[[0, 1], [0, 4]], [[1, 2], [1, top]], [[2, 5], [2, top]]]
    assert kinds(figure) == ["one", "quartiles over seeds", "median: never"]


def test_what_was_never_reached_is_a_gap_with_a_triangle_at_the_top():
    figure = draw({"one": [INF, 2, NAN, INF], "two": [1, 2, 3, 4], "three": [INF, NAN, 5, 6]})
    line = by_marker(figure, "o")[0]
    np.testing.assert_array_equal(line.get_ydata(), [NAN, 2, NAN, NAN])
    first, second = by_marker(figure, "^")
    assert (first.get_xdata().tolist(), second.get_xdata().tolist()) == ([0, 3], [0])
    assert (first.get_color(), second.get_color()) == (PALETTE[0], PALETTE[2])
    figure.canvas.draw()
    heights = [mark.get_transform().transform(mark.get_xydata())[0, 1] for mark in (first, second)]
    highest = figure.axes[0].transData.transform((3, 6))[1]
    frame = figure.axes[0].get_window_extent()
    assert frame.y1 > heights[0] > heights[1] > highest
    assert kinds(figure) == ["one", "two", "three", "median: never"]


def test_values_are_drawn_in_rising_order():
    line = by_marker(draw({"one": [1, 2, 3]}, ["0.4", "0.1", "0.2"]), "o")[0]
    assert line.get_xydata().tolist() == [[0.1, 2], [0.2, 3], [0.4, 1]]


def test_values_that_are_no_numbers_stand_side_by_side_in_their_order():
    figure = draw({"one": [1, 2, 3]}, ["z", "$y", "x"], numeric=False)
    assert by_marker(figure, "o")[0].get_xdata().tolist() == [0, 1, 2]
    assert figure.axes[0].get_xticks().tolist() == [0, 1, 2]
    assert shown(figure.axes[0]) == ["z", "$y", "x"]
    assert not any(label.get_parse_math() for label in figure.axes[0].get_xticklabels())
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("labels", "scale"),
    [
        (["0.1", "0.2", "0.3", "0.9"], "linear"),
        (["0.1", "0.2", "0.3", "0.6", "1.0"], "linear"),
        (["1", "2", "4", "8"], "linear"),
        (["0.001", "0.01", "0.1"], "log"),
        (["16", "32", "64", "128", "256"], "log"),
        (["0", "0.01", "0.1", "1"], "symlog"),
        (["-10", "1", "10", "100"], "linear"),
        (["1", "1000"], "linear"),
        (["5"], "linear"),
    ],
)
def test_the_key_is_logarithmic_where_its_values_are(labels, scale):
    (axes,) = draw({"one": range(len(labels))}, labels).axes
    assert axes.get_xscale() == scale
    assert shown(axes) == labels
    low, high = axes.get_xlim()
    assert low < float(labels[0]) <= float(labels[-1]) < high


@pytest.mark.parametrize(
    ("levels", "scale"),
    [
        ([10, 1000], "log"),
        ([10, 100], "linear"),
        ([0, 1000], "linear"),
        ([INF, 7], "linear"),
        ([(1, 50, 60), 50], "log"),
    ],
)
def test_the_result_is_logarithmic_over_a_wide_positive_range(levels, scale):
    assert draw({"one": levels}).axes[0].get_yscale() == scale


@pytest.mark.parametrize("quantity", ["test accuracy", "val/accuracy"])
def test_accuracies_go_from_0_to_100_percent(quantity):
    (axes,) = draw({"one": [0.001, 0.5]}, quantity=quantity).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim() == pytest.approx((-0.02, 1.04))
    assert axes.yaxis.get_major_formatter()(0.5) == "50%"


@pytest.mark.parametrize("count", [25, 100])
@pytest.mark.parametrize("numeric", [True, False])
def test_values_along_a_dense_axis_do_not_touch(count, numeric):
    figure = draw({"one": [1] * count}, [f"{place}" for place in range(1000, 1000 + count)], numeric=numeric)
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    places = figure.axes[0].transData.transform([label.get_position() for label in labels])[:, 0]
    aslant = labels[0].get_rotation() == 45
    assert aslant is not numeric
    room = 1.2 * labels[0].get_fontsize() * figure.dpi / 72
    assert np.diff(places).min() > (room if aslant else max(label.get_window_extent().width for label in labels))
    assert 5 < len(labels) < count + 1


@pytest.mark.parametrize("level", [NAN, INF, 0, 12_500])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("numeric", [True, False])
def test_little_is_drawn_without_a_warning(level, count, numeric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw({"one": [level] * count}, numeric=numeric)
        figure.canvas.draw()
    assert len(by_marker(figure, "^")) == (level == INF)


@pytest.mark.parametrize(
    ("levels", "labels", "places"),
    [
        ({}, ["1"], None),
        ({"one": np.ones((2, 3))}, ["1"], None),
        ({"one": np.ones((1, 2))}, ["1"], None),
        ({"one": np.ones((1, 3)), "two": np.ones((2, 3))}, ["1"], None),
        ({"one": np.ones((1, 3))}, ["1"], [1.0, 2.0]),
        ({"one": np.ones((0, 3))}, [], None),
    ],
)
def test_levels_that_do_not_fit_are_refused(levels, labels, places):
    with pytest.raises(ValueError, match=r"expected \(values, 3\)"):
        result_curves(levels, PhaseAxis("key", labels), "steps", places=places)
