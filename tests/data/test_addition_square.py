"""Addition with a square of operands held out, against Python's own arithmetic on every pair."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.data import AdditionSquareDataModule, BinaryOperationDataModule

PARTS = ("train", "val", "test", "square")


def build(operands=(0, 12), square=(4, 6), *, seed=0, **options):
    torch.manual_seed(seed)
    data = AdditionSquareDataModule(operands, square, **options)
    data.setup("fit")
    return data


def is_inside(text, square):
    a, b = (int(word) for word in text.split() if word.lstrip("-").isdecimal())
    return all(square[0] <= operand <= square[1] for operand in (a, b))


@pytest.mark.parametrize("layout", ["a op b =", "a op b", "a b"])
@pytest.mark.parametrize(
    ("operands", "square"), [((0, 12), (4, 6)), ((7, 15), (7, 9)), ((-5, 4), (0, 4)), ((2, 3), (3, 3))]
)
def test_the_parts_together_are_the_table(operands, square, layout, equations):
    data = build(operands, square, layout=layout, train_fraction=0.5)
    signs = {"a op b =": ("+", "="), "a op b": ("+", None), "a b": (None, None)}[layout]
    numbers = range(operands[0], operands[1] + 1)
    expected = {
        (" ".join(str(word) for word in (a, signs[0], b, signs[1]) if word is not None), str(a + b))
        for a, b in itertools.product(numbers, repeat=2)
    }
    found = equations(data, *PARTS)
    assert len(found) == len(expected)
    assert set(found) == expected
    assert {row for row in expected if is_inside(row[0], square)} == set(equations(data, "square"))


@settings(deadline=None)
@given(data=st.data(), first=st.integers(-20, 20), width=st.integers(2, 15), seed=st.integers(0, 99))
def test_sizes_are_met_and_the_square_is_only_asked(data, first, width, seed, equations):
    side = data.draw(st.integers(1, width - 1))
    corner = first + data.draw(st.integers(0, width - side))
    outside = width**2 - side**2
    train = data.draw(st.integers(1, outside - 1))
    val = data.draw(st.integers(1, outside - train))
    square = (corner, corner + side - 1)
    module = build((first, first + width - 1), square, train_fraction=train, val_fraction=val, split_seed=seed)
    assert module.sizes() == {"train": train, "val": val, "test": outside - train - val, "square": side**2}
    for text, answer in equations(module):
        assert not is_inside(text, square)
        assert sum(int(word) for word in text.split()[:3:2]) == int(answer)


def test_the_published_square(equations):
    data = build((0, 999), (400, 600))
    assert data.sizes() == {"train": 863_639, "val": 47_980, "test": 47_980, "square": 201**2}
    assert list(data.vocabulary) == [*map(str, range(1999)), "+", "="]
    assert data.answer_names == tuple(map(str, range(1999)))
    assert sorted(equations(data, "square")) == sorted(
        (f"{a} + {b} =", str(a + b)) for a, b in itertools.product(range(400, 601), repeat=2)
    )
    rows = torch.cat([data.parts[part].tokens for part in PARTS])
    assert len((rows[:, 0] * 1000 + rows[:, 2]).unique()) == 10**6
    answers = torch.cat([data.parts[part].answers for part in PARTS])
    assert torch.equal(rows[:, 0] + rows[:, 2], answers)  # where number i is token i


def test_operands_are_the_numbers_they_are():
    data = build((-5, 4), (0, 2), layout="a op b =")
    for part in data.parts.values():
        a, b = data.operands_of(part.tokens)
        texts = [f"{x} + {y} =" for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        assert texts == data.sequence_names(part.tokens)
    chunk = part.tokens[:4].view(2, 2, -1)
    assert torch.equal(data.operands_of(chunk)[1], b[:4].view(2, 2))


def test_the_numbers_are_no_residues_and_move_to_binary_operations_by_name():
    data = build()
    assert data.residues is None
    torch.manual_seed(0)
    binary = BinaryOperationDataModule("add", 11)
    assert [data.vocabulary[own] for own, _ in data.vocabulary.common(binary.vocabulary)] == list(binary.vocabulary)


@pytest.mark.parametrize("operands", [(0, 12), (7, 15), (-5, 4)])
def test_the_tokens_of_numbers_are_those_of_the_operands(operands):
    data = build(operands, (operands[1], operands[1]))
    names = [data.vocabulary[token] for token in data.number_tokens]
    assert names == [f"{number}" for number in range(operands[0], operands[1] + 1)]


def test_the_split_follows_its_seed_alone(equations):
    train = equations(build(seed=3), "train")
    assert train == equations(build(split_seed=3, seed=8), "train")
    assert set(train) != set(equations(build(seed=8), "train"))
    before = torch.get_rng_state()
    data = AdditionSquareDataModule((0, 12), (4, 6), split_seed=3)
    with torch.device("meta"):
        data.setup("fit")
    assert equations(data, "train") == train
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_come_from_the_training_part(equations):
    data = build(batch_size=None, train_fraction=0.5)
    chunk = next(iter(data.train_dataloader()))
    names = list(data.vocabulary)
    rows = zip(data.sequence_names(chunk.tokens[0]), (names[answer] for answer in chunk.answers[0]), strict=True)
    assert sorted(rows) == sorted(equations(data, "train"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operands": (5, 4)}, r"operands is \[5, 4\]; expected first and last number"),
        ({"operands": (0, 9999)}, r"operands is \[0, 9999\], more than 16777216 pairs; expected fewer operands"),
        ({"square": (6, 4)}, r"square is \[6, 4\]; expected first and last number"),
        ({"square": (4, 13)}, r"square is \[4, 13\]; expected some of the operands 0 … 12"),
        ({"square": (0, 12)}, r"square is \[0, 12\]; expected some of the operands 0 … 12, not all"),
        ({"layout": "a + b"}, "layout is 'a [+] b'; expected one of"),
        ({"train_fraction": 1.0}, "leave none of the 160 equations for validation"),
        ({"train_fraction": 0.0}, "selects none of 160"),
        ({"batch_size": 0}, "batch_size is 0; expected a positive number"),
        ({"split_seed": -1}, "split_seed is -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)
