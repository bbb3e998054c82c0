"""How complex weight matrices and embeddings have become."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from grok_lightning.complexity import (
    condensed_groups,
    covariance_spectrum,
    effective_dimensions,
    neuron_similarity,
    order_of,
    stable_rank,
)

MOST_ORDERED = 1024
"""Numbers whose pairs are compared at most: half a million pairs."""


class MatrixComplexity(Metric):
    """How many directions a weight matrix has; its rows are neurons.

    Logged as `complexity/<matrix>/…`:

    - `stable_rank`: sum of the squares of the singular values, each over the largest;
    - `groups`: number of groups of neurons that point in about the same direction, see `condensed_groups`; a neuron
      alone is one too;
    - `condensed`: share of the neurons that are in a group with another one. Narrow rows are alike by chance.

    Args:
        threshold: The cosine above which neurons are alike.
    """

    full_state_update = True  # the last matrix counts, not a mean
    rank: Tensor
    groups: Tensor
    condensed: Tensor

    def __init__(self, threshold: float = 0.7) -> None:
        super().__init__(sync_on_compute=False)  # every device has the whole matrix
        self.threshold = threshold
        for state in ("rank", "groups", "condensed"):
            self.add_state(state, torch.tensor(torch.nan, dtype=torch.double), "mean")

    def update(self, matrix: Tensor) -> None:
        """Take a matrix (neurons, inputs)."""
        matrix = matrix.detach().cpu().double()
        groups = condensed_groups(neuron_similarity(matrix), self.threshold)
        together = sum(len(group) for group in groups if len(group) > 1)
        self.rank = stable_rank(matrix)
        self.groups = torch.tensor(len(groups), dtype=torch.double)
        self.condensed = torch.tensor(together / len(matrix), dtype=torch.double)

    def compute(self) -> dict[str, Tensor]:
        """Return the three measures."""
        return {"stable_rank": self.rank, "groups": self.groups, "condensed": self.condensed}


class EmbeddingComplexity(Metric):
    """Along how many directions the vectors of tokens vary, and whether they lie in the order of the numbers.

    Logged as `complexity/embedding/…`, means over several systems side by side:

    - `dimensions`: effective number of dimensions, see `effective_dimensions`;
    - `order`: rank correlation of the difference of two numbers with the distance of their vectors, see `order_of`; of
      more than 1024 numbers those of every second, third … one. NaN where the tokens are no numbers.

    Args:
        numbers: The tokens of consecutive numbers, which alone are measured; None where there are none, for all tokens.

    Attributes:
        spectrum: Eigenvalues of the covariance of the last vectors (count,), see `covariance_spectrum`.
    """

    full_state_update = True  # the last embedding counts, not a mean
    dimensions: Tensor
    order: Tensor

    def __init__(self, numbers: Sequence[int] | None = None) -> None:
        super().__init__(sync_on_compute=False)  # every device has the whole embedding
        self.numbers = None if numbers is None else list(numbers)
        self.spectrum = torch.empty(0)
        for state in ("dimensions", "order"):
            self.add_state(state, torch.tensor(torch.nan, dtype=torch.double), "mean")

    def update(self, vectors: Tensor) -> None:
        """Take the vectors of all tokens in each system (copies, tokens, width)."""
        systems = self.chosen(vectors).detach().cpu().double()
        spectra = torch.stack([covariance_spectrum(system) for system in systems])
        self.spectrum = spectra.mean(0)
        self.dimensions = torch.stack([effective_dimensions(spectrum) for spectrum in spectra]).mean()
        if self.numbers is not None:
            step = -(-systems.shape[1] // MOST_ORDERED)
            self.order = torch.stack([order_of(system[::step]) for system in systems]).mean()

    def chosen(self, vectors: Tensor) -> Tensor:
        """Return what is measured of vectors (copies, tokens, width): the numbers, or all."""
        return vectors if self.numbers is None else vectors[:, self.numbers]

    def compute(self) -> dict[str, Tensor]:
        """Return both measures."""
        return {"dimensions": self.dimensions, "order": self.order}
