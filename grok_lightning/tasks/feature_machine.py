"""Fitting a recursive feature machine: one iteration is one training step."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from grok_lightning.callbacks import Evaluation, Milestones
from grok_lightning.networks import FeatureMachine
from grok_lightning.optim import ParameterRule, Update, matches
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

    def on_fit_start(self) -> None:
        """Refuse what a transfer has frozen and must not.

        Raises:
            ValueError: If that is so.
        """
        super().on_fit_start()
        self.network.require_whole()

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

    def faults(self, trainer: Trainer, datamodule: Any) -> Iterator[str]:
        """Yield what no machine can be solved on: batches, too many or repeated equations, precision, devices."""
        yield from self._faults_of(datamodule)
        yield from _faults_of(trainer)

    def _faults_of(self, data: Any) -> Iterator[str]:
        tokens = data.training_set().tokens
        points = len(tokens)
        if data.batch_size is not None:
            yield f"data.batch_size is {data.batch_size}: a machine is solved on all training equations; give null"
        if points > LARGEST_POINTS:
            yield f"data: {points} training equations are too many for a kernel matrix; give {LARGEST_POINTS} at most"
        if not self.ridge and len(torch.unique(tokens, dim=0)) < points:
            yield "data.commutative_augmentation repeats equations: the kernel matrix is singular; give model.ridge"
        if self._freezes_coefficients():
            yield "model.parameter_groups freezes the classifier, which a fit replaces; freeze the embedding alone"

    def _freezes_coefficients(self) -> bool:
        rules = (rule for rule in self.parameter_rules if matches("classifier.output.weight", rule.pattern))
        first = next(rules, None)
        return first is not None and first.lr == 0


def _faults_of(trainer: Trainer) -> Iterator[str]:
    if trainer.precision not in ("32-true", "64-true"):
        yield f"trainer.precision is {trainer.precision}: a feature machine is solved in double precision; leave it out"
    if trainer.world_size > 1:
        yield f"trainer.devices: a feature machine is solved on one device, not on {trainer.world_size}; give 1"
