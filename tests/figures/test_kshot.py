import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from grok_lightning.figures import ANSWERS, shot_grids
from grok_lightning.figures.kshot import ROWS

NAN = math.nan
BLUE, ORANGE, GREY = ANSWERS["held out, right"], ANSWERS["held out, wrong"], "#DCDCDC"


def named(panel):
    """The colours of the cells, from the bottom up and in each row from the left, by name."""
    known = {tuple(round(255 * part) for part in to_rgb(colour)): colour for colour in (BLUE, ORANGE, GREY, "white")}
    return [[known[tuple(cell)] for cell in row] for row in panel.images[0].get_array().tolist()]


def captions(figure, place="right"):
    return [axes.get_title(loc=place) for axes in figure.axes]


def legends(figure):
    """Title, names and colours of each legend."""
    found = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    return [
        (
            legend.get_title().get_text(),
            [text.get_text() for text in legend.get_texts()],
            [patch.get_facecolor()[:3] for patch in legend.get_patches()],
        )
        for legend in found
    ]


def test_rows_are_the_model_ratio_matching_and_where_they_differ():
    correct = np.array([[1, 1, 0], [0, NAN, 1], [NAN, 0, 1]])
    mask = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 0]])
    figure = shot_grids({1: correct}, {1: mask})
    model, solver, difference = (named(axes) for axes in figure.axes)
    # x = 0, 1, 2 from left to right, y = 0 first.
    assert model == [[BLUE, ORANGE, "white"], [BLUE, "white", ORANGE], [ORANGE, BLUE, BLUE]]
    assert solver == [[BLUE, ORANGE, ORANGE], [ORANGE, BLUE, ORANGE], [BLUE, BLUE, ORANGE]]
    assert difference == [[GREY, GREY, "white"], [BLUE, "white", GREY], [ORANGE, GREY, BLUE]]


def test_y_goes_up_and_x_to_the_right():
    correct = np.zeros((5, 5))
    correct[4, 0] = 1
    figure = shot_grids({1: correct}, {1: correct})
    figure.canvas.draw()
    axes = figure.axes[0]
    frame = axes.get_window_extent()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3]
    corner = pixels[round(frame.y0) + 2, round(frame.x1) - 3]
    assert corner.tolist() == [round(255 * part) for part in to_rgb(BLUE)]
    assert axes.get_xlim() == (-0.5, 4.5)
    assert axes.get_ylim() == (-0.5, 4.5)


def test_columns_are_numbers_of_examples_in_rising_order():
    grids = {31: np.ones((3, 3)), 1: np.zeros((3, 3)), 2: np.eye(3)}
    figure = shot_grids(grids, grids, "A title")
    assert captions(figure, "left") == ["1 shot", "2 shots", "31 shots", *[""] * 6]
    assert [named(axes)[0][0] for axes in figure.axes[:3]] == [ORANGE, BLUE, BLUE]
    corners = np.array([axes.get_window_extent().min for axes in figure.axes]).reshape(3, 3, 2)
    assert (np.diff(corners[..., 0], axis=1) > 0).all()
    assert (np.diff(corners[..., 1], axis=0) < 0).all()
    assert figure.texts[0].get_text() == "A title"


def test_shares_are_of_the_queries_that_were_asked():
    correct = np.array([[1, 1], [0, NAN]])
    mask = np.array([[0, 1], [NAN, 0]])
    figure = shot_grids({2: correct}, {2: mask})
    assert captions(figure) == ["66.7% right", "33.3% solved", "+50.0%   −0.0%"]


def test_queries_none_of_which_was_asked_are_blank():
    figure = shot_grids({1: np.full((2, 2), NAN)}, {1: np.ones((2, 2), dtype=bool)})
    assert named(figure.axes[0]) == named(figure.axes[2]) == [["white"] * 2] * 2
    assert captions(figure) == ["0.0% right", "100.0% solved", "+0.0%   −0.0%"]


