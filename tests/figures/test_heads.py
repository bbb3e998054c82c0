import itertools
import math
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from grok_lightning.figures import PALETTE, attention_map, head_plane, pruning_chart, similarity_map
from grok_lightning.figures.embedding import CYCLE

NAN = math.nan
LONG = "A title that is much longer than a picture of a single panel is wide, and by far"


def causal(heads, length):
    """Attention of a causal network."""
    scores = torch.randn(heads, length, length, generator=torch.Generator().manual_seed(0))
    return scores.masked_fill(torch.ones(length, length).triu(1) > 0, -math.inf).softmax(-1)


def shown(axis):
    return [label.get_text() for label in axis.get_ticklabels() if label.get_visible()]


def inside(figure):
    """Whether all that is drawn lies in the picture."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    return (drawn.min >= 0).all() and (drawn.max <= figure.get_size_inches()).all()


def bar(axes):
    """The axes of the colour bar that lies inside the frame of other axes."""
    (found,) = axes.child_axes
    return found


def drawn(figure, axes):
    """What an image looks like: the colours of its pixels (rows, columns, 3) from the top."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    frame = axes.get_window_extent()
    left, right, low, high = (round(side) for side in (frame.x0, frame.x1, frame.y0, frame.y1))
    return pixels[len(pixels) - high : len(pixels) - low, left:right]


# --- attention -----------------------------------------------------------------------------------------------------


def test_each_head_is_a_panel_of_its_weights():
    weights = causal(3, 5)
    figure = attention_map(weights, list("xyzxy"), "A title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["head 0", "head 1", "head 2"]
    for axes, expected in zip(figure.axes, weights, strict=True):
        (image,) = axes.images
        entries = image.get_array()
        future = np.triu(np.ones((5, 5)), 1) > 0
        np.testing.assert_array_equal(np.ma.getmaskarray(entries), future)
        np.testing.assert_allclose(entries[~future], expected.numpy()[~future])
        assert (image.norm.vmin, image.norm.vmax, image.cmap.name) == (0, 1, "viridis")
    assert figure.texts[0].get_text() == "A title"
    corners = np.array([axes.get_window_extent().min for axes in figure.axes])
    assert corners[0, 0] == corners[2, 0] < corners[1, 0]
    assert corners[0, 1] == corners[1, 1] > corners[2, 1]


def test_the_position_that_looks_goes_down_and_the_one_looked_at_to_the_right_and_the_future_is_white():
    weights = np.zeros((1, 4, 4))
    weights[0, 3, 0] = 1
    figure = attention_map(weights, "abcd")
    pixels = drawn(figure, figure.axes[0])
    none, all_of_it = (colormaps["viridis"](weight, bytes=True)[:3] for weight in (0.0, 1.0))
    np.testing.assert_array_equal(pixels[-20, 20], all_of_it)
    np.testing.assert_array_equal(pixels[20, 20], none)
    np.testing.assert_array_equal(pixels[20, -20], (255, 255, 255))


def test_weights_above_the_diagonal_are_drawn_where_there_are_any():
    weights = np.zeros((2, 3, 3))
    weights[1, 0, 2] = 0.25
    for axes, weight in zip(attention_map(weights, "abc").axes, (0, 0.25), strict=True):
        entries = axes.images[0].get_array()
        assert entries[0, 2] == weight
        np.testing.assert_array_equal(np.argwhere(np.ma.getmaskarray(entries)), [[0, 1], [1, 2]])


def test_the_weights_given_are_left_alone():
    weights = np.tril(np.ones((1, 3, 3)))
    attention_map(weights, "abc")
    assert np.isfinite(weights).all()


def test_tokens_name_the_positions_of_the_outer_panels():
    tokens = [f"{letter}{place}" for place in range(4) for letter in "x$z"]
    figure = attention_map(causal(3, 12), tokens)
    assert inside(figure)
    for place, axes in enumerate(figure.axes):
        assert shown(axes.xaxis) == (tokens if place else [])
        assert shown(axes.yaxis) == ([] if place == 1 else tokens)
        assert axes.get_xlabel() == ("looked at (key)" if place else "")
        assert axes.get_ylabel() == ("" if place == 1 else "looks (query)")
    assert not any(label.get_parse_math() for label in figure.axes[0].get_yticklabels())


@pytest.mark.parametrize(("length", "name"), [(24, "28"), (36, "x12"), (5, "a rather long name")])
def test_names_of_tokens_do_not_touch_each_other(length, name):
    figure = attention_map(causal(1, length), [name] * length, LONG)
    assert inside(figure)
    across, up = (
        [label.get_window_extent() for label in axis.get_ticklabels()]
        for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis)
    )
    assert all(left.x1 <= right.x0 + 1 for left, right in itertools.pairwise(across))
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in itertools.pairwise(up))


