"""Circulant matrices over the group behind an operation: what features of modular arithmetic are made of.

A matrix over the elements of an abelian group is circulant if its entry for (y, x) depends on x · y⁻¹ alone, constant
along the diagonals once the elements are put in the order of their coordinates; for + these are the residues, for · the
discrete logarithms. It is anti-circulant (Hankel) if the entry depends on x · y. Elements outside of the group, such as
0 under ·, belong to no diagonal. (Mallinar et al., arXiv 2407.20199, sections 3 and 4.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from grok_lightning.operations import AbelianGroup, abelian_group
from grok_lightning.spectra import matrix_power

Orientation = Literal["diagonal", "antidiagonal"]
ORIENTATIONS: tuple[Orientation, ...] = ("diagonal", "antidiagonal")


@dataclass(frozen=True)
class OperandSymmetry:
    """The group behind a binary operation, and where its operands are in an equation.

    Attributes:
        group: The group, over the first tokens of the vocabulary.
        size: Number of elements; those that are not in the group included.
        positions: Positions of the two operands.
    """

    group: AbelianGroup
    size: int
    positions: tuple[int, int]

    @classmethod
    def of(cls, operation: str, modulus: int | None, size: int, layout: Sequence[str]) -> "OperandSymmetry":
        """The symmetry of an operation on so many elements, in equations laid out with the operands "a" and "b".

        Raises:
            ValueError: If the operation has no group on them.
        """
        return cls(abelian_group(operation, modulus), size, (layout.index("a"), layout.index("b")))

    @property
    def orientation(self) -> Orientation:
        """Along which diagonals a feature machine's block of second by first operand is constant.

        By the random features of the official code, and by measurement of learned ones: diagonals for + and ·,
        antidiagonals for − and /.
        """
        return "antidiagonal" if self.group.inverts else "diagonal"

    @cached_property
    def order(self) -> Tensor:
        """The members of the group by their coordinates (members,)."""
        return torch.tensor(self.group.members)

    def inputs(self, vocabulary_size: int, ordered: bool) -> Tensor:
        """The one-hot inputs of the operands, by number, or the members by their coordinates: see `block`."""
        elements = self.order if ordered else torch.arange(self.size)
        return torch.cat([position * vocabulary_size + elements for position in self.positions])

    def block(self, matrix: Tensor, vocabulary_size: int) -> Tensor:
        """The part (size, size) of a feature matrix that pairs the second operand (rows) with the first (columns).

        Args:
            matrix: See `Network.feature_matrix`.
            vocabulary_size: How many tokens there are.
        """
        column, row = (position * vocabulary_size for position in self.positions)
        return matrix[row : row + self.size, column : column + self.size]


def symmetry_of(data: Any, asker: str, operation: str | None = None, hint: str = "") -> OperandSymmetry:
    """The symmetry of an operation on the elements of a data module.

    Args:
        data: The data module.
        asker: Who asks, for the message.
        operation: The operation; that of the data if not given.
        hint: How to name another one, for the message.

    Raises:
        ValueError: If the data are not of binary operations, or the operation has no group.
    """
    if not hasattr(data, "symmetry"):
        name = type(data).__name__
        raise ValueError(f"{asker}: {name} has no equations of binary operations; use BinaryOperationDataModule")
    try:
        symmetry: OperandSymmetry = data.symmetry(operation)
    except ValueError as error:
        raise ValueError(f"{asker}: {error}{hint}") from None
    return symmetry


def diagonals(group: AbelianGroup, orientation: Orientation) -> Tensor:
    """The number of the diagonal of each pair of members (members, members), both in the order of their coordinates."""
    orders = torch.tensor(group.orders)
    places = torch.tensor([group.coordinates[member] for member in group.members])
    sign = -1 if orientation == "diagonal" else 1
    coordinates = (places[None] + sign * places[:, None]) % orders
    strides = orders.flip(0).cumprod(0).flip(0) // orders
    return (coordinates * strides).sum(-1)


def circulant_part(block: Tensor, cells: Tensor) -> Tensor:
    """The nearest (anti-)circulant matrix: each entry becomes the mean of its diagonal.

    Args:
        block: The matrix (members, members), in the order of the coordinates.
        cells: The number of the diagonal of each entry, see `diagonals`.
    """
    cells = cells.to(block.device)
    sums = block.new_zeros(len(block)).index_add_(0, cells.flatten(), block.flatten())
    return (sums / len(block))[cells]


def circulant_deviation(block: Tensor, cells: Tensor) -> Tensor:
    """How far a matrix is from circulant: ‖A − C‖² / ‖A‖² with C its circulant part; 0 to 1, NaN for a zero matrix.

    It is D(A) of Mallinar et al. (section 3): what of the squares of a matrix is variance within its diagonals.

    Args:
        block: The matrix (members, members), in the order of the coordinates.
        cells: The number of the diagonal of each entry, see `diagonals`.
    """
    return (block - circulant_part(block, cells)).square().sum() / block.square().sum()


def block_circulant(symmetry: OperandSymmetry, block: Tensor, vocabulary_size: int, length: int) -> Tensor:
    """The feature matrix [[A, Cᵀ], [C, A]] of the two operands, with A = I − 11ᵀ/n over the n elements.

    It is the form of the learned matrices (Mallinar et al., observation 1). Other inputs, such as the
    operator, keep the identity.

    Args:
        symmetry: The operation's.
        block: C over the members of the group, in the order of their coordinates (members, members).
        vocabulary_size: How many tokens there are.
        length: How many tokens an equation has.
    """
    matrix = torch.eye(length * vocabulary_size, dtype=block.dtype)
    inside = torch.zeros(symmetry.size, symmetry.size, dtype=block.dtype)
    inside[symmetry.order[:, None], symmetry.order] = block.cpu()
    for position in symmetry.positions:
        own = slice(position * vocabulary_size, position * vocabulary_size + symmetry.size)
        matrix[own, own] -= 1 / symmetry.size
    symmetry.block(matrix, vocabulary_size)[:] = inside
    symmetry.block(matrix.T, vocabulary_size)[:] = inside
    return matrix


def random_circulant(symmetry: OperandSymmetry, vocabulary_size: int, length: int) -> Tensor:
    """Random features that fit an operation: √M* of a random block-circulant M* (all inputs, all inputs).

    The entries of C are uniform in [0, 1], less their mean. M* is indefinite; the official code takes the real part of
    its root, which is the root of its positive part. (The text maps x to M*^¼ x, which is the same.)

    Args:
        symmetry: The operation's.
        vocabulary_size: How many tokens there are.
        length: How many tokens an equation has.
    """
    cells = diagonals(symmetry.group, symmetry.orientation)
    entries = torch.rand(len(cells), dtype=torch.double)
    entries -= entries.mean()
    return matrix_power(block_circulant(symmetry, entries[cells], vocabulary_size, length), 0.5)


def enforced_circulant(symmetry: OperandSymmetry, matrix: Tensor, vocabulary_size: int) -> Tensor:
    """A feature matrix made exactly block-circulant: what of it generalises?

    It is rescaled to a diagonal of ones, D^−½ M D^−½; the diagonal blocks become I − 11ᵀ/n, and C the circulant of its
    first column (Mallinar et al., the appendix that enforces circulants).

    Args:
        symmetry: The operation's.
        matrix: The feature matrix.
        vocabulary_size: How many tokens there are.
    """
    diagonal = matrix.diagonal()
    seen = diagonal > 1e-12 * diagonal.max()  # an element that training never saw has no features
    scale = torch.where(seen, diagonal, torch.inf).rsqrt()
    block = symmetry.block(scale[:, None] * matrix * scale, vocabulary_size)[symmetry.order][:, symmetry.order]
    cells = diagonals(symmetry.group, symmetry.orientation)
    entries = torch.empty_like(block[0]).index_copy_(0, cells[:, 0].to(block.device), block[:, 0])
    circulant = entries[cells.to(block.device)]
    return block_circulant(symmetry, circulant, vocabulary_size, len(matrix) // vocabulary_size).to(matrix)
