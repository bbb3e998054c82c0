"""Feature machines against numpy on one-hot vectors, against autograd, and against what the paper finds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from torch import nn

from grok_lightning.circulants import circulant_deviation, diagonals
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import FeatureMachine, QuadraticMLP, freeze, load_tensors
from grok_lightning.networks.agop import average_gradient_outer_product

kernels = pytest.mark.parametrize("kernel", ["quadratic", "gaussian"])


def one_hot(tokens, vocabulary):
    return np.concatenate([np.eye(vocabulary)[column] for column in tokens.T.numpy()], axis=1)


def kernel_values(kernel, left, right, matrix, scale):
    """The kernels as the paper writes them."""
    if kernel == "quadratic":
        return (left @ matrix @ right.T) ** 2
    difference = left[:, None] - right[None]
    return np.exp(-np.einsum("ijd,de,ije->ij", difference, matrix, difference) / scale)


def machine(kernel, vocabulary, length, seed, points=6, **arguments):
    """A machine with random features and coefficients, and its points."""
    torch.manual_seed(seed)
    network = FeatureMachine(vocabulary, length, kernel=kernel, **arguments)
    root = torch.randn(length * vocabulary, length * vocabulary, dtype=torch.double)
    network.set_features(root @ root.T / vocabulary)
    tokens = torch.randint(vocabulary, (points, length))
    network.place_centres(tokens)
    nn.init.normal_(network.classifier.output.weight)
    return network, tokens


cases = {
    "kernel": st.sampled_from(["quadratic", "gaussian"]),
    "vocabulary": st.integers(1, 6),
    "length": st.integers(1, 4),
    "points": st.integers(1, 9),
    "seed": st.integers(0, 999),
}


@settings(deadline=None, max_examples=60)
@given(**cases, extra=st.integers(0, 3))
def test_it_is_a_kernel_machine_on_one_hot_vectors(kernel, vocabulary, length, points, seed, extra):
    options = {"width": 2 * length * vocabulary + extra, **({"scale": 3.5} if kernel == "gaussian" else {})}
    network, tokens = machine(kernel, vocabulary, length, seed, points, **options)
    others = torch.randint(vocabulary, (5, length))
    matrix = network.feature_matrix().detach().numpy()
    values = kernel_values(kernel, one_hot(others, vocabulary), one_hot(tokens, vocabulary), matrix, 3.5)
    np.testing.assert_allclose(network.decode(others).detach().numpy(), values, rtol=1e-8, atol=1e-10)
    logits = values @ network.classifier.output.weight.detach().numpy().T
    np.testing.assert_allclose(network(others).detach().numpy(), logits, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(network.answer(network.embedding(others)).detach().numpy(), logits, rtol=1e-8, atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(**cases, centred=st.booleans())
def test_the_closed_agop_is_that_of_autograd(kernel, vocabulary, length, points, seed, centred):
    network, tokens = machine(kernel, vocabulary, length, seed, points)
    closed, automatic = (
        network.agop(network.decoder.centres, centred),
        average_gradient_outer_product(network, tokens, centred),
    )
    scale = average_gradient_outer_product(network, tokens).norm()
    assert (closed - automatic).norm() <= 1e-10 * scale + 1e-20  # beside exact zeros autograd has rounding


@kernels
def test_the_agop_is_that_of_finite_differences(kernel):
    network, tokens = machine(kernel, 3, 2, seed=1)
    matrix, centres = network.feature_matrix().detach().numpy(), one_hot(tokens, 3)
    alpha, step = network.classifier.output.weight.detach().numpy().T, 1e-5

    def answers(inputs):
        return (
            kernel_values(kernel, inputs, centres, matrix, network.decoder.scale if kernel == "gaussian" else 1) @ alpha
        )

    total = np.zeros((6, 6))
    for centre in centres:
        moved = [answers(centre + sign * step * np.eye(6)) for sign in (1, -1)]
        jacobian = (moved[0] - moved[1]) / (2 * step)  # (inputs, classes)
        total += jacobian @ jacobian.T / len(centres)
    np.testing.assert_allclose(network.agop(network.decoder.centres).detach().numpy(), total, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("block", [1, 40, 2**21])
def test_how_many_points_are_taken_at_a_time_does_not_matter(block, monkeypatch):
    network, tokens = machine("gaussian", 5, 2, seed=2, points=11)
    monkeypatch.setattr("grok_lightning.networks.kernels.BLOCK_NUMBERS", block)
    expected = average_gradient_outer_product(network, tokens, centred=True)
    torch.testing.assert_close(network.agop(network.decoder.centres, centred=True), expected)


@kernels
@pytest.mark.parametrize("centred", [False, True])
def test_the_closed_agop_is_for_any_sequences(kernel, centred):
    network, _ = machine(kernel, 5, 2, seed=3)
    network.place_centres(torch.tensor([[0, 1], [1, 0], [2, 1], [1, 1], [0, 0], [2, 2]]))
    others = torch.randint(5, (17, 2))  # also of tokens that no centre has
    torch.testing.assert_close(network.agop(others, centred), average_gradient_outer_product(network, others, centred))


@kernels
def test_an_unfitted_machine_has_no_gradients(kernel):
    network = FeatureMachine(5, 2, kernel=kernel)
    assert not network(torch.tensor([[3, 4]])).any()
    assert not network.agop(torch.tensor([[3, 4], [0, 0]])).any()


@kernels
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_fit_solves_the_system_and_returns_its_answers(kernel, ridge):
    network, _ = machine(kernel, 5, 2, seed=4)
    tokens = torch.cartesian_prod(torch.arange(5), torch.arange(5))[torch.randperm(25)[:17]]
    answers = tokens.sum(1) % 5
    fitted = network.fit(tokens, answers, ridge)
    matrix = network.feature_matrix().detach().numpy()
    inputs = one_hot(tokens, 5)
    gram = kernel_values(kernel, inputs, inputs, matrix, 12.5)
    alpha = np.linalg.solve(gram + ridge * np.eye(17), np.eye(5)[answers])
    np.testing.assert_allclose(network.classifier.output.weight.detach().numpy().T, alpha, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.numpy(), gram @ alpha, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(network(tokens), fitted, rtol=1e-8, atol=1e-8)
    assert (ridge > 0) == ((fitted - torch.eye(5, dtype=torch.double)[answers]).square().mean() > 1e-12)


def test_equal_points_make_it_singular_which_is_mended_and_said():
    network = FeatureMachine(5, 2)
    tokens = torch.tensor([[0, 1], [2, 3], [0, 1], [4, 4]])
    with pytest.warns(UserWarning, match=r"the kernel matrix is singular: 1e-14 of its mean diagonal was added"):
        fitted = network.fit(tokens, torch.tensor([1, 2, 1, 3]))
    assert fitted.argmax(1).tolist() == [1, 2, 1, 3]


def test_what_cannot_be_mended_is_refused():
    network = FeatureMachine(5, 2)
    network.set_features(-torch.eye(10, dtype=torch.double))
    with pytest.raises(ValueError, match=r"singular.*give a ridge"):
        network.fit(torch.tensor([[0, 1], [2, 3]]), torch.tensor([1, 2]))


@kernels
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_features_become_a_power_of_the_agop(kernel, power):
    network, tokens = machine(kernel, 4, 2, seed=5, points=16)
    agop = average_gradient_outer_product(network, tokens, centred=True).numpy()
    network.learn_features(power)
    expected = fractional_matrix_power(agop + 1e-14 * np.eye(8), power).real
    np.testing.assert_allclose(
        network.feature_matrix().detach().numpy(), expected, rtol=1e-5, atol=1e-7 * expected.max()
    )


def test_features_are_kept_as_the_root_and_negative_parts_are_dropped():
    network = FeatureMachine(3, 2, width=13)
    assert torch.equal(network.feature_matrix(), torch.eye(6, dtype=torch.double))
    values = torch.tensor([4.0, 1.0, 0.25, 0.0, -1.0, -9.0], dtype=torch.double)
    vectors = torch.linalg.qr(torch.randn(6, 6, dtype=torch.double))[0]
    network.set_features(vectors * values @ vectors.T)
    torch.testing.assert_close(network.feature_matrix(), vectors * values.clamp(min=0) @ vectors.T)
    rows = network.token_vectors().view(3, 2, 13)  # token, position: inputs run over tokens first
    torch.testing.assert_close(rows[1, 0] @ rows[2, 1], network.feature_matrix()[1, 3 + 2])
    assert not rows[..., 6:].any()


def test_features_that_are_frozen_in_part_are_refused():
    network, _ = machine("quadratic", 4, 2, seed=6)
    freeze(network, "embedding.table.weight", [0, 1])
    for change in (network.learn_features, network.require_whole):
        with pytest.raises(ValueError, match=r"as a whole or not at all.*give the transfer `freeze: false`"):
            change()
    network, tokens = machine("quadratic", 4, 2, seed=6)
    assert network.learns_features
    freeze(network, "embedding.table.weight")
    assert not network.learns_features
    network.fit(tokens.unique(dim=0), torch.zeros(len(tokens.unique(dim=0)), dtype=torch.long))


@pytest.mark.parametrize("rows", [None, [0, 1]])
def test_coefficients_that_are_frozen_are_refused(rows):
    network, tokens = machine("quadratic", 4, 2, seed=6)
    freeze(network, "classifier.output.weight", rows)
    with pytest.raises(ValueError, match=r"the coefficients \(classifier\) of a feature machine are frozen"):
        network.fit(tokens, tokens[:, 0])


def test_what_a_transfer_does_not_reach_is_orthogonal_to_what_it_does():
    donor, _ = machine("quadratic", 4, 2, seed=7, width=20)
    donor.set_features(donor.feature_matrix().detach())
    network = FeatureMachine(5, 2, width=20)
    load_tensors(network, {"embedding.table.weight": donor.token_vectors().detach()}, [4, 3, 1, 0])
    matrix, place = network.feature_matrix(), [4, 3, 1, 0, 9, 8, 6, 5]
    torch.testing.assert_close(matrix[place][:, place], donor.feature_matrix())
    torch.testing.assert_close(matrix[[2, 7]], torch.eye(10, dtype=torch.double)[[2, 7]])


def test_equations_that_contradict_each_other_are_refused():
    network = FeatureMachine(5, 2)
    tokens = torch.tensor([[0, 1], [2, 3], [0, 1], [4, 4]])
    with pytest.warns(UserWarning, match="singular"), pytest.raises(ValueError, match="contradict each other"):
        network.fit(tokens, torch.tensor([1, 2, 3, 3]))
    network.fit(tokens, torch.tensor([1, 2, 3, 3]), ridge=0.1)


@pytest.fixture
def sums():
    """All pairs modulo 31 in random order, with their sums, of which 60 % are to be trained on."""
    torch.manual_seed(0)
    pairs = torch.cartesian_prod(torch.arange(31), torch.arange(31))[torch.randperm(31**2)]
    return pairs, pairs.sum(1) % 31, int(0.6 * 31**2)


def test_it_groks_addition_and_its_features_become_circulant_before(sums):
    pairs, answers, trained = sums
    network, accuracy, deviation = FeatureMachine(31, 2), [], []
    cells = diagonals(BinaryOperationDataModule("add", 31, layout="a b").symmetry().group, "diagonal")
    for iteration in range(25):
        if iteration:
            network.learn_features()
        fitted = network.fit(pairs[:trained], answers[:trained])
        assert (fitted - torch.eye(31, dtype=torch.double)[answers[:trained]]).square().mean() < 1e-20
        predictions = network(pairs[trained:]).argmax(1)
        accuracy.append((predictions == answers[trained:]).double().mean().item())
        deviation.append(circulant_deviation(network.feature_matrix()[31:, :31], cells).item())
    assert max(accuracy[:7]) < 0.05
    assert accuracy[16] > 0.85
    assert min(accuracy[20:]) > 0.95
    assert deviation[7] < 0.6 * deviation[2]
    assert deviation[24] < 0.15


@kernels
@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div"])
def test_random_circulant_features_answer_after_a_single_solve(kernel, operation):
    torch.manual_seed(1)
    data = BinaryOperationDataModule(operation, 31, 0.7, layout="a b")
    data.setup("fit")
    network = FeatureMachine(31, 2, kernel=kernel, inputs="random_circulant")
    network.draw_inputs(data.symmetry())
    network.fit(*data.parts["train"])
    tokens, answers = data.parts["val"]
    assert (network(tokens).argmax(1) == answers).double().mean() > 0.9
    other = FeatureMachine(31, 2, kernel=kernel)
    other.fit(*data.parts["train"])
    assert (other(tokens).argmax(1) == answers).double().mean() < 0.1


def test_its_parts_and_their_names():
    network = FeatureMachine(5, 2)
    network.fit(torch.tensor([[0, 1], [2, 3], [4, 4]]), torch.tensor([1, 0, 3]))
    assert {name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()} == {
        "embedding.table.weight": ((5, 40), torch.double),
        "decoder.centres": ((3, 2), torch.long),
        "classifier.output.weight": ((5, 3), torch.double),
    }
    assert network.token_parameters == {"embedding.table.weight", "classifier.output.weight"}


def test_it_is_built_on_the_meta_device():
    with torch.device("meta"):
        assert FeatureMachine(500, 3).feature_matrix().shape == (1500, 1500)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "gausian"}, "`kernel` must be one of quadratic, gaussian, got 'gausian'. Did you mean 'gaussian'"),
        ({"kernel": "gaussian", "scale": 0.0}, "`scale` must be positive, got 0.0"),
        ({"scale": 2.5}, "`scale` is for the gaussian kernel; leave it out for quadratic, got 2.5"),
        ({"width": 19}, "`width` must be at least 20, twice length · vocabulary, got 19"),
        ({"inputs": "circulant"}, "`inputs` must be one of one_hot, random_circulant"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureMachine(5, 2, **arguments)


@settings(deadline=None, max_examples=30)
@given(vocabulary=st.integers(1, 6), length=st.integers(1, 4), width=st.integers(1, 6), centred=st.booleans())
def test_the_agop_of_a_quadratic_network_in_closed_form(vocabulary, length, width, centred):
    torch.manual_seed(width)
    network = QuadraticMLP(vocabulary, length, width=width).double()
    tokens = torch.randint(vocabulary, (7, length))
    expected = average_gradient_outer_product(network, tokens, centred)
    scale = average_gradient_outer_product(network, tokens).norm()
    assert (network.agop(tokens, centred) - expected).norm() <= 1e-10 * scale
    torch.testing.assert_close(network.agop_trace(tokens), average_gradient_outer_product(network, tokens).trace())
