"""Addition of integers with a square of operands held out."""

import torch
from torch import Tensor

from grok_lightning.data.batches import Equations
from grok_lightning.data.binary import Layout
from grok_lightning.data.equations import EquationDataModule
from grok_lightning.data.module import check_choice
from grok_lightning.data.numbers import number_range, shown, within
from grok_lightning.data.split import PARTS, check_validation, split_rows
from grok_lightning.data.vocabulary import Vocabulary

LARGEST_TABLE = 2**24
"""Rows of all pairs of operands at most."""


class AdditionSquareDataModule(EquationDataModule):
    """All equations a + b = c of integers; a network trains outside of a square of operands, and is asked inside.

    Zhang et al. (arXiv 2405.05409, Fig. 17a) hold out the square [400, 600]² of the operands 0 … 999. Every pair (a, b)
    is one row. Those outside of the square are split into training, validation and test part by a seed; those inside
    are the part "square". The vocabulary holds the numbers first, operands and sums, each a token, then "+" and "="
    where the layout has them.

    Args:
        operands: First and last operand.
        square: First and last operand of the square.
        train_fraction: Share of the rows outside of the square to train on (float), or their number (int). The paper
            does not say how many it holds out there.
        val_fraction: Share of the other rows outside of the square for validation (float), or their number (int); the
            rest is the test part.
        layout: Tokens of an equation.
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        split_seed: Seed of the split; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, or no row is left for validation.
    """

    def __init__(
        self,
        operands: tuple[int, int] = (0, 999),
        square: tuple[int, int] = (400, 600),
        train_fraction: int | float = 0.9,  # in this order, or a recipe's 4000 is read as 4000.0
        val_fraction: int | float = 0.5,
        layout: Layout = "a op b =",
        batch_size: int | None = 2048,
        split_seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed)
        check_choice("layout", layout, Layout)
        self.operand_range, self.square = number_range("operands", operands), number_range("square", square)
        if not within(self.square, self.operand_range) or self.square == self.operand_range:
            raise ValueError(
                f"square is {list(square)}; expected some of the operands {shown(self.operand_range)}, not all"
            )
        if len(self.operand_range) ** 2 > LARGEST_TABLE:
            raise ValueError(f"operands is {list(operands)}, more than {LARGEST_TABLE} pairs; expected fewer operands")
        first, last = self.operand_range[0], self.operand_range[-1]
        self.numbers = range(min(first, 2 * first), max(last, 2 * last) + 1)
        self.layout = layout.split()
        signs = {"op": "+", "=": "="}
        self.vocabulary = Vocabulary([*map(str, self.numbers), *(signs[word] for word in self.layout if word in signs)])
        self.length = len(self.layout)
        outside = len(self.operand_range) ** 2 - len(self.square) ** 2
        self.split = split_rows(outside, train_fraction, self.split_seed, val_fraction=val_fraction)
        check_validation(self.split, train_fraction, val_fraction)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        return self.vocabulary.names[: len(self.numbers)]

    @property
    def residues(self) -> None:
        """None: the numbers are integers."""
        return

    @property
    def number_tokens(self) -> range:
        """The tokens of the operands; the other numbers are answers only."""
        start = self.numbers.start
        return range(self.operand_range.start - start, self.operand_range.stop - start)

    def make_parts(self) -> dict[str, Equations]:
        """Return the equations of each part, in the order of the table."""
        operands = torch.tensor(self.operand_range, device="cpu")
        pairs = torch.cartesian_prod(operands, operands)
        inside = ((pairs >= self.square[0]) & (pairs <= self.square[-1])).all(dim=1)
        outside = pairs[~inside]
        parts = {part: outside[rows.sort().values] for part, rows in zip(PARTS, self.split, strict=True)}
        return {part: self._equations(chosen) for part, chosen in (parts | {"square": pairs[inside]}).items()}

    def operands_of(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the operands `(...)`, as the numbers they are, of equations `(..., length)`."""
        a, b = (tokens[..., self.layout.index(word)] + self.numbers.start for word in ("a", "b"))
        return a, b

    def _equations(self, pairs: Tensor) -> Equations:
        """Return the equations of operands `(rows, 2)`."""
        a, b = (pairs - self.numbers.start).unbind(1)
        sign = len(self.numbers)
        words = {"a": a, "b": b, "op": torch.full_like(a, sign), "=": torch.full_like(a, sign + 1)}
        answers = pairs.sum(dim=1) - self.numbers.start
        return Equations(torch.stack([words[word] for word in self.layout], dim=1), answers)
