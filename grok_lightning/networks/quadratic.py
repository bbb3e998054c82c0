"""The two-layer network with a quadratic activation."""

import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.classifier import LinearClassifier
from grok_lightning.networks.embedding import PositionwiseEmbedding
from grok_lightning.networks.network import Network


class SquaredSum(nn.Module):
    """The square of the sum over positions: Σ of the quadratic network."""

    def forward(self, embedded: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of vectors (batch, length, width)."""
        return embedded.sum(1).square()

    def decode(self, table: Tensor, entries: Tensor) -> Tensor:
        """The same for vectors that are entries (batch, length) of a table (entries, width): none of them is copied."""
        return F.embedding_bag(entries, table, mode="sum").square()


class QuadraticMLP(Network):
    """The network W₂ (W₁ x)² on one-hot sequences x, without biases.

    It is the network of Gromov (arXiv 2301.02679), with the scale, width and initialisation of Mallinar et al. (arXiv
    2407.20199): weights uniform in ±1/√d, where d is the number of inputs of a layer, length · vocabulary for W₁ and
    width for W₂. The columns of W₁ are the token table, one block for each position; the sum of the columns of a
    sequence and its square are the decoder; W₂ is the classifier.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        width: Hidden units.

    Raises:
        ValueError: If a size is below one.
    """

    embedding: PositionwiseEmbedding
    decoder: SquaredSum

    def __init__(self, vocabulary_size: int, length: int, *, width: int = 1024) -> None:
        super().__init__(
            vocabulary_size,
            length,
            embedding=PositionwiseEmbedding(vocabulary_size, length, width),
            decoder=SquaredSum(),
            classifier=LinearClassifier(width, vocabulary_size, bias=False),
        )
        for weight, inputs in (
            (self.embedding.table.weight, length * vocabulary_size),
            (self.classifier.output.weight, width),
        ):
            nn.init.uniform_(weight, -(inputs**-0.5), inputs**-0.5)

    def decode(self, tokens: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of tokens (batch, length)."""
        return self.decoder.decode(self.embedding.places(), self.embedding.entries(tokens))
