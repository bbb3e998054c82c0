"""Loss and accuracy of answers, accumulated on the device."""

import torch
from torch import Tensor
from torchmetrics import Metric


class AnswerMetrics(Metric):
    """Mean loss and share of right answers since the last reset.

    Logged as `train/loss` and `train/accuracy` (mean over the batches since the last evaluation), `val/loss`,
    `val/accuracy`, `test/loss` and `test/accuracy` (all rows of the part). Accuracy counts an answer as right when its
    logit is the largest of the whole vocabulary. Without rows both are NaN.
    """

    full_state_update = False
    loss_sum: Tensor
    right: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("right", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, answers: Tensor) -> None:
        """Add one batch.

        Args:
            loss: Mean loss of the batch ().
            logits: Logits `(batch, vocabulary)`.
            answers: Token numbers of the answers `(batch,)`.
        """
        self.loss_sum += loss.detach().double() * len(answers)
        self.right += (logits.detach().argmax(-1) == answers).sum()
        self.rows += len(answers)

    def compute(self) -> dict[str, Tensor]:
        """Return `loss` and `accuracy`."""
        return {"loss": self.loss_sum / self.rows, "accuracy": self.right / self.rows}
