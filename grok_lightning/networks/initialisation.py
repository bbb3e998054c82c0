"""How weights begin."""

from torch import nn


def initialise(network: nn.Module) -> None:
    """Draw every weight matrix from a normal distribution of standard deviation 1/√d, and set biases to zero.

    d is the number of inputs of a linear map, or the width of a table. So a linear map keeps the scale of its input,
    and tables begin with vectors of length about one. LayerNorms keep weight one and bias zero. It is the point γ = 1/2
    of the family d^(-γ) in Zhang et al. (arXiv 2405.05409).

    Args:
        network: The network, changed in place.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
