"""Σ of the transformer: it brings the vectors of a sequence together."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_choice, require_positive, require_probability
from grok_lightning.networks.attention import Attention
from grok_lightning.networks.mlp import MLP
from grok_lightning.networks.places import ALL, LAST, Places

Positions = Literal["learned", "rotary", "none"]


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

    def forward(self, stream: Tensor, *, at: Places = ALL) -> Tensor:
        """The stream (batch, length, width) after this block, at some places only."""
        states: Tensor = self.mlp(self.attention(stream, at=at))
        return states

    def gather(self, table: Tensor, entries: Tensor, *, at: Places) -> Tensor:
        """The same for a stream whose vectors are entries (batch, length) of a table (entries, width)."""
        states: Tensor = self.mlp(self.attention.gather(table, entries, at=at))
        return states


class Decoder(nn.Module):
    """Positions, blocks and a final norm, read at the last position of the sequence or at others.

    Beyond its attention the last block computes nothing but what is read.

    Args:
        blocks: At least one block.
        length: How many positions there are.
        width: Width of the stream.
        positions: Whether a learned vector for each position is added to the vectors of the tokens; rotary ones are the
            attention's.
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

    def forward(self, embedded: Tensor, at: Places = LAST) -> Tensor:
        """One vector (batch, width), or one for each place read, of each sequence of vectors (batch, length, width)."""
        return self._continue(self.blocks[0](self.begin(embedded), at=self._read_by(0, at)), at)

    def begin(self, embedded: Tensor) -> Tensor:
        """The stream (batch, length, width) before the first block."""
        stream = self.input_norm(embedded)
        stream = stream if self.positions is None else stream + self.positions.weight
        return F.dropout(stream, self.dropout, self.training)

    def decode(self, vectors: Tensor, tokens: Tensor, at: Places = LAST) -> Tensor:
        """The same for tokens (batch, length) with vectors (vocabulary, width).

        What the first block makes of a vector alone (its norm, query, key and value) depends on token and position. Of
        those there are often fewer than occurrences: then it is made once for each and gathered.
        """
        places = 1 if self.positions is None else tokens.shape[1]
        drops = self.training and self.dropout > 0  # each occurrence its own units
        if drops or 2 * len(vectors) * places > tokens.numel():
            return self.forward(F.embedding(tokens, vectors), at)
        table = self.input_norm(vectors)
        entries = tokens
        if self.positions is not None:
            table = (table[:, None] + self.positions.weight).flatten(0, 1)
            entries = tokens * places + torch.arange(places, device=tokens.device)
        first: Any = self.blocks[0]
        return self._continue(first.gather(table, entries, at=self._read_by(0, at)), at)

    def _continue(self, stream: Tensor, at: Places) -> Tensor:
        """The outcome, from the stream after the first block."""
        for number, block in enumerate(self.blocks[1:], start=1):
            stream = block(stream, at=self._read_by(number, at))
        states: Tensor = self.norm(stream)
        return states

    def _read_by(self, number: int, at: Places) -> Places:
        """The places of the stream that the block of this number has to give."""
        return at if number == len(self.blocks) - 1 else ALL
