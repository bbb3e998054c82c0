"""All rows of a table in random order, without the table."""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
LARGEST = 2**62
Numbers = NDArray[np.uint64]


class RandomOrder:
    """The numbers 0 … total−1 in a random order, of which any stretch is computed at its own cost.

    97⁴ operands need no permutation of 88 million numbers to draw a hundred thousand of them, none twice. It is a
    Feistel network over the smallest even number of bits that suffices, walked until it is back below `total` (Black
    and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). A seed decides the whole order, so that a
    smaller stretch is the beginning of a larger one.

    Args:
        total: How many numbers there are.
        seed: Decides the order; numbers from 0.

    Raises:
        ValueError: If `total` is out of range.
    """

    def __init__(self, total: int, seed: int | tuple[int, ...]) -> None:
        if not 0 < total <= LARGEST:
            raise ValueError(f"{total} rows; expected 1 to 2⁶²")
        self.total = total
        self.half = np.uint64(max(1, -(-(total - 1).bit_length() // 2)))
        self.mask = np.uint64((1 << int(self.half)) - 1)
        self.keys = np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint64)

    def __len__(self) -> int:
        return self.total

    def stretch(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers at the places `start` to `stop − 1` of the order, fewer where it ends."""
        numbers = np.arange(start, min(stop, self.total), dtype=np.uint64)
        numbers = self._encrypt(numbers)
        while (outside := numbers >= self.total).any():
            numbers[outside] = self._encrypt(numbers[outside])
        return numbers.astype(np.int64)

    def _encrypt(self, numbers: Numbers) -> Numbers:
        left, right = numbers >> self.half, numbers & self.mask
        for key in self.keys:
            left, right = right, left ^ (_scramble(right + key) & self.mask)
        return left << self.half | right


def _scramble(numbers: Numbers) -> Numbers:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)
