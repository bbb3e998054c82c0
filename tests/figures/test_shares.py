import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgba

from grok_lightning.figures import PALETTE, PhaseAxis, share_bars


def draw(counts, labels=None, categories=None, **names):
    """The picture of counts by panel; the values are numbered from 0 and the categories lettered."""
    counts = {name: np.array(its) for name, its in counts.items()}
    values, kinds = next(iter(counts.values())).shape
    across = PhaseAxis("key", labels or [f"{value}" for value in range(values)])
    return share_bars(counts, across, categories or "abcdefghijkl"[:kinds], **{"quantity": "structure"} | names)


def bars(axes):
    """The bars of a panel: the middle, bottom and height of each, by its colour."""
    found = {}
    for bar in axes.patches:
        place = (bar.get_x() + bar.get_width() / 2, bar.get_y(), bar.get_height())
        found.setdefault(bar.get_facecolor(), []).append(tuple(round(each, 9) for each in place))
    return found


def totals(axes):
    return {text.xy[0]: text.get_text() for text in axes.texts[1:]}


def legend(figure):
    (found,) = figure.legends
    patches = [patch.get_facecolor() for patch in found.get_patches()]
    return list(zip([text.get_text() for text in found.get_texts()], patches, strict=True))


def test_a_bar_has_the_share_of_each_category_upon_the_one_before():
    figure = draw({"one": [[2, 13, 1], [5, 0, 5], [0, 4, 0]]})
    a, b, c = map(to_rgba, PALETTE[:3])
    assert bars(figure.axes[0]) == {
        a: [(0, 0, 0.125), (1, 0, 0.5)],
        b: [(0, 0.125, 0.8125), (2, 0, 1)],
        c: [(0, 0.9375, 0.0625), (1, 0.5, 0.5)],
    }
    assert totals(figure.axes[0]) == {0: "16", 1: "10", 2: "4"}
    assert legend(figure) == [("c", c), ("b", b), ("a", a)]  # as they lie on each other


@settings(deadline=None, max_examples=25)
@given(arrays(np.int64, (2, 4, 3), elements=st.integers(0, 50)))
def test_heights_are_shares_in_every_panel(counts):
    figure = draw({"one": counts[0], "two": counts[1]})
    for axes, its in zip(figure.axes, counts, strict=True):
        drawn = bars(axes)
        for category, colour in enumerate(map(to_rgba, PALETTE[:3])):
            expected = [
                (value, pytest.approx(sum(row[:category]) / sum(row)), pytest.approx(row[category] / sum(row)))
                for value, row in enumerate(its.tolist())
                if row[category]
            ]
            assert drawn.get(colour, []) == expected
        assert totals(axes) == {value: f"{sum(row)}" for value, row in enumerate(its.tolist()) if sum(row)}


def test_where_nothing_was_counted_there_is_no_bar_and_no_number():
    figure = draw({"one": [[0, 0], [1, 0]], "two": [[0, 0], [0, 0]]})
    one, two = figure.axes
    assert bars(one) == {to_rgba(PALETTE[0]): [(1, 0, 1)]}
    assert totals(one) == {1: "1"}
    assert (bars(two), totals(two)) == ({}, {})
    assert legend(figure) == [("a", to_rgba(PALETTE[0]))]  # a category that occurs nowhere has no name


def test_panels_title_and_axes_are_named():
    figure = draw({"one": [[1]], "b = $y": [[1]]}, ["$x"], title="A title")
    figure.canvas.draw()
    one, two = figure.axes
    assert [axes.texts[0].get_text() for axes in (one, two)] == ["one", "b = $y"]
    assert (one.get_title(loc="left"), two.get_title(loc="left")) == ("A title", "")
    assert (one.get_xlabel(), two.get_xlabel(), one.get_ylabel()) == ("", "key", "share")
    assert [label.get_text() for label in two.get_xticklabels()] == ["$x"]
    assert [label.get_text() for label in one.get_yticklabels()] == ["0%", "25%", "50%", "75%", "100%"]
    assert figure.legends[0].get_title().get_text() == "structure"
    assert one.get_window_extent().y0 > two.get_window_extent().y1


