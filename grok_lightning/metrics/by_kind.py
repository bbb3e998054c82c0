"""Accuracy of each kind of equations, accumulated on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class AccuracyByKind(Metric):
    """Share of right answers among the equations of each kind since the last reset.

    Logged as `val/accuracy_<kind>` and `test/accuracy_<kind>` (all rows of the part that are of the kind) where the
    data have kinds: for `MixedOperationDataModule` they are the operations by name, as in `val/accuracy_add`; for
    `CompositeFunctionDataModule`, with `by_pair`, the seen pairs, as in `val/accuracy_f1_f2`. Right is what it is for
    `val/accuracy`, which is the mean of these over kinds, weighted by their rows. NaN for a kind without rows.

    Args:
        names: Names of the kinds, in the order of their numbers, as they are to be logged.
    """

    full_state_update = False
    right: Tensor
    rows: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        for state in ("right", "rows"):
            self.add_state(state, torch.zeros(len(self.names), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, kinds: Tensor, predictions: Tensor, answers: Tensor) -> None:
        """Add a batch.

        Args:
            kinds: Number of the kind of each equation `(batch,)`.
            predictions: Token numbers with the largest logits `(batch,)`.
            answers: Token numbers of the answers `(batch,)`.
        """
        is_kind = kinds[:, None] == torch.arange(len(self.names), device=kinds.device)
        self.right += (is_kind & (predictions == answers)[:, None]).sum(0)
        self.rows += is_kind.sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return the accuracy of each kind by name."""
        return dict(zip(self.names, self.right / self.rows, strict=True))
