import re

import pytest
import torch
from torch import nn

from grok_lightning.networks import (
    ArithmeticTransformer,
    freeze,
    load_tensors,
    named_tensors,
    plain_named_parameters,
    tied_names,
)

TABLE, BIAS = "embedding.table.weight", "classifier.output.bias"


def build(seed=0, split=False):
    torch.manual_seed(seed)
    network = ArithmeticTransformer(9, 3, width=8, heads=2)
    if split:
        freeze(network, TABLE, [1, 4, 8])
        freeze(network, BIAS, [0])
    return network


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.output = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.output.weight = self.table.weight
        self.register_buffer("mean", torch.ones(2))
        self.register_buffer("scratch", torch.ones(2), persistent=False)


def test_names_and_tensors_are_the_same_with_and_without_splits():
    plain, split = named_tensors(build()), named_tensors(build(split=True))
    assert plain.keys() == split.keys() == dict(build().named_parameters()).keys()
    assert all(torch.equal(plain[name], split[name]) for name in plain)
    assert not any(tensor.requires_grad for tensor in split.values())


def test_parameters_are_named_plainly_with_the_rows_that_train():
    network = build(split=True)
    parameters = dict(plain_named_parameters(network))
    assert parameters.keys() == dict(build().named_parameters()).keys()
    assert parameters[TABLE].shape == (6, 8)
    assert parameters[BIAS].shape == (8,)
    assert {*map(id, parameters.values())} == {*map(id, network.parameters())}


def test_tied_tensors_come_once_and_saved_buffers_too():
    module = Tied()
    assert named_tensors(module).keys() == {"table.weight", "output.bias", "mean"}
    assert tied_names(module) == {"output.weight": "table.weight"}
    assert tied_names(build(split=True)) == {}


@pytest.mark.parametrize(("donor", "target"), [(False, True), (True, False), (True, True)])
def test_tensors_written_back_make_the_same_network(donor, target):
    donor, target = build(0, donor), build(1, target)
    parameters = {name: id(parameter) for name, parameter in target.named_parameters()}
    load_tensors(target, named_tensors(donor), strict=True)
    tokens = torch.randint(9, (16, 3))
    assert torch.equal(donor(tokens), target(tokens))
    assert {name: id(parameter) for name, parameter in target.named_parameters()} == parameters
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in target.parameters())


@pytest.mark.parametrize("split", [False, True])
def test_rows_are_written_alone(split):
    network = build(split=split)
    before = network.embedding.table.weight.detach().clone()
    load_tensors(network, {TABLE: torch.tensor([[4.0] * 8, [7.0] * 8], dtype=torch.double)}, (4, 7))
    after = network.embedding.table.weight
    assert torch.equal(after[4], torch.full((8,), 4.0))
    assert torch.equal(after[7], torch.full((8,), 7.0))
    others = [0, 1, 2, 3, 5, 6, 8]
    assert torch.equal(after[others], before[others])


def test_written_tensors_are_copied_and_take_the_type_of_the_network():
    network, values = build(), torch.ones(9, 8, dtype=torch.double)
    load_tensors(network, {TABLE: values})
    values += 1
    assert network.embedding.table.weight.dtype == torch.float32
    assert (network.embedding.table.weight == 1).all()


def test_a_write_through_a_split_table_is_copied_and_stays_trainable():
    network, values = build(split=True), torch.ones(9, 8, dtype=torch.double)
    load_tensors(network, {TABLE: values})
    values += 1
    assert network.embedding.table.weight.dtype == torch.float32
    assert (network.embedding.table.weight == 1).all()
    network(torch.randint(9, (16, 3))).sum().backward()
    assert network.embedding.table.parametrizations.weight.original.grad is not None


def test_a_tied_tensor_is_written_by_either_name():
    for name in ("table.weight", "output.weight"):
        module = Tied()
        load_tensors(
            module, {name: torch.zeros(5, 3), "output.bias": torch.zeros(5), "mean": torch.zeros(2)}, strict=True
        )
        assert not module.table.weight.any()
        assert module.output.weight is module.table.weight


def test_all_faults_come_at_once_and_nothing_is_written():
    network = build()
    before = {name: tensor.clone() for name, tensor in named_tensors(network).items()}
    wrong = {BIAS: torch.zeros(9), TABLE: torch.zeros(8, 8), "clasifier.output.weight": torch.zeros(9, 8)}
    with pytest.raises(ValueError, match="tensor") as error:
        load_tensors(network, wrong, strict=True)
    message = str(error.value)
    assert "'embedding.table.weight' must have shape (9, 8), got (8, 8)" in message
    assert "no tensor 'clasifier.output.weight'. Did you mean 'classifier.output.weight'?" in message
    assert "'decoder.positions.weight' is missing" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(network).items())


@pytest.mark.parametrize(
    ("values", "rows", "words"),
    [
        (torch.zeros(2, 8), [0, 9], "rows 0 to 8, got [0, 9]"),
        (torch.zeros(9, 8), [0, 1], "must have shape (2, 8), got (9, 8)"),
    ],
)
def test_wrong_rows_are_named(values, rows, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        load_tensors(build(), {TABLE: values}, rows)
