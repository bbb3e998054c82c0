"""Compositions, against Python's own arithmetic on every assignment."""

import itertools
import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.data import CompositionDataModule, TokenSubset
from grok_lightning.operations import resolve

WHOLE = {"train_fraction": 0.5, "val_fraction": 0.5, "test_fraction": 0.5}


def build(expression, modulus=5, *, seed=0, **options):
    torch.manual_seed(seed)
    data = CompositionDataModule(expression, modulus, **{**WHOLE, **options})
    data.setup("fit")
    return data


def inverse(x, n):
    return next((y for y in range(n) if x * y % n == 1), None)


EXPRESSIONS = {
    "a + b + c": ("{a} + {b} + {c} =", lambda a, b, c, n: (a + b + c) % n),
    "a - b + c": ("{a} - {b} + {c} =", lambda a, b, c, n: (a - b + c) % n),
    "(a + b) * c": ("( {a} + {b} ) · {c} =", lambda a, b, c, n: (a + b) * c % n),
    "a * (b - a) + 4*c": ("{a} · ( {b} - {a} ) + {four} · {c} =", lambda a, b, c, n: (a * (b - a) + 4 * c) % n),
    "a / b * c": ("{a} / {b} · {c} =", lambda a, b, c, n: a * inverse(b, n) * c % n if inverse(b, n) else None),
    "a + b / (b - c)": (
        "{a} + {b} / ( {b} - {c} ) =",
        lambda a, b, c, n: (a + b * inverse((b - c) % n, n)) % n if inverse((b - c) % n, n) else None,
    ),
    "square_of_sum(a, b) * c": ("( {a} (x+y)² {b} ) · {c} =", lambda a, b, c, n: (a + b) ** 2 * c % n),
}


@pytest.mark.parametrize("modulus", [3, 5, 7])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_parts_together_are_the_whole_table(expression, modulus, equations):
    text, function = EXPRESSIONS[expression]
    data = build(expression, modulus)
    expected = {
        (text.format(a=a, b=b, c=c, four=4 % modulus), str(answer))
        for a, b, c in itertools.product(range(modulus), repeat=3)
        if (answer := function(a, b, c, modulus)) is not None
    }
    found = equations(data)
    assert len(found) == len(set(found))
    assert set(found) <= expected
    missing = expected - set(found)
    assert len(missing) <= 1  # two halves of an odd number


