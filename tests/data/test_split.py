import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from grok_lightning.data.split import split_rows

seeds = st.integers(0, 2**31)
shares = st.integers(0, 100).map(lambda percent: percent / 100)


def assert_disjoint(split, rows):
    """No row twice, none from outside."""
    seen = torch.cat(split).tolist()
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(rows))


@given(st.integers(1, 300), st.data(), seeds)
def test_sizes_are_met_exactly(rows, data, seed):
    train = data.draw(st.integers(1, rows))
    validation = data.draw(st.integers(0, rows - train))
    test = data.draw(st.integers(0, rows - train - validation))
    split = split_rows(rows, train, seed, val_fraction=validation, test_fraction=test)
    assert [len(part) for part in split] == [train, validation, test]
    assert all(part.dtype == torch.long for part in split)
    assert_disjoint(split, rows)


@given(st.integers(100, 300), shares.filter(bool), shares, seeds)
@example(rows=100, train=0.29, validation=0.5, seed=0)
def test_fractions_are_rounded_down(rows, train, validation, seed):
    split = split_rows(rows, train, seed, val_fraction=validation)
    exact = [Fraction(str(share)) for share in (train, validation)]
    trained = math.floor(exact[0] * rows)
    validated = math.floor(exact[1] * (rows - trained))
    assert [len(part) for part in split] == [trained, validated, rows - trained - validated]
    assert_disjoint(split, rows)


def test_held_out_rows_are_split_evenly_by_default():
    assert [len(part) for part in split_rows(9409, 5000, 0)] == [5000, 2204, 2205]


def test_a_test_part_may_leave_rows_over():
    split = split_rows(100, 0.5, 0, val_fraction=0.25, test_fraction=0.5)
    assert [len(part) for part in split] == [50, 12, 25]
    assert [len(part) for part in split_rows(9, 6, 0, val_fraction=0.5, test_fraction=0.5)] == [6, 1, 1]


@pytest.mark.parametrize("everything", [1.0, 10])
def test_nothing_held_out_leaves_two_empty_parts(everything):
    train, val, test = split_rows(10, everything, 0)
    assert sorted(train.tolist()) == list(range(10))
    assert val.shape == test.shape == (0,)
    assert val.dtype == test.dtype == torch.long


@given(st.integers(2, 200), st.data(), seeds)
def test_a_smaller_training_part_is_the_beginning_of_a_larger(rows, data, seed):
    small, large = sorted(data.draw(st.tuples(st.integers(1, rows), st.integers(1, rows))))
    groups = data.draw(st.none() | st.lists(st.integers(0, 9), min_size=rows, max_size=rows).map(torch.tensor))
    shorter = split_rows(rows, small, seed, groups=groups).train.tolist()
    longer = split_rows(rows, large, seed, groups=groups).train.tolist()
    assert longer[: len(shorter)] == shorter


@given(st.lists(st.integers(-3, 12), min_size=2, max_size=80), st.data(), seeds)
def test_groups_stay_together_and_sizes_are_met_nearly(groups, data, seed):
    rows = len(groups)
    train = data.draw(st.integers(1, rows))
    split = split_rows(rows, train, seed, groups=torch.tensor(groups))
    assert_disjoint(split, rows)
    assert sum(map(len, split)) == rows
    members = [{groups[row] for row in part} for part in split]
    assert all(not one & other for one, other in itertools.combinations(members, 2))

    # Moving the last trained group out, or the next one in, comes no nearer to the size.
    sizes = [groups.count(group) for group in dict.fromkeys(groups[row] for row in torch.cat(split))]
    ends = list(itertools.accumulate(sizes))
    assert abs(len(split.train) - train) == min(abs(end - train) for end in ends)


