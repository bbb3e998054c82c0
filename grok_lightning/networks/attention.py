"""Self-attention as a branch of the residual stream."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_positive
from grok_lightning.networks.branch import Branch, Norm
from grok_lightning.networks.places import ALL, LAST, Places
from grok_lightning.networks.rotary import Rotary

SHORT = 40
"""Length of a sequence up to which products of matrices beat torch's fused attention: on a CPU three times at 4 tokens,
by an eighth at 35."""


class Attention(Branch):
    """Multi-head self-attention (Vaswani et al., arXiv 1706.03762, section 3.2), all heads in one tensor.

    The keys have no bias: it would add the same number to all scores of a query, and the softmax would cancel it.

    Args:
        width: Width of the stream.
        heads: How many heads there are.
        head_width: Width of the queries, keys and values of one head.
        causal: Whether a position sees itself and earlier positions only.
        norm: Where the LayerNorm is.
        bias: Whether queries, values and output have biases.
        dropout: Probability of dropping a unit of the outcome.
        rotary: What turns queries and keys by their places; nothing if not given.

    Raises:
        ValueError: If a size is below one, `norm` has none of its values, or `dropout` is outside [0, 1).
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        head_width: int,
        causal: bool,
        norm: Norm,
        bias: bool,
        dropout: float,
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__(width, norm=norm, dropout=dropout)
        require_positive(heads=heads, head_width=head_width)
        self.heads = heads
        self.head_width = head_width
        self.causal = causal
        self.rotary = rotary
        self.query = nn.Linear(width, heads * head_width, bias=bias)
        self.key = nn.Linear(width, heads * head_width, bias=False)
        self.value = nn.Linear(width, heads * head_width, bias=bias)
        self.output = nn.Linear(heads * head_width, width, bias=bias)

    def forward(self, stream: Tensor, *, at: Places = ALL) -> Tensor:
        """The stream (batch, length, width) after this branch, at some places only."""
        states = self.read(stream)
        if at == LAST and self.rotary is None:
            return self.add(stream[:, at], self.output(self._mix_into_last(states)))
        mixed = self._attend(self.query(states), self.key(states), self.value(states))
        return self.add(stream[:, at], self.output(mixed[:, at]))

    def gather(self, table: Tensor, entries: Tensor, *, at: Places) -> Tensor:
        """The same for a stream whose vectors are entries (batch, length) of a table (entries, width).

        Queries, keys and values are formed once for each entry of the table.
        """
        states = self.read(table)
        if at == LAST and self.rotary is None:
            mixed = self._gather_into_last(states, entries)
        else:
            query, key, value = (F.embedding(entries, linear(states)) for linear in (self.query, self.key, self.value))
            mixed = self._attend(query, key, value)[:, at]
        return self.add(F.embedding(entries[:, at], table), self.output(mixed))

    def weights(self, stream: Tensor) -> Tensor:
        """How much each position looks at each other one, (batch, heads, length, length), rows adding up to 1."""
        states = self.read(stream)
        query, key = (self._by_head(linear(states), turn=True) for linear in (self.query, self.key))
        weights: Tensor = self._scores(query, key).softmax(-1)
        return weights

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Values, mixed for every position; all (batch, length, heads · head_width)."""
        query, key = (self._by_head(vectors, turn=True) for vectors in (query, key))
        value = self._by_head(value, turn=False)
        if query.shape[2] > SHORT:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        else:
            mixed = self._scores(query, key).softmax(-1) @ value
        return mixed.transpose(1, 2).flatten(-2)

    def _by_head(self, vectors: Tensor, *, turn: bool) -> Tensor:
        """Vectors (batch, length, heads · head_width) as (batch, heads, length, head_width), turned by their places."""
        vectors = vectors.view(*vectors.shape[:2], self.heads, self.head_width).transpose(1, 2)
        if turn and self.rotary is not None:
            vectors = self.rotary(vectors)
        return vectors

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores (batch, heads, length, length) before the softmax, from vectors by head."""
        scores: Tensor = (query * self.head_width**-0.5) @ key.transpose(2, 3)
        if not self.causal:
            return scores
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, -torch.inf)

    def _gather_into_last(self, states: Tensor, entries: Tensor) -> Tensor:
        """Values (batch, heads · head_width), mixed for the last position, from states (entries, width)."""
        pairs = torch.cat([self.key(states), self.value(states)], 1)  # gathered together
        key, value = F.embedding(entries, pairs).view(*entries.shape, 2, self.heads, self.head_width).unbind(2)
        # Not by index: its gradient adds up in no fixed order.
        query = F.embedding(entries[:, -1:], self.query(states)).view(-1, 1, self.heads, self.head_width)
        # One query a head: as products of matrices these would be many, and tiny.
        weights = (query * self.head_width**-0.5 * key).sum(-1).softmax(1)  # (batch, length, heads)
        mixed: Tensor = (weights[..., None] * value).sum(1).flatten(-2)
        return mixed

    def _mix_into_last(self, states: Tensor) -> Tensor:
        """Values (batch, heads · head_width), mixed for the last position, which sees all others.

        There is one query for each head, so keys and values are not formed at every position: q · K x = (Kᵀ q) · x
        moves the key map to the query, and Σ w V x = V (Σ w x) puts the value map behind the mixing. These maps cost
        `length` times less, and the function is the same up to rounding.
        """
        query = self.query(states[:, -1]).view(-1, self.heads, self.head_width).transpose(0, 1)
        key, value = (linear.weight.view(self.heads, self.head_width, -1) for linear in (self.key, self.value))
        question = (query * self.head_width**-0.5 @ key).transpose(0, 1)  # (batch, heads, width)
        weights = (question @ states.transpose(1, 2)).softmax(-1)  # (batch, heads, length)
        mixed = (weights @ states).transpose(0, 1)  # (heads, batch, width)
        values: Tensor = (mixed @ value.transpose(1, 2)).transpose(0, 1).flatten(-2)
        return values if self.value.bias is None else values + self.value.bias
