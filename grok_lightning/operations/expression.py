"""Expressions over operations, such as `(a + b) * c`: parsed as data, never executed (an operation given by import path
is imported, as everywhere).

An expression is made of letters, residues, `+ - * /` with their usual precedence, brackets, and operations by name, as
in `sum_of_squares(a, b)` or `linear(2,3)(a, b)`. Without brackets equal precedence goes from left to right.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from grok_lightning.operations.lookup import resolve
from grok_lightning.operations.registry import Operation

ARITHMETIC: Mapping[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
PRECEDENCE = {"add": 1, "sub": 1, "mul": 2, "div": 2}
SIGNS = str.maketrans({"·": "*", "×": "*", "−": "-", "÷": "/", "∕": "/", "\n": " ", "\t": " "})
"""Signs that are read as their ASCII form; each is one character, so places in the text stay."""
LONGEST = 300

T = TypeVar("T")


@dataclass(frozen=True)
class Letter:
    """An operand by name."""

    name: str


@dataclass(frozen=True)
class Element:
    """A residue written as a number, to be taken modulo n."""

    number: int


@dataclass(frozen=True)
class Application:
    """An operation on two expressions."""

    operation: Operation
    left: "Node"
    right: "Node"


Node = Letter | Element | Application
Word = Letter | Element | str
"""What an expression is written with: operands, and the tokens of operations and brackets."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Args:
        text: The text it was parsed from.
        root: The outermost operation, or a single operand.
    """

    text: str
    root: Node

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """Names of the letters, in the order of their first appearance."""
        return tuple(dict.fromkeys(node.name for node in _nodes(self.root) if isinstance(node, Letter)))

    @cached_property
    def operations(self) -> dict[str, Operation]:
        """The operations that occur, by name."""
        applied = (node.operation for node in _nodes(self.root) if isinstance(node, Application))
        return {operation.name: operation for operation in applied}

    @property
    def elements(self) -> list[int]:
        """The residues that occur as numbers."""
        return [node.number for node in _nodes(self.root) if isinstance(node, Element)]

    def words(self) -> list[Word]:
        """The expression as it is written for a network, with no more brackets than it needs."""
        return list(_words(self.root))

    def evaluate(self, letters: Mapping[str, T], element: Callable[[int], T], apply: Callable[[str, T, T], T]) -> T:
        """The value of the expression, for any kind of values.

        Args:
            letters: The value of each letter.
            element: Turns a number into a value.
            apply: Maps the name of an operation and two values to their result.
        """
        if isinstance(self.root, Letter):
            return letters[self.root.name]
        if isinstance(self.root, Element):
            return element(self.root.number)
        left, right = (side.evaluate(letters, element, apply) for side in self.sides)
        return apply(self.root.operation.name, left, right)

    @property
    def sides(self) -> "tuple[Expression, Expression]":
        """The two operands of the outermost operation.

        Raises:
            TypeError: If there is no operation.
        """
        if not isinstance(self.root, Application):
            raise TypeError(f"{self.text} is a single operand")
        return Expression(self.text, self.root.left), Expression(self.text, self.root.right)

    def count(self, letter: str) -> int:
        """How often a letter occurs."""
        return sum(node == Letter(letter) for node in _nodes(self.root))


def parse_expression(text: str) -> Expression:
    """Parses an expression; letters are single letters of the Latin alphabet.

    Raises:
        ValueError: If the text is malformed or names an unknown operation; the message points at the place.
    """
    return Expression(text, _read(parse_tree(text), text))


def parse_tree(text: str) -> ast.expr:
    """Reads a text as one expression of Python, of which nothing is executed.

    Raises:
        ValueError: If the text is malformed; the message points at the place.
    """
    plain = text.translate(SIGNS)
    if not plain.strip() or len(plain) > LONGEST:
        raise ValueError(f"an expression has 1 to {LONGEST} characters, as (a + b) * c has 11; got {len(plain)}")
    if "#" in plain:  # would begin a comment
        raise _fault(text, plain.index("#"), plain.index("#") + 1, "means nothing here")
    try:
        tree = ast.parse(plain.lstrip(), mode="eval")
    except SyntaxError as error:
        # Python gives no place, or one behind the text, where something is missing at the end.
        place = len(text) if not error.offset else min(error.offset - 1 + _margin(text), len(text))
        raise _fault(text, place, len(text), "is malformed") from None
    except (ValueError, RecursionError, MemoryError):
        raise ValueError(f"expression {text!r} is malformed, or nested too deeply") from None
    return tree.body


def _read(node: ast.expr, text: str) -> Node:
    match node:
        case ast.Name(id=name) if len(name) == 1 and name.isascii() and name.isalpha():
            return Letter(name)
        case ast.Name():
            raise fault_at(node, text, "is no letter; operands are single letters such as a, b, c")
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return Element(number)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))) if not isinstance(number, bool):
            return Element(-number)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in ARITHMETIC:
            return Application(resolve(ARITHMETIC[type(sign)]), _read(left, text), _read(right, text))
        case ast.Call(func=ast.Name() | ast.Attribute() | ast.Call() as function, args=[left, right], keywords=[]):
            return Application(_operation(function, text), _read(left, text), _read(right, text))
        case ast.UnaryOp(op=ast.USub()):
            raise fault_at(node, text, "has a sign of its own; write 0 - a")
        case ast.Call(func=ast.Constant()) | ast.Call(args=[_]):
            raise fault_at(node, text, "is no product; write products with *, and operations as in add(a, b)")
        case ast.Call(func=function):
            raise fault_at(node, text, f"needs two operands, as in {ast.unparse(function)}(a, b)")
    raise fault_at(
        node, text, "is not understood; expected letters, residues, + - * / and operations such as add(a, b)"
    )


def _operation(function: ast.expr, text: str) -> Operation:
    try:
        return resolve(ast.unparse(function))
    except ValueError as error:
        raise fault_at(function, text, f"is no operation: {error}") from None


def fault_at(node: ast.expr, text: str, problem: str) -> ValueError:
    """What is wrong at a node of the tree of a text, pointing at its place there."""
    line = text.translate(SIGNS).lstrip().encode()  # places are in bytes
    places = (len(line[:place].decode(errors="ignore")) for place in (node.col_offset, node.end_col_offset or 0))
    start, stop = (place + _margin(text) for place in places)
    return _fault(text, start, stop, problem)


def _margin(text: str) -> int:
    return len(text) - len(text.translate(SIGNS).lstrip())


def _fault(text: str, start: int, stop: int, problem: str) -> ValueError:
    place = repr(text[start:stop].strip()) if text[start:stop].strip() else "the end"
    return ValueError(f"expression {text!r}: {place} (character {start + 1}) {problem}")


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Application):
        yield from _nodes(node.left)
        yield from _nodes(node.right)


def _words(node: Node) -> Iterator[Word]:
    if not isinstance(node, Application):
        yield node
        return
    for side in (node.left, node.right):
        bracketed = isinstance(side, Application) and _needs_brackets(side, node, side is node.right)
        yield from ["("] * bracketed
        yield from _words(side)
        yield from [")"] * bracketed
        if side is node.left:
            yield node.operation.symbol


def _needs_brackets(inner: Application, outer: Application, is_right: bool) -> bool:
    own, around = (PRECEDENCE.get(node.operation.name) for node in (inner, outer))
    return own is None or around is None or own < around or (is_right and own == around)
