"""Muon for the matrices inside a network, AdamW for all else, as one optimiser."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from grok_lightning.optim.parameter_groups import matches, nearest_part

FOLLOWED = ("lr", "weight_decay")
"""What schedulers and rules change in a group, and both optimisers follow."""
TABLES = ("embedding", "classifier", "decoder.positions")
"""Parts whose matrices are no maps between hidden states."""


class MuonAdamW(Optimizer):
    """Steps matrices by Muon and everything else by AdamW, both torch's own, with one learning rate.

    Muon (Jordan et al. 2024) steps along the orthogonal matrix nearest to the momentum. It is meant for the maps
    between hidden states: tables of tokens and positions, norms and biases are left to AdamW. Its steps are scaled to
    the size of those of AdamW (Liu et al., arXiv 2502.16982, section 2.2), so that one learning rate serves both.

    Args:
        params: Parameters with their names, in groups, as tasks give them.
        lr: Learning rate.
        weight_decay: Decoupled weight decay.
        momentum: Momentum of Muon.
        betas: Decay rates of the moments of AdamW.
        eps: What AdamW adds to the root of the second moment.
        adamw: Parts of the network, or patterns of names, whose matrices are AdamW's; null for embedding, classifier
            and positions.

    Raises:
        ValueError: If parameters come without names, or a pattern matches none.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        adamw: Sequence[str] | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "capturable": False, "fused": None})
        if any("param_names" not in group for group in self.param_groups):
            raise ValueError("MuonAdamW tells parameters apart by name: give it (name, parameter) pairs")
        self.adamw = TABLES if adamw is None else tuple(adamw)
        names = [name for group in self.param_groups for name in group["param_names"]]
        if lost := [pattern for pattern in adamw or () if not any(matches(name, pattern) for name in names)]:
            raise ValueError(f"adamw: {lost[0]!r} matches no parameter.{nearest_part(lost[0], names)}")
        matrices, others = self._sorted()
        self.parts: list[Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw"))
        if others:
            self.parts.append(AdamW(others, lr, betas, eps, weight_decay))
        self._share_state()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step of both; return the loss of the closure, if there is one."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            for group in part.param_groups:
                group.update({key: self.param_groups[group["source"]][key] for key in FOLLOWED})
            part.step()
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a loaded state, in both."""
        super().__setstate__(state)
        self._share_state()

    def _share_state(self) -> None:
        """Let both keep what they know of a parameter here, so that it is saved and loaded as that of one optimiser."""
        for part in getattr(self, "parts", ()):
            part.state = self.state

    def _sorted(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the groups of Muon and those of AdamW; groups without parameters are left out."""
        sorted_groups: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for source, group in enumerate(self.param_groups):
            chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                chosen[not self._is_hidden_matrix(name, parameter)].append(parameter)
            for groups, parameters in zip(sorted_groups, chosen, strict=True):
                groups.extend([{"params": parameters, "source": source}] if parameters else [])
        return sorted_groups

    def _is_hidden_matrix(self, name: str, parameter: Tensor) -> bool:
        return parameter.ndim == 2 and not any(matches(name, pattern) for pattern in self.adamw)
