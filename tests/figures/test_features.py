import math
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from grok_lightning.figures import PALETTE, feature_matrices, progress_curves

NAN, INF = math.nan, math.inf


def names(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def panels(figure):
    return [axes.get_ylabel() for axes in figure.axes]


# --- progress ------------------------------------------------------------------------------------------------------


def test_each_metric_is_a_line_in_the_panel_of_its_kind():
    series = {
        "features/deviation_diagonal": ([0, 10], [1.0, 0.25]),
        "val/loss": ([0, 10], [4.0, 0.5]),
        "train/accuracy": ([10], [1.0]),
        "val/accuracy": ([0, 5, 10], [0.0, 0.5, 1.0]),
        "val/margin": ([0], [7.0]),
        "features/agop_correlation": ([0, 10], [0.5, 0.75]),
    }
    figure = progress_curves(series, "A title")
    accuracy, loss, features = figure.axes
    assert panels(figure) == ["Accuracy", "Loss", "Features"]
    assert [names(axes) for axes in figure.axes] == [
        ["train", "validation"],
        ["validation"],
        ["deviation diagonal", "AGOP correlation"],
    ]
    assert [line.get_xydata().tolist() for line in accuracy.lines] == [[[10, 1]], [[0, 0], [5, 0.5], [10, 1]]]
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[0, 4], [10, 0.5]]]
    assert [line.get_xydata().tolist() for line in features.lines] == [[[0, 1], [10, 0.25]], [[0, 0.5], [10, 0.75]]]
    assert accuracy.get_title(loc="left") == "A title"


def test_panels_share_the_steps_and_only_the_last_names_them():
    figure = progress_curves({"val/accuracy": ([0, 8], [0, 1]), "val/loss": ([4, 10], [2, 1])})
    figure.canvas.draw()
    first, last = figure.axes
    assert first.get_xlim() == last.get_xlim()
    assert (first.get_xlabel(), last.get_xlabel()) == ("", "Optimiser step")
    assert [any(label.get_visible() for label in axes.get_xticklabels()) for axes in (first, last)] == [False, True]


def test_a_part_has_one_colour_in_all_panels_and_what_else_there_is_of_it_is_dashed():
    metrics = ("val/correct_class_loss", "val/loss", "loss", "val/accuracy_add", "val/accuracy", "test/accuracy")
    accuracy, loss = progress_curves({name: ([1], [0.5]) for name in metrics}).axes
    assert names(loss) == ["validation, correct class", "validation", "loss"]
    assert names(accuracy) == ["validation, add", "validation", "test"]
    for axes, whole in ((loss, {1: PALETTE[0]}), (accuracy, {1: PALETTE[0], 2: PALETTE[2]})):
        found = {place: line.get_color() for place, line in enumerate(axes.lines) if line.get_linestyle() == "-"}
        assert found == whole
        assert len({line.get_color() for line in axes.lines}) == 3


def test_panels_without_lines_are_left_out():
    assert panels(progress_curves({"features/alignment": ([0], [0.5]), "val/loss": ([], [])})) == ["Features"]


@pytest.mark.parametrize("series", [{}, {"lr": ([0], [1.0])}, {"val/loss": ([], [])}])
def test_series_without_anything_to_draw_are_refused(series):
    with pytest.raises(ValueError, match="expected an accuracy, a loss or features"):
        progress_curves(series)


@pytest.mark.parametrize(
    ("steps", "scale", "named"),
    [
        ([0, 1, 50], "linear", ["0", "10", "20", "30", "40", "50"]),
        ([0, 1, 51], "symlog", ["0", "1", "10"]),
        ([0, 25, 10_000], "symlog", ["0", "100", "1,000", "10,000"]),
        ([1000, 20_000], "linear", ["5,000", "10,000", "15,000", "20,000"]),
        ([0], "linear", ["0"]),
    ],
)
def test_steps_are_logarithmic_over_a_wide_range(steps, scale, named):
    figure = progress_curves({"val/accuracy": (steps, [0.5] * len(steps))})
    figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert axes.get_xscale() == scale
    assert axes.xaxis.get_major_formatter().format_ticks(ticks) == named


