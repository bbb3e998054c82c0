"""Equations: one answer a row, a training set that is gone through again and again."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grok_lightning.data.batches import BatchStream, Equations, EvaluationBatches
from grok_lightning.data.module import TokenDataModule
from grok_lightning.data.split import PARTS


@dataclass(frozen=True)
class EquationKinds:
    """Kinds of equations whose answers are measured apart.

    Attributes:
        names: Names of the kinds.
        of: Gives the number of the kind `(...)` of equations `(..., length)`; −1 for what is of none.
    """

    names: tuple[str, ...]
    of: Callable[[Tensor], Tensor]


class EquationDataModule(TokenDataModule):
    """Equations over a vocabulary, split into training, validation and test parts.

    Args:
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        split_seed: Seed of the split into parts; null follows the seed of the run.

    Attributes:
        parts: Equations of "train", "val" and "test", once set up.
        layout: What stands at each place of an equation, where that is the same for all.

    Raises:
        ValueError: If an argument is out of range.
    """

    parts: dict[str, Equations]
    layout: Sequence[str] = ()

    def __init__(self, batch_size: int | None = 512, split_seed: int | None = None) -> None:
        super().__init__(split_seed)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected a positive number, or null for the whole set")
        self.batch_size = batch_size

    @property
    def kinds(self) -> EquationKinds | None:
        """The kinds of equations whose answers are measured apart, if there are several."""
        return None

    @property
    def role_names(self) -> tuple[str, ...]:
        """Names of the roles that places play, that of the last one last: each its own, by its word or number."""
        words = [*(self.layout or map("place_{}".format, range(self.length)))]
        earlier = [words[:place].count(word) for place, word in enumerate(words)]
        return tuple(f"{word}_{1 + count}" if count else word for word, count in zip(words, earlier, strict=True))

    @property
    def flows(self) -> tuple[tuple[str, str], ...]:
        """Roles whose attention is worth a curve, the one that looks and the one looked at: all that the last sees."""
        *_, last = self.role_names
        return tuple((last, name) for name in self.role_names)

    def roles(self, tokens: Tensor) -> Tensor:
        """Return the number of the role `(..., length)` that each place of equations `(..., length)` plays."""
        return torch.arange(self.length, device=tokens.device).expand_as(tokens)

    @property
    def coordinates(self) -> tuple[str, ...] | None:
        """Second names of the tokens, by their place in the group behind the equations, where there is one."""
        return None

    @abstractmethod
    def make_parts(self) -> dict[str, Equations]:
        """Return the equations of "train", "val" and "test"."""

    def augment(self, chunk: Equations) -> Equations:
        """Return the chunk `(steps, batch)` a network is trained on; families may add equations here."""
        return chunk

    def training_set(self) -> Equations:
        """Return all training equations on the device of the run, with those that `augment` adds."""
        chunk = self.augment(Equations(*(tensor[None] for tensor in self.part("train"))))
        return Equations(chunk.tokens[0], chunk.answers[0])

    def check(self, devices: int) -> None:
        """Refuse what does not divide by the number of devices, before anything trains.

        Raises:
            ValueError: If the batch does not, or a part has fewer equations than there are devices.
        """
        BatchStream(len(self.parts["train"]), self.batch_size, self.seed, gather=lambda rows: rows, world_size=devices)
        super().check(devices)

    def train_dataloader(self) -> BatchStream:
        """Return the endless stream of training batches."""
        part = self.part("train")
        rank, world_size = self.place
        return BatchStream(
            rows=len(part),
            batch_size=self.batch_size,
            seed=self.seed,
            gather=lambda rows: self.augment(part.at(rows)),
            boundary=lambda step: self.boundary(step),
            device=part.tokens.device,
            rank=rank,
            world_size=world_size,
        )

    def predict_dataloader(self) -> list[EvaluationBatches]:
        """Return all parts, in the order train, val, test."""
        return [self.evaluation_batches(name) for name in PARTS]
