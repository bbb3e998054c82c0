"""Which right answers the reference solvers explain, accumulated on the device."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from grok_lightning.metrics.solvers import UNSOLVED, check_prime, copying, modular_regression, ratio_matching

SOLVERS = (copying, ratio_matching, modular_regression)
CLASSES = ("copied", "ratio", "combined", "open")
"""Classes of queries: the simplest of these solvers that answers, or none."""


class ExplainedAnswers(Metric):
    """How much of a model's right answers each reference solver explains, by number of shots, since the last reset.

    The answer of place k + 1 in a sequence is asked for after k examples, its shots. The query is of one class, that of
    the simplest solver that answers it from these examples: `copied` if it is one of them, else `ratio` if it is a
    multiple of one, else `combined` if it is a combination of some, else `open`. A model that does ratio matching and
    no more is right on the first two classes and guesses on the others. Shares of right answers say little where a
    model guesses: then they are the shares of the queries. The accuracy in each class tells the two apart.

    Args:
        modulus: The modulus, a prime.
        examples: Answers of a sequence.
        options: Options of every torchmetric, such as `sync_on_compute`.

    Raises:
        ValueError: If the modulus is no prime.
    """

    full_state_update = False
    rows: Tensor
    right: Tensor

    def __init__(self, modulus: int, examples: int, **options: Any) -> None:
        super().__init__(**options)
        check_prime(modulus)
        self.modulus, self.examples = modulus, examples
        for state in ("rows", "right"):
            self.add_state(state, torch.zeros(examples, len(CLASSES), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, inputs: Tensor, values: Tensor, predictions: Tensor) -> None:
        """Add a batch.

        Args:
            inputs: Inputs of each sequence `(batch, examples, variables)`.
            values: Their values by a linear function `(batch, examples)`.
            predictions: Predicted values `(batch, examples)`.
        """
        classes = torch.stack([self._classify(inputs, values, shots) for shots in range(self.examples)], dim=1)
        is_class = classes[..., None] == torch.arange(len(CLASSES), device=classes.device)
        self.rows += is_class.sum(0)
        self.right += (is_class & (predictions == values)[..., None]).sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return for each number of shots and each class, all `(examples, classes)` and NaN where there is nothing.

        Returns:
            `share`: Share of the queries that are of the class. `explained`: Share of the right answers that are.
            `accuracy`: Share of right answers among the queries of the class.
        """
        return {
            "share": self.rows / self.rows.sum(1, keepdim=True),
            "explained": self.right / self.right.sum(1, keepdim=True),
            "accuracy": self.right / self.rows,
        }

    def _classify(self, inputs: Tensor, values: Tensor, shots: int) -> Tensor:
        """Return the number of the class of each query after so many examples `(batch,)`."""
        known = (inputs[:, :shots], values[:, :shots], inputs[:, shots], self.modulus)
        solved = torch.stack([solver(*known) != UNSOLVED for solver in SOLVERS], dim=1)
        return F.pad(solved.long(), (0, 1), value=1).argmax(1)
