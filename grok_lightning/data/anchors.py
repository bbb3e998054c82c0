"""Anchors: tokens that stand for functions of one number, and what one or two of them make of a number."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from grok_lightning.data.numbers import LARGEST_RANGE, shown, within
from grok_lightning.operations import Function, parse_function

Anchors = tuple[int, ...]
"""One anchor or two, by their numbers, counted from 1."""
Values = dict[Anchors, list[int]]
"""What anchors make of each key."""


def are_anchors(pairs: Tensor, anchors: Anchors) -> Tensor:
    """Return whether pairs `(..., anchors)` are certain anchors `(...)`."""
    return (pairs == torch.tensor(anchors, device=pairs.device)).all(dim=-1)


class Solutions(NamedTuple):
    """What a network may have found as the answers of sequences, each as tokens `(...)`.

    Attributes:
        inferential: What follows from the single functions: that of the second anchor after that of the first.
        symmetric: What training answers to the pair turned around.
        designated: What training answers to the pair; of an unseen one, the inferential answer.
    """

    inferential: Tensor
    symmetric: Tensor
    designated: Tensor

    @property
    def agree(self) -> Tensor:
        """Whether inferential and symmetric answer `(...)` are the same, so that neither can be told from the other.

        Shifts commute: they agree unless the pair turned around has an override.
        """
        return self.inferential == self.symmetric


class AnchorFunctions:
    """What each anchor, and each pair of anchors, makes of each key.

    Pairs are read from left to right: f(x; a₁, a₂) = g(g(x; a₁); a₂).

    Args:
        functions: The single function of each anchor, see `grok_lightning.operations.parse_function`.
        overrides: Functions that pairs such as "3 4" stand for, instead of what follows from their single ones.
        keys: The numbers they are of.
        modulus: Modulus of residues; None for integers.

    Attributes:
        inferential: Values as the single functions make them.
        designated: The same, with those of the overrides.
        overridden: The pairs that have an override.
        origins: All values, each list with its origin in words.

    Raises:
        ValueError: If a function is malformed or has no value, or an override is of no pair.
    """

    def __init__(
        self, functions: Sequence[str], overrides: Mapping[str, str], keys: range, modulus: int | None = None
    ) -> None:
        if isinstance(functions, str) or not functions:
            raise ValueError(f"functions is {functions!r}; expected a list, such as ['x + 5', 'x - 2']")
        if modulus is not None and modulus < 2:
            raise ValueError(f"modulus is {modulus}; expected 2 or more, or null for integers")
        self.keys, self.modulus = keys, modulus
        self.count = len(functions)
        self.origins: list[tuple[str, list[int]]] = []
        self.inferential: Values = {}
        single = [self._parsed("functions", text) for text in functions]
        for (anchor,), text, function in zip(self.sequences(1), functions, single, strict=True):
            self.inferential[anchor,] = self._values(f"functions: {text!r}", function, keys)
        for first, second in self.sequences(2):
            origin = f"functions: {functions[first - 1]!r}, then {functions[second - 1]!r},"
            self.inferential[first, second] = self._values(origin, single[second - 1], self.inferential[first,])
        self.overridden = self.pairs("overrides", overrides)
        self.designated = dict(self.inferential)
        for pair, text in zip(self.overridden, overrides.values(), strict=True):
            self.designated[pair] = self._values(f"overrides: {text!r}", self._parsed("overrides", text), keys)

    def sequences(self, length: int) -> list[Anchors]:
        """Return all sequences of so many anchors."""
        return list(product(range(1, self.count + 1), repeat=length))

    def pairs(self, argument: str, texts: Collection[str]) -> list[Anchors]:
        """Return the pairs that an argument names.

        Raises:
            ValueError: If a text is no pair, or names one again.
        """
        if isinstance(texts, str):
            raise ValueError(f"{argument} is {texts!r}; expected a list, such as ['4 3']")
        found = [tuple(int(word) if word.isdecimal() else 0 for word in str(text).split()) for text in texts]
        for place, (pair, text) in enumerate(zip(found, texts, strict=True)):
            if pair not in self.sequences(2):
                nothing = "{}" if argument == "overrides" else "[]"
                raise ValueError(
                    f"{argument}: {text!r} is no pair of anchors; expected two numbers from 1 to {self.count}, "
                    f"as in '1 {self.count}', or {nothing} for no pair"
                )
            if pair in found[:place]:
                raise ValueError(f"{argument} names the pair {text!r} more than once; expected each once")
        return found

    def numbers(self, wanted: range | None) -> range:
        """Return the numbers that are tokens: those wanted, or the smallest range that holds all keys and values.

        Raises:
            ValueError: If a key or value is none of those wanted, or they are too far apart.
        """
        if self.modulus is not None:
            if wanted is not None:
                raise ValueError(
                    f"numbers is {[wanted[0], wanted[-1]]}, but with a modulus they are the residues: give null"
                )
            wanted = range(self.modulus)
        if wanted is not None and not within(self.keys, wanted):
            raise ValueError(f"keys are {shown(self.keys)}, but there are only the numbers {shown(wanted)}")
        lowest = min(self.keys[0], *(min(values) for _, values in self.origins))
        highest = max(self.keys[-1], *(max(values) for _, values in self.origins))
        if wanted is None:
            if highest - lowest >= LARGEST_RANGE:
                far = highest if highest - self.keys[-1] > self.keys[0] - lowest else lowest  # no key, but made of one
                raise ValueError(f"{self._origin(far)}, but tokens are {LARGEST_RANGE} numbers at most: give a modulus")
            return range(lowest, highest + 1)
        for value in (lowest, highest):
            if value not in wanted:
                raise ValueError(f"{self._origin(value)}, but there are only the numbers {shown(wanted)}: widen these")
        return wanted

    def table(self, values: Values, anchors: int, numbers: range) -> Tensor:
        """Return values as tokens, by so many anchors and then by key `(functions, …, keys)`."""
        rows = [values[sequence] for sequence in self.sequences(anchors)]
        table = torch.tensor(rows, device="cpu") - numbers.start
        return table.view(*(self.count,) * anchors, len(self.keys))

    def _parsed(self, argument: str, text: str) -> Function:
        try:
            return parse_function(text, self.modulus)
        except ValueError as error:
            raise ValueError(f"{argument}: {error}") from None

    def _values(self, origin: str, function: Function, numbers: Iterable[int]) -> list[int]:
        """Return what a function makes of numbers that were made of the keys."""
        values = []
        for key, number in zip(self.keys, numbers, strict=True):
            if (value := function(number)) is None:
                raise ValueError(f"{origin} has no value for the key {key}; every key needs one")
            values.append(value)
        self.origins.append((origin, values))
        return values

    def _origin(self, value: int) -> str:
        """Return in words what makes a value of which key."""
        origin, values = next((origin, values) for origin, values in self.origins if value in values)
        return f"{origin} makes {value} of the key {self.keys[values.index(value)]}"
