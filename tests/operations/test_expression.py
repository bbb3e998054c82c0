"""Expressions, against Python's own arithmetic."""

import ast
import contextlib
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.operations import Element, Letter, parse_expression

MODULUS = 7


def integers():
    """Random expressions as text."""
    operands = st.one_of(st.sampled_from("abc"), st.integers(0, 12).map(str))
    return st.recursive(
        operands,
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner, st.booleans()).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})" if parts[3] else f"{parts[0]}{parts[1]}{parts[2]}"
        ),
        max_leaves=8,
    )


def value(expression, letters):
    def apply(name, x, y):
        return expression.operations[name].function(x, y, MODULUS)

    return expression.evaluate(letters, lambda number: number % MODULUS, apply)


def written(expression):
    return " ".join(
        word.name if isinstance(word, Letter) else str(word.number) if isinstance(word, Element) else word
        for word in expression.words()
    )


@given(text=integers(), a=st.integers(0, 6), b=st.integers(0, 6), c=st.integers(0, 6))
def test_its_value_is_that_of_python(text, a, b, c):
    expected = eval(compile(ast.parse(text, mode="eval"), "", "eval"), {"a": a, "b": b, "c": c}) % MODULUS
    assert value(parse_expression(text), {"a": a, "b": b, "c": c}) == expected


@given(text=integers())
def test_what_is_written_means_the_same_and_needs_every_bracket(text):
    expression = parse_expression(text)
    again = parse_expression(written(expression))
    assert again.root == expression.root
    words = written(expression).split()
    opening, closing = ([place for place, word in enumerate(words) if word == sign] for sign in "()")
    for pair in itertools.product(opening, closing):
        without = " ".join(word for place, word in enumerate(words) if place not in pair)
        with contextlib.suppress(ValueError):  # no pair
            assert parse_expression(without).root != expression.root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a + b) * c", "( a + b ) · c"),
        ("a - b + c", "a - b + c"),
        ("a - (b - c)", "a - ( b - c )"),
        ("a·b·c·d", "a · b · c · d"),
        ("a * b + c / d", "a · b + c / d"),
        ("sum_of_squares(a, b) * c", "( a x²+y² b ) · c"),
        ("sum_of_squares(a + b, c)", "( a + b ) x²+y² c"),
        ("linear(2, -3)(a, b) + 1", "( a 2x-3y b ) + 1"),
        ("compose(3)(a, compose(3)(b, c))", "a ∘ ( b ∘ c )"),
        ("a\n + b", "a + b"),
        ("a − -3", "a - -3"),
    ],
)
def test_how_it_is_written(text, expected):
    assert written(parse_expression(text)) == expected


def test_letters_are_in_the_order_of_their_appearance_and_counted():
    expression = parse_expression("(c + a) * c - 2")
    assert expression.letters == ("c", "a")
    assert [expression.count(letter) for letter in "abc"] == [1, 0, 2]
    assert list(expression.operations) == ["sub", "mul", "add"]
    assert expression.elements == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a + ", "expression 'a + ': the end (character 5) is malformed"),
        ("a + b c", "'c' (character 7) is malformed"),
        ("a + b)", "(character 6) is malformed"),
        ("a ** b", "'a ** b' (character 1) is not understood; expected letters, residues, + - * /"),
        ("a + foo * b", "'foo' (character 5) is no letter; operands are single letters such as a, b, c"),
        (
            "a + sum_of_square(b, c)",
            "'sum_of_square' (character 5) is no operation: unknown operation",
        ),
        ("add(a) + b", "'add(a)' (character 1) is no product; write products with *, and operations as in add(a, b)"),
        ("add(a, b, c)", "'add(a, b, c)' (character 1) needs two operands, as in add(a, b)"),
        ("linear(2)(a, b)", "is no operation: operation 'linear' is written linear(alpha,beta)"),
        ("a + b # c", "'#' (character 7) means nothing here"),
        ("a · α", "'α' (character 5) is no letter"),
        ("-a", "'-a' (character 1) has a sign of its own; write 0 - a"),
        ("2(a + b)", "'2(a + b)' (character 1) is no product; write products with *"),
        ("True + a", "'True' (character 1)"),
        ("__import__('os').system('ls')", "is no product"),
        ("a if b else c", "is not understood"),
        ("", "an expression has 1 to 300 characters"),
        ("a" * 301, "an expression has 1 to 300 characters"),
        ("a\0", "malformed"),
    ],
)
def test_a_malformed_expression_is_refused_at_its_place(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_expression(text)


@given(text=st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(ValueError):
        assert parse_expression(text).text == text


def test_the_deepest_expression_is_evaluated():
    text = "a+" * 149 + "a"
    assert value(parse_expression(text), {"a": 1}) == 150 % MODULUS
    assert parse_expression("(" * 149 + "a" + ")" * 149).letters == ("a",)
