import math
import warnings

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgba

from grok_lightning.figures import PhaseAxis, phase_diagram

NAN, INF = math.nan, math.inf
GREY = "#C4C4C4"


def draw(medians, shares=None, across=None, up=None, **names):
    """The picture of medians, all seeds having the result, its axes numbered from 0."""
    medians = np.array(medians, dtype=float)
    shares = np.where(np.isnan(medians), NAN, 1.0) if shares is None else np.array(shares, dtype=float)
    rows, columns = medians.shape
    across = PhaseAxis("across", across or [f"{column}" for column in range(columns)])
    up = PhaseAxis("up", up or [f"{row}" for row in range(rows)])
    return phase_diagram(medians, shares, across, up, **{"quantity": "step"} | names)


def colours(figure):
    figure.canvas.draw()
    mesh = figure.axes[0].collections[0]
    rows, columns, _ = mesh.get_coordinates().shape
    return mesh.get_facecolors().reshape(rows - 1, columns - 1, 4)


def names(figure):
    return {tuple(text.get_position()): text.get_text() for text in figure.axes[0].texts}


def shown(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def kinds(figure):
    legend = figure.axes[1].get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def bar_ticks(figure):
    axis = figure.axes[1].xaxis
    low, high = axis.get_view_interval()
    ticks = [tick for tick in axis.get_major_locator()() if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return axis.get_major_formatter().format_ticks(ticks)


# --- colours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("medians", "places"),
    [
        ([[100, 1000, 10_000]], [0, 0.5, 1]),  # a factor of 100: logarithmic
        ([[100, 550, 1000]], [0, 0.5, 1]),  # of just 10: linear
        ([[0, 500, 1000]], [0, 0.5, 1]),  # 0 has no logarithm
        ([[-1, 9, 19]], [0, 0.5, 1]),
        ([[400, 400, 400]], [0.5, 0.5, 0.5]),
        ([[0, 0, 0]], [0.5, 0.5, 0.5]),
    ],
)
def test_the_colour_is_the_median_logarithmic_over_a_wide_positive_range(medians, places):
    assert np.allclose(colours(draw(medians)), [colormaps["viridis"](places)], atol=0.01)


def test_never_is_grey_and_not_run_is_hatched_and_neither_stretches_the_colours():
    figure = draw([[INF, 1.0], [NAN, 2.0]])
    low, high = colormaps["viridis"]([0.0, 1.0])
    expected = [[to_rgba(GREY), low], [(0, 0, 0, 0), high]]
    assert np.allclose(colours(figure), expected)
    (behind,) = figure.axes[0].patches
    assert behind.get_hatch()
    assert behind.get_zorder() < figure.axes[0].collections[0].get_zorder()
    assert (behind.get_xy(), behind.get_width(), behind.get_height()) == ((0, 0), 2, 2)


def test_the_first_row_is_at_the_bottom_and_the_first_column_at_the_left():
    figure = draw([[1, 2, 3], [4, 5, 6]], across=["a", "b", "c"], up=["low", "high"])
    axes = figure.axes[0]
    assert names(figure)[0.5, 0.5] == "1"
    assert names(figure)[2.5, 1.5] == "6"
    pixels = axes.transData.transform([(0.5, 0.5), (2.5, 1.5)])
    assert (pixels[1] > pixels[0]).all()
    mesh = axes.collections[0].get_coordinates()
    assert (mesh[0, 0].tolist(), mesh[-1, -1].tolist()) == ([0, 0], [3, 2])
    assert (axes.get_xticks().tolist(), shown(axes.xaxis)) == ([0.5, 1.5, 2.5], ["a", "b", "c"])
    assert (axes.get_yticks().tolist(), shown(axes.yaxis)) == ([0.5, 1.5], ["low", "high"])


# --- names of the cells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("median", "share", "name"),
    [
        (1250, 1, "1,250"),
        (1250, 0.8, "1,250\n80%"),
        (12_345.6, 1, "12,346"),
        (999.96, 1, "1,000"),
        (137.5, 1, "138"),
        (0.993, 1, "0.993"),
        (0.92, 2 / 3, "0.920\n67%"),
        (0, 1, "0"),
        (25, 1, "25"),
        (-2.5, 1, "-2.50"),
        (1_250_000, 1, "1.25e+06"),
        (INF, 0.4, "never\n40%"),
        (INF, 0, "never\n0%"),
        (INF, 1, "never\n100%"),
        (INF, NAN, "never"),
        (NAN, NAN, ""),
        (NAN, 0.5, ""),
    ],
)
def test_a_cell_names_its_median_and_the_share_that_has_it(median, share, name):
    assert names(draw([[median]], [[share]])) == {(0.5, 0.5): name}


