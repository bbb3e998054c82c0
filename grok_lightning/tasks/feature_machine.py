"""Fitting a recursive feature machine: one iteration is one training step."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import Tensor

from grok_lightning.callbacks import Evaluation, Milestones
from grok_lightning.networks import FeatureMachine
from grok_lightning.optim import ParameterRule, Update
from grok_lightning.tasks.equation import EquationTask

LARGEST_POINTS = 2**15
"""Training equations whose kernel matrix is 8 GiB, of which a fit needs two to three."""


class FeatureMachineTask(EquationTask):
    """Predict the answer of an equation by kernel regression that learns its features (Mallinar et al., 2407.20199).

    A training step is one iteration: the features become a power of the AGOP of the machine as it is, then the
    coefficients are solved for on all training equations. The first step solves with the features the machine begins
    with, so that step t + 1 is the paper's iteration t. Features that are frozen, by a transfer or by a rule
    `{pattern: embedding, lr: 0}`, stay, and one step is all there is to do. Evaluated after every step unless the
    callback `Evaluation` says otherwise. Logs what `EquationTask` logs.

    Args:
        network: Builds the machine from vocabulary size and length; in YAML a class_path with the other arguments.
        power: The exponent s in M ← AGOP^s; 0.5 in all of the paper's experiments.
        centred: Whether the mean Jacobian is taken from each Jacobian first: the official code does, the text does not.
        ridge: What is added to the diagonal of the kernel matrix; the paper has none.
        parameter_groups: Rules by parameter; there is no learning rate to multiply, but 0 freezes.

    Raises:
        ValueError: If `power` is not positive or `ridge` negative.
    """

    network: FeatureMachine

    def __init__(
        self,
        network: Callable[[int, int], FeatureMachine],
        power: float = 0.5,
        centred: bool = True,
        ridge: float = 0.0,
        parameter_groups: list[ParameterRule] | None = None,
    ) -> None:
        super().__init__(network, Update, parameter_groups=parameter_groups, loss="mse")
        if not power > 0:
            raise ValueError(f"power is {power}; expected a positive number")
        if not ridge >= 0:
            raise ValueError(f"ridge is {ridge}; expected 0 or more")
        self.power, self.centred, self.ridge = power, centred, ridge

    def default_callbacks(self) -> list[Callback]:
        """Return the callbacks of a run that names none."""
        return [Evaluation(every_n_steps=1), Milestones()]

    def connect(self, datamodule: Any) -> None:
        """Build the machine, with a coefficient for each training equation; the second time nothing happens."""
        is_new = not self.is_connected
        super().connect(datamodule)
        if is_new:
            self.network.place_centres(datamodule.training_set().tokens)

    def check(self, trainer: Trainer, datamodule: LightningDataModule | None) -> None:
        """Refuse what `NetworkTask.check` refuses, batches, too many equations, other precision, several devices.

        Raises:
            ValueError: If there is one of these.
        """
        super().check(trainer, datamodule)
        data: Any = datamodule
        points = len(self.network.decoder.centres)
        if data.batch_size is not None:
            raise ValueError(
                f"data.batch_size is {data.batch_size}: a feature machine is solved on all training equations at once; "
                "give null"
            )
        if points > LARGEST_POINTS:
            raise ValueError(
                f"data.train_fraction gives {points} training equations, and the kernel matrix would have {points}² "
                f"numbers: give at most {LARGEST_POINTS}"
            )
        if trainer.precision not in ("32-true", "64-true"):
            raise ValueError(f"trainer.precision is {trainer.precision}: a machine is solved in double; leave it out")
        if trainer.world_size > 1:
            raise ValueError(f"trainer.devices: a feature machine is solved on one device, not {trainer.world_size}")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the machine for as many training equations as the checkpoint has."""
        super().on_load_checkpoint(checkpoint)
        self.network.place_centres(checkpoint["state_dict"]["network.decoder.centres"])

    def training_step(self, chunk: Any, batch_idx: int) -> None:
        """Take one iteration for each batch of a chunk, all of which hold all training equations."""
        optimizer: Any = self.optimizers()
        for tokens, answers in zip(*chunk, strict=True):
            optimizer.step(closure=partial(self.iterate, tokens, answers))

    def iterate(self, tokens: Tensor, answers: Tensor) -> Tensor:
        """Learn features, fit on all training equations, take note of the fit and return its loss ()."""
        if self.global_step and self.network.learns_features:
            self.network.learn_features(self.power, self.centred)
        logits = self.network.fit(tokens, answers, self.ridge)
        loss = self.loss(logits, answers)
        self.observe("train", loss, logits.argmax(-1), answers)
        return loss
