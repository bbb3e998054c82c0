"""Circulant matrices over groups, against their definitions written out."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.ntheory import discrete_log, primitive_root, sqrt_mod_iter

from grok_lightning.circulants import (
    ORIENTATIONS,
    block_circulant,
    circulant_deviation,
    circulant_part,
    diagonals,
    enforced_circulant,
    random_circulant,
)
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.operations import AbelianGroup, abelian_group

PRIMES = st.sampled_from([3, 5, 7, 11, 13])
GROUPS = [("add", 12), ("sub", 9), ("mul", 7), ("div", 11), ("mul", 15), ("div", 15), ("mul", 21), ("mul", 24)]
"""Of one and of several cyclic factors."""


def gaussian(rows, seed=0):
    return torch.randn(rows, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def equations(operation, modulus, layout):
    """The symmetry of equations, the size of their vocabulary, and their length."""
    data = BinaryOperationDataModule(operation, modulus, layout=layout)
    return data.symmetry(), len(data.vocabulary), data.length


def symmetry(operation, modulus):
    return equations(operation, modulus, "a b")[0]


def shifted_deviation(block, orientation):
    """D(A): row l shifted by l cells, the unnormalised variances of the columns, their sum over the squared norm."""
    rows, size = block.tolist(), len(block)
    step = 1 if orientation == "diagonal" else -1
    shifted = [[row[(column + step * number) % size] for column in range(size)] for number, row in enumerate(rows)]
    total = 0.0
    for column in zip(*shifted, strict=True):
        mean = sum(column) / size
        total += sum((entry - mean) ** 2 for entry in column)
    return total / sum(entry**2 for row in rows for entry in row)


def product(operation, modulus, x, y, orientation):
    """x · y⁻¹ of the group behind an operation, or x · y along the other diagonals; by plain arithmetic."""
    if operation in ("add", "sub"):
        return (x - y if orientation == "diagonal" else x + y) % modulus
    return x * (pow(y, -1, modulus) if orientation == "diagonal" else y) % modulus


def classes(operation, modulus, members, orientation):
    """The cells (row, column) of each diagonal, of a block in the order of the members."""
    found = {}
    for (row, y), (column, x) in itertools.product(enumerate(members), repeat=2):
        found.setdefault(product(operation, modulus, x, y, orientation), []).append((row, column))
    return list(found.values())


def mirrored(orientation):
    return next(other for other in ORIENTATIONS if other != orientation)


# how far a matrix is from circulant


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["add", "sub"]), st.integers(3, 10), st.sampled_from(ORIENTATIONS), st.integers(0, 999))
def test_the_deviation_is_that_of_the_definition(operation, modulus, orientation, seed):
    group, block = abelian_group(operation, modulus), gaussian(modulus, seed)
    assert group.members == list(range(modulus))
    deviation = circulant_deviation(block, diagonals(group, orientation)).item()
    assert deviation == pytest.approx(shifted_deviation(block, orientation), rel=1e-12)
    assert 0 < deviation <= 1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("operation", "modulus"), GROUPS)
def test_over_any_group_it_is_the_variance_within_its_diagonals(operation, modulus, orientation):
    group = abelian_group(operation, modulus)
    size = len(group.members)
    block = gaussian(size)
    rows, variance = block.tolist(), 0.0
    for cells in classes(operation, modulus, group.members, orientation):
        assert len(cells) == size
        mean = sum(rows[row][column] for row, column in cells) / size
        variance += sum((rows[row][column] - mean) ** 2 for row, column in cells)
    cells = diagonals(group, orientation)
    assert sorted(cells.unique().tolist()) == list(range(size))
    assert circulant_deviation(block, cells).item() == pytest.approx(variance / block.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("operation", "modulus"), GROUPS)
def test_it_is_exactly_zero_for_a_matrix_that_depends_on_the_product_alone(operation, modulus, orientation):
    group = abelian_group(operation, modulus)
    values = {element: (7 * element**2 + 3 * element) % 31 + 1.0 for element in group.members}
    block = torch.tensor(
        [[values[product(operation, modulus, x, y, orientation)] for x in group.members] for y in group.members]
    )
    assert circulant_deviation(block, diagonals(group, orientation)) == 0
    assert torch.equal(circulant_part(block, diagonals(group, orientation)), block)
    if modulus != 24:  # where each unit is its own inverse, both orientations are the same
        assert circulant_deviation(block, diagonals(group, mirrored(orientation))) > 0.01


def test_a_matrix_of_zeros_has_none():
    assert circulant_deviation(torch.zeros(5, 5), diagonals(abelian_group("add", 5), "diagonal")).isnan()


@settings(deadline=None)
@given(st.integers(3, 8), st.sampled_from(ORIENTATIONS), st.integers(0, 99), st.floats(0.01, 100))
def test_it_does_not_depend_on_the_scale(modulus, orientation, seed, factor):
    block, cells = gaussian(modulus, seed), diagonals(abelian_group("add", modulus), orientation)
    scaled = circulant_deviation(-factor * block, cells)
    assert scaled.item() == pytest.approx(circulant_deviation(block, cells).item())


@settings(deadline=None)
@given(st.integers(3, 8), st.sampled_from(ORIENTATIONS), st.integers(0, 99))
def test_no_circulant_matrix_is_nearer_than_the_circulant_part(modulus, orientation, seed):
    block, other = gaussian(modulus, seed), gaussian(modulus, seed + 1)
    cells = diagonals(abelian_group("add", modulus), orientation)
    part, circulant = circulant_part(block, cells), circulant_part(other, cells)
    assert shifted_deviation(part, orientation) == pytest.approx(0, abs=1e-25)
    assert (block - part).norm() <= (block - circulant).norm()
    assert ((block - part) * circulant).sum().item() == pytest.approx(0, abs=1e-12)  # at a right angle
    squares = part.square().sum() + (block - part).square().sum()
    assert squares.item() == pytest.approx(block.square().sum().item())


# the order of the elements


@settings(deadline=None, max_examples=25)
@given(PRIMES, st.sampled_from(["mul", "div"]), st.sampled_from(ORIENTATIONS), st.integers(0, 99), st.data())
def test_under_multiplication_it_is_that_in_the_order_of_any_discrete_logarithm(p, operation, orientation, seed, data):
    exponent = data.draw(st.sampled_from([k for k in range(1, p) if math.gcd(k, p - 1) == 1]))
    generator = pow(primitive_root(p), exponent, p)
    order = sorted(range(1, p), key=lambda x: discrete_log(p, x, generator))
    assert order == [pow(generator, power, p) for power in range(p - 1)]
    matrix, own = gaussian(p, seed), symmetry(operation, p)  # 0 takes part in the matrix, and nowhere else
    ours = circulant_deviation(matrix[own.order][:, own.order], diagonals(own.group, orientation))
    assert ours.item() == pytest.approx(shifted_deviation(matrix[order][:, order], orientation), rel=1e-12)


def all_generators(p):
    first = primitive_root(p)
    return [pow(first, k, p) for k in range(1, p) if math.gcd(k, p - 1) == 1]


def part_by_elements(matrix, group, orientation):
    """The circulant part, with the elements in the order of their numbers again."""
    members = torch.tensor(group.members)
    part = torch.zeros_like(matrix)
    part[members[:, None], members] = circulant_part(matrix[members][:, members], diagonals(group, orientation))
    return part


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("p", [7, 11, 13])
def test_every_generator_has_the_same_circulant_matrices(p, orientation):
    matrix = gaussian(p)
    expected = part_by_elements(matrix, abelian_group("mul", p), orientation)
    for generator in all_generators(p):
        logarithms = {x: (int(discrete_log(p, x, generator)),) for x in range(1, p)}
        part = part_by_elements(matrix, AbelianGroup((p - 1,), logarithms, inverts=False, zero=0), orientation)
        assert torch.allclose(part, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_so_has_every_choice_of_several_generators(orientation):
    matrix = gaussian(15)
    expected = part_by_elements(matrix, abelian_group("mul", 15), orientation)
    units = [x for x in range(15) if math.gcd(x, 15) == 1]
    choices = 0
    for fourth, root in itertools.product(units, sqrt_mod_iter(1, 15)):
        places = {pow(fourth, i, 15) * root**j % 15: (i, j) for i in range(4) for j in range(2)}
        if len(places) == 8:
            group = AbelianGroup((4, 2), places, inverts=False, zero=0)
            assert torch.allclose(part_by_elements(matrix, group, orientation), expected, rtol=0, atol=1e-14)
            choices += 1
    assert choices > 3


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_residues_may_have_two_coordinates_instead_of_one(orientation):
    matrix = gaussian(12)
    remainders = AbelianGroup((3, 4), {x: (x % 3, x % 4) for x in range(12)}, inverts=False, zero=None)
    expected = part_by_elements(matrix, abelian_group("add", 12), orientation)
    assert torch.allclose(part_by_elements(matrix, remainders, orientation), expected, rtol=0, atol=1e-14)


# where the operands are


@pytest.mark.parametrize("layout", ["a b", "a op b", "a op b ="])
@pytest.mark.parametrize(("operation", "modulus"), [("add", 5), ("mul", 7), ("div", 9)])
def test_the_block_pairs_the_second_operand_with_the_first(operation, modulus, layout):
    own, vocabulary, _ = equations(operation, modulus, layout)
    words = layout.split()
    a, b = words.index("a"), words.index("b")
    assert (own.positions, own.size) == ((a, b), modulus)
    matrix = gaussian(len(words) * vocabulary)
    block = own.block(matrix, vocabulary)
    assert block.shape == (modulus, modulus)
    for y, x in itertools.product(range(modulus), repeat=2):
        assert block[y, x] == matrix[b * vocabulary + y, a * vocabulary + x]
    block[:] = 0
    assert (matrix == 0).sum() == modulus**2  # a view

    members = sorted(own.group.coordinates, key=own.group.coordinates.get)
    assert own.order.tolist() == members
    assert own.inputs(vocabulary, ordered=False).tolist() == [
        position * vocabulary + element for position in (a, b) for element in range(modulus)
    ]
    assert own.inputs(vocabulary, ordered=True).tolist() == [
        position * vocabulary + element for position in (a, b) for element in members
    ]


def test_the_members_are_the_powers_of_a_generator():
    order = symmetry("mul", 13).order.tolist()
    assert order[1] in all_generators(13)
    assert order == [pow(order[1], power, 13) for power in range(12)]
    assert [discrete_log(13, x, order[1]) for x in order] == list(range(12))


@pytest.mark.parametrize(
    ("operation", "orientation"),
    [("add", "diagonal"), ("mul", "diagonal"), ("sub", "antidiagonal"), ("div", "antidiagonal")],
)
def test_inverting_operations_are_constant_along_antidiagonals(operation, orientation):
    assert symmetry(operation, 7).orientation == orientation


# block-circulant matrices


def block_circulant_by_entries(own, entry, vocabulary, length):
    """[[A, Cᵀ], [C, A]] with C(y, x) for members and 0 for others, identity outside of the operands."""
    (a, b), size, members = own.positions, own.size, set(own.group.coordinates)
    expected = np.eye(length * vocabulary)
    for x, y in itertools.product(range(size), repeat=2):
        for position in (a, b):
            expected[position * vocabulary + y, position * vocabulary + x] = (x == y) - 1 / size
        cell = entry(y, x) if {x, y} <= members else 0.0
        expected[b * vocabulary + y, a * vocabulary + x] = expected[a * vocabulary + x, b * vocabulary + y] = cell
    return expected


@pytest.mark.parametrize("layout", ["a b", "a op b", "a op b ="])
@pytest.mark.parametrize(("operation", "modulus"), [("add", 6), ("mul", 7), ("div", 15)])
def test_block_circulant_matrices_have_the_block_twice_and_leave_other_inputs_alone(operation, modulus, layout):
    own, vocabulary, length = equations(operation, modulus, layout)
    members = own.group.members
    block = gaussian(len(members))
    matrix = block_circulant(own, block, vocabulary, length)
    places = {member: place for place, member in enumerate(members)}
    rows = block.tolist()
    expected = block_circulant_by_entries(own, lambda y, x: rows[places[y]][places[x]], vocabulary, length)
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=0, atol=1e-15)
    for number, word in enumerate(layout.split()):
        own_inputs = [number * vocabulary + token for token in range(vocabulary)]
        others = own_inputs if word in ("op", "=") else own_inputs[modulus:]
        assert torch.equal(matrix[others], torch.eye(len(matrix), dtype=torch.double)[others])


@pytest.mark.parametrize("dtype", [torch.float32, torch.double])
def test_block_circulant_matrices_have_the_type_of_the_block(dtype):
    assert block_circulant(symmetry("add", 5), gaussian(5).to(dtype), 5, 2).dtype == dtype


@pytest.mark.parametrize("layout", ["a b", "a op b ="])
@pytest.mark.parametrize(
    ("operation", "modulus"), [("add", 7), ("sub", 8), ("mul", 7), ("div", 11), ("mul", 15), ("div", 21)]
)
def test_random_features_are_the_real_part_of_the_root_of_a_block_circulant_matrix(operation, modulus, layout):
    own, vocabulary, length = equations(operation, modulus, layout)
    right = own.orientation

    def form(seed):
        torch.manual_seed(seed)
        drawn = torch.rand(len(own.order), dtype=torch.double)
        values = dict(zip(own.group.members, (drawn - drawn.mean()).tolist(), strict=True))
        return block_circulant_by_entries(
            own, lambda y, x: values[product(operation, modulus, x, y, right)], vocabulary, length
        )

    seed, indefinite = next((seed, each) for seed in range(99) if np.linalg.eigvalsh(each := form(seed)).min() < -0.1)
    torch.manual_seed(seed)
    features = random_circulant(own, vocabulary, length)
    np.testing.assert_allclose(features.numpy(), scipy.linalg.sqrtm(indefinite).real, atol=1e-6)
    eigenvalues, vectors = np.linalg.eigh(indefinite)
    positive = (vectors * np.maximum(eigenvalues, 0)) @ vectors.T
    np.testing.assert_allclose((features @ features).numpy(), positive, atol=1e-12)

    block = own.block(features, vocabulary)[own.order][:, own.order]
    assert circulant_deviation(block, diagonals(own.group, right)) < 1e-20
    assert circulant_deviation(block, diagonals(own.group, mirrored(right))) > 0.01


def test_random_features_are_drawn_anew():
    torch.manual_seed(0)
    first, second = (random_circulant(symmetry("add", 5), 5, 2) for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("layout", ["a b", "a op b"])
@pytest.mark.parametrize(
    ("operation", "modulus"), [("add", 7), ("sub", 7), ("mul", 11), ("div", 7), ("mul", 15), ("div", 15)]
)
def test_enforced_features_repeat_the_first_column_of_what_is_rescaled(operation, modulus, layout):
    own, vocabulary, length = equations(operation, modulus, layout)
    root = gaussian(length * vocabulary)
    matrix = root @ root.T
    before = matrix.clone()
    enforced = enforced_circulant(own, matrix, vocabulary)
    assert torch.equal(matrix, before)

    (a, b), identity = own.positions, own.group.members[0]
    assert identity == (0 if operation in ("add", "sub") else 1)
    entries = matrix.tolist()

    def entry(y, x):
        """That of the identity's column which is on the same diagonal."""
        if own.orientation == "diagonal":
            z = product(operation, modulus, y, x, "diagonal")  # e · z⁻¹ = x · y⁻¹
        else:
            z = product(operation, modulus, x, y, "antidiagonal")  # e · z = x · y
        row, column = b * vocabulary + z, a * vocabulary + identity
        return entries[row][column] / math.sqrt(entries[row][row] * entries[column][column])

    expected = block_circulant_by_entries(own, entry, vocabulary, length)
    np.testing.assert_allclose(enforced.numpy(), expected, rtol=1e-12, atol=1e-15)
    block = own.block(enforced, vocabulary)[own.order][:, own.order]
    assert circulant_deviation(block, diagonals(own.group, own.orientation)) < 1e-30


def test_enforced_features_do_not_depend_on_the_scale_of_an_input_and_keep_the_type():
    own, root = symmetry("sub", 7), gaussian(14)
    matrix = root @ root.T
    scale = torch.linspace(0.5, 2, 14, dtype=torch.double)
    enforced = enforced_circulant(own, matrix, 7)
    rescaled = enforced_circulant(own, scale[:, None] * matrix * scale, 7)
    torch.testing.assert_close(rescaled, enforced)
    single = enforced_circulant(own, matrix.float(), 7)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), enforced, rtol=1e-5, atol=1e-6)


def test_features_that_are_circulant_already_keep_their_circulant():
    own = symmetry("mul", 7)
    block = circulant_part(gaussian(6), diagonals(own.group, "diagonal")) / 10
    matrix = torch.eye(14, dtype=torch.double)
    whole = block_circulant(own, block, 7, 2)
    matrix[7:, :7], matrix[:7, 7:] = whole[7:, :7], whole[:7, 7:]
    torch.testing.assert_close(enforced_circulant(own, matrix, 7), whole)
