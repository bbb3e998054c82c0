"""Φ, from tokens to vectors: it depends on the token alone."""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_positive
from grok_lightning.networks.mlp import MLP

Inputs = Literal["one_hot", "random_circulant"]
"""What a sequence is before anything is learned: one-hot vectors, or those times random features."""


class Embedding(nn.Module):
    """A table with one vector for each token.

    Args:
        vocabulary_size: How many tokens there are.
        width: The length of a vector.

    Raises:
        ValueError: If a size is below one.
    """

    def __init__(self, vocabulary_size: int, width: int) -> None:
        super().__init__()
        require_positive(vocabulary_size=vocabulary_size, width=width)
        self.table = nn.Embedding(vocabulary_size, width)

    @property
    def token_parameters(self) -> tuple[str, ...]:
        """Names of the parameters with one row for each token."""
        return ("table.weight",)

    def vectors(self) -> Tensor:
        """Φ of every token (vocabulary, width)."""
        return self.table.weight

    def by_position(self, length: int) -> Tensor:
        """The vector of every token at every position (length, vocabulary, width): here the same at all of them."""
        return self.vectors().expand(length, -1, -1)

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors (batch, length, width) of tokens (batch, length)."""
        return F.embedding(tokens, self.vectors())


class RefinedEmbedding(Embedding):
    """A table whose vectors pass through MLPs: once for each token, not once for each occurrence.

    Park, Kim and Kim (arXiv 2405.16658) have four MLP modules in the embedding layer; that they are residual, like
    those of the decoder, is our choice.

    Args:
        vocabulary_size: How many tokens there are.
        width: The length of a vector.
        mlps: The MLPs, in order; without dropout, so that Φ is one vector for each token.

    Raises:
        ValueError: If a size is below one.
    """

    def __init__(self, vocabulary_size: int, width: int, mlps: Iterable[MLP]) -> None:
        super().__init__(vocabulary_size, width)
        self.mlps = nn.Sequential(*mlps)

    def vectors(self) -> Tensor:
        """Φ of every token (vocabulary, width)."""
        vectors: Tensor = self.mlps(self.table.weight)
        return vectors


class PositionwiseEmbedding(Embedding):
    """A table with one vector for each token and position: the columns of a matrix that acts on one-hot sequences.

    Φ of a token is the row (length · width) of its vectors, position after position; a sequence takes from the row of
    its i-th token the i-th vector.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many positions there are.
        width: The length of a vector for one position.

    Raises:
        ValueError: If a size is below one.
    """

    def __init__(self, vocabulary_size: int, length: int, width: int) -> None:
        require_positive(length=length, width=width)
        super().__init__(vocabulary_size, length * width)
        self.length = length
        self.width = width

    def entries(self, tokens: Tensor) -> Tensor:
        """Where the vectors of tokens (batch, length), each for its own position, lie in `places`."""
        return tokens * self.length + torch.arange(self.length, device=tokens.device)

    def places(self) -> Tensor:
        """The vectors of every token for every position (vocabulary · length, width)."""
        return self.vectors().reshape(-1, self.width)

    def by_position(self, length: int) -> Tensor:
        """The vector of every token at every position (length, vocabulary, width)."""
        return self.vectors().view(-1, length, self.width).transpose(0, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors (batch, length, width) of tokens (batch, length), each for its own position."""
        return F.embedding(self.entries(tokens), self.places())


class MappedEmbedding(PositionwiseEmbedding):
    """A table with one vector for each token and position, behind a fixed linear map of one-hot sequences.

    The vectors of the inputs T x, where T is symmetric, are the rows of T W₁ᵀ.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many positions there are.
        width: The length of a vector for one position.

    Attributes:
        mapping: The map T (length · vocabulary, length · vocabulary), in the order of `Network.feature_matrix`.

    Raises:
        ValueError: If a size is below one.
    """

    mapping: Tensor

    def __init__(self, vocabulary_size: int, length: int, width: int) -> None:
        super().__init__(vocabulary_size, length, width)
        self.register_buffer("mapping", torch.eye(length * vocabulary_size))

    def vectors(self) -> Tensor:
        """Φ of every token (vocabulary, length · width)."""
        own = self.table.weight.view(-1, self.length, self.width).transpose(0, 1)
        mapped = (self.mapping @ own.flatten(0, 1)).view_as(own)
        return mapped.transpose(0, 1).flatten(1)
