"""Particles that move by the forces between their pair sums: one step of time is one training step."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import SGD

from grok_lightning.data.batches import Equations
from grok_lightning.forces import Forces, attractions, on_tokens
from grok_lightning.networks import ParticleSystem
from grok_lightning.networks.arguments import require_choice
from grok_lightning.optim import ParameterRule
from grok_lightning.pair_sums import Which, pair_sums_of
from grok_lightning.tasks.descent import descent_of
from grok_lightning.tasks.equation import EquationTask


class ParticleTask(EquationTask):
    """Move particles by clustering and alignment: the simulation of Musat (arXiv 2408.09414), with forces of our own.

    The forces are a reconstruction, see `grok_lightning.forces`. A step hands the optimiser minus the force on each
    particle as its gradient. With plain SGD it is e ← e + lr · (force − weight_decay · e); momentum, schedules,
    parameter groups and freezing do what they always do. Data need `layout: a b` and `batch_size: null`.

    Logs what `EquationTask` logs, the answer of a pair being that of the nearest other sum, see `NearestSum`; and
    `val/potential`, the mean over the systems. `train/…` is of the particles as they are at the evaluation.

    Args:
        network: Builds the particles from vocabulary size and length; in YAML a class_path with the other arguments.
        forces: How pair sums act on each other.
        pairs: Which do: `all`, or those of the `train` part, so that the others are answered without having acted.
        optimizer: Builds the optimiser from the positions.
        lr_scheduler: Builds a scheduler of the learning rate, stepped once for each optimiser step.
        parameter_groups: Rules for learning rate and weight decay by parameter, the first match wins; 0 freezes.

    Raises:
        ValueError: If `pairs` is neither.
    """

    network: ParticleSystem

    def __init__(
        self,
        network: Callable[[int, int], ParticleSystem],
        forces: Forces | None = None,
        pairs: Which = "all",
        optimizer: OptimizerCallable = SGD,
        lr_scheduler: LRSchedulerCallable | None = None,
        parameter_groups: list[ParameterRule] | None = None,
    ) -> None:
        super().__init__(network, optimizer, lr_scheduler, parameter_groups)
        require_choice("pairs", pairs, Which)
        self.forces = Forces() if forces is None else forces
        self.which = pairs
        self._attractions: Tensor | None = None

    def connect(self, datamodule: Any) -> None:
        """Build the particles, with the pairs of the data; the second time nothing happens."""
        is_new = not self.is_connected
        super().connect(datamodule)
        if is_new:
            with torch.device("cpu"):
                pairs = pair_sums_of(datamodule, "ParticleTask", self.which)
            self.network.place_pairs(torch.stack([pairs.first, pairs.second, pairs.answers]))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the particles with as many pairs as the checkpoint has."""
        super().on_load_checkpoint(checkpoint)
        self.network.place_pairs(checkpoint["state_dict"]["network.classifier.pairs"])

    @property
    def attractions(self) -> Tensor:
        """How much each pair attracts each other one (pairs, pairs), worked out once."""
        like = self.network.token_vectors()
        if self._attractions is None or self._attractions.device != like.device:
            self._attractions = attractions(self.network.pairs, like.dtype)
        return self._attractions

    def training_step(self, chunk: Any, batch_idx: int) -> None:
        """Take one step for each batch of a chunk, all of which hold all training equations."""
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        _, take_step = descent_of(self)
        for _ in range(len(chunk.tokens)):
            optimizer.zero_grad()
            positions = self.network.vectors_by_copy()
            torch.autograd.backward(positions, -self.force(positions.detach()))
            take_step(optimizer)
            if scheduler is not None:
                scheduler.step()
        self.measure("train", "answers").reset()  # of what they are now, not of earlier chunks too
        self.evaluate("train", Equations(chunk.tokens[-1], chunk.answers[-1]))

    @torch.no_grad()
    def force(self, positions: Tensor) -> Tensor:
        """Return the force on each particle (copies, tokens, width)."""
        pairs = self.network.pairs
        return on_tokens(self.forces.on_sums(pairs.of(positions), self.attractions), pairs)

    @torch.no_grad()
    def evaluate(self, part: str, batch: Any) -> None:
        """Take note of a batch of a part, in every system."""
        logits = self.network.logits_by_copy(batch.tokens).flatten(0, 1)
        answers = batch.answers.repeat(self.network.copies)
        self.observe(part, F.cross_entropy(logits, answers), logits.argmax(-1), answers)

    def on_validation_epoch_end(self) -> None:
        """Log the parts, and the potential."""
        if not self.trainer.sanity_checking:
            sums = self.network.pairs.of(self.network.vectors_by_copy().detach())
            self.log("val/potential", self.forces.potential(sums, self.attractions).mean())
        super().on_validation_epoch_end()

    def faults(self, trainer: Trainer, datamodule: Any) -> Iterator[str]:
        """Yield what would be no simulation: batches, another precision, several devices."""
        if datamodule.batch_size is not None:
            yield f"data.batch_size is {datamodule.batch_size}: particles feel all pairs at once; give null"
        if getattr(datamodule, "commutative_augmentation", False):
            yield "data.commutative_augmentation: a pair turned around is the same pair to particles; leave it out"
        if trainer.precision not in ("32-true", "64-true"):
            precision = trainer.precision
            yield f"trainer.precision is {precision}: particles move in single or double precision; give 32-true"
        if trainer.world_size > 1:
            yield f"trainer.devices: particles move on one device, not on {trainer.world_size}; give 1"
