"""Equations over several letters, of which there are too many for a table: samples of them, without repetition."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grok_lightning.data.batches import Equations
from grok_lightning.data.equations import EquationDataModule
from grok_lightning.data.order import LARGEST, RandomOrder
from grok_lightning.data.split import part_size
from grok_lightning.data.subset import TokenSubset
from grok_lightning.data.vocabulary import Vocabulary
from grok_lightning.operations import Element, Letter, Word

TRAIN_ORDER, HELD_OUT_ORDER = 0, 1
"""Numbers of the two random orders that a split seed decides."""

VERDICT_ROWS = 100_000
"""Rows of a test part whose size is not given, as of Park et al. (2405.16658)."""

Rows = NDArray[np.int64]


class SampledEquationDataModule(EquationDataModule):
    """Equations over letters that each stand for any element, sampled where the full table is too large.

    A row is an assignment of elements to the letters; those without an answer (a division by zero) are left out. The
    training part is drawn from the assignments of `train_tokens`, validation and test part from all others. No row is
    in two parts. The full table is never made: a part costs its own size. Families say what an assignment's answer is.

    Args:
        elements: Names of the elements.
        letters: Names of the letters that stand for an element.
        words: An equation as it is written for the network: letters, numbers and other tokens.
        train_fraction: Share of the assignments of `train_tokens` to train on (float), or number of equations (int).
        val_fraction: Share of all other assignments for validation (float), or number of equations (int).
        test_fraction: The same for the test part, on which the final verdict is; null for 100 000 equations, or as many
            as there are.
        batch_size: Equations of one optimiser step over all devices; null for the whole training set.
        train_tokens: Elements that may be operands of training equations; null for all.
        split_seed: Seed of the samples; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range; when set up, if there are fewer equations than a part needs.
    """

    def __init__(
        self,
        elements: Sequence[str],
        letters: Sequence[str],
        words: Sequence[Word],
        *,
        train_fraction: int | float,
        val_fraction: int | float,
        test_fraction: int | float | None,
        batch_size: int | None,
        train_tokens: TokenSubset | None,
        split_seed: int | None,
    ) -> None:
        super().__init__(batch_size, split_seed)
        self.elements, self.letters, self.words = tuple(elements), tuple(letters), tuple(words)
        if len(elements) ** len(letters) > LARGEST:
            raise ValueError(
                f"{len(elements)} elements for {len(letters)} letters make more than 2⁶² equations: "
                "use fewer letters or a smaller modulus"
            )
        names = [self._token(word) for word in words if not self._is_operand(word)]
        self.vocabulary = Vocabulary(dict.fromkeys([*elements, *names]))
        self.layout = [word.name if isinstance(word, Letter) else self._token(word) for word in self.words]
        self.length = len(self.layout)
        self.fractions = {"train": train_fraction, "val": val_fraction, "test": test_fraction}
        for part, fraction in self.fractions.items():
            if fraction is not None and (fraction < 0 or (isinstance(fraction, float) and not fraction <= 1)):
                raise ValueError(f"{part}_fraction is {fraction}; expected a share up to 1.0, or a number of equations")
        everything = range(len(elements))
        chosen = everything if train_tokens is None else train_tokens.choose(self.elements, self.split_seed)
        self.train_elements = np.array(chosen)

    @abstractmethod
    def answers(self, letters: Mapping[str, Tensor]) -> Tensor:
        """Return the number of the answer (rows,) for the elements (rows,) of each letter; −1 where there is none."""

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the elements, each of which can be an answer."""
        return self.elements

    def make_parts(self) -> dict[str, Equations]:
        """Return the equations of each part."""
        trainable = len(self.train_elements) ** len(self.letters)
        order = RandomOrder(trainable, (self.split_seed, TRAIN_ORDER))
        reader = Reader(lambda start, stop: self._rows_of_train_tokens(order.stretch(start, stop)), trainable)
        train = self._draw(reader, "train", trainable)
        total = len(self.elements) ** len(self.letters)
        order = RandomOrder(total, (self.split_seed, HELD_OUT_ORDER))
        reader = Reader(order.stretch, total, excluded=train)
        rows = {"train": train} | {part: self._draw(reader, part, total - len(train)) for part in ("val", "test")}
        return {part: self._equations(some) for part, some in rows.items()}

    def _draw(self, reader: "Reader", part: str, available: int) -> Rows:
        """Return the next rows of an order that a part asks for."""
        fraction, key = self.fractions[part], f"{part}_fraction"
        if isinstance(fraction, float):
            wanted = part_size(key, fraction, available)
            rows = reader.take(wanted)
            if len(rows) < wanted:
                raise ValueError(
                    f"{key} is {fraction}, {wanted} of {available} assignments, but only {len(rows)} are left for it: "
                    "lower it, or what the other parts take"
                )
            rows = rows[self._has_answer(rows)]
        else:
            rows = reader.take(VERDICT_ROWS if fraction is None else fraction, self._has_answer)
        if isinstance(fraction, int) and len(rows) < fraction:
            raise ValueError(
                f"{key} is {fraction}, but only {len(rows)} equations that have an answer are left for it: "
                "lower it, or what the other parts take"
            )
        if part != "test" and not len(rows):
            raise ValueError(
                f"{key} is {fraction}, which leaves none of the {available} assignments that has an answer: "
                "raise it, or lower what the other parts take"
            )
        return rows

    def _has_answer(self, rows: Rows) -> NDArray[np.bool_]:
        return (self.answers(self._operands(rows)) >= 0).numpy()

    def _equations(self, rows: Rows) -> Equations:
        operands = self._operands(rows)
        columns = [
            operands[word.name]
            if isinstance(word, Letter) and self._is_operand(word)
            else torch.full((len(rows),), self.vocabulary.index(self._token(word)))
            for word in self.words
        ]
        return Equations(torch.stack(columns, dim=1), self.answers(operands))

    def _operands(self, rows: Rows) -> dict[str, Tensor]:
        """Return the element (rows,) of each letter, the digits of a row's number."""
        digits = np.unravel_index(rows, (len(self.elements),) * len(self.letters))
        return {letter: torch.from_numpy(digit) for letter, digit in zip(self.letters, digits, strict=True)}

    def _rows_of_train_tokens(self, rows: Rows) -> Rows:
        """Turn rows of the table over the training tokens into those of the whole table."""
        digits = np.unravel_index(rows, (len(self.train_elements),) * len(self.letters))
        elements = tuple(self.train_elements[digit] for digit in digits)
        return np.ravel_multi_index(elements, (len(self.elements),) * len(self.letters)).astype(np.int64)

    def _is_operand(self, word: Word) -> bool:
        return isinstance(word, Letter) and word.name in self.letters

    def _token(self, word: Word) -> str:
        if isinstance(word, Element):
            return self.elements[word.number % len(self.elements)]
        return word if isinstance(word, str) else word.name


