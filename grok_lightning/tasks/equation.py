"""Answering equations: the task of the binary operations, and of whatever else has one answer a row."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import AdamW

from grok_lightning.callbacks import Evaluation, Milestones
from grok_lightning.callbacks.pictures import AnswerGrid, PictureData
from grok_lightning.data.batches import EvaluationBatches
from grok_lightning.data.binary import BinaryOperationDataModule
from grok_lightning.data.equations import EquationKinds
from grok_lightning.data.in_context import InContextDataModule
from grok_lightning.data.split import HELD_OUT, PARTS
from grok_lightning.metrics import AccuracyByKind, AnswerMetrics, CorrectClassLoss
from grok_lightning.networks import Network, QuadraticMLP
from grok_lightning.optim import ParameterRule
from grok_lightning.tasks.measured import MeasuredTask

Loss = Literal["cross_entropy", "mse"]


class EquationTask(MeasuredTask):
    """Predict the answer of an equation, a token of the vocabulary.

    Logs `train/loss`, `train/accuracy`, `val/loss` and `val/accuracy` at evaluations and `test/…` at the end, see
    `AnswerMetrics`; with the loss `mse` also `val/correct_class_loss` and `test/…`, see `CorrectClassLoss`; for data of
    several kinds also `val/accuracy_<kind>` and `test/…`, see `AccuracyByKind`. Unless the Trainer has them, the
    callbacks `Evaluation` and `Milestones` are added.

    Args:
        network: Builds the network from vocabulary size and length; in YAML a class_path with the other arguments.
        optimizer: Builds the optimiser from parameters.
        lr_scheduler: Builds a scheduler of the learning rate, stepped once for each optimiser step.
        parameter_groups: Rules for learning rate and weight decay by parameter, the first match wins; 0 freezes.
        gradient_clip_norm: Largest norm of all gradients together.
        loss: `cross_entropy`, or `mse` of the logits to the one-hot answer, as Gromov (2301.02679) trains.
        agop_penalty: What the trace of the AGOP over a batch is multiplied by and added to what is minimised, but not
            to what is logged (Mallinar et al., 2407.20199, appendix on regularisation); for QuadraticMLP.

    Raises:
        ValueError: If `loss` is neither, or `agop_penalty` is negative.
    """

    def __init__(
        self,
        network: Callable[[int, int], Network],
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        parameter_groups: list[ParameterRule] | None = None,
        gradient_clip_norm: float | None = None,
        loss: Loss = "cross_entropy",
        agop_penalty: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, lr_scheduler, parameter_groups, gradient_clip_norm)
        if loss not in get_args(Loss):
            nearest = get_close_matches(loss, get_args(Loss), n=1, cutoff=0)[0]
            raise ValueError(f"loss is {loss!r}; expected cross_entropy or mse, did you mean {nearest!r}?")
        if not agop_penalty >= 0:
            raise ValueError(f"agop_penalty is {agop_penalty}; expected 0 or more")
        self.loss_name: Loss = loss
        self.agop_penalty = agop_penalty
        self.kinds: EquationKinds | None = None
        self.measures.update({f"{part}_answers": AnswerMetrics() for part in HELD_OUT})
        if loss == "mse":
            self.measures.update({f"{part}_class": CorrectClassLoss() for part in HELD_OUT})

    def default_callbacks(self) -> list[Callback]:
        """Return the callbacks of a run that names none."""
        return [Evaluation(), Milestones()]

    def connect(self, datamodule: Any) -> None:
        """Build the network.

        Raises:
            ValueError: As `NetworkTask.connect`, or if a row of the data has several answers.
        """
        if isinstance(datamodule, InContextDataModule):
            name = type(datamodule).__name__
            raise ValueError(f"EquationTask is for one answer a row; {name} has several: use InContextTask")
        super().connect(datamodule)

    def setup(self, stage: str) -> None:
        """Measure each kind of equations apart where the data have several."""
        super().setup(stage)
        # In time for the move to the device, also of a task that was connected to other data or is only evaluated.
        self.kinds = getattr(self.trainer.datamodule, "kinds", None)  # type: ignore[attr-defined]
        if self.kinds is not None:
            names = [f"accuracy_{name}" for name in self.kinds.names]
            self.measures.update({f"{part}_kinds": AccuracyByKind(names) for part in HELD_OUT})

    def check(self, trainer: Trainer, datamodule: LightningDataModule | None) -> None:
        """Refuse what `NetworkTask.check` refuses, and a penalty that the network does not know.

        Raises:
            ValueError: If it does not.
        """
        super().check(trainer, datamodule)
        self._check_penalty()

    def on_fit_start(self) -> None:
        """Refuse the penalty where nobody has checked before.

        Raises:
            ValueError: If the network does not know it.
        """
        self._check_penalty()

    def _check_penalty(self) -> None:
        if self.agop_penalty and not isinstance(self.network, QuadraticMLP):
            raise ValueError(f"agop_penalty is for a QuadraticMLP, not for a {type(self.network).__name__}")

    def objective(self, loss: Tensor, tokens: Tensor) -> Tensor:
        """Return what is minimised (): the loss, and the trace of the AGOP where that is asked for."""
        if not self.agop_penalty:
            return loss
        network: Any = self.network
        penalised: Tensor = loss + self.agop_penalty * network.agop_trace(tokens)
        return penalised

    def loss(self, logits: Tensor, answers: Tensor) -> Tensor:
        """Return the mean loss () of logits `(batch, vocabulary)`."""
        if self.loss_name == "cross_entropy":
            return F.cross_entropy(logits, answers)
        return F.mse_loss(logits, F.one_hot(answers, logits.shape[-1]).to(logits.dtype))

    def observe_logits(self, part: str, batch: Any, logits: Tensor) -> None:
        """Accumulate the loss of the right class for the loss `mse`, and the accuracy of each kind of equations."""
        if self.loss_name == "mse":
            self.measure(part, "class").update(logits, batch.answers)
        if self.kinds is not None:
            self.measure(part, "kinds").update(self.kinds.of(batch.tokens), logits.argmax(-1), batch.answers)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Any]]:
        """Return the columns of a table of answers."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        predicted = self.network(batch.tokens).argmax(-1)
        return {
            "equation": data.sequence_names(batch.tokens),
            "answer": [self.vocabulary[token] for token in batch.answers.tolist()],
            "prediction": [self.vocabulary[token] for token in predicted.tolist()],
            "correct": (predicted == batch.answers).int().tolist(),
            "part": [PARTS[dataloader_idx]] * len(batch),
        }

    @torch.no_grad()
    def picture_data(self) -> PictureData:
        """Return what the callback `Pictures` draws: the embedding, and for binary operations the errors."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        binary = data if isinstance(data, BinaryOperationDataModule) else None
        return PictureData(
            names=self.vocabulary,
            vectors=self.network.token_vectors(),
            residues=data.residues,
            grid=None if binary is None else self._grid(binary),
        )

    def _grid(self, data: BinaryOperationDataModule) -> AnswerGrid:
        """Ask the network for the whole table of an operation."""
        size = len(data.values)
        correct = torch.full((size, size), -1, dtype=torch.int8)
        part = torch.zeros((size, size), dtype=torch.int8)
        for number, name in enumerate(PARTS):
            for equations in EvaluationBatches(data.part(name)):
                a, b = (operand.cpu() for operand in data.operands(equations.tokens))
                right = self.network(equations.tokens).argmax(-1) == equations.answers
                correct[a, b] = right.cpu().to(torch.int8)
                part[a, b] = number
        return AnswerGrid(data.table.elements, data.table.symbol, correct, part)
