"""The Fourier multiplication algorithm and the machines of theorem 5.1, against exact arithmetic."""

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ, ZZ
from sympy.polys.matrices import DomainMatrix

from grok_lightning.fourier_multiplication import (
    ShiftKernelMachine,
    class_kernel,
    fourier_multiplication,
    one_hot_pairs,
    shift_features,
)

OPERATIONS = ["add", "sub"]
exact_cases = pytest.mark.parametrize(("modulus", "operation"), list(itertools.product([5, 7], OPERATIONS)))


def result(a, b, modulus, operation):
    return (a + b if operation == "add" else a - b) % modulus


def one_hot(place, size):
    return [int(i == place) for i in range(size)]


def pairs(modulus):
    return list(itertools.product(range(modulus), repeat=2))


@exact_cases
def test_the_algorithm_is_the_operation_in_the_cyclotomic_field(modulus, operation):
    field = QQ.cyclotomic_field(modulus)
    powers = [field.unit**k for k in range(modulus)]
    assert field.unit**modulus == field.one
    assert sum(powers, field.zero) == field.zero

    def transform(vector, conjugate=False):  # √p F, whose entries are in the field; √p itself need not be
        sign = -1 if conjugate else 1
        return [
            sum((entry * powers[sign * k * place % modulus] for place, entry in enumerate(vector)), field.zero)
            for k in range(modulus)
        ]

    basis = [one_hot(residue, modulus) for residue in range(modulus)]
    first, outputs = [transform(vector) for vector in basis], [transform(vector, conjugate=True) for vector in basis]
    second = outputs if operation == "sub" else first
    for a, b in pairs(modulus):
        for answer in range(modulus):
            products = (u * v * w for u, v, w in zip(first[a], second[b], outputs[answer], strict=True))
            value = sum(products, field.zero) / field(modulus)  # √p (1/√p)³
            assert value == field(int(answer == result(a, b, modulus, operation)))


