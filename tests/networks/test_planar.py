"""The network of sums in the plane, against numpy."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.networks import PlanarNetwork


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5), st.integers(1, 8), st.integers(0, 99))
def test_it_is_a_hidden_layer_behind_a_sum(vocabulary, length, width, mlp_width, seed):
    torch.manual_seed(seed)
    network = PlanarNetwork(vocabulary, length, width=width, mlp_width=mlp_width).double()
    weights = {name: tensor.detach().numpy() for name, tensor in network.named_parameters()}
    tokens = torch.randint(vocabulary, (6, length))
    for row, logits in zip(tokens.tolist(), network(tokens).detach().numpy(), strict=True):
        total = np.sum([weights["embedding.table.weight"][token] for token in row], axis=0)
        hidden = weights["classifier.hidden.weight"] @ total + weights["classifier.hidden.bias"]
        expected = weights["classifier.output.weight"] @ hidden.clip(0) + weights["classifier.output.bias"]
        np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-12)


def test_the_order_of_tokens_means_nothing():
    network = PlanarNetwork(7, 2)
    for a, b in itertools.product(range(7), repeat=2):
        one, other = network(torch.tensor([[a, b], [b, a]]))
        assert torch.equal(one, other)


def test_it_has_the_size_of_the_demo_unless_told_otherwise():
    network = PlanarNetwork(17, 2)
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        "embedding.table.weight": (17, 2),
        "classifier.hidden.weight": (64, 2),
        "classifier.hidden.bias": (64,),
        "classifier.output.weight": (17, 64),
        "classifier.output.bias": (17,),
    }
    tables = {"embedding.table.weight", "classifier.output.weight", "classifier.output.bias"}
    assert network.token_parameters == tables
    assert [name for name, _ in network.named_children()] == ["embedding", "decoder", "classifier"]
    assert network.own_tensors == frozenset()


def test_there_is_one_system():
    network = PlanarNetwork(17, 2, width=3)
    assert network.vectors_by_copy().shape == (1, 17, 3)
    assert torch.equal(network.vectors_by_copy()[0], network.embedding.table.weight)


@pytest.mark.parametrize("std", [None, 0.3])
def test_weights_begin_normal_and_as_linear_layers_do(std):
    torch.manual_seed(0)
    network = PlanarNetwork(4000, 2, mlp_width=500, **({} if std is None else {"init_std": std}))
    table = network.embedding.table.weight
    assert table.std().item() == pytest.approx(std or 1.0, rel=0.02)
    assert abs(table.mean().item()) < 0.05
    kurtosis = (table.double() ** 4).mean() / (table.double() ** 2).mean() ** 2
    assert kurtosis.item() == pytest.approx(3, rel=0.1)
    for layer, inputs in (("hidden", 2), ("output", 500)):
        for name in ("weight", "bias"):
            drawn = network.get_parameter(f"classifier.{layer}.{name}")
            assert 0.95 * inputs**-0.5 < drawn.abs().max() <= inputs**-0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary_size": 0}, "`vocabulary_size` must be at least 1, got 0"),
        ({"length": 0}, "`length` must be at least 1, got 0"),
        ({"width": 0}, "`width` must be at least 1, got 0"),
        ({"mlp_width": 0}, "`mlp_width` must be at least 1, got 0"),
        ({"init_std": 0.0}, "`init_std` must be positive.*got 0.0"),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PlanarNetwork(**({"vocabulary_size": 5, "length": 2} | arguments))


def test_sequences_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(batch, 2\), got \(4, 3\)"):
        PlanarNetwork(5, 2)(torch.zeros(4, 3, dtype=torch.long))
