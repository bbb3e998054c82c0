"""The tensors of a network under their plain names, whether tables are split or not.

The plain name of a tensor is the one it has without a parametrisation (`torch.nn.utils.parametrize`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from grok_lightning.networks.arguments import nearest

NETWORK_PREFIX = "network."
"""What the names of a task's weights begin with, in its checkpoints."""


def network_of(module: nn.Module) -> nn.Module:
    """What weights belong to: the module's `network` where that has all of them, else the module."""
    network = getattr(module, "network", None)
    if isinstance(network, nn.Module) and all(name.startswith(NETWORK_PREFIX) for name in module.state_dict()):
        return network
    return module


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and saved buffers in full, detached, under plain names; tied tensors once.

    A parametrised tensor is computed, the others share their memory with the network.
    """
    ties = tied_names(network)
    names = dict.fromkeys(name for name, _ in _stored(network) if name not in ties)
    return {name: getattr(*owner(network, name)).detach() for name in names}


def tied_names(network: nn.Module) -> dict[str, str]:
    """Other plain names of tied tensors, each with the name under which `named_tensors` has the tensor."""
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(tensor), name) for name, tensor in _stored(network)}
    return {name: kept for name, kept in names.items() if name != kept}


def plain_named_parameters(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters as an optimiser needs them, under plain names: of a split table, the trained rows alone."""
    for name, parameter in network.named_parameters():
        yield plain_name(name), parameter


def load_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], rows: Sequence[int] | None = None, *, strict: bool = False
) -> None:
    """Write tensors into a network, in place. Nothing is written if anything is wrong.

    Args:
        network: The network, changed in place.
        tensors: Tensors under plain names, of any of the names of a tied one.
        rows: Where the rows of these tensors go, along dimension 0; they are full tensors if not given.
        strict: Whether every tensor of the network must be given. Otherwise those not given stay as they are.

    Raises:
        ValueError: If the network has no tensor of a name, a shape differs, a row is not there, or `strict` and a
            tensor is missing. The message lists all faults.
    """
    ties = tied_names(network)
    own = named_tensors(network)
    own |= {name: own[kept] for name, kept in ties.items()}
    faults = [fault for name, tensor in tensors.items() if (fault := _fault(own, name, tensor, rows))]
    if strict:
        given = {ties.get(name, name) for name in tensors}
        faults += [f"Tensor {name!r} is missing." for name in own if name not in ties and name not in given]
    if faults:
        raise ValueError("\n".join(faults))
    with torch.no_grad():
        for name, tensor in tensors.items():
            _write(network, name, tensor.to(own[name]) if rows is None else _with_rows(own[name], tensor, rows))


def owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that has the tensor of this plain name, and its attribute."""
    path, _, attribute = name.rpartition(".")
    return network.get_submodule(path), attribute


def _fault(own: Mapping[str, Tensor], name: str, tensor: Tensor, rows: Sequence[int] | None) -> str | None:
    if name not in own:
        return f"The network has no tensor {name!r}.{nearest(name, own)}"
    shape = own[name].shape
    if rows is not None and not all(0 <= row < shape[0] for row in rows):
        return f"Tensor {name!r} has rows 0 to {shape[0] - 1}, got {list(rows)}."
    expected = tuple(shape) if rows is None else (len(rows), *shape[1:])
    if tensor.shape != expected:
        return f"Tensor {name!r} must have shape {expected}, got {tuple(tensor.shape)}."
    return None


def _with_rows(table: Tensor, values: Tensor, rows: Sequence[int]) -> Tensor:
    """The table (rows, …) with some rows replaced."""
    return table.index_copy(0, torch.tensor(rows, device=table.device), values.to(table))


def _write(network: nn.Module, name: str, tensor: Tensor) -> None:
    module, attribute = owner(network, name)
    if parametrize.is_parametrized(module, attribute):
        setattr(module, attribute, tensor)
    else:
        getattr(module, attribute).copy_(tensor)


def _stored(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of the state dict with its plain name, which the parts of a parametrised one share."""
    for name, tensor in network.state_dict(keep_vars=True).items():
        yield plain_name(name), tensor


def plain_name(name: str) -> str:
    """The plain name: `table.parametrizations.weight.original` is `table.weight`."""
    return re.sub(r"(^|\.)parametrizations\.([^.]+)\..+", r"\1\2", name)
