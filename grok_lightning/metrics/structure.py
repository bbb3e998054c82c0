"""Which structure the embedding of a cyclic group has."""

from collections import Counter

import torch
from torch import Tensor
from torchmetrics import Metric

from grok_lightning.pair_sums import PairSums
from grok_lightning.structure import CLASSES, StructureThresholds, classify, measure_structure, neighbour_share

MEASURES = ("purity", "radius_spread", "lattice", "second_lattice", "flatness", "norm", "same_neighbours")
"""Measures whose mean over several systems says something."""


class EmbeddingStructure(Metric):
    """Circle, grid, line or other, and the measures behind it, of one embedding or of several systems side by side.

    Logged as `structure/…`, means over the systems, see `measure_structure`:

    - `purity`, `radius_spread`, `lattice`, `second_lattice`, `flatness`, `norm`;
    - `same_neighbours`: share of the pair sums whose nearest other one has the same answer;
    - `circle`, `grid`, `line`, `other`: share of the systems that are such.

    Args:
        members: The tokens in the order of the group (order,).
        pairs: The pairs whose sums are compared.
        thresholds: From where on an embedding is a circle, a grid or a line.

    Attributes:
        systems: Each measure of each system (copies,) of the last embedding.
    """

    full_state_update = True  # the last embedding counts, not a mean
    means: Tensor
    shares: Tensor

    def __init__(self, members: Tensor, pairs: PairSums, thresholds: StructureThresholds) -> None:
        super().__init__(sync_on_compute=False)  # every device has the whole embedding
        self.members, self.pairs, self.thresholds = members, pairs, thresholds
        self.systems: dict[str, Tensor] = {}
        self.add_state("means", torch.full((len(MEASURES),), torch.nan, dtype=torch.double), "mean")
        self.add_state("shares", torch.full((len(CLASSES),), torch.nan, dtype=torch.double), "mean")

    def update(self, vectors: Tensor) -> None:
        """Take the vectors of all tokens in each system (copies, tokens, width)."""
        vectors = vectors.detach().cpu().double()
        self.systems = measure_structure(vectors[:, self.members], self.thresholds.tolerance)
        self.systems["same_neighbours"] = neighbour_share(vectors, self.pairs)
        self.means = torch.stack([self.systems[name].mean() for name in MEASURES])
        counts = self.counts()
        self.shares = torch.tensor([counts[name] for name in CLASSES], dtype=torch.double) / len(vectors)

    def classes(self) -> list[str]:
        """Return what each system of the last embedding is."""
        return classify(self.systems, self.thresholds)

    def counts(self) -> dict[str, int]:
        """Return how many systems of the last embedding are of each class."""
        found = Counter(self.classes())
        return {name: found[name] for name in CLASSES}

    def compute(self) -> dict[str, Tensor]:
        """Return the means and the shares."""
        named = zip((*MEASURES, *CLASSES), torch.cat([self.means, self.shares]), strict=True)
        return dict(named)
