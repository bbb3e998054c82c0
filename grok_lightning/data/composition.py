"""Compositions of operations: a ∘ b ∘ c and longer, of one operation or mixed."""

from collections.abc import Mapping

from torch import Tensor

from grok_lightning.data.arithmetic import Arithmetic
from grok_lightning.data.sampled import SampledEquationDataModule
from grok_lightning.data.subset import TokenSubset
from grok_lightning.operations import parse_expression


class CompositionDataModule(SampledEquationDataModule):
    """Equations `expression = c` for a composition of operations, such as `(a + b) * c`.

    An equation is written as the expression with its letters replaced by elements, and "=". The vocabulary holds the
    elements first (residues in order), then the other tokens as they appear. The sizes of Park et al. (2405.16658,
    section 4.2) are 10 000, 100 000 or 300 000 to train on, 30 000 for validation, and 100 000 for the verdict.

    Args:
        expression: Letters, residues, `+ - * /`, brackets, and operations by name as in `square_of_sum(a, b)`. A letter
            that occurs twice stands for one element.
        modulus: Modulus of residue operations; null for permutations.
        train_fraction: Share of the assignments of `train_tokens` to train on (float), or number of equations (int).
        val_fraction: Share of all other assignments for validation (float), or number of equations (int).
        test_fraction: The same for the test part, on which the final verdict is; null for 100 000, or as many as there
            are.
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        train_tokens: Elements that may be operands of training equations, as in `{first: 80}`; null for all. Answers,
            validation and test part range over all elements, as we suppose of table 5, which does not say.
        split_seed: Seed of the samples; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range or the expression malformed; when set up, if there are fewer
            equations than a part needs.
    """

    def __init__(
        self,
        expression: str = "a + b + c",
        modulus: int | None = 97,
        train_fraction: int | float = 100_000,  # in this order, or a recipe's 4000 is read as 4000.0
        val_fraction: int | float = 30_000,
        test_fraction: int | float | None = None,
        batch_size: int | None = 512,
        train_tokens: TokenSubset | None = None,
        split_seed: int | None = None,
    ) -> None:
        self.expression = parse_expression(expression)
        self.arithmetic = Arithmetic([self.expression], modulus)
        if not self.expression.letters:
            raise ValueError(f"expression {expression!r} has no letter; write its operands as a, b, c")
        super().__init__(
            self.arithmetic.elements,
            self.expression.letters,
            [*self.expression.words(), "="],
            train_fraction=train_fraction,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            batch_size=batch_size,
            train_tokens=train_tokens,
            split_seed=split_seed,
        )

    def answers(self, letters: Mapping[str, Tensor]) -> Tensor:
        """Return the number of the value (rows,) for elements (rows,) of each letter; −1 where it is undefined."""
        return self.arithmetic.evaluate(self.expression, letters)
