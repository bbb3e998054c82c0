"""Squared error of the right class alone, accumulated on the device."""

import torch
from torch import Tensor
from torchmetrics import Metric


class CorrectClassLoss(Metric):
    """Mean squared error of the logit of the right answer alone since the last reset.

    Logged as `val/correct_class_loss` and `test/correct_class_loss` (all rows of the part) by a task whose loss is the
    mean squared error to the one-hot answer: the mean over rows of (logit of the right answer − 1)². It is the test
    loss restricted to the output of the right class of Mallinar et al. (2407.20199, section on progress measures).
    Without rows it is NaN.
    """

    full_state_update = False
    squares: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("squares", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, answers: Tensor) -> None:
        """Add a batch.

        Args:
            logits: Logits `(batch, vocabulary)`.
            answers: Token numbers of the answers `(batch,)`.
        """
        right = logits.detach().gather(1, answers[:, None])
        right = right.to(torch.promote_types(right.dtype, torch.float))
        # Not in place: a network in half precision takes this state along, and a sum in half precision stops growing;
        # one in double precision would lose what it has more of.
        self.squares = self.squares + (right - 1).square().sum()
        self.rows += len(answers)

    def compute(self) -> dict[str, Tensor]:
        """Return `correct_class_loss`."""
        return {"correct_class_loss": self.squares / self.rows}
