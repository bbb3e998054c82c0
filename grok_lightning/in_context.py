"""What a network that learns functions in context does: which solver it resembles, and what its heads hold.

After He, Doshi, Das and Gromov, "Learning to grok: emergence of in-context learning and skill composition in modular
arithmetic tasks" (arXiv 2406.02550), figures 1 and 5 and the official code. Everything here asks a network for its
answers and changes nothing; `grok_lightning.load` opens the network and the data of a finished run.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from grok_lightning.data import Equations, InContextDataModule, LinearInContextDataModule
from grok_lightning.data.batches import numbered_generator
from grok_lightning.data.in_context import SETS
from grok_lightning.metrics import ExplainedAnswers, ratio_matching
from grok_lightning.metrics.solvers import UNSOLVED
from grok_lightning.networks import ArithmeticTransformer, head_outputs, pruned
from grok_lightning.networks.answers import AT_ONCE, answers_of, device_of
from grok_lightning.networks.heads import Replacement, check_head
from grok_lightning.operations import abelian_group


def predictions(network: ArithmeticTransformer, data: InContextDataModule, tokens: Tensor) -> Tensor:
    """Return what a network answers (rows, examples) in sequences of tokens (rows, length)."""
    return answers_of(network, tokens, data.reads)


def accuracy(
    network: ArithmeticTransformer, data: InContextDataModule, which: str = SETS[-1], part: str = "val"
) -> float:
    """Return the share of right answers in one of the sets of a part."""
    rows = _rows(data, which, part)
    return float((predictions(network, data, rows.tokens) == rows.answers.to(device_of(network))).double().mean())


def explained(
    network: ArithmeticTransformer, data: LinearInContextDataModule, which: str = SETS[-1], part: str = "val"
) -> dict[str, Tensor]:
    """Return how much of a network's right answers each reference solver explains, see `ExplainedAnswers`.

    Args:
        network: The transformer.
        data: Linear functions modulo a prime.
        which: Which of the sets of known and new functions and inputs.
        part: `val` or `test`.

    Raises:
        ValueError: If the modulus is no prime.
    """
    # Only one of several processes may be asking.
    measure = ExplainedAnswers(data.modulus, data.examples, sync_on_compute=False)
    rows = _rows(data, which, part)
    said = predictions(network, data, rows.tokens).cpu()
    for tokens, answers, some in zip(*(torch.split(each.cpu(), AT_ONCE) for each in (*rows, said)), strict=True):
        measure.update(data.inputs_of(tokens), answers, some)
    return measure.compute()


def queries(data: LinearInContextDataModule, function: Sequence[int], shots: int, seed: int = 0) -> Equations:
    """Return a sequence for every pair of inputs, in which that pair comes after so many examples, and nothing differs.

    The examples are the same random ones, distinct, for every function, as in the official code.

    Args:
        data: Linear functions of two variables.
        function: Coefficients (a, b).
        shots: Number of examples before the pair.
        seed: Seed of the examples.

    Returns:
        Tokens (modulus², length) and answers (modulus², examples), pairs in lexicographic order.

    Raises:
        ValueError: If the functions have other than two variables, or so many examples do not fit.
    """
    if data.variables != 2:
        raise ValueError(f"the functions have {data.variables} variables; a grid of queries needs two")
    if not 0 <= shots < data.examples:
        raise ValueError(f"shots is {shots}; expected 0 to {data.examples - 1}, with {data.examples} examples in all")
    residues = torch.arange(data.modulus, device="cpu")
    pairs = torch.cartesian_prod(residues, residues)
    order = torch.randperm(len(pairs), generator=numbered_generator(seed), device="cpu")
    context = pairs[order.repeat(-(-data.examples // len(order)))[: data.examples]]
    inputs = context.repeat(len(pairs), 1, 1)
    inputs[:, shots] = pairs
    return data.sequences(torch.tensor([list(function)], device="cpu"), inputs[None])


def shot_grid(
    network: ArithmeticTransformer,
    data: LinearInContextDataModule,
    function: Sequence[int],
    shots: int,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return at which queries a network is right after so many examples, and which ratio matching solves.

    Figure 5 of He et al.

    Args:
        network: The transformer.
        data: Linear functions of two variables modulo a prime.
        function: Coefficients (a, b).
        shots: Number of examples before the query.
        seed: Seed of the examples.

    Returns:
        Two masks (modulus, modulus) over the queries (x, y).

    Raises:
        ValueError: As `queries`, or if the modulus is no prime.
    """
    asked = queries(data, function, shots, seed)
    inputs, values = data.inputs_of(asked.tokens), asked.answers
    right = predictions(network, data, asked.tokens).cpu()[:, shots] == values[:, shots]
    matched = ratio_matching(inputs[:, :shots], values[:, :shots], inputs[:, shots], data.modulus) != UNSOLVED
    size = (data.modulus, data.modulus)
    return right.view(size), matched.view(size)


