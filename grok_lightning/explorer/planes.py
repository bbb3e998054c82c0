"""Vectors in the plane: as they are where they have two dimensions, else in the plane in which they vary most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grok_lightning.networks import Network
from grok_lightning.spectra import principal_components

RESOLUTION = 72
"""Places of the map of classes along each side."""


def axes_of(vectors: Sequence[Tensor]) -> tuple[str, str]:
    """The names of the axes of the plane of such vectors (copies, tokens, width)."""
    if vectors[0].shape[-1] <= 2:
        return "dimension 1", "dimension 2"
    return "principal plane, 1", "principal plane, 2"


def planes_of(vectors: Sequence[Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Bring vectors of every frame into the plane.

    In the last frame the axes are the principal components. Those of an earlier one are turned, and mirrored where that
    helps, so that its tokens are as near as can be to where they are in the next: nothing jumps between frames.

    Args:
        vectors: The vectors of each frame (copies, tokens, width).

    Returns:
        The positions (frames, copies, tokens, 2), and the share of the variance that the plane shows (frames, copies),
        None where it is all.
    """
    width = vectors[0].shape[-1]
    if width <= 2:
        stacked = torch.nn.functional.pad(torch.stack(list(vectors)), (0, 2 - width))
        return stacked.numpy().astype(np.float32), None
    frames: list[Tensor] = []
    shares: list[Any] = []
    for frame in reversed(vectors):
        planes, here = zip(*(principal_components(each, 2) for each in frame), strict=True)
        following = frames[-1] if frames else torch.stack(planes)
        frames.append(torch.stack([_turned(plane, to) for plane, to in zip(planes, following, strict=True)]))
        shares.append([float(share.sum()) for share in here])
    positions = torch.stack(frames[::-1]).numpy().astype(np.float32)
    return positions, np.array(shares[::-1], dtype=np.float32)


@torch.no_grad()
def class_map(network: Network, sums: Tensor, shown: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a network of pairs answers at each place of the plane.

    Args:
        network: The network, with embeddings in the plane that add up.
        sums: All pair sums (pairs, 2).
        shown: The tokens that answers can be, in the order of their numbers on the page.

    Returns:
        The class of each place (72, 72) by its number on the page, rows from below, and half the width of the square,
        which holds all sums.
    """
    half = 1.1 * float(sums.abs().max()) or 1.0
    line = torch.linspace(-half, half, RESOLUTION)
    up, across = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([across, up], dim=-1).flatten(0, 1)
    embedded = torch.stack([points, torch.zeros_like(points)], dim=1).to(next(network.parameters()))
    classes = network.answer(embedded)[:, list(shown)].argmax(-1).view(RESOLUTION, RESOLUTION)
    return classes.cpu().numpy().astype(np.uint16), np.array(half, dtype=np.float32)


def _turned(plane: Tensor, target: Tensor) -> Tensor:
    """Positions (tokens, 2) turned and mirrored to be near others: the orthogonal Procrustes problem."""
    left, _, right = torch.linalg.svd(plane.T @ target)
    turned: Tensor = plane @ (left @ right)
    return turned
