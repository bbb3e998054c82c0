"""What every data module of token sequences does: parts on the device, batches, large batches for evaluation."""

from abc import abstractmethod
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, get_args

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from grok_lightning.data.batches import ChunkStream, EvaluationBatches, step_by_step
from grok_lightning.data.split import LARGEST_SPLIT_SEED
from grok_lightning.data.vocabulary import Vocabulary


class TokenDataModule(LightningDataModule):
    """Sequences over a vocabulary, in parts that a network is trained on, or measured on.

    A family says what its parts are in `make_parts`; vocabulary and sequence length are known after construction, so
    that networks are built from them. Parts live on the device of the run.

    Args:
        split_seed: Seed of the split into parts; null follows the seed of the run.

    Attributes:
        vocabulary: Tokens by name.
        length: Tokens of a sequence.
        seed: Seed of the run, which splits and batches follow.
        boundary: Where chunks of batches are cut, see `ChunkStream`.
        parts: The parts by name, "val" and "test" among them, once set up.

    Raises:
        ValueError: If the seed is out of range.
    """

    vocabulary: Vocabulary
    length: int

    def __init__(self, split_seed: int | None = None) -> None:
        super().__init__()
        if split_seed is not None and not 0 <= split_seed <= LARGEST_SPLIT_SEED:
            raise ValueError(f"split_seed is {split_seed}; expected a number from 0 to {LARGEST_SPLIT_SEED}, or null")
        self.seed = torch.initial_seed() % 2**63
        self.split_seed = self.seed if split_seed is None else split_seed
        self.boundary: Callable[[int], int] = step_by_step
        self.parts: dict[str, Any] = {}

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
    def number_tokens(self) -> range | None:
        """The tokens of consecutive numbers that sequences are made of, in their order; None where there are none."""
        return self.residues

    @abstractmethod
    def make_parts(self) -> dict[str, Any]:
        """Return the parts by name."""

    @abstractmethod
    def train_dataloader(self) -> ChunkStream:
        """Return the endless stream of training batches."""

    def setup(self, stage: str) -> None:
        """Make the parts, once."""
        if not self.parts:
            self.parts = self.make_parts()

    def check(self, devices: int) -> None:
        """Refuse parts that some devices would have nothing of, before anything trains.

        Raises:
            ValueError: If a part has fewer rows than there are devices.
        """
        for name, part in self.parts.items():
            if 0 < len(part) < devices:
                raise ValueError(f"the {name} part has {len(part)} rows for {devices} devices: give more, or none")

    def part(self, name: str) -> Any:
        """Return a part on the device of the run."""
        if self.trainer is not None:
            self.parts[name] = self.parts[name].to(self.trainer.strategy.root_device)
        return self.parts[name]

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each part."""
        return {name: len(part) for name, part in self.parts.items()}

    def val_dataloader(self) -> EvaluationBatches:
        """Return the validation part in as few batches as possible."""
        return self.evaluation_batches("val")

    def test_dataloader(self) -> EvaluationBatches:
        """Return the test part in as few batches as possible."""
        return self.evaluation_batches("test")

    def evaluation_batches(self, name: str) -> EvaluationBatches:
        """Return a part in as few batches as possible, of which this process takes its share."""
        return EvaluationBatches(self.part(name), *self.place)

    @property
    def place(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def sequence_names(self, tokens: Tensor) -> list[str]:
        """Return sequences `(rows, length)` as text."""
        names = list(self.vocabulary)
        return [" ".join(names[token] for token in row) for row in tokens.tolist()]


def check_choice(key: str, value: str, known: Any) -> None:
    """Refuse a value that is none of a Literal's.

    Raises:
        ValueError: If it is not.
    """
    choices = get_args(known)
    if value not in choices:
        nearest = get_close_matches(str(value), choices, n=1, cutoff=0)[0]
        raise ValueError(f"{key} is {value!r}; expected one of {list(choices)}; did you mean {nearest!r}?")
