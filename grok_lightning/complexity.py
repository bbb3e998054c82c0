"""How complex a matrix, or a table of vectors, has become: ranks, condensation, dimensions and order.

Zhang et al. (arXiv 2405.05409) and their follow-up (arXiv 2501.08537) find that networks which infer, rather than
remember, are the simple ones: the rows of a weight matrix point in few directions, the embedding varies along few, and
lays out the numbers in their order. The functions here are pure; rows of a matrix are its neurons, as in
`torch.nn.Linear`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_lightning.spectra import centred


def singular_values(matrix: Tensor) -> Tensor:
    """The singular values of a matrix (rows, columns), largest first (the smaller of rows and columns,)."""
    values: Tensor = torch.linalg.svdvals(_table(matrix))
    return values


def stable_rank(matrix: Tensor) -> Tensor:
    """The sum of (σ / σ₁)² over the singular values σ, the largest of which is σ₁, as the follow-up has it.

    It is 1 where all rows are multiples of one, and as large as the rank where all singular values are equal.

    Args:
        matrix: The matrix (rows, columns).

    Returns:
        The stable rank (); 0 for a matrix of zeros.
    """
    values = singular_values(matrix)
    rank: Tensor = torch.where(values[0] > 0, (values / values[0]).square().sum(), 0)
    return rank


def neuron_similarity(matrix: Tensor) -> Tensor:
    """The cosine of each two rows (rows, rows); NaN with a row of zeros, which has no direction."""
    table = _table(matrix)
    directions = table / table.norm(dim=1, keepdim=True)
    cosines: Tensor = directions @ directions.T
    return cosines


def condensed_groups(similarity: Tensor, threshold: float) -> list[list[int]]:
    """Group neurons that point in about the same direction.

    Zhang et al. group neurons with a cosine above 0.7; how is not known to us, so this is our choice. Two neurons are
    neighbours if their cosine is above the threshold. The neuron with most neighbours leads a group of itself and
    these; of those left, again the one with most neighbours that are left, until nobody has one. (Of several with as
    many, that whose cosines with all its neighbours at first add up to most; then the first.)

    Args:
        similarity: The cosine of each two neurons (neurons, neurons); one that is NaN makes no neighbours.
        threshold: The cosine above which they are neighbours.

    Returns:
        The neurons of each group, in rising order; larger groups first, then those that are alone.
    """
    near = (similarity > threshold).fill_diagonal_(False)
    closeness = similarity.where(near, 0).sum(1)
    counts = near.sum(1)
    alone = torch.ones_like(counts, dtype=torch.bool)
    groups = []
    while counts.max() > 0:
        leader = closeness.where(counts == counts.max(), -torch.inf).argmax()
        group = near[leader].clone()
        group[leader] = True
        groups.append(group.nonzero().flatten().tolist())
        counts -= near[:, group].sum(1)
        counts[group] = 0
        near[:, group] = False
        alone &= ~group
    return groups + alone.nonzero().tolist()


def covariance_spectrum(vectors: Tensor) -> Tensor:
    """The eigenvalues of the covariance of vectors, largest first.

    Args:
        vectors: One vector a row (rows, width).

    Returns:
        The first of them (the smaller of rows and width,); the others are zero.
    """
    values = singular_values(centred(_table(vectors)))
    return values.square() / max(len(vectors) - 1, 1)


def effective_dimensions(eigenvalues: Tensor) -> Tensor:
    """The participation ratio (Σ λ)² / Σ λ² of the eigenvalues (count,) of a covariance: how many directions vary.

    It is n where n eigenvalues are equal and the others zero, and 0 where all are zero.
    """
    squares = eigenvalues.square().sum()
    return torch.where(squares > 0, eigenvalues.sum().square() / squares, 0)


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation () of two lists of values (count,); NaN where all values of a list are equal."""
    one, other = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    correlation: Tensor = one @ other / (one.norm() * other.norm())
    return correlation


def order_of(vectors: Tensor) -> Tensor:
    """How far vectors are laid out in their order: the rank correlation of |i − j| with the distance of i and j.

    It is about 0 for vectors without order, and the nearer to 1 the more the distance grows with the difference alone.
    Differences are those of whole numbers, also where the vectors are of residues: around a circle it is below 1.

    Args:
        vectors: The vectors of consecutive numbers (numbers, width).

    Returns:
        The correlation () over all pairs, in which distances that are equal up to rounding are equal; NaN where there
        are fewer than three numbers, or all distances are equal.
    """
    table = _table(vectors)
    first, second = torch.triu_indices(len(table), len(table), 1, device=table.device)
    distances = F.pdist(table)
    if len(distances) and distances.max() > 0:
        distances = (distances / distances.max()).round(decimals=9)
    return rank_correlation(second - first, distances)


def cosine_by_difference(vectors: Tensor) -> Tensor:
    """The mean cosine of the vectors i and j by their difference |i − j|.

    Embeddings that are ordered with steps of 3 and 4, as Zhang et al. find them, have peaks there.

    Args:
        vectors: The vectors of consecutive numbers (numbers, width).

    Returns:
        The means (numbers,), from the difference 0 on, without vectors of zeros; of the last ones there are few pairs.
    """
    similarity = neuron_similarity(vectors)
    return torch.stack([similarity.diagonal(difference).nanmean() for difference in range(len(similarity))])


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value, in double precision; equal values share the mean of their ranks."""
    _, places, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()  # whose halves single precision would round
    ranks: Tensor = (last - (counts.double() - 1) / 2)[places]
    return ranks


def _table(matrix: Tensor) -> Tensor:
    """A matrix in double precision.

    Raises:
        ValueError: If it is none, or has no entries.
    """
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"matrix has shape {tuple(matrix.shape)}: expected (rows, columns), neither of them 0")
    return matrix.detach().double()
