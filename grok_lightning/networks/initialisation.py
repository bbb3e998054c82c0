"""How weights begin."""

from torch import nn

STANDARD_DEVIATION = 0.02


def initialise(network: nn.Module, std: float | None = STANDARD_DEVIATION) -> None:
    """Draw every weight matrix and table from a normal distribution of standard deviation 0.02, as in GPT-2.

    Biases begin at zero, LayerNorms at weight one and bias zero. The start is small on purpose: with decoupled weight
    decay 1 a network groks several times sooner from it than from torch's own, whose tables have standard deviation 1.

    Args:
        network: The network, changed in place.
        std: Another standard deviation; None for 1/√d, where d is the number of inputs of a map or the width of a
            table.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=module.weight.shape[-1] ** -0.5 if std is None else std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
