"""What vectors are made of, against explicit sums."""

import cmath
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.operations import abelian_group
from grok_lightning.spectra import character_power, fourier_power, principal_components, top_character_share


def gaussian(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circle(residues, frequency):
    angles = 2 * math.pi * frequency * torch.arange(residues, dtype=torch.float64) / residues
    return torch.stack([angles.cos(), angles.sin()], 1)


@given(st.integers(2, 14), st.integers(1, 4), st.integers(0, 99))
def test_power_is_that_of_the_explicit_sums(residues, width, seed):
    vectors = gaussian(residues, width, seed)
    rows = vectors.tolist()
    power = [0.0] * (residues // 2 + 1)
    for k in range(1, residues):  # each of n − 1 complex frequencies; k and n − k are one wave
        for column in range(width):
            real = sum(rows[x][column] * math.cos(2 * math.pi * k * x / residues) for x in range(residues))
            imaginary = sum(rows[x][column] * math.sin(2 * math.pi * k * x / residues) for x in range(residues))
            power[min(k, residues - k)] += real**2 + imaginary**2
    expected = [share / sum(power) for share in power]
    assert fourier_power(vectors).tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(3, 40), st.data())
def test_a_circle_has_all_its_power_at_its_frequency(residues, data):
    frequency = data.draw(st.integers(1, (residues - 1) // 2))
    shares = fourier_power(circle(residues, frequency) + 5.0)
    assert shares.tolist() == pytest.approx([float(k == frequency) for k in range(residues // 2 + 1)], abs=1e-12)


def test_the_highest_frequency_of_an_even_number_counts_once():
    alternating = torch.tensor([1.0, -1.0] * 3)[:, None]
    lowest = circle(6, 1)[:, :1].float()
    # Σ cos² over six residues is 3, Σ (±1)² is 6.
    assert fourier_power(alternating + lowest).tolist() == pytest.approx([0, 1 / 3, 0, 2 / 3], abs=1e-6)


def test_equal_vectors_have_no_power_and_no_components():
    table = torch.full((7, 3), 0.1)
    assert fourier_power(table).tolist() == [0.0] * 4
    coordinates, shares = principal_components(table, 2)
    assert not coordinates.any()
    assert shares.tolist() == [0.0, 0.0]


@given(st.integers(3, 9), st.integers(3, 9), st.integers(0, 99))
def test_components_are_those_of_the_covariance(rows, width, seed):
    vectors = gaussian(rows, width, seed)
    coordinates, shares = principal_components(vectors, 2)
    variances, axes = np.linalg.eigh(np.cov(vectors.numpy(), rowvar=False))
    order = np.argsort(-variances)[:2]
    projected = (vectors.numpy() - vectors.numpy().mean(0)) @ axes[:, order]
    assert np.allclose(shares, variances[order] / variances.sum())
    assert np.allclose(coordinates.abs(), np.abs(projected), atol=1e-7)


@given(st.integers(0, 99))
def test_signs_of_components_are_settled(seed):
    vectors = gaussian(6, 4, seed)
    coordinates, _ = principal_components(vectors, 3)
    mirrored, _ = principal_components(-vectors, 3)
    largest = coordinates.abs().argmax(0)
    assert (coordinates[largest, range(3)] > 0).all()
    assert torch.allclose(coordinates.abs(), mirrored.abs())
    assert (mirrored[largest, range(3)] > 0).all()


@pytest.mark.parametrize(
    "vectors",
    [torch.zeros(3), torch.zeros(0, 2), torch.zeros(2, 0), torch.tensor([[1.0], [math.nan]]), torch.ones(2, 2) / 0],
)
def test_spectra_refuse_what_is_no_finite_table(vectors):
    with pytest.raises(ValueError, match="vectors"):
        fourier_power(vectors)
    with pytest.raises(ValueError, match="vectors"):
        principal_components(vectors, 1)


def test_more_components_than_the_table_has_are_refused():
    with pytest.raises(ValueError, match="count=3"):
        principal_components(gaussian(5, 2), 3)


def test_half_precision_and_integers_are_raised_to_single():
    assert fourier_power(torch.eye(4, dtype=torch.bfloat16)).dtype == torch.float32
    assert principal_components(torch.eye(4, dtype=torch.long), 2)[0].dtype == torch.float32


@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 99))
def test_the_power_at_a_character_is_that_of_the_explicit_sum(orders, width, seed):
    vectors = gaussian(math.prod(orders), width, seed)
    grid = list(itertools.product(*map(range, orders)))
    power = []
    for wave in grid:
        phases = [sum(k * x / order for k, x, order in zip(wave, place, orders, strict=True)) for place in grid]
        sums = [
            sum(
                row[column] * cmath.exp(-2j * math.pi * phase)
                for row, phase in zip(vectors.tolist(), phases, strict=True)
            )
            for column in range(width)
        ]
        power.append(sum(abs(total) ** 2 for total in sums) if any(wave) else 0.0)
    expected = [share / sum(power) for share in power]
    assert character_power(vectors, orders).flatten().tolist() == pytest.approx(expected, abs=1e-12)
    pairs = {frozenset([wave, tuple(-k % order for k, order in zip(wave, orders, strict=True))]) for wave in grid}
    share = dict(zip(grid, expected, strict=True))
    assert top_character_share(vectors, orders).item() == pytest.approx(
        max(sum(map(share.get, pair)) for pair in pairs)
    )


@given(st.integers(3, 30), st.integers(0, 99))
def test_over_a_cyclic_group_the_share_is_that_of_the_top_frequency(residues, seed):
    vectors = gaussian(residues, 3, seed)
    assert top_character_share(vectors, [residues]).item() == pytest.approx(fourier_power(vectors).max().item())


def test_logarithms_make_a_circle_of_what_multiplication_winds_up():
    group = abelian_group("mul", 13)
    vectors = torch.zeros(13, 2, dtype=torch.float64)
    vectors[group.members] = circle(12, 5)
    assert top_character_share(vectors[group.members], group.orders).item() == pytest.approx(1)
    assert top_character_share(vectors[1:], [12]).item() < 0.6


def test_power_of_a_group_of_another_size_is_refused():
    with pytest.raises(ValueError, match="there are 5 vectors for the 6 members"):
        character_power(gaussian(5, 2), [2, 3])
