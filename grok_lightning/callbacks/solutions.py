"""Whether a network infers the answers to pairs it has never seen, or remembers them turned around."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from grok_lightning.callbacks.asking import asked
from grok_lightning.callbacks.logged import logged
from grok_lightning.data.anchors import are_anchors
from grok_lightning.data.composite import UNSEEN
from grok_lightning.metrics import SolutionShares
from grok_lightning.metrics.solutions import NAMES

SOLUTIONS = ("inferential", "symmetric")
ACCURACY = "val/accuracy"


class SolutionProgress(Callback):
    """Logs at evaluations how the unseen pairs of composite functions are answered, see `SolutionShares`.

    All unseen pairs are asked together, or one of them alone, as the follow-up asks (4, 3) where both are unseen.

    Of functions that are designated it logs `<part>/<name>`, the share of answers that are what the function makes of
    the key; their result `<name>` is that with train keys.

    Results:

    - `solution`, which reports count over seeds: `inferential` or `symmetric` if so many of the answers to unseen pairs
      with train keys are that, `other` if neither, `unlearned` if the seen pairs with test keys are not answered.
      (Zhang et al. shade what has less than 90 % there; the threshold of a solution is ours.)
    - `inferential` and `symmetric`, these shares at the end; null where both answers are the same.
    - `inferential_best` and `symmetric_best`, the largest over training, as the follow-up (arXiv 2501.08537) counts.
      They need not belong to one step: a network may infer until it learns the exception, and then copy that.

    Args:
        threshold: Least share of a solution.
        learned: Least accuracy on seen pairs with test keys, `val/accuracy`.
        pair: The unseen pair, such as "4 3", that is asked; null for all of them.
        designated: Further functions of the key that unseen pairs might stand for, by name, as `{halfway: x - 8}`.

    Raises:
        ValueError: If a share is not above 0 and at most 1, or a name is taken; before training, if the data have no
            unseen pairs, or not this one, or a function is malformed.
    """

    def __init__(
        self,
        threshold: float = 0.8,
        learned: float = 0.9,
        pair: str | None = None,
        designated: dict[str, str] | None = None,
    ) -> None:
        for name, value in (("threshold", threshold), ("learned", learned)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}; expected a share above 0 and at most 1")
        self.designated = dict(designated or {})
        if taken := self.designated.keys() & {*NAMES, *(f"{name}_best" for name in SOLUTIONS), "solution"}:
            raise ValueError(f"designated: {min(taken)!r} is the name of another share; call the function otherwise")
        self.threshold, self.learned, self.pair = threshold, learned, pair
        self.tables: dict[str, Tensor] = {}
        self.shares: dict[str, float] = {}
        self.found: dict[str, Any] = {"solution": None}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data without these unseen pairs, and functions that are malformed.

        Raises:
            ValueError: If there are such.
        """
        if not getattr(datamodule, "unseen", ()):
            name = type(datamodule).__name__
            raise ValueError(
                f"SolutionProgress: {name} has no unseen pairs; use CompositeFunctionDataModule with `unseen`, "
                "such as ['4 3'], and two anchors"
            )
        data: Any = datamodule
        unseen = [" ".join(map(str, pair)) for pair in data.unseen]
        if self.pair is not None and self.pair not in unseen:
            raise ValueError(f"SolutionProgress: pair is {self.pair!r}; expected an unseen one, {' or '.join(unseen)}")
        for name, function in self.designated.items():
            try:
                self.tables[name] = data.mapped(function)
            except ValueError as error:
                raise ValueError(f"SolutionProgress: designated.{name}: {error}") from None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the same where nobody has checked before."""
        self.check_run(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the network for the unseen pairs."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        found: dict[str, Tensor] = {}
        for part in UNSEEN:
            found |= {f"{part}/{name}": share for name, share in self._shares(trainer, pl_module, part).items()}
        self.shares = {name: float(share) for name, share in found.items()}
        pl_module.log_dict({name: share for name, share in found.items() if share.isfinite()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which solution it is."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self.found["solution"] = self.classify(self.shares, logged(self, trainer, pl_module, ACCURACY))
        for name in SOLUTIONS:
            share = self.shares[f"{UNSEEN[0]}/{name}"]
            known = math.isfinite(share)
            self.found[name] = share if known else None
            self.found[f"{name}_best"] = max(share, self.found.get(f"{name}_best", share)) if known else None
        self.found |= {name: self.shares[f"{UNSEEN[0]}/{name}"] for name in self.designated}

    def classify(self, shares: Mapping[str, float], accuracy: float) -> str:
        """Return the solution that shares and the accuracy on seen pairs amount to."""
        if accuracy < self.learned:
            return "unlearned"
        for name in SOLUTIONS:
            share = shares[f"{UNSEEN[0]}/{name}"]
            if math.isfinite(share) and share >= self.threshold:
                return name
        return "other"

    def results(self) -> dict[str, Any]:
        """Return the solution found last, its shares, and the largest ones."""
        return dict(self.found)

    def state_dict(self) -> dict[str, Any]:
        """Return what was found so far."""
        return {"found": dict(self.found)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what was found so far."""
        self.found = dict(state_dict["found"])

    def _shares(self, trainer: Trainer, pl_module: LightningModule, part: str) -> dict[str, Tensor]:
        """What the network makes of a part, all devices together."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        metric = SolutionShares().to(pl_module.device)
        tables = {name: table.to(pl_module.device) for name, table in self.tables.items()}
        further = {name: MeanMetric().to(pl_module.device) for name in tables}
        for batch, logits in asked(trainer, pl_module, part):
            chosen = self._asks(data.pairs_of(batch.tokens))
            tokens, answers = batch.tokens[chosen], logits.argmax(-1)[chosen]
            solutions = data.solutions(tokens)
            metric.update(answers, solutions.inferential, solutions.symmetric)
            for name, table in tables.items():
                further[name].update(answers == table[data.keys_of(tokens) - data.keys.start])
        shares: dict[str, Tensor] = metric.compute()
        return shares | {name: mean.compute() for name, mean in further.items()}

    def _asks(self, pairs: Tensor) -> Tensor:
        """Whether each pair (batch, 2) is asked (batch,)."""
        if self.pair is None:
            return torch.ones(len(pairs), dtype=torch.bool, device=pairs.device)
        return are_anchors(pairs, tuple(int(anchor) for anchor in self.pair.split()))
