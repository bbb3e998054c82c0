"""Systems of equations, against a search over all values of all unknowns."""

import ast
import itertools

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grok_lightning.data import SystemDataModule
from grok_lightning.data.arithmetic import SEVERAL, UNDEFINED, Arithmetic
from grok_lightning.data.solver import Solver
from grok_lightning.operations import parse_system

WHOLE = {"train_fraction": 0.5, "val_fraction": 0.5, "test_fraction": 0.5}


def build(equations, asked, modulus=5, *, seed=0, **options):
    torch.manual_seed(seed)
    data = SystemDataModule(equations, asked, modulus, **{**WHOLE, **options})
    data.setup("fit")
    return data


def value(node, letters, modulus):
    """The value of an expression as Python reads it, None where it divides by what has no inverse."""
    if isinstance(node, ast.Name):
        return letters[node.id]
    if isinstance(node, ast.Constant):
        return node.value % modulus
    left, right = value(node.left, letters, modulus), value(node.right, letters, modulus)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Div):
        quotients = [x for x in range(modulus) if x * right % modulus == left]
        is_unit = any(x * right % modulus == 1 for x in range(modulus))
        return quotients[0] if is_unit else None
    sign = {ast.Add: int.__add__, ast.Sub: int.__sub__, ast.Mult: int.__mul__}[type(node.op)]
    return sign(left, right) % modulus


def solutions(equations, asked, givens, unknowns, modulus):
    """All values of the asked unknown for which the other unknowns can be chosen so that every equation holds."""
    sides = [[ast.parse(side.strip(), mode="eval").body for side in text.split("=")] for text in equations]
    found = set()
    for values in itertools.product(range(modulus), repeat=len(unknowns)):
        letters = {**givens, **dict(zip(unknowns, values, strict=True))}
        both = [[value(side, letters, modulus) for side in pair] for pair in sides]
        if all(left == right is not None for left, right in both):
            found.add(letters[asked])
    return found


def check(equations, asked, modulus):
    """The solver finds what the search finds, for every assignment of the given letters."""
    system = parse_system(equations, asked)
    solver = Solver(system, Arithmetic(system.expressions, modulus))
    assignments = list(itertools.product(range(modulus), repeat=len(system.givens)))
    columns = dict(zip(system.givens, torch.tensor(assignments).T, strict=True))
    for assignment, answer in zip(assignments, solver.solve(columns).tolist(), strict=True):
        givens = dict(zip(system.givens, assignment, strict=True))
        found = solutions(equations, asked, givens, system.unknowns, modulus)
        assert answer == (UNDEFINED if not found else SEVERAL if len(found) > 1 else found.pop())


SYSTEMS = [
    (["a + b = A", "A + c = B"], "B"),
    (["a + A = b", "A + c = B"], "A"),
    (["a * A = b", "A * c = B"], "B"),
    (["a + b = A", "A + B = c"], "B"),
    (["A + B = a", "A - B = b"], "A"),
    (["A * B = a", "A + B = b"], "A"),
    (["A * A = a"], "A"),
    (["A * A = a", "A * A * A = b"], "A"),
    (["a / A = b"], "A"),
    (["2 * A + 3 = a"], "A"),
    (["a = b", "A + a = b"], "A"),
    (["A = B", "B = a - b"], "A"),
    (["A + B = C", "B + C = a", "A - C = b"], "A"),
    (["A * (b - a) = A + c / A"], "A"),
    (["(a + A) * b = (A - b) * a"], "A"),
]


@pytest.mark.parametrize("modulus", [2, 3, 5])
@pytest.mark.parametrize(("equations", "asked"), SYSTEMS)
def test_the_solver_finds_what_a_search_finds(equations, asked, modulus):
    check(equations, asked, modulus)


def sides():
    return st.recursive(
        st.sampled_from(["a", "b", "A", "B", "2"]),
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        max_leaves=4,
    )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    equations=st.lists(st.tuples(sides(), sides()).map(" = ".join), min_size=1, max_size=3), asked=st.sampled_from("AB")
)
def test_the_solver_finds_what_a_search_finds_for_any_system(equations, asked):
    text = " ".join(equations)
    assume(asked in text and {"a", "b"} & set(text) and {"+", "-", "*", "/"} & set(text))
    check(equations, asked, 3)


@pytest.mark.parametrize("sign", ["+", "*"])
@pytest.mark.parametrize("asked", ["A", "B"])
@pytest.mark.parametrize("form", [["a {} b = A", "A {} c = B"], ["a {} A = b", "A {} c = B"]])
def test_the_four_systems_of_the_paper(form, asked, sign):
    equations = [text.format(sign) for text in form]
    data = build(equations, asked, 7, leave_out_ambiguous=True)
    names = list(data.vocabulary)
    seen = set()
    for part in data.parts.values():
        for row, answer in zip(part.tokens.tolist(), part.answers.tolist(), strict=True):
            words = [names[token] for token in row]
            assert len(words) == 12
            assert (words[4 if form[0].endswith("A") else 2], words[11]) == ("A", asked)
            left, right = " ".join(words[:-1]).replace("·", "*").split(" & ")
            assert solutions([left, right], asked, {}, ("A", "B"), 7) == {answer}
            seen.add(tuple(row))
    with_answer = 343 if sign == "+" or form[0].endswith("A") else 6 * 49
    assert with_answer - 2 <= len(seen) <= with_answer
    assert list(data.vocabulary)[7:] == [
        {"+": "+", "*": "·"}[sign],
        *(["=", "A"] if form[0].endswith("A") else ["A", "="]),
        "&",
        "B",
    ]


def test_an_answer_that_is_not_unique_is_refused_with_an_example():
    message = "a * A = b, A asked: A has several values for a = 0, b = 0; .* leave_out_ambiguous: true"
    with pytest.raises(ValueError, match=message.replace("*", r"\*", 1)):
        build(["a * A = b"], "A")
    data = build(["a * A = b"], "A", leave_out_ambiguous=True)
    assert all(0 not in part.tokens[:, 0].tolist() for part in data.parts.values())


@pytest.mark.parametrize(
    ("equations", "message"),
    [
        (
            ["A + B = C", "A - B = b"],
            "train_fraction is 0.5, which leaves none of the 5 assignments",
        ),
        (["0 * A = 1 + 0 * a"], "train_fraction is 0.5, which leaves none of the 5 assignments"),
    ],
)
def test_a_system_that_is_never_solved_is_refused(equations, message):
    with pytest.raises(ValueError, match=message):
        build(equations, "A", leave_out_ambiguous=True)


def test_a_system_that_couples_too_many_unknowns_is_refused():
    with pytest.raises(ValueError, match="needs 912673 trials for one system, at most 16384; add an equation"):
        build(["A + B + C + D = a", "A * B - C * D = b"], "A", 97, train_fraction=9, val_fraction=9, test_fraction=9)
