"""Systems as text."""

import re

import pytest

from grok_lightning.operations import Letter, parse_system


def test_how_a_system_is_written():
    system = parse_system(["a + b = A", "A + c = B"], "B")
    words = [word.name if isinstance(word, Letter) else word for word in system.words()]
    assert words == ["a", "+", "b", "=", "A", "&", "A", "+", "c", "=", "B", "B"]
    assert (system.givens, system.unknowns) == (("a", "b", "c"), ("A", "B"))
    assert system.text == "a + b = A & A + c = B, B asked"


@pytest.mark.parametrize(
    ("equations", "asked", "message"),
    [
        (["a + b = A"], "B", "asked is 'B', but the unknowns of a + b = A are: A; did you mean 'A'?"),
        (["a + b = A"], "a", "did you mean 'A'?"),
        (["a + b = c"], "A", "are: none; unknowns are capital letters"),
        (["A + B = 3"], "A", "A + B = 3, A asked: nothing is given"),
        (["a + b"], "A", "equation 'a + b': found 0 signs '='; expected one"),
        (["a = b = A"], "A", "found 2 signs '='"),
        (["a + b = A", "A + = c"], "A", "expression 'A + ': the end"),
        ([], "A", "expected a list such as"),
        ("a + b = A", "A", "expected a list such as"),
    ],
)
def test_a_malformed_system_is_refused(equations, asked, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_system(equations, asked)
