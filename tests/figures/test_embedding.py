import math

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb

from grok_lightning.figures import PALETTE, embedding_plane, fourier_spectrum
from grok_lightning.spectra import fourier_power, principal_components


def gaussian(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circle(residues, frequency):
    angles = 2 * math.pi * frequency * torch.arange(residues, dtype=torch.float64) / residues
    return torch.stack([angles.cos(), angles.sin()], 1)


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
