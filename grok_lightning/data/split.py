"""Which rows are trained on, and which are held out: decided by a seed alone."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

PARTS = ("train", "val", "test")
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
    train: float | int,
    seed: int,
    groups: Tensor | None = None,
    validation: float | int = 0.5,
    test: float | int | None = None,
    trainable: Tensor | None = None,
) -> Split:
    """Splits the numbers 0 … rows−1 into three parts at random.

    A float is a fraction, rounded down to rows; an int is a number of rows, so that `1.0` is everything and `1` one
    row. With one seed a smaller training part is the beginning of a larger one. When nothing is held out, validation
    and test are empty. The seed alone decides: neither the global random state nor the default device is read or
    changed.

    Args:
        rows: Number of rows.
        train: Training part: a fraction of the trainable rows, above 0 and at most 1, or a size.
        seed: Seed of the split.
        groups: Group number of each row `(rows,)`; the rows of a group stay together. Each part then ends where its
            size is met most nearly, and the training part has at least one group.
        validation: Validation part: a fraction of the held-out rows, or a size.
        test: Test part: a fraction of the held-out rows, or a size; by default all that validation leaves.
        trainable: Which rows `(rows,)` may be trained on, all of a group or none; by default all. The training part is
            then a fraction of these.

    Raises:
        ValueError: If a part is empty that must not be, or the parts need more rows than there are.
    """
    if groups is not None and groups.shape != (rows,):
        raise ValueError(f"groups has shape {tuple(groups.shape)}, expected ({rows},)")
    candidates = torch.arange(rows, device="cpu") if trainable is None else trainable.cpu().nonzero()[:, 0]
    train_size = _size("train", train, len(candidates), "rows")
    if train_size == 0:
        raise ValueError(f"{train=} selects none of {len(candidates)} rows, expected at least one")
    held_out = rows - train_size
    val_size = _size("validation", validation, held_out, "held-out rows")
    test_size = held_out - val_size if test is None else _size("test", test, held_out, "held-out rows")
    if val_size + test_size > held_out:
        raise ValueError(f"{validation=} and {test=} need {val_size + test_size} of {held_out} held-out rows")

    order, ends = _shuffle(candidates, seed, groups)
    first = _nearest(ends[1:], train_size)
    train_part, others = order[:first], order[first:]
    if trainable is not None:
        is_held_out = torch.ones(rows, dtype=torch.bool, device="cpu")
        is_held_out[train_part] = False
        others, ends = _shuffle(is_held_out.nonzero()[:, 0], seed, groups)
        first = 0
    second = _nearest(ends, first + val_size) - first
    third = len(others) if test is None else _nearest(ends, first + second + test_size) - first
    return Split(train_part, others[:second], others[second:third])


def _size(argument: str, value: float | int, available: int, what: str) -> int:
    whole = isinstance(value, int)
    if not 0 <= value <= (available if whole else 1):
        raise ValueError(f"{argument}={value}: expected 0 to {available} {what}, or a fraction from 0.0 to 1.0")
    # 0.29 · 100 is 28.999…
    return int(value) if whole else math.floor(round(value * available, 6))


def _shuffle(members: Tensor, seed: int, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns rows `(members,)` in random order and where a part may end `(groups + 1,)`, 0 included."""
    generator = torch.Generator("cpu").manual_seed(seed)
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
