"""Learning in context: sequences of examples of a function that is never named."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from grok_lightning.data.batches import ENDLESS, ChunkStream, Equations, numbered_generator, step_by_step
from grok_lightning.data.linear import Functions
from grok_lightning.data.module import TokenDataModule
from grok_lightning.data.split import HELD_OUT, split_rows
from grok_lightning.data.vocabulary import Vocabulary

SETS = ("known", "new_inputs", "new_functions", "new_both")
"""What is evaluated: known functions on known and on new inputs, then new functions on both."""
EVALUATION_DRAW = ENDLESS
"""Keeps the draws of what is evaluated apart from those of batches, whose numbers lie below."""


class Sequences(NamedTuple):
    """Sequences of examples, each of one function.

    Attributes:
        tokens: Token numbers `(rows, length)`, inputs and values by turns; the last value is not among them.
        answers: All values `(rows, examples)`.
        sets: Number of the set, of `SETS`, that each sequence is of `(rows,)`.
    """

    tokens: Tensor
    answers: Tensor
    sets: Tensor

    def __len__(self) -> int:  # the number of sequences, not of fields
        return len(self.answers)

    def at(self, rows: Tensor) -> "Sequences":
        """Return the sequences of the given rows `(...)`."""
        return Sequences(*(tensor[rows] for tensor in self))

    def to(self, device: torch.device) -> "Sequences":
        """Return the sequences on a device."""
        return Sequences(*(tensor.to(device) for tensor in self))


class InContextDataModule(TokenDataModule):
    """Sequences x₁ y₁ z₁ x₂ y₂ z₂ …, where z = f(x, y) with the same hidden f all along (He et al., arXiv 2406.02550).

    A network has to say every z from what stands before it, and so to infer f. Some functions are *known*: training
    sequences are of these. The inputs (x, y) are split once, for all functions alike: a sequence on new inputs has no
    known one, among its examples neither. Sequences are made by arithmetic on the device when they are needed, inputs
    drawn with replacement; batch k is a pure function of the seed and k, and holds equally many sequences of each known
    function. The four sets of `SETS` are evaluated, on sequences that are drawn once; half of the new functions are for
    validation, half for the test.

    Args:
        examples: Examples of a sequence.
        train_fraction: Share of the inputs that are known (float), or their number (int).
        batch_size: Sequences of one optimiser step over all devices, a multiple of the number of known functions.
        shared_inputs: Whether a batch asks all functions on the same lists of inputs, as He et al. do, or draws inputs
            for each.
        evaluation_functions: Known and new functions in validation and test part at most.
        evaluation_size: Sequences of each set in these parts, rounded up to equally many of each function.
        split_seed: Seed of the choice of functions and inputs; null follows the seed of the run.

    Attributes:
        functions: Known and new functions.
        known_inputs: Inputs that training sees (inputs, variables).
        new_inputs: The others (inputs, variables).
        reads: The places of a sequence at which its values are asked.

    Raises:
        ValueError: If an argument is out of range, or nothing is left to be new.
    """

    functions: Functions
    known_inputs: Tensor
    new_inputs: Tensor

    def __init__(
        self,
        examples: int,
        train_fraction: int | float,
        batch_size: int,
        shared_inputs: bool,
        evaluation_functions: int,
        evaluation_size: int,
        split_seed: int | None,
    ) -> None:
        super().__init__(split_seed)
        sizes = {"examples": examples, "batch_size": batch_size}
        sizes |= {"evaluation_functions": evaluation_functions, "evaluation_size": evaluation_size}
        for key, size in sizes.items():
            if size < 1:
                raise ValueError(f"{key} is {size}; expected a positive number")
        self.examples, self.batch_size, self.shared_inputs = examples, batch_size, shared_inputs
        self.train_fraction = train_fraction
        self.evaluation_functions, self.evaluation_size = evaluation_functions, evaluation_size

    def lay_out(self, elements: Sequence[str], inputs: Tensor, functions: Functions) -> None:
        """Take what a family has found: the vocabulary, the inputs (inputs, variables) and the functions.

        Raises:
            ValueError: If the batch does not hold every known function equally often, or nothing is left to be new.
        """
        known, new = map(len, functions)
        if self.batch_size % known:
            nearest = max(1, round(self.batch_size / known)) * known
            raise ValueError(
                f"batch_size is {self.batch_size}; expected a multiple of the {known} known functions, as {nearest} is"
            )
        if new < 2:
            raise ValueError(f"{new} functions are new; expected one for validation and one for the test at least")
        split = split_rows(len(inputs), self.train_fraction, self.split_seed, val_fraction=1.0)
        if not len(split.val):
            raise ValueError(f"train_fraction is {self.train_fraction}, which leaves no input to be new; lower it")
        self.functions, self.variables = functions, inputs.shape[1]
        self.known_inputs, self.new_inputs = inputs[split.train], inputs[split.val]
        self.vocabulary = Vocabulary(elements)
        self.length = self.examples * (self.variables + 1) - 1
        self.reads = slice(self.variables - 1, None, self.variables + 1)

    @abstractmethod
    def values(self, functions: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (…, functions, lists, examples) of functions on lists of inputs.

        Args:
            functions: Functions (functions, …).
            inputs: Inputs (…, functions or 1, lists, examples, variables).
        """

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the elements, each of which can be an answer."""
        return tuple(self.vocabulary)

    def sequences(self, functions: Tensor, inputs: Tensor) -> Equations:
        """Return sequences of every function, function after function.

        Args:
            functions: Functions (functions, …).
            inputs: Inputs (…, functions or 1, lists, examples, variables); those of one list are for all functions.

        Returns:
            Tokens (…, functions · lists, length) and answers (…, functions · lists, examples).
        """
        values = self.values(functions, inputs)
        inputs = inputs.expand(*values.shape, self.variables)
        tokens = torch.cat([inputs, values[..., None]], dim=-1).flatten(-2)[..., :-1]
        return Equations(tokens.flatten(-3, -2), values.flatten(-3, -2))

    def inputs_of(self, tokens: Tensor) -> Tensor:
        """Return the inputs (…, examples, variables) in sequences of tokens (…, length)."""
        whole = torch.cat([tokens, tokens[..., :1]], dim=-1)  # the last value is not there
        return whole.view(*whole.shape[:-1], self.examples, self.variables + 1)[..., :-1]

    def make_parts(self) -> dict[str, Sequences]:
        """Return the sequences of validation and test part, set after set."""
        half = (len(self.functions.new) + 1) // 2
        new = dict(zip(HELD_OUT, (self.functions.new[:half], self.functions.new[half:]), strict=True))
        return {part: self._evaluated(number, new[part]) for number, part in enumerate(HELD_OUT)}

    def check(self, devices: int) -> None:
        """Refuse a batch that does not divide by the number of devices, before anything trains.

        Raises:
            ValueError: If it does not, or a part has fewer sequences than there are devices.
        """
        if self.batch_size % devices:
            raise ValueError(f"batch_size is {self.batch_size}; expected a multiple of the {devices} devices")
        super().check(devices)

    def sizes(self) -> dict[str, int]:
        """Return how many functions and inputs are known and new, and the number of sequences of each part."""
        known, new = map(len, self.functions)
        inputs = {"known_inputs": len(self.known_inputs), "new_inputs": len(self.new_inputs)}
        return {"known_functions": known, "new_functions": new, **inputs, **super().sizes()}

    def train_dataloader(self) -> "ExampleStream":
        """Return the endless stream of training batches."""
        known = len(self.functions.known)
        shape = (1 if self.shared_inputs else known, self.batch_size // known, self.examples)
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        functions, inputs = self.functions.known.to(device), self.known_inputs.to(device)
        rank, world_size = self.place

        def gather(rows: Tensor) -> Equations:
            chunk = self.sequences(functions, inputs[rows.to(device, non_blocking=True)])
            return Equations(*(tensor[:, rank::world_size] for tensor in chunk))

        return ExampleStream(len(inputs), shape, self.batch_size, self.seed, gather, lambda step: self.boundary(step))

    def _evaluated(self, number: int, new: Tensor) -> Sequences:
        """Return the four sets of the part of this number."""
        generator = numbered_generator(self.split_seed, EVALUATION_DRAW + number)
        known = self.functions.known[torch.randperm(len(self.functions.known), generator=generator, device="cpu")]
        drawn = [
            self._draw(functions[: self.evaluation_functions], inputs, generator)
            for functions in (known, new)
            for inputs in (self.known_inputs, self.new_inputs)
        ]
        sets = [torch.full((len(its.answers),), place, device="cpu") for place, its in enumerate(drawn)]
        tokens, answers = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
        return Sequences(tokens, answers, torch.cat(sets))

    def _draw(self, functions: Tensor, inputs: Tensor, generator: torch.Generator) -> Equations:
        lists = -(-self.evaluation_size // len(functions))
        shape = (len(functions), lists, self.examples)
        return self.sequences(functions, inputs[torch.randint(len(inputs), shape, generator=generator, device="cpu")])


def require_sequences(datamodule: Any, asker: str) -> None:
    """Refuse data that are no sequences of examples.

    Args:
        datamodule: The data.
        asker: Who needs them.

    Raises:
        ValueError: If they are not.
    """
    if not isinstance(datamodule, InContextDataModule):
        expected = "sequences of examples, as of LinearInContextDataModule"
        raise ValueError(f"{asker} is for {expected}, not for {type(datamodule).__name__}")


class ExampleStream(ChunkStream):
    """Endless stream of batches of sequences whose inputs are drawn anew for each.

    Args:
        inputs: Number of inputs to draw from, with replacement.
        shape: How many are drawn for a batch, (functions or 1, lists, examples).
        batch_size: Sequences of one optimiser step over all devices.
        seed: Seed of the draws.
        gather: Turns numbers of inputs (steps, functions or 1, lists, examples) into a chunk.
        boundary: Turns a step into the next step after it at which a chunk must end.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int, int],
        batch_size: int,
        seed: int,
        gather: Callable[[Tensor], Equations],
        boundary: Callable[[int], int] = step_by_step,
    ) -> None:
        super().__init__(batch_size, boundary)
        self.inputs, self.shape, self.seed, self.gather = inputs, shape, seed, gather

    def chunk(self, first: int, steps: int) -> Equations:
        """Return the batches `first` to `first + steps - 1`, `(steps, batch on this device)`."""
        return self.gather(torch.stack([self._rows(number) for number in range(first, first + steps)]))

    def _rows(self, number: int) -> Tensor:
        generator = numbered_generator(self.seed, number)
        return torch.randint(self.inputs, self.shape, generator=generator, device="cpu")