def test_the_last_grid_of_each_row_names_its_colours():
    grids = {1: np.eye(3), 2: np.eye(3)}
    figure = shot_grids(grids, grids)
    assert [axes.get_legend() is not None for axes in figure.axes] == [False, True] * 3
    for (title, kinds, colours), (name, expected) in zip(legends(figure), ROWS.items(), strict=True):
        assert title == name
        assert kinds == list(expected)
        assert np.allclose(colours, [to_rgb(colour) for colour in expected.values()])
    assert legends(figure)[2][1] == ["model only (+)", "ratio matching\nonly (−)", "both or neither"]


def test_the_lowest_row_names_x_and_the_first_column_y():
    grids = {1: np.eye(29), 2: np.eye(29)}
    figure = shot_grids(grids, grids)
    figure.canvas.draw()
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "", "", "x", "x"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["y", ""] * 3
    for place, axes in enumerate(figure.axes):
        shown = [any(tick.label1.get_visible() for tick in axis.get_major_ticks()) for axis in (axes.xaxis, axes.yaxis)]
        assert shown == [place >= 4, place % 2 == 0]
    assert [tick for tick in figure.axes[0].get_xticks() if 0 <= tick < 29] == [0, 5, 10, 15, 20, 25]


@pytest.mark.parametrize("count", [1, 7, 29, 97, 211])
def test_a_cell_is_drawn_as_whole_pixels(count):
    cells = (np.arange(count**2).reshape(count, count) % 3 == 0).astype(float)
    figure = shot_grids({1: cells, 2: cells}, {1: cells, 2: cells}, "A title")
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3]
    for axes in figure.axes[:4]:
        frame = axes.get_window_extent()
        left, right, low, high = (round(side) for side in (frame.x0, frame.x1, frame.y0, frame.y1))
        side = (right - left) // count
        expected = np.repeat(np.repeat(axes.images[0].get_array(), side, 0), side, 1)
        np.testing.assert_array_equal(pixels[low:high, left:right], expected)
        assert right - left >= 174


@pytest.mark.parametrize(
    "title", ["", "A title", "A title that is much longer than a picture of a single column is wide"]
)
@pytest.mark.parametrize("shots", [[1], [1, 2, 13, 31]])
def test_everything_drawn_is_in_the_picture(title, shots):
    grids = {number: np.eye(29) for number in shots}
    figure = shot_grids(grids, grids, title)
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    assert (drawn.min >= 0).all()
    assert (drawn.max <= figure.get_size_inches()).all()


@pytest.mark.parametrize(
    ("correct", "mask", "message"),
    [
        ({}, {}, r"expected one shape \(p, p\)"),
        ({1: np.eye(2)}, {}, "for the same shots"),
        ({1: np.eye(2)}, {2: np.eye(2)}, r"correct \{1: \(2, 2\)\}, mask \{2: \(2, 2\)\}"),
        ({1: np.eye(2)}, {1: np.eye(3)}, r"mask \{1: \(3, 3\)\}: expected one shape \(p, p\)"),
        ({1: np.ones((2, 3))}, {1: np.ones((2, 3))}, r"expected one shape \(p, p\)"),
        ({1: np.eye(2), 2: np.eye(3)}, {1: np.eye(2), 2: np.eye(3)}, r"expected one shape \(p, p\)"),
        ({1: np.ones(())}, {1: np.ones(())}, r"expected one shape \(p, p\)"),
        ({1: np.ones((0, 0))}, {1: np.ones((0, 0))}, r"expected one shape \(p, p\)"),
        ({3: np.full((2, 2), 0.5)}, {3: np.eye(2)}, "3 shots: 0.5 in a grid: expected 0, 1 or NaN"),
        ({3: np.eye(2)}, {3: -np.eye(2)}, "3 shots: -1 in a grid: expected 0, 1 or NaN"),
    ],
)
def test_grids_that_do_not_fit_are_refused(correct, mask, message):
    with pytest.raises(ValueError, match=message):
        shot_grids(correct, mask)


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    shot_grids({1: np.eye(2)}, {1: np.eye(2)}).canvas.draw()
    assert dict(matplotlib.rcParams) == before
