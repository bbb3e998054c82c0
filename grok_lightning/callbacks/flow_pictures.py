"""Pictures of how information flows through a transformer, and of which sequences it makes alike."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from torch import Tensor

from grok_lightning import composite
from grok_lightning.data import CompositeFunctionDataModule, EquationDataModule
from grok_lightning.data.anchors import Anchors
from grok_lightning.figures import attention_lines, pair_table, role_flow, similarity_map, target_map

Pair = tuple[int, int]


class Shown(NamedTuple):
    """Which keys and pairs are drawn of composite functions.

    Attributes:
        key: The key of the sequence whose attention is drawn.
        pair: Its anchors.
        lower: Two pairs whose sequences are compared, below the diagonal.
        upper: Two others, above it.
        keys: First and last key of theirs.
    """

    key: int
    pair: Pair
    lower: tuple[Pair, Pair]
    upper: tuple[Pair, Pair]
    keys: tuple[int, int]

    @property
    def compared(self) -> range:
        """The keys that are compared."""
        return range(self.keys[0], self.keys[1] + 1)

    def absent(self, data: CompositeFunctionDataModule) -> list[str]:
        """Return what is asked for and the data do not have; what the paper draws need not be there."""
        wrong: dict[str, list[Any]] = {
            "key": [key for key in (self.key,) if key not in data.keys],
            "pair": [pair for pair in (self.pair,) if pair not in data.groups],
            "lower": [pair for pair in self.lower if pair not in data.groups],
            "upper": [pair for pair in self.upper if pair not in data.groups],
            "keys": [key for key in self.keys if key not in data.keys],
        }
        ours = {name: its for name, its in wrong.items() if its and getattr(self, name) != getattr(PUBLISHED, name)}
        return [f"{name} has {its[0]}" for name, its in ours.items()]


PUBLISHED = Shown(99, (4, 3), ((3, 3), (2, 2)), ((1, 2), (1, 3)), (30, 40))
"""Key and pair of figure 3, and those of figure 4."""


def flow_pictures(network: Any, data: EquationDataModule, flow: Tensor, shown: Shown) -> Iterator[tuple[str, Figure]]:
    """Yield how information flows, by name of the picture: in one sequence, and between roles.

    Args:
        network: The transformer.
        data: Equations.
        flow: Attention between roles (blocks, roles, roles).
        shown: What is drawn.
    """
    tokens = _example(data, shown)
    names = data.sequence_names(tokens[None])[0]
    yield (
        "flow",
        attention_lines(composite.attention_flow(network, tokens), names.split(), "attention, mean over heads"),
    )
    yield "flow_roles", role_flow(flow, data.role_names, "attention: rows look at columns")


def pair_pictures(
    network: Any, data: CompositeFunctionDataModule, shown: Shown, rows: int
) -> Iterator[tuple[str, Figure]]:
    """Yield what a network makes of pairs of anchors, by name of the picture; what the data do not have is left out."""
    accuracies = composite.pair_accuracies(network, data, max(1, rows // len(data.groups)))
    unseen = [(first, second) for first, second in data.unseen]
    yield "pairs", pair_table(accuracies, unseen, "accuracy of each pair, unseen ones framed")
    pairs = (*shown.lower, *shown.upper)
    if all(pair in data.groups for pair in pairs) and all(key in data.keys for key in shown.compared):
        yield "alike", _alike(network, data, shown)
    if composite.common_values(data):
        yield "values", _values(network, data)


def _example(data: EquationDataModule, shown: Shown) -> Tensor:
    """The sequence of a key and a pair, where the data have them, else the first one of the validation part."""
    if isinstance(data, CompositeFunctionDataModule) and shown.pair in data.groups and shown.key in data.keys:
        return composite.sequences(data, [shown.pair], [shown.key])[0, 0]
    tokens: Tensor = data.part("val").tokens
    return tokens[0]


def _alike(network: Any, data: CompositeFunctionDataModule, shown: Shown) -> Figure:
    keys, both = shown.compared, (shown.lower, shown.upper)
    lower, upper = (composite.pair_similarities(network, data, *pairs, keys) for pairs in both)
    boxes, other_boxes = (composite.equal_answers(data, *pairs, keys) for pairs in both)
    names = [f"{_named(first)}, {_named(second)}" for first, second in both]
    title = "last place after the attention of the last block"
    return target_map(lower, upper, (boxes, other_boxes), keys, names, title)


def _values(network: Any, data: CompositeFunctionDataModule) -> Figure:
    matrix, targets = composite.value_similarities(network, data)
    edges = [place for place, (one, other) in enumerate(pairwise(targets), start=1) if one.value != other.value]
    first, last = targets[0].value, targets[-1].value
    title = f"values of the last block at the first anchor, by g(x; a) = {first} … {last}"
    return similarity_map(matrix, title, edges)


def _named(pair: Anchors) -> str:
    return " ".join(f"f{anchor}" for anchor in pair)
