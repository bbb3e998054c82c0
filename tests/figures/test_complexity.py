import math

import numpy as np
import pytest
import torch

from grok_lightning.figures import PALETTE, cosine_curve, singular_value_curves, spectrum_history

NAN = math.nan


def names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def inside(figure):
    """Whether all that is drawn lies in the picture."""
    figure.canvas.draw()
    drawn = figure.get_tightbbox()
    return (drawn.min >= 0).all() and (drawn.max <= figure.get_size_inches()).all()


# --- singular values -----------------------------------------------------------------------------------------------


def test_each_matrix_is_a_line_of_its_values_from_the_first_on():
    figure = singular_value_curves({"query": torch.tensor([2.0, 0.5]), "key": np.array([3.0, 1.0, 0.1])}, "A title")
    (axes,) = figure.axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 2], [2, 0.5]], [[1, 3], [2, 1], [3, 0.1]]]
    assert [line.get_color() for line in axes.lines] == list(PALETTE[:2])
    assert names(figure) == ["query", "key"]
    assert axes.get_yscale() == "log"
    words = (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
    assert words == ("number", "singular value", "A title")


def test_what_is_zero_but_for_rounding_is_left_out():
    (axes,) = singular_value_curves({"a": np.array([10.0, 1e-10, 0.0]), "b": np.array([1e-13, NAN])}).axes
    heights = [line.get_ydata() for line in axes.lines]
    np.testing.assert_array_equal(heights[0], [10, 1e-10, NAN])
    np.testing.assert_array_equal(heights[1], [NAN, NAN])


def test_a_matrix_of_zeros_is_drawn_on_a_linear_axis():
    figure = singular_value_curves({"zeros": torch.zeros(3)})
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0, 0, 0]
    assert inside(figure)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_all_names_have_room(count):
    values = {f"decoder.blocks.{number}.attention.query": np.array([2.0, 1.0]) for number in range(count)}
    figure = singular_value_curves(values)
    assert inside(figure)
    assert names(figure) == list(values)
    assert len({line.get_color() for line in figure.axes[0].lines}) == count


@pytest.mark.parametrize("values", [{}, {"a": torch.zeros(0)}, {"a": torch.ones(2, 2)}])
def test_values_that_make_no_lines_are_refused(values):
    with pytest.raises(ValueError, match="expected a matrix at least"):
        singular_value_curves(values)


# --- the spectrum over time ----------------------------------------------------------------------------------------


def test_each_eigenvalue_is_a_line_over_the_steps_in_order():
    figure = spectrum_history({10: torch.tensor([5.0, 2.0]), 0: torch.tensor([1.0, 0.5])}, "A title")
    (axes,) = figure.axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[0, 1], [10, 5]], [[0, 0.5], [10, 2]]]
    assert names(figure) == ["1", "2"]
    words = (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
    assert words == ("Optimiser step", "eigenvalue", "A title")
    assert inside(figure)


def test_of_many_eigenvalues_the_twelve_largest_are_drawn():
    spectrum = np.linspace(20, 1, 20)
    figure = spectrum_history({0: spectrum, 100: spectrum, 5000: 2 * spectrum})
    heights = [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert heights == pytest.approx(spectrum[:12].tolist())
    assert len({line.get_color() for line in figure.axes[0].lines}) == 12
    assert figure.axes[0].get_xscale() == "linear"
    assert spectrum_history({0: spectrum, 1: spectrum, 51: spectrum}).axes[0].get_xscale() == "symlog"


@pytest.mark.parametrize("history", [{}, {0: torch.ones(2), 1: torch.ones(3)}, {0: torch.ones(2, 2)}, {0: []}])
def test_a_history_without_one_shape_is_refused(history):
    with pytest.raises(ValueError, match="one shape"):
        spectrum_history(history)


def test_a_single_step_without_variance_can_be_drawn():
    assert inside(spectrum_history({0: torch.zeros(3)}))


# --- cosines -------------------------------------------------------------------------------------------------------


def test_the_cosines_begin_at_the_difference_one():
    figure = cosine_curve(torch.tensor([1.0, 0.2, -0.4, NAN]), "A title")
    zero, line = figure.axes[0].lines
    assert list(zero.get_ydata()) == [0, 0]
    assert line.get_xdata().tolist() == [1, 2, 3]
    np.testing.assert_allclose(line.get_ydata(), [0.2, -0.4, NAN], rtol=1e-6)
    assert inside(figure)


@pytest.mark.parametrize("cosines", [[1.0], [], [[1.0, 0.5]]])
def test_cosines_without_a_difference_are_refused(cosines):
    with pytest.raises(ValueError, match=r"expected \(differences,\)"):
        cosine_curve(cosines)
