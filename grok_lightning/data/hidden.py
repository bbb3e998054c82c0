"""What is hidden in sequences of examples: linear functions, or operations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from grok_lightning.data.arithmetic import tables_on_common_elements
from grok_lightning.data.in_context import InContextDataModule
from grok_lightning.data.linear import Functions, Selection, choose_functions
from grok_lightning.operations import is_prime


class LinearInContextDataModule(InContextDataModule):
    """Sequences of examples of a hidden linear function z = a·x + b·y modulo n, see `InContextDataModule`.

    A function is its coefficients (a, b), all n² of which there are, (0, 0) included; those that are not known are new.
    The defaults are the largest column of the phase diagram of He et al. (arXiv 2406.02550, official code).

    Args:
        modulus: The modulus.
        examples: Examples of a sequence.
        functions: How many functions are known.
        selection: `rectangular`: a quarter of them at random, with each (a, b) also (a, b'), (a', b) and (a', b');
            `random`: all at random.
        variables: Variables of a function.
        train_fraction: Share of the inputs that are known (float), or their number (int).
        batch_size: Sequences of one optimiser step over all devices, a multiple of `functions`.
        shared_inputs: Whether a batch asks all functions on the same lists of inputs.
        evaluation_functions: Known and new functions in validation and test part at most.
        evaluation_size: Sequences of each set in these parts, rounded up to equally many of each function.
        split_seed: Seed of the choice of functions and inputs; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, or nothing is left to be new.
    """

    def __init__(
        self,
        modulus: int = 29,
        examples: int = 32,
        functions: int = 512,
        selection: Selection = "rectangular",
        variables: int = 2,
        train_fraction: int | float = 0.8,
        batch_size: int = 1024,
        shared_inputs: bool = True,
        evaluation_functions: int = 256,
        evaluation_size: int = 1024,
        split_seed: int | None = None,
    ) -> None:
        super().__init__(
            examples, train_fraction, batch_size, shared_inputs, evaluation_functions, evaluation_size, split_seed
        )
        chosen = choose_functions(modulus, functions, self.split_seed, selection, variables)
        self.modulus = modulus
        inputs = torch.cartesian_prod(*[torch.arange(modulus, device="cpu")] * variables)
        self.lay_out([str(residue) for residue in range(modulus)], inputs.view(-1, variables), chosen)

    @property
    def is_field(self) -> bool:
        """Whether one can divide modulo the modulus, as the reference solvers do."""
        return is_prime(self.modulus)

    def values(self, functions: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (…, functions, lists, examples) of functions on lists of inputs."""
        return (inputs * functions[:, None, None]).sum(-1) % self.modulus


class OperationInContextDataModule(InContextDataModule):
    """Sequences of examples a b c of a hidden operation c = a ∘ b, see `InContextDataModule`.

    Pairs for which one of the operations is undefined are left out.

    Args:
        operations: Names of the operations that training sees.
        new_operations: Names of those that it does not, two or more.
        modulus: Modulus of residue operations; null for permutations.
        examples: Examples of a sequence.
        train_fraction: Share of the pairs that are known (float), or their number (int).
        batch_size: Sequences of one optimiser step over all devices, a multiple of the number of `operations`.
        shared_inputs: Whether a batch asks all operations on the same lists of pairs.
        evaluation_functions: Known and new operations in validation and test part at most.
        evaluation_size: Sequences of each set in these parts, rounded up to equally many of each operation.
        split_seed: Seed of the split of the pairs; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, an operation cannot be resolved or is named twice, or nothing is
            left to be new.
    """

    def __init__(
        self,
        operations: Sequence[str],
        new_operations: Sequence[str],
        modulus: int | None = 29,
        examples: int = 32,
        train_fraction: int | float = 0.8,
        batch_size: int = 1024,
        shared_inputs: bool = True,
        evaluation_functions: int = 256,
        evaluation_size: int = 1024,
        split_seed: int | None = None,
    ) -> None:
        super().__init__(
            examples, train_fraction, batch_size, shared_inputs, evaluation_functions, evaluation_size, split_seed
        )
        for key, names in (("operations", operations), ("new_operations", new_operations)):
            if isinstance(names, str) or not names:
                raise ValueError(f"{key} is {names!r}; expected a list of names, such as [add, sub]")
        tables = tables_on_common_elements([*operations, *new_operations], modulus)
        names = [table.name for table in tables]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"operations and new_operations name {', '.join(twice)} more than once; expected each once"
            )
        self.modulus = modulus
        self.tables = torch.tensor([table.values for table in tables], device="cpu")
        numbers = torch.arange(len(tables), device="cpu")
        pairs = (self.tables >= 0).all(0).nonzero()
        self.lay_out(tables[0].elements, pairs, Functions(numbers[: len(operations)], numbers[len(operations) :]))

    def values(self, functions: Tensor, inputs: Tensor) -> Tensor:
        """Return the values (…, functions, lists, examples) of operations, given by number, on lists of pairs."""
        self.tables = self.tables.to(inputs.device)
        return self.tables[functions[:, None, None], inputs[..., 0], inputs[..., 1]]