@exact_cases
def test_the_algorithm_gives_one_hot_answers_for_all_pairs(modulus, operation):
    first, second = one_hot_pairs(modulus).double().split(modulus, 1)
    answers = [one_hot(result(a, b, modulus, operation), modulus) for a, b in pairs(modulus)]
    outputs = fourier_multiplication(first, second, operation)
    torch.testing.assert_close(outputs, torch.tensor(answers).double(), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    operation=st.sampled_from(OPERATIONS),
    modulus=st.integers(1, 20),
    dtype=st.sampled_from([torch.double, torch.cdouble]),
    seed=st.integers(0, 99),
)
def test_the_algorithm_is_a_cyclic_convolution_or_correlation(operation, modulus, dtype, seed):
    first, second = torch.randn(2, 3, modulus, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    expected = torch.zeros(3, modulus, dtype=dtype)
    for a, b in pairs(modulus):
        factor = second[:, b].conj() if operation == "sub" else second[:, b]
        expected[:, result(a, b, modulus, operation)] += first[:, a] * factor
    torch.testing.assert_close(fourier_multiplication(first, second, operation), expected, rtol=0, atol=1e-12)


def test_the_algorithm_broadcasts_over_vectors():
    first, second = torch.randn(4, 1, 5), torch.randn(3, 5)
    outputs = fourier_multiplication(first, second)
    assert outputs.shape == (4, 3, 5)
    torch.testing.assert_close(outputs[2, 1], fourier_multiplication(first[2, 0], second[1]))


def matrix(rows):
    return DomainMatrix(rows, (len(rows), len(rows[0])), ZZ)


def shift(modulus, power, reverse=False):
    """C^power, or C^power R."""
    power_of_c = matrix([one_hot((i + 1) % modulus, modulus) for i in range(modulus)]) ** (power % modulus)
    return power_of_c * matrix([one_hot(modulus - 1 - i, modulus) for i in range(modulus)]) if reverse else power_of_c


def features(block):
    """[[0, A], [Aᵀ, 0]]."""
    zero = DomainMatrix.zeros(block.shape, ZZ).to_dense()
    return zero.hstack(block).vstack(block.transpose().hstack(zero))


def exact_coefficients(block, answer, operation):
    """The unique α of k(xᵢ, xⱼ) α = [answer of xᵢ] in rationals (pairs, 1)."""
    modulus = len(block.to_list())
    points = matrix([one_hot(a, modulus) + one_hot(b, modulus) for a, b in pairs(modulus)])
    inner = points * features(block) * points.transpose()
    kernel = matrix([[value**2 for value in row] for row in inner.to_list()])
    targets = matrix([[int(result(a, b, modulus, operation) == answer)] for a, b in pairs(modulus)])
    assert kernel.rank() == modulus**2
    numerators, denominator = kernel.solve_den_rref(targets)
    assert kernel * numerators == denominator * targets
    return numerators.convert_to(QQ) * QQ(1, denominator)


def exact_form(block, coefficients):
    """Σᵢ αᵢ (M xᵢ)(M xᵢ)ᵀ, of which f is the quadratic form."""
    modulus = len(block.to_list())
    points = matrix([one_hot(a, modulus) + one_hot(b, modulus) for a, b in pairs(modulus)])
    moved = (points * features(block)).convert_to(QQ)
    scaled = DomainMatrix.diag([row[0] for row in coefficients.to_list()], QQ) * moved
    return moved.transpose() * scaled


def theorem_form(modulus, answer, operation):
    """The form of x₁ᵀ B x₂ + (|x₁|² + |x₂|² − 2 Σx₁ Σx₂) / (2p + 2), with B for `answer`."""
    block = shift(modulus, -answer - 1, reverse=True) if operation == "add" else shift(modulus, -answer)
    own = DomainMatrix.eye(2 * modulus, ZZ).to_dense()
    sums = features(matrix([[1] * modulus] * modulus))
    return ((modulus + 1) * features(block) + own - sums).convert_to(QQ) * QQ(1, 2 * modulus + 2)


@exact_cases
def test_the_features_are_powers_of_the_shift(modulus, operation):
    for answer in range(modulus):
        exact = features(shift(modulus, answer, reverse=operation == "add")).to_list()
        assert shift_features(modulus, answer, operation).tolist() == [[int(entry) for entry in row] for row in exact]


@exact_cases
def test_theorem_5_1_in_rationals(modulus, operation):
    for answer in range(modulus):
        block = shift(modulus, answer, reverse=operation == "add")
        form = exact_form(block, exact_coefficients(block, answer, operation))
        assert form.to_dense() == theorem_form(modulus, answer, operation).to_dense()
        rows = form.to_list()
        for a, b in pairs(modulus):
            value = rows[a][a] + 2 * rows[a][modulus + b] + rows[modulus + b][modulus + b]
            assert value == int(result(a, b, modulus, operation) == answer)


@exact_cases
def test_any_permutation_does_for_the_shift(modulus, operation):
    permutation = random.Random(0).sample(range(modulus), modulus)
    opposite = shift(modulus, -1, reverse=operation == "add")
    for block in (matrix([one_hot(place, modulus) for place in permutation]), opposite):
        form = exact_form(block, exact_coefficients(block, 1, operation))
        assert form.to_dense() == theorem_form(modulus, 1, operation).to_dense()


@exact_cases
def test_the_machine_has_the_exact_coefficients(modulus, operation):
    machine = ShiftKernelMachine(modulus, operation)
    for answer in range(modulus):
        block = shift(modulus, answer, reverse=operation == "add")
        exact = [float(row[0]) for row in exact_coefficients(block, answer, operation).to_list()]
        torch.testing.assert_close(
            machine.coefficients[answer], torch.tensor(exact, dtype=torch.double), rtol=0, atol=1e-9
        )


@pytest.mark.parametrize(("modulus", "operation"), list(itertools.product([2, 3, 4, 5, 7, 9], OPERATIONS)))
def test_the_machine_is_the_algorithm_on_pairs_and_differs_elsewhere_by_a_common_term(modulus, operation):
    machine = ShiftKernelMachine(modulus, operation)
    inputs = one_hot_pairs(modulus)
    assert inputs.tolist() == [one_hot(a, modulus) + one_hot(b, modulus) for a, b in pairs(modulus)]
    answers = [one_hot(result(a, b, modulus, operation), modulus) for a, b in pairs(modulus)]
    torch.testing.assert_close(machine(inputs), torch.tensor(answers).double(), rtol=0, atol=1e-9)
    vectors = torch.randn(20, 2 * modulus, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    first, second = vectors.split(modulus, 1)
    common = (vectors.square().sum(1) - 2 * first.sum(1) * second.sum(1)) / (2 * modulus + 2)
    expected = fourier_multiplication(first, second, operation) + common[:, None]
    torch.testing.assert_close(machine(vectors), expected, rtol=0, atol=1e-9)


@exact_cases
def test_eigenvalues_of_the_kernel(modulus, operation):
    inputs = one_hot_pairs(modulus)
    for answer in range(modulus):
        kernel = class_kernel(shift_features(modulus, answer, operation), inputs, inputs)
        eigenvalues = torch.linalg.eigvalsh(kernel.double()).round().int().unique().tolist()
        assert eigenvalues == [-modulus - 2, -2, 2, modulus + 2, 2 * modulus + 2]


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (fourier_multiplication, (torch.ones(5), torch.ones(5), "div"), "must be one of add, sub, got 'div'"),
        (fourier_multiplication, (torch.ones(5), torch.ones(1)), "must be equal in size, got 5 and 1"),
        (shift_features, (5, 0, "subb"), "got 'subb'. Did you mean 'sub'"),
        (shift_features, (1, 0), "`modulus` must be at least 2, got 1"),
        (shift_features, (5, 5), "`answer` must be at least 0 and below 5, got 5"),
        (shift_features, (5, -1), "`answer` must be at least 0 and below 5, got -1"),
        (one_hot_pairs, (1,), "`modulus` must be at least 2, got 1"),
        (ShiftKernelMachine, (5, "mul"), "`operation` must be one of add, sub, got 'mul'"),
        (ShiftKernelMachine, (0,), "`modulus` must be at least 2, got 0"),
    ],
)
def test_wrong_arguments_are_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
