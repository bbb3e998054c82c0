"""Several binary operations at once, told apart by their signs."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from grok_lightning.circulants import OperandSymmetry
from grok_lightning.data.arithmetic import tables_on_common_elements
from grok_lightning.data.batches import Equations
from grok_lightning.data.equations import EquationDataModule, EquationKinds
from grok_lightning.data.module import check_choice
from grok_lightning.data.split import PARTS, check_validation, split_rows
from grok_lightning.data.vocabulary import Vocabulary
from grok_lightning.operations import OperationTable

Layout = Literal["a op b", "a op b ="]


class MixedOperationDataModule(EquationDataModule):
    """All equations of several binary operations, which one network answers by their signs.

    Mallinar et al. (2407.20199, appendix on multi-task learning) train on x+y and x²+y² modulo 61, with the outputs in
    common and an input that says which is asked. Every (operation, a, b) for which a ∘ b is defined is one row. The
    vocabulary holds the elements first (residues in order, so that element i is token i), which the operations have in
    common, then the sign of each operation, and "=" where the layout has it. What is right is measured for each
    operation too, see `grok_lightning.metrics.AccuracyByKind`.

    Args:
        operations: Two or more operations on the same elements: registered names, parametrised names such as
            `linear(2,3)`, or import paths.
        modulus: Modulus of residue operations; null for permutations.
        train_fraction: Share of the rows of all operations together to train on (float), or their number (int).
        val_fraction: Share of the held-out rows for validation (float), or their number (int); the rest is the test
            part.
        layout: Tokens of an equation.
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        common_split: Keep the equations of a pair (a, b) in the same part for all operations. Else most held-out pairs
            are trained on with another operation, whose answer a network may give instead.
        split_seed: Seed of the split; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, an operation cannot be resolved or told from another, they have
            different elements, or no row is left for validation, without which nothing could be measured.
    """

    def __init__(
        self,
        operations: list[str],
        modulus: int | None = 97,
        train_fraction: int | float = 0.5,  # in this order, or a recipe's 4000 is read as 4000.0
        val_fraction: int | float = 0.5,
        layout: Layout = "a op b",
        batch_size: int | None = 512,
        common_split: bool = False,
        split_seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed)
        check_choice("layout", layout, Layout)
        if isinstance(operations, str) or len(operations) < 2:
            raise ValueError(
                f"operations is {operations!r}; expected a list of two or more, such as [add, sum_of_squares]; "
                "BinaryOperationDataModule has one operation"
            )
        self.tables, self.modulus = tables_on_common_elements(operations, modulus), modulus
        self.elements, signs = self.tables[0].elements, ["="] if "=" in layout else []
        _check_told_apart(self.tables, {*self.elements, *signs})
        self.values = torch.tensor([table.values for table in self.tables])
        self.layout = layout.split()
        self.vocabulary = Vocabulary([*self.elements, *(table.symbol for table in self.tables), *signs])
        self.length = len(self.layout)
        pairs = self.rows[:, 1] * len(self.elements) + self.rows[:, 2] if common_split else None
        self.split = split_rows(len(self.rows), train_fraction, self.split_seed, pairs, val_fraction)
        check_validation(self.split, train_fraction, val_fraction)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the elements, each of which can be an answer."""
        return self.elements

    @property
    def kinds(self) -> EquationKinds:
        """The operations, told apart by their signs."""
        return EquationKinds(tuple(table.name for table in self.tables), self.operations_of)

    @property
    def rows(self) -> Tensor:
        """Number of the operation and both operands `(rows, 3)` of every row, operation after operation."""
        return (self.values >= 0).nonzero()

    def symmetry(self, operation: str | None = None) -> OperandSymmetry:
        """Return the group behind an operation, which has to be named, see `BinaryOperationDataModule.symmetry`."""
        if operation is None:
            raise ValueError(f"there are several operations, {' and '.join(self.kinds.names)}")
        return OperandSymmetry.of(operation, self.modulus, len(self.elements), self.layout)

    def operations_of(self, tokens: Tensor) -> Tensor:
        """Return the number of the operation `(...)` of equations `(..., length)`."""
        return tokens[..., self.layout.index("op")] - len(self.elements)

    def make_parts(self) -> dict[str, Equations]:
        """Return the equations of each part, in the order of the rows."""
        operation, a, b = self.rows.unbind(1)
        last = torch.full_like(a, len(self.vocabulary) - 1)
        words = {"a": a, "op": len(self.elements) + operation, "b": b, "=": last}
        tokens = torch.stack([words[word] for word in self.layout], dim=1)
        equations = Equations(tokens, self.values[self.values >= 0])
        return {part: equations.at(rows.sort().values) for part, rows in zip(PARTS, self.split, strict=True)}


def _check_told_apart(tables: Sequence[OperationTable], taken: set[str]) -> None:
    """Refuse operations whose signs do not say which one is meant."""
    names: dict[str, str] = {}
    for table in tables:
        sign = table.symbol
        if sign in taken:
            raise ValueError(
                f"operations: the symbol {sign!r} of {table.name} means something else in an equation; give it another"
            )
        if names.get(sign) == table.name:
            raise ValueError(f"operations names {table.name!r} more than once; expected each once, leave out the rest")
        if sign in names:
            raise ValueError(
                f"operations: {names[sign]} and {table.name} have the same symbol {sign!r}, expected different ones "
                "to tell them apart by; leave one out, or give it another symbol"
            )
        names[sign] = table.name
