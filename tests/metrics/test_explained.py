import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.metrics.explained import CLASSES, ExplainedAnswers
from grok_lightning.metrics.solvers import copying, ratio_matching

SPACES = [(2, 2), (3, 1), (3, 2), (3, 3), (5, 2), (7, 2)]
"""Modulus and variables."""


def sequences(modulus, variables=2, examples=6, rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(modulus, (rows, examples, variables), generator=generator)
    functions = torch.randint(modulus, (rows, 1, variables), generator=generator)
    return inputs, (inputs * functions).sum(-1) % modulus


def measure(modulus, inputs, values, predictions):
    metric = ExplainedAnswers(modulus, inputs.shape[1])
    metric.update(inputs, values, predictions)
    return metric.compute()


def class_of(query, examples, modulus):
    """Number of the class of a query, from the set of all combinations of the examples."""
    multiples = {tuple(c * x % modulus for x in example) for example in examples for c in range(modulus)}
    span = {(0,) * len(query)}
    for example in examples:
        span = {
            tuple((s + c * x) % modulus for s, x in zip(point, example, strict=True))
            for point in span
            for c in range(modulus)
        }
    return [query in examples, query in multiples, query in span, True].index(True)


def assert_same(measured, expected):
    np.testing.assert_allclose(measured.numpy(), expected, rtol=1e-6)


@given(st.sampled_from(SPACES), st.integers(1, 6), st.integers(1, 25), st.integers(0, 2**31))
def test_a_random_model_is_what_brute_force_says(space, examples, rows, seed):
    modulus, variables = space
    inputs, values = sequences(modulus, variables, examples, rows, seed)
    predictions = torch.randint(modulus, values.shape, generator=torch.Generator().manual_seed(seed + 1))
    count, right = np.zeros((2, examples, len(CLASSES)))
    for points, row_values, guesses in zip(inputs.tolist(), values.tolist(), predictions.tolist(), strict=True):
        points = [tuple(point) for point in points]
        for shots in range(examples):
            number = class_of(points[shots], points[:shots], modulus)
            count[shots, number] += 1
            right[shots, number] += guesses[shots] == row_values[shots]
    measured = measure(modulus, inputs, values, predictions)
    assert list(measured) == ["share", "explained", "accuracy"]
    with np.errstate(invalid="ignore"):
        assert_same(measured["share"], count / rows)
        assert_same(measured["explained"], right / right.sum(1, keepdims=True))
        assert_same(measured["accuracy"], right / count)


def test_a_perfect_model_is_explained_as_far_as_queries_are():
    inputs, values = sequences(5, rows=300)
    measured = measure(5, inputs, values, values)
    assert torch.equal(measured["explained"], measured["share"])
    torch.testing.assert_close(measured["share"].sum(1), torch.ones(6))
    there = measured["share"] > 0
    assert (measured["accuracy"][there] == 1).all()
    assert measured["accuracy"][~there].isnan().all()


@pytest.mark.parametrize(("solver", "classes"), [(copying, 1), (ratio_matching, 2)])
def test_a_model_of_one_algorithm_is_explained_by_it(solver, classes):
    inputs, values = sequences(3, examples=5, rows=400)
    predictions = torch.stack([solver(inputs[:, :k], values[:, :k], inputs[:, k], 3) for k in range(5)], dim=1)
    measured = measure(3, inputs, values, predictions)
    assert measured["explained"][0].isnan().all()  # nothing is answered without shots
    torch.testing.assert_close(measured["explained"][1:, :classes].sum(1), torch.ones(4))
    assert (measured["accuracy"][1:, :classes] == 1).all()
    assert not measured["accuracy"][:, classes:].nan_to_num(0).any()
    assert (measured["share"][2:, classes:].sum(1) > 0.1).all()


def test_without_shots_only_the_zero_query_is_explained():
    inputs = torch.tensor([[[0, 0]], [[1, 2]], [[0, 3]], [[4, 0]]])
    nothing = torch.zeros(4, 1, dtype=torch.long)
    share = measure(5, inputs, nothing, nothing)["share"]
    assert share.tolist() == [[0, 0, 0.25, 0.75]]


@pytest.mark.parametrize(
    ("query", "name"),
    [([0, 3], "copied"), ([3, 6], "ratio"), ([0, 0], "ratio"), ([1, 5], "combined"), ([0, 0, 1], "open")],
)
def test_one_query_of_each_class(query, name):
    examples = [[1, 2], [0, 3]]
    inputs = torch.tensor([[*(row + [0] * (len(query) - 2) for row in examples), query]])
    values = inputs.sum(-1) % 7
    share = measure(7, inputs, values, values)["share"]
    assert share[2].tolist() == [float(name == other) for other in CLASSES]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**31))
def test_two_devices_or_batches_measure_what_one_does(here, there, seed):
    inputs, values = sequences(5, rows=here + there, seed=seed)
    predictions = torch.randint(5, values.shape, generator=torch.Generator().manual_seed(seed))
    one, batches, first, second = (ExplainedAnswers(5, 6) for _ in range(4))
    one.update(inputs, values, predictions)
    for metrics, part in ((batches, first), slice(here)), ((batches, second), slice(here, None)):
        for metric in metrics:
            metric.update(inputs[part], values[part], predictions[part])
    first.merge_state(second)
    for metric in (batches, first):
        for value, expected in zip(metric.compute().values(), one.compute().values(), strict=True):
            torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


def test_a_reset_forgets():
    metric = ExplainedAnswers(5, 6)
    inputs, values = sequences(5)
    metric.update(inputs, values, values)
    metric.reset()
    metric.update(inputs, values, values - 1)
    assert metric.compute()["accuracy"].nan_to_num(0).sum() == 0


def test_only_primes_will_do():
    with pytest.raises(ValueError, match="modulus is 9; expected a prime"):
        ExplainedAnswers(9, 4)


def test_no_state_is_among_the_weights():
    assert ExplainedAnswers(5, 6).state_dict() == {}
