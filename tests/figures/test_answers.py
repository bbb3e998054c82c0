import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from grok_lightning.figures import ANSWERS, error_grid


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
