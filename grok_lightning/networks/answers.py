"""What a network answers outside of its training."""

from typing import Any

import torch
from torch import Tensor, nn

AT_ONCE = 1024
"""Sequences that pass through a network together."""


def uncompiled() -> Any:
    """Go for a while without what `torch.compile` has made of a network: it passes hooks by, and has fixed sizes."""
    return torch.compiler.set_stance("force_eager")


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's parameters."""
    return next(network.parameters()).device


@torch.no_grad()
def answers_of(network: nn.Module, tokens: Tensor, *places: Any) -> Tensor:
    """The tokens with the largest logits (rows, …), on the device of the network.

    Args:
        network: The network, in the mode it is in.
        tokens: Sequences (rows, length), on any device.
        places: Places to read at, for a network that takes them.
    """
    tokens = tokens.to(device_of(network))
    with uncompiled():
        return torch.cat([network(some, *places).argmax(-1) for some in torch.split(tokens, AT_ONCE)])
