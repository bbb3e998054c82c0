"""Learning in context: the task of saying every value of a sequence of examples."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import AdamW

from grok_lightning.callbacks import BestWeights, Evaluation, Phases, PictureData
from grok_lightning.data.in_context import SETS, require_sequences
from grok_lightning.data.split import HELD_OUT
from grok_lightning.metrics import ShotMetrics
from grok_lightning.networks import ArithmeticTransformer
from grok_lightning.optim import ParameterRule
from grok_lightning.tasks.measured import MeasuredTask
from grok_lightning.tasks.network_task import CHECKPOINT_KEY


class InContextTask(MeasuredTask):
    """Predict every value of a sequence from the examples before it (He et al., arXiv 2406.02550).

    The loss is the cross-entropy at all values, that of the first example included, which nothing before it decides.
    Logs `train/loss` and `train/accuracy` over all values, and for each of the four sets of known or new functions and
    inputs what `ShotMetrics` says; `val/loss` and `val/accuracy` are those of new functions on new inputs. Unless the
    Trainer has them, the callbacks `Evaluation`, `Phases` and `BestWeights` are added. (Stages are compared by the
    steps of `Milestones`: give it `monitor: val/last_accuracy`, as nobody can say the first values.)

    Args:
        network: Builds the transformer from vocabulary size and length; in YAML a class_path with the other arguments.
        optimizer: Builds the optimiser from parameters.
        lr_scheduler: Builds a scheduler of the learning rate, stepped once for each optimiser step.
        parameter_groups: Rules for learning rate and weight decay by parameter, the first match wins; 0 freezes.
        gradient_clip_norm: Largest norm of all gradients together.
        accumulate: In how many equal parts a batch passes through the network, one after another; their gradients add
            up to that of the batch.
        compiled: Whether `torch.compile` is applied to the network.

    Raises:
        ValueError: If an argument is out of range.
    """

    network: ArithmeticTransformer
    reads: slice

    def __init__(
        self,
        network: Callable[[int, int], ArithmeticTransformer],
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        parameter_groups: list[ParameterRule] | None = None,
        gradient_clip_norm: float | None = None,
        accumulate: int = 1,
        compiled: bool = False,
    ) -> None:
        super().__init__(network, optimizer, lr_scheduler, parameter_groups, gradient_clip_norm, accumulate, compiled)

    def default_callbacks(self) -> list[Callback]:
        """Return the callbacks of a run that names none."""
        return [Evaluation(every_n_steps=500), Phases(), BestWeights()]

    def connect(self, datamodule: Any) -> None:
        """Build the network, and learn where it is read.

        Raises:
            ValueError: If the data are no sequences of examples.
        """
        require_sequences(datamodule, "InContextTask")
        super().connect(datamodule)
        self._learn_places(datamodule.reads, datamodule.examples)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits `(batch, examples, vocabulary)` of all values of sequences `(batch, length)`."""
        return self.network(tokens, self.reads)  # type: ignore[no-any-return]

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the mean loss () of logits `(batch, examples, vocabulary)`."""
        return F.cross_entropy(logits.flatten(0, 1), answers.flatten())

    def evaluate(self, part: str, batch: Any) -> None:
        """Take note of a batch of a validation or test part."""
        logits = self.forward(batch.tokens)
        losses = F.cross_entropy(logits.flatten(0, 1), batch.answers.flatten(), reduction="none")
        shots = self.measure(part, "shots")
        shots.update(batch.sets, losses.view_as(batch.answers), logits.argmax(-1), batch.answers)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add where the network is read."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CHECKPOINT_KEY]["reads"] = [self.reads.start, self.reads.step, self.measure("val", "shots").examples]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network where that is needed, and learn where it is read."""
        super().on_load_checkpoint(checkpoint)
        start, step, examples = checkpoint[CHECKPOINT_KEY]["reads"]
        self._learn_places(slice(start, None, step), examples)

    @torch.no_grad()
    def picture_data(self) -> PictureData:
        """Return what the callback `Pictures` draws: the embedding."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        return PictureData(names=self.vocabulary, vectors=self.network.token_vectors(), residues=data.residues)

    def _learn_places(self, reads: slice, examples: int) -> None:
        """Take note of where the network is read.

        Raises:
            ValueError: If it is read elsewhere already.
        """
        if getattr(self, "reads", reads) != reads:
            raise ValueError("the checkpoint is of functions of another number of variables than the data")
        if not hasattr(self, "reads"):
            self.reads = reads
            self.measures.update({f"{part}_shots": ShotMetrics(SETS, examples) for part in HELD_OUT})

    def faults(self, trainer: Trainer, datamodule: Any) -> Iterator[str]:
        """Yield what could not be trained on: a network that sees the answers, or unequal parts of a batch."""
        network: Any = self.network
        if not isinstance(network, ArithmeticTransformer):
            yield f"network: InContextTask is for an ArithmeticTransformer, not for a {type(network).__name__}"
        elif not network.causal:
            yield "network.causal is false: the network would see the values that it has to say; give true"
        rows = datamodule.batch_size // trainer.world_size
        if rows % self.accumulate:
            yield (
                f"accumulate is {self.accumulate}; expected a divisor of the {rows} "
                "sequences that a device has of a batch"
            )
