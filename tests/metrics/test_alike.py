"""Similarities by answer, against loops over all pairs of inputs."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.metrics import AnswerSimilarity

NAMES = ("same_answer", "other_answer")


def looped(vectors, answers, groups):
    """Mean cosines of all pairs of different groups, pair by pair."""
    found = {name: [] for name in NAMES}
    for one, other in combinations(range(len(vectors)), 2):
        if groups[one] != groups[other]:
            lengths = np.linalg.norm(vectors[one]) * np.linalg.norm(vectors[other])
            cosine = vectors[one] @ vectors[other] / lengths if lengths else 0.0
            found[NAMES[int(answers[one] != answers[other])]].append(cosine)
    return {name: np.mean(cosines) if cosines else math.nan for name, cosines in found.items()}


def measured(metric):
    return {name: value.item() for name, value in metric.compute().items()}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_means_are_those_of_a_loop_over_pairs(rows, answers, groups, apart, seed):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(rows, 3)) * (random.random((rows, 1)) > 0.1)
    its_answers, its_groups = random.integers(answers, size=rows), random.integers(groups, size=rows)
    metric = AnswerSimilarity(answers, 3, None if apart else groups)
    for some in np.array_split(np.arange(rows), 3):
        given_groups = None if apart else torch.from_numpy(its_groups[some])
        metric.update(torch.from_numpy(vectors[some]), torch.from_numpy(its_answers[some]), given_groups)
    expected = looped(vectors, its_answers, np.arange(rows) if apart else its_groups)
    assert measured(metric) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_parallel_vectors_of_equal_answers_are_alike():
    metric = AnswerSimilarity(2, 2, groups=2)
    vectors = torch.tensor([[1.0, 0], [5, 0], [0, 2], [0, 3]])
    metric.update(vectors, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))
    assert measured(metric) == {"same_answer": 1, "other_answer": 0}


def test_inputs_of_one_group_are_not_compared():
    metric = AnswerSimilarity(3, 4, groups=5)
    metric.update(torch.randn(6, 4), torch.arange(6) % 3, torch.full((6,), 2))
    assert measured(metric) == pytest.approx(dict.fromkeys(NAMES, math.nan), nan_ok=True)


def test_a_reset_forgets():
    metric = AnswerSimilarity(2, 2)
    metric.update(torch.randn(4, 2), torch.tensor([0, 0, 1, 1]))
    metric.reset()
    assert measured(metric) == pytest.approx(dict.fromkeys(NAMES, math.nan), nan_ok=True)
    metric.update(torch.eye(2), torch.tensor([0, 1]))
    assert measured(metric) == pytest.approx({"same_answer": math.nan, "other_answer": 0}, nan_ok=True)
