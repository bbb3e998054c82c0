"""Whether a network infers the answers to pairs it has never seen, or remembers them turned around."""

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from grok_lightning.callbacks.logged import logged
from grok_lightning.callbacks.pictures import evaluating
from grok_lightning.metrics import SolutionShares
from grok_lightning.metrics.solutions import NAMES

PARTS = ("unseen_train_keys", "unseen_test_keys")
SOLUTIONS = ("inferential", "symmetric")
ACCURACY = "val/accuracy"


class SolutionProgress(Callback):
    """Logs at evaluations how the unseen pairs of composite functions are answered, see `SolutionShares`.

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
        designated: Further functions of the key that unseen pairs might stand for, by name, as `{halfway: x - 8}`.

    Raises:
        ValueError: If a share is not above 0 and at most 1, or a name is taken; before training, if the data have no
            unseen pairs, or a function is malformed.
    """

    def __init__(self, threshold: float = 0.8, learned: float = 0.9, designated: dict[str, str] | None = None) -> None:
        for name, value in (("threshold", threshold), ("learned", learned)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}; expected a share above 0 and at most 1")
        self.designated = dict(designated or {})
        if taken := self.designated.keys() & {*NAMES, "solution"}:
            raise ValueError(f"designated: {min(taken)!r} is the name of another share; call the function otherwise")
        self.threshold, self.learned = threshold, learned
        self.shares: dict[str, float] = {}
        self.found: dict[str, Any] = {"solution": None}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data without unseen pairs, and functions that are malformed.

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
        for name, function in self.designated.items():
            try:
                data.mapped(function)
            except ValueError as error:
                raise ValueError(f"SolutionProgress: designated.{name}: {error}") from None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the same where nobody has checked before."""
        self.check_run(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the network for the unseen pairs."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        found: dict[str, Tensor] = {}
        for part in PARTS:
            found |= {f"{part}/{name}": share for name, share in self._shares(pl_module, data, part).items()}
        self.shares = {name: float(share) for name, share in found.items()}
        pl_module.log_dict({name: share for name, share in found.items() if share.isfinite()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which solution it is."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self.found["solution"] = self.classify(self.shares, logged(self, trainer, pl_module, ACCURACY))
        for name in SOLUTIONS:
            share = self.shares[f"{PARTS[0]}/{name}"]
            known = math.isfinite(share)
            self.found[name] = share if known else None
            self.found[f"{name}_best"] = max(share, self.found.get(f"{name}_best", share)) if known else None
        self.found |= {name: self.shares[f"{PARTS[0]}/{name}"] for name in self.designated}

    def classify(self, shares: Mapping[str, float], accuracy: float) -> str:
        """Return the solution that shares and the accuracy on seen pairs amount to."""
        if accuracy < self.learned:
            return "unlearned"
        for name in SOLUTIONS:
            share = shares[f"{PARTS[0]}/{name}"]
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

    def _shares(self, pl_module: LightningModule, data: Any, part: str) -> dict[str, Tensor]:
        """What the network makes of a part, all devices together."""
        metric = SolutionShares().to(pl_module.device)
        tables = {name: data.mapped(function).to(pl_module.device) for name, function in self.designated.items()}
        further = {name: MeanMetric().to(pl_module.device) for name in tables}
        network: Any = pl_module.network
        with evaluating(pl_module):
            for batch in data.evaluation_batches(part):
                solutions = data.solutions(batch.tokens)
                answers = network(batch.tokens).argmax(-1)
                metric.update(answers, solutions.inferential, solutions.symmetric)
                for name, table in tables.items():
                    further[name].update(answers == table[data.keys_of(batch.tokens) - data.keys.start])
        shares: dict[str, Tensor] = metric.compute()
        return shares | {name: mean.compute() for name, mean in further.items()}
