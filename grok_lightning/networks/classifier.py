"""Ψ, from the vector of a sequence to the logits of its answer."""

from torch import Tensor, nn

from grok_lightning.networks.arguments import require_choice, require_positive
from grok_lightning.networks.mlp import Activation, activate


class Classifier(nn.Module):
    """Whatever gives a logit for each token."""

    @property
    def token_parameters(self) -> tuple[str, ...]:
        """Names of the parameters with one row for each token: none, unless a subclass has some."""
        return ()


class LinearClassifier(Classifier):
    """One linear map to a logit for each token.

    Args:
        width: Width of its input.
        vocabulary_size: How many tokens there are.
        bias: Whether each token has a bias.

    Raises:
        ValueError: If a size is below one.
    """

    def __init__(self, width: int, vocabulary_size: int, *, bias: bool) -> None:
        super().__init__()
        require_positive(width=width, vocabulary_size=vocabulary_size)
        self.output = nn.Linear(width, vocabulary_size, bias=bias)

    @property
    def token_parameters(self) -> tuple[str, ...]:
        """Names of the parameters with one row for each token."""
        return ("output.weight",) if self.output.bias is None else ("output.weight", "output.bias")

    def forward(self, states: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of states (batch, width)."""
        logits: Tensor = self.output(states)
        return logits


class MLPClassifier(LinearClassifier):
    """A hidden layer, then a logit for each token.

    Args:
        width: Width of its input.
        vocabulary_size: How many tokens there are.
        mlp_width: Hidden units.
        activation: Non-linearity of the hidden units.
        bias: Whether hidden units and tokens have biases.

    Raises:
        ValueError: If a size is below one, or `activation` has none of its values.
    """

    def __init__(self, width: int, vocabulary_size: int, mlp_width: int, *, activation: Activation, bias: bool) -> None:
        require_positive(mlp_width=mlp_width)
        super().__init__(mlp_width, vocabulary_size, bias=bias)
        require_positive(width=width)
        require_choice("activation", activation, Activation)
        self.activation = activation
        self.hidden = nn.Linear(width, mlp_width, bias=bias)

    def forward(self, states: Tensor) -> Tensor:
        """Logits (batch, vocabulary) of states (batch, width)."""
        return super().forward(activate(self.activation, self.hidden(states)))
