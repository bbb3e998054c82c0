"""What a feature machine would answer if its features were exactly circulant."""

import copy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from grok_lightning.circulants import OperandSymmetry, enforced_circulant, symmetry_of
from grok_lightning.networks import FeatureMachine


class EnforcedCirculant(Callback):
    """Makes the features of a copy circulant at each evaluation, solves anew, and evaluates that; a side branch.

    The machine itself goes on as it is (Mallinar et al., arXiv 2407.20199, appendix on enforcing circulants; see
    `enforced_circulant`). Logged as `enforced/loss` and `enforced/accuracy` on the validation part.

    Result: `enforced_grokked_at`, the first step at which the enforced accuracy is at or above the threshold.

    Args:
        threshold: Accuracy that counts as learned.

    Raises:
        ValueError: If the threshold is no accuracy; before training, if the network is no feature machine, or the data
            have no group.
    """

    def __init__(self, threshold: float = 0.99) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected an accuracy above 0 and at most 1")
        self.threshold = threshold
        self.grokked_at: int | None = None
        self.symmetry: OperandSymmetry | None = None

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse what has no circulant features.

        Raises:
            ValueError: If the network is no feature machine, or the data have no group.
        """
        if not isinstance(network, FeatureMachine):
            raise ValueError(f"EnforcedCirculant is for a FeatureMachine, not for a {type(network).__name__}")
        self.symmetry = symmetry_of(datamodule, "EnforcedCirculant")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the group."""
        self.check_run(pl_module.network, trainer.datamodule)  # type: ignore[arg-type, attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a copy circulant, and evaluate it."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.global_step:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        task: Any = pl_module
        assert self.symmetry is not None, "check_run has not been called"
        machine: FeatureMachine = copy.deepcopy(task.network)
        features = machine.feature_matrix().detach()
        machine.set_features(enforced_circulant(self.symmetry, features, machine.vocabulary_size))
        train, (tokens, answers) = data.training_set(), data.part("val")
        machine.fit(train.tokens, train.answers, task.ridge)
        with torch.no_grad():
            logits = machine(tokens)
        accuracy = (logits.argmax(-1) == answers).double().mean()
        if self.grokked_at is None and accuracy >= self.threshold:
            self.grokked_at = trainer.global_step
        pl_module.log_dict({"enforced/loss": task.loss(logits, answers), "enforced/accuracy": accuracy})

    def results(self) -> dict[str, int | None]:
        """Return when the enforced features answered right."""
        return {"enforced_grokked_at": self.grokked_at}

    def state_dict(self) -> dict[str, int | None]:
        """Return what was found so far."""
        return {"grokked_at": self.grokked_at}

    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        """Continue from what was found so far."""
        self.grokked_at = state_dict["grokked_at"]
