"""Particles in the plane, one for each token: no network that learns, but the same three parts."""

import torch
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_positive, require_std
from grok_lightning.networks.classifier import Classifier
from grok_lightning.networks.embedding import Embedding
from grok_lightning.networks.network import Network
from grok_lightning.networks.planar import Sum
from grok_lightning.pair_sums import PairSums, squared_distances


class NearestSum(Classifier):
    """The answer of a pair is that of the nearest sum of another pair.

    Attributes:
        pairs: First token, second token and answer of each pair (3, pairs).
    """

    pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pairs", torch.zeros(3, 0, dtype=torch.long))

    def forward(self, vectors: Tensor, asked: PairSums) -> Tensor:
        """Logits (copies, asked pairs, tokens): minus the squared distance from the nearest sum with each answer.

        NaN where distances overflow, so that a simulation that has blown up fails.

        Args:
            vectors: The vectors of the tokens (copies, tokens, width).
            asked: The pairs to answer.

        Raises:
            ValueError: If there are no pairs yet.
        """
        first, second, answers = self.pairs
        if not len(answers):
            raise ValueError("a ParticleSystem knows no pairs yet: it is for ParticleTask")
        pairs = PairSums(first, second, answers, asked.tokens)
        logits = self.nearest(pairs.apart_from(asked, vectors), asked.tokens)
        return logits.where(vectors.square().sum().isfinite(), torch.nan)

    def nearest(self, squares: Tensor, tokens: int) -> Tensor:
        """Logits (…, points, tokens) of points with these squared distances from the sums (…, points, pairs).

        An answer that no pair at a finite distance has gets what is farthest from the point.
        """
        farthest = squares.where(squares.isfinite(), 0).amax(-1, keepdim=True)
        nearest = farthest.expand(*squares.shape[:-1], tokens).clone()
        index = self.pairs[2].expand_as(squares)
        return -nearest.scatter_reduce(-1, index, squares.minimum(farthest), "amin")


class ParticleSystem(Network):
    """Particles at positions e_a, one for each token, whose pair sums act on each other; several systems side by side.

    The particle simulation of Musat, "Clustering and alignment: understanding the training dynamics in modular
    addition" (arXiv 2408.09414); the forces are those of `grok_lightning.forces`, a reconstruction. Positions are the
    `embedding`, so that those of one system go to a PlanarNetwork and come from there; a pair is their sum
    (`decoder`), and its answer that of the nearest other sum (`classifier`).

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has: two.
        copies: Systems side by side, each with a start of its own.
        width: Dimensions of a position.
        init_std: Standard deviation of the initial positions.

    Raises:
        ValueError: If a size is below one, the length not two, or `init_std` not positive.
    """

    classifier: NearestSum

    def __init__(
        self, vocabulary_size: int, length: int, *, copies: int = 1, width: int = 2, init_std: float = 0.5
    ) -> None:
        require_positive(copies=copies, width=width)
        require_std(init_std)
        if length != 2:
            raise ValueError(f"a ParticleSystem is for pairs (`layout: a b`), not for sequences of {length} tokens.")
        super().__init__(
            vocabulary_size,
            length,
            embedding=Embedding(vocabulary_size, copies * width),
            decoder=Sum(),
            classifier=NearestSum(),
        )
        self.copies = copies
        nn.init.normal_(self.embedding.table.weight, std=init_std)

    @property
    def own_tensors(self) -> frozenset[str]:
        """The pairs, which are those of the data."""
        return frozenset({"classifier.pairs"})

    @property
    def pairs(self) -> PairSums:
        """The pairs whose sums act on each other."""
        first, second, answers = self.classifier.pairs
        return PairSums(first, second, answers, self.vocabulary_size)

    def place_pairs(self, pairs: Tensor) -> None:
        """Take the pairs that act on each other: first token, second token and answer of each (3, pairs)."""
        self.classifier.pairs = pairs.to(self.classifier.pairs.device)

    def vectors_by_copy(self) -> Tensor:
        """The positions in each system (copies, vocabulary, width)."""
        return self.token_vectors().view(self.vocabulary_size, self.copies, -1).transpose(0, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of pairs of tokens (batch, 2): the mean of those of all systems."""
        return self.logits_by_copy(tokens).mean(0)

    def logits_by_copy(self, tokens: Tensor) -> Tensor:
        """Logits (copies, batch, vocabulary) of pairs of tokens (batch, 2), see `NearestSum`."""
        self.check_tokens(tokens)
        first, second = tokens.sort(dim=1).values.unbind(1)
        asked = PairSums(first, second, torch.zeros_like(first), self.vocabulary_size)
        logits: Tensor = self.classifier(self.vectors_by_copy(), asked)
        return logits

    def answer(self, embedded: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of vectors (batch, 2, copies · width) that need not be those of tokens.

        No pair is left out; the mean of those of all systems.
        """
        points = self.decoder(embedded).view(len(embedded), self.copies, -1).transpose(0, 1)
        squares = squared_distances(points, self.pairs.of(self.vectors_by_copy()))
        return self.classifier.nearest(squares, self.vocabulary_size).mean(0)
