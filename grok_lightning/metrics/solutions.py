"""Which solution the answers to pairs of anchors follow that were never trained on."""

import torch
from torch import Tensor
from torchmetrics import Metric

NAMES = ("inferential", "symmetric", "other")


class SolutionShares(Metric):
    """Shares of answers that follow from the single functions, or copy the pair turned around, since the last reset.

    After Zhang et al. (arXiv 2405.05409). Logged as `<part>/…` for the parts of unseen pairs:

    - `inferential`: share of answers that apply the single functions one after the other;
    - `symmetric`: share of answers that are those of the pair turned around, which training has given, or the single
      functions where that pair is unseen too; NaN where no sequence tells the two apart;
    - `other`: share of answers that are neither.

    They are shares of the sequences that tell the two apart; of all, if none does. (Else a network that copies would
    seem to infer where both come to the same.)
    """

    full_state_update = False
    inferential: Tensor
    symmetric: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        for state in ("inferential", "symmetric", "rows"):  # of sequences that tell nothing apart, and of those that do
            self.add_state(state, torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, inferential: Tensor, symmetric: Tensor) -> None:
        """Add a batch: predictions (batch,), and the answers (batch,) of both solutions."""
        decisive = inferential != symmetric
        for number, rows in enumerate((~decisive, decisive)):
            self.inferential[number] += (rows & (predictions == inferential)).sum()
            self.symmetric[number] += (rows & (predictions == symmetric)).sum()
            self.rows[number] += rows.sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the three shares."""
        any_decisive = self.rows[1] > 0
        alike, apart = ((self.inferential / self.rows)[number] for number in (0, 1))
        symmetric = self.symmetric[1] / self.rows[1]
        inferential = torch.where(any_decisive, apart, alike)
        other = 1 - inferential - torch.where(any_decisive, symmetric, 0)
        return dict(zip(NAMES, (inferential, symmetric, other), strict=True))
