"""Algebraic properties by brute force, from the table of an operation alone.

A table is a list of rows, `table[x][y]` the index of x∘y, −1 where that is undefined.
"""

from collections.abc import Sequence

Table = Sequence[Sequence[int]]


def is_commutative(table: Table) -> bool:
    """Whether x∘y = y∘x for all elements."""
    return all(table[x][y] == table[y][x] for x in range(len(table)) for y in range(x))


def reversible_elements(table: Table) -> list[int]:
    """The elements y for which x ↦ x∘y is a permutation of all elements."""
    every = set(range(len(table)))
    return [y for y in every if {row[y] for row in table} == every]


def restrict(table: Table, members: Sequence[int]) -> list[list[int]] | None:
    """The table on some of the elements, numbered anew in their order; None where a result leaves them."""
    number = {member: position for position, member in enumerate(members)}
    rows = [[number.get(table[x][y], -1) for y in members] for x in members]
    return None if any(-1 in row for row in rows) else rows


def is_abelian_group(table: Table) -> bool:
    """Whether the elements of a full table form an abelian group."""
    elements = range(len(table))
    identities = [e for e in elements if list(table[e]) == list(elements)]
    return (
        len(identities) == 1
        and is_commutative(table)
        and all(identities[0] in row for row in table)
        # (x∘y)∘z = x∘(y∘z), a row of z at a time
        and all(list(table[table[x][y]]) == [table[x][yz] for yz in table[y]] for x in elements for y in elements)
    )


def is_anti_abelian(table: Table) -> bool:
    """Whether x∘y = x·y⁻¹ for some abelian group · on the elements of a full table."""
    return anti_abelian_product(table) is not None


def anti_abelian_product(table: Table) -> list[list[int]] | None:
    """The abelian group · for which x∘y = x·y⁻¹ on the elements of a full table, or None if there is none.

    Its identity e can only be x∘x, and its inverse y⁻¹ only e∘y, so that x·y = x∘(e∘y). Where that is a group and all
    x∘x are e, then e·e = e makes e the identity, y = e·y = e∘(e∘y), and therefore x·y⁻¹ = x∘y.
    """
    if not table:
        return None
    elements = range(len(table))
    identity = table[0][0]
    inverse = table[identity]
    product = [[row[inverse[y]] for y in elements] for row in table]
    is_one = all(table[x][x] == identity for x in elements) and is_abelian_group(product)
    return product if is_one else None


def undoes(undo: Table, table: Table, reversible: Sequence[int]) -> bool:
    """Whether (x∘y)•y = x for every element x and every reversible y, • being `undo`."""
    return all(undo[table[x][y]][y] == x for y in reversible for x in range(len(table)))
