"""How weights begin."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from torch import nn

STANDARD_DEVIATION = 0.02

Kind = Literal["embedding", "query_key", "value_output", "mlp", "classifier"]
KINDS: Mapping[str, Kind] = {
    "table": "embedding",
    "positions": "embedding",
    "query": "query_key",
    "key": "query_key",
    "value": "value_output",
    "attention.output": "value_output",
    "mlp.hidden": "mlp",
    "mlp.output": "mlp",
    "mlps.hidden": "mlp",
    "mlps.output": "mlp",
}
"""The kind of a weight by the end of its module's name, numbers left out; those within the classifier are its own."""


@dataclass(frozen=True)
class InitRates:
    """Initialisation rates γ: a weight matrix begins normal with standard deviation d^(−γ), d the number of its inputs.

    After Zhang et al. (arXiv 2405.05409): large rates are small starts. d is the width of a table of vectors; where a
    table acts as a matrix on one-hot sequences, as in QuadraticMLP, the number of these inputs.

    Attributes:
        embedding: Of tokens and of learned positions.
        query_key: Of queries and keys.
        value_output: Of values and of the attention's output.
        mlp: Of the MLPs, those of the embedding included.
        classifier: Of the classifier, its hidden layer included.

    Raises:
        ValueError: If a rate is not finite.
    """

    embedding: float = 0.5
    query_key: float = 0.5
    value_output: float = 0.5
    mlp: float = 0.5
    classifier: float = 0.5

    def __post_init__(self) -> None:
        for each in fields(self):
            if not math.isfinite(getattr(self, each.name)):
                raise ValueError(f"`init_rates`: {each.name} must be finite, got {getattr(self, each.name)}.")

    @classmethod
    def of(cls, rates: "float | InitRates") -> "InitRates":
        """One rate for all kinds, or the rates themselves."""
        return rates if isinstance(rates, InitRates) else cls(*[float(rates)] * len(fields(cls)))


def initialise(
    network: nn.Module,
    std: float | None = STANDARD_DEVIATION,
    rates: float | InitRates | None = None,
    inputs: Mapping[str, int] | None = None,
) -> None:
    """Draw every weight matrix and table from a normal distribution of standard deviation 0.02, as in GPT-2.

    Biases begin at zero, LayerNorms at weight one and bias zero. The start is small on purpose: with decoupled weight
    decay 1 a network groks several times sooner from it than from torch's own, whose tables have standard deviation 1.

    Args:
        network: The network, changed in place.
        std: Another standard deviation; None for 1/√d, where d is the number of inputs of a map or the width of a
            table.
        rates: Rates γ for d^(−γ) instead, see `InitRates`.
        inputs: The number of inputs d of modules, by name, where it is another.

    Raises:
        ValueError: If both `std` and `rates` are given.
    """
    require_one_start(std, rates)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            d = (inputs or {}).get(name, module.weight.shape[-1])
            nn.init.normal_(module.weight, std=_deviation(name, d, std, rates))
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def require_one_start(
    std: float | None, rates: float | InitRates | None, default: float | None = STANDARD_DEVIATION
) -> None:
    """Check that weights are told one way to begin.

    Raises:
        ValueError: If there are rates, and a standard deviation that is not the default.
    """
    if rates is not None and std != default:
        raise ValueError(f"`init_std` and `init_rates` are both given ({std} and {rates}): give one of them.")


def kind_of(name: str) -> Kind:
    """The kind of the weights of a module of a network, by its name such as `decoder.blocks.0.attention.query`."""
    if name.startswith("classifier."):
        return "classifier"
    words = [word for word in name.split(".") if not word.isdecimal()]
    for length in (2, 1):
        if kind := KINDS.get(".".join(words[-length:])):
            return kind
    raise ValueError(f"The weights {name!r} have no initialisation rate.")


def _deviation(name: str, d: int, std: float | None, rates: float | InitRates | None) -> float:
    if rates is not None:
        rate: float = getattr(InitRates.of(rates), kind_of(name))
        return float(d**-rate)
    return d**-0.5 if std is None else std
