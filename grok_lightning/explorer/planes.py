"""Vectors in the plane: as they are where they have two dimensions, else in the plane in which they vary most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grok_lightning.spectra import principal_components


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


def _turned(plane: Tensor, target: Tensor) -> Tensor:
    """Positions (tokens, 2) turned and mirrored to be near others: the orthogonal Procrustes problem."""
    left, _, right = torch.linalg.svd(plane.T @ target)
    turned: Tensor = plane @ (left @ right)
    return turned
