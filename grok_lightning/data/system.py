"""Systems of equations with one asked unknown."""

from collections.abc import Mapping

import torch
from torch import Tensor

from grok_lightning.data.arithmetic import SEVERAL, Arithmetic
from grok_lightning.data.order import RandomOrder
from grok_lightning.data.sampled import SampledEquationDataModule
from grok_lightning.data.solver import Solver
from grok_lightning.data.subset import TokenSubset
from grok_lightning.operations import UNDEFINED, parse_system

CHECKED_ROWS = 2**12
"""Assignments on which a system is tried when it is built. What is ambiguous for fewer than these may pass unseen until
such an assignment is drawn."""


class SystemDataModule(SampledEquationDataModule):
    """Systems of equations such as `a + b = A & A + c = B`, whose answer is the value of an asked unknown.

    Small letters are given, capital ones are unknown. A system is written as its equations with the given letters
    replaced by elements, joined by "&", and the asked unknown, at which the answer is read: `2 + 3 = A & A + 1 = B B`.
    The vocabulary holds the elements first, then the other tokens as they appear; the unknowns are tokens by their
    letters. Assignments that no value of the unknowns solves are left out, like a division by zero.

    Park et al. (2405.16658) have two forms for ∘ one of + and · in the text of section 4.3, and contradict themselves
    on what is asked in the numeric examples of section 5.1; all four are::

        a ∘ b = A & A ∘ c = B, B asked    the first form, as its text has it
        a ∘ b = A & A ∘ c = B, A asked    the first form, as the numeric example has it; c is of no use
        a ∘ A = b & A ∘ c = B, A asked    the second form, as its text has it; c is of no use
        a ∘ A = b & A ∘ c = B, B asked    the second form, as the numeric example has it

    Figure 6 has A ∘ B = c for the second line. The paper is not known to have a token for "?"; here there is none.

    Args:
        equations: Equations over letters, residues, `+ - * /`, brackets, and operations by name.
        asked: The unknown whose value is the answer.
        modulus: Modulus of residue operations; null for permutations.
        leave_out_ambiguous: Leave out assignments that several values of the asked unknown solve, such as 0 · A = 0.
            Otherwise they are refused.
        train_fraction: Share of the assignments of `train_tokens` to train on (float), or number of systems (int).
        val_fraction: Share of all other assignments for validation (float), or number of systems (int).
        test_fraction: The same for the test part, on which the final verdict is; null for 100 000, or as many as there
            are.
        batch_size: Systems of one optimiser step over all devices; null for the whole training set.
        train_tokens: Elements that may be given in training, as in `{first: 80}`; null for all.
        split_seed: Seed of the samples; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, an equation malformed or an answer not unique; when set up, if there
            are fewer systems than a part needs.
    """

    def __init__(
        self,
        equations: list[str],
        asked: str,
        modulus: int | None = 97,
        leave_out_ambiguous: bool = False,
        train_fraction: int | float = 100_000,  # in this order, or a recipe's 4000 is read as 4000.0
        val_fraction: int | float = 30_000,
        test_fraction: int | float | None = None,
        batch_size: int | None = 512,
        train_tokens: TokenSubset | None = None,
        split_seed: int | None = None,
    ) -> None:
        self.system = parse_system(equations, asked)
        self.arithmetic = Arithmetic(self.system.expressions, modulus)
        self.solver = Solver(self.system, self.arithmetic)
        self.leave_out_ambiguous = leave_out_ambiguous
        super().__init__(
            self.arithmetic.elements,
            self.system.givens,
            self.system.words(),
            train_fraction=train_fraction,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            batch_size=batch_size,
            train_tokens=train_tokens,
            split_seed=split_seed,
        )
        # The same assignments for every seed, so that no replicate is refused after others have trained.
        order = RandomOrder(len(self.elements) ** len(self.letters), 0)
        self._has_answer(order.stretch(0, CHECKED_ROWS))

    def answers(self, letters: Mapping[str, Tensor]) -> Tensor:
        """Return the asked unknown (rows,) for elements (rows,) of each given letter; −1 where there is none.

        Raises:
            ValueError: If it is not unique, unless such assignments are left out.
        """
        answers = self.solver.solve(letters)
        ambiguous = (answers == SEVERAL).nonzero()[:, 0]
        if len(ambiguous) and not self.leave_out_ambiguous:
            row = int(ambiguous[0])
            given = ", ".join(f"{letter} = {self.elements[int(column[row])]}" for letter, column in letters.items())
            raise ValueError(
                f"{self.system.text}: {self.system.asked} has several values for {given}; "
                "add an equation, ask another unknown, or set leave_out_ambiguous: true to do without such assignments"
            )
        return torch.where(answers < 0, UNDEFINED, answers)
