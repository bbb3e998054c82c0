"""The additive network, and the weights with which it is an operation of a group."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.networks import AdditiveNetwork, exact_network
from grok_lightning.operations import abelian_group, operation_table
from grok_lightning.spectra import top_character_share


def test_it_is_a_weighted_sum_between_a_table_and_an_mlp():
    torch.manual_seed(0)
    network = AdditiveNetwork(5, 3, width=4, mlp_width=6, activation="sine").double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    tokens = torch.randint(5, (7, 3))
    classifier = network.classifier
    for row, logits in zip(tokens.tolist(), network(tokens), strict=True):
        vectors = [network.embedding.table.weight[token] for token in row]
        total = sum(weight * vector for weight, vector in zip(network.decoder.weights, vectors, strict=True))
        hidden = torch.sin(classifier.hidden.weight @ total + classifier.hidden.bias)
        torch.testing.assert_close(logits, classifier.output.weight @ hidden + classifier.output.bias)


def test_its_parameters():
    network = AdditiveNetwork(7, 4, width=5)
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        "embedding.table.weight": (7, 5),
        "decoder.weights": (4,),
        "classifier.hidden.weight": (20, 5),
        "classifier.hidden.bias": (20,),
        "classifier.output.weight": (7, 20),
        "classifier.output.bias": (7,),
    }
    assert network.decoder.weights.tolist() == [1, 1, 1, 1]
    assert network.token_parameters == {"embedding.table.weight", "classifier.output.weight", "classifier.output.bias"}


def solved(operation, modulus, operands=2, frequency=1):
    """Whether the exact network gives the result of every composition of elements of the group (and its zero)."""
    group, values = abelian_group(operation, modulus), operation_table(operation, modulus).values
    weights = [1.0] + [0.0, -1.0 if group.inverts else 1.0] * (operands - 1) + [0.0]
    vocabulary = len(values) + 2  # the sign and "="
    network = exact_network(group, vocabulary, weights, frequency)
    rows, answers = [], []
    for elements in itertools.product(
        [*group.coordinates, *([] if group.zero is None else [group.zero])], repeat=operands
    ):
        answer = elements[0]
        for element in elements[1:]:
            answer = values[answer][element] if answer >= 0 else answer
        if answer >= 0:
            rows.append([token for element in elements for token in (element, len(values))])
            rows[-1][-1] = len(values) + 1
            answers.append(answer)
    assert len(rows) >= len(group.coordinates) ** operands
    return torch.equal(network(torch.tensor(rows)).argmax(-1), torch.tensor(answers))


@settings(deadline=None, max_examples=40)
@given(operation=st.sampled_from(["add", "sub", "mul", "div"]), modulus=st.integers(3, 31), frequency=st.integers(1, 9))
def test_the_theorem_solves_an_operation_exactly(operation, modulus, frequency):
    if operation == "div" and modulus % 2 == 0:
        return
    orders = abelian_group(operation, modulus).orders
    if any(math.gcd(frequency, order) > 1 for order in orders):
        with pytest.raises(ValueError, match="must have no divisor in common"):
            solved(operation, modulus, frequency=frequency)
    else:
        assert solved(operation, modulus, frequency=frequency)


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div"])
def test_at_the_modulus_of_the_paper(operation):
    assert solved(operation, 97, frequency=5)


@pytest.mark.parametrize("operands", [3, 4])
@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div"])
def test_inner_and_outer_function_do_not_depend_on_the_number_of_operands(operation, operands):
    assert solved(operation, 7, operands)
    two, more = (
        exact_network(abelian_group(operation, 7), 9, [1.0] * length).state_dict() for length in (4, 2 * operands)
    )
    assert all(torch.equal(two[name], more[name]) for name in two if name != "decoder.weights")


@pytest.mark.parametrize(("operation", "opposite"), [("add", "sub"), ("mul", "div")])
def test_an_operation_and_its_opposite_differ_in_the_sum_alone(operation, opposite):
    one, other = (
        exact_network(abelian_group(name, 13), 15, [1, 0, 1, 0]).state_dict() for name in (operation, opposite)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_groups_of_several_factors_have_as_many_angles():
    network = exact_network(abelian_group("mul", 63), 65, [1, 0, 1, 0])
    assert network.embedding.table.weight.shape == (65, 3)
    assert solved("mul", 63)


@pytest.mark.parametrize(("operation", "frequency"), [("add", 1), ("add", 5), ("mul", 5)])
def test_the_angles_of_the_theorem_are_a_sawtooth_to_the_character_share(operation, frequency):
    group = abelian_group(operation, 97)
    vectors = exact_network(group, 99, [1, 0, 1, 0], frequency).token_vectors().detach()
    assert top_character_share(vectors[group.members], group.orders).item() == pytest.approx(6 / math.pi**2, abs=2e-3)


def test_more_positions_than_zeros_can_be_counted_are_refused():
    with pytest.raises(ValueError, match="`weights` must be at most 300, got 301"):
        exact_network(abelian_group("mul", 7), 9, [1.0] * 301)


@pytest.mark.parametrize("std", [0.02, 0.3, None])
def test_all_weights_but_those_of_the_positions_begin_with_the_given_spread(std):
    torch.manual_seed(0)
    network = AdditiveNetwork(500, 4, width=256, init_std=std)
    for name in ("embedding.table.weight", "classifier.hidden.weight", "classifier.output.weight"):
        weight = network.get_parameter(name)
        assert weight.std().item() == pytest.approx(weight.shape[-1] ** -0.5 if std is None else std, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`width` must be at least 1"),
        ({"mlp_width": 0}, "`mlp_width` must be at least 1"),
        ({"init_std": 0.0}, "`init_std` must be positive, or null"),
        ({"activation": "sin"}, "must be one of relu, gelu, sine"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AdditiveNetwork(5, 4, **options)
