"""The abelian group behind an operation, as a product of cyclic groups.

x + y and x · y are abelian groups on the elements by which they can be undone (for · modulo a prime all but 0), and
x − y and x / y are x · y⁻¹ in the same groups. Every finite abelian group is a product of cyclic ones, so that its
elements have coordinates that add up: the discrete logarithm where there is one factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grok_lightning.operations.algebra import (
    Table,
    anti_abelian_product,
    is_abelian_group,
    restrict,
    reversible_elements,
)
from grok_lightning.operations.lookup import UNDEFINED, operation_table


@dataclass(frozen=True)
class AbelianGroup:
    """A finite abelian group on some of the elements of an operation.

    Args:
        orders: The orders of its cyclic factors, each divisible by the next.
        coordinates: The coordinates of each member, one below the order of each factor; by the member's number.
        inverts: Whether the operation is x · y⁻¹ in the group, rather than x · y.
        zero: The element that swallows all others, such as 0 of ·, where there is one.
    """

    orders: tuple[int, ...]
    coordinates: dict[int, tuple[int, ...]]
    inverts: bool
    zero: int | None

    @property
    def members(self) -> list[int]:
        """The members by their coordinates, in lexicographic order; the powers of a generator if one factor."""
        return sorted(self.coordinates, key=self.coordinates.__getitem__)


def abelian_group(operation: str, modulus: int | None) -> AbelianGroup:
    """The group behind an operation.

    Args:
        operation: See `resolve`.
        modulus: Modulus of residue operations; None for permutations.

    Raises:
        ValueError: If the operation cannot be resolved, or is no abelian group of two members or more and
            not x · y⁻¹ in one.
    """
    table = operation_table(operation, modulus).values
    members = reversible_elements(table)
    own = restrict(table, members) if len(members) > 1 else None
    product = own if own is None or is_abelian_group(own) else anti_abelian_product(own)
    if own is None or product is None:
        raise ValueError(
            f"operation '{operation}' with {modulus=} is no abelian group of two members or more, nor x·y⁻¹ in one"
        )
    orders, coordinates = _decompose(product)
    zeros = [z for z, row in enumerate(table) if set(row) <= {z, UNDEFINED} and row[members[0]] == z]
    return AbelianGroup(
        orders,
        {members[element]: place for element, place in coordinates.items()},
        inverts=product is not own,
        zero=zeros[0] if zeros else None,
    )


def _decompose(product: Table) -> tuple[tuple[int, ...], dict[int, tuple[int, ...]]]:
    """The orders of cyclic factors, and the coordinates of each element.

    A cyclic subgroup of the largest order is a factor of any finite abelian group, and so, once some factors are
    found, is one of the largest order among those that share only the identity with them.
    """
    elements = range(len(product))
    identity = next(e for e in elements if list(product[e]) == list(elements))
    powers = {element: _powers(element, identity, product) for element in elements}
    orders: list[int] = []
    coordinates: dict[int, tuple[int, ...]] = {identity: ()}
    while len(coordinates) < len(product):
        apart = [each for each in powers.values() if not coordinates.keys() & set(each[1:])]
        cycle = max(apart, key=len)
        orders.append(len(cycle))
        coordinates = {
            product[element][power]: (*place, exponent)
            for element, place in coordinates.items()
            for exponent, power in enumerate(cycle)
        }
    return tuple(orders), coordinates


def _powers(element: int, identity: int, product: Table) -> Sequence[int]:
    """The identity, the element, its square and so on, each once."""
    powers = [identity]
    while (power := product[powers[-1]][element]) != identity:
        powers.append(power)
    return powers
