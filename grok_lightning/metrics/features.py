"""Progress measures of feature matrices: how circulant, how near the final one, how near the AGOP.

After section 3 of Mallinar et al. (arXiv 2407.20199). All of them take a matrix over one-hot inputs (see
`Network.feature_matrix`), so they serve every network that has an embedding.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from grok_lightning.circulants import ORIENTATIONS, OperandSymmetry, circulant_deviation, diagonals


class CirculantDeviation(Metric):
    """How far the block that pairs the two operands is from circulant; 0 is exactly circulant, 1 not at all.

    - `deviation_diagonal`: that of the block from one that is constant along diagonals;
    - `deviation_antidiagonal`: the same along antidiagonals;
    - `deviation`: the smaller of the two.

    Rows and columns are put in the order of the group's coordinates first, for · and / that of the discrete logarithm.
    Elements outside of the group, such as 0 under ·, are left out. NaN for a block of zeros, such as the identity has.

    Args:
        symmetry: The group, and where the operands are.
        vocabulary_size: How many tokens there are.
    """

    full_state_update = True  # the last matrix counts, not a mean
    deviations: Tensor

    def __init__(self, symmetry: OperandSymmetry, vocabulary_size: int) -> None:
        super().__init__()
        self.symmetry, self.vocabulary_size = symmetry, vocabulary_size
        self.cells = [diagonals(symmetry.group, orientation) for orientation in ORIENTATIONS]
        self.add_state("deviations", torch.full((len(ORIENTATIONS),), torch.nan, dtype=torch.double), "mean")

    def update(self, matrix: Tensor) -> None:
        """Take a feature matrix (all inputs, all inputs)."""
        order = self.symmetry.order.to(matrix.device)
        block = self.symmetry.block(matrix.detach(), self.vocabulary_size)[order[:, None], order].double()
        self.deviations = torch.stack([circulant_deviation(block, cells) for cells in self.cells])

    def compute(self) -> dict[str, Tensor]:
        """Return the three deviations."""
        named = {f"deviation_{name}": value for name, value in zip(ORIENTATIONS, self.deviations, strict=True)}
        return {"deviation": self.deviations.min(), **named}


class FeatureAlignment(Metric):
    """How near a feature matrix is to the final one: the cosine of the angle between them as vectors.

    - `alignment`: of the whole matrices, which the diagonal dominates from the beginning;
    - `block_alignment`: of the blocks that pair the two operands, second by first.

    It needs the final matrix, so it can only be known when training has ended.

    Args:
        final: The final matrix (all inputs, all inputs).
        symmetry: Where the operands are.
        vocabulary_size: How many tokens there are.
    """

    full_state_update = True  # the last matrix counts, not a mean
    cosines: Tensor

    def __init__(self, final: Tensor, symmetry: OperandSymmetry, vocabulary_size: int) -> None:
        super().__init__()
        self.final, self.symmetry, self.vocabulary_size = final.detach(), symmetry, vocabulary_size
        self.add_state("cosines", torch.full((2,), torch.nan, dtype=torch.double), "mean")

    def update(self, matrix: Tensor) -> None:
        """Take a feature matrix (all inputs, all inputs)."""
        whole = matrix.detach(), self.final.to(matrix)
        here, final = (self.symmetry.block(each, self.vocabulary_size) for each in whole)
        self.cosines = torch.stack([_cosine(*whole), _cosine(here, final)])

    def compute(self) -> dict[str, Tensor]:
        """Return both alignments; NaN where a matrix is zero."""
        return {"alignment": self.cosines[0], "block_alignment": self.cosines[1]}


class AgopCorrelation(Metric):
    """Pearson's correlation of the entries of a network's feature matrix and of the root of its AGOP.

    - `agop_correlation`: of all entries;
    - `agop_correlation_off_diagonal`: without those of the diagonal.

    Mallinar et al. have 0.92 to 0.955 for networks that have grokked and do not say which of the two.
    """

    full_state_update = True  # the last matrix counts, not a mean
    correlations: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correlations", torch.full((2,), torch.nan, dtype=torch.double), "mean")

    def update(self, features: Tensor, root: Tensor) -> None:
        """Take a feature matrix and the root of the AGOP (all inputs, all inputs)."""
        outside = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
        pairs = (features, root), (features[outside], root[outside])
        self.correlations = torch.stack([_correlation(here.detach(), there.detach()) for here, there in pairs])

    def compute(self) -> dict[str, Tensor]:
        """Return both correlations."""
        names = "agop_correlation", "agop_correlation_off_diagonal"
        return dict(zip(names, self.correlations, strict=True))


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    return _cosine(one - one.mean(), other - other.mean())


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    one, other = one.double().flatten(), other.double().flatten()
    cosine: Tensor = one @ other / (one.norm() * other.norm())
    return cosine
