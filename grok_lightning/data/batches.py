"""Batches straight from tensors on the device: no DataLoader, no collation, no copy of a row."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

ENDLESS = 2**40
"""Length of the endless epoch: exact as a float, never reached."""

EVALUATION_TOKENS = 2**18
"""Tokens of one evaluation batch; smaller parts are evaluated at once."""

MAX_CHUNK_STEPS, MAX_CHUNK_ROWS = 64, 2**20
"""Largest chunk (of more than one batch), so that a distant evaluation does not gather its batches all at once."""


class Equations(NamedTuple):
    """Equations as token numbers, with the token number of each answer.

    Attributes:
        tokens: Token numbers `(..., length)`.
        answers: Token numbers of the answers `(...)`.
    """

    tokens: Tensor
    answers: Tensor

    def __len__(self) -> int:  # the number of equations, not of fields
        return len(self.answers)

    def at(self, rows: Tensor) -> "Equations":
        """Return the equations of the given rows `(...)`."""
        return Equations(self.tokens[rows], self.answers[rows])

    def to(self, device: torch.device) -> "Equations":
        """Return the equations on a device."""
        return Equations(self.tokens.to(device), self.answers.to(device))


class Part(Protocol):
    """Rows of tokens with whatever belongs to them, such as `Equations`."""

    @property
    def tokens(self) -> Tensor:
        """Token numbers `(rows, length)`."""

    def __len__(self) -> int: ...

    def at(self, rows: Tensor) -> "Part":
        """Return the given rows `(...)`."""

    def to(self, device: torch.device) -> "Part":
        """Return all rows on a device."""


class EvaluationBatches:
    """A part in as few batches as fit in memory; to Lightning one loader, where a list would be many.

    Args:
        part: The equations, or sequences, of the part.
        rank: Number of this process; it takes every `world_size`-th row.
        world_size: Number of processes.
    """

    def __init__(self, part: Part, rank: int = 0, world_size: int = 1) -> None:
        rows = torch.arange(len(part), device=part.tokens.device)[rank::world_size]
        largest = max(1, EVALUATION_TOKENS // part.tokens.shape[-1])
        self.batches = [part.at(some) for some in torch.split(rows, largest) if len(some)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def step_by_step(step: int) -> int:
    """Return the boundary that cuts every chunk after one batch."""
    return step + 1


class ChunkStream:
    """Endless stream of chunks of batches; families say what batch k is, a pure function of their seed and k.

    A chunk holds one or more batches `(steps, batch)`; it ends at the next boundary (evaluation, checkpoint, last
    step), so that a task can take several optimiser steps in one `training_step` without overshooting any of them.

    Args:
        batch_size: Rows of one optimiser step over all devices.
        boundary: Turns a step into the next step after it at which a chunk must end.
    """

    def __init__(self, batch_size: int, boundary: Callable[[int], int] = step_by_step) -> None:
        self.batch_size = batch_size
        self.boundary = boundary
        self.position = 0

    def chunk(self, first: int, steps: int) -> Any:
        """Return the batches `first` to `first + steps - 1`, `(steps, batch on this device)`."""
        raise NotImplementedError

    def __len__(self) -> int:
        return ENDLESS

    def __iter__(self) -> Iterator[Any]:
        largest = min(MAX_CHUNK_STEPS, MAX_CHUNK_ROWS // self.batch_size)
        while True:
            steps = max(1, min(self.boundary(self.position) - self.position, largest))
            chunk = self.chunk(self.position, steps)
            self.position += steps
            yield chunk

    def state_dict(self) -> dict[str, int]:
        """Return the number of batches handed out."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches handed out before."""
        self.position = state["position"]


class BatchStream(ChunkStream):
    """Endless stream of batches of the rows of a training set.

    The rows are shuffled anew each time all have been seen, and the shuffles are laid end to end, so every batch has
    the full size and every row is seen equally often.

    Args:
        rows: Number of training rows.
        batch_size: Rows of one optimiser step over all devices; None, or more than there are, means all rows.
        seed: Seed of the shuffles.
        gather: Turns row numbers `(steps, batch)` on the device into a chunk.
        boundary: Turns a step into the next step after it at which a chunk must end.
        device: Where row numbers go.
        rank: Number of this process; it takes every `world_size`-th row of each batch.
        world_size: Number of processes.

    Raises:
        ValueError: If there are no rows, or the batch does not divide by the number of processes.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int | None,
        seed: int,
        gather: Callable[[Tensor], Any],
        boundary: Callable[[int], int] = step_by_step,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if rows < 1:
            raise ValueError("the training set is empty: give a larger train fraction or size")
        super().__init__(min(batch_size or rows, rows), boundary)
        self.rows = rows
        if self.batch_size % world_size:
            raise ValueError(
                f"a batch of {self.batch_size} equations does not divide by {world_size} devices: "
                f"give a batch_size that is a multiple of {world_size} and at most {rows}"
            )
        self.seed = seed
        self.gather = gather
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self._shuffle = lru_cache(maxsize=4)(self._draw_shuffle)

    def chunk(self, first: int, steps: int) -> Any:
        """Return the batches `first` to `first + steps - 1`, `(steps, batch on this device)`."""
        return self.gather(self.batch_rows(first, steps))

    def batch_rows(self, first: int, steps: int) -> Tensor:
        """Return the row numbers `(steps, batch on this device)` of batches `first` to `first + steps - 1`."""
        start, stop = first * self.batch_size, (first + steps) * self.batch_size
        shuffles = range(start // self.rows, (stop - 1) // self.rows + 1)
        rows = torch.cat([self._shuffle(number) for number in shuffles])
        rows = rows[start - shuffles.start * self.rows :][: stop - start]
        return rows.view(steps, self.batch_size)[:, self.rank :: self.world_size]

    def _draw_shuffle(self, number: int) -> Tensor:
        shuffle = torch.randperm(self.rows, generator=numbered_generator(self.seed, number), device="cpu")
        return shuffle.to(self.device, non_blocking=True)


def numbered_generator(*numbers: int) -> torch.Generator:
    """Return a generator for draws that a seed and further numbers decide.

    It draws on the CPU, so that the draws are the same for every device.
    """
    entropy = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator("cpu").manual_seed(int(entropy[0] >> np.uint64(1)))
