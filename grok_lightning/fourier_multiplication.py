"""Addition and subtraction of residues through the Fourier transform, and kernel machines that do the same.

The theory of Mallinar et al. (arXiv 2407.20199, section 5) as constructions: the Fourier multiplication algorithm, and
the machines of theorem 5.1, which have one kernel for each answer. An input is x = (x₁, x₂), two vectors with an entry
for each residue mod p. C is the cyclic shift by one, C_ij = 1 for j = i + 1 mod p, and R the reversal, R_ij = 1 for
i + j = p − 1. x₁ᵀ C⁻ˡ x₂ tells whether a − b = l of the one-hot x₁ = e_a and x₂ = e_b, and x₁ᵀ C⁻ˡ⁻¹ R x₂ whether
a + b = l.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_choice

ModularOperation = Literal["add", "sub"]


def fourier_multiplication(first: Tensor, second: Tensor, operation: ModularOperation = "sub") -> Tensor:
    """The Fourier multiplication algorithm: y(l) = √p ⟨F x₁ ∘ F x₂, F e_l⟩ (…, p), real if both x₁ and x₂ are.

    F is the unitary discrete Fourier transform and ⟨u, v⟩ = Σ u conj(v). For − the second transform is conjugated,
    F x₁ ∘ conj(F x₂), and for + none is. One-hot e_a and e_b give the one-hot vector of a ± b mod p. Any vectors give
    their cyclic convolution Σ_b x₁(l − b) x₂(b), or for − their correlation Σ_b x₁(l + b) conj(x₂(b)).

    Args:
        first: Vectors x₁ (…, p).
        second: Vectors x₂ (…, p).
        operation: Whether to add or to subtract.

    Raises:
        ValueError: If `operation` has none of its values, or the vectors differ in size.
    """
    require_choice("operation", operation, ModularOperation)
    modulus = first.shape[-1]
    if second.shape[-1] != modulus:
        raise ValueError(f"`first` and `second` must be equal in size, got {modulus} and {second.shape[-1]}.")
    waves, others = torch.fft.fft(first, norm="ortho"), torch.fft.fft(second, norm="ortho")
    product = waves * (others.conj() if operation == "sub" else others)
    answers: Tensor = math.sqrt(modulus) * torch.fft.ifft(product, norm="ortho")
    return answers if first.is_complex() or second.is_complex() else answers.real


def shift_features(modulus: int, answer: int, operation: ModularOperation = "sub") -> Tensor:
    """The feature matrix M_l = [[0, A], [Aᵀ, 0]] of an answer l, (2p, 2p), integers: A = Cˡ for −, Cˡ R for +.

    Args:
        modulus: The p.
        answer: The l.
        operation: Whether to add or to subtract.

    Raises:
        ValueError: If `modulus` is below two, `answer` is no residue, or `operation` has none of its values.
    """
    require_modulus(modulus)
    require_choice("operation", operation, ModularOperation)
    if not 0 <= answer < modulus:
        raise ValueError(f"`answer` must be at least 0 and below {modulus}, got {answer}.")
    shift = torch.eye(modulus, dtype=torch.long).roll(answer, 1)
    block = shift.flip(1) if operation == "add" else shift
    zero = torch.zeros_like(block)
    return torch.cat([torch.cat([zero, block], 1), torch.cat([block.T, zero], 1)])


def one_hot_pairs(modulus: int) -> Tensor:
    """All pairs (e_a, e_b), that of a and b in row a · p + b (p², 2p), integers.

    Raises:
        ValueError: If `modulus` is below two.
    """
    require_modulus(modulus)
    one_hot = torch.eye(modulus, dtype=torch.long)
    return torch.cat([one_hot.repeat_interleave(modulus, 0), one_hot.repeat(modulus, 1)], 1)


def class_kernel(features: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Values (left, right) of the quadratic kernel k_l(x, x') = (xᵀ M_l x')².

    Args:
        features: The feature matrix M_l (2p, 2p).
        left: Vectors x (left, 2p).
        right: Vectors x' (right, 2p).
    """
    return (left @ features @ right.T).square()


class ShiftKernelMachine(nn.Module):
    """A ridgeless kernel machine for each answer, f_l(x) = Σᵢ αᵢ k_l(x, xᵢ) over all p² pairs xᵢ: theorem 5.1.

    On pairs of one-hot vectors it is the Fourier multiplication algorithm. On any real vectors it is that algorithm
    plus (|x₁|² + |x₂|² − 2 Σx₁ Σx₂) / (2p + 2), which is the same for each answer: differences of logits are always
    those of the algorithm.

    The α are unique, for the matrix of a kernel has the eigenvalues 2p + 2, ±(p + 2) and ±2; k_l is thus no positive
    kernel. Nor does f depend on the shifts: any permutation matrix in the place of Cˡ gives the same function. What
    the features are worth shows only where pairs are left out, of which the theorem does not speak.

    There are p systems of p² unknowns to solve: it is meant for small p.

    Args:
        modulus: The p.
        operation: Whether to add or to subtract.

    Attributes:
        features: The feature matrix of each answer (p, 2p, 2p).
        coefficients: The α of each answer (p, p²), in the order of `one_hot_pairs`.

    Raises:
        ValueError: If `modulus` is below two, or `operation` has none of its values.
    """

    features: Tensor
    coefficients: Tensor
    centres: Tensor

    def __init__(self, modulus: int, operation: ModularOperation = "sub") -> None:
        super().__init__()
        features = [shift_features(modulus, answer, operation).double() for answer in range(modulus)]
        centres = one_hot_pairs(modulus).double()
        residues = torch.arange(modulus)
        sign = -1 if operation == "sub" else 1
        answers = (residues[:, None] + sign * residues).flatten() % modulus
        coefficients = [
            torch.linalg.solve(class_kernel(matrix, centres, centres), (answers == answer).double())
            for answer, matrix in enumerate(features)
        ]
        self.register_buffer("features", torch.stack(features))
        self.register_buffer("coefficients", torch.stack(coefficients))
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits (batch, p) of pairs x = (x₁, x₂) of vectors (batch, 2p)."""
        vectors = vectors.to(self.centres)
        pairs = zip(self.features, self.coefficients, strict=True)
        return torch.stack([class_kernel(matrix, vectors, self.centres) @ alpha for matrix, alpha in pairs], 1)


def require_modulus(modulus: int) -> None:
    """Check that there are residues to shift.

    Raises:
        ValueError: If `modulus` is below two.
    """
    if modulus < 2:
        raise ValueError(f"`modulus` must be at least 2, got {modulus}.")
