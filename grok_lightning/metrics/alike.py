"""Whether a network makes inputs alike that have the same answer."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


class AnswerSimilarity(Metric):
    """Mean cosine of the vectors of two inputs of different groups, by whether they have the same answer.

    After Zhang et al. (arXiv 2405.05409, Fig. 4), who look at the stream at the last place after the attention of the
    last block. Logged as `alike/block_<b>/…`, blocks counted from 0:

    - `same_answer`: of all pairs of inputs, since the last reset, that have the same answer;
    - `other_answer`: of all that have different ones.

    A vector of zeros is like none. NaN where there is no pair. No pair is looked at: the cosines of all pairs add up to
    the square of the sum of the unit vectors, |Σ u|² = Σ u · u′.

    Args:
        answers: How many answers there can be.
        width: Width of the vectors.
        groups: How many groups of inputs there are, whose vectors may be alike for other reasons and are not compared
            to each other; None where each input is a group of its own.
    """

    full_state_update = False
    sums: Tensor
    rows: Tensor
    own: Tensor

    def __init__(self, answers: int, width: int, groups: int | None = None) -> None:
        super().__init__()
        self.groups = groups
        shape = (1 if groups is None else groups, answers)
        self.add_state("sums", torch.zeros(*shape, width, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros(shape, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("own", torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")

    def update(self, vectors: Tensor, answers: Tensor, groups: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            vectors: A vector of each input (batch, width).
            answers: The number of its answer (batch,).
            groups: The number of its group (batch,), where there are groups.
        """
        directions = F.normalize(vectors.detach().double(), dim=1)
        cells = answers if groups is None else groups * self.rows.shape[1] + answers
        self.sums.view(-1, self.sums.shape[-1]).index_add_(0, cells, directions)
        self.rows.view(-1).index_add_(0, cells, torch.ones_like(directions[:, 0]))
        self.own += directions.square().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return both means."""
        same = self._pairs(self.sums, self.rows)
        every = self._pairs(self.sums.sum(1, keepdim=True), self.rows.sum(1, keepdim=True))
        other = every[0] - same[0], every[1] - same[1]
        return {"same_answer": _mean(*same), "other_answer": _mean(*other)}

    def _pairs(self, sums: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the cosines of all pairs of different groups in each column, and their number.

        Args:
            sums: Sums of unit vectors (groups, columns, width).
            rows: How many they are of (groups, columns).
        """
        cosines, number = sums.sum(0).square().sum(), rows.sum(0).square().sum()
        if self.groups is None:  # a pair of an input and itself
            return cosines - self.own, number - rows.sum()
        return cosines - sums.square().sum(), number - rows.square().sum()


def _mean(cosines: Tensor, number: Tensor) -> Tensor:
    return torch.where(number > 0, cosines / number, torch.nan)
