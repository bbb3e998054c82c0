"""How much of what moves an embedding is clustering and alignment, at evaluations."""

import math
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from grok_lightning.callbacks.cadence import Cadence
from grok_lightning.callbacks.pictures import evaluating
from grok_lightning.forces import Kernel
from grok_lightning.metrics import ExplainedGradient
from grok_lightning.metrics.forces import embedding_force
from grok_lightning.networks import Network, ParticleSystem
from grok_lightning.networks.arguments import require_choice
from grok_lightning.networks.embedding import PositionwiseEmbedding
from grok_lightning.pair_sums import pair_sums_of

RANGES = (0.125, 0.25, 0.5, 1.0, 2.0)


class MeasuredForces(Callback):
    """Decomposes the force on an embedding into clustering and alignment (a reconstruction), see `ExplainedGradient`.

    The force is minus the gradient of the mean loss over the training equations to the vectors of the elements. The
    formulae of the two tendencies are those of `grok_lightning.forces`. Logged as `forces/…` at evaluations; each takes
    milliseconds modulo 17, and many seconds modulo 97.

    Args:
        kernel: How clustering falls off.
        ranges: Ranges to try, in root mean square lengths of the pair sums; the one that explains most is taken.
        shuffles: How often answers are shuffled among the pairs, to see what chance explains.
        every_n_steps: Smallest number of steps between measurements, at evaluations; also at `max_steps`.
        growth: Ratio of their steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If the kernel is not known, or a range, the shuffles or the cadence are out of range; before
            training, if the data are not of binary operations or the network has no gradient to one vector for each
            token.
    """

    def __init__(
        self,
        kernel: Kernel = "rational",
        ranges: Sequence[float] = RANGES,
        shuffles: int = 20,
        every_n_steps: int = 1,
        growth: float = 1.0,
    ) -> None:
        require_choice("kernel", kernel, Kernel)
        if not ranges or not all(reach > 0 for reach in ranges):
            raise ValueError(f"ranges is {list(ranges)}; expected at least one, all of them positive")
        if shuffles < 1:
            raise ValueError(f"shuffles is {shuffles}; expected a positive number")
        self.kernel: Kernel = kernel
        self.shuffles = shuffles
        self.cadence = Cadence(every_n_steps, growth)
        self.due = 0
        self.ranges = tuple(ranges)
        self.metric: ExplainedGradient | None = None

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse what has no such force.

        Raises:
            ValueError: If that is so.
        """
        pair_sums_of(datamodule, "MeasuredForces", "train")
        plain = isinstance(network, Network) and not isinstance(network.embedding, PositionwiseEmbedding)
        if not plain or isinstance(network, ParticleSystem):
            name = type(network).__name__
            raise ValueError(f"MeasuredForces is for networks trained by gradients with one vector a token, not {name}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the pairs."""
        network: Any = pl_module.network
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.check_run(network, data)
        pairs = pair_sums_of(data, "MeasuredForces", "train").to(pl_module.device)
        self.metric = ExplainedGradient(pairs, self.kernel, self.ranges, self.shuffles).to(pl_module.device)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the force where that is due."""
        step = trainer.global_step
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.metric is None:
            return
        if step < self.due and step != trainer.max_steps:
            return
        self.due = self.cadence.beyond(step, self.due)
        task: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        train = data.part("train")
        with evaluating(pl_module):
            force, vectors = embedding_force(task.network, train.tokens, train.answers, task.loss)
        elements = slice(self.metric.pairs.tokens)
        self.metric.update(force[elements], vectors[elements])
        measured = self.metric.compute()
        self.metric.reset()
        pl_module.log_dict({f"forces/{name}": value for name, value in measured.items() if math.isfinite(value)})

    def state_dict(self) -> dict[str, int]:
        """Return when a measurement is due again."""
        return {"due": self.due}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on with the measurements."""
        self.due = state_dict["due"]
