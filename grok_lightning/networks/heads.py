"""What the attention heads of a transformer look at, what they write, and what is left without them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from grok_lightning.networks.answers import uncompiled
from grok_lightning.networks.arguments import require_choice
from grok_lightning.networks.places import ALL, Places
from grok_lightning.networks.transformer import ArithmeticTransformer

Replacement = Literal["zero", "mean"]


@torch.no_grad()
def attention_maps(network: ArithmeticTransformer, tokens: Tensor) -> list[Tensor]:
    """Return how much each position looks at each other one.

    Args:
        network: The transformer.
        tokens: Sequences (batch, length).

    Returns:
        For each block the weights (batch, heads, length, length), whose rows add up to 1.
    """
    stream = network.decoder.begin(network.embedding(tokens))
    maps = []
    block: Any
    for block in network.decoder.blocks:
        maps.append(block.attention.weights(stream))
        stream = block(stream)
    return maps


@torch.no_grad()
def head_outputs(network: ArithmeticTransformer, tokens: Tensor, block: int, at: Places = ALL) -> Tensor:
    """Return what each head of a block adds to the residual stream (batch, length, heads, width), biases left out.

    Args:
        network: The transformer.
        tokens: Sequences (batch, length).
        block: Number of the block, from 0.
        at: Places to look at; the others are left out.

    Raises:
        ValueError: If there is no such block.
    """
    attention = _attention(network, block)
    seen: list[Tensor] = []
    handle = attention.output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with uncompiled():
            network(tokens, ALL)
    finally:
        handle.remove()
    mixed = seen[0].view(*tokens.shape, attention.heads, attention.head_width)
    maps: Tensor = attention.output.weight.view(-1, attention.heads, attention.head_width)
    return torch.einsum("b...hd,whd->b...hw", mixed[:, at], maps)


@contextmanager
def pruned(
    network: ArithmeticTransformer, heads: Iterable[tuple[int, int]], by: Replacement = "zero"
) -> Iterator[None]:
    """Take heads out of a network for a while.

    Args:
        network: The transformer.
        heads: Numbers of block and head, from 0.
        by: What stands for what a head writes: `zero`, or the `mean` over the sequences of the batch, by position.

    Raises:
        ValueError: If there is no such head, or `by` is neither.
    """
    require_choice("by", by, Replacement)
    chosen: dict[int, list[int]] = {}
    for block, head in heads:
        check_head(network, block, head)
        chosen.setdefault(block, []).append(head)
    with uncompiled(), ExitStack() as hooks:
        for block, its in chosen.items():
            attention = _attention(network, block)
            handle = attention.output.register_forward_pre_hook(_Without(its, attention.head_width, by))
            hooks.callback(handle.remove)
        yield


def check_head(network: ArithmeticTransformer, block: int, head: int) -> None:
    """Refuse a head that a network has not.

    Raises:
        ValueError: If there is no such block, or the block has no such head.
    """
    heads = _attention(network, block).heads
    if not 0 <= head < heads:
        raise ValueError(f"Block {block} has heads 0 to {heads - 1}, got {head}.")


class _Without:
    """Replaces what some heads give to the output map of their attention."""

    def __init__(self, heads: Sequence[int], head_width: int, by: Replacement) -> None:
        self.columns = torch.cat([torch.arange(head_width) + head * head_width for head in heads])
        self.by = by

    def __call__(self, module: Any, inputs: tuple[Tensor]) -> Tensor:
        (mixed,) = inputs
        columns = self.columns.to(mixed.device)
        kept = torch.zeros_like(mixed) if self.by == "zero" else mixed.mean(0, keepdim=True).expand_as(mixed)
        return mixed.index_copy(-1, columns, kept.index_select(-1, columns))


def _attention(network: ArithmeticTransformer, block: int) -> Any:
    blocks: Any = network.decoder.blocks
    if not 0 <= block < len(blocks):
        raise ValueError(f"The network has blocks 0 to {len(blocks) - 1}, got {block}.")
    return blocks[block].attention
