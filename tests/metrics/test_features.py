"""Measures of feature matrices, against numpy."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.ntheory import discrete_log, primitive_root

from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.metrics import AgopCorrelation, CirculantDeviation, FeatureAlignment
from grok_lightning.networks import ArithmeticTransformer, FeatureMachine, QuadraticMLP

DEVIATIONS = ("deviation", "deviation_diagonal", "deviation_antidiagonal")


def symmetric(size, seed=0):
    rows = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return rows + rows.T


def measured(metric, *matrices):
    metric.update(*matrices)
    return {name: value.item() for name, value in metric.compute().items()}


def deviations(block):
    """Of a block whose rows and columns are in the order of a cyclic group: variances of the columns once shifted."""
    shifted = [[np.roll(row, sign * number) for number, row in enumerate(block)] for sign in (-1, 1)]
    diagonal, antidiagonal = (
        ((np.array(rows) - np.mean(rows, 0)) ** 2).sum() / (np.array(block) ** 2).sum() for rows in shifted
    )
    return dict(zip(DEVIATIONS, (min(diagonal, antidiagonal), diagonal, antidiagonal), strict=True))


def cosine(one, other):
    one, other = np.ravel(one), np.ravel(other)
    return one @ other / (np.linalg.norm(one) * np.linalg.norm(other))


# circulant deviation


@settings(deadline=None)
@given(st.integers(3, 9), st.sampled_from(["a b", "a op b", "a op b ="]), st.integers(0, 99))
def test_the_deviations_are_those_of_the_block_of_both_operands(modulus, layout, seed):
    data = BinaryOperationDataModule("add", modulus, layout=layout)
    words, vocabulary = layout.split(), len(data.vocabulary)
    matrix = symmetric(len(words) * vocabulary, seed)
    first, second = words.index("a") * vocabulary, words.index("b") * vocabulary
    block = matrix[second : second + modulus, first : first + modulus].numpy()
    assert measured(CirculantDeviation(data.symmetry(), vocabulary), matrix) == pytest.approx(deviations(block))


@pytest.mark.parametrize("operation", ["mul", "div"])
@pytest.mark.parametrize("p", [5, 7, 11, 13])
def test_elements_are_put_in_the_order_of_their_logarithms_and_0_is_left_out(p, operation):
    order = sorted(range(1, p), key=lambda x: discrete_log(p, x, primitive_root(p)))
    metric = CirculantDeviation(BinaryOperationDataModule(operation, p, layout="a b").symmetry(), p)
    matrix = symmetric(2 * p)
    block = matrix[p:, :p].numpy()[np.ix_(order, order)]
    expected = deviations(block)
    assert measured(metric, matrix) == pytest.approx(expected)
    matrix[[0, p]], matrix[:, [0, p]] = 1000.0, 1000.0
    assert measured(metric, matrix) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("operation", "entry", "exact"),
    [
        ("add", lambda y, x: (x - y) % 7, "deviation_diagonal"),
        ("sub", lambda y, x: (x + y) % 7, "deviation_antidiagonal"),
        ("mul", lambda y, x: x * pow(y, -1, 7) % 7, "deviation_diagonal"),
        ("div", lambda y, x: x * y % 7, "deviation_antidiagonal"),
    ],
)
def test_the_orientation_that_fits_has_none(operation, entry, exact):
    matrix = torch.zeros(14, 14)
    members = range(7) if operation in ("add", "sub") else range(1, 7)
    for y in members:
        for x in members:
            matrix[7 + y, x] = 1.0 + entry(y, x) ** 2
    found = measured(CirculantDeviation(BinaryOperationDataModule(operation, 7, layout="a b").symmetry(), 7), matrix)
    assert found["deviation"] == found[exact] < 1e-30
    assert max(found.values()) > 0.01


def test_the_identity_has_no_block_to_measure():
    metric = CirculantDeviation(BinaryOperationDataModule("add", 5).symmetry(), 7)
    found = measured(metric, torch.eye(28))
    assert found.keys() == set(DEVIATIONS)
    assert all(math.isnan(value) for value in found.values())


def test_a_call_returns_what_the_matrix_has_whatever_came_before():
    metric = CirculantDeviation(BinaryOperationDataModule("add", 5, layout="a b").symmetry(), 5)
    for seed in range(3):
        matrix = symmetric(10, seed)
        found = {name: value.item() for name, value in metric(matrix).items()}
        assert found == pytest.approx(deviations(matrix[5:, :5].numpy()))


# the matrices of networks


def quadratic(data):
    return QuadraticMLP(len(data.vocabulary), data.length, width=6)


def transformer(data):
    return ArithmeticTransformer(len(data.vocabulary), data.length, width=8, heads=2)


def machine(data):
    network = FeatureMachine(len(data.vocabulary), data.length, kernel="gaussian")
    data.setup("fit")
    network.fit(*data.parts["train"])
    for _ in range(2):
        network.learn_features()
        network.fit(*data.parts["train"])
    return network


def plain_features(network):
    """W₁ᵀW₁ from the table, one number after the other."""
    table = network.embedding.table.weight.detach().double().numpy()
    is_shared = isinstance(network, ArithmeticTransformer)  # by all positions
    columns = np.concatenate([table] * network.length if is_shared else np.split(table, network.length, axis=1))
    return np.array([[left @ right for right in columns] for left in columns])


@pytest.mark.parametrize("build", [quadratic, transformer, machine])
def test_the_matrix_of_a_real_network_is_measured(build):
    torch.manual_seed(1)
    data = BinaryOperationDataModule("add", 5, train_fraction=0.8)
    network = build(data)
    matrix, plain, vocabulary = network.feature_matrix(), plain_features(network), len(data.vocabulary)
    assert matrix.requires_grad
    np.testing.assert_allclose(matrix.detach(), plain, rtol=1e-5, atol=1e-6)

    block = plain[2 * vocabulary : 2 * vocabulary + 5, :5]
    deviation = measured(CirculantDeviation(data.symmetry(), vocabulary), matrix)
    assert deviation == pytest.approx(deviations(block), rel=1e-4)
    final = symmetric(len(plain))
    alignment = measured(FeatureAlignment(final, data.symmetry(), vocabulary), matrix)
    final_block = final[2 * vocabulary : 2 * vocabulary + 5, :5]
    assert alignment == pytest.approx(
        {"alignment": cosine(plain, final), "block_alignment": cosine(block, final_block)}, rel=1e-4
    )
    with torch.no_grad():
        root = network.agop(data.make_parts()["train"].tokens)
    correlation = measured(AgopCorrelation(), matrix, root)
    assert correlation == pytest.approx(correlations(plain, root.numpy()), rel=1e-4)


@pytest.mark.parametrize("build", [CirculantDeviation, partial(FeatureAlignment, torch.eye(6))])
def test_matrices_may_be_on_another_device(build):
    metric = build(BinaryOperationDataModule("mul", 3, layout="a b").symmetry(), 3).to("meta")
    assert {value.device.type for value in metric(torch.eye(6, device="meta")).values()} == {"meta"}


@pytest.mark.parametrize("metric", [CirculantDeviation, FeatureAlignment, AgopCorrelation])
def test_no_graph_is_kept(metric):
    symmetry = BinaryOperationDataModule("add", 3, layout="a b").symmetry()
    matrix = symmetric(6).requires_grad_()
    if metric is CirculantDeviation:
        found = metric(symmetry, 3)(matrix)
    elif metric is FeatureAlignment:
        found = metric(2 * matrix + 1, symmetry, 3)(matrix)
    else:
        found = metric()(matrix, 2 * matrix + 1)
    assert found
    assert not any(value.requires_grad for value in found.values())


# alignment with the final matrix


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(0, 99))
def test_alignment_is_the_cosine_of_the_matrices_and_of_their_blocks(modulus, seed):
    data = BinaryOperationDataModule("add", modulus, layout="a op b")
    vocabulary = modulus + 1
    matrix, final = symmetric(3 * vocabulary, seed), symmetric(3 * vocabulary, seed + 1)
    here, there = (each[2 * vocabulary : 2 * vocabulary + modulus, :modulus] for each in (matrix, final))
    assert measured(FeatureAlignment(final, data.symmetry(), vocabulary), matrix) == pytest.approx(
        {"alignment": cosine(matrix, final), "block_alignment": cosine(here, there)}
    )


def test_a_call_and_then_compute_give_the_same():
    network = QuadraticMLP(5, 2, width=4)
    symmetry, matrix = BinaryOperationDataModule("add", 5, layout="a b").symmetry(), network.feature_matrix()
    for metric, matrices in (
        (CirculantDeviation(symmetry, 5), [matrix]),
        (FeatureAlignment(matrix.square(), symmetry, 5), [matrix]),
        (AgopCorrelation(), [matrix, matrix.square()]),
    ):
        called = {name: value.item() for name, value in metric(*matrices).items()}
        assert called == {name: value.item() for name, value in metric.compute().items()}


def test_alignment_is_one_with_itself_and_signed():
    symmetry, final = BinaryOperationDataModule("add", 5, layout="a b").symmetry(), symmetric(10)
    metric = FeatureAlignment(final, symmetry, 5)
    assert measured(metric, 3 * final) == pytest.approx({"alignment": 1, "block_alignment": 1})
    assert measured(metric, -final.float()) == pytest.approx({"alignment": -1, "block_alignment": -1})
    identity = measured(metric, torch.eye(10))
    assert identity["alignment"] == pytest.approx(cosine(np.eye(10), final))
    assert math.isnan(identity["block_alignment"])


# correlation with the root of the AGOP


def correlations(features, root):
    outside = ~np.eye(len(features), dtype=bool)
    return {
        "agop_correlation": np.corrcoef(features.ravel(), root.ravel())[0, 1],
        "agop_correlation_off_diagonal": np.corrcoef(features[outside], root[outside])[0, 1],
    }


@settings(deadline=None)
@given(st.integers(3, 12), st.integers(0, 99), st.floats(0, 3))
def test_correlations_are_those_of_numpy(size, seed, share):
    features = symmetric(size, seed)
    root = share * features + symmetric(size, seed + 1) + 5
    assert measured(AgopCorrelation(), features, root) == pytest.approx(correlations(features.numpy(), root.numpy()))


def test_a_multiple_and_a_shift_correlate_fully_and_equal_entries_not_at_all():
    features = symmetric(6)
    both = measured(AgopCorrelation(), features, 2 * features + 3)
    assert both == pytest.approx({"agop_correlation": 1, "agop_correlation_off_diagonal": 1})
    flat = measured(AgopCorrelation(), features, torch.eye(6, dtype=torch.double))
    assert math.isfinite(flat["agop_correlation"])
    assert math.isnan(flat["agop_correlation_off_diagonal"])
