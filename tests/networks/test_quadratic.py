import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import QuadraticMLP


@settings(deadline=None, max_examples=30)
@given(vocabulary=st.integers(1, 9), length=st.integers(1, 5), width=st.integers(1, 8), seed=st.integers(0, 99))
def test_it_is_a_matrix_times_the_square_of_a_matrix_times_one_hot(vocabulary, length, width, seed):
    torch.manual_seed(seed)
    network = QuadraticMLP(vocabulary, length, width=width).double()
    tokens = torch.randint(vocabulary, (6, length))
    first = torch.zeros(width, length * vocabulary, dtype=torch.double)
    for token in range(vocabulary):
        for position in range(length):
            vector = network.token_vectors()[token, position * width : (position + 1) * width]
            first[:, position * vocabulary + token] = vector
    second = network.classifier.output.weight
    for row, logits in zip(tokens, network(tokens), strict=True):
        one_hot = torch.zeros(length * vocabulary, dtype=torch.double)
        for position, token in enumerate(row.tolist()):
            one_hot[position * vocabulary + token] = 1
        torch.testing.assert_close(logits, second @ (first @ one_hot) ** 2)


def test_a_token_contributes_the_vector_of_its_own_position():
    network = QuadraticMLP(3, 2, width=4)
    vectors = network.token_vectors().view(3, 2, 4)
    embedded = network.embedding(torch.tensor([[2, 0]]))
    assert torch.equal(embedded[0], torch.stack([vectors[2, 0], vectors[0, 1]]))


def test_parameters_and_their_names():
    network = QuadraticMLP(61, 2)
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        "embedding.table.weight": (61, 2 * 1024),
        "classifier.output.weight": (61, 1024),
    }
    assert network.token_parameters == {"embedding.table.weight", "classifier.output.weight"}
    assert [name for name, _ in network.named_children()] == ["embedding", "decoder", "classifier"]


def test_weights_begin_uniform_within_the_inverse_root_of_the_inputs():
    torch.manual_seed(0)
    network = QuadraticMLP(61, 2)
    for name, inputs in (("embedding.table.weight", 2 * 61), ("classifier.output.weight", 1024)):
        weight = network.get_parameter(name)
        bound = inputs**-0.5
        assert 0.99 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_building_on_the_meta_device_needs_no_memory():
    with torch.device("meta"):
        network = QuadraticMLP(10**8, 3)
        assert network(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 10**8)


@pytest.mark.parametrize(
    ("arguments", "name"), [((0, 2, 4), "vocabulary_size"), ((5, 0, 4), "length"), ((5, 2, 0), "width")]
)
def test_wrong_sizes_are_named(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        QuadraticMLP(*arguments[:2], width=arguments[2])


def test_sequences_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(batch, 2\), got \(4, 3\)"):
        QuadraticMLP(5, 2)(torch.zeros(4, 3, dtype=torch.long))


def jacobian_trace(first, second, inputs):
    """The mean of the squares of the Jacobian of W₂ (W₁ x)² at inputs x, by automatic differentiation."""
    answers = lambda x: second @ (first @ x).square()  # noqa: E731
    return torch.stack([torch.func.jacrev(answers)(x).square().sum() for x in inputs]).mean()


def test_the_trace_of_the_agop_has_the_derivative_of_the_square():
    torch.manual_seed(0)
    network, tokens = QuadraticMLP(5, 2, width=7).double(), torch.randint(5, (6, 2))
    own = torch.autograd.grad(network.agop_trace(tokens), list(network.parameters()))
    first = network.token_vectors().detach().view(5, 2, 7).permute(2, 1, 0).reshape(7, 10).requires_grad_()
    second = network.classifier.output.weight.detach().clone().requires_grad_()
    one_hot = torch.nn.functional.one_hot(tokens, 5).flatten(1).double()
    theirs = torch.autograd.grad(jacobian_trace(first, second, one_hot), [first, second])
    torch.testing.assert_close(own[0].view(5, 2, 7).permute(2, 1, 0).reshape(7, 10), theirs[0])
    torch.testing.assert_close(own[1], theirs[1])


def test_mapped_inputs_are_those_of_a_network_on_the_mapped_one_hot_vectors():
    torch.manual_seed(0)
    network = QuadraticMLP(7, 2, width=6, inputs="random_circulant")
    assert network.wants_symmetry
    network.draw_inputs(BinaryOperationDataModule("sub", 7, layout="a b").symmetry())
    mapping = network.embedding.mapping
    assert (mapping - torch.eye(14)).abs().max() > 0.1
    torch.testing.assert_close(mapping, mapping.T)
    first = network.embedding.table.weight.view(7, 2, 6).permute(2, 1, 0).reshape(6, 14)
    tokens = torch.randint(7, (9, 2))
    one_hot = torch.nn.functional.one_hot(tokens, 7).flatten(1).float()
    expected = (one_hot @ mapping @ first.T).square() @ network.classifier.output.weight.T
    torch.testing.assert_close(network(tokens), expected)
    torch.testing.assert_close(network.feature_matrix(), mapping @ first.T @ first @ mapping)
    assert {name for name, _ in network.named_parameters()} == {"embedding.table.weight", "classifier.output.weight"}
    assert "embedding.mapping" in network.state_dict()