def test_positions_are_numbered_where_names_do_not_fit():
    figure = attention_map(causal(1, 96), ["28"] * 96)
    figure.canvas.draw()
    assert {"0", "20", "80"} <= set(shown(figure.axes[0].xaxis))
    assert "28" not in shown(figure.axes[0].xaxis)


@pytest.mark.parametrize("length", [5, 24, 96, 400])
def test_a_weight_is_drawn_as_whole_pixels(length):
    figure = attention_map(causal(1, length), ["1"] * length)
    (axes,) = figure.axes
    pixels = drawn(figure, axes)
    image, side = axes.images[0], len(pixels) // length
    expected = np.repeat(np.repeat(image.cmap(image.norm(image.get_array()), bytes=True), side, 0), side, 1)
    seen = expected[..., 3] > 0
    assert pixels.shape[:2] == seen.shape
    np.testing.assert_array_equal(pixels[seen], expected[seen][:, :3])
    assert (pixels[~seen] == 255).all()


def test_a_colour_bar_goes_from_0_to_1():
    figure = attention_map(causal(4, 6), "abcdef")
    assert bar(figure.axes[1]).get_ylim() == (0, 1)
    assert bar(figure.axes[1]).get_title(loc="left") == "weight"


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [((2, 3, 3), "ab"), ((3, 3), "abc"), ((2, 3, 2), "abc"), ((0, 3, 3), "abc"), ((), ""), ((1, 0, 0), "")],
)
def test_weights_that_do_not_fit_the_tokens_are_refused(shape, tokens):
    with pytest.raises(ValueError, match=rf"expected \(heads, length, length\) for {len(tokens)} tokens"):
        attention_map(np.ones(shape), tokens)


# --- outputs -------------------------------------------------------------------------------------------------------


def planes(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left")]


def scattered(axes):
    """The points with a colour, and the crosses."""
    dots, crosses = axes.collections[:2]
    return dots, crosses


def test_each_labelling_is_a_panel_of_all_points():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, -5.0]])
    figure = head_plane(points, {"log x": torch.tensor([1, -1, 0]), "x": np.array([2, 0, 1])}, "A title", (0.5, 0.25))
    first, second = planes(figure)
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["log x", "x"]
    dots, crosses = scattered(first)
    np.testing.assert_array_equal(dots.get_offsets(), [[0, 1], [4, -5]])
    np.testing.assert_array_equal(crosses.get_offsets(), [[2, 3]])
    dots, crosses = scattered(second)
    np.testing.assert_array_equal(dots.get_offsets(), points)
    assert len(crosses.get_offsets()) == 0
    assert figure.get_suptitle() == "A title"


def test_colours_go_once_around_the_residues():
    labels = np.array([4, 0, 2, 1, 3, 0])
    (axes, scale) = head_plane(np.random.default_rng(0).normal(size=(6, 2)), {"x": labels}).axes
    np.testing.assert_allclose(scattered(axes)[0].get_facecolors(), CYCLE(labels / 5))
    assert np.allclose(CYCLE(0.0), CYCLE(1.0))
    assert scale.get_ylim() == (-0.5, 4.5)


def test_what_has_no_logarithm_is_a_grey_cross_and_the_legend_tells():
    figure = head_plane(np.eye(2), {"log x": np.array([-1, 0])})
    crosses = scattered(figure.axes[0])[1]
    red, green, blue = crosses.get_edgecolors()[0][:3]
    assert red == green == blue
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0 has no logarithm"]
    assert not head_plane(np.eye(2), {"x": np.array([1, 0])}).legends


def test_axes_name_the_components_and_their_shares_at_the_edges():
    labels = {name: np.array([0, 1]) for name in ("log x", "log y", "x", "y")}
    figure = head_plane(np.eye(2), labels, shares=(0.431, 0.4))
    assert inside(figure)
    assert [axes.get_xlabel() for axes in planes(figure)] == ["", ""] + ["component 1   43.1% of the variance"] * 2
    assert [axes.get_ylabel() for axes in planes(figure)] == ["component 2   40.0% of the variance", ""] * 2
    axes = head_plane(np.eye(2), {"x": np.array([0, 1])}).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("component 1", "component 2")


