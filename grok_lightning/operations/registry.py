"""What an operation is, and the decorator that makes one known by name."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

Domain = Literal["residues", "permutations"]
Function = TypeVar("Function", bound=Callable[..., Any])

# A table holds (k!)² values: half a million for S_6, 25 million for S_7.
LARGEST_DEGREE = 6


@dataclass(frozen=True)
class Properties:
    """The algebra of an operation ∘: declared for every modulus above 2 it accepts, or found by brute force for one.

    An element y is *reversible* if x ↦ x∘y is a permutation of all elements: each y for + and −, the units of Z_n for
    · and / (modulo a prime, all but 0). One reversible element alone is trivial, and nothing is said of it.

    Args:
        commutative: x∘y = y∘x for all elements; either both sides are defined or neither.
        abelian_group: The reversible elements form an abelian group under ∘.
        anti_abelian: On the reversible elements x∘y = x·y⁻¹ for some abelian group · on them.
        inverse: Name of an operation • that undoes ∘: (x∘y)•y = x for every element x and every reversible y.
    """

    commutative: bool = False
    abelian_group: bool = False
    anti_abelian: bool = False
    inverse: str | None = None

    def __str__(self) -> str:
        words = {
            "commutative": self.commutative,
            "abelian group": self.abelian_group,
            "anti-abelian": self.anti_abelian,
            f"undone by {self.inverse}": self.inverse is not None,
        }
        return ", ".join(word for word, holds in words.items() if holds)


@dataclass(frozen=True)
class Operation:
    """A binary operation on the residues modulo n or on the permutations of n points.

    Args:
        name: What a recipe calls it.
        symbol: Its token between the operands; a template over `parameters` while those are open.
        formula: One line for a listing.
        function: Maps (a, b, n) to a∘b, or to None where that is undefined; open parameters are further arguments.
        domain: What a and b are: residues 0 … n−1, or permutations as tuples in one-line notation.
        properties: What holds for every modulus; nothing is claimed by a False.
        parameters: Names of the integers that have to be written behind the name, as in `linear(2,3)`.
        odd_modulus: Refuses even moduli above 2.
        degree: The n of a permutation operation whose parameters are bound.
    """

    name: str
    symbol: str
    formula: str
    function: Callable[..., Any]
    domain: Domain = "residues"
    properties: Properties = Properties()
    parameters: tuple[str, ...] = ()
    odd_modulus: bool = False
    degree: int | None = None

    @property
    def signature(self) -> str:
        """The name with its open parameters, as in `linear(alpha,beta)`."""
        return f"{self.name}({','.join(self.parameters)})" if self.parameters else self.name

    def bind(self, arguments: Sequence[int]) -> "Operation":
        """The operation with its parameters set, so that `linear` becomes `linear(2,3)`.

        Raises:
            ValueError: If there are too many or too few arguments, or a degree is out of range.
        """
        if len(arguments) != len(self.parameters):
            raise ValueError(f"operation '{self.name}' is written {self.signature}, got {len(arguments)} parameters")
        values = dict(zip(self.parameters, arguments, strict=True))
        degree = None
        if self.domain == "permutations":
            degree = values.pop(self.parameters[0])
            if not 2 <= degree <= LARGEST_DEGREE:
                raise ValueError(f"operation '{self.name}' needs a degree from 2 to {LARGEST_DEGREE}, got {degree}")
        return replace(
            self,
            name=f"{self.name}({','.join(map(str, arguments))})",
            symbol=self.symbol.format(**values),
            function=partial(self.function, **values) if values else self.function,
            parameters=(),
            degree=degree,
        )

    def size(self, modulus: int | None) -> int:
        """The n that the function takes: the modulus, or the degree for permutations.

        Raises:
            ValueError: If the operation cannot have this modulus.
        """
        if self.degree is not None:
            if modulus is not None:
                raise ValueError(f"operation '{self.name}' is on permutations and takes no modulus, got {modulus=}")
            return self.degree
        if modulus is None or modulus < 2:
            raise ValueError(f"operation '{self.name}' needs a modulus of at least 2, got {modulus=}")
        if self.odd_modulus and modulus % 2 == 0 and modulus != 2:
            raise ValueError(f"operation '{self.name}' needs an odd modulus, or 2, got {modulus=}")
        return modulus

    def elements(self, modulus: int | None) -> list[Any]:
        """All operands in order: residues as ints, permutations as tuples in lexicographic order."""
        points = range(self.size(modulus))
        return list(points) if self.degree is None else list(itertools.permutations(points))

    def token(self, element: Any) -> str:
        """The name of an element: "12", or "(0 2 1)" for the permutation 0 ↦ 0, 1 ↦ 2, 2 ↦ 1."""
        return str(element) if self.degree is None else f"({' '.join(map(str, element))})"


_REGISTRY: dict[str, Operation] = {}


def registered() -> Iterator[Operation]:
    """Every known operation, parameters open: those on residues first, else in the order of definition."""
    return iter(sorted(_REGISTRY.values(), key=lambda known: known.domain == "permutations"))


def operation(
    *,
    name: str | None = None,
    symbol: str | None = None,
    formula: str | None = None,
    domain: Domain = "residues",
    commutative: bool = False,
    abelian_group: bool = False,
    anti_abelian: bool = False,
    inverse: str | None = None,
    odd_modulus: bool = False,
) -> Callable[[Function], Function]:
    """Registers a function of (a, b, n) as an operation and returns it unchanged.

    Further arguments of the function are integers that a recipe writes behind the name, as in `linear(2,3)`; a
    permutation operation is always written with its n, as in `compose(5)`.

    Args:
        name: The function's own name by default.
        symbol: The formula by default.
        formula: The name by default.
        domain: See `Operation`.
        commutative: See `Properties`, also for the next three.
        abelian_group: See `Properties`.
        anti_abelian: See `Properties`.
        inverse: See `Properties`.
        odd_modulus: See `Operation`.

    Raises:
        ValueError: If the name is no identifier, the name or symbol is taken, or the function has another form.
    """
    properties = Properties(commutative, abelian_group, anti_abelian, inverse)

    def register(function: Function) -> Function:
        known = describe(function, name or function.__name__, symbol, formula, domain)
        _check_free(known)
        _REGISTRY[known.name] = replace(known, properties=properties, odd_modulus=odd_modulus)
        return function

    return register


def describe(
    function: Callable[..., Any],
    name: str,
    symbol: str | None = None,
    formula: str | None = None,
    domain: Domain = "residues",
) -> Operation:
    """The operation that a function makes, claiming no properties; see `operation` for the arguments.

    Raises:
        ValueError: If the function does not take (a, b, n) and named parameters by position.
    """
    if not inspect.isfunction(inspect.unwrap(function)):
        raise ValueError(f"operation '{name}' is a function of (a, b, n), got a {type(function).__name__}")
    arguments = inspect.signature(function).parameters
    if len(arguments) < 3 or any(each.kind is not each.POSITIONAL_OR_KEYWORD for each in arguments.values()):
        raise ValueError(f"operation '{name}' is a function of (a, b, n), got {name}{inspect.signature(function)}")
    parameters = tuple(arguments)[3 if domain == "residues" else 2 :]
    formula = formula or name
    if symbol is None:
        symbol = formula if domain == "permutations" or not parameters else _template(name, parameters)
    return Operation(name, symbol, formula, function, domain, parameters=parameters)


def _template(name: str, parameters: Sequence[str]) -> str:
    return f"{name}({','.join(f'{{{parameter}}}' for parameter in parameters)})"


def _check_free(new: Operation) -> None:
    if not new.name.isidentifier():
        raise ValueError(f"an operation's name is an identifier, got name={new.name!r}")
    for old in registered():
        # A module may be loaded twice: reloaded, or run as __main__ and then imported.
        if old.name == new.name and _source(old) != _source(new):
            raise ValueError(f"operation name={new.name!r} is taken by {old.function.__module__}")
        if old.name != new.name and old.symbol == new.symbol:
            raise ValueError(f"operation '{new.name}': symbol={new.symbol!r} is taken by '{old.name}'")


def _source(known: Operation) -> tuple[str, str]:
    code = inspect.unwrap(known.function).__code__
    return code.co_filename, code.co_qualname
