"""Loss and accuracy of answers, accumulated on the device."""

from collections.abc import Mapping

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
        self.add_state("loss_sum", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("right", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, losses: Tensor, predictions: Tensor, answers: Tensor) -> None:
        """Add one batch, or several of one size.

        Args:
            losses: Mean loss of each batch `(...)`.
            predictions: Token numbers with the largest logits `(..., batch)`, or `(..., batch, answers of a row)`.
            answers: Token numbers of the answers, of the same shape.
        """
        # One by one, so that the sum is the same to the bit however batches come together. Not in place: a network in
        # half precision takes this state along, and a sum in half precision stops growing.
        for loss in losses.detach().float().reshape(-1):
            self.loss_sum = self.loss_sum + loss * (answers.numel() // losses.numel())
        self.right += (predictions == answers).sum()
        self.rows += answers.numel()

    def compute(self) -> dict[str, Tensor]:
        """Return `loss` and `accuracy`."""
        return {"loss": self.loss_sum / self.rows, "accuracy": self.right / self.rows}

    def totals(self) -> dict[str, Tensor]:
        """Return what has been accumulated, on all devices together; each of them has to ask."""
        with self.sync_context():
            return {name: getattr(self, name).detach().clone() for name in self._defaults}

    def restore(self, totals: Mapping[str, Tensor]) -> None:
        """Continue from totals, given to one device, and zeros to the others."""
        self.reset()
        self.merge_state(dict(totals))
        self._update_count = 1