@pytest.mark.parametrize("points", [[[0, 0], [10, 1]], [[-1, 50], [1, 40]], [[3, 3], [3, 3]]])
def test_circles_stay_round_and_all_points_are_seen(points):
    figure = head_plane(np.array(points), {"x": np.array([0, 1])})
    figure.canvas.draw()
    axes = figure.axes[0]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert right - left == pytest.approx(high - low)
    frame = axes.get_window_extent()
    assert frame.width == pytest.approx(frame.height, abs=1)
    assert all(left < x < right and low < y < high for x, y in points)


@pytest.mark.parametrize("labels", [[0], [-1]])
def test_a_single_point_is_drawn_without_a_warning(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = head_plane(np.zeros((1, 2)), {"x": np.array(labels)}, LONG)
        assert inside(figure)
    assert len(figure.axes) == 1 + (labels == [0])


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (np.eye(2), {}, r"expected \(rows, 2\)"),
        (np.ones((0, 2)), {"x": np.ones(0)}, r"expected \(rows, 2\)"),
        (np.ones((2, 3)), {"x": np.ones(2)}, r"points \(2, 3\)"),
        (np.ones(2), {"x": np.ones(2)}, r"points \(2,\)"),
        (np.eye(2), {"x": np.ones(2), "y": np.ones(3)}, r"'y': \(3,\)\}: expected \(rows, 2\), and \(rows,\)"),
        (np.eye(2), {"x": np.array([0, 1]), "y": np.array([0, -2])}, r"labels \['y'\]: expected residues"),
        (np.eye(2), {"x": np.array([0.5, 1])}, r"labels \['x'\]: expected residues"),
        (np.eye(2), {"x": np.array([NAN, 1])}, r"labels \['x'\]: expected residues"),
    ],
)
def test_points_and_labels_that_do_not_fit_are_refused(points, labels, message):
    with pytest.raises(ValueError, match=message):
        head_plane(points, labels)


# --- similarities --------------------------------------------------------------------------------------------------


def test_similarities_are_blue_below_0_and_orange_above_from_the_top_down():
    matrix = np.array([[1, -0.5, NAN], [-0.5, 1, 0], [0.5, 0, 1]])
    figure = similarity_map(torch.tensor(matrix), "A title")
    (axes,) = figure.axes
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), np.ma.masked_invalid(matrix))
    assert (image.norm.vmin, image.norm.vmax) == (-1, 1)
    assert axes.get_ylim() == (2.5, -0.5)
    half = {value: image.cmap(image.norm(value))[:3] for value in (-0.5, 0, 0.5)}
    assert np.allclose(
        [half[-0.5], half[0], half[0.5]], [to_rgb(it) for it in (PALETTE[0], "white", PALETTE[1])], atol=0.02
    )
    red, green, blue = drawn(figure, axes)[20, -20].tolist()
    assert red == green == blue < 255
    assert figure.texts[0].get_text() == "A title"
    assert bar(axes).get_ylim() == (-1, 1)
    assert not axes.lines


def test_boundaries_are_lines_between_groups():
    (axes,) = similarity_map(np.eye(5), boundaries=[2, 4]).axes
    assert [line.get_ydata() for line in axes.lines[::2]] == [[1.5, 1.5], [3.5, 3.5]]
    assert [line.get_xdata() for line in axes.lines[1::2]] == [[1.5, 1.5], [3.5, 3.5]]
    assert axes.get_xlim() == (-0.5, 4.5)


@pytest.mark.parametrize("count", [1, 7, 29, 300, 841])
def test_a_similarity_is_drawn_as_whole_pixels(count):
    matrix = np.random.default_rng(0).uniform(-1, 1, (count, count))
    figure = similarity_map(matrix, LONG)
    assert inside(figure)
    (axes,) = figure.axes
    pixels, image = drawn(figure, axes), axes.images[0]
    side = len(pixels) // count
    expected = np.repeat(np.repeat(image.cmap(image.norm(matrix), bytes=True)[..., :3], side, 0), side, 1)
    np.testing.assert_array_equal(pixels, expected)
    assert len(pixels) >= 290