def test_unordered_pairs_are_split_almost_exactly():
    a, b = torch.cartesian_prod(torch.arange(97), torch.arange(97)).unbind(1)
    pairs = torch.minimum(a, b) * 97 + torch.maximum(a, b)
    split = split_rows(97**2, 0.5, 3, groups=pairs)
    sizes = [len(part) for part in split]
    assert [abs(size - wanted) <= 2 for size, wanted in zip(sizes, [4704, 2352, 2353], strict=True)] == [True] * 3
    trained = set(split.train.tolist())
    assert {row % 97 * 97 + row // 97 for row in trained} == trained


def test_one_group_is_trained_on_whole():
    assert [len(part) for part in split_rows(10, 1, 0, groups=torch.zeros(10, dtype=torch.long))] == [10, 0, 0]


def test_every_row_comes_into_every_part():
    splits = [split_rows(12, 0.5, seed) for seed in range(60)]
    for name in ("train", "val", "test"):
        assert {int(row) for split in splits for row in getattr(split, name)} == set(range(12))


def test_the_seed_alone_decides():
    expected = split_rows(50, 0.4, 7)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    with torch.device("meta"):
        again = split_rows(50, 0.4, 7)
        grouped = split_rows(50, 0.4, 7, groups=torch.arange(50, device="cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(expected, again, strict=True))
    assert [len(part) for part in grouped] == [20, 15, 15]
    assert not torch.equal(expected.train, split_rows(50, 0.4, 8).train)


def test_the_stream_of_a_seed_stays_the_same():
    train, val, test = split_rows(8, 4, 0)
    assert (train.tolist(), val.tolist(), test.tolist()) == ([4, 0, 7, 3], [2, 5], [1, 6])


def test_every_row_is_held_out_for_validation_as_often_as_for_the_test():
    """Also where only some may be trained on: whether a row is validated on does not depend on what it is."""
    trainable = torch.arange(12) < 6
    counts = torch.zeros(2, 12)
    draws = 3000
    for seed in range(draws):
        split = split_rows(12, 2, seed, trainable=trainable)
        assert trainable[split.train].all()
        assert [len(part) for part in split] == [2, 5, 5]
        counts[0, split.val] += 1
        counts[1, split.test] += 1
    held_out = counts.sum(0)
    assert held_out[6:].tolist() == [draws] * 6
    spread = (draws * 2 / 3) ** 0.5 / 2  # standard deviation of a fair coin's count, about
    assert (counts[0] - held_out / 2).abs().max() < 5 * spread


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_fraction": 11}, "train_fraction=11: expected 0 to 10 trainable rows, or a fraction from 0.0 to 1.0"),
        ({"train_fraction": 1.5}, "train_fraction=1.5: expected 0 to 10 trainable rows"),
        ({"train_fraction": -1}, "train_fraction=-1: expected"),
        ({"train_fraction": float("nan")}, "train_fraction=nan: expected"),
        ({"train_fraction": 0}, "train_fraction=0 selects none of 10 trainable rows"),
        ({"train_fraction": 0.05}, "train_fraction=0.05 selects none of 10 trainable rows"),
        ({"train_fraction": 8, "val_fraction": 3}, "val_fraction=3: expected 0 to 2 held-out rows"),
        ({"train_fraction": 1.0, "val_fraction": 1}, "val_fraction=1: expected 0 to 0 held-out rows"),
        ({"train_fraction": 5, "test_fraction": 6}, "test_fraction=6: expected 0 to 5 held-out rows"),
        (
            {"train_fraction": 5, "val_fraction": 3, "test_fraction": 3},
            "=3 and test_fraction=3 need 6 of 5 held-out",
        ),
        (
            {"train_fraction": 5, "val_fraction": 0.8, "test_fraction": 0.4},
            "=0.8 and test_fraction=0.4 need 6 of 5",
        ),
        ({"train_fraction": 5, "trainable": torch.ones(4, dtype=torch.bool)}, r"trainable has shape \(4,\)"),
        ({"train_fraction": 5, "trainable": torch.arange(10) < 4}, "expected 0 to 4 trainable rows"),
        ({"train_fraction": 5, "groups": torch.zeros(9)}, r"groups has shape \(9,\), expected \(10,\)"),
    ],
)
def test_what_is_impossible_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_rows(10, seed=0, **arguments)
