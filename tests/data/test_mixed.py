"""Several operations at once, against Python's own arithmetic on every row."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.data import BinaryOperationDataModule, EquationKinds, MixedOperationDataModule
from grok_lightning.operations import resolve

ARITHMETIC = {
    "add": ("+", lambda a, b, n: (a + b) % n),
    "sub": ("-", lambda a, b, n: (a - b) % n),
    "div": ("/", lambda a, b, n: next((c for c in range(n) if c * b % n == a), None) if b else None),
    "sum_of_squares": ("x²+y²", lambda a, b, n: (a * a + b * b) % n),
    "linear(2,-3)": ("2x-3y", lambda a, b, n: (2 * a - 3 * b) % n),
}
MULTI_TASK = ["add", "sum_of_squares"]
"""Those of Mallinar et al. (2407.20199)."""


def build(operations=MULTI_TASK, modulus=7, *, seed=0, **options):
    torch.manual_seed(seed)
    data = MixedOperationDataModule(list(operations), modulus, **options)
    data.setup("fit")
    return data


def table(operations, modulus, end=""):
    """Every equation of some operations that is defined, with its answer."""
    return [
        (f"{a} {sign} {b}{end}", str(value))
        for sign, function in (ARITHMETIC[operation] for operation in operations)
        for a, b in itertools.product(range(modulus), repeat=2)
        if (value := function(a, b, modulus)) is not None
    ]


@pytest.mark.parametrize("layout", ["a op b", "a op b ="])
@pytest.mark.parametrize("modulus", [3, 5, 7])
@pytest.mark.parametrize(
    "operations", [MULTI_TASK, ["sub", "add"], ["div", "linear(2, -3)", "add"], ["add", "div"]], ids="|".join
)
def test_the_parts_together_are_the_tables_of_the_operations(operations, modulus, layout, equations):
    data = build(operations, modulus, layout=layout)
    names = [name.replace(" ", "") for name in operations]
    expected = table(names, modulus, layout.removeprefix("a op b"))
    assert sorted(equations(data)) == sorted(expected)
    assert len(set(expected)) == len(expected)
    signs = [ARITHMETIC[name][0] for name in names]
    assert list(data.vocabulary) == [*map(str, range(modulus)), *signs, *layout.split()[3:]]
    assert data.length == len(layout.split())
    assert data.residues == data.number_tokens == range(modulus)


def test_permutations():
    data = build(["compose(3)", "grok_lightning.operations.permutations.conjugate(3)"], None)
    assert data.residues is data.number_tokens is None
    places = list(itertools.permutations(range(3)))
    assert data.answer_names == tuple(f"({' '.join(map(str, place))})" for place in places)
    seen = set()
    for part in data.parts.values():
        for (first, sign, second), answer in zip(part.tokens.tolist(), part.answers.tolist(), strict=True):
            a, b, c = (places[token] for token in (first, second, answer))
            if sign == 6:
                assert c == tuple(a[b[i]] for i in range(3))
            else:
                assert tuple(c[a[i]] for i in range(3)) == tuple(a[b[i]] for i in range(3))
            seen.add((first, sign, second))
    assert len(seen) == 72


def build_binary(operation, modulus, **options):
    data = BinaryOperationDataModule(operation, modulus, layout="a op b", **options)
    data.setup("fit")
    return data


def test_each_operation_has_the_table_it_has_alone(equations):
    mixed = build(["add", "div"])
    alone = [row for operation in ("add", "div") for row in equations(build_binary(operation, 7))]
    assert sorted(equations(mixed)) == sorted(alone)


@given(st.sampled_from([5, 6, 7]), st.integers(1, 25), st.integers(1, 24), st.integers(0, 10**6))
def test_sizes_are_met_and_parts_do_not_overlap(equations, modulus, train, val, seed):
    data = build(["add", "sub"], modulus, train_fraction=train, val_fraction=val, split_seed=seed)
    rows = 2 * modulus**2
    assert data.sizes() == {"train": train, "val": val, "test": rows - train - val}
    assert len({text for text, _ in equations(data)}) == rows


def test_fractions_are_those_of_all_rows_and_of_the_held_out_rows():
    data = build(modulus=61, train_fraction=0.25, val_fraction=0.5)
    assert data.sizes() == {"train": 1860, "val": 2791, "test": 2791}
    assert build(["add", "div"], 5, train_fraction=1, val_fraction=1.0).sizes() == {"train": 1, "val": 44, "test": 0}


def test_the_split_is_uniform_over_the_rows_of_all_operations(equations):
    counts, seeds = Counter(), range(400)
    for seed in seeds:
        counts.update(text for text, _ in equations(build(["add", "div"], 3, split_seed=seed), "train"))
    assert len(counts) == 9 + 6
    for text, count in counts.items():  # each is in 7 of 15, with a standard deviation of 10
        assert abs(count - len(seeds) * 7 / 15) < 45, text


def test_the_split_follows_its_seed(equations):
    assert equations(build(seed=3), "train") == equations(build(split_seed=3, seed=8), "train")
    assert set(equations(build(seed=3), "train")) != set(equations(build(seed=8), "train"))


def test_kinds_are_the_operations():
    operations = ["sub", "linear(2,-3)", "div"]
    for layout in ("a op b", "a op b ="):
        data = build(operations, layout=layout)
        assert data.kinds == EquationKinds(tuple(operations), data.operations_of)
        for part in data.parts.values():
            signs = [text.split()[1] for text in data.sequence_names(part.tokens)]
            kinds = data.kinds.of(part.tokens)
            assert [ARITHMETIC[operations[kind]][0] for kind in kinds.tolist()] == signs
        pairs = part.tokens[:4].view(2, 2, -1)
        assert torch.equal(data.kinds.of(pairs), kinds[:4].view(2, 2))


def test_data_of_one_operation_have_no_kinds():
    assert build_binary("add", 7).kinds is None


def test_batches_come_from_the_training_part(equations):
    data = build(batch_size=None)
    chunk = next(iter(data.train_dataloader()))
    names = list(data.vocabulary)
    rows = zip(data.sequence_names(chunk.tokens[0]), (names[answer] for answer in chunk.answers[0]), strict=True)
    assert sorted(rows) == sorted(equations(data, "train"))


@pytest.mark.parametrize("symbol", ["3", "="])
def test_a_sign_that_means_something_else_is_refused(symbol, monkeypatch):
    others = [replace(resolve("add"), symbol=symbol), resolve("sub")]
    monkeypatch.setattr("grok_lightning.operations.lookup.registered", lambda: iter(others))
    with pytest.raises(ValueError, match=rf"operations: the symbol '{symbol}' of add means something else"):
        build(["add", "sub"], layout="a op b =")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operations": ["add"]}, r"operations is \['add'\]; expected a list of two or more"),
        ({"operations": []}, r"operations is \[\]; expected a list of two or more"),
        ({"operations": ["add", "sub", "add"]}, "operations names 'add' more than once; expected each once"),
        ({"operations": ["linear(2,3)", "linear(2, 3)"]}, r"operations names 'linear\(2,3\)' more than once"),
        (
            {"operations": ["add", "grok_lightning.operations.residues.add"]},
            r"operations: add and grok_lightning\.operations\.residues\.add have the same symbol '\+'.*leave one out",
        ),
        ({"operations": ["add", "ad"]}, "unknown operation 'ad': did you mean 'add'"),
        ({"operations": ["add", "compose(3)"]}, "takes no modulus, got modulus=7"),
        ({"operations": ["add", "compose(3)"], "modulus": None}, "'add' needs a modulus of at least 2"),
        (
            {"operations": ["compose(3)", "compose(4)"], "modulus": None},
            r"compose\(3\) and compose\(4\) are on different elements, and cannot be mixed",
        ),
        ({"operations": ["add", "div"], "modulus": 8}, "odd modulus"),
        ({"modulus": 1}, "modulus of at least 2"),
        ({"batch_size": 0}, "batch_size is 0; expected a positive number"),
        ({"train_fraction": 0.0}, "selects none of 98 trainable rows"),
        ({"train_fraction": 1.5}, "expected 0 to 98 trainable rows, or a fraction"),
        ({"train_fraction": 99}, "expected 0 to 98 trainable rows"),
        ({"val_fraction": 50}, "expected 0 to 49 held-out rows"),
        ({"train_fraction": 1.0}, "train_fraction 1.0 and val_fraction 0.5 leave none of the 98 equations"),
        ({"val_fraction": 0}, "train_fraction 0.5 and val_fraction 0 leave none of the 98 equations"),
        ({"layout": "a b"}, r"layout is 'a b'; expected one of \['a op b', 'a op b ='\]; did you mean 'a op b'"),
        ({"split_seed": -1}, "split_seed is -1; expected a number from 0 to 4294967295"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_a_single_name_for_the_operations_is_refused():
    with pytest.raises(ValueError, match="operations is 'add'; expected a list of two or more"):
        MixedOperationDataModule("add")


@pytest.mark.parametrize("common", [False, True])
def test_a_pair_is_in_one_part_for_all_operations_if_asked(common):
    torch.manual_seed(0)
    data = MixedOperationDataModule(["add", "sum_of_squares"], 11, 0.7, common_split=common)
    data.setup("fit")
    pairs = {name: {(a, b) for a, _, b in part.tokens.tolist()} for name, part in data.parts.items()}
    shared = (pairs["train"] & pairs["val"]) | (pairs["train"] & pairs["test"]) | (pairs["val"] & pairs["test"])
    assert bool(shared) is not common
    assert sum(data.sizes().values()) == 2 * 121
    assert abs(data.sizes()["train"] - 0.7 * 242) <= 2