@settings(deadline=None, max_examples=40)
@given(
    modulus=st.integers(2, 7),
    letters=st.integers(1, 4),
    train=st.one_of(st.floats(0.2, 0.7), st.integers(1, 6)),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_parts_are_apart_and_of_the_asked_sizes(modulus, letters, train, seed, data, equations):
    total = modulus**letters
    if isinstance(train, int):
        train = min(train, total // 3 + 1)
    elif int(train * total) < 1:
        train = 1
    trained = train if isinstance(train, int) else int(round(train * total, 6))
    left = total - trained
    if left < 2:
        return
    val = data.draw(st.integers(1, left - 1))
    test = data.draw(st.integers(1, left - val))
    names = "abcd"[:letters]
    module = build(
        " + ".join(names) + " + 0", modulus, seed=seed, train_fraction=train, val_fraction=val, test_fraction=test
    )
    assert module.sizes() == {"train": trained, "val": val, "test": test}
    found = equations(module)
    assert len(set(found)) == trained + val + test
    for text, answer in found:
        assert int(answer) == sum(int(word) for word in text.removesuffix("=").split("+")) % modulus


def test_a_huge_table_costs_what_is_drawn_of_it(equations):
    data = build("a + b - c * d + e", 97, train_fraction=2000, val_fraction=300, test_fraction=400)
    assert data.sizes() == {"train": 2000, "val": 300, "test": 400}
    for text, answer in equations(data)[::50]:
        a, b, c, d, e = (int(word) for word in text.split()[::2][:5])
        assert int(answer) == (a + b - c * d + e) % 97


def test_too_many_letters_are_refused():
    with pytest.raises(ValueError, match="97 elements for 10 letters make more than 2⁶² equations"):
        build(" + ".join("abcdefghij"), 97, train_fraction=10, val_fraction=10, test_fraction=10)


def test_the_test_part_may_be_what_is_left_or_empty():
    assert build("a + b", 5, train_fraction=10, val_fraction=6, test_fraction=None).sizes()["test"] == 9
    data = build("a + b", 5, train_fraction=10, val_fraction=1.0, test_fraction=None)
    assert data.sizes() == {"train": 10, "val": 15, "test": 0}
    assert len(data.test_dataloader()) == 0


@pytest.mark.parametrize("symbol", ["a", "=", "3", "("])
def test_a_symbol_that_means_something_else_is_refused(symbol, monkeypatch):
    other = replace(resolve("add"), symbol=symbol)
    monkeypatch.setattr("grok_lightning.operations.lookup.registered", lambda: iter([other]))
    with pytest.raises(ValueError, match="means something else in an equation; give it another"):
        CompositionDataModule("a + b", 5, 10, 5, 5)


def test_permutations_are_composed_too(equations):
    data = build("compose(3)(compose(3)(a, b), c)", None)
    assert data.sizes() == {"train": 108, "val": 54, "test": 54}
    for text, answer in equations(data):
        a, b, c = (tuple(map(int, part.strip(" ()").split())) for part in text.removesuffix(" =").split(" ∘ "))
        assert answer == f"({' '.join(str(a[b[c[i]]]) for i in range(3))})"


@pytest.mark.parametrize(
    ("subset", "allowed"),
    [({"first": 3}, {0, 1, 2}), ({"only": [4, 1]}, {1, 4}), ({"only": ["0"]}, {0})],
)
def test_training_is_limited_to_some_tokens_and_the_verdict_is_not(subset, allowed):
    data = build("a + b + c", 5, train_fraction=1.0, train_tokens=TokenSubset(**subset))
    operands = data.parts["train"].tokens[:, [0, 2, 4]]
    assert set(operands.flatten().tolist()) == allowed
    assert len(operands) == len(allowed) ** 3
    held_out = torch.cat([data.parts["val"].tokens, data.parts["test"].tokens])[:, [0, 2, 4]]
    assert set(held_out.flatten().tolist()) == set(range(5))
    assert len(held_out) + len(operands) >= 124
    trained = {tuple(row) for row in operands.tolist()}
    assert not trained & {tuple(row) for row in held_out.tolist()}


def test_random_tokens_follow_the_split_seed():
    chosen = [
        set(build("a + b", 31, seed=seed, train_tokens=TokenSubset(random=10)).train_elements.tolist())
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(tokens) == 10 for tokens in chosen)


def test_a_seed_decides_the_sample_and_more_of_it_begins_the_same():
    few = build("a + b + c", 11, train_fraction=100)
    many = build("a + b + c", 11, train_fraction=200)
    assert torch.equal(few.parts["train"].tokens, many.parts["train"].tokens[:100])
    other = build("a + b + c", 11, train_fraction=100, seed=1)
    assert not torch.equal(few.parts["train"].tokens, other.parts["train"].tokens)
    fixed = build("a + b + c", 11, train_fraction=100, seed=1, split_seed=0)
    assert torch.equal(few.parts["train"].tokens, fixed.parts["train"].tokens)


def test_samples_are_uniform():
    data = build("a + b + c", 97, train_fraction=97 * 100, val_fraction=10, test_fraction=10)
    counts = torch.stack([data.parts["train"].tokens[:, place].bincount(minlength=97)[:97] for place in (0, 2, 4)])
    statistic = ((counts - 100) ** 2 / 100).sum().item()
    assert abs(statistic - 3 * 96) < 5 * math.sqrt(2 * 3 * 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expression": "3 + 4"}, "has no letter"),
        ({"expression": "a"}, "there is no operation in a; expected one at least"),
        ({"expression": "a + compose(3)(b, c)"}, "takes no modulus"),
        ({"expression": "compose(3)(a, compose(4)(b, c))", "modulus": None}, "are on different elements"),
        ({"expression": "compose(3)(a, 2)", "modulus": None}, "the residue 2 cannot stand among permutations"),
        ({"expression": "a / b", "modulus": 4}, "odd modulus"),
        (
            {"train_fraction": 126},
            "train_fraction is 126, but only 125 equations that have an answer are left for it",
        ),
        ({"train_fraction": -1}, "train_fraction is -1; expected a share up to 1.0, or a number of equations"),
        ({"train_fraction": 0}, "train_fraction is 0, which leaves none of the 125 assignments"),
        ({"train_fraction": 0.001}, "train_fraction is 0.001, which leaves none of the 125 assignments"),
        ({"val_fraction": 100}, "val_fraction is 100, but only 63 equations that have an answer are left for it"),
        (
            {"val_fraction": 0.7, "test_fraction": 0.7},
            "test_fraction is 0.7, 44 of 63 assignments, but only 19 are left for it: lower it, or what the other",
        ),
        ({"val_fraction": 1.5}, "val_fraction is 1.5"),
        ({"train_fraction": 1.0}, "val_fraction is 0.5, which leaves none of the 0 assignments"),
        (
            {"expression": "a / (b - b)", "train_fraction": 3},
            "train_fraction is 3, but only 0 equations that have an answer",
        ),
        ({"split_seed": -1}, "split_seed is -1; expected a number from 0 to 4294967295"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"train_tokens": {"first": 6}}, "train_tokens: first is 6; expected 1 to 5"),
        ({"train_tokens": {"random": 0}}, "train_tokens: random is 0; expected 1 to 5"),
        ({"train_tokens": {"only": ["7"]}}, "train_tokens: '7' is no element; did you mean"),
        ({"train_tokens": {"only": [1, "1"]}}, "none twice"),
        ({"train_tokens": {"only": []}}, "expected some elements"),
        ({"train_tokens": {}}, "train_tokens needs one of first, random and only, got none"),
        ({"train_tokens": {"first": 2, "random": 2}}, "got first and random"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    def attempt(expression="a + b + c", train_tokens=None, **others):
        build(expression, **others, train_tokens=None if train_tokens is None else TokenSubset(**train_tokens))

    with pytest.raises(ValueError, match=re.escape(message)):
        attempt(**options)
