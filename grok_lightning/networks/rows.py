"""Parameters frozen in whole or in part.

Decoupled weight decay shrinks a row whose gradient is merely masked. So a table frozen in part is split: the kept rows
become a buffer, the trained rows a parameter, and `torch.nn.utils.parametrize` puts the table together where it is
used.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from grok_lightning.networks.arguments import nearest
from grok_lightning.networks.tensors import owner, plain_name, plain_named_parameters, tied_names


class SplitRows(nn.Module):
    """A table (rows, …) put together from kept rows, a buffer, and trained rows, the parameter.

    Args:
        table: The table to split.
        kept_rows: Indices of its rows to keep, in ascending order.
    """

    kept: Tensor
    order: Tensor

    def __init__(self, table: Tensor, kept_rows: list[int]) -> None:
        super().__init__()
        rows = kept_rows + sorted({*range(len(table))} - {*kept_rows})
        order = sorted(range(len(rows)), key=rows.__getitem__)
        self.register_buffer("kept", table.detach().new_empty(len(kept_rows), *table.shape[1:]))
        # Saved with the weights: a state dict says itself which rows it keeps.
        self.register_buffer("order", torch.tensor(order, device=table.device))

    def forward(self, trained: Tensor) -> Tensor:
        """The table (rows, …) with these trained rows."""
        return _join(self.kept, trained, self.order)

    def right_inverse(self, table: Tensor) -> Tensor:
        """Take the kept rows of a table (rows, …) and return its trained rows."""
        rows = table.index_select(0, self.order.argsort())
        self.kept.copy_(rows[: len(self.kept)])
        return rows[len(self.kept) :].clone()

    def kept_rows(self) -> list[int]:
        """Indices of the kept rows, in ascending order."""
        return [row for row, place in enumerate(self.order.tolist()) if place < len(self.kept)]


def freeze(network: nn.Module, name: str, rows: Iterable[int] | None = None) -> None:
    """Freeze a parameter or some of its rows. What is frozen before stays frozen.

    Freeze before the optimiser is built: a split makes the parameter smaller.

    Args:
        network: The network, changed in place.
        name: Plain name of the parameter.
        rows: Indices along dimension 0; all if not given.

    Raises:
        ValueError: If the network has no such parameter or the parameter no such row, no row is given, or only some
            rows are given of a parameter that is tied to another.
    """
    parameters = dict(plain_named_parameters(network))
    if name not in parameters:
        raise ValueError(f"The network has no parameter {name!r}.{nearest(name, parameters)}")
    module, attribute = owner(network, name)
    size = len(getattr(module, attribute))
    kept = _split_rows(module, attribute) | ({*range(size)} if rows is None else _checked(rows, name, size))
    if len(kept) < size and name in tied_names(network).values():
        raise ValueError(f"Parameter {name!r} is tied to another: freeze all of its rows or none, not {len(kept)}.")
    if not parameters[name].requires_grad:
        return
    if parametrize.is_parametrized(module, attribute):
        parametrize.remove_parametrizations(module, attribute)
    table = getattr(module, attribute)
    if len(kept) == size:
        table.requires_grad_(False)
    else:
        parametrize.register_parametrization(module, attribute, SplitRows(table, sorted(kept)))


def frozen_rows(network: nn.Module) -> dict[str, list[int] | None]:
    """What is frozen: the plain name of each parameter with its frozen rows, or None where all of it is.

    Of a split table these are the kept rows, whether the others are trained or not: `freeze` with each of these splits
    another network of the same form in the same way, so that it can load the state dict of this one.
    """
    frozen: dict[str, list[int] | None] = {}
    for name, parameter in plain_named_parameters(network):
        if rows := _split_rows(*owner(network, name)):
            frozen[name] = sorted(rows)
        elif not parameter.requires_grad:
            frozen[name] = None
    return frozen


def joined_rows(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under plain names, in which split tables are put together."""
    joined = {}
    for name, tensor in state.items():
        if (plain := plain_name(name)) == name:
            joined[name] = tensor
        elif name.endswith(".original"):
            parts = name.removesuffix("original") + "0."
            joined[plain] = _join(state[parts + "kept"], tensor, state[parts + "order"])
    return joined


def _join(kept: Tensor, trained: Tensor, order: Tensor) -> Tensor:
    return torch.cat([kept, trained]).index_select(0, order)


def _split_rows(module: nn.Module, attribute: str) -> set[int]:
    """The rows kept so far."""
    if not parametrize.is_parametrized(module, attribute):
        return set()
    parametrizations: Any = module.parametrizations
    return set(parametrizations[attribute][0].kept_rows())


def _checked(rows: Iterable[int], name: str, size: int) -> set[int]:
    kept = {int(row) for row in rows}
    if not kept:
        raise ValueError(f"No row of {name!r} is given to freeze.")
    if outside := sorted(row for row in kept if not 0 <= row < size):
        raise ValueError(f"Parameter {name!r} has rows 0 to {size - 1}, got row {outside[0]}.")
    return kept
