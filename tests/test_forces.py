"""Forces between pair sums, against loops over pairs, slopes of potentials and what no renumbering can change."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.forces import (
    Forces,
    alignment_force,
    alignment_potential,
    attractions,
    clustering_force,
    clustering_potential,
    on_tokens,
)
from grok_lightning.pair_sums import PairSums

KERNELS = ("gaussian", "rational")
EXACT = {"rtol": 1e-10, "atol": 1e-12}

sizes = st.sampled_from([3, 4, 5, 7])
widths = st.integers(1, 4)
seeds = st.integers(0, 999)
ranges = st.floats(0.2, 3)
kernels = st.sampled_from(KERNELS)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def addition(n):
    rows = torch.tensor([(a, b, (a + b) % n) for a in range(n) for b in range(a, n)])
    return PairSums(*rows.unbind(1), n)


def looped_clustering(sums, answers, n, reach, kernel):
    """(10 / P) Σ_q w_pq k(r) (s_q − s_p), one pair after the other."""
    forces = []
    for p, own in enumerate(sums):
        total = [0.0] * len(own)
        for q, other in enumerate(sums):
            weight = (1.0 if answers[p] == answers[q] else 0.0) - 1 / n
            r2 = sum((y - x) ** 2 for x, y in zip(own, other, strict=True))
            fall = math.exp(-r2 / (2 * reach**2)) if kernel == "gaussian" else 1 / (reach**2 + r2)
            total = [t + 10 / len(sums) * weight * fall * (y - x) for t, x, y in zip(total, own, other, strict=True)]
        forces.append(total)
    return torch.tensor(forces, dtype=torch.double)


def looped_alignment(sums, answers, n):
    """(10 / P) Σ_q w_pq cos θ (u_q − cos θ u_p), one pair after the other."""
    forces = []
    for p, own in enumerate(sums):
        total = [0.0] * len(own)
        for q, other in enumerate(sums):
            weight = (1.0 if answers[p] == answers[q] else 0.0) - 1 / n
            u, v = ([x / math.hypot(*each) for x in each] for each in (own, other))
            cos = sum(x * y for x, y in zip(u, v, strict=True))
            total = [t + 10 / len(sums) * weight * cos * (y - cos * x) for t, x, y in zip(total, u, v, strict=True)]
        forces.append(total)
    return torch.tensor(forces, dtype=torch.double)


def situation(n, width, seed, copies=()):
    """Sums, their pairs and weights."""
    pairs = addition(n)
    return pairs.of(drawn(*copies, n, width, seed=seed)), pairs, attractions(pairs, torch.double)


# the formulae


@pytest.mark.parametrize("n", [2, 5, 6])
def test_the_same_answer_attracts_and_another_repels_less(n):
    pairs = addition(n)
    weights = attractions(pairs, torch.double)
    for p, q in itertools.product(range(len(pairs)), repeat=2):
        same = int(pairs.answers[p]) == int(pairs.answers[q])
        assert weights[p, q].item() == pytest.approx(1 - 1 / n if same else -1 / n)


@settings(deadline=None, max_examples=25)
@given(sizes, widths, seeds, ranges, kernels)
def test_clustering_is_the_double_loop_over_pairs(n, width, seed, reach, kernel):
    sums, pairs, weights = situation(n, width, seed)
    looped = looped_clustering(sums.tolist(), pairs.answers.tolist(), n, reach, kernel)
    torch.testing.assert_close(clustering_force(sums, weights, reach, kernel), looped, **EXACT)


@settings(deadline=None, max_examples=25)
@given(sizes, widths, seeds)
def test_alignment_is_the_double_loop_over_pairs(n, width, seed):
    sums, pairs, weights = situation(n, width, seed)
    looped = looped_alignment(sums.tolist(), pairs.answers.tolist(), n)
    torch.testing.assert_close(alignment_force(sums, weights), looped, **EXACT)


def test_in_the_plane_alignment_is_cosine_times_sine_across_the_sum():
    sums, pairs, weights = situation(7, 2, 1)
    force = torch.zeros_like(sums)
    for p, q in itertools.product(range(len(pairs)), repeat=2):
        angles = [math.atan2(sums[i, 1], sums[i, 0]) for i in (p, q)]
        theta = angles[1] - angles[0]
        across = torch.tensor([-math.sin(angles[0]), math.cos(angles[0])], dtype=torch.double)
        force[p] += 10 / len(pairs) * weights[p, q] * math.cos(theta) * math.sin(theta) * across
    torch.testing.assert_close(alignment_force(sums, weights), force, **EXACT)


@pytest.mark.parametrize("width", [2, 12])
def test_potentials_are_sums_over_pairs_of_pairs(width):
    sums, pairs, weights = situation(5, width, 3)
    expected = dict.fromkeys((*KERNELS, "alignment"), 0.0)
    for p, q in itertools.product(range(len(pairs)), repeat=2):
        r2 = float((sums[p] - sums[q]).square().sum())
        cos = float(sums[p] @ sums[q] / sums[p].norm() / sums[q].norm())
        factor = -10 / (2 * len(pairs)) * float(weights[p, q])
        expected["gaussian"] += factor * 0.7**2 * math.exp(-r2 / (2 * 0.7**2))
        expected["rational"] += factor * -0.5 * math.log(0.7**2 + r2)
        expected["alignment"] += factor / 2 * cos**2
    for kernel in KERNELS:
        assert clustering_potential(sums, weights, 0.7, kernel).item() == pytest.approx(expected[kernel])
        forces = Forces(alignment=0.3, clustering=2.0, range=0.7, kernel=kernel)
        both = 0.3 * expected["alignment"] + 2 * expected[kernel]
        assert forces.potential(sums, weights).item() == pytest.approx(both)
    assert alignment_potential(sums, weights).item() == pytest.approx(expected["alignment"])


@settings(deadline=None, max_examples=25)
@given(sizes, st.integers(1, 10), seeds, ranges, kernels)
def test_clustering_is_the_slope_of_its_potential(n, width, seed, reach, kernel):
    sums, _, weights = situation(n, width, seed)
    sums.requires_grad_()
    (slope,) = torch.autograd.grad(clustering_potential(sums, weights, reach, kernel), sums)
    torch.testing.assert_close(clustering_force(sums.detach(), weights, reach, kernel), -slope, rtol=1e-7, atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(sizes, widths, seeds)
def test_alignment_is_the_slope_of_its_potential_times_the_length_of_the_sum(n, width, seed):
    sums, _, weights = situation(n, width, seed)
    sums.requires_grad_()
    (slope,) = torch.autograd.grad(alignment_potential(sums, weights), sums)
    lengths = sums.detach().norm(dim=-1, keepdim=True)
    torch.testing.assert_close(alignment_force(sums.detach(), weights), -lengths * slope, **EXACT)


@settings(deadline=None, max_examples=25)
@given(sizes, widths, seeds, kernels)
def test_copies_side_by_side_are_each_alone(n, width, seed, kernel):
    sums, pairs, weights = situation(n, width, seed, copies=(3,))
    forces = Forces(alignment=0.6, clustering=1.4, range=0.8, kernel=kernel)
    together = on_tokens(forces.on_sums(sums, weights), pairs)
    assert forces.potential(sums, weights).shape == (3,)
    for copy, alone in enumerate(sums):
        torch.testing.assert_close(together[copy], on_tokens(forces.on_sums(alone, weights), pairs), **EXACT)
        torch.testing.assert_close(forces.potential(sums, weights)[copy], forces.potential(alone, weights), **EXACT)


@pytest.mark.parametrize(("alignment", "clustering"), [(0.7, 0.0), (0.0, 1.3), (0.7, 1.3), (0.0, 0.0)])
def test_strengths_multiply_the_forces(alignment, clustering):
    sums, pairs, weights = situation(5, 2, 0)
    answers = pairs.answers.tolist()
    expected = clustering * looped_clustering(sums.tolist(), answers, 5, 0.4, "rational")
    expected += alignment * looped_alignment(sums.tolist(), answers, 5)
    forces = Forces(alignment=alignment, clustering=clustering, range=0.4, kernel="rational")
    torch.testing.assert_close(forces.on_sums(sums, weights), expected, **EXACT)


@settings(deadline=None, max_examples=25)
@given(sizes, widths, seeds)
def test_the_force_on_a_token_is_that_on_its_sums_by_the_chain_rule(n, width, seed):
    pairs, vectors = addition(n), drawn(n, width, seed=seed).requires_grad_()
    forces = drawn(len(pairs), width, seed=seed + 1)
    sums = torch.stack(
        [vectors[a] + vectors[b] for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    )
    (chained,) = torch.autograd.grad((sums * forces).sum(), vectors)
    torch.testing.assert_close(on_tokens(forces, pairs), chained / n, **EXACT)


def test_a_token_in_no_pair_feels_nothing():
    pairs = PairSums(torch.tensor([0, 0]), torch.tensor([0, 2]), torch.tensor([0, 2]), 4)
    found = on_tokens(torch.tensor([[1.0, 2.0], [4.0, 8.0]]), pairs)
    assert (4 * found).tolist() == [[6, 12], [0, 0], [4, 8], [0, 0]]


# what cannot change them


@settings(deadline=None, max_examples=20)
@given(sizes, widths, seeds, kernels)
def test_clustering_does_not_know_where_it_is(n, width, seed, kernel):
    sums, _, weights = situation(n, width, seed)
    moved = sums + drawn(width, seed=seed + 1)
    force = clustering_force(sums, weights, 0.6, kernel)
    torch.testing.assert_close(clustering_force(moved, weights, 0.6, kernel), force, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=20)
@given(sizes, widths, seeds, kernels, st.booleans())
def test_both_turn_with_the_sums_and_are_mirrored_with_them(n, width, seed, kernel, mirrored):
    sums, _, weights = situation(n, width, seed)
    turn = torch.linalg.qr(drawn(width, width, seed=seed + 1))[0]
    if (torch.linalg.det(turn) < 0) != mirrored:
        turn[0] *= -1
    forces = Forces(alignment=0.8, clustering=1.2, range=0.6, kernel=kernel)
    turned = forces.on_sums(sums @ turn.T, weights)
    torch.testing.assert_close(turned, forces.on_sums(sums, weights) @ turn.T, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=20)
@given(sizes, widths, seeds, st.floats(1e-3, 1e3))
def test_alignment_does_not_know_how_large_it_is(n, width, seed, scale):
    sums, _, weights = situation(n, width, seed)
    force = alignment_force(sums, weights)
    torch.testing.assert_close(alignment_force(scale * sums, weights), force, rtol=1e-9, atol=1e-11)
    lengths = scale * torch.rand(len(sums), 1, generator=torch.Generator().manual_seed(seed)).double() + 0.1
    torch.testing.assert_close(alignment_force(lengths * sums, weights), force, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([(5, 2), (7, 3), (8, 3), (9, 4), (12, 5)]), widths, seeds, kernels)
def test_tokens_can_be_renumbered_by_an_automorphism(size_and_factor, width, seed, kernel):
    (n, factor), vectors = size_and_factor, drawn(size_and_factor[0], width, seed=seed)
    pairs = addition(n)
    weights = attractions(pairs, torch.double)
    numbers = [factor * a % n for a in range(n)]
    renumbered = torch.empty_like(vectors)
    renumbered[numbers] = vectors
    forces = Forces(alignment=0.8, clustering=1.2, range=0.6, kernel=kernel)
    before, after = (on_tokens(forces.on_sums(pairs.of(each), weights), pairs) for each in (vectors, renumbered))
    torch.testing.assert_close(after[numbers], before, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=20)
@given(sizes, widths, seeds, kernels)
def test_the_order_of_pairs_means_nothing(n, width, seed, kernel):
    pairs, vectors = addition(n), drawn(n, width, seed=seed)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    shuffled = PairSums(pairs.first[order], pairs.second[order], pairs.answers[order], n)
    forces = Forces(alignment=0.8, clustering=1.2, range=0.6, kernel=kernel)
    one, other = (
        on_tokens(forces.on_sums(each.of(vectors), attractions(each, torch.double)), each) for each in (pairs, shuffled)
    )
    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=20)
@given(sizes, widths, seeds, kernels)
def test_by_newton_clustering_adds_up_to_nothing(n, width, seed, kernel):
    sums, _, weights = situation(n, width, seed)
    assert clustering_force(sums, weights, 0.6, kernel).sum(0).abs().max() < 1e-12


@settings(deadline=None, max_examples=20)
@given(sizes, st.integers(2, 4), seeds)
def test_alignment_is_across_the_sum(n, width, seed):
    sums, _, weights = situation(n, width, seed)
    assert (alignment_force(sums, weights) * sums).sum(-1).abs().max() < 1e-12


def test_on_a_line_alignment_has_nothing_to_turn():
    sums, _, weights = situation(7, 1, 0)
    assert alignment_force(sums, weights).abs().max() < 1e-12


def test_a_sum_at_the_origin_is_not_turned_and_turns_no_other():
    vectors = drawn(5, 2)
    vectors[3] = -vectors[2]
    pairs = addition(5)
    sums, weights = pairs.of(vectors), attractions(pairs, torch.double)
    (place,) = ((pairs.first == 2) & (pairs.second == 3)).nonzero()[0].tolist()
    force = alignment_force(sums, weights)
    assert force.isfinite().all()
    assert force[place].tolist() == [0, 0]
    others = [row for row in range(len(pairs)) if row != place]
    apart = looped_alignment(sums[others].tolist(), pairs.answers[others].tolist(), 5) * len(others) / len(pairs)
    torch.testing.assert_close(force[others], apart, **EXACT)
    assert clustering_force(sums, weights, 0.5).isfinite().all()


def test_where_all_is_at_one_point_nothing_pulls():
    _, _, weights = situation(5, 2, 0)
    together = torch.zeros(15, 2, dtype=torch.double)
    for kernel in KERNELS:
        assert Forces(kernel=kernel).on_sums(together, weights).abs().max() == 0
        assert clustering_force(together + 3, weights, 0.5, kernel).abs().max() < 1e-12


def test_sums_are_left_as_they_are():
    sums, _, weights = situation(5, 2, 0)
    before = sums.clone(), weights.clone()
    for kernel in KERNELS:
        Forces(kernel=kernel).on_sums(sums, weights)
    assert torch.equal(sums, before[0])
    assert torch.equal(weights, before[1])


def test_single_precision_is_near_to_double():
    sums, pairs, weights = situation(7, 2, 0)
    forces = Forces()
    single = forces.on_sums(sums.float(), attractions(pairs, torch.float))
    assert single.dtype == torch.float
    np.testing.assert_allclose(single, forces.on_sums(sums, weights), rtol=1e-4, atol=1e-5)


# refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alignment": -0.1}, "`alignment` must be finite and at least 0, got -0.1"),
        ({"clustering": math.nan}, "`clustering` must be finite and at least 0, got nan"),
        ({"range": 0.0}, "`range` must be positive and finite, got 0.0"),
        ({"range": math.nan}, "`range` must be positive and finite, got nan"),
        ({"kernel": "gausian"}, "`kernel` must be one of gaussian, rational, got 'gausian'.* Did you mean 'gaussian'"),
    ],
)
def test_bad_values_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Forces(**arguments)
