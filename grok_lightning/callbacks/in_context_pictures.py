"""Pictures of a network that learns functions in context, drawn from what it answers."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure
from torch import Tensor

from grok_lightning import in_context
from grok_lightning.data import InContextDataModule, LinearInContextDataModule
from grok_lightning.data.in_context import SETS
from grok_lightning.figures import attention_map, head_plane, pruning_chart, shot_curves, shot_grids, similarity_map
from grok_lightning.networks import attention_maps
from grok_lightning.spectra import principal_components

SET_NAMES = {
    "known": "known functions, known inputs",
    "new_inputs": "known functions, new inputs",
    "new_functions": "new functions, known inputs",
    "new_both": "new functions, new inputs",
}
SOLVERS = ("copying", "ratio matching", "modular regression")
"""The solvers whose accuracy is drawn beside that of the network, each of which can do what those before it can."""
ATTENDED = 24
"""Tokens of the sequence whose attention is drawn, as in the official code of He et al."""


def network_pictures(network: Any, data: InContextDataModule) -> Iterator[tuple[str, Figure]]:
    """Yield what can be seen in a network by itself, by name: attention, heads that are missed, grids of answers."""
    left = in_context.pruned_accuracy(network, data)
    yield "pruning", pruning_chart(left, in_context.accuracy(network, data), SET_NAMES[SETS[-1]])
    yield from _attention(network, data)
    if isinstance(data, LinearInContextDataModule) and data.variables == 2 and data.is_field:
        yield "grid", _grid(network, data)
        block, head = divmod(int(left.argmin()), left.shape[1])
        yield from _head(network, data, block, head)


def shot_picture(by_shots: Tensor, share: Tensor | None, chance: float) -> Figure:
    """Draw accuracy by number of shots, and what the solvers reach if they guess where they have no answer.

    Args:
        by_shots: Accuracy of each set of `SETS` (sets, examples).
        share: Share of the queries of each class of `ExplainedAnswers` (examples, classes), where there is one.
        chance: Accuracy of a guess.
    """
    ceilings: Mapping[str, Tensor] = {}
    if share is not None:
        solved = share.cumsum(1)
        ceilings = {f"{name}, else a guess": solved[:, n] * (1 - chance) + chance for n, name in enumerate(SOLVERS)}
    return shot_curves({SET_NAMES[name]: by_shots[n] for n, name in enumerate(SETS)}, chance, ceilings)


def _grid(network: Any, data: LinearInContextDataModule) -> Figure:
    function = data.functions.new[0].tolist()
    shots = sorted({min(k, data.examples - 1) for k in (1, 2, data.examples // 2, data.examples - 1)})
    grids = {k: in_context.shot_grid(network, data, function, k) for k in shots}
    right, matched = ({k: pair[n] for k, pair in grids.items()} for n in (0, 1))
    return shot_grids(right, matched, f"new function {function[0]}·x + {function[1]}·y mod {data.modulus}")


def _head(network: Any, data: LinearInContextDataModule, block: int, head: int) -> Iterator[tuple[str, Figure]]:
    function, shots = data.functions.new[0].tolist(), data.examples - 1
    vectors = in_context.head_vectors(network, data, function, shots, (block, head))
    if not vectors.isfinite().all():
        rank_zero_warn("InContextProgress: what a head writes is not finite, and not drawn")
        return
    points, shares = principal_components(vectors, 2)
    residues = torch.arange(data.modulus)
    x, y = torch.cartesian_prod(residues, residues).unbind(1)
    logarithms = in_context.discrete_logarithms(data.modulus)
    labels = {"log x": logarithms[x], "log y": logarithms[y], "x": x, "y": y}
    title = f"head {head} of block {block}, missed most"
    yield "head", head_plane(points, labels, title, (float(shares[0]), float(shares[1])))
    edges = range(data.modulus, len(x), data.modulus)
    yield "similarity", similarity_map(in_context.similarities(vectors), f"{title}: queries x, y", edges)


def _attention(network: Any, data: InContextDataModule) -> Iterator[tuple[str, Figure]]:
    tokens = data.part("val").tokens[-1:]
    names = [list(data.vocabulary)[token] for token in tokens[0, :ATTENDED].tolist()]
    for block, weights in enumerate(attention_maps(network, tokens)):
        shown = weights[0, :, :ATTENDED, :ATTENDED].float().cpu()
        yield f"attention_{block}", attention_map(shown, names, f"block {block}, a new function on new inputs")