def test_losses_of_rounding_errors_are_gaps_and_the_legend_tells():
    series = {
        "train/loss": ([1, 2], [1e-31, 0.0]),
        "test/loss": ([1, 2, 3], [1e-5, 1e-20, NAN]),
        "val/loss": ([0, 1, 2], [2.0, NAN, 1e-11]),
    }
    (axes,) = progress_curves(series).axes
    assert axes.get_yscale() == "log"
    assert names(axes) == ["train ≈ 0", "test\nin part ≈ 0", "validation"]
    for line, values in zip(axes.lines, ([NAN, NAN], [1e-5, NAN, NAN], [2, NAN, 1e-11]), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert axes.get_ylim()[0] > 1e-12


@pytest.mark.parametrize("values", [[1.0, -1.0], [0.0, 0.0], [NAN, NAN]])
def test_losses_without_logarithm_are_linear_and_all_drawn(values):
    (axes,) = progress_curves({"val/loss": ([0, 1], values)}).axes
    assert axes.get_yscale() == "linear"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), values)
    assert names(axes) == ["validation"]


@pytest.mark.parametrize("name", ["val/accuracy", "val/loss", "features/alignment"])
def test_what_is_not_finite_is_a_gap_and_a_value_beside_gaps_is_seen(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = progress_curves({name: (range(5), [0.5, NAN, 0.5, INF, -INF])})
        figure.canvas.draw()
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [0.5, NAN, 0.5, NAN, NAN])
    assert line.get_marker() == "o"


@pytest.mark.parametrize(("values", "limits"), [([0.0, 1.0], (-0.02, 1.04)), ([-0.1, 0.5], (-1.04, 1.04))])
def test_features_go_from_0_or_minus_1_to_1(values, limits):
    (axes,) = progress_curves({"features/alignment": ([0, 1], values)}).axes
    assert axes.get_ylim() == pytest.approx(limits)


# --- matrices ------------------------------------------------------------------------------------------------------


