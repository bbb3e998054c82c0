"""What every task does: build its network from the data, train it chunk by chunk, keep its checkpoints complete."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from grok_lightning.callbacks import Evaluation, next_boundary
from grok_lightning.circulants import symmetry_of
from grok_lightning.networks import Network, freeze, frozen_rows, plain_named_parameters
from grok_lightning.optim import ParameterRule, build_optimizer
from grok_lightning.tasks.descent import descend, descent_of, gradient_scale
from grok_lightning.tasks.trainer_options import check_trainer

CHECKPOINT_KEY = "grok_lightning"
"""Where a checkpoint keeps what the network was built from."""


class NetworkTask(LightningModule):
    """A task that trains one network; families say what a loss is.

    The network is built late, from the data: nothing in a recipe repeats a number that another one decides. A step of
    training takes a whole chunk of batches and makes one optimiser step for each. A checkpoint is complete: plain data
    and tensors, loadable weights-only and without the recipe.

    Args:
        network: Builds the network from vocabulary size and length; in YAML a class_path with the other arguments.
        optimizer: Builds the optimiser from parameters.
        lr_scheduler: Builds a scheduler of the learning rate, stepped once for each optimiser step.
        parameter_groups: Rules for learning rate and weight decay by parameter, the first match wins; 0 freezes.
        gradient_clip_norm: Largest norm of all gradients together.
        accumulate: In how many equal parts a batch passes through the network, one after another; their gradients add
            up to that of the batch.
        compiled: Whether `torch.compile` is applied to the network.

    Attributes:
        network: The network, once connected.
        vocabulary: Names of the tokens, once connected.
        coordinates: Their coordinates in the group behind the data, where there is one.
    """

    network: Network

    def __init__(
        self,
        network: Callable[[int, int], Network],
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        parameter_groups: list[ParameterRule] | None = None,
        gradient_clip_norm: float | None = None,
        accumulate: int = 1,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if accumulate < 1:
            raise ValueError(f"accumulate is {accumulate}; expected a positive number of parts of a batch")
        if gradient_clip_norm is not None and not gradient_clip_norm > 0:
            raise ValueError(f"gradient_clip_norm is {gradient_clip_norm}; expected a positive number, or null")
        self.save_hyperparameters(logger=False)
        if "_class_path" not in self.hparams:  # built by hand, from objects that no checkpoint can hold as plain data
            self._hparams = type(self.hparams)()
        self.automatic_optimization = False
        self.make_network, self.make_optimizer, self.make_lr_scheduler = network, optimizer, lr_scheduler
        self.parameter_rules = parameter_groups or []
        self.gradient_clip_norm = gradient_clip_norm
        self.accumulate, self.compiled = accumulate, compiled
        self.seed = torch.initial_seed()
        self.vocabulary: tuple[str, ...] = ()
        self.coordinates: tuple[str, ...] | None = None

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the mean loss () of logits `(batch, vocabulary)`."""
        raise NotImplementedError

    def observe(self, part: str, losses: Tensor, predictions: Tensor, answers: Tensor) -> None:
        """Take note of batches of a part for the metrics.

        Args:
            part: "train", "val" or "test".
            losses: Mean loss of each batch `(...)`.
            predictions: What the network answers `(..., batch)`.
            answers: What is right `(..., batch)`.
        """
        raise NotImplementedError

    def objective(self, loss: Tensor, tokens: Tensor) -> Tensor:
        """Return what is minimised (): the loss of a batch, and what a family adds to it."""
        return loss

    def observe_logits(self, part: str, batch: Any, logits: Tensor) -> None:
        """Take note of logits `(batch, vocabulary)` of a batch of "val" or "test", where a family measures more."""

    @property
    def is_connected(self) -> bool:
        """Whether the network has been built."""
        return "network" in self._modules

    def connect(self, datamodule: Any) -> None:
        """Build the network for a data module that is set up; the second time nothing happens.

        Raises:
            ValueError: If the data has no vocabulary, or no symmetry where the network needs one.
        """
        if not hasattr(datamodule, "vocabulary"):
            raise ValueError(f"{type(self).__name__} needs data with a vocabulary, such as BinaryOperationDataModule")
        if not self.is_connected:
            self._build(tuple(datamodule.vocabulary), datamodule.length)
            self.coordinates = getattr(datamodule, "coordinates", None)
            if self.network.wants_symmetry:
                with self._own_generator(), torch.device("cpu"):
                    self.network.draw_inputs(symmetry_of(datamodule, "network.inputs: random_circulant"))

    def check(self, trainer: Trainer, datamodule: LightningDataModule | None) -> None:
        """Refuse what this task cannot work with, before anything trains.

        Raises:
            ValueError: If the data has no vocabulary, the Trainer has options that would not do what they say,
                optimiser, scheduler or callbacks do not fit the network, or a family finds faults.
        """
        self.connect(datamodule)
        check_trainer(trainer)
        # On stand-ins: the network may have no storage yet.
        self._build_optimizer([(n, nn.Parameter(torch.empty(0))) for n, _ in plain_named_parameters(self.network)])
        Evaluation.check(trainer)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "check_run"):
                callback.check_run(self.network, datamodule)
        self._refuse_faults(trainer, datamodule)

    def faults(self, trainer: Trainer, datamodule: Any) -> Iterator[str]:
        """Yield what else a family cannot work with; asked by `check`, and at the start where nobody has checked."""
        yield from ()

    def configure_model(self) -> None:
        """Build the network where nobody has connected the task before; without a Trainer the checkpoint will do it."""
        if not self.is_connected and self._trainer is not None:
            with torch.device("cpu"):  # the same initial weights whatever the device of the run
                self.connect(self.trainer.datamodule)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimiser and scheduler."""
        optimizer, schedulers = self._build_optimizer(plain_named_parameters(self.network))
        return [optimizer], schedulers

    def configure_callbacks(self) -> list[Callback]:
        """Return the callbacks this task needs and the Trainer was not given."""
        given = self.trainer.callbacks  # type: ignore[attr-defined]
        return [
            callback
            for callback in self.default_callbacks()
            if not any(isinstance(other, type(callback)) for other in given)
        ]

    def default_callbacks(self) -> list[Callback]:
        """Return the callbacks of a run that names none."""
        return [Evaluation()]

    def setup(self, stage: str) -> None:
        """Let chunks of batches end where something is due, and compile the network where that is asked for."""
        self.configure_model()  # Lightning does so only after this
        # It would do this only after a checkpoint is loaded, whose double precision would be lost.
        self.network = self.trainer.precision_plugin.convert_module(self.network)  # type: ignore[assignment]
        if stage == "fit":
            if self.compiled:
                self.network.compile(dynamic=False)
            check_trainer(self.trainer)
            datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            if hasattr(datamodule, "boundary"):
                datamodule.boundary = partial(next_boundary, self.trainer)
            self._refuse_faults(self.trainer, datamodule)

    def on_train_start(self) -> None:
        """Say that learning rates change with steps, to callbacks such as `LearningRateMonitor`."""
        for config in self.trainer.lr_scheduler_configs:
            config.interval = "step"
        self.trainer.log_every_n_steps = 1  # type: ignore[attr-defined]  # which would count chunks

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits `(batch, vocabulary)` of equations `(batch, length)`."""
        return self.network(tokens)  # type: ignore[no-any-return]

    def training_step(self, chunk: Any, batch_idx: int) -> None:
        """Take one optimiser step for each batch of a chunk."""
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        backward, take_step = descent_of(self)
        seen = []
        for tokens, answers in zip(*chunk, strict=True):
            optimizer.zero_grad()
            seen.append(descend(self, tokens, answers, backward))
            if self.gradient_clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters(), self.gradient_clip_norm * gradient_scale(self))
            take_step(optimizer)
            if scheduler is not None:
                scheduler.step()
            # One autocast may surround the whole chunk; its half-precision copies of the weights are old by now.
            torch.clear_autocast_cache()
        losses, predictions = (torch.stack(column) for column in zip(*seen, strict=True))
        self.observe("train", losses, predictions, chunk.answers)

    def step(self, tokens: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss () and predictions `(batch, …)` of a batch to train on."""
        logits = self.forward(tokens)
        return self.loss(logits, answers), logits.detach().argmax(-1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Take note of a batch of the validation part."""
        self.evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Take note of a batch of the test part."""
        self.evaluate("test", batch)

    def evaluate(self, part: str, batch: Any) -> None:
        """Take note of a batch of a validation or test part, whose logits are computed once."""
        logits = self.forward(batch.tokens)
        self.observe(part, self.loss(logits, batch.answers), logits.argmax(-1), batch.answers)
        self.observe_logits(part, batch, logits)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the network was built from."""
        built = {
            "vocabulary": list(self.vocabulary),
            "coordinates": self.coordinates and list(self.coordinates),
            "length": self.network.length,
            "token_parameters": sorted(self.network.token_parameters),
            "frozen": frozen_rows(self.network),
        }
        checkpoint[CHECKPOINT_KEY] = built

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network the checkpoint is of, where it is not built yet.

        Raises:
            ValueError: If it is the checkpoint of another kind of module, or of a network with another vocabulary.
        """
        built = checkpoint.get(CHECKPOINT_KEY)
        if built is None:
            raise ValueError(f"this is no checkpoint of a {type(self).__name__}: it does not say its vocabulary")
        if not self.is_connected:
            self._build(tuple(built["vocabulary"]), built["length"])
            self.coordinates = tuple(built.get("coordinates") or ()) or None
        if self.vocabulary != tuple(built["vocabulary"]):
            raise ValueError("the checkpoint has another vocabulary than the data: transfer is for other runs' weights")
        if self.network.length != built["length"]:
            raise ValueError(
                f"the checkpoint is of sequences of {built['length']} tokens, not of {self.network.length}"
            )
        for name, rows in built["frozen"].items():
            freeze(self.network, name, rows)

    def _build(self, vocabulary: tuple[str, ...], length: int) -> None:
        """Build the network under its own seeded generator, whatever was drawn before."""
        self.vocabulary = vocabulary
        with self._own_generator():
            self.network = self.make_network(len(vocabulary), length)

    def _refuse_faults(self, trainer: Trainer, datamodule: Any) -> None:
        if faults := list(self.faults(trainer, datamodule)):
            raise ValueError("\n".join(faults))

    @contextmanager
    def _own_generator(self) -> Iterator[None]:
        """Draw what the run's seed says, and leave no trace."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            yield

    def _build_optimizer(self, named: Iterable[tuple[str, nn.Parameter]]) -> tuple[Optimizer, list[LRScheduler]]:
        optimizer = build_optimizer(self.make_optimizer, named, self.parameter_rules)
        scheduler = None if self.make_lr_scheduler is None else self.make_lr_scheduler(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError("lr_scheduler is ReduceLROnPlateau; expected one that goes by the number of steps alone")
        return optimizer, [] if scheduler is None else [scheduler]
