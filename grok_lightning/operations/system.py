"""Systems of equations with one asked unknown, such as `a + b = A & A + c = B`, B asked: parsed as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from grok_lightning.operations.expression import Expression, Letter, Word, parse_expression


@dataclass(frozen=True)
class Equation:
    """Two expressions that are equal.

    Args:
        left: One side.
        right: The other.
    """

    left: Expression
    right: Expression

    @property
    def text(self) -> str:
        """The equation as text."""
        return f"{self.left.text.strip()} = {self.right.text.strip()}"

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """Names of its letters, in the order of their first appearance."""
        return tuple(dict.fromkeys([*self.left.letters, *self.right.letters]))

    @property
    def unknowns(self) -> frozenset[str]:
        """Names of its unknowns."""
        return frozenset(filter(str.isupper, self.letters))

    def words(self) -> list[Word]:
        """The equation as it is written for a network."""
        return [*self.left.words(), "=", *self.right.words()]


@dataclass(frozen=True)
class System:
    """Equations over given letters (a, b, …), unknowns (A, B, …) and residues, and the unknown that is asked.

    Args:
        equations: The equations.
        asked: Name of the asked unknown.
    """

    equations: tuple[Equation, ...]
    asked: str

    @property
    def text(self) -> str:
        """The system as text."""
        return f"{' & '.join(equation.text for equation in self.equations)}, {self.asked} asked"

    @property
    def expressions(self) -> list[Expression]:
        """All sides of all equations."""
        return [side for equation in self.equations for side in (equation.left, equation.right)]

    @property
    def givens(self) -> tuple[str, ...]:
        """Names of the given letters, in the order of their first appearance."""
        return tuple(filter(str.islower, self._letters))

    @property
    def unknowns(self) -> tuple[str, ...]:
        """Names of the unknowns, in the order of their first appearance."""
        return tuple(filter(str.isupper, self._letters))

    def words(self) -> list[Word]:
        """The system as it is written for a network: its equations, joined by "&", and the asked unknown."""
        words: list[Word] = []
        for equation in self.equations:
            words += [*(["&"] if words else []), *equation.words()]
        return [*words, Letter(self.asked)]

    @cached_property
    def _letters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(letter for equation in self.equations for letter in equation.letters))


def parse_system(equations: Sequence[str], asked: str) -> System:
    """Parses a system; small letters are given, capital ones unknown.

    Raises:
        ValueError: If an equation is malformed, the asked unknown is in none, or nothing is given; the message points
            at the place.
    """
    if isinstance(equations, str) or not equations:
        raise ValueError(f"equations is {equations!r}; expected a list such as ['a + b = A', 'A + c = B']")
    system = System(tuple(_parse_equation(text) for text in equations), asked)
    if asked not in system.unknowns:
        known = ", ".join(system.unknowns) or "none"
        near = get_close_matches(asked.upper(), system.unknowns, n=1, cutoff=0)
        hint = f"; did you mean {near[0]!r}?" if near else "; unknowns are capital letters"
        raise ValueError(f"asked is {asked!r}, but the unknowns of {' & '.join(equations)} are: {known}{hint}")
    if not system.givens:
        raise ValueError(f"{system.text}: nothing is given; write given values as small letters a, b, c")
    return system


def _parse_equation(text: str) -> Equation:
    sides = text.split("=")
    if len(sides) != 2:
        raise ValueError(f"equation {text!r}: found {len(sides) - 1} signs '='; expected one, as in a + b = A")
    return Equation(parse_expression(sides[0]), parse_expression(sides[1]))