def head_vectors(
    network: ArithmeticTransformer,
    data: LinearInContextDataModule,
    function: Sequence[int],
    shots: int,
    head: tuple[int, int],
    seed: int = 0,
) -> Tensor:
    """Return what a head writes at the two inputs of a query (modulus², 2 · width), for every query.

    In figure 1 of He et al. the first two principal components of some heads of a network that generalises are a circle
    of circles: the place on the large one says log x, that on the small one log y.

    Args:
        network: The transformer.
        data: Linear functions of two variables.
        function: Coefficients (a, b).
        shots: Number of examples before the query.
        head: Numbers of block and head, from 0.
        seed: Seed of the examples.

    Raises:
        ValueError: As `queries`, or if there is no such head.
    """
    block, number = head
    check_head(network, block, number)
    tokens = queries(data, function, shots, seed).tokens.to(device_of(network))
    at = slice(3 * shots, 3 * shots + 2)
    written = [head_outputs(network, some, block, at)[:, :, number] for some in torch.split(tokens, AT_ONCE)]
    return torch.cat(written).flatten(1).cpu()


def similarities(vectors: Tensor) -> Tensor:
    """Return the cosine similarities (rows, rows) of vectors (rows, width), each standardised over its entries first.

    As in the official code of He et al.; of what a head writes at all queries they show which it holds to be alike.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float))
    centred = vectors - vectors.mean(1, keepdim=True)
    directions = torch.nn.functional.normalize(centred, dim=1)
    return directions @ directions.T


def discrete_logarithms(modulus: int) -> Tensor:
    """Return the discrete logarithm (modulus,) of every residue modulo a prime, −1 for 0, which has none.

    The base is the generator of the group behind · that `abelian_group` finds; modulo 29 the official code of He et al.
    has 27. Another base turns the order of colours on a circle around, or skips, but leaves it a circle.
    """
    logarithms = torch.full((modulus,), -1)
    if modulus == 2:  # 1 alone is no group to `abelian_group`
        logarithms[1] = 0
        return logarithms
    for residue, (exponent,) in abelian_group("mul", modulus).coordinates.items():
        logarithms[residue] = exponent
    return logarithms


def pruned_accuracy(
    network: ArithmeticTransformer,
    data: InContextDataModule,
    by: Replacement = "zero",
    which: str = SETS[-1],
    part: str = "val",
) -> Tensor:
    """Return the accuracy (blocks, heads) that is left on a set when each head is taken out, see `pruned`."""
    left = []
    for number, block in enumerate(network.decoder.blocks):
        accuracies = []
        for head in range(block.attention.heads):  # type: ignore[union-attr, arg-type]
            with pruned(network, [(number, head)], by):
                accuracies.append(accuracy(network, data, which, part))
        left.append(accuracies)
    return torch.tensor(left)


def _rows(data: InContextDataModule, which: str, part: str) -> Equations:
    rows = data.part(part)
    chosen = rows.at(rows.sets == SETS.index(which))
    return Equations(chosen.tokens, chosen.answers)
