import copy
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from grok_lightning.networks import ArithmeticTransformer, QuadraticMLP, freeze, frozen_rows, joined_rows, named_tensors

TABLE = "embedding.table.weight"


def in_order(words):
    """A pattern for a message that has these words, one after the other."""
    return "(?s)" + ".*".join(map(re.escape, words))


def build(seed=0):
    torch.manual_seed(seed)
    return ArithmeticTransformer(9, 3, width=8, heads=2, embedding_mlps=1)


def train(network, steps=50):
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=1.0, fused=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        tokens = torch.randint(9, (32, 3), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(network(tokens), tokens[:, 0]).backward()
        optimizer.step()


def bits(tensor):
    return tensor.detach().clone().view(torch.int32)


@settings(deadline=None, max_examples=25)
@given(rows=st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_a_split_changes_no_output_and_leaves_the_new_rows_to_train(rows):
    network, split = build(), build()
    freeze(split, TABLE, rows)
    tokens = torch.randint(9, (16, 3))
    assert torch.equal(split(tokens), network(tokens))
    for net in (network, split):
        net(tokens).square().sum().backward()
    new = sorted({*range(9)} - rows)
    trained = dict(split.named_parameters())["embedding.table.parametrizations.weight.original"]
    assert trained.shape == (len(new), 8)
    assert torch.equal(trained.detach(), network.embedding.table.weight[new])
    torch.testing.assert_close(trained.grad, network.embedding.table.weight.grad[new])


@pytest.mark.parametrize("name", [TABLE, "classifier.output.weight", "classifier.output.bias"])
def test_kept_rows_keep_their_bits_under_weight_decay(name):
    network, rows = build(), [7, 0, 3]
    freeze(network, name, torch.tensor(rows))
    before = named_tensors(network)[name].clone()
    train(network)
    after = named_tensors(network)[name]
    assert torch.equal(bits(before)[rows], bits(after)[rows])
    for row in {*range(9)} - {*rows}:
        assert not torch.equal(before[row], after[row])


def test_a_masked_gradient_would_not_keep_them():
    network = build()
    before = network.embedding.table.weight.detach().clone()
    network.embedding.table.weight.register_hook(lambda gradient: gradient * 0)
    train(network, steps=5)
    assert not torch.equal(before, network.embedding.table.weight)


@pytest.mark.parametrize("rows", [None, range(9), [8, *range(9)]])
def test_all_rows_kept_is_a_parameter_that_is_not_trained(rows):
    network = build()
    before = bits(network.embedding.table.weight)
    freeze(network, TABLE, rows)
    assert isinstance(network.embedding.table.weight, nn.Parameter)
    assert not network.embedding.table.weight.requires_grad
    train(network, steps=3)
    assert torch.equal(before, bits(network.embedding.table.weight))


def test_rows_frozen_before_stay_frozen():
    network = build()
    before = bits(network.embedding.table.weight)
    for rows in ([1, 2], [5], [2, 0]):
        freeze(network, TABLE, rows)
    assert network.embedding.table.parametrizations.weight.original.shape == (5, 8)
    train(network, steps=3)
    changed = (before != bits(network.embedding.table.weight)).any(1)
    assert changed.tolist() == [row not in {0, 1, 2, 5} for row in range(9)]
    freeze(network, TABLE, [3, 4, 6, 7, 8])
    assert not network.embedding.table.weight.requires_grad
    freeze(network, TABLE, [3])
    assert isinstance(network.embedding.table.weight, nn.Parameter)
    assert not network.embedding.table.weight.requires_grad


def test_state_dict_loads_where_the_same_is_frozen():
    donor, other = build(0), build(1)
    for network in (donor, other):
        freeze(network, TABLE, [2, 4])
        freeze(network, "classifier.output.bias", [0])
        freeze(network, "decoder.positions.weight")
    train(donor, steps=3)
    other.load_state_dict(donor.state_dict())
    tokens = torch.randint(9, (16, 3))
    assert torch.equal(donor(tokens), other(tokens))


def test_what_is_frozen_can_be_done_again_and_then_the_state_dict_loads():
    donor, other = build(0), build(1)
    freeze(donor, TABLE, [4, 2])
    freeze(donor, "classifier.output.bias", [0])
    freeze(donor, "decoder.positions.weight")
    donor.embedding.table.parametrizations.weight.original.requires_grad_(False)  # as a rule for parameters does
    frozen = frozen_rows(donor)
    assert frozen == {TABLE: [2, 4], "classifier.output.bias": [0], "decoder.positions.weight": None}
    for name, rows in frozen.items():
        freeze(other, name, rows)
    other.load_state_dict(donor.state_dict())
    assert frozen_rows(other) == frozen
    assert frozen_rows(build()) == {}


def test_a_state_dict_brings_its_own_rows():
    donor, other = build(0), build(1)
    freeze(donor, TABLE, [2, 4])
    freeze(other, TABLE, [0, 8])
    other.load_state_dict(donor.state_dict())
    assert torch.equal(donor.embedding.table.weight, other.embedding.table.weight)


def test_a_split_network_copies_and_pickles_as_a_state_dict(tmp_path):
    network = build()
    freeze(network, TABLE, [2, 4])
    tokens = torch.randint(9, (16, 3))
    assert torch.equal(copy.deepcopy(network)(tokens), network(tokens))
    torch.save(network.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    sizes = [
        state[f"embedding.table.parametrizations.weight.{part}"].untyped_storage().nbytes()
        for part in ("original", "0.kept")
    ]
    assert sizes == [7 * 8 * 4, 2 * 8 * 4]


def test_joined_rows_is_the_state_dict_without_splits():
    network = build()
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    freeze(network, TABLE, [2, 4])
    freeze(network, "classifier.output.weight", [8])
    joined = joined_rows(network.state_dict())
    assert joined.keys() == expected.keys()
    assert all(torch.equal(joined[name], expected[name]) for name in expected)


def test_a_split_works_on_the_meta_device_and_in_the_quadratic_network():
    with torch.device("meta"):
        freeze(build(), TABLE, [1])
    network = QuadraticMLP(5, 2, width=3)
    tokens = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    before = network(tokens)
    freeze(network, TABLE, [1, 3])
    assert torch.equal(before, network(tokens))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.output = nn.Embedding(5, 3), nn.Linear(3, 5)
        self.output.weight = self.table.weight


def test_a_tied_parameter_is_frozen_in_whole_or_not_at_all():
    module = Tied()
    with pytest.raises(ValueError, match=r"'table\.weight' is tied"):
        freeze(module, "table.weight", [1])
    assert module.output.weight is module.table.weight
    assert module.table.weight.requires_grad
    freeze(module, "table.weight")
    assert not module.output.weight.requires_grad


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("embedding.tabel.weight", None, ["'embedding.tabel.weight'", "Did you mean 'embedding.table.weight'?"]),
        (TABLE, [], ["No row", TABLE]),
        (TABLE, [1, 9], ["rows 0 to 8", "row 9"]),
        (TABLE, [-1], ["row -1"]),
    ],
)
def test_wrong_names_and_rows_are_named(name, rows, words):
    with pytest.raises(ValueError, match=in_order(words)):
        freeze(build(), name, rows)
