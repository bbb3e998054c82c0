"""Branches of the residual stream."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_choice, require_positive, require_probability

Norm = Literal["pre", "post", "none"]


class Branch(nn.Module):
    """A map f whose outcome is added to the residual stream x.

    With norm "pre" x + f(LN(x)), with "post" LN(x + f(x)) as in Vaswani et al. (arXiv 1706.03762), with "none"
    x + f(x). Dropout acts on the outcome of f before it is added (there, section 5.4).

    Args:
        width: Width of the stream.
        norm: Where the LayerNorm is.
        dropout: Probability of dropping a unit of the outcome.

    Raises:
        ValueError: If `width` is below one, `norm` has none of its values, or `dropout` is outside [0, 1).
    """

    def __init__(self, width: int, *, norm: Norm, dropout: float) -> None:
        super().__init__()
        require_positive(width=width)
        require_choice("norm", norm, Norm)
        require_probability("dropout", dropout)
        self.placement = norm
        self.dropout = dropout
        self.norm = nn.Identity() if norm == "none" else nn.LayerNorm(width)

    def read(self, stream: Tensor) -> Tensor:
        """What f sees of the stream."""
        return self.norm(stream) if self.placement == "pre" else stream

    def add(self, stream: Tensor, outcome: Tensor) -> Tensor:
        """The stream after the outcome of f."""
        stream = stream + F.dropout(outcome, self.dropout, self.training)
        return self.norm(stream) if self.placement == "post" else stream
