"""Which rows are trained on, and which are held out: decided by a seed alone."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

PARTS = ("train", "val", "test")
HELD_OUT = PARTS[1:]
LARGEST_SPLIT_SEED = 2**32 - 1
"""Larger seeds are for other draws that follow the seed of a split."""


class Split(NamedTuple):
    """Disjoint row numbers, each a LongTensor `(part,)` in random order (with groups: group by group).

    Args:
        train: Rows to train on.
        val: Held-out rows for validation.
        test: Held-out rows for the final test.
    """

    train: Tensor
    val: Tensor
    test: Tensor


def split_rows(
    rows: int,
    train_fraction: float | int,
    seed: int,
    groups: Tensor | None = None,
    val_fraction: float | int = 0.5,
    test_fraction: float | int | None = None,
    trainable: Tensor | None = None,
) -> Split:
    """Splits the numbers 0 … rows−1 into three parts at random.

    A float is a fraction, rounded down to rows; an int is a number of rows, so that `1.0` is everything and `1` one
    row. With one seed a smaller training part is the beginning of a larger one. When nothing is held out, validation
    and test are empty. The seed alone decides: neither the global random state nor the default device is read or
    changed.

    Args:
        rows: Number of rows.
        train_fraction: Training part: a fraction of the trainable rows, above 0 and at most 1, or a size.
        seed: Seed of the split.
        groups: Group number of each row `(rows,)`; the rows of a group stay together. Each part then ends where its
            size is met most nearly, and the training part has at least one group.
        val_fraction: Validation part: a fraction of the held-out rows, or a size.
        test_fraction: Test part: a fraction of the held-out rows, or a size; by default all that validation leaves.
        trainable: Which rows `(rows,)` may be trained on, all of a group or none; by default all.

    Raises:
        ValueError: If a part is empty that must not be, the parts need more rows than there are, or a tensor has
            another shape.
    """
    for name, tensor in (("groups", groups), ("trainable", trainable)):
        if tensor is not None and tensor.shape != (rows,):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected ({rows},)")
    candidates = torch.arange(rows, device="cpu") if trainable is None else trainable.cpu().nonzero()[:, 0]
    train_size = part_size("train_fraction", train_fraction, len(candidates), "trainable rows")
    if train_size == 0:
        raise ValueError(f"train_fraction={train_fraction} selects none of {len(candidates)} trainable rows; give more")
    held_out = rows - train_size
    val_size = part_size("val_fraction", val_fraction, held_out, "held-out rows")
    left = held_out - val_size
    test_size = left if test_fraction is None else part_size("test_fraction", test_fraction, held_out, "held-out rows")
    if test_size > left:
        needed = val_size + test_size
        raise ValueError(f"{val_fraction=} and {test_fraction=} need {needed} of {held_out} held-out rows")

    generator = torch.Generator("cpu").manual_seed(seed)
    order, ends = _shuffle(candidates, generator, groups)
    first = _nearest(ends[1:], train_size)
    train, rest, ends = order[:first], order[first:], ends[ends >= first] - first
    if trainable is not None:  # what is held out is not only what was not chosen
        is_held_out = torch.ones(rows, dtype=torch.bool, device="cpu")
        is_held_out[train] = False
        rest, ends = _shuffle(is_held_out.nonzero()[:, 0], generator, groups)
    second = _nearest(ends, val_size)
    third = len(rest) if test_fraction is None else _nearest(ends, second + test_size)
    return Split(train, rest[:second], rest[second:third])


def check_validation(split: Split, train_fraction: float | int, val_fraction: float | int) -> None:
    """Refuses a split that leaves no row for validation, without which nothing could be measured.

    Raises:
        ValueError: If it does.
    """
    if not len(split.val):
        raise ValueError(
            f"train_fraction {train_fraction} and val_fraction {val_fraction} leave none of the "
            f"{sum(map(len, split))} equations for validation: lower the first or raise the second"
        )


def part_size(key: str, value: float | int, available: int, what: str = "equations") -> int:
    """Returns how many rows a part has: a float is a fraction, rounded down, an int a number.

    Args:
        key: What a recipe calls it.
        value: The fraction or number.
        available: How many rows there are.
        what: What they are.

    Raises:
        ValueError: If it is below zero, or more than there are.
    """
    whole = isinstance(value, int)
    if not 0 <= value <= (available if whole else 1):
        raise ValueError(f"{key}={value}: expected 0 to {available} {what}, or a fraction from 0.0 to 1.0")
    # 0.29 · 100 is 28.999…
    return int(value) if whole else math.floor(round(value * available, 6))


def _shuffle(members: Tensor, generator: torch.Generator, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns rows `(members,)` in random order and where a part may end `(groups + 1,)`, 0 included."""
    count = len(members)
    if groups is None:
        order = torch.randperm(count, generator=generator, device="cpu")
        return members[order], torch.arange(count + 1, device="cpu")
    _, numbers, sizes = torch.unique(groups.cpu()[members], return_inverse=True, return_counts=True)
    place = torch.randperm(len(sizes), generator=generator, device="cpu")
    order = place[numbers].argsort(stable=True)
    ends = sizes[place.argsort()].cumsum(0)
    return members[order], torch.cat([ends.new_zeros(1), ends])


def _nearest(ends: Tensor, target: int) -> int:
    """Returns the end nearest to the target, the smaller of two; ends are sorted."""
    position = int(torch.searchsorted(ends, target))
    candidates = ends[max(position - 1, 0) : position + 1].tolist()
    return int(min(candidates, key=lambda end: abs(end - target)))
