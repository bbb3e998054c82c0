import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb

from grok_lightning.figures import (
    ANSWERS,
    PALETTE,
    Curve,
    accuracy_curves,
    embedding_plane,
    error_grid,
    fourier_spectrum,
    median_curve,
)
from grok_lightning.spectra import fourier_power, principal_components

NAN = math.nan


def gaussian(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circle(residues, frequency):
    angles = 2 * math.pi * frequency * torch.arange(residues, dtype=torch.float64) / residues
    return torch.stack([angles.cos(), angles.sin()], 1)


# --- accuracy curves -----------------------------------------------------------------------------------------------


def test_median_holds_the_last_value_of_grokked_runs_only():
    early = Curve([0, 10], [NAN, 1.0], [0.0, 1.0], grokked_at=10)
    broken = Curve([0, 10], [NAN, 0.6], [0.1, 0.2])
    long = Curve([0, 10, 20, 30], [NAN, 0.5, 0.7, 0.9], [0.2, 0.4, 0.6, 0.8])
    steps, train, validation = median_curve([early, broken, long])
    assert steps.tolist() == [0, 10, 20, 30]
    assert train.tolist()[1:] == pytest.approx([0.6, 0.85, 0.95])
    assert math.isnan(train[0])
    assert validation.tolist() == pytest.approx([0.1, 0.4, 0.8, 0.9])


def test_median_interpolates_between_evaluations():
    sparse = Curve([0, 20], [NAN, NAN], [0.0, 0.4])
    dense = Curve([0, 5, 20], [NAN, NAN, NAN], [0.0, 0.3, 0.4])
    steps, train, validation = median_curve([sparse, dense])
    assert steps.tolist() == [0, 5, 20]
    assert np.isnan(train).all()
    assert validation.tolist() == pytest.approx([0.0, 0.2, 0.4])


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


@pytest.mark.parametrize("columns", [([], [], []), ([0, 1], [0], [0, 1]), ([0, 0], [0, 0], [0, 0])])
def test_malformed_curves_are_refused(columns):
    with pytest.raises(ValueError, match=r"curve with|steps must rise"):
        Curve(*columns)


# --- error grid ----------------------------------------------------------------------------------------------------


def test_error_grid_colours_every_answer():
    correct = torch.tensor([[1, 0, -1], [1, 0, 1], [0, 1, -1]], dtype=torch.int8)
    part = torch.tensor([[0, 0, 0], [1, 1, 2], [2, 0, 1]])
    figure = error_grid(correct, ["x", "y", "z"], "∘", part)
    (axes,) = figure.axes
    held, trained = ANSWERS["held out, right"], ANSWERS["trained, right"]
    expected = [
        [trained, ANSWERS["trained, wrong"], "white"],
        [held, ANSWERS["held out, wrong"], held],
        [ANSWERS["held out, wrong"], trained, "white"],
    ]
    colours = [[to_rgb(colour) for colour in row] for row in expected]
    assert np.allclose(axes.images[0].get_array() / 255, colours, atol=1 / 255)
    counts = [text.get_text().splitlines()[-1] for text in axes.get_legend().get_texts()]
    assert counts == ["2", "1", "2", "2"]
    assert axes.get_title(loc="left") == "a ∘ b:  50.0% of the held-out answers right"
    assert axes.yaxis.get_major_formatter()(2) == "z"
    assert axes.yaxis.get_major_formatter()(-1) == axes.yaxis.get_major_formatter()(3) == ""


@pytest.mark.parametrize("count", [1, 7, 97, 211, 400])
def test_cells_of_an_error_grid_are_whole_pixels(count):
    zeros = torch.zeros(count, count)
    figure = error_grid(zeros, [""] * count, "+", zeros)
    box = figure.axes[0].get_window_extent()
    assert box.width == pytest.approx(box.height)
    assert box.width / count == pytest.approx(round(box.width / count))
    assert box.width >= 380


def test_error_grid_without_held_out_equations_has_no_share_to_divide():
    figure = error_grid(torch.ones(2, 2), ["0", "1"], "+", torch.zeros(2, 2))
    assert "0.0%" in figure.axes[0].get_title(loc="left")


def test_error_grid_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"part \(2, 3\): expected \(2, 2\)"):
        error_grid(torch.ones(2, 2), ["0", "1"], "+", torch.zeros(2, 3))


# --- embedding plane and spectrum ----------------------------------------------------------------------------------


def test_plane_puts_every_token_at_its_components():
    vectors = torch.cat([circle(5, 1) * torch.tensor([3.0, 1.0]), torch.zeros(1, 2)])
    (axes,) = embedding_plane(vectors, ["a", "b", "c", "d", "e", "="], residues=[4, 3, 2, 1, 0]).axes
    dots, labels = (child for child in axes.collections if isinstance(child, PathCollection))
    coordinates, shares = principal_components(vectors, 2)
    assert np.allclose(dots.get_offsets(), coordinates)
    assert np.allclose(labels.get_offsets(), coordinates)
    assert [len(path.vertices) > 0 for path in labels.get_paths()] == [True] * 6
    assert axes.get_xlabel() == f"component 1   {shares[0]:.1%} of the variance"
    assert axes.get_ylabel() == f"component 2   {shares[1]:.1%} of the variance"


def test_plane_colours_residues_in_their_order_and_the_other_tokens_alike():
    residues = [3, 1, 2]
    (axes,) = embedding_plane(gaussian(5, 3), list("vwxyz"), residues).axes
    colours = axes.collections[0].get_facecolors()
    assert np.allclose(colours[3][:3], to_rgb(PALETTE[0]))
    assert len({tuple(colour) for colour in colours[residues]}) == 3
    assert (colours[0] == colours[4]).all()


def test_plane_of_equal_vectors_is_drawn():
    embedding_plane(torch.ones(4, 3), ["", " ", "$", "12"]).canvas.draw()


def test_plane_refuses_names_that_are_too_few():
    with pytest.raises(ValueError, match="2 names for 3 vectors"):
        embedding_plane(torch.ones(3, 3), ["0", "1"])


def test_spectrum_names_the_peaks():
    vectors = torch.cat([3 * circle(31, 4), 2 * circle(31, 9), 0.1 * gaussian(31, 2)], 1)
    (axes,) = fourier_spectrum(vectors.requires_grad_()).axes
    (bars,) = (child for child in axes.collections if isinstance(child, LineCollection))
    heights = [segment[1][1] for segment in bars.get_segments()]
    assert heights == pytest.approx(fourier_power(vectors)[1:].tolist())
    assert [segment[0][0] for segment in bars.get_segments()] == list(range(1, 16))
    assert [text.get_text() for text in axes.texts] == ["4", "9"]


def test_spectrum_refuses_a_single_residue():
    with pytest.raises(ValueError, match="1 rows"):
        fourier_spectrum(torch.ones(1, 3))


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    figures = [
        accuracy_curves({"run": [Curve([0, 1], [0, 1], [0, 1], 1)]}),
        error_grid(torch.ones(2, 2), ["0", "1"], "+", torch.zeros(2, 2)),
        embedding_plane(torch.eye(3), ["0", "1", "2"]),
        fourier_spectrum(torch.eye(5)),
    ]
    for figure in figures:
        figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before
