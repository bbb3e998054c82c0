"""How much of the force on an embedding is clustering and alignment."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from grok_lightning.forces import Geometry, Kernel, attractions, on_tokens
from grok_lightning.networks import Network
from grok_lightning.pair_sums import PairSums

MEASURES = (
    "explained",
    "clustering_alone",
    "alignment_alone",
    "radial_alone",
    "beyond_radial",
    "chance",
    "chance_beyond_radial",
    "clustering",
    "alignment",
)

ROUNDING = 1e-12
"""A share of a force that is nothing but rounding."""


class ExplainedGradient(Metric):
    """Share of the force on an embedding, minus the gradient of the loss, that clustering and alignment explain.

    Logged as `forces/…`; the forces are a reconstruction, see `grok_lightning.forces`:

    - `explained`: 1 − |g − x·c − y·a|² / |g|² for the force g, the tendencies c and a on the tokens, and the least
      squares coefficients x and y; both can have either sign;
    - `clustering_alone`, `alignment_alone`: the same with one of them;
    - `radial_alone`: the same with the vectors themselves; where they rest, the force balances weight decay, and any
      tendency to grow explains much of it;
    - `beyond_radial`: the share of what the vectors leave unexplained that the tendencies explain besides;
    - `chance`, `chance_beyond_radial`: the same by tendencies whose answers were shuffled among the pairs, mean over
      the shuffles; one alone can be far from it;
    - `clustering`, `alignment`: x and y in units of |g|/|c| and |g|/|a|, above 0 where the force has that sense;
    - `range`: the range of the kernel with which clustering explains most.

    NaN where there is no force. The cost goes with the square of the number of pairs, times ranges, times shuffles.

    Args:
        pairs: The pairs whose sums act on each other.
        kernel: How clustering falls off.
        ranges: Ranges to try, in root mean square lengths of the pair sums.
        shuffles: How often answers are shuffled.
    """

    full_state_update = True  # the last gradient counts, not a mean
    values: Tensor
    range: Tensor

    def __init__(self, pairs: PairSums, kernel: Kernel, ranges: Sequence[float], shuffles: int = 20) -> None:
        super().__init__(sync_on_compute=False)  # every device has the whole embedding
        self.pairs, self.kernel, self.ranges = pairs, kernel, tuple(ranges)
        generator = torch.Generator().manual_seed(0)
        orders = [torch.randperm(len(pairs), generator=generator).to(pairs.answers.device) for _ in range(shuffles)]
        self.shuffled = [replace(pairs, answers=pairs.answers[order]) for order in orders]
        self.add_state("values", torch.full((len(MEASURES),), torch.nan, dtype=torch.double), "mean")
        self.add_state("range", torch.full((), torch.nan, dtype=torch.double), "mean")

    def update(self, force: Tensor, vectors: Tensor) -> None:
        """Take the force on each token, and its vector (tokens, width)."""
        force, vectors = force.detach().double(), vectors.detach().double()
        sums = self.pairs.of(vectors)
        geometry, length = Geometry(sums), float(sums.square().sum(-1).mean().sqrt()) or 1.0
        reach, tendencies = self._best(self.pairs, force, geometry, length)
        explained, weights = explained_share(force, tendencies)
        alone = [explained_share(force, (one,))[0] for one in (*tendencies, vectors)]
        beyond = share_beyond(force, vectors, tendencies)
        by_chance = [self._best(pairs, force, geometry, length)[1] for pairs in self.shuffled]
        chance = torch.stack([explained_share(force, each)[0] for each in by_chance]).mean()
        chance_beyond = torch.stack([share_beyond(force, vectors, each) for each in by_chance]).mean()
        self.values = torch.stack([explained, *alone, beyond, chance, chance_beyond, *weights])
        self.range = force.new_tensor(reach).where(explained.isfinite(), torch.nan)

    def compute(self) -> dict[str, Tensor]:
        """Return all measures."""
        return {**dict(zip(MEASURES, self.values, strict=True)), "range": self.range}

    def _best(
        self, pairs: PairSums, force: Tensor, geometry: Geometry, length: float
    ) -> tuple[float, tuple[Tensor, Tensor]]:
        """The range with which clustering and alignment explain most of a force, and these on the tokens."""
        weights = attractions(pairs, force.dtype)
        alignment = on_tokens(geometry.alignment(weights), pairs)
        tried = {
            reach: (on_tokens(geometry.clustering(weights, reach * length, self.kernel), pairs), alignment)
            for reach in self.ranges
        }
        return max(tried.items(), key=lambda each: float(explained_share(force, each[1])[0]))


def explained_share(force: Tensor, tendencies: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """How much of a force tendencies explain, by least squares.

    Args:
        force: The force (tokens, width).
        tendencies: Other forces of its shape.

    Returns:
        The share () of the squares of the force, NaN if there is none; and the coefficient of each tendency
        (tendencies,) where force and tendencies have length one.
    """
    columns = F.normalize(torch.stack([tendency.flatten() for tendency in tendencies], dim=1), dim=0)
    target = force.flatten()
    target = target / target.norm()
    if not target.isfinite().all():
        return target.new_tensor(torch.nan), target.new_full((len(tendencies),), torch.nan)
    coefficients = torch.linalg.pinv(columns) @ target
    return 1 - (target - columns @ coefficients).square().sum(), coefficients


def share_beyond(force: Tensor, known: Tensor, tendencies: Sequence[Tensor]) -> Tensor:
    """The share () of what one tendency leaves of a force that others explain besides; NaN if nothing is left."""
    left = 1 - explained_share(force, (known,))[0]
    return 1 - (1 - explained_share(force, (known, *tendencies))[0]) / left.where(left > ROUNDING, torch.nan)


def embedding_force(
    network: Network, tokens: Tensor, answers: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Minus the gradient of a loss to the vectors of all tokens, and these vectors (vocabulary, width).

    Args:
        network: The network, whose tokens have one vector each.
        tokens: Sequences (rows, length).
        answers: Their answers (rows,).
        loss: Mean loss () of logits (rows, vocabulary) and answers.
    """
    vectors = network.token_vectors().detach().requires_grad_()
    with torch.enable_grad():
        value = loss(network.answer(F.embedding(tokens, vectors)), answers)
        (gradient,) = torch.autograd.grad(value, vectors)
    return -gradient, vectors.detach()
