"""Sums of the vectors of two tokens: what a network sees of an equation where embeddings add up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Which = Literal["all", "train"]
"""Pairs of the whole table of an operation, or of the training equations alone."""

NARROW = 8
"""Dimensions up to which distances are made one coordinate after another: faster than `cdist`, and exact."""


@dataclass(frozen=True)
class PairSums:
    """Pairs of tokens with their answers; e_a + e_b is the sum of a pair, whichever comes first.

    Attributes:
        first: The first token of each pair (pairs,), which is not above the second.
        second: The second (pairs,).
        answers: The answer of each (pairs,).
        tokens: How many tokens there are, each of which can be an answer.
    """

    first: Tensor
    second: Tensor
    answers: Tensor
    tokens: int

    @classmethod
    def of_equations(cls, first: Tensor, second: Tensor, answers: Tensor, tokens: int) -> "PairSums":
        """The pairs of equations: (a, b) and (b, a) are one where they have the same answer.

        Args:
            first: First operands (rows,).
            second: Second operands (rows,).
            answers: Answers (rows,).
            tokens: How many tokens there are.
        """
        rows = torch.stack([torch.minimum(first, second), torch.maximum(first, second), answers], dim=1)
        a, b, answer = torch.unique(rows, dim=0).unbind(1)
        return cls(a, b, answer, tokens)

    def __len__(self) -> int:
        return len(self.answers)

    def to(self, device: torch.device) -> "PairSums":
        """Return the pairs on a device."""
        return PairSums(self.first.to(device), self.second.to(device), self.answers.to(device), self.tokens)

    def of(self, vectors: Tensor) -> Tensor:
        """The sums (…, pairs, width) of the vectors of tokens (…, tokens, width)."""
        return vectors[..., self.first, :] + vectors[..., self.second, :]

    def slices(self, largest: int) -> Iterator["PairSums"]:
        """Yield the pairs in slices of at most so many."""
        for rows in torch.split(torch.arange(len(self), device=self.answers.device), largest):
            yield PairSums(self.first[rows], self.second[rows], self.answers[rows], self.tokens)

    def apart_from(self, asked: "PairSums", vectors: Tensor) -> Tensor:
        """Squared distances (…, asked, pairs) of these sums from those of other pairs; of a pair from itself infinite.

        Args:
            asked: The other pairs.
            vectors: The vectors of the tokens (…, tokens, width).
        """
        same = (asked.first[:, None] == self.first) & (asked.second[:, None] == self.second)
        return squared_distances(asked.of(vectors), self.of(vectors)).masked_fill(same, torch.inf)


def pair_sums_of(data: Any, asker: str, which: Which = "all") -> PairSums:
    """The pairs of the equations of a data module.

    Raises:
        ValueError: If the data are not of binary operations.
    """
    if not hasattr(data, "pair_sums"):
        name = type(data).__name__
        raise ValueError(f"{asker}: {name} has no equations of two operands; use BinaryOperationDataModule")
    pairs: PairSums = data.pair_sums(which)
    return pairs


def squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """|x − y|² (…, points, others) of points (…, points, width) and others (…, others, width)."""
    if points.shape[-1] > NARROW:
        return torch.cdist(points, others).square()
    squares = points.new_zeros(())
    for x, y in zip(points.unbind(-1), others.unbind(-1), strict=True):
        squares = squares + (x.unsqueeze(-1) - y.unsqueeze(-2)).square()
    return squares
