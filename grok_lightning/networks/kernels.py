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
        self.register_buffer("centres", torch.zeros(0, length, dtype=torch.long))

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
    def agop(self, features: Tensor, inputs: Tensor, coefficients: Tensor, centred: bool) -> Tensor:
        """The AGOP of f = Σᵢ αᵢ k(·, xᵢ) over its own points, (all inputs, all inputs).

        Args:
            features: The feature matrix M (all inputs, all inputs).
            inputs: The inputs of each point (points, length).
            coefficients: The α (points, vocabulary).
            centred: Whether the mean Jacobian is taken from each first.
        """


class QuadraticKernel(Kernel):
    """k(x, x') = (xᵀ M x')².

    f_c(x) = xᵀ B_c x is a quadratic form with B_c = M (Σᵢ α_ic xᵢ xᵢᵀ) M. Its gradient is 2 B_c x, and so the AGOP is
    4 Σ_c B_c S B_c, with S the second moment (or covariance) of the points: products of matrices over the inputs alone.
    """

    def of_products(self, products: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Values (left, right) of the kernel, see `Kernel.of_products`."""
        return products.square_()

    def agop(self, features: Tensor, inputs: Tensor, coefficients: Tensor, centred: bool) -> Tensor:
        """The AGOP over the points, see `Kernel.agop`."""
        size, classes = len(features), coefficients.shape[1]
        half = features @ _pair_sums(inputs, coefficients, size).view(size, size * classes)
        forms = half.view(size, size, classes).transpose(1, 2).reshape(size * classes, size) @ features
        share = coefficients.new_full((len(inputs), 1), 1 / len(inputs))
        moment = _pair_sums(inputs, share, size).squeeze(-1)
        if centred:
            mean = moment.diagonal()  # an input is at one position, so that its square is itself
            moment = moment - torch.outer(mean, mean)
        return 4 * (forms @ moment).view(size, -1) @ forms.view(size, -1).T


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

    def agop(self, features: Tensor, inputs: Tensor, coefficients: Tensor, centred: bool) -> Tensor:
        """The AGOP over the points, see `Kernel.agop`."""
        size, classes = len(features), coefficients.shape[1]
        members, values = _by_input(inputs, coefficients, size)
        total, mean = features.new_zeros(size, size), features.new_zeros(size, classes)
        numbers = torch.arange(len(inputs), device=inputs.device)
        for some in torch.split(numbers, max(1, BLOCK_NUMBERS // (classes * size))):
            kernel = self.between(features, inputs, inputs[some])
            sums = torch.bmm(values, kernel[members])  # (inputs, classes, points)
            answers = sums[: size // inputs.shape[1]].sum(0)  # each point has one input of the first position
            for own in inputs[some].T:
                sums[own, :, numbers[: len(some)]] -= answers.T
            mean += sums.sum(2) / len(inputs)
            flat = sums.flatten(1)
            total += flat @ flat.T / len(inputs)
        if centred:
            total -= mean @ mean.T
        return (2 / self.scale) ** 2 * features @ total @ features


def _pair_sums(inputs: Tensor, values: Tensor, size: int) -> Tensor:
    """Σᵢ vᵢ xᵢ xᵢᵀ for one-hot sequences x: (size, size, columns) for inputs (points, length), v (points, columns)."""
    sums = values.new_zeros(size * size, values.shape[1])
    for rows in inputs.T:
        for columns in inputs.T:
            sums.index_add_(0, rows * size + columns, values)
    return sums.view(size, size, -1)


def _by_input(inputs: Tensor, values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The points that have each input, filled up to as many as the most frequent one has.

    Returns:
        Their numbers (size, most), and their values (size, columns, most), zero where it is filled up.
    """
    flat = inputs.flatten()
    counts = torch.bincount(flat, minlength=size)
    order = flat.argsort(stable=True)
    place = torch.arange(len(flat), device=flat.device) - (counts.cumsum(0) - counts)[flat[order]]
    members = flat.new_zeros(size, int(counts.max()))
    members[flat[order], place] = order // inputs.shape[1]
    table = values.new_zeros(*members.shape, values.shape[1])
    table[flat[order], place] = values[order // inputs.shape[1]]
    return members, table.transpose(1, 2)
