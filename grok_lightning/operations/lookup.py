"""Operations by name: from what a recipe says to a table of integers.

A name is one that is registered (`add`), one with parameters (`linear(2,3)`, `compose(5)`), or the import path of a
function of (a, b, n), registered or not (`my_module.my_operation`). An operation of your own::

    from grok_lightning.operations import operation

    @operation(formula="x²−y²")
    def difference_of_squares(x: int, y: int, n: int) -> int:
        return (x * x - y * y) % n
"""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

# Importing the definitions is what registers them.
from grok_lightning.operations import permutations as permutations
from grok_lightning.operations import residues as residues
from grok_lightning.operations.algebra import (
    Table,
    is_abelian_group,
    is_anti_abelian,
    is_commutative,
    restrict,
    reversible_elements,
    undoes,
)
from grok_lightning.operations.registry import Operation, Properties, describe, registered

_NAME = re.compile(r"(?P<path>\w+(?:\.\w+)*)(?:\((?P<arguments>.*)\))?")
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
UNDEFINED, OUTSIDE = -1, -2


@dataclass(frozen=True)
class OperationTable:
    """All values of one operation at one modulus.

    Args:
        name: Name of the operation, one that `resolve` knows.
        symbol: Token of the operation.
        elements: Tokens of the operands and results: "0" … "n−1", or permutations such as "(0 2 1)".
        values: `values[i][j]` is the index of element i ∘ element j, −1 where that is undefined.
        operation: The operation itself.
    """

    name: str
    symbol: str
    elements: tuple[str, ...]
    values: list[list[int]]
    operation: Operation


def list_operations() -> list[Operation]:
    """Every registered operation, parameters open: `signature`, `symbol`, `formula` and `properties` describe it."""
    return list(registered())


def resolve(name: str) -> Operation:
    """The operation that a recipe names.

    Raises:
        ValueError: If the name is unknown, cannot be imported, or has malformed parameters.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise _unknown(name)
    found = _imported(match["path"]) if "." in match["path"] else _registered(match["path"])
    if match["arguments"] is None and not found.parameters:
        return found
    return found.bind(_integers(name, match["arguments"]))


def operation_table(name: str, modulus: int | None) -> OperationTable:
    """Every value of the named operation.

    Args:
        name: See `resolve`.
        modulus: The n of Z_n, at least 2; None for permutations, whose name holds their degree.

    Raises:
        ValueError: If the name or the modulus is refused, or a value is no element.
    """
    found = resolve(name)
    elements = tuple(found.token(element) for element in found.elements(modulus))
    return OperationTable(found.name, found.symbol, elements, _values(found, modulus), found)


def properties(name: str, modulus: int | None) -> Properties:
    """The properties that the named operation has at one modulus, by trying all elements.

    The inverse is looked for among the registered operations without parameters, a declared one first.

    Raises:
        ValueError: If `operation_table` does.
    """
    found = resolve(name)
    values = _values(found, modulus)
    commutative = is_commutative(values)
    reversible = reversible_elements(values)
    if len(reversible) < 2:
        return Properties(commutative)
    group = restrict(values, reversible)
    return Properties(
        commutative=commutative,
        abelian_group=group is not None and is_abelian_group(group),
        anti_abelian=group is not None and is_anti_abelian(group),
        inverse=_find_inverse(found, modulus, values, reversible),
    )


def _registered(name: str) -> Operation:
    known = {each.name: each for each in registered()}
    if name not in known:
        raise _unknown(name)
    return known[name]


def _unknown(name: str) -> ValueError:
    signatures = {each.symbol: each.signature for each in registered()}
    signatures |= {each.name: each.signature for each in registered()}
    nearest = get_close_matches(name, signatures, n=1)
    if nearest:
        return ValueError(f"unknown operation '{name}': did you mean '{signatures[nearest[0]]}'?")
    known = ", ".join(each.signature for each in registered())
    return ValueError(f"unknown operation '{name}': expected an import path or one of {known}")


def _imported(path: str) -> Operation:
    module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"operation '{path}' cannot be imported: {error}") from error
    function = getattr(module, attribute, None)
    if function is None:
        nearest = get_close_matches(attribute, vars(module), n=1)
        hint = f": did you mean '{nearest[0]}'?" if nearest else ""
        raise ValueError(f"operation '{path}': '{module_name}' has no '{attribute}'{hint}")
    for known in registered():
        if known.function is function:
            # Under its path it is found again by a process that has not imported the module.
            return replace(known, name=path)
    return describe(function, path)


def _integers(name: str, text: str | None) -> list[int]:
    parts = [] if text is None else text.split(",")
    for part in parts:
        if not _INTEGER.fullmatch(part):
            raise ValueError(f"operation '{name}': parameter '{part.strip()}' is not an integer")
    return [int(part) for part in parts]


def _values(found: Operation, modulus: int | None) -> list[list[int]]:
    elements, size, function = found.elements(modulus), found.size(modulus), found.function
    index = {element: position for position, element in enumerate(elements)} | {None: UNDEFINED}
    rows = [[index.get(function(a, b, size), OUTSIDE) for b in elements] for a in elements]
    for a, row in zip(elements, rows, strict=True):
        if OUTSIDE in row:
            b = elements[row.index(OUTSIDE)]
            value = function(a, b, size)
            raise ValueError(f"operation '{found.name}' gives {value!r} for {a}, {b}: no element of {found.domain}")
    return rows


def _find_inverse(found: Operation, modulus: int | None, values: Table, reversible: Sequence[int]) -> str | None:
    names = [known.name for known in registered() if not known.parameters and known.domain == found.domain]
    names.sort(key=lambda name: name != found.properties.inverse)
    for name in names:
        # The units of an even modulus can be divided by, even though a whole division table is refused there.
        undo = _values(replace(resolve(name), odd_modulus=False), modulus)
        if undoes(undo, values, reversible):
            return name
    return None
