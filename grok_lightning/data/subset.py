"""Some of the number tokens, for training that never sees the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch

SUBSET_SEED = 2**33
"""Keeps the draw of tokens apart from those of the equations, whose seeds lie below."""


@dataclass(frozen=True)
class TokenSubset:
    """Which elements may be operands of training equations; exactly one of three ways to say it.

    Attributes:
        first: The first so many elements.
        random: So many elements at random, the same ones for equal split seeds and equal elements. So a donor and the
            run that takes weights from it see the same tokens; but give both a split_seed where one donor serves
            several replicates.
        only: These elements, by name.

    Raises:
        ValueError: If none or several of the three are given.
    """

    first: int | None = None
    random: int | None = None
    only: list[int | str] | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"train_tokens needs one of first, random and only, got {' and '.join(given) or 'none'}")

    def choose(self, elements: Sequence[str], seed: int) -> list[int]:
        """Return the numbers of the chosen elements, in ascending order.

        Raises:
            ValueError: If there are not so many elements, or none of a name, or no element is chosen.
        """
        if self.only is None:
            return self._count(elements, seed)
        names = [str(name) for name in self.only]
        unknown = [name for name in names if name not in elements]
        if unknown:
            near = get_close_matches(unknown[0], elements, n=1, cutoff=0)[0]
            raise ValueError(f"train_tokens: {unknown[0]!r} is no element; did you mean {near!r}?")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"train_tokens: only is {names}; expected some elements, none twice")
        return sorted(elements.index(name) for name in names)

    def _count(self, elements: Sequence[str], seed: int) -> list[int]:
        key, count = ("first", self.first) if self.first is not None else ("random", self.random)
        if count is None or not 1 <= count <= len(elements):
            raise ValueError(f"train_tokens: {key} is {count}; expected 1 to {len(elements)}, the number of elements")
        if key == "first":
            return list(range(count))
        generator = torch.Generator().manual_seed(seed + SUBSET_SEED)
        return sorted(torch.randperm(len(elements), generator=generator)[:count].tolist())
