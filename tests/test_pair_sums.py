"""Sums of the vectors of two tokens, against loops over pairs."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule, MixedOperationDataModule
from grok_lightning.pair_sums import PairSums, pair_sums_of, squared_distances

OPERATIONS = {
    "add": lambda a, b, n: (a + b) % n,
    "sub": lambda a, b, n: (a - b) % n,
    "mul": lambda a, b, n: a * b % n,
}


def equations_of(operation, n):
    """First operands, second operands and answers of a whole table."""
    rows = [(a, b, OPERATIONS[operation](a, b, n)) for a, b in itertools.product(range(n), repeat=2)]
    return torch.tensor(rows).unbind(1)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def rows_of(pairs):
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.answers.tolist(), strict=True))


@pytest.mark.parametrize("n", [2, 5, 8])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_turned_equations_with_the_same_answer_are_one_pair(operation, n):
    first, second, answers = equations_of(operation, n)
    pairs = PairSums.of_equations(first, second, answers, n)
    table = zip(first.tolist(), second.tolist(), answers.tolist(), strict=True)
    expected = {(min(a, b), max(a, b), answer) for a, b, answer in table}
    assert rows_of(pairs) == sorted(expected)
    assert len(pairs) == len(expected)
    assert pairs.tokens == n


def test_a_commutative_table_has_a_pair_for_each_unordered_pair_and_another_one_more():
    assert len(PairSums.of_equations(*equations_of("add", 17), 17)) == 153
    turned = sum(2 * (a - b) % 17 != 0 for a, b in itertools.combinations(range(17), 2))
    assert len(PairSums.of_equations(*equations_of("sub", 17), 17)) == 153 + turned


@settings(deadline=None, max_examples=30)
@given(copies=st.integers(1, 3), width=st.integers(1, 10), n=st.integers(2, 6), seed=st.integers(0, 99))
def test_a_sum_is_the_sum_of_the_vectors_of_both_tokens(copies, width, n, seed):
    pairs, vectors = PairSums.of_equations(*equations_of("add", n), n), drawn(copies, n, width, seed=seed)
    sums = pairs.of(vectors)
    assert sums.shape == (copies, n * (n + 1) // 2, width)
    for copy, (place, (a, b, _)) in itertools.product(range(copies), enumerate(rows_of(pairs))):
        expected = [x + y for x, y in zip(vectors[copy, a].tolist(), vectors[copy, b].tolist(), strict=True)]
        assert sums[copy, place].tolist() == expected


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_distances_are_those_of_numpy(copies, rows, columns, width, seed):
    points, others = drawn(copies, rows, width, seed=seed), drawn(copies, columns, width, seed=seed + 1)
    expected = ((points.numpy()[:, :, None] - others.numpy()[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(points, others), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 8])
def test_narrow_points_are_no_distance_from_themselves_however_far_out(width):
    points = drawn(60, width).float() + 1e4
    assert (squared_distances(points, points).diagonal() == 0).all()


@pytest.mark.parametrize("width", [2, 9])
def test_a_pair_is_infinitely_far_from_itself_alone(width):
    n = 6
    first, second, answers = equations_of("sub", n)
    own = PairSums.of_equations(first[:20], second[:20], answers[:20], n)
    asked = PairSums.of_equations(first[10:], second[10:], answers[10:], n)
    vectors = drawn(2, n, width)
    distances = own.apart_from(asked, vectors)
    assert distances.shape == (2, len(asked), len(own))
    for copy, (i, (a, b, _)), (j, (c, d, _)) in itertools.product(
        range(2), enumerate(rows_of(asked)), enumerate(rows_of(own))
    ):
        sums = (vectors[copy, x].numpy() + vectors[copy, y].numpy() for x, y in ((a, b), (c, d)))
        expected = math.inf if (a, b) == (c, d) else np.square(np.subtract(*sums)).sum()
        assert distances[copy, i, j].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_pairs_move_to_a_device():
    moved = PairSums.of_equations(*equations_of("add", 5), 5).to(torch.device("meta"))
    assert {moved.first.device.type, moved.second.device.type, moved.answers.device.type} == {"meta"}
    assert moved.tokens == 5


# pairs of data


def test_the_pairs_of_data_are_those_of_the_table_or_of_the_training_equations():
    torch.manual_seed(0)
    data = BinaryOperationDataModule("add", 7, train_fraction=0.5)
    data.setup("fit")
    a, b = data.operands(data.parts["train"].tokens)
    train = {(*sorted(pair), sum(pair) % 7) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    everything = {(x, y, (x + y) % 7) for x in range(7) for y in range(x, 7)}
    assert rows_of(pair_sums_of(data, "x")) == rows_of(pair_sums_of(data, "x", "all")) == sorted(everything)
    assert rows_of(pair_sums_of(data, "x", "train")) == sorted(train)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (lambda: CompositionDataModule("a + b * c", 5, 50, 20, 20), "CompositionDataModule"),
        (lambda: MixedOperationDataModule(["add", "sub"], 5), "MixedOperationDataModule"),
        (lambda: None, "NoneType"),
    ],
)
def test_data_of_other_equations_are_refused(data, name):
    with pytest.raises(ValueError, match=f"Asker: {name} has no equations of two operands; use BinaryOperation"):
        pair_sums_of(data(), "Asker")
