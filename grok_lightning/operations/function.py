"""Functions of one number, such as `x + 5` or `(x * x) // 2`: parsed as data, never executed."""

import ast
import operator
from collections.abc import Callable, Mapping

from grok_lightning.operations.expression import fault_at, parse_tree
from grok_lightning.operations.lookup import resolve

Function = Callable[[int], int | None]
"""Maps a number to its value, or to None where that is undefined."""
SIGNS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def parse_function(text: str, modulus: int | None = None) -> Function:
    """Parses a function of x.

    It is made of x, whole numbers, `+ - * // %` with Python's meaning and precedence, and brackets. Modulo n each
    result is taken modulo n (`//` and `%` are those of residues as the numbers 0 … n−1), and there are also `/` and the
    registered operations by name, as in `sum_of_squares(x, 3)`.

    Args:
        text: The function.
        modulus: The n of the residues it is on; None for all integers.

    Raises:
        ValueError: If the text is malformed, or names an operation that is unknown or refuses the modulus; the message
            points at the place.
    """
    parser = _Parser(text, modulus)
    return parser.reduced(parser.function(parse_tree(text)))


class _Parser:
    """Turns the tree of a text into functions, from the outermost node inwards."""

    def __init__(self, text: str, modulus: int | None) -> None:
        self.text, self.modulus = text, modulus

    def function(self, node: ast.expr) -> Function:
        """The function that a node stands for."""
        match node:
            case ast.Name(id="x"):
                return self.reduced(lambda x: x)
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return lambda x: number  # as it is, so that x // 97 means the same modulo 97
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._join(operator.sub, ast.Constant(0), operand)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in SIGNS:
                return self._join(SIGNS[type(sign)], left, right)
            case ast.BinOp(left=left, op=ast.Div(), right=right) if self.modulus is not None:
                return self._join(self._operation("div", node), left, right)
            case ast.Call(func=ast.Name() | ast.Call() as name, args=[left, right], keywords=[]) if self.modulus:
                return self._join(self._operation(ast.unparse(name), node), left, right)
        raise self._fault(node)

    def _join(self, apply: Callable[[int, int], int | None], left: ast.expr, right: ast.expr) -> Function:
        first, second = self.function(left), self.function(right)

        def value(x: int) -> int | None:
            a, b = first(x), second(x)
            if a is None or b is None:
                return None
            try:
                return apply(a, b)
            except ZeroDivisionError:
                return None

        return self.reduced(value)

    def _operation(self, name: str, node: ast.expr) -> Callable[[int, int], int | None]:
        try:
            found = resolve(name)
            n = found.size(self.modulus)
        except ValueError as error:
            raise fault_at(node, self.text, f"is no operation: {error}") from None

        def apply(a: int, b: int) -> int | None:
            value: int | None = found.function(a % n, b % n, n)
            return value

        return apply

    def reduced(self, function: Function) -> Function:
        """The function with its values taken modulo n."""
        if (n := self.modulus) is None:
            return function

        def value(x: int) -> int | None:
            found = function(x)
            return None if found is None else found % n

        return value

    def _fault(self, node: ast.expr) -> ValueError:
        match node:
            case ast.Name():
                return fault_at(node, self.text, "is not x; a function is of x alone")
            case ast.BinOp(op=ast.Div()):
                return fault_at(node, self.text, "is a division of integers; write //, or give a modulus")
            case ast.Call(func=ast.Name() | ast.Call()) if self.modulus is None:
                return fault_at(node, self.text, "is an operation on residues; give a modulus")
        means = "+ - * // %" if self.modulus is None else "+ - * / // % and operations such as add(x, 3)"
        return fault_at(node, self.text, f"is not understood; expected x, whole numbers, brackets, {means}")
