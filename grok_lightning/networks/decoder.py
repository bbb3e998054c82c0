"""Σ of the transformer: it brings the vectors of a sequence together."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_choice, require_positive, require_probability
from grok_lightning.networks.attention import Attention
from grok_lightning.networks.mlp import MLP

Positions = Literal["learned", "none"]


class Block(nn.Module):
    """Attention, then an MLP.

    Args:
        attention: Mixes the positions.
        mlp: Acts on each position.
    """

    def __init__(self, attention: Attention, mlp: MLP) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = mlp

    def forward(self, stream: Tensor, *, last: bool = False) -> Tensor:
        """The stream (batch, length, width) after this block; if `last`, at the last position only, (batch, width)."""
        states: Tensor = self.mlp(self.attention(stream, last=last))
        return states

    def gather(self, table: Tensor, entries: Tensor, *, last: bool) -> Tensor:
        """The same for a stream whose vectors are entries (batch, length) of a table (entries, width)."""
        states: Tensor = self.mlp(self.attention.gather(table, entries, last=last))
        return states


class Decoder(nn.Module):
    """Positions, blocks and a final norm, read at the last position of the sequence.

    The last block computes nothing but that position.

    Args:
        blocks: At least one block.
        length: How many positions there are.
        width: Width of the stream.
        positions: Whether a learned vector for each position is added to the vectors of the tokens.
        input_norm: Whether the vectors of the tokens pass through a LayerNorm, before positions are added.
        final_norm: Whether the outcome passes through a LayerNorm.
        dropout: Probability of dropping a unit of the stream before the first block.

    Raises:
        ValueError: If there is no block, a size is below one, `positions` has none of its values, or `dropout` is
            outside [0, 1).
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        length: int,
        width: int,
        positions: Positions,
        input_norm: bool,
        final_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        require_positive(length=length, width=width)
        require_choice("positions", positions, Positions)
        require_probability("dropout", dropout)
        self.input_norm = nn.LayerNorm(width) if input_norm else nn.Identity()
        self.positions = nn.Embedding(length, width) if positions == "learned" else None
        self.blocks = nn.ModuleList(blocks)
        require_positive(blocks=len(self.blocks))
        self.norm = nn.LayerNorm(width) if final_norm else nn.Identity()
        self.dropout = dropout

    def forward(self, embedded: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of vectors (batch, length, width)."""
        stream = self.input_norm(embedded)
        stream = stream if self.positions is None else stream + self.positions.weight
        stream = F.dropout(stream, self.dropout, self.training)
        return self._continue(self.blocks[0](stream, last=len(self.blocks) == 1))

    def decode(self, vectors: Tensor, tokens: Tensor) -> Tensor:
        """The same for tokens (batch, length) with vectors (vocabulary, width).

        What the first block makes of a vector alone (its norm, query, key and value) depends on token and position. Of
        those there are often fewer than occurrences: then it is made once for each and gathered.
        """
        places = 1 if self.positions is None else tokens.shape[1]
        drops = self.training and self.dropout > 0  # each occurrence its own units
        if drops or 2 * len(vectors) * places > tokens.numel():
            return self.forward(F.embedding(tokens, vectors))
        table = self.input_norm(vectors)
        entries = tokens
        if self.positions is not None:
            table = (table[:, None] + self.positions.weight).flatten(0, 1)
            entries = tokens * places + torch.arange(places, device=tokens.device)
        first: Any = self.blocks[0]
        return self._continue(first.gather(table, entries, last=len(self.blocks) == 1))

    def _continue(self, stream: Tensor) -> Tensor:
        """The outcome, from the stream after the first block."""
        for place, block in enumerate(self.blocks[1:], start=2):
            stream = block(stream, last=place == len(self.blocks))
        states: Tensor = self.norm(stream)
        return states
