"""Measures of matrices and embeddings, against numpy and scipy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from grok_lightning.metrics import EmbeddingComplexity, MatrixComplexity


def gaussian(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_of_a_matrix_the_last_one_counts():
    metric = MatrixComplexity()
    metric.update(torch.eye(4))
    assert {name: value.item() for name, value in metric.compute().items()} == {
        "stable_rank": pytest.approx(4),
        "groups": 4,
        "condensed": 0,
    }
    directions = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, -1, 0], [0, -3, 0], [0, -1, 0.1], [0, 0, 1]])
    metric.update(directions)
    values = np.linalg.svd(directions.numpy(), compute_uv=False)
    assert {name: value.item() for name, value in metric.compute().items()} == {
        "stable_rank": pytest.approx(((values / values[0]) ** 2).sum(), rel=1e-6),
        "groups": 3,
        "condensed": pytest.approx(5 / 6),
    }


def test_the_threshold_is_heeded():
    angles = torch.deg2rad(torch.tensor([0.0, 50.0]))
    matrix = torch.stack([angles.cos(), angles.sin()], 1)  # a cosine of 0.64
    for threshold, groups in ((0.6, 1), (0.7, 2)):
        metric = MatrixComplexity(threshold)
        metric.update(matrix)
        assert metric.compute()["groups"] == groups


def looped(vectors):
    """Dimensions, order and spectrum of vectors (rows, width)."""
    values = np.sort(np.linalg.eigvalsh(np.cov(vectors.numpy().T)))[::-1]
    pairs = list(itertools.combinations(range(len(vectors)), 2))
    distances = [np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs]
    order = spearmanr([j - i for i, j in pairs], distances).statistic
    return values.sum() ** 2 / (values**2).sum(), order, values


def test_of_an_embedding_only_the_numbers_are_measured_of_each_system():
    systems = gaussian(3, 9, 4)
    metric = EmbeddingComplexity(range(2, 8))
    metric.update(systems)
    dimensions, orders, spectra = zip(*(looped(system[2:8]) for system in systems), strict=True)
    assert metric.compute() == {
        "dimensions": pytest.approx(np.mean(dimensions)),
        "order": pytest.approx(np.mean(orders)),
    }
    np.testing.assert_allclose(metric.spectrum, np.mean(spectra, 0))


def test_tokens_that_are_no_numbers_are_all_measured_and_have_no_order():
    vectors = gaussian(9, 4)
    metric = EmbeddingComplexity()
    metric.update(vectors[None])
    dimensions, _, spectrum = looped(vectors)
    assert metric.compute()["dimensions"].item() == pytest.approx(dimensions)
    assert metric.compute()["order"].isnan()
    np.testing.assert_allclose(metric.spectrum, spectrum)
