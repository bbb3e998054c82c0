"""The structure of an embedding as a measure, on shapes that are known."""

import math
from collections import Counter

import pytest
import torch
from sympy.ntheory import discrete_log, primitive_root

from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.metrics import EmbeddingStructure
from grok_lightning.structure import StructureThresholds

MEASURES = {"purity", "radius_spread", "lattice", "second_lattice", "flatness", "norm", "same_neighbours"}
CLASSES = {"circle", "grid", "line", "other"}


def circle(n, frequency=1, size=1.0):
    angles = [2 * math.pi * frequency * a / n for a in range(n)]
    return torch.tensor([[size * math.cos(x), size * math.sin(x)] for x in angles], dtype=torch.double)


def line(n):
    return torch.tensor([[float(a), 0.0] for a in range(n)], dtype=torch.double)


def grid():
    return torch.tensor([[i, 0.9 * j + 0.2 * i] for j in range(3) for i in range(5)], dtype=torch.double)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def metric_of(operation="add", n=15, **thresholds):
    data = BinaryOperationDataModule(operation, n, layout="a b")
    return EmbeddingStructure(data.symmetry().order, data.pair_sums(), StructureThresholds(**thresholds))


def values(found):
    return {name: value.item() for name, value in found.items()}


def test_one_circle():
    metric = metric_of()
    found = values(metric(circle(15, 4, size=2.0)[None]))
    assert found.keys() == MEASURES | CLASSES
    expected = {
        "purity": 1,
        "radius_spread": 0,
        "flatness": 1,
        "norm": 2,
        "circle": 1,
        "grid": 0,
        "line": 0,
        "other": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert metric.classes() == ["circle"]
    assert metric.systems["frequency"].tolist() == [4]


def test_of_several_systems_means_and_shares_are_logged():
    metric = metric_of()
    systems = torch.stack([circle(15, 2), grid(), circle(15, 7, 3.0), line(15), drawn(15, 2)])
    found = values(metric(systems))
    assert metric.classes() == ["circle", "grid", "circle", "line", "other"]
    assert metric.counts() == {"circle": 2, "grid": 1, "line": 1, "other": 1}
    assert {name: found[name] for name in CLASSES} == pytest.approx(
        {"circle": 2 / 5, "grid": 1 / 5, "line": 1 / 5, "other": 1 / 5}
    )
    assert metric.systems["frequency"].tolist()[::2][:2] == [2, 7]
    assert metric.systems["generator"].tolist()[1:4:2] == [1, 1]
    alone = []
    for system in systems:
        one = metric_of()
        alone.append(values(one(system[None])))
    for name in MEASURES:
        assert found[name] == pytest.approx(sum(each[name] for each in alone) / 5)
    assert {name: len(value) for name, value in metric.systems.items()} == dict.fromkeys(metric.systems, 5)


def test_the_share_of_neighbours_is_counted():
    metric = metric_of(n=7)
    found = values(metric(line(7)[None]))
    at = Counter(a + b for a in range(7) for b in range(a, 7))
    assert found["same_neighbours"] == pytest.approx(sum(count for count in at.values() if count > 1) / 28)


@pytest.mark.parametrize("operation", ["mul", "div"])
@pytest.mark.parametrize("p", [5, 11, 17])
def test_products_are_a_circle_over_the_logarithms(operation, p):
    root = primitive_root(p)
    around = circle(p - 1)
    vectors = torch.full((p, 2), 50.0, dtype=torch.double)  # 0 is in no group
    for x in range(1, p):
        vectors[x] = around[discrete_log(p, x, root)]
    metric = metric_of(operation, p)
    found = values(metric(vectors[None]))
    assert found["circle"] == 1
    assert found["purity"] == pytest.approx(1)
    assert found["norm"] == pytest.approx(1)
    assert metric.systems["frequency"].tolist() == [1]
    by_number = values(metric_of("add", p)(vectors[None]))
    assert by_number["circle"] == 0


def test_tokens_that_are_no_elements_do_not_count():
    data = BinaryOperationDataModule("add", 7)
    metric = EmbeddingStructure(data.symmetry().order, data.pair_sums(), StructureThresholds())
    signs = torch.full((2, 2), 99.0, dtype=torch.double)
    found = metric(torch.cat([circle(7, 3), signs])[None])
    assert values(found) == pytest.approx(values(metric_of(n=7)(circle(7, 3)[None])))


def test_thresholds_are_heeded():
    vectors = (circle(15, 2) + 0.2 * drawn(15, 2))[None]
    purity = values(metric_of()(vectors))["purity"]
    assert 0.8 < purity < 0.99
    assert values(metric_of(purity=purity - 0.01)(vectors))["circle"] == 1
    assert values(metric_of(purity=purity + 0.005)(vectors))["circle"] == 0
    assert values(metric_of(flatness=1.0)(grid()[None]))["line"] == 1


def test_the_last_embedding_counts():
    metric = metric_of()
    for vectors, kind in ((circle(15), "circle"), (grid(), "grid"), (line(15), "line")):
        found = values(metric(vectors.float()[None].requires_grad_()))
        assert found[kind] == 1
        assert found == values(metric.compute())
    metric.reset()
    assert all(math.isnan(value) for value in values(metric.compute()).values())
