"""Vectors that a transformer makes on its way, at any of its modules."""

from collections.abc import Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grok_lightning.networks.places import ALL, Places
from grok_lightning.networks.transformer import ArithmeticTransformer


@torch.no_grad()
def stream_vectors(
    network: ArithmeticTransformer, tokens: Tensor, paths: Sequence[str], at: Places = ALL
) -> dict[str, Tensor]:
    """Return what modules of a network give for each sequence, at one place (batch, …) or some (batch, some, …).

    Names of modules are those of `network.named_modules()`. With blocks counted from 0, `decoder.blocks.1.attention` is
    the stream after the attention of the second block, its norm included where that comes after: X_ao(2) of Zhang et
    al. (arXiv 2405.05409). `decoder.blocks.1.attention.value` are its values, of all heads side by side.

    The network is asked place by place, without the short cuts that it takes in training: there the first block works
    on the vocabulary, and the last one never forms the keys and values that it mixes. It does so in the mode it is in.

    Args:
        network: The transformer.
        tokens: Sequences (batch, length).
        paths: Names of modules.
        at: Places to look at.

    Raises:
        ValueError: If a name is none of a module, or the module gives nothing for places by itself.
    """
    network.check_tokens(tokens)
    seen: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for path in dict.fromkeys(paths):
            handle = module_at(network, path).register_forward_hook(partial(_keep, seen, path))
            hooks.callback(handle.remove)
        network.classifier(network.decoder(network.embedding(tokens), ALL))
    return {path: _of_sequences(seen.get(path), path, tokens)[:, at] for path in paths}


def module_at(network: ArithmeticTransformer, path: str) -> Any:
    """Return the module of a name.

    Raises:
        ValueError: If there is none.
    """
    known = dict(network.named_modules())
    if path not in known or not path:
        nearest = get_close_matches(path, filter(None, known), n=1, cutoff=0)[0]
        raise ValueError(f"the network has no module {path!r}; did you mean {nearest!r}?")
    return known[path]


def _keep(seen: dict[str, Tensor], path: str, module: Any, inputs: Any, outcome: Tensor) -> None:
    seen[path] = outcome


def _of_sequences(outcome: Tensor | None, path: str, tokens: Tensor) -> Tensor:
    """What a module gave, for each place of each sequence."""
    if outcome is not None and outcome.ndim == 2:  # for each token of the vocabulary: a part of the embedding
        outcome = F.embedding(tokens, outcome)
    if outcome is None or outcome.shape[:-1] != tokens.shape:
        raise ValueError(f"the module {path!r} gives no vector for each place; name one around it, or one of its parts")
    return outcome