@pytest.mark.parametrize(
    ("shape", "boundaries"),
    [
        ((2, 3), []),
        ((3,), []),
        ((), []),
        ((0, 0), []),
        ((2, 2, 2), []),
        ((3, 3), [0]),
        ((3, 3), [1, 3]),
        ((3, 3), [-1]),
    ],
)
def test_similarities_or_boundaries_that_do_not_fit_are_refused(shape, boundaries):
    with pytest.raises(ValueError, match=r"expected \(n, n\), 0 < boundary < n"):
        similarity_map(np.ones(shape), boundaries=boundaries)


# --- pruning -------------------------------------------------------------------------------------------------------


def cells(figure):
    """The names of the cells and whether they are white, by (head, block)."""
    texts = figure.axes[0].texts
    return {tuple(np.floor(text.get_position()).astype(int)): (text.get_text(), text.get_color()) for text in texts}


def bar_ticks(figure):
    axis = figure.axes[1].yaxis
    return dict(zip(axis.get_majorticklocs().tolist(), shown(axis), strict=True))


def test_each_cell_names_what_is_left_without_its_head_and_is_coloured_by_it():
    accuracy = np.array([[0.971, 0.1], [NAN, 0.5], [1, 0]])
    figure = pruning_chart(accuracy, 0.98, "A title")
    figure.canvas.draw()
    axes = figure.axes[0]
    (mesh,) = axes.collections
    np.testing.assert_array_equal(mesh.get_array().filled(NAN), accuracy)
    assert (mesh.norm.vmin, mesh.norm.vmax, mesh.cmap.name) == (0, 1, "viridis")
    names = {place: name for place, (name, _) in cells(figure).items()}
    assert names == {(0, 0): "97.1%", (1, 0): "10.0%", (0, 1): "", (1, 1): "50.0%", (0, 2): "100.0%", (1, 2): "0.0%"}
    assert (shown(axes.xaxis), shown(axes.yaxis)) == (["0", "1"], ["0", "1", "2"])
    assert (axes.get_xlabel(), axes.get_ylabel(), figure.get_suptitle()) == ("head", "block", "A title")
    assert axes.get_ylim() == (0, 3)


def test_names_are_read_on_every_colour():
    levels = np.linspace(0, 1, 41)
    figure = pruning_chart(levels[None], 1)
    for (head, _), (_, ink) in cells(figure).items():
        colour = np.array(figure.axes[0].collections[0].cmap(levels[head])[:3])
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        luminance = linear @ (0.2126, 0.7152, 0.0722)
        contrast = 1.05 / (luminance + 0.05) if ink == "white" else (luminance + 0.05) / 0.05
        assert contrast > 4.3


@pytest.mark.parametrize(
    ("baseline", "ticks"),
    [
        (0.971, {0: "0%", 0.5: "50%", 0.971: "97.1% all heads"}),
        (0.62, {0: "0%", 0.5: "50%", 0.62: "62.0% all heads", 1: "100%"}),
        (0.45, {0: "0%", 0.45: "45.0% all heads", 1: "100%"}),
        (1.0, {0: "0%", 0.5: "50%", 1: "100.0% all heads"}),
        (0.0, {0: "0.0% all heads", 0.5: "50%", 1: "100%"}),
    ],
)
def test_the_colour_bar_marks_the_accuracy_with_all_heads(baseline, ticks):
    figure = pruning_chart(torch.full((2, 4), 0.5), baseline)
    figure.canvas.draw()
    assert bar_ticks(figure) == pytest.approx(ticks)
    assert figure.axes[1].get_title(loc="left") == "without the head"


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (6, 8)])
def test_the_chart_and_its_title_fit_in_the_picture(shape):
    figure = pruning_chart(np.full(shape, 0.5), 0.97, LONG)
    assert inside(figure)
    frames = [axes.get_tightbbox() for axes in figure.axes]
    (title,) = (text for text in figure.texts if text.get_text())
    assert title.get_window_extent().y0 >= max(frame.y1 for frame in frames) - 1
    widest = max(text.get_window_extent().width for text in figure.axes[0].texts)
    assert widest < 0.9 * figure.axes[0].get_window_extent().width / shape[1]


@pytest.mark.parametrize("shape", [(3,), (), (0, 2), (2, 0), (1, 2, 3)])
def test_accuracies_that_are_no_table_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(blocks, heads\)"):
        pruning_chart(np.ones(shape), 1)


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    attention_map(causal(1, 3), "abc").canvas.draw()
    head_plane(np.eye(2), {"x": np.array([0, -1])}).canvas.draw()
    similarity_map(np.eye(2)).canvas.draw()
    pruning_chart(np.eye(2), 0.5).canvas.draw()
    assert dict(matplotlib.rcParams) == before
