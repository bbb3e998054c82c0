"""Circles and lattices: what the embeddings of a cyclic group look like.

Musat, "Clustering and alignment: understanding the training dynamics in modular addition" (arXiv 2408.09414), finds two
structures of planar embeddings, circles and grids. How to tell them apart is our choice. All measures are for vectors
of any width; where there are several copies of an embedding, each is measured for itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from grok_lightning.pair_sums import PairSums
from grok_lightning.spectra import centred, fourier_power

CLASSES = ("circle", "grid", "line", "other")
SLICE = 512
"""Pairs whose distances from all others are held at a time."""


@dataclass(frozen=True)
class StructureThresholds:
    """From where on an embedding is a circle, a grid or a line.

    Attributes:
        purity: Least purity of a circle.
        radius_spread: Largest radius spread of a circle: a single frequency also draws ellipses, the flattest a line.
        lattice: Least share of tokens that the best generator of a grid or line explains.
        second_lattice: The same for the second best.
        flatness: Largest flatness of a line; a lattice above it is a grid.
        tolerance: How far a step of a lattice may be from the common one, in units of the spacing of as many elements
            on a disc of the same root mean square radius.

    Raises:
        ValueError: If one is not between 0 and 1.
    """

    purity: float = 0.9
    radius_spread: float = 0.3
    lattice: float = 0.6
    second_lattice: float = 0.5
    flatness: float = 0.1
    tolerance: float = 1 / 3

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0 < value <= 1:
                raise ValueError(f"`{each.name}` must be above 0 and at most 1, got {value}.")


def measure_structure(vectors: Tensor, tolerance: float) -> dict[str, Tensor]:
    """Measure the shape of embeddings of a cyclic group.

    - `purity`: share of the Fourier power that the strongest frequency has, 1 for a circle; `frequency`: which it is;
    - `radius_spread`: standard deviation of the distances from the centre, over their mean, 0 for a circle;
    - `lattice`: share of the elements a with the same step e_{a+d} − e_a, for the best generator d up to half the
      order, `generator`; `second_lattice` and `second_generator`: the next best;
    - `flatness`: second over first singular value, 0 where all lie on one line;
    - `norm`: mean length of the vectors.

    Args:
        vectors: The vectors (copies, order, width), in the order of the group.
        tolerance: See `StructureThresholds`.

    Returns:
        Each measure (copies,).

    Raises:
        ValueError: If there are fewer than four elements, or a vector is not finite.
    """
    if vectors.ndim != 3 or vectors.shape[1] < 4:
        raise ValueError(f"vectors has shape {tuple(vectors.shape)}: expected (copies, four or more elements, width)")
    vectors = vectors.detach().double()
    powers = torch.stack([fourier_power(each) for each in vectors])
    purity, frequency = powers.max(-1)
    deviations = centred(vectors)
    radii = deviations.norm(dim=-1)
    shares, generators = common_steps(vectors, tolerance).topk(2)
    values = torch.linalg.svdvals(deviations)
    second = values[:, 1] if values.shape[1] > 1 else torch.zeros_like(values[:, 0])
    return {
        "purity": purity,
        "frequency": frequency,
        "radius_spread": _ratio(radii.std(-1, correction=0), radii.mean(-1)),
        "lattice": shares[:, 0],
        "second_lattice": shares[:, 1],
        "generator": generators[:, 0] + 1,
        "second_generator": generators[:, 1] + 1,
        "flatness": _ratio(second, values[:, 0]),
        "norm": vectors.norm(dim=-1).mean(-1),
    }


def common_steps(vectors: Tensor, tolerance: float) -> Tensor:
    """The share of elements a that take the same step e_{a+d} − e_a, for each generator d = 1 … order // 2.

    The common step is the one that most others are near to, within the tolerance. It is longer than that itself:
    elements that lie on one another are no lattice. Generators d and −d have the same share.

    Args:
        vectors: The vectors (copies, order, width), in the order of the group.
        tolerance: See `StructureThresholds`.

    Returns:
        The shares (copies, order // 2); 0 where all vectors are equal.
    """
    order = vectors.shape[1]
    radius = centred(vectors).square().sum(-1).mean(-1).sqrt()
    reach = (tolerance * math.sqrt(2 * math.pi / order) * radius)[:, None]
    shares = []
    for generator in range(1, order // 2 + 1):
        steps = vectors.roll(-generator, dims=1) - vectors
        near = (torch.cdist(steps, steps) < reach[..., None]).double().mean(-1)
        shares.append(near.where(steps.norm(dim=-1) > reach, 0).amax(-1))
    return torch.stack(shares, dim=-1)


def neighbour_share(vectors: Tensor, pairs: PairSums) -> Tensor:
    """The share of pairs whose nearest other pair sum has the same answer (copies,).

    Args:
        vectors: The vectors of the tokens (copies, tokens, width).
        pairs: The pairs.
    """
    vectors = vectors.detach()
    nearest = torch.cat([pairs.apart_from(some, vectors).argmin(-1) for some in pairs.slices(SLICE)], dim=-1)
    return (pairs.answers[nearest] == pairs.answers).double().mean(-1)


def classify(measures: Mapping[str, Tensor], thresholds: StructureThresholds) -> list[str]:
    """Say of each copy whether it is a `circle`, a `grid`, a `line` or `other`.

    A line is a lattice in one dimension, such as clustering alone makes more often than a grid.

    Args:
        measures: What `measure_structure` returns.
        thresholds: From where on.
    """
    rounding = 1e-9  # a share of 3/5 is at the threshold 0.6
    circle = measures["purity"] > thresholds.purity - rounding
    circle &= measures["radius_spread"] < thresholds.radius_spread + rounding
    lattice = (measures["lattice"] > thresholds.lattice - rounding) & (
        measures["second_lattice"] > thresholds.second_lattice - rounding
    )
    line = lattice & (measures["flatness"] <= thresholds.flatness)
    numbers = torch.where(circle, 0, torch.where(line, 2, torch.where(lattice, 1, 3)))
    return [CLASSES[number] for number in numbers.tolist()]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))
