"""The perceptron with one hidden layer, as a branch of the residual stream."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_choice, require_positive
from grok_lightning.networks.branch import Branch, Norm

Activation = Literal["relu", "gelu", "sine"]


class MLP(Branch):
    """An MLP with one hidden layer.

    Args:
        width: Width of the stream.
        mlp_width: Hidden units.
        activation: Non-linearity of the hidden units.
        norm: Where the LayerNorm is.
        bias: Whether the linear maps have biases.
        dropout: Probability of dropping a unit of the outcome.

    Raises:
        ValueError: If a size is below one, an option has none of its values, or `dropout` is outside [0, 1).
    """

    def __init__(
        self, width: int, mlp_width: int, *, activation: Activation, norm: Norm, bias: bool, dropout: float
    ) -> None:
        super().__init__(width, norm=norm, dropout=dropout)
        require_positive(mlp_width=mlp_width)
        require_choice("activation", activation, Activation)
        self.activation = activation
        self.hidden = nn.Linear(width, mlp_width, bias=bias)
        self.output = nn.Linear(mlp_width, width, bias=bias)

    def forward(self, stream: Tensor) -> Tensor:
        """The stream (…, width) after this branch."""
        return self.add(stream, self.output(activate(self.activation, self.hidden(self.read(stream)))))


def activate(activation: Activation, states: Tensor) -> Tensor:
    """The non-linearity of that name."""
    if activation == "sine":
        return torch.sin(states)
    return F.relu(states) if activation == "relu" else F.gelu(states)
