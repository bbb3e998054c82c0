"""Rotary positions: queries and keys are turned by angles that grow with their place."""

import torch
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_positive

BASE = 10_000.0
"""The slowest pair of components turns about this many times slower than the fastest."""


class Rotary(nn.Module):
    """Turns pairs of neighbouring components, so that inner products know the distance of two places alone.

    After Su et al., "RoFormer" (arXiv 2104.09864), section 3.2: at place m the components 2i and 2i + 1 are turned by
    the angle m · 10000^(−2i / width). There is nothing to learn and nothing to save, so that weights move between
    lengths.

    Args:
        length: How many places there are.
        width: Width of a query or key, even.

    Raises:
        ValueError: If a size is below one, or the width odd.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        require_positive(length=length, width=width)
        if width % 2:
            raise ValueError(f"Rotary positions turn pairs of components: the head width must be even, got {width}.")
        speeds = BASE ** (-torch.arange(0, width, 2) / width)
        angles = torch.arange(length)[:, None] * speeds
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (…, length, width), turned by their places."""
        even, odd = vectors[..., ::2], vectors[..., 1::2]
        turned = torch.stack(
            [even * self.cosines - odd * self.sines, even * self.sines + odd * self.cosines], dim=-1
        ).flatten(-2)
        return turned.to(vectors.dtype)
