"""Which solution the answers to pairs of anchors follow that were never trained on."""

import torch
from torch import Tensor
from torchmetrics import Metric

NAMES = ("inferential", "symmetric", "other")


class SolutionShares(Metric):
    """Shares of answers that follow from the single functions, or copy the pair turned around, since the last reset.

    After Zhang et al. (arXiv 2405.05409). Logged as `<part>/…` for the parts of unseen pairs:

    - `inferential`: share of all answers that apply the single functions one after the other;
    - `symmetric`: share that are what training answers to the pair turned around, among the sequences where that is
      something else; NaN if there is none;
    - `other`: share that are neither.
    """

    full_state_update = False
    inferential: Tensor
    symmetric: Tensor
    either: Tensor
    rows: Tensor
    decisive: Tensor

    def __init__(self) -> None:
        super().__init__()
        for state in ("inferential", "symmetric", "either", "rows", "decisive"):
            self.add_state(state, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, inferential: Tensor, symmetric: Tensor) -> None:
        """Add a batch: predictions (batch,), and the answers (batch,) of both solutions."""
        infers, copies, decisive = predictions == inferential, predictions == symmetric, inferential != symmetric
        self.inferential += infers.sum()
        self.symmetric += (copies & decisive).sum()
        self.either += (infers | copies).sum()
        self.decisive += decisive.sum()
        self.rows += len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """Return the three shares."""
        shares = self.inferential / self.rows, self.symmetric / self.decisive, 1 - self.either / self.rows
        return dict(zip(NAMES, shares, strict=True))
