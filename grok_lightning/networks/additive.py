"""The network Ψ(λ₁Φ(x₁) + … + λₙΦ(xₙ)), and the weights with which it is an operation of an abelian group."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from grok_lightning.networks.arguments import require_positive, require_std
from grok_lightning.networks.classifier import MLPClassifier
from grok_lightning.networks.embedding import Embedding
from grok_lightning.networks.initialisation import STANDARD_DEVIATION, InitRates, initialise
from grok_lightning.networks.mlp import Activation
from grok_lightning.networks.network import Network
from grok_lightning.networks.tensors import load_tensors
from grok_lightning.operations import AbelianGroup

ZERO_SLOPE = 0.01
"""Slope of the sine that counts zeros: positive for up to 314 of them."""

LONGEST = 300
"""Positions of an exact network at most, each of which may be a zero."""


class WeightedSum(nn.Module):
    """The sum over positions with a weight for each: Σ of the additive network.

    Args:
        length: How many positions there are.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(length))

    def forward(self, embedded: Tensor) -> Tensor:
        """One vector (batch, width) for each sequence of vectors (batch, length, width)."""
        return (embedded * self.weights[:, None]).sum(1)


class AdditiveNetwork(Network):
    """The Kolmogorov–Arnold form itself: an inner function Φ, a weighted sum, an outer function Ψ.

    Φ is a token table, the weights λ of the positions begin at one, and Ψ is an MLP with one hidden layer. By theorems
    4 and 5 of Park, Kim and Kim (arXiv 2405.16658) it can be any operation of an abelian group, on any number of
    operands, with the same Φ and Ψ for x · y and x · y⁻¹: see `exact_network`.

    Args:
        vocabulary_size: How many tokens there are.
        length: How many tokens a sequence has.
        width: Width of the vectors.
        mlp_width: Hidden units of the classifier; `4 · width` if not given.
        activation: Non-linearity of the hidden units.
        init_std: Standard deviation of the initial weights but λ; 1/√d if null, see `initialise`.
        init_rates: Initialisation rates γ instead, one for all weights or one for each kind, see `InitRates`.

    Raises:
        ValueError: If a size is below one, `init_std` is not positive, or `activation` has none of its values.
    """

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        width: int = 128,
        mlp_width: int | None = None,
        activation: Activation = "relu",
        init_std: float | None = STANDARD_DEVIATION,
        init_rates: float | InitRates | None = None,
    ) -> None:
        require_positive(length=length)
        require_std(init_std)
        hidden = 4 * width if mlp_width is None else mlp_width
        super().__init__(
            vocabulary_size,
            length,
            embedding=Embedding(vocabulary_size, width),
            decoder=WeightedSum(length),
            classifier=MLPClassifier(width, vocabulary_size, hidden, activation=activation, bias=True),
        )
        initialise(self, init_std, init_rates)


def exact_network(
    group: AbelianGroup, vocabulary_size: int, weights: Sequence[float], frequency: int = 1
) -> AdditiveNetwork:
    """The network that is an operation of an abelian group, exactly.

    Φ(x) are the angles 2πkx_j/m_j of the coordinates x_j of x, the logarithms of the characters of the cyclic factors
    (theorem 4 of Park, Kim and Kim; the real part of such a logarithm is 0 and left out). They add up under the
    operation, so that Ψ reads its result from their sine and cosine: the logit of c is Σ_j cos(s_j − 2πkc_j/m_j), which
    is largest for the result alone. Φ and Ψ do not depend on the number of operands, nor on whether y or y⁻¹ is
    combined with x: that is in the weights, such as (1, 0, 1, 0) for the tokens x + y = and (1, 0, −1, 0) for x − y =
    (theorem 5). The theorem speaks of the group alone; a zero has a dimension of its own here, which counts zeros.

    Args:
        group: The group; its elements are the first tokens.
        vocabulary_size: How many tokens there are.
        weights: The weight of each position.
        frequency: The k of the characters.

    Raises:
        ValueError: If `frequency` and an order have a common divisor, so that different elements would have equal
            characters; or if there are more weights than zeros can be counted.
    """
    if len(weights) > LONGEST:
        raise ValueError(f"`weights` must be at most {LONGEST}, got {len(weights)}.")
    if any(math.gcd(frequency, order) > 1 for order in group.orders):
        raise ValueError(f"`frequency` must have no divisor in common with the orders {group.orders}, got {frequency}.")
    factors, tokens = len(group.orders), list(group.coordinates)
    orders = torch.tensor(group.orders)
    angles = 2 * math.pi * (torch.tensor(list(group.coordinates.values())) * frequency % orders) / orders
    network = AdditiveNetwork(
        vocabulary_size, len(weights), width=factors + 1, mlp_width=2 * factors + 1, activation="sine"
    )
    parameters = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    parameters["decoder.weights"] = torch.tensor(weights, dtype=torch.float)
    table, output = parameters["embedding.table.weight"], parameters["classifier.output.weight"]
    hidden, bias = parameters["classifier.hidden.weight"], parameters["classifier.output.bias"]
    table[tokens, :factors] = angles
    hidden[:, :factors] = torch.cat([torch.eye(factors), torch.eye(factors), torch.zeros(1, factors)])
    parameters["classifier.hidden.bias"][:factors] = math.pi / 2  # sine to cosine
    output[tokens, :-1] = torch.cat([angles.cos(), angles.sin()], dim=1)
    bias.fill_(-factors - 1.0)  # below every logit of a member
    bias[tokens] = 0
    if group.zero is not None:
        table[group.zero, factors] = 1
        hidden[-1, -1] = ZERO_SLOPE
        output[group.zero, -1] = 4 * factors / ZERO_SLOPE
    load_tensors(network, parameters, strict=True)
    return network
