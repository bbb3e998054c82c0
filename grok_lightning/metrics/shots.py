"""Loss and accuracy on several sets of sequences by number of shots, accumulated on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class ShotMetrics(Metric):
    """Mean loss and share of right answers on each set of sequences since the last reset.

    A sequence has several answers; the k examples before an answer are its shots, so that the first has 0. With the
    sets `known`, `new_inputs`, `new_functions` and `new_both` these are logged as `val/…` and `test/…`:

    * `accuracy_<set>`: Share of right answers among all answers of the set. Right is an answer whose logit is the
      largest of the whole vocabulary.
    * `last_accuracy_<set>`: The same for the last answer of every sequence alone, the one with the most shots.
    * `loss_<set>`: Mean loss of all answers of the set.
    * `accuracy`, `last_accuracy` and `loss`: Those of the last set in the list, the hardest: new functions on new
      inputs.

    All are NaN for a set without sequences.

    Args:
        sets: Names of the sets, in the order of their numbers, as they are to be logged.
        examples: Answers of a sequence.
    """

    full_state_update = False
    loss_sum: Tensor
    right: Tensor
    rows: Tensor

    def __init__(self, sets: Sequence[str], examples: int) -> None:
        super().__init__()
        self.sets, self.examples = tuple(sets), examples
        by_shots = (len(self.sets), examples)
        self.add_state("loss_sum", torch.zeros(by_shots, dtype=torch.float), dist_reduce_fx="sum")
        self.add_state("right", torch.zeros(by_shots, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros(len(self.sets), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, sets: Tensor, losses: Tensor, predictions: Tensor, answers: Tensor) -> None:
        """Add a batch.

        Args:
            sets: Number of the set of each sequence `(batch,)`.
            losses: Loss of each answer `(batch, examples)`.
            predictions: Token numbers with the largest logits `(batch, examples)`.
            answers: Token numbers of the answers `(batch, examples)`.
        """
        is_in = sets[:, None] == torch.arange(len(self.sets), device=sets.device)
        # A product of matrices would round, and spread a loss that is NaN to other sets. Not in place: a network in
        # half precision takes this state along, and a sum in half precision stops growing.
        by_set = torch.where(is_in[..., None], losses.detach().float()[:, None], 0.0)
        self.loss_sum = self.loss_sum + by_set.sum(0)
        self.right += (is_in[..., None] & (predictions == answers)[:, None]).sum(0)
        self.rows += is_in.sum(0)

    def accuracy_by_shots(self) -> Tensor:
        """Return the share of right answers after k = 0, 1, … examples `(sets, examples)`, NaN for an empty set."""
        return self.right / self.rows[:, None]

    def compute(self) -> dict[str, Tensor]:
        """Return loss and accuracy of each set by name, and those of the last set."""
        answers = self.rows * self.examples
        measured = {
            "accuracy": self.right.sum(1) / answers,
            "last_accuracy": self.right[:, -1] / self.rows,
            "loss": self.loss_sum.sum(1) / answers,
        }
        by_set = {f"{key}_{name}": value[n] for n, name in enumerate(self.sets) for key, value in measured.items()}
        return by_set | {key: value[-1] for key, value in measured.items()}
