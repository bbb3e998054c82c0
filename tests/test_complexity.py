"""Ranks, groups, dimensions and order, against numpy, scipy and explicit loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from grok_lightning.complexity import (
    condensed_groups,
    cosine_by_difference,
    covariance_spectrum,
    effective_dimensions,
    neuron_similarity,
    order_of,
    rank_correlation,
    singular_values,
    stable_rank,
)

sizes, seeds = st.integers(2, 12), st.integers(0, 99)


def gaussian(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(width, seed=0):
    return torch.linalg.qr(gaussian(width, width, seed)).Q


def permutation(count, seed=0):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


# singular values and stable rank


@given(sizes, sizes, seeds)
def test_singular_values_and_stable_rank_are_those_of_numpy(rows, width, seed):
    matrix = gaussian(rows, width, seed)
    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    assert singular_values(matrix).tolist() == pytest.approx(values.tolist())
    assert stable_rank(matrix).item() == pytest.approx(np.sum(matrix.numpy() ** 2) / values[0] ** 2)


@given(sizes, sizes, seeds, st.floats(0.01, 100))
def test_the_stable_rank_does_not_change_under_rotations_and_scale(rows, width, seed, scale):
    matrix = gaussian(rows, width, seed)
    turned = scale * rotation(rows, seed) @ matrix @ rotation(width, seed + 1)
    assert stable_rank(turned).item() == pytest.approx(stable_rank(matrix).item())
    assert 1 <= stable_rank(matrix) + 1e-9 <= min(rows, width) + 2e-9


def test_the_stable_rank_counts_equal_singular_values():
    assert stable_rank(torch.eye(5)[:3]).item() == pytest.approx(3)
    assert stable_rank(torch.outer(torch.arange(4.0), torch.arange(6.0))).item() == pytest.approx(1)
    assert stable_rank(torch.zeros(3, 4)).item() == 0


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.zeros(0, 3), torch.zeros(2, 2, 2)])
def test_what_is_no_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match=r"expected \(rows, columns\)"):
        stable_rank(matrix)


# neurons


@given(sizes, sizes, seeds)
def test_similarities_are_cosines_and_do_not_change_under_rotations(rows, width, seed):
    matrix = gaussian(rows, width, seed)
    lists = matrix.tolist()
    lengths = [math.hypot(*row) for row in lists]
    expected = [
        [sum(map(float.__mul__, a, b)) / (of_a * of_b) for b, of_b in zip(lists, lengths, strict=True)]
        for a, of_a in zip(lists, lengths, strict=True)
    ]
    np.testing.assert_allclose(neuron_similarity(matrix), expected, atol=1e-12)
    np.testing.assert_allclose(neuron_similarity(matrix @ rotation(width, seed)), expected, atol=1e-12)


def test_a_row_of_zeros_has_no_direction_and_is_alone():
    similarity = neuron_similarity(torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.1]]))
    assert similarity[1].isnan().all()
    assert similarity[:, 1].isnan().all()
    assert similarity[0, 2].item() == pytest.approx(2 / math.hypot(2, 0.1))
    assert condensed_groups(similarity, 0.7) == [[0, 2], [1]]


def looped_groups(similarity, threshold):
    """The same rule, neuron by neuron."""
    count = len(similarity)
    near = {a: {b for b in range(count) if b != a and similarity[a][b] > threshold} for a in range(count)}
    closeness = {a: sum(similarity[a][b] for b in near[a]) for a in range(count)}
    left, groups = set(range(count)), []
    while left:
        leader = max(sorted(left), key=lambda a: (len(near[a] & left), closeness[a] if near[a] & left else 0))
        group = {leader} | (near[leader] & left)
        groups.append(sorted(group))
        left -= group
    return groups


@settings(deadline=None)
@given(st.integers(1, 25), st.integers(1, 4), st.floats(0.05, 0.95), seeds)
def test_groups_are_led_by_the_neuron_with_most_neighbours_left(count, width, threshold, seed):
    similarity = neuron_similarity(gaussian(count, width, seed))
    groups = condensed_groups(similarity, threshold)
    assert [group for group in groups if len(group) > 1] == [
        group for group in looped_groups(similarity.tolist(), threshold) if len(group) > 1
    ]
    assert sorted(itertools.chain(*groups)) == list(range(count))
    assert [len(group) for group in groups] == sorted(map(len, groups), reverse=True)


@settings(deadline=None)
@given(st.integers(2, 25), st.floats(0.05, 0.95), seeds)
def test_groups_do_not_depend_on_the_order_of_the_neurons(count, threshold, seed):
    similarity, order = neuron_similarity(gaussian(count, 3, seed)), permutation(count, seed)
    shuffled = condensed_groups(similarity[order[:, None], order], threshold)
    back = {frozenset(order[group].tolist()) for group in shuffled}
    assert back == {frozenset(group) for group in condensed_groups(similarity, threshold)}


def test_a_neighbour_of_a_neighbour_need_not_be_in_the_group():
    angles = torch.deg2rad(torch.tensor([0.0, 40.0, 80.0, 120.0, 180.0]))
    similarity = neuron_similarity(torch.stack([angles.cos(), angles.sin()], 1))
    assert condensed_groups(similarity, 0.7) == [[0, 1, 2], [3], [4]]
    assert condensed_groups(similarity, 0.8) == [[0], [1], [2], [3], [4]]
    assert condensed_groups(torch.ones(3, 3), 0.7) == [[0, 1, 2]]


def test_the_similarities_are_left_as_they_are():
    similarity = torch.ones(4, 4)
    condensed_groups(similarity, 0.7)
    assert torch.equal(similarity, torch.ones(4, 4))


# dimensions


@given(st.integers(2, 12), st.integers(2, 6), seeds)
def test_the_spectrum_is_that_of_the_covariance(rows, width, seed):
    vectors = gaussian(rows, width, seed) + 3
    expected = np.sort(np.linalg.eigvalsh(np.cov(vectors.numpy().T)))[::-1][: min(rows, width)]
    np.testing.assert_allclose(covariance_spectrum(vectors), expected, atol=1e-12)
    turned = vectors[permutation(rows, seed)] @ rotation(width, seed) + 1
    np.testing.assert_allclose(covariance_spectrum(turned), expected, atol=1e-12)


def test_equal_vectors_and_a_single_one_have_no_spectrum():
    for vectors in (torch.full((4, 3), 0.1), torch.ones(1, 3)):
        assert covariance_spectrum(vectors).tolist() == [0] * min(vectors.shape)
        assert effective_dimensions(covariance_spectrum(vectors)).item() == 0


@pytest.mark.parametrize(
    ("eigenvalues", "dimensions"), [([3, 3, 3, 0, 0], 3), ([5], 1), ([4, 1, 1], 2), ([0, 0], 0), ([2, 1], 9 / 5)]
)
def test_effective_dimensions(eigenvalues, dimensions):
    assert effective_dimensions(torch.tensor(eigenvalues, dtype=torch.double)).item() == pytest.approx(dimensions)


# order


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=40))
def test_the_rank_correlation_is_that_of_scipy_ties_included(pairs):
    one, other = (list(column) for column in zip(*pairs, strict=True))
    found = rank_correlation(torch.tensor(one), torch.tensor(other)).item()
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic)


@given(st.integers(3, 20), st.integers(1, 5), seeds)
def test_the_order_is_that_of_all_pairs(count, width, seed):
    vectors = gaussian(count, width, seed)
    pairs = list(itertools.combinations(range(count), 2))
    distances = [math.dist(vectors[i].tolist(), vectors[j].tolist()) for i, j in pairs]
    expected = spearmanr([j - i for i, j in pairs], distances).statistic
    assert order_of(vectors).item() == pytest.approx(expected)
    assert order_of(2 * vectors.flip(0) @ rotation(width, seed) + 1).item() == pytest.approx(expected)


def test_numbers_on_a_line_are_in_order_and_shuffled_ones_are_not():
    line = torch.arange(40.0)[:, None] * torch.tensor([[3.0, 0.0, 4.0]])
    for spacing in (1, 0.1, 1 / 3):  # distances that are equal but for rounding
        assert order_of(spacing * line.double()).item() == pytest.approx(1, abs=1e-12)
    shuffled = [order_of(line[permutation(40, seed)]).item() for seed in range(20)]
    assert abs(np.mean(shuffled)) < 0.1
    turn = 2 * math.pi * torch.arange(40) / 40
    assert 0 < order_of(torch.stack([turn.cos(), turn.sin()], 1)).item() < 0.9


def test_too_few_numbers_have_no_order():
    assert order_of(torch.randn(2, 3)).isnan()
    assert order_of(torch.eye(3)).isnan()  # all distances are equal
    assert order_of(torch.ones(4, 2)).isnan()


@given(seeds)
def test_vectors_that_are_equally_far_apart_have_no_order(seed):
    assert order_of(torch.linalg.qr(gaussian(20, 20, seed).double()).Q).isnan()


@given(st.integers(1, 15), st.integers(1, 5), seeds)
def test_cosines_by_difference_are_means_over_the_pairs(count, width, seed):
    vectors = gaussian(count, width, seed).numpy()
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    expected = [
        np.mean([cosine(vectors[i], vectors[i + difference]) for i in range(count - difference)])
        for difference in range(count)
    ]
    assert cosine_by_difference(torch.tensor(vectors)).tolist() == pytest.approx(expected)


def test_steps_of_three_stand_out_and_zeros_are_left_out():
    angle = 2 * math.pi * torch.arange(12) / 3
    vectors = torch.stack([angle.cos(), angle.sin()], 1).double()
    assert cosine_by_difference(vectors)[:7].tolist() == pytest.approx([1, -0.5, -0.5, 1, -0.5, -0.5, 1], abs=1e-6)
    vectors[0] = 0
    assert cosine_by_difference(vectors)[3].item() == pytest.approx(1, abs=1e-6)
    assert cosine_by_difference(vectors)[11].isnan()