class Reader:
    """Reads a random order from its beginning, part after part.

    Args:
        stretch: Gives the rows at the places from `start` to `stop − 1` of the order.
        total: Number of places.
        excluded: Rows to skip; none if not given.
    """

    SMALLEST = 2**12
    """Rows looked at at once, at least."""
    HOPELESS = 2**20
    """Rows after which the search for a first one ends."""

    def __init__(self, stretch: Callable[[int, int], Rows], total: int, excluded: Rows | None = None) -> None:
        self.stretch, self.total = stretch, total
        self.excluded = np.empty(0, dtype=np.int64) if excluded is None else excluded
        self.position = 0

    def take(self, wanted: int, accept: Callable[[Rows], NDArray[np.bool_]] | None = None) -> Rows:
        """Return the next rows that are accepted, in order; fewer where the order ends.

        Args:
            wanted: How many.
            accept: Says of rows which ones count; all if not given.
        """
        found, missing, start = [self.excluded[:0]], wanted, self.position
        while missing and self.position < self.total:
            rows = self.stretch(self.position, self.position + max(missing, self.SMALLEST))
            keep = ~np.isin(rows, self.excluded)
            if accept is not None:
                keep[keep] = accept(rows[keep])
            places = np.flatnonzero(keep)[:missing]
            found.append(rows[places])
            missing -= len(places)
            # What lies behind the last one needed is for the next part.
            self.position += len(rows) if missing else int(places[-1]) + 1
            if missing == wanted and self.position - start >= self.HOPELESS:
                break
        return np.concatenate(found)
