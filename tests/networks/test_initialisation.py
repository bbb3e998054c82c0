"""Weights begin with the standard deviation that their rate says, in every network."""

import inspect
import math
from dataclasses import fields

import pytest
import torch
from torch import nn

from grok_lightning import networks
from grok_lightning.networks import (
    AdditiveNetwork,
    ArithmeticTransformer,
    InitRates,
    Network,
    PlanarNetwork,
    QuadraticMLP,
)
from grok_lightning.networks.initialisation import kind_of

VOCABULARY, LENGTH = 23, 9
ENOUGH = 90_000
"""Values whose deviation is known to a quarter of a per cent: 1 / √(2 · 90 000)."""
NETWORKS = {
    "transformer": lambda rates: ArithmeticTransformer(
        VOCABULARY, LENGTH, width=24, heads=2, head_width=8, mlp_width=40, blocks=2, norm="post", init_rates=rates
    ),
    "refined": lambda rates: ArithmeticTransformer(
        VOCABULARY, LENGTH, width=24, heads=2, embedding_mlps=1, classifier="mlp", bias=False, init_rates=rates
    ),
    "additive": lambda rates: AdditiveNetwork(VOCABULARY, LENGTH, width=24, mlp_width=40, init_rates=rates),
    "planar": lambda rates: PlanarNetwork(VOCABULARY, LENGTH, width=10, mlp_width=40, init_rates=rates),
    "quadratic": lambda rates: QuadraticMLP(VOCABULARY, LENGTH, width=40, init_rates=rates),
}
KINDS = {
    "embedding.table": "embedding",
    "embedding.mlps.0.hidden": "mlp",
    "embedding.mlps.0.output": "mlp",
    "decoder.positions": "embedding",
    "classifier.hidden": "classifier",
    "classifier.output": "classifier",
    **{f"decoder.blocks.{n}.attention.{part}": "query_key" for n in (0, 1) for part in ("query", "key")},
    **{f"decoder.blocks.{n}.attention.{part}": "value_output" for n in (0, 1) for part in ("value", "output")},
    **{f"decoder.blocks.{n}.mlp.{part}": "mlp" for n in (0, 1) for part in ("hidden", "output")},
}


def matrices(network):
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Embedding)}


def drawn(name, rates):
    """All values of each matrix over many draws, and its number of inputs."""
    torch.manual_seed(0)
    first = matrices(NETWORKS[name](rates))
    least = min(module.weight.numel() for module in first.values())
    networks = [NETWORKS[name](rates) for _ in range(-(-ENOUGH // least))]
    inputs = {key: module.weight.shape[-1] for key, module in first.items()}
    if name == "quadratic":
        inputs["embedding.table"] = VOCABULARY * LENGTH  # it acts on one-hot sequences
    values = {key: torch.cat([matrices(each)[key].weight.detach().flatten() for each in networks]) for key in inputs}
    return values, inputs


@pytest.mark.parametrize("rate", [0.3, 0.8])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_rate_for_all_weights(name, rate):
    values, inputs = drawn(name, rate)
    assert values.keys() <= KINDS.keys()
    for key, sample in values.items():
        assert sample.std().item() == pytest.approx(inputs[key] ** -rate, rel=0.01)
        assert abs(sample.mean().item()) < 5 * inputs[key] ** -rate / math.sqrt(len(sample))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rate_for_each_kind(name):
    rates = InitRates(embedding=0.2, query_key=0.35, value_output=0.55, mlp=0.7, classifier=0.9)
    values, inputs = drawn(name, rates)
    for key, sample in values.items():
        expected = inputs[key] ** -getattr(rates, KINDS[key])
        assert sample.std().item() == pytest.approx(expected, rel=0.01)


def test_biases_and_norms_begin_as_ever():
    network = NETWORKS["transformer"](0.8)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "norm" in name:
            assert (parameter == 1).all()


def test_a_rate_of_one_half_is_what_no_deviation_means():
    networks = []
    for options in ({"init_std": None}, {"init_rates": 0.5}):
        torch.manual_seed(1)
        networks.append(AdditiveNetwork(VOCABULARY, LENGTH, **options))
    one, other = (dict(network.named_parameters()) for network in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_kinds_by_name():
    assert {name: kind_of(name) for name in KINDS} == KINDS
    assert set(KINDS.values()) == {each.name for each in fields(InitRates)}
    with pytest.raises(ValueError, match="no initialisation rate"):
        kind_of("decoder.blocks.0.gate")


@pytest.mark.parametrize("network", [ArithmeticTransformer, AdditiveNetwork, PlanarNetwork])
def test_two_ways_to_begin_are_refused(network):
    with pytest.raises(ValueError, match="both given"):
        network(5, 2, init_std=0.3, init_rates=0.8)


def test_rates_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="mlp must be finite, got nan"):
        InitRates(mlp=math.nan)


def test_every_network_with_weight_matrices_has_rates():
    """Particles have places, and a feature machine solves for its weights."""
    families = [cls for cls in vars(networks).values() if isinstance(cls, type) and issubclass(cls, Network)]
    without = {cls.__name__ for cls in families if "init_rates" not in inspect.signature(cls).parameters}
    assert without == {"Network", "ParticleSystem", "FeatureMachine"}


def test_a_scaled_branch_begins_with_its_share_of_the_rate():
    def deviations(scaling):
        torch.manual_seed(0)
        network = ArithmeticTransformer(
            VOCABULARY, LENGTH, width=200, heads=2, blocks=2, init_rates=0.7, residual_scaling=scaling
        )
        return {name: float(module.weight.detach().std()) for name, module in matrices(network).items()}

    plain, scaled = deviations("none"), deviations("all")
    for name, deviation in plain.items():
        is_output = name.startswith("decoder.blocks") and name.endswith("output")
        assert scaled[name] == pytest.approx(deviation * (0.5 if is_output else 1), rel=1e-6)


def test_a_tied_table_begins_with_the_rate_of_the_embedding():
    rates = InitRates(embedding=0.9, classifier=0.1)
    network = ArithmeticTransformer(500, 4, width=200, heads=2, tied=True, init_rates=rates)
    assert network.classifier.output.weight is network.embedding.table.weight
    assert float(network.embedding.table.weight.detach().std()) == pytest.approx(200**-0.9, rel=0.01)
