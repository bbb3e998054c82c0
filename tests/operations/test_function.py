"""Functions of one number, against Python's own arithmetic."""

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.operations import parse_function


def texts():
    """Random functions as text."""
    operands = st.one_of(st.just("x"), st.integers(0, 200).map(str))
    return st.recursive(
        operands,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
                lambda parts: f"({' '.join(parts)})"
            ),
            inner.map(lambda part: f"-{part}"),
        ),
        max_leaves=6,
    )


def reference(text, x, modulus=None):
    """The value by Python itself, each node of the tree at a time for residues; None where it is undefined."""

    def value(node):
        match node:
            case ast.Name():
                return x if modulus is None else x % modulus
            case ast.Constant(value=number):
                return number
            case ast.UnaryOp(operand=operand):
                result = -value(operand)
            case ast.BinOp(left=left, op=sign, right=right):
                signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}
                result = eval(f"({value(left)}) {signs[type(sign)]} ({value(right)})")
        return result if modulus is None else result % modulus

    try:
        found = value(ast.parse(text, mode="eval").body)
    except ZeroDivisionError:
        return None
    return found if modulus is None else found % modulus


@given(texts(), st.integers(-300, 300))
def test_integers_are_those_of_python(text, x):
    try:
        expected = eval(text, {"x": x})
    except ZeroDivisionError:
        expected = None
    assert parse_function(text)(x) == expected == reference(text, x)


@given(texts(), st.integers(0, 100), st.integers(2, 101))
def test_residues_are_reduced_at_every_step(text, x, modulus):
    assert parse_function(text, modulus)(x) == reference(text, x, modulus)


@given(st.integers(0, 100), st.sampled_from([2, 7, 97]))
def test_sums_and_products_of_residues_are_reduced_at_the_end_just_as_well(x, modulus):
    assert parse_function("3*x*x - 200*x + 5", modulus)(x) == (3 * x * x - 200 * x + 5) % modulus


def test_operations_by_name_and_division():
    for x in range(7):
        assert parse_function("sum_of_squares(x, 3)", 7)(x) == (x * x + 9) % 7
        assert parse_function("linear(2, 3)(x + 1, 4)", 7)(x) == (2 * (x + 1) + 12) % 7
        quotient = parse_function("3 / x", 7)(x)
        assert quotient is None if x == 0 else quotient * x % 7 == 3
    assert parse_function("1 / (x - 2) + 5", 7)(2) is None


def test_what_divides_by_zero_has_no_value():
    for text in ("x // (x - 3)", "x % (x - 3)", "1 + x // (x - 3)"):
        assert parse_function(text)(3) is None
        assert parse_function(text)(5) is not None


@pytest.mark.parametrize(
    ("text", "modulus", "message"),
    [
        ("", None, "an expression has 1 to 300 characters"),
        ("x +", None, "expression 'x +': the end (character 4) is malformed"),
        ("x + y", None, "'y' (character 5) is not x; a function is of x alone"),
        ("x / 2", None, "'x / 2' (character 1) is a division of integers; write //, or give a modulus"),
        ("add(x, 2)", None, "'add(x, 2)' (character 1) is an operation on residues; give a modulus"),
        ("ad(x, 2)", 7, "is no operation: unknown operation 'ad': did you mean 'add'"),
        ("x / 2", 8, "is no operation: operation 'div' needs an odd modulus"),
        ("compose(3)(x, 2)", 7, "takes no modulus"),
        ("add(x)", 7, "'add(x)' (character 1) is not understood; expected x, whole numbers"),
        ("os.system(x, 2)", 7, "is not understood"),
        ("__import__('os')", None, "is an operation on residues"),
        ("x ** 2", None, "'x ** 2' (character 1) is not understood"),
        ("x + 1.5", None, "'1.5' (character 5) is not understood"),
        ("x + True", None, "'True' (character 5) is not understood"),
        ("+x", None, "is not understood"),
        ("x if x else 0", None, "is not understood"),
        ("(" * 150 + "x" + ")" * 149, None, "malformed"),
    ],
)
def test_what_is_no_function_is_refused(text, modulus, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_function(text, modulus)
