"""Expressions over tensors of elements."""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_lightning.operations import UNDEFINED, Application, Expression, OperationTable, operation_table

SEVERAL = UNDEFINED - 1
"""What stands for a value that is left open, as `UNDEFINED` stands for none.

As numbers of a row or column they select the last two, which tables have beside those of the elements.
"""

SIGNS = ("(", ")", "=", "&")
"""Tokens of equations that stand for no operation."""


def tables_on_common_elements(operations: Iterable[str], modulus: int | None) -> list[OperationTable]:
    """Return the tables of operations on the same elements.

    Args:
        operations: Their names, see `grok_lightning.operations.resolve`.
        modulus: Modulus of residue operations; None for permutations.

    Raises:
        ValueError: If an operation is unknown or refuses the modulus, or they have different elements.
    """
    tables = [operation_table(name, modulus) for name in operations]
    for other in tables[1:]:
        if other.elements != tables[0].elements:
            raise ValueError(f"{tables[0].name} and {other.name} are on different elements, and cannot be mixed")
    return tables


class Arithmetic:
    """The operations of some expressions, over the elements they have in common.

    Args:
        expressions: The expressions.
        modulus: Modulus of residue operations; None for permutations.

    Attributes:
        elements: Names of the elements, in the order of their numbers.

    Raises:
        ValueError: If there is no operation, an operation refuses the modulus, the operations have different elements,
            a symbol means something else in an equation, or a residue is written among permutations.
    """

    def __init__(self, expressions: Iterable[Expression], modulus: int | None) -> None:
        expressions = list(expressions)
        names = dict.fromkeys(name for expression in expressions for name in expression.operations)
        tables = dict(zip(names, tables_on_common_elements(names, modulus), strict=True))
        if not tables:
            texts = ", ".join(expression.text.strip() for expression in expressions)
            raise ValueError(f"there is no operation in {texts}; expected one at least, as in a + 0")
        first, *_ = tables.values()
        self.elements = first.elements
        for table in tables.values():
            if table.symbol in (*SIGNS, *self.elements) or (len(table.symbol) == 1 and table.symbol.isalpha()):
                raise ValueError(
                    f"the symbol {table.symbol!r} of {table.name} means something else in an equation; give it another"
                )
        numbers = [number for expression in expressions for number in expression.elements]
        if numbers and first.operation.degree is not None:
            raise ValueError(f"the residue {numbers[0]} cannot stand among permutations; write letters only")
        self.tables = {name: _table_of(torch.tensor(table.values)) for name, table in tables.items()}
        self.left_of = {name: _inverse(table) for name, table in self.tables.items()}
        self.right_of = {name: _inverse(table.T).T for name, table in self.tables.items()}

    def evaluate(self, expression: Expression, letters: Mapping[str, Tensor]) -> Tensor:
        """Return the numbers of the values of an expression, −1 where it is undefined.

        Args:
            expression: One of the expressions.
            letters: Numbers of the elements that each letter stands for, of shapes that broadcast.
        """
        return expression.evaluate(
            letters,
            element=lambda number: torch.tensor(number % len(self.elements)),
            apply=lambda name, left, right: self.tables[name][left, right],
        )

    def isolate(self, expression: Expression, letter: str, letters: Mapping[str, Tensor], value: Tensor) -> Tensor:
        """Return the element that a letter must stand for to give an expression a value.

        Each operation is undone in turn, from the outermost inwards, on the side on which the letter is.

        Args:
            expression: One of the expressions, in which the letter occurs once.
            letter: The letter.
            letters: Numbers of the elements that each other letter stands for, of shapes that broadcast.
            value: Numbers of the values to give.

        Returns:
            The numbers of the elements; `UNDEFINED` where there is none, `SEVERAL` where it is left open.
        """
        while isinstance(expression.root, Application):
            name = expression.root.operation.name
            left, right = expression.sides
            if left.count(letter):
                expression, value = left, self.left_of[name][value, self.evaluate(right, letters)]
            else:
                expression, value = right, self.right_of[name][self.evaluate(left, letters), value]
        return value


def _table_of(values: Tensor) -> Tensor:
    """Return a table (elements + 2, elements + 2) in which what is made of undefined values is undefined."""
    return F.pad(values, (0, 2, 0, 2), value=UNDEFINED)


def _inverse(table: Tensor) -> Tensor:
    """Return the table of the x for which x ∘ y = z, by z and y."""
    size = len(table) - 2
    x, y = (table >= 0).nonzero(as_tuple=True)
    places = table[x, y] * size + y
    counts = torch.bincount(places, minlength=size * size)
    solutions = torch.full((size * size,), UNDEFINED).index_put((places,), x)
    inverse = _table_of(torch.where(counts > 1, SEVERAL, solutions).view(size, size))
    inverse[SEVERAL, :size] = SEVERAL  # a value left open leaves open what it is made of
    return inverse
