"""Composite functions: a key, anchors that stand for functions, and noise around them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from grok_lightning.data.anchored import AnchoredDataModule
from grok_lightning.data.anchors import AnchorFunctions, Anchors, Solutions
from grok_lightning.data.batches import ENDLESS, Equations, numbered_generator
from grok_lightning.data.equations import EquationKinds
from grok_lightning.data.key_places import KeyPlaces
from grok_lightning.data.numbers import number_range
from grok_lightning.data.vocabulary import Vocabulary
from grok_lightning.operations import parse_function

UNSEEN = ("unseen_train_keys", "unseen_test_keys")
"""Parts of the pairs that are never trained on."""
GROUP_DRAW = ENDLESS
"""Keeps the draws of sequences apart from those of batches, whose numbers lie below."""
PUBLISHED_FUNCTIONS = ("x + 5", "x + 1", "x - 2", "x - 8")
PUBLISHED_OVERRIDES = {"3 4": "x - 6"}
PUBLISHED_UNSEEN = ("4 3",)
AnchorCount = Literal[1, 2]


class CompositeFunctionDataModule(AnchoredDataModule):
    """Sequences of noise with a key and two anchors in it: what do the anchors' functions make of the key?

    Zhang et al. (arXiv 2405.05409) ask whether a network infers the answer to a pair it has never seen from the single
    functions, or remembers that to the pair turned around. The key stands at a random position, right after it the
    anchors f1, f2 …, and pairs are read from left to right: f(x; a₁, a₂) = g(g(x; a₁); a₂). Everything else is noise,
    drawn uniformly from the range of the keys. The vocabulary holds the numbers first (residues in order), which are
    keys, noise and answers, then the anchors, which have names of their own: the paper's are the tokens 1 to 4, of
    which 4 is an answer too (20 − 16). The vocabulary depends on neither `anchors` nor `unseen`.

    A group is a pair (or a single anchor) with train keys or with test keys: where key mod `split_modulus` is the key's
    position, counted from 0, the key is a test key. Positions are uniform over those that have such keys, keys uniform
    among these. With weights (v, w) each of G pairs has ⌊size · v / (G · (v + w))⌋ sequences of train keys and
    ⌊size · w / (G · (v + w))⌋ of test keys: by default 50 625 and 5 625. A group is a pure function of the split seed
    and the arguments, whatever other groups there are; sequences may occur twice.

    Parts: "train" of the seen pairs with train keys; "val" and "test", each one half of the sequences of the seen pairs
    with test keys; and where pairs are unseen, "unseen_train_keys" and "unseen_test_keys", with their inferential
    answers.

    Args:
        functions: The single function of each anchor: x, whole numbers, `+ - * // %` and brackets; modulo n also `/`
            and operations by name, as in `sum_of_squares(x, 3)`.
        modulus: Modulus of residues; null for integers.
        overrides: Functions of the key that pairs, as "3 4", stand for instead of what follows from their single ones.
        unseen: Pairs that are never trained on.
        keys: First and last key.
        numbers: First and last number that is a token, as [0, 200] for the size of the paper; null for the smallest
            range that holds all keys and answers. Not for residues.
        length: Tokens of a sequence.
        anchors: Anchors of a sequence. With 1 the answer is that of the single function, and `unseen` names nothing.
        split_modulus: Modulus of the rule that holds out keys: 9 in the code of the paper, 7 in its text.
        size: Sequences of all groups together, those of unseen pairs included.
        weights: How the sequences of a pair are shared between train keys and test keys.
        by_pair: Whether the accuracy of each seen pair is measured apart, as `val/accuracy_f1_f2`.
        batch_size: Sequences of one optimiser step over all devices; null for the whole training set.
        split_seed: Seed of all sequences; null follows the seed of the run.

    Raises:
        ValueError: If an argument is out of range, a function is malformed or has no value, or a group is empty.
    """

    def __init__(
        self,
        functions: Sequence[str] = PUBLISHED_FUNCTIONS,
        modulus: int | None = None,
        overrides: Mapping[str, str] = PUBLISHED_OVERRIDES,
        unseen: Sequence[str] = PUBLISHED_UNSEEN,
        keys: tuple[int, int] = (20, 99),
        numbers: tuple[int, int] | None = None,
        length: int = 9,
        anchors: AnchorCount = 2,
        split_modulus: int = 9,
        size: int = 900_000,
        weights: tuple[int, int] = (9, 1),
        by_pair: bool = False,
        batch_size: int | None = 2048,
        split_seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed)
        if anchors not in get_args(AnchorCount):
            raise ValueError(f"anchors is {anchors!r}; expected 1 or 2 in a sequence")
        if length <= anchors:
            raise ValueError(f"length is {length}; expected {anchors + 1} or more, for a key and {anchors} anchors")
        self.anchors, self.modulus, self.length, self.by_pair = anchors, modulus, length, by_pair
        self.keys = number_range("keys", keys)
        self.functions = AnchorFunctions(functions, overrides, self.keys, modulus)
        self.numbers = self.functions.numbers(None if numbers is None else number_range("numbers", numbers))
        names = [f"f{anchor}" for (anchor,) in self.functions.sequences(1)]
        self.vocabulary = Vocabulary([*map(str, self.numbers), *names])
        self.places = KeyPlaces(self.keys, length - anchors, split_modulus)
        self.groups = self.functions.sequences(anchors)
        self.unseen = self._unseen(unseen)
        self.group_sizes = self._group_sizes(size, weights)
        self.inferential, self.designated = (
            self.functions.table(values, anchors, self.numbers)
            for values in (self.functions.inferential, self.functions.designated)
        )

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the numbers."""
        return self.vocabulary.names[: len(self.numbers)]

    @property
    def residues(self) -> range | None:
        """The tokens that are residues; None for integers."""
        return None if self.modulus is None else range(self.modulus)

    @property
    def seen(self) -> list[Anchors]:
        """The pairs (or single anchors) that are trained on."""
        return [group for group in self.groups if group not in self.unseen]

    @property
    def kinds(self) -> EquationKinds | None:
        """The seen pairs, where they are to be measured apart."""
        if not self.by_pair:
            return None
        return EquationKinds(tuple("_".join(f"f{anchor}" for anchor in group) for group in self.seen), self.seen_of)

    def make_parts(self) -> dict[str, Equations]:
        """Return the sequences of each part, group after group."""
        half = (self.group_sizes[True] + 1) // 2
        parts = {"train": _joined(self._draw(group, held_out=False) for group in self.seen)}
        held_out = [self._draw(group, held_out=True) for group in self.seen]
        for name, rows in (("val", slice(half)), ("test", slice(half, None))):
            parts[name] = _joined(Equations(its.tokens[rows], its.answers[rows]) for its in held_out)
        for number, name in enumerate(UNSEEN if self.unseen else ()):
            parts[name] = _joined(self._draw(group, held_out=bool(number)) for group in self.unseen)
        return parts

    def seen_of(self, tokens: Tensor) -> Tensor:
        """Return the number `(...)`, in `seen`, of the pair of sequences `(..., length)`; −1 where it is unseen."""
        numbers = torch.full((self.functions.count,) * self.anchors, -1, device="cpu")
        for number, group in enumerate(self.seen):
            numbers[tuple(anchor - 1 for anchor in group)] = number
        return numbers.to(tokens.device)[(self.pairs_of(tokens) - 1).unbind(-1)]

    def solutions(self, tokens: Tensor) -> Solutions:
        """Return the answers `(...)` that sequences `(..., length)` may be given, see `Solutions`.

        Those of a single anchor are all the same.
        """
        anchors = (self.pairs_of(tokens) - 1).unbind(-1)
        keys = self.keys_of(tokens) - self.keys.start
        inferential, designated = (table.to(tokens.device) for table in (self.inferential, self.designated))
        pair, turned = (*anchors, keys), (*anchors[::-1], keys)
        return Solutions(inferential[pair], designated[turned], designated[pair])

    def mapped(self, function: str) -> Tensor:
        """Return what a function makes of each key `(keys,)`, as tokens; −1 where that is none.

        Raises:
            ValueError: If the function is malformed.
        """
        value_of = parse_function(function, self.modulus)
        values = [value_of(key) for key in self.keys]
        tokens = [-1 if value is None or value not in self.numbers else self.numbers.index(value) for value in values]
        return torch.tensor(tokens, device="cpu")

    def _unseen(self, texts: Sequence[str]) -> list[Anchors]:
        pairs = self.functions.pairs("unseen", texts)
        for pair in pairs:
            if pair in self.functions.overridden:
                raise ValueError(
                    f"overrides and unseen both name '{pair[0]} {pair[1]}', but an unseen pair is never trained on: "
                    "leave it out of one of them"
                )
        if len(pairs) == self.functions.count**2:
            raise ValueError(f"unseen names all {len(pairs)} pairs; expected one at least to train on")
        return pairs if self.anchors == 2 else []

    def _group_sizes(self, size: int, weights: tuple[int, int]) -> tuple[int, int]:
        """Return how many sequences each pair has of train keys, and of test keys."""
        if len(weights) != 2 or min(weights) < 1:
            raise ValueError(f"weights is {list(weights)}; expected two positive numbers, of train keys and test keys")
        parts = len(self.groups) * sum(weights)
        train, test = (size * weight // parts for weight in weights)
        if train < 1 or test < 2:  # one for validation, one for the test
            least = max(-(-parts // weights[0]), -(-2 * parts // weights[1]))
            raise ValueError(
                f"size is {size}, which leaves each of {len(self.groups)} groups {train} sequences of train keys and "
                f"{test} of test keys; expected {least} or more, for 1 and 2"
            )
        return train, test

    def _draw(self, group: Anchors, held_out: bool) -> Equations:
        """Return the sequences of a group."""
        rows = self.group_sizes[held_out]
        generator = numbered_generator(self.split_seed, GROUP_DRAW, *group, 1 + held_out)
        positions, keys = self.places.draw(rows, held_out, generator)
        tokens = self.sequences(group, positions, keys, self.noise(rows, generator))
        table = self.inferential if group in self.unseen else self.designated
        return Equations(tokens, table[tuple(anchor - 1 for anchor in group)][keys])


def _joined(equations: Iterable[Equations]) -> Equations:
    """Return all equations one after the other."""
    tokens, answers = zip(*equations, strict=True)
    return Equations(torch.cat(tokens), torch.cat(answers))
