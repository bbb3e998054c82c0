"""What a table of embedding vectors is made of: its principal components and its Fourier spectrum over the residues.

Networks that grok modular addition place the residues on a few circles, ``x ↦ (cos 2πkx/n, sin 2πkx/n)`` (Nanda et al.
2023, "Progress measures for grokking via mechanistic interpretability", section 4.1). A circle is a plane among the
principal components and a peak at frequency ``k`` of the spectrum. The functions here are pure; metrics and figures
share them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def principal_components(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Projects vectors on the directions in which they vary most.

    The signs, which the decomposition leaves open, are chosen so that the coordinate of largest magnitude in each
    component is positive: equal tables give equal coordinates.

    Args:
        vectors: One vector a row, (rows, width).
        count: How many components, at most the smaller of rows and width.

    Returns:
        The coordinates (rows, count), and the share of the total variance that each component explains (count,),
        in falling order. A table of equal rows has no variance: its coordinates and shares are zero.

    Raises:
        ValueError: If ``vectors`` is not a table of finite numbers, or has fewer than ``count`` components.
    """
    table = _centred(vectors)
    if not 1 <= count <= min(table.shape):
        raise ValueError(f"count={count}: a table {tuple(table.shape)} has 1 to {min(table.shape)} components")
    directions, lengths, _ = torch.linalg.svd(table, full_matrices=False)
    coordinates = directions[:, :count] * lengths[:count]
    largest = coordinates.gather(0, coordinates.abs().argmax(0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(table.dtype)
    return coordinates * signs, _shares(lengths.square())[:count]


def fourier_power(vectors: Tensor) -> Tensor:
    """Measures how much of the variation of vectors over the residues 0 … n−1 lies at each frequency.

    With ``F(k) = Σ_x v_x exp(−2πi k x / n)`` the power at frequency ``k`` is ``|F(k)|² + |F(n−k)|²``, summed over the
    width (``|F(k)|²`` alone where ``k = n/2``): the part of ``n Σ_x |v_x − mean|²`` that waves of that frequency make
    up. The mean over the residues, frequency 0, says nothing about them and is taken out first.

    Args:
        vectors: The vector of each residue, in the order of the residues, (n, width).

    Returns:
        The share of the power at each frequency, (n // 2 + 1,), indexed by the frequency: entry 0 is zero, the others
        sum to one. All are zero if all vectors are equal.

    Raises:
        ValueError: If ``vectors`` is not a table of finite numbers.
    """
    table = _centred(vectors)
    power = torch.fft.rfft(table, dim=0).abs().square().sum(1)
    conjugates = torch.full_like(power, 2)
    conjugates[0] = 0
    if len(table) % 2 == 0:
        conjugates[-1] = 1
    return _shares(conjugates * power)


def character_power(vectors: Tensor, orders: Sequence[int]) -> Tensor:
    """Measures how much of the variation of vectors over an abelian group lies at each of its characters.

    The characters of a product of cyclic groups are waves over its grid of coordinates, so this is `fourier_power` in
    as many dimensions as there are factors. A real wave has a character and its conjugate, which get half of it each.

    Args:
        vectors: The vector of each member, by its coordinates in lexicographic order, (members, width).
        orders: The orders of the cyclic factors.

    Returns:
        The share of the power at each character (*orders); the constant one has none, the others sum to one. All are
        zero if all vectors are equal.

    Raises:
        ValueError: If ``vectors`` is not a table of finite numbers, or not of as many members as the group has.
    """
    if len(vectors) != math.prod(orders):
        raise ValueError(f"there are {len(vectors)} vectors for the {math.prod(orders)} members of a group {orders}")
    grid = _centred(vectors).view(*orders, -1)
    power = torch.fft.fftn(grid, dim=tuple(range(len(orders)))).abs().square().sum(-1)
    power.view(-1)[0] = 0
    return _shares(power)


def top_character_share(vectors: Tensor, orders: Sequence[int]) -> Tensor:
    """Measures how near vectors over an abelian group are to a single character.

    By theorem 4 of Park, Kim and Kim (2405.16658) one character χ suffices to solve x · y in a group with one cyclic
    factor, and trained embeddings draw it as a circle, a cosine and a sine. The share of the power that the strongest
    character and its conjugate have is 1 for a circle. (The Φ of the theorem is the logarithm of χ, an angle; its
    strongest character is χ, with about 6/π² = 0.61.) Random vectors over n members have somewhat more than 2/n, the
    more the narrower they are.

    Args:
        vectors: As in `character_power`.
        orders: As there.

    Returns:
        The share ().
    """
    power = character_power(vectors, orders)
    own = torch.arange(power.numel(), device=power.device).view(power.shape)
    return torch.where(own == _conjugates(own), power, power + _conjugates(power)).max()


def matrix_power(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric matrix; what rounding, or the matrix itself, has of negative eigenvalues counts as zero.

    Args:
        matrix: The matrix (width, width).
        power: The exponent, positive.
    """
    values, vectors = torch.linalg.eigh(matrix.to(torch.promote_types(matrix.dtype, torch.float32)))
    power_of: Tensor = (vectors * values.clamp(min=0) ** power) @ vectors.T
    return power_of


def _conjugates(grid: Tensor) -> Tensor:
    """The entry at −k at the place of each character k."""
    axes = tuple(range(grid.ndim))
    return grid.flip(axes).roll((1,) * grid.ndim, axes)


def centred(vectors: Tensor) -> Tensor:
    """Vectors (…, rows, width) less their mean; coordinates that are equal up to rounding become exactly zero."""
    deviations = vectors - vectors.mean(-2, keepdim=True)
    rounding = 4 * torch.finfo(vectors.dtype).eps * vectors.abs().amax(-2, keepdim=True)
    return torch.where(deviations.abs().amax(-2, keepdim=True) <= rounding, 0, deviations)


def _centred(vectors: Tensor) -> Tensor:
    """The rows less their mean, in single precision at least; rows equal up to rounding become exactly zero."""
    if vectors.ndim != 2 or not vectors.numel():
        raise ValueError(f"vectors has shape {tuple(vectors.shape)}: expected (rows, width), neither of them 0")
    table = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    if not table.isfinite().all():
        raise ValueError("vectors holds a value that is not finite")
    return centred(table)


def _shares(amounts: Tensor) -> Tensor:
    total = amounts.sum()
    return torch.where(total > 0, amounts / total, torch.zeros_like(amounts))