def gaussian(count, seed=0):
    return torch.randn(count, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(figure):
    """The entries of the images, by row and column of the picture, the rows as in `orders`."""
    return [axes.images[0] for axes in figure.axes]


def cells(figure, image):
    """What an image looks like: the colours of its pixels (rows, columns, 3)."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    frame = image.axes.get_window_extent()
    left, right, low, high = (round(side) for side in (frame.x0, frame.x1, frame.y0, frame.y1))
    return pixels[len(pixels) - high : len(pixels) - low, left:right]


def test_matrices_are_columns_by_step_and_orders_are_rows():
    matrices = {30: gaussian(4, 1), 0: gaussian(4, 2).float().requires_grad_()}
    order = torch.tensor([3, 1, 0])
    figure = feature_matrices(matrices, {"by number": None, "by logarithm": order}, "A title")
    expected = []
    for index in (torch.arange(4), order):
        for step in (0, 30):
            entries = matrices[step].detach()[index][:, index].clone()
            expected.append(entries.fill_diagonal_(0))
    for image, entries in zip(images(figure), expected, strict=True):
        np.testing.assert_allclose(image.get_array(), entries)
    assert [axes.get_title() for axes in figure.axes] == ["step 0", "step 30", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["by number", "", "by logarithm", ""]
    corners = np.array([axes.get_window_extent().min for axes in figure.axes])
    assert corners[0, 0] == corners[2, 0] < corners[1, 0]
    assert corners[0, 1] == corners[1, 1] > corners[2, 1]
    assert figure.texts[0].get_text() == "A title"
    assert not any(len(axes.get_xticks()) or len(axes.get_yticks()) for axes in figure.axes)


def test_the_matrix_given_is_left_alone():
    matrix = torch.ones(3, 3, dtype=torch.float64)
    feature_matrices({0: matrix}, {"": None})
    assert (matrix == 1).all()


@pytest.mark.parametrize(
    ("count", "kept"),
    [(1, [0]), (6, [0, 1, 2, 3, 4, 5]), (11, [0, 2, 4, 6, 8, 10]), (31, [0, 6, 12, 18, 24, 30])],
)
def test_at_most_six_steps_are_kept_the_first_and_the_last_among_them(count, kept):
    figure = feature_matrices({step: torch.eye(2) for step in range(count)}, {"": None})
    assert [axes.get_title() for axes in figure.axes] == [f"step {step}" for step in kept]


def test_each_image_is_scaled_by_its_largest_entries_without_the_diagonal():
    matrices = {step: gaussian(50, step) * 10.0**step + 1e9 * torch.eye(50) for step in range(3)}
    figure = feature_matrices(matrices, {"": None})
    for image, matrix in zip(images(figure), matrices.values(), strict=True):
        limit = np.quantile(matrix.clone().fill_diagonal_(0).abs(), 0.995)
        assert (image.norm.vmin, image.norm.vmax) == pytest.approx((-limit, limit))
        assert image.axes.get_xlabel() == f"±{limit:.2g}"


def test_a_lone_entry_is_seen():
    matrix = torch.zeros(40, 40)
    matrix[3, 5] = -2
    (image,) = images(feature_matrices({0: matrix}, {"": None}))
    assert (image.norm.vmin, image.norm.vmax) == (-2, 2)


@pytest.mark.parametrize("matrix", [torch.zeros(5, 5), 3 * torch.eye(5), torch.eye(1), torch.full((5, 5), NAN)])
def test_nothing_off_the_diagonal_is_white(matrix):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = feature_matrices({0: matrix}, {"": None})
        assert (cells(figure, figure.axes[0].images[0]) == 255).all()
    assert figure.axes[0].get_xlabel() == "±0"


def test_signs_have_colours_of_the_palette():
    (image,) = images(feature_matrices({0: torch.eye(2)}, {"": None}))
    negative, zero, positive = image.cmap([0.25, 0.5, 0.75])[:, :3]
    assert np.allclose(negative, to_rgb(PALETTE[0]), atol=0.02)
    assert np.allclose(zero, 1)
    assert np.allclose(positive, to_rgb(PALETTE[1]), atol=0.02)


@pytest.mark.parametrize("count", [61, 122, 226])
def test_a_cell_is_drawn_as_whole_pixels(count):
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    figure = feature_matrices({0: gaussian(count), 9: gaussian(count)}, {"a": None, "b": order[1:]}, "A title")
    for image in images(figure):
        pixels, side = cells(figure, image), len(image.get_array())
        height, width = (length // side for length in pixels.shape[:2])
        colours = (255 * image.cmap(image.norm(image.get_array()))[..., :3]).round()
        expected = np.repeat(np.repeat(colours, height, 0), width, 1)
        assert pixels.shape == expected.shape
        assert np.abs(pixels - expected).max() <= 1
        assert height == width >= 1


def test_a_large_matrix_is_drawn_smaller():
    figure = feature_matrices({0: torch.eye(700)}, {"": None})
    assert figure.axes[0].get_window_extent().size == pytest.approx((300, 300))


def test_everything_drawn_is_in_the_picture():
    figure = feature_matrices({0: gaussian(9)}, {"by discrete logarithm": None, "by number": None}, "A title")
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    assert (drawn.min >= 0).all()
    assert (drawn.max <= figure.get_size_inches()).all()


@pytest.mark.parametrize(
    ("matrices", "orders", "message"),
    [
        ({}, {"a": None}, "0 matrices, 1 orders"),
        ({0: torch.eye(2)}, {}, "1 matrices, 0 orders"),
        ({0: torch.eye(2), 1: torch.eye(3)}, {"a": None}, r"matrices \[\(2, 2\), \(3, 3\)\]: expected one shape"),
        ({0: torch.ones(2, 3)}, {"a": None}, r"matrices \[\(2, 3\)\]: expected one shape"),
        ({0: torch.eye(2)}, {"a": torch.tensor([0, 2])}, "order 'a': expected some of the 2 inputs"),
        ({0: torch.eye(2)}, {"a": torch.tensor([1, 1])}, "order 'a': expected some of the 2 inputs"),
        ({0: torch.eye(2)}, {"a": torch.tensor([])}, "order 'a': expected some of the 2 inputs"),
    ],
)
def test_matrices_and_orders_that_do_not_fit_are_refused(matrices, orders, message):
    with pytest.raises(ValueError, match=message):
        feature_matrices(matrices, orders)


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    feature_matrices({0: torch.eye(2)}, {"": None}).canvas.draw()
    progress_curves({"val/loss": ([0], [1])}).canvas.draw()
    assert dict(matplotlib.rcParams) == before
