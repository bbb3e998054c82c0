"""What the page shows of a run, as plain data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grok_lightning.forces import Kernel
from grok_lightning.networks.arguments import require_choice

FORCES = ("alignment", "clustering", "range", "kernel", "decay", "step_size")
"""What moves particles, as `Forces` and the optimiser name it."""


@dataclass(frozen=True)
class Pairs:
    """Unordered pairs of tokens, whose sums are drawn.

    Attributes:
        first: One token of each pair, by its place among the names.
        second: The other, or the same again.
        label: The right answer to each pair, from 0 on; that of a token is its place among the names.
        held_out: Whether training does not see the pair.
    """

    first: Sequence[int]
    second: Sequence[int]
    label: Sequence[int]
    held_out: Sequence[bool]


@dataclass(frozen=True)
class ClassMap:
    """The class a network predicts at each place of the plane of pair sums.

    Attributes:
        classes: Over the square from −h to h (frames, R, R), uint8 or uint16, numbered as labels are. A row is one
            second coordinate, from −h on; a column is one first coordinate.
        half_width: The h of each frame (frames,).
    """

    classes: NDArray[Any]
    half_width: NDArray[Any]


@dataclass(frozen=True)
class Exploration:
    """A run, ready to be shown.

    Attributes:
        title: What the page is of.
        names: The tokens drawn.
        steps: The steps of the frames, rising, at least one.
        positions: Where the tokens lie in the plane (frames, copies, tokens, 2). Copies are the simulations in one
            run, nearly always one.
        axes: The names of the two axes.
        subtitle: A line below the title.
        are_residues: Whether the tokens are the residues 0 … n−1 in this order.
        is_addition: Whether they are, and the run adds them modulo n, as the simulation does.
        plane_share: How much of the variance the plane shows (frames, copies); None where the plane is everything.
        spectrum: The share of the Fourier power at the frequencies 1 … m // 2 (frames, copies, m // 2) of the m tokens,
            at most n, that are in a cycle.
        pairs: Which pairs of tokens have an answer, if any.
        class_map: What the network predicts over the plane of their sums, if it can be drawn.
        series: Steps and values of everything the run logged, by name.
        results: What the run found.
        forces: What moved the particles of the run, by the names in FORCES; None where it had none.
        notes: Sentences to show above the plots.

    Raises:
        ValueError: If sizes do not fit together, or forces are not what they should be.
    """

    title: str
    names: Sequence[str]
    steps: Sequence[int]
    positions: NDArray[Any]
    axes: tuple[str, str]
    subtitle: str = ""
    are_residues: bool = False
    is_addition: bool = False
    plane_share: NDArray[Any] | None = None
    spectrum: NDArray[Any] | None = None
    pairs: Pairs | None = None
    class_map: ClassMap | None = None
    series: Mapping[str, tuple[Sequence[int], Sequence[float]]] = field(default_factory=dict)
    results: Mapping[str, str | int | float | None] = field(default_factory=dict)
    forces: Mapping[str, float | str] | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        frames, tokens = len(self.steps), len(self.names)
        if not frames or not tokens or np.any(np.diff(self.steps) <= 0) or min(self.steps) < 0:
            raise ValueError(f"{frames} steps, {tokens} names: expected at least one of each, and steps that rise")
        copies = np.shape(self.positions)[1] if np.ndim(self.positions) == 4 else 1
        _expect("positions", self.positions, (frames, copies, tokens, 2))
        if self.plane_share is not None:
            _expect("plane_share", self.plane_share, (frames, copies))
        if self.spectrum is not None:
            _expect("spectrum", self.spectrum, (frames, copies, min(np.shape(self.spectrum)[-1], tokens // 2)))
        if self.pairs is not None:
            _check_pairs(self.pairs, tokens)
        if self.class_map is not None:
            _check_map(self.class_map, frames, copies)
        if self.forces is not None:
            _check_forces(self.forces)
        for name, (steps, values) in self.series.items():
            _expect(f"series {name!r}", np.asarray(values), (len(steps),))


def _expect(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if np.shape(array) != shape:
        raise ValueError(f"{name} has shape {np.shape(array)}, expected {shape}")


def _check_pairs(pairs: Pairs, tokens: int) -> None:
    lengths = {len(pairs.first), len(pairs.second), len(pairs.label), len(pairs.held_out)}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"pairs with lists of lengths {sorted(lengths)}: expected the same number of each, not none")
    if not all(0 <= token < tokens for token in (*pairs.first, *pairs.second)):
        raise ValueError(f"pairs name tokens beyond 0 … {tokens - 1}")
    if min(pairs.label) < 0:
        raise ValueError(f"pairs have the label {min(pairs.label)}: expected 0, 1, 2, …")


def _check_map(class_map: ClassMap, frames: int, copies: int) -> None:
    if copies != 1:
        raise ValueError(f"class_map is of a single network, expected one copy, got {copies}")
    resolution = np.shape(class_map.classes)[-1]
    _expect("class_map.classes", class_map.classes, (frames, resolution, resolution))
    _expect("class_map.half_width", class_map.half_width, (frames,))


def _check_forces(forces: Mapping[str, float | str]) -> None:
    if set(forces) != set(FORCES):
        raise ValueError(f"forces are {sorted(forces)}, expected {sorted(FORCES)}")
    require_choice("forces: kernel", str(forces["kernel"]), Kernel)
    for name, value in forces.items():
        if name != "kernel" and not (isinstance(value, float | int) and math.isfinite(value)):
            raise ValueError(f"forces: {name} is {value!r}, expected a finite number")
