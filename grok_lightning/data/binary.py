"""Binary operations: a ∘ b = c over the whole table of an operation."""

from typing import Literal

import torch
from torch import Tensor

from grok_lightning.circulants import OperandSymmetry
from grok_lightning.data.batches import Equations
from grok_lightning.data.equations import EquationDataModule
from grok_lightning.data.module import check_choice
from grok_lightning.data.split import LARGEST_SPLIT_SEED, PARTS, check_validation, split_rows
from grok_lightning.data.subset import TokenSubset
from grok_lightning.data.vocabulary import Vocabulary
from grok_lightning.operations import operation_table
from grok_lightning.pair_sums import PairSums, Which

NOISE_SEED = LARGEST_SPLIT_SEED + 1
"""Keeps the draw of wrong answers apart from the split."""
Layout = Literal["a op b =", "a op b", "a b"]


class BinaryOperationDataModule(EquationDataModule):
    """All equations of one binary operation, split by a seed.

    Every pair (a, b) on which the operation is defined is one row. The vocabulary holds the elements first (residues
    in order, so that element i is token i), then the operator and "=" where the layout has them.

    Args:
        operation: Registered name, parametrised name such as `linear(2,3)`, or import path of an operation.
        modulus: Modulus of residue operations; null for permutations.
        train_fraction: Share of the rows of `train_tokens` to train on (float), or their number (int).
        val_fraction: Share of the held-out rows for validation (float), or their number (int); the rest is the test
            part.
        layout: Tokens of an equation. Furuta et al. (2402.16726) leave out "=", Gromov (2301.02679) the operator too.
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        commutative_augmentation: For each (a, b) of a batch also train on (b, a), with the same answer (Park et al.
            2405.16658, table 1). The batch doubles. Refused where (b, a) has another answer, by the operation or
            by `wrong_answers`. A held-out pair whose mirror image is trained on is trained on too, unless the split is
            unordered.
        unordered_split: Keep (a, b) and (b, a) in the same part, so that no held-out pair is seen turned around.
        wrong_answers: Label noise: number of training rows whose answer is replaced by a wrong one.
        train_tokens: Elements that may be operands of training equations, as in `{first: 80}`; null for all. Answers
            and held-out rows range over all elements.
        split_seed: Seed of split and label noise; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, the operation cannot be resolved, or no row is left for validation,
            without which nothing could be measured.
    """

    def __init__(
        self,
        operation: str = "add",
        modulus: int | None = 97,
        train_fraction: int | float = 0.5,  # in this order, or a recipe's 4000 is read as 4000.0
        val_fraction: int | float = 0.5,
        layout: Layout = "a op b =",
        batch_size: int | None = 512,
        commutative_augmentation: bool = False,
        unordered_split: bool = False,
        wrong_answers: int = 0,
        train_tokens: TokenSubset | None = None,
        split_seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed)
        check_choice("layout", layout, Layout)
        self.table, self.modulus = operation_table(operation, modulus), modulus
        self.values = torch.tensor(self.table.values)
        signs = {"op": self.table.symbol, "=": "="}
        self.layout = layout.split()
        self.vocabulary = Vocabulary([*self.table.elements, *(signs[word] for word in self.layout if word in signs)])
        self.length = len(self.layout)
        self.train_fraction, self.val_fraction = train_fraction, val_fraction
        self.commutative_augmentation = commutative_augmentation
        self.unordered_split = unordered_split
        self.wrong_answers = wrong_answers
        self.train_tokens = train_tokens
        if commutative_augmentation and not torch.equal(self.values, self.values.T):
            raise ValueError(f"commutative_augmentation is for commutative operations; {operation} is not commutative")
        if commutative_augmentation and wrong_answers:
            raise ValueError(
                f"wrong_answers is {wrong_answers}, but commutative_augmentation would train on (b, a) with the right "
                "and the wrong answer: leave out one of them"
            )
        self.part_of_row = self._split()
        trained = int((self.part_of_row == 0).sum())
        if not 0 <= wrong_answers <= trained:
            raise ValueError(f"wrong_answers is {wrong_answers}; expected 0 to {trained}, the size of the training set")

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the elements, each of which can be an answer."""
        return self.table.elements

    def symmetry(self, operation: str | None = None) -> OperandSymmetry:
        """Return the group behind an operation, with the operands of these equations.

        Args:
            operation: An operation on the same elements; that of the equations if not given.

        Raises:
            ValueError: If the operation has no group on these elements.
        """
        operation = operation or self.table.name
        return OperandSymmetry.of(operation, self.modulus, len(self.table.elements), self.layout)

    @property
    def coordinates(self) -> tuple[str, ...] | None:
        """Names of the tokens by their coordinates in the operation's group, `(3)` or `(2, 1)`; the others keep theirs.

        None where the operation has no group.
        """
        try:
            group = self.symmetry().group
        except ValueError:
            return None
        places = {member: f"({', '.join(map(str, place))})" for member, place in group.coordinates.items()}
        return tuple(places.get(token, name) for token, name in enumerate(self.vocabulary))

    @property
    def pairs(self) -> Tensor:
        """Operands `(rows, 2)` of every row, in the order of the table."""
        return (self.values >= 0).nonzero()

    def pair_sums(self, part: Which = "all") -> PairSums:
        """Return the pairs of elements whose vectors are added up, of the training equations or of the whole table."""
        check_choice("part", part, Which)
        rows = slice(None) if part == "all" else self.part_of_row == 0
        a, b = self.pairs[rows].unbind(1)
        return PairSums.of_equations(a, b, self._answers()[rows], len(self.table.elements))

    def make_parts(self) -> dict[str, Equations]:
        """Return the equations of each part."""
        a, b = self.pairs.unbind(1)
        words = {"a": a, "b": b, **{word: torch.full_like(a, token) for word, token in self._sign_tokens().items()}}
        equations = Equations(torch.stack([words[word] for word in self.layout], dim=1), self._answers())
        return {name: equations.at((self.part_of_row == i).nonzero()[:, 0]) for i, name in enumerate(PARTS)}

    def augment(self, chunk: Equations) -> Equations:
        """Return the chunk, with each pair turned around too where asked for."""
        if not self.commutative_augmentation:
            return chunk
        order = torch.arange(self.length, device=chunk.tokens.device)
        first, second = self.layout.index("a"), self.layout.index("b")
        order[first], order[second] = second, first
        turned = chunk.tokens[..., order]
        return Equations(torch.cat([chunk.tokens, turned], dim=1), torch.cat([chunk.answers] * 2, dim=1))

    def operands(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the operands (rows,) of equations `(rows, length)`."""
        return tokens[:, self.layout.index("a")], tokens[:, self.layout.index("b")]

    def _sign_tokens(self) -> dict[str, int]:
        signs = [word for word in self.layout if word in ("op", "=")]
        return {word: len(self.table.elements) + i for i, word in enumerate(signs)}

    def _split(self) -> Tensor:
        """Return the number of the part (rows,) of every row."""
        a, b = self.pairs.unbind(1)
        size = len(self.values)
        split = split_rows(
            len(a),
            self.train_fraction,
            self.split_seed,
            groups=torch.minimum(a, b) * size + torch.maximum(a, b) if self.unordered_split else None,
            val_fraction=self.val_fraction,
            trainable=self._trainable(),
        )
        check_validation(split, self.train_fraction, self.val_fraction)
        parts = torch.empty(len(a), dtype=torch.long)
        for number, rows in enumerate(split):
            parts[rows] = number
        return parts

    def _trainable(self) -> Tensor | None:
        """Return which rows (rows,) may be trained on, or None where all may."""
        if self.train_tokens is None:
            return None
        chosen = self.train_tokens.choose(self.table.elements, self.split_seed)
        allowed = torch.zeros(len(self.values), dtype=torch.bool)
        allowed[chosen] = True
        return allowed[self.pairs].all(1)

    def _answers(self) -> Tensor:
        """Return the answers (rows,), the wrong ones of the label noise included."""
        answers = self.values[self.values >= 0]
        trained = (self.part_of_row == 0).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(self.split_seed + NOISE_SEED)
        noisy = trained[torch.randperm(len(trained), generator=generator)[: self.wrong_answers]]
        size = len(self.values)
        shift = torch.randint(1, size, (len(noisy),), generator=generator)
        answers = answers.clone()
        answers[noisy] = (answers[noisy] + shift) % size
        return answers