def contrast(one, other):
    def luminance(colour):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgba(colour)[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_names_are_readable_on_every_colour():
    figure = draw([[*range(19), INF]] * 2)
    texts = figure.axes[0].texts
    assert len(texts) == 40
    for text, cell in zip(texts, colours(figure).reshape(-1, 4), strict=True):
        assert contrast(text.get_color(), cell) >= 4.5


@pytest.mark.parametrize("shape", [(1, 1), (5, 6), (12, 20), (20, 20), (20, 1)])
def test_names_stay_inside_their_cells(shape):
    medians = np.full(shape, 12_500.0)
    figure = draw(medians, medians / 20_000)
    axes = figure.axes[0]
    width, height = axes.get_window_extent().size / shape[::-1]
    assert len(axes.texts) == medians.size
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width <= width
        assert box.height <= height
        assert text.get_fontsize() >= 5


@pytest.mark.parametrize("shape", [(21, 2), (2, 21)])
def test_cells_of_a_large_grid_have_no_names(shape):
    assert names(draw(np.ones(shape))) == {}


# --- axes and key --------------------------------------------------------------------------------------------------


def test_axes_title_and_colour_bar_are_named():
    axes, bar = draw([[1, 2]], quantity="step of grokking", title="A title").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("across", "up")
    assert axes.get_title(loc="left") == "A title"
    assert bar.get_title(loc="left") == "step of grokking"


@pytest.mark.parametrize(
    ("medians", "ticks"),
    [
        ([[200, 9000]], ["300", "1,000", "3,000"]),
        ([[10, 9000]], ["10", "100", "1,000"]),
        ([[0.9, 1.0]], ["0.9", "0.95", "1"]),
        ([[1000, 4000]], ["1,000", "2,000", "3,000", "4,000"]),
        ([[0.9991, 0.9995]], ["0.9992", "0.9994"]),
        ([[1, 1e12]], ["1", "1,000", "1e+06", "1e+09", "1e+12"]),
        ([[400, 400]], ["400"]),
        ([[INF, NAN]], []),
    ],
)
def test_the_colour_bar_tells_the_scale(medians, ticks):
    assert bar_ticks(draw(medians)) == ticks


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ([[1, 2]], []),
        ([[1, INF]], ["never"]),
        ([[1, NAN]], ["not run"]),
        ([[NAN, INF]], ["never", "not run"]),
    ],
)
def test_the_key_has_what_occurs(medians, expected):
    assert kinds(draw(medians)) == expected


def test_wide_values_slant_and_short_ones_do_not():
    short, wide = (draw([[1, 2]], across=["0.1", value]).axes[0] for value in ("0.2", "AdditiveNetwork(width: 128)"))
    assert {label.get_rotation() for label in short.get_xticklabels()} == {0}
    assert {label.get_rotation() for label in wide.get_xticklabels()} == {45}


@pytest.mark.parametrize("count", [25, 100])
def test_values_along_a_dense_axis_do_not_touch(count):
    axes = draw(np.ones((count, count))).axes[0]
    for axis, side in ((axes.xaxis, 0), (axes.yaxis, 1)):
        labels = axis.get_ticklabels()
        places = axes.transData.transform([label.get_position() for label in labels])[:, side]
        sizes = [label.get_window_extent().size[side] for label in labels]
        assert (np.diff(places) > max(sizes)).all()
        assert labels[0].get_text() == "0"
        assert len(labels) >= 20


def test_a_long_name_lies_down_beside_a_low_grid():
    low, high = (
        phase_diagram(ones, ones, PhaseAxis("x", "a"), PhaseAxis("model.optimizer.weight_decay", labels), "step")
        for ones, labels in ((np.ones((1, 1)), "a"), (np.ones((4, 1)), "abcd"))
    )
    assert low.axes[0].yaxis.label.get_rotation() == 0
    assert high.axes[0].yaxis.label.get_rotation() == 90


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 6), (30, 40)])
@pytest.mark.parametrize("label", ["1", "a rather long value of a key"])
def test_everything_drawn_is_in_the_picture_and_the_key_beneath_the_grid(shape, label):
    medians = np.ones(shape)
    medians[0, 0] = NAN
    figure = draw(medians, across=[label] * shape[1], up=[label] * shape[0], title="A title longer than one cell")
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert drawn.min == pytest.approx([0.12, 0.12], abs=0.05)
    assert [width, height] - drawn.max == pytest.approx([0.12, 0.12], abs=0.05)
    grid, key = (axes.get_tightbbox() for axes in figure.axes)
    assert key.y1 < grid.y0


@pytest.mark.parametrize(("shape", "size"), [((1, 1), (100, 60)), ((5, 6), (600, 300)), ((27, 32), (800, 540))])
def test_cells_have_one_size_until_the_grid_is_full(shape, size):
    assert draw(np.ones(shape)).axes[0].get_window_extent().size == pytest.approx(size)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (25, 25)])
def test_a_grid_without_any_median_is_drawn_without_a_warning(value, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(np.full(shape, value))
        figure.canvas.draw()
    expected = (0, 0, 0, 0) if math.isnan(value) else to_rgba(GREY)
    assert np.allclose(colours(figure), expected)


def test_signs_of_mathematics_in_values_are_shown_as_they_are():
    figure = draw([[1, 2]], across=["$x", "y$ {"], up=["\\frac$"])
    figure.canvas.draw()
    assert not any(label.get_parse_math() for label in figure.axes[0].get_xticklabels())


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("medians", "shares", "rows", "columns"),
    [((2, 3), (2, 3), 3, 2), ((2, 3), (3, 2), 2, 3), ((6,), (6,), 2, 3), ((0, 3), (0, 3), 0, 3)],
)
def test_arrays_that_do_not_fit_the_axes_are_refused(medians, shares, rows, columns):
    across, up = PhaseAxis("x", "a" * columns), PhaseAxis("y", "b" * rows)
    with pytest.raises(ValueError, match="expected one shape") as error:
        phase_diagram(np.ones(medians), np.ones(shares), across, up, "step")
    assert f"medians {medians}, shares {shares}, labels {rows, columns}" in str(error.value)
