"""Kernels of feature machines: Σ of a network that is fitted rather than trained.

A kernel compares sums φ = Σᵢ Φᵢ(xᵢ) of the vectors of two sequences by their inner products alone. With the feature
matrix M = Φ Φᵀ that is a kernel k(x, x'; M) of one-hot sequences (Mallinar et al., arXiv 2407.20199, section 2).

Each kernel knows the AGOP of f(x) = Σᵢ αᵢ k(x, xᵢ) in closed form. In what follows an *input* is the number of a
one-hot entry, position · vocabulary + token, so that a sequence is the set of its inputs.
"""

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAUSSIAN_SCALE = 12.5
"""2 · 2.5², as the official code of Mallinar et al. has it; their text says 2.5."""

BLOCK_NUMBERS = 2**21
"""Numbers held at once where a sum runs over points, classes and inputs: 16 MB in double precision."""


class Kernel(nn.Module):
    """A kernel and the points that it compares with.

    Attributes:
        centres: The sequences compared with (points, length).
    """

    centres: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(1, length, dtype=torch.long))

    def forward(self, states: Tensor, centres: Tensor) -> Tensor:
        """Values (batch, points) of the kernel between vectors (batch, width) and those of points (points, width)."""
        return self.of_products(states @ centres.T, states.square().sum(1), centres.square().sum(1))

    def between(self, features: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """The same from the feature matrix M: entries of it are added up, and no vector is multiplied.

        Args:
            features: The feature matrix M (all inputs, all inputs).
            left: The inputs of sequences (left, length).
            right: The inputs of others (right, length).
        """
        moved = F.embedding_bag(right, features, mode="sum")  # M x', (right, all inputs)
        products = F.embedding_bag(left, moved.T.contiguous(), mode="sum")
        own = F.embedding_bag(left, features, mode="sum")
        return self.of_products(products, own.gather(1, left).sum(1), moved.gather(1, right).sum(1))

    @abstractmethod
    def of_products(self, products: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Values (left, right) of the kernel; `products` is overwritten.

        Args:
            products: Inner products ⟨φ, φ'⟩ (left, right).
            left: Squared lengths |φ|² (left).
            right: Squared lengths |φ'|² (right).
        """

    @abstractmethod
    def agop(self, features: Tensor, centres: Tensor, coefficients: Tensor, inputs: Tensor, centred: bool) -> Tensor:
        """The AGOP of f = Σᵢ αᵢ k(·, xᵢ) over sequences, (all inputs, all inputs).

        Args:
            features: The feature matrix M (all inputs, all inputs).
            centres: The inputs of the xᵢ (points, length).
            coefficients: The αᵢ (points, vocabulary).
            inputs: The inputs of the sequences (batch, length).
            centred: Whether the mean Jacobian is taken from each first.
        """


class QuadraticKernel(Kernel):
    """k(x, x') = (xᵀ M x')².

    f_c(x) = xᵀ M A_c M x is a quadratic form with A_c = Σᵢ α_ic xᵢ xᵢᵀ. Its gradient is 2 M A_c M x, and so the AGOP is
    4 M (Σ_c A_c (M S M) A_c) M, with S the second moment (or covariance) of the points: products over the inputs alone.
    """

    def of_products(self, products: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Values (left, right) of the kernel, see `Kernel.of_products`."""
        return products.square_()

    def agop(self, features: Tensor, centres: Tensor, coefficients: Tensor, inputs: Tensor, centred: bool) -> Tensor:
        """The AGOP over sequences, see `Kernel.agop`."""
        used, (own, places) = _used(centres, inputs)
        sums = _pair_sums(own, coefficients, len(used)).transpose(1, 2).contiguous()  # A: (inputs, classes, inputs)
        share = coefficients.new_full((len(inputs), 1), 1 / len(inputs))
        moment = _pair_sums(places, share, len(used)).squeeze(-1)
        if centred:
            mean = moment.diagonal()  # an input is at one position, so that its square is itself
            moment = moment - torch.outer(mean, mean)
        inside = features[used[:, None], used]
        moved = sums @ (inside @ moment @ inside)
        return 4 * features[:, used] @ (moved.flatten(1) @ sums.flatten(1).T) @ features[used]


class GaussianKernel(Kernel):
    """k(x, x') = exp(−(x − x')ᵀ M (x − x') / scale).

    The gradient of f_c at a point xⱼ is (2 / scale) M h_cj with h_cj = Σᵢ α_ic kᵢⱼ (xᵢ − xⱼ). Its entry for an input is
    the sum over the points that have this input, less f_c(xⱼ) where xⱼ has it. The AGOP is (4 / scale²) M H M, with H
    the mean of Σ_c h_cj h_cjᵀ over the points, taken some points at a time.

    Args:
        length: How many tokens a sequence has.
        scale: What the squared distance is divided by.

    Raises:
        ValueError: If `scale` is not positive.
    """

    def __init__(self, length: int, scale: float = GAUSSIAN_SCALE) -> None:
        super().__init__(length)
        if not 0 < scale < math.inf:
            raise ValueError(f"`scale` must be positive, got {scale}.")
        self.scale = scale

    def of_products(self, products: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Values (left, right) of the kernel, see `Kernel.of_products`."""
        return products.mul_(2).sub_(left[:, None]).sub_(right).div_(self.scale).exp_()

    def agop(self, features: Tensor, centres: Tensor, coefficients: Tensor, inputs: Tensor, centred: bool) -> Tensor:
        """The AGOP over sequences, see `Kernel.agop`."""
        used, (own, places) = _used(centres, inputs)
        batch, classes = len(inputs), coefficients.shape[1]
        groups = [_by_input(column, coefficients) for column in own.T]
        total, mean = features.new_zeros(len(used), len(used)), features.new_zeros(len(used), classes)
        numbers = torch.arange(batch, device=inputs.device)
        for some in torch.split(numbers, max(1, BLOCK_NUMBERS // (classes * len(used)))):
            kernel = self.between(features, centres, inputs[some])
            sums = features.new_zeros(len(used), classes, len(some))
            for present, members, values in groups:
                sums[present] = torch.bmm(values, kernel[members])
            answers = sums[groups[0][0]].sum(0)  # each point has one input of the first position
            for column in places[some].T:
                sums[column, :, numbers[: len(some)]] -= answers.T
            mean += sums.sum(2) / batch
            total += sums.flatten(1) @ sums.flatten(1).T / batch
        if centred:
            total -= mean @ mean.T
        return (2 / self.scale) ** 2 * features[:, used] @ total @ features[used]


def _used(*inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The inputs that occur in some sequences, in order, and the sequences as places among them."""
    used = torch.unique(torch.cat([each.flatten() for each in inputs]))
    return used, [torch.searchsorted(used, each.contiguous()) for each in inputs]


def _pair_sums(inputs: Tensor, values: Tensor, size: int) -> Tensor:
    """Σᵢ vᵢ xᵢ xᵢᵀ for one-hot sequences x: (size, size, columns) for inputs (points, length), v (points, columns)."""
    sums = values.new_zeros(size * size, values.shape[1])
    for rows in inputs.T:
        for columns in inputs.T:
            sums.index_add_(0, rows * size + columns, values)
    return sums.view(size, size, -1)


def _by_input(column: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The points that have each of the inputs at one position, filled up to as many as the most frequent one has.

    Args:
        column: The input of each point (points).
        values: What the points have (points, columns).

    Returns:
        The inputs that occur (inputs); the numbers of their points (inputs, most), and the values of these (inputs,
        columns, most), zero where it is filled up.
    """
    present, group, counts = torch.unique(column, return_inverse=True, return_counts=True)
    order = group.argsort(stable=True)
    place = torch.arange(len(column), device=column.device) - (counts.cumsum(0) - counts)[group[order]]
    members = column.new_zeros(len(counts), int(counts.max()))
    members[group[order], place] = order
    table = values.new_zeros(*members.shape, values.shape[1])
    table[group[order], place] = values[order]
    return present, members, table.transpose(1, 2)
