"""What a transformer makes of composite functions: where it looks, what it makes alike, what it answers.

After Zhang, Lin, Wang, Zhang and Xu, "Initialization is Critical to Whether Transformers Fit Composite Functions by
Reasoning (Inference) or Memorizing" (arXiv 2405.05409), figures 1, 3 and 4. Everything here asks a network and changes
nothing; `grok_lightning.load` opens the network and the data of a finished run. Blocks are counted from 0, anchors from
1 as in their names. The paper's noise around key and anchors, and the place of the key, are not known in its figures 3
and 4: here they are the same in all sequences that are compared.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_lightning.data import CompositeFunctionDataModule
from grok_lightning.data.anchors import Anchors, are_anchors
from grok_lightning.data.batches import numbered_generator
from grok_lightning.data.composite import UNSEEN
from grok_lightning.networks import ArithmeticTransformer, Network, attention_maps, stream_vectors
from grok_lightning.networks.answers import answers_of, device_of
from grok_lightning.networks.places import LAST

KEYS = range(30, 41)
"""Those of figure 4."""
TARGETS = 10
"""Values whose vectors are compared, as many as in the follow-up (arXiv 2501.08537, Fig. 4D)."""
BY_KEYS = {"train keys": ("train", UNSEEN[0]), "test keys": ("val", "test", UNSEEN[1])}
"""Parts of the data by which keys they have."""


class Around(NamedTuple):
    """What surrounds keys and anchors in sequences.

    Attributes:
        position: Where the key stands, counted from 0; in the middle of where it can if not given.
        seed: Seed of the noise.
    """

    position: int | None = None
    seed: int = 0


ANY = Around()


def sequences(
    data: CompositeFunctionDataModule, groups: Sequence[Anchors], keys: Sequence[int], around: Around = ANY
) -> Tensor:
    """Return the sequence of each pair (or single anchor) and key (groups, keys, length); nothing else differs.

    Raises:
        ValueError: If there is no such pair, key or position.
    """
    places = data.length - data.anchors
    position = (places - 1) // 2 if around.position is None else around.position
    if not 0 <= position < places:
        raise ValueError(f"position is {position}; expected 0 to {places - 1}, where a key can stand")
    for group in groups:
        if group not in data.groups:
            raise ValueError(f"there are no anchors {group}; the data have {data.groups[0]} … {data.groups[-1]}")
    for key in keys:
        if key not in data.keys:
            raise ValueError(f"there is no key {key}; the data have {data.keys[0]} … {data.keys[-1]}")
    noise = data.noise(1, numbered_generator(around.seed)).expand(len(keys), -1)
    positions, numbers = torch.full((len(keys),), position), torch.tensor([*keys]) - data.keys.start
    return torch.stack([data.sequences(group, positions, numbers, noise) for group in groups])


def attention_flow(network: ArithmeticTransformer, tokens: Tensor) -> Tensor:
    """Return the attention (blocks, length, length) in one sequence (length,), mean over heads: figure 3.

    Places that look are rows. It serves every sequence of every family.
    """
    maps = attention_maps(network, tokens[None].to(device_of(network)))
    return torch.stack([weights[0].float().mean(0) for weights in maps]).cpu()


def cosines(vectors: Tensor, others: Tensor) -> Tensor:
    """Return the cosine (rows, other rows) of each vector (rows, width) and each other one (other rows, width)."""
    directions, other_directions = (F.normalize(each.float(), dim=-1) for each in (vectors, others))
    return (directions @ other_directions.T).cpu()


def pair_similarities(
    network: ArithmeticTransformer,
    data: CompositeFunctionDataModule,
    first: Anchors,
    second: Anchors,
    keys: Sequence[int] = KEYS,
    around: Around = ANY,
) -> Tensor:
    """Return how alike the sequences of two pairs are (keys, keys), those of the first pair in rows: figure 4 a and b.

    It is the cosine of the stream at the last place after the attention of the last block. A network that infers makes
    sequences alike that have equal answers, see `equal_answers`; one that remembers does not.

    Raises:
        ValueError: If there is no such pair, key or position.
    """
    path = f"decoder.blocks.{len(network.decoder.blocks) - 1}.attention"
    tokens = sequences(data, [first, second], keys, around).to(device_of(network))
    vectors, others = stream_vectors(network, tokens.flatten(0, 1), [path], LAST)[path].view(2, len(keys), -1)
    return cosines(vectors, others)


def equal_answers(
    data: CompositeFunctionDataModule, first: Anchors, second: Anchors, keys: Sequence[int] = KEYS
) -> Tensor:
    """Return for which keys two pairs have the same answer (keys, keys): the red boxes of figure 4."""
    answers, others = data.solutions(sequences(data, [first, second], keys)).designated
    return torch.eq(answers[:, None], others)


class Target(NamedTuple):
    """What the first anchor makes of a key.

    Attributes:
        value: The value.
        anchor: The anchor.
        key: The key.
    """

    value: int
    anchor: int
    key: int


def common_values(data: CompositeFunctionDataModule) -> list[int]:
    """Return the ten values in the middle of those that all single functions make of keys; fewer if there are fewer."""
    made = [set(data.functions.inferential[anchor]) for anchor in data.functions.sequences(1)]
    common = sorted(set[int].intersection(*made))
    start = max(0, (len(common) - TARGETS) // 2)
    return common[start : start + TARGETS]


def value_similarities(
    network: ArithmeticTransformer,
    data: CompositeFunctionDataModule,
    values: Sequence[int] | None = None,
    around: Around = ANY,
) -> tuple[Tensor, list[Target]]:
    """Return how alike the values of the last block are at the place of the first anchor: after figure 4 c.

    Each of some values g(x; a), by each anchor a that makes it of a key x, has a vector, that of the smallest such key;
    those of one value stand together. A network that infers makes these alike.

    Args:
        network: The transformer.
        data: Composite functions.
        values: Values of single functions; if not given, those of `common_values`.
        around: What is around keys and anchors. A second anchor is always f1.

    Returns:
        The cosines (vectors, vectors), and what each vector is of.

    Raises:
        ValueError: If no anchor makes such a value, or there is no such position.
    """
    made = {anchor: data.functions.inferential[anchor,] for (anchor,) in data.functions.sequences(1)}
    values = common_values(data) if values is None else values
    wanted = product(values, made)
    targets = [Target(v, a, data.keys[made[a].index(v)]) for v, a in wanted if v in made[a]]
    if not targets:
        raise ValueError(f"values is {list(values)}; expected some that the anchors make of a key")
    groups = [(target.anchor, 1)[: data.anchors] for target in targets]
    rows = [sequences(data, [group], [target.key], around)[0] for group, target in zip(groups, targets, strict=True)]
    tokens = torch.cat(rows).to(device_of(network))
    path = f"decoder.blocks.{len(network.decoder.blocks) - 1}.attention.value"
    place = int(data.positions_of(tokens)[0]) + 1
    vectors = stream_vectors(network, tokens, [path], place)[path]
    return cosines(vectors, vectors), targets


def answer_offsets(
    network: Network, data: CompositeFunctionDataModule, pair: Anchors, part: str = UNSEEN[0]
) -> dict[int | None, int]:
    """Count how far the answers to a pair are from the inferential ones, None standing for an answer that is no number.

    With the published functions an answer to (4, 3) is 0 away if inferential, and +4 if symmetric. Residues are
    subtracted modulo their modulus.

    Raises:
        ValueError: If the part has no sequences of the pair.
    """
    tokens = data.part(part).tokens if part in data.parts else torch.zeros(0, data.length, dtype=torch.long)
    tokens = tokens[are_anchors(data.pairs_of(tokens), pair)]
    if not len(tokens):
        raise ValueError(
            f"the part {part!r} has no sequences of the pair {pair}; the parts are {', '.join(data.parts)}"
        )
    answers = answers_of(network, tokens).to(tokens.device)
    offsets = answers - data.solutions(tokens).inferential
    offsets = offsets if data.modulus is None else offsets % data.modulus
    told = zip(offsets.tolist(), (answers < len(data.numbers)).tolist(), strict=True)
    counts = Counter(offset if is_number else None for offset, is_number in told)
    return dict(sorted(counts.items(), key=lambda its: (its[0] is None, its[0] or 0)))


def pair_accuracies(network: Network, data: CompositeFunctionDataModule, rows: int = 1000) -> dict[str, Tensor]:
    """Return the accuracy of each pair, first anchors in rows (anchors, anchors), or of each single anchor (anchors,).

    Args:
        network: The network.
        data: Composite functions, set up.
        rows: Sequences of each pair that are asked at most.

    Returns:
        Accuracy with `train keys` and with `test keys`, of unseen pairs that of the inferential answers.
    """
    shape = (data.functions.count,) * data.anchors
    tables = {}
    for name, parts in BY_KEYS.items():
        tokens, answers = map(torch.cat, zip(*(data.part(part) for part in parts if part in data.parts), strict=True))
        pairs, shares = data.pairs_of(tokens), []
        for group in data.groups:
            its = are_anchors(pairs, group).nonzero()[:rows, 0]
            said = answers_of(network, tokens[its])
            shares.append((said == answers[its].to(said.device)).double().mean())
        tables[name] = torch.stack(shares).view(shape).cpu()
    return tables