def test_signs_of_mathematics_in_categories_are_shown_as_they_are():
    figure = draw({"one": [[1, 2]]}, categories=["$x", "_y$ {"])
    figure.canvas.draw()
    assert [name for name, _ in legend(figure)] == ["_y$ {", "$x"]


def test_more_categories_than_the_palette_has_colours_differ_all_the_same():
    figure = draw({"one": np.ones((2, 12))})
    assert len(bars(figure.axes[0])) == 12
    assert dict(legend(figure)).keys() == set("abcdefghijkl")


@pytest.mark.parametrize("count", [1, 3, 8, 25])
@pytest.mark.parametrize("total", [1, 12_345])
def test_what_is_written_above_bars_touches_nothing(count, total):
    figure = draw({"one": [[total]] * count, "two": [[total]] * count}, title="A title")
    figure.canvas.draw()
    one, two = figure.axes
    for axes in (one, two):
        name, *numbers = (text.get_window_extent() for text in axes.texts)
        assert all(number.y0 >= axes.get_window_extent().y1 and number.y1 <= name.y0 for number in numbers)
        assert all(left.x1 < right.x0 for left, right in pairwise(numbers))
    assert two.texts[0].get_window_extent().y1 < one.get_window_extent().y0
    assert one.texts[0].get_window_extent().y1 < one._left_title.get_window_extent().y0


def test_numbers_that_would_be_too_small_to_read_are_left_out():
    figure = draw({"one": [[12_345]] * 60})
    assert totals(figure.axes[0]) == {}
    assert len(figure.axes[0].patches) == 60


@pytest.mark.parametrize("panels", [1, 4, 12])
@pytest.mark.parametrize("values", [1, 30])
def test_everything_drawn_is_in_the_picture(panels, values):
    names = ["a rather long name of a category, longer than a line", "b"]
    counts = {f"weight_decay = {panel}": [[1, 2]] * values for panel in range(panels)}
    figure = draw(counts, [f"value_{value}" for value in range(values)], names, title="A title")
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert (drawn.min >= 0).all()
    assert (drawn.max <= (width, height)).all()
    assert all(axes.get_window_extent().height > 40 for axes in figure.axes)
    assert figure.legends[0].get_window_extent().x0 > figure.axes[0].get_window_extent().x1


def test_a_few_bars_do_not_fill_the_picture():
    one, many = (draw({"one": [[1]] * count}) for count in (1, 8))
    for figure in (one, many):
        figure.canvas.draw()
    inches = [figure.axes[0].patches[0].get_window_extent().width / figure.dpi for figure in (one, many)]
    assert 0.4 < inches[1] < inches[0] < 1.2


def test_nothing_counted_is_drawn_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw({"one": np.zeros((3, 2), dtype=int)})
        figure.canvas.draw()
    assert (bars(figure.axes[0]), figure.legends) == ({}, [])


@pytest.mark.parametrize(
    ("counts", "labels", "categories"),
    [
        ({}, ["1"], ["a"]),
        ({"one": np.ones((2, 1))}, ["1"], ["a"]),
        ({"one": np.ones((1, 2))}, ["1"], ["a"]),
        ({"one": np.ones(1)}, ["1"], ["a"]),
        ({"one": np.ones((1, 1)), "two": np.ones((2, 1))}, ["1"], ["a"]),
        ({"one": np.ones((0, 1))}, [], ["a"]),
        ({"one": np.ones((1, 0))}, ["1"], []),
    ],
)
def test_counts_that_do_not_fit_are_refused(counts, labels, categories):
    with pytest.raises(ValueError, match=r"expected panels of \(\d, \d\) \(values, categories\)"):
        share_bars(counts, PhaseAxis("key", labels), categories, "structure")


@pytest.mark.parametrize("number", [-1, math.nan, math.inf])
def test_what_is_no_count_is_refused(number):
    with pytest.raises(ValueError, match=rf"two: a count is {number:g}; expected 0 or more"):
        draw({"one": [[1, 2]], "two": [[1, number]]})
