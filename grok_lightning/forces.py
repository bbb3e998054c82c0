"""Forces between pair sums of embeddings: clustering and alignment. A reconstruction, not the paper's own formulae.

Musat, "Clustering and alignment: understanding the training dynamics in modular addition" (arXiv 2408.09414), explains
the grids and circles of planar embeddings by two tendencies of pairs of embeddings, and gives formulae for them that
were not at hand. What stands here is a reconstruction that shows the same two structures. A pair p of tokens a, b with
the answer y_p has the sum s_p = e_a + e_b. Sums with the same answer attract each other and others repel, by how near
they are (clustering) and by the lines through the origin that they lie on (alignment). With P pairs, n answers and the
weights w_pq = [y_p = y_q] − 1/n both are slopes of a potential:

    U_c = −(10 / 2P) Σ_pq w_pq κ(|s_p − s_q|)    κ(r) = σ² exp(−r² / 2σ²), or −½ log(σ² + r²)
    U_a = −(10 / 4P) Σ_pq w_pq cos² θ_pq         θ_pq the angle between s_p and s_q

The force of clustering is −∂U_c/∂s_p. That of alignment is −|s_p| ∂U_a/∂s_p: it turns long and short sums alike.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_lightning.networks.arguments import require_choice
from grok_lightning.pair_sums import PairSums, squared_distances

Kernel = Literal["gaussian", "rational"]

STRENGTH = 10.0
"""What both forces are multiplied by, so that strengths and steps of the order of one are of use."""


def attractions(pairs: PairSums, dtype: torch.dtype) -> Tensor:
    """How much each pair attracts each other one (pairs, pairs): 1 − 1/n with the same answer, −1/n otherwise."""
    return (pairs.answers[:, None] == pairs.answers).to(dtype) - 1 / pairs.tokens


def on_tokens(forces: Tensor, pairs: PairSums) -> Tensor:
    """Forces on sums (…, pairs, width) as forces on tokens (…, tokens, width), divided by n.

    A pair of a token with itself counts twice.
    """
    total = forces.new_zeros(*forces.shape[:-2], pairs.tokens, forces.shape[-1])
    return total.index_add(-2, pairs.first, forces).index_add(-2, pairs.second, forces) / pairs.tokens


@dataclass(frozen=True)
class Forces:
    """How pair sums act on each other; a reconstruction, see the module.

    Attributes:
        alignment: Strength of alignment.
        clustering: Strength of clustering.
        range: How far clustering reaches: σ, in the units of the embeddings.
        kernel: How clustering falls off with the distance r: `gaussian`, exp(−r² / 2σ²), or `rational`, 1 / (σ² + r²).

    Raises:
        ValueError: If a strength is negative, the range not positive, one of them not finite, or the kernel neither.
    """

    alignment: float = 1.0
    clustering: float = 1.0
    range: float = 0.5
    kernel: Kernel = "gaussian"

    def __post_init__(self) -> None:
        require_choice("kernel", self.kernel, Kernel)
        for name in ("alignment", "clustering"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be finite and at least 0, got {getattr(self, name)}.")
        if not 0 < self.range < math.inf:
            raise ValueError(f"`range` must be positive and finite, got {self.range}.")

    def on_sums(self, sums: Tensor, weights: Tensor) -> Tensor:
        """The force (…, pairs, width) on each sum, whose weights are (pairs, pairs)."""
        force, geometry = torch.zeros_like(sums), Geometry(sums)
        if self.clustering:
            force = force + self.clustering * geometry.clustering(weights, self.range, self.kernel)
        if self.alignment:
            force = force + self.alignment * geometry.alignment(weights)
        return force

    def potential(self, sums: Tensor, weights: Tensor) -> Tensor:
        """The potential (…) of all sums together."""
        clustering = clustering_potential(sums, weights, self.range, self.kernel)
        return self.clustering * clustering + self.alignment * alignment_potential(sums, weights)


class Geometry:
    """Distances and directions of pair sums, from which the forces follow for any weights.

    Args:
        sums: The sums (…, pairs, width).
    """

    def __init__(self, sums: Tensor) -> None:
        # Forces of clustering do not change; far from the origin their digits would cancel.
        self.sums = sums - sums.mean(-2, keepdim=True)
        self.lines = F.normalize(sums, dim=-1)

    @cached_property
    def squared_distances(self) -> Tensor:
        """|s_p − s_q|² (…, pairs, pairs)."""
        return squared_distances(self.sums, self.sums)

    @cached_property
    def cosines(self) -> Tensor:
        """The cosines of θ_pq (…, pairs, pairs)."""
        return self.lines @ self.lines.mT

    def clustering(self, weights: Tensor, range: float, kernel: Kernel) -> Tensor:
        """−∂U_c/∂s (…, pairs, width) for weights (pairs, pairs)."""
        squares = self.squared_distances
        slopes = (squares * (-0.5 / range**2)).exp_() if kernel == "gaussian" else (squares + range**2).reciprocal_()
        pull = slopes.mul_(weights)
        return STRENGTH / pull.shape[-1] * (pull @ self.sums - pull.sum(-1, keepdim=True) * self.sums)

    def alignment(self, weights: Tensor) -> Tensor:
        """−|s| ∂U_a/∂s (…, pairs, width) for weights (pairs, pairs)."""
        pull = weights * self.cosines
        turn = pull @ self.lines
        return STRENGTH / pull.shape[-1] * (turn - pull.mul_(self.cosines).sum(-1, keepdim=True) * self.lines)


def clustering_potential(sums: Tensor, weights: Tensor, range: float, kernel: Kernel = "gaussian") -> Tensor:
    """U_c (…) of sums (…, pairs, width) with weights (pairs, pairs)."""
    squares = squared_distances(sums, sums)
    if kernel == "gaussian":
        shape = range**2 * (-squares / (2 * range**2)).exp()
    else:
        shape = -0.5 * (range**2 + squares).log()
    return -STRENGTH / (2 * sums.shape[-2]) * (weights * shape).sum((-2, -1))


def clustering_force(sums: Tensor, weights: Tensor, range: float, kernel: Kernel = "gaussian") -> Tensor:
    """−∂U_c/∂s (…, pairs, width): nearby sums with the same answer approach, others recede."""
    return Geometry(sums).clustering(weights, range, kernel)


def alignment_potential(sums: Tensor, weights: Tensor) -> Tensor:
    """U_a (…) of sums (…, pairs, width) with weights (pairs, pairs)."""
    lines = F.normalize(sums, dim=-1)
    return -STRENGTH / (4 * sums.shape[-2]) * (weights * (lines @ lines.mT).square()).sum((-2, -1))


def alignment_force(sums: Tensor, weights: Tensor) -> Tensor:
    """−|s| ∂U_a/∂s (…, pairs, width): sums with the same answer turn towards one line through the origin.

    A sum at the origin has no direction and feels nothing.
    """
    return Geometry(sums).alignment(weights)
