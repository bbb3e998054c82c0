"""What every data module of equations does: parts on the device, batches, one large batch for evaluation."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from grok_lightning.data.batches import BatchStream, Equations, EvaluationBatches, step_by_step
from grok_lightning.data.split import LARGEST_SPLIT_SEED, PARTS
from grok_lightning.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class EquationKinds:
    """Kinds of equations that are told apart by one token.

    Attributes:
        names: Names of the kinds.
        position: Place of that token in an equation.
        first: The token of the first kind; those of the others follow.
    """

    names: tuple[str, ...]
    position: int
    first: int

    def of(self, tokens: Tensor) -> Tensor:
        """Return the number of the kind `(...)` of equations `(..., length)`."""
        return tokens[..., self.position] - self.first


class EquationDataModule(LightningDataModule):
    """Equations over a vocabulary, split into training, validation and test parts.

    A family says what its parts are in `make_parts`; vocabulary and sequence length are known after construction, so
    that networks are built from them. Parts live on the device of the run.

    Args:
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        split_seed: Seed of the split into parts; null follows the seed of the run.

    Attributes:
        vocabulary: Tokens by name.
        length: Tokens of an equation.
        seed: Seed of the run, which splits and batches follow.
        boundary: Where chunks of batches are cut, see `BatchStream`.
        parts: Equations of "train", "val" and "test", once set up.
    """

    vocabulary: Vocabulary
    length: int

    def __init__(self, batch_size: int | None = 512, split_seed: int | None = None) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected a positive number, or null for the whole set")
        if split_seed is not None and not 0 <= split_seed <= LARGEST_SPLIT_SEED:
            raise ValueError(f"split_seed is {split_seed}; expected a number from 0 to {LARGEST_SPLIT_SEED}, or null")
        self.batch_size = batch_size
        self.seed = torch.initial_seed() % 2**63
        self.split_seed = self.seed if split_seed is None else split_seed
        self.boundary: Callable[[int], int] = step_by_step
        self.parts: dict[str, Equations] = {}

    @property
    @abstractmethod
    def answer_names(self) -> tuple[str, ...]:
        """Names of the tokens that can be answers."""

    @property
    def residues(self) -> range | None:
        """The tokens 0 … n−1 where these are the residues and can all be answers, else None."""
        tokens = range(len(self.answer_names))
        names = tuple(map(str, tokens))
        return tokens if self.answer_names == names == tuple(self.vocabulary)[: len(names)] else None

    @property
    def kinds(self) -> EquationKinds | None:
        """The kinds of equations whose answers are measured apart, if there are several."""
        return None

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

    def setup(self, stage: str) -> None:
        """Make the parts, once."""
        if not self.parts:
            self.parts = self.make_parts()

    def check(self, devices: int) -> None:
        """Refuse what does not divide by the number of devices, before anything trains.

        Raises:
            ValueError: If the batch does not, or a part has fewer equations than there are devices.
        """
        BatchStream(len(self.parts["train"]), self.batch_size, self.seed, gather=lambda rows: rows, world_size=devices)
        for name, part in self.parts.items():
            if 0 < len(part) < devices:
                raise ValueError(f"the {name} part has {len(part)} equations for {devices} devices: give more, or none")

    def part(self, name: str) -> Equations:
        """Return a part on the device of the run."""
        if self.trainer is not None:
            self.parts[name] = self.parts[name].to(self.trainer.strategy.root_device)
        return self.parts[name]

    def sizes(self) -> dict[str, int]:
        """Return the number of equations of each part."""
        return {name: len(part) for name, part in self.parts.items()}

    def train_dataloader(self) -> BatchStream:
        """Return the endless stream of training batches."""
        part = self.part("train")
        rank, world_size = self._place()
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

    def val_dataloader(self) -> EvaluationBatches:
        """Return the validation part in as few batches as possible."""
        return self._evaluation_batches("val")

    def test_dataloader(self) -> EvaluationBatches:
        """Return the test part in as few batches as possible."""
        return self._evaluation_batches("test")

    def predict_dataloader(self) -> list[EvaluationBatches]:
        """Return all parts, in the order train, val, test."""
        return [self._evaluation_batches(name) for name in PARTS]

    def equation_names(self, tokens: Tensor) -> list[str]:
        """Return equations `(rows, length)` as text."""
        names = list(self.vocabulary)
        return [" ".join(names[token] for token in row) for row in tokens.tolist()]

    def _evaluation_batches(self, name: str) -> EvaluationBatches:
        return EvaluationBatches(self.part(name), *self._place())

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def check_layout(layout: str, known: Any) -> None:
    """Refuse a layout that is none of a Literal's.

    Raises:
        ValueError: If it is not.
    """
    layouts = get_args(known)
    if layout not in layouts:
        nearest = get_close_matches(layout, layouts, n=1, cutoff=0)[0]
        raise ValueError(f"layout is {layout!r}; expected one of {list(layouts)}; did you mean {nearest!r}?")
