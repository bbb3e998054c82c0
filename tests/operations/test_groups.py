"""The groups behind operations, by their definition."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.ntheory import is_primitive_root

from grok_lightning.operations import abelian_group, operation_table


def check(operation, modulus):
    """Coordinates are a bijection to the grid that turns the operation into addition or subtraction."""
    group, table = abelian_group(operation, modulus), operation_table(operation, modulus).values
    assert sorted(group.coordinates.values()) == list(itertools.product(*map(range, group.orders)))
    sign = -1 if group.inverts else 1
    for x, y in itertools.product(group.coordinates, repeat=2):
        expected = tuple(
            (i + sign * j) % order
            for i, j, order in zip(group.coordinates[x], group.coordinates[y], group.orders, strict=True)
        )
        assert group.coordinates[table[x][y]] == expected
    assert all(larger % smaller == 0 for larger, smaller in itertools.pairwise(group.orders))
    return group


@settings(deadline=None, max_examples=25)
@given(modulus=st.integers(3, 40))
def test_addition_and_subtraction_are_one_cyclic_group(modulus):
    plus, minus = check("add", modulus), check("sub", modulus)
    assert (plus.orders, plus.inverts, plus.zero) == ((modulus,), False, None)
    assert (minus.orders, minus.inverts, minus.zero) == ((modulus,), True, None)


@settings(deadline=None, max_examples=25)
@given(modulus=st.integers(3, 60))
def test_multiplication_is_the_group_of_units(modulus):
    group = check("mul", modulus)
    units = {x for x in range(modulus) if math.gcd(x, modulus) == 1}
    assert set(group.coordinates) == units
    assert group.zero == 0
    is_cyclic = any(is_primitive_root(x, modulus) for x in units)
    assert (len(group.orders) == 1) == is_cyclic
    if is_cyclic:
        generator = group.members[1]
        assert group.members == [pow(generator, exponent, modulus) for exponent in range(len(units))]


@pytest.mark.parametrize("modulus", [7, 9, 15, 21])
def test_division_is_in_the_same_group(modulus):
    group = check("div", modulus)
    assert group.inverts
    assert group.orders == check("mul", modulus).orders


def test_the_factors_of_the_units_modulo_24_and_63():
    assert abelian_group("mul", 24).orders == (2, 2, 2)
    assert abelian_group("mul", 63).orders == (6, 6)


@pytest.mark.parametrize(("operation", "modulus"), [("sum_of_squares", 7), ("compose(3)", None), ("mul", 2)])
def test_what_is_no_abelian_group_is_refused(operation, modulus):
    with pytest.raises(ValueError, match="is no abelian group of two members or more, nor x·y⁻¹ in one"):
        abelian_group(operation, modulus)
