"""How features grow: measures of the feature matrix at evaluations, its history, and pictures of both."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor

from grok_lightning.callbacks.history import History
from grok_lightning.callbacks.keeping import keep_figures
from grok_lightning.circulants import ORIENTATIONS, OperandSymmetry, symmetry_of
from grok_lightning.figures import feature_matrices, progress_curves
from grok_lightning.metrics import AgopCorrelation, CirculantDeviation, FeatureAlignment
from grok_lightning.metrics_table import METRICS_FILE, read_metrics
from grok_lightning.networks import Network
from grok_lightning.spectra import matrix_power

Matrix = Literal["features", "agop"]


class FeatureProgress(Callback):
    """Logs at evaluations how the feature matrix of a network, or the root of its AGOP, becomes circulant.

    Logged as `features/…`: `CirculantDeviation`; `AgopCorrelation` if the AGOP is measured; and, when training ends,
    for every step of the history, `FeatureAlignment` with the last matrix. The history is part of the checkpoint; where
    it would have more than 64 matrices, every second one is dropped. When training ends, two pictures go to the run
    folder and to TensorBoard: `progress.png`, the curves, and `features.png`, the matrix over time.

    Result: `orientation`, the one along which the last matrix deviates less, `diagonal` or `antidiagonal`.

    Args:
        matrix: `features`, the matrix M of a feature machine, or W₁ᵀW₁ of a network; or `agop`, the root of the AGOP
            over the training equations, which costs about a pass over these for each token.
        operation: The operation whose group orders the elements; by default that of the data.
        every_n_steps: Smallest number of steps between matrices of the history.
        growth: Ratio of their steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If an argument is out of range; before training, if the data are not of binary operations, or the
            operation has no group.
    """

    def __init__(
        self, matrix: Matrix = "features", operation: str | None = None, every_n_steps: int = 1, growth: float = 1.0
    ) -> None:
        if matrix not in get_args(Matrix):
            near = get_close_matches(str(matrix), get_args(Matrix), n=1, cutoff=0)[0]
            raise ValueError(f"matrix is {matrix!r}; expected features or agop, did you mean {near!r}?")
        self.matrix, self.operation = matrix, operation
        self.history: History[Tensor] = History(every_n_steps, growth)
        self.newest: tuple[int, Tensor] | None = None
        self.orientation: str | None = None
        self.symmetry: OperandSymmetry | None = None

    def check_run(self, network: Network, datamodule: LightningDataModule | None) -> None:
        """Refuse data whose elements have no such group.

        Raises:
            ValueError: If they have none.
        """
        hint = "; its `operation` can name another, whose group orders the elements"
        self.symmetry = symmetry_of(datamodule, "FeatureProgress", self.operation, hint)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the group."""
        self.check_run(pl_module.network, trainer.datamodule)  # type: ignore[arg-type, attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the matrix, and keep it where the history is due."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        network: Any = pl_module.network
        features, root = self._matrices(network, trainer.datamodule)  # type: ignore[attr-defined]
        matrix, device = features if root is None else root, features.device
        measured = CirculantDeviation(self._group, network.vocabulary_size).to(device)(matrix)
        self.newest = trainer.global_step, matrix.detach().cpu().clone()
        if self.history.is_due(trainer.global_step):
            self.history.keep(*self.newest)
        if root is not None:
            measured |= AgopCorrelation().to(device)(features, root)
        if measured["deviation"].isfinite():
            self.orientation = min(ORIENTATIONS, key=lambda name: float(measured[f"deviation_{name}"]))
        pl_module.log_dict({f"features/{name}": value for name, value in measured.items() if value.isfinite()})

    # Not on_train_end, which a run does not come to that was cut short here and is taken up again.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the history with its last matrix, and draw."""
        if not trainer.is_global_zero or not self.history:
            return
        network: Any = pl_module.network
        if self.newest is not None:
            self.history |= dict([self.newest])
        alignment = FeatureAlignment(self.history[max(self.history)], self._group, network.vocabulary_size)
        for step, matrix in self.history.items():
            values = {name: float(value) for name, value in alignment(matrix).items() if value.isfinite()}
            for logger in trainer.loggers:
                logger.log_metrics({f"features/{name}": value for name, value in values.items()}, step)
        self._draw(trainer, network)

    def results(self) -> dict[str, str | None]:
        """Return which orientation won."""
        return {"orientation": self.orientation}

    def state_dict(self) -> dict[str, Any]:
        """Return the history, and when it is due again."""
        return {**self.history.state_dict(), "orientation": self.orientation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history.load_state_dict(state_dict)
        self.orientation = state_dict["orientation"]

    @property
    def _group(self) -> OperandSymmetry:
        assert self.symmetry is not None, "check_run has not been called"
        return self.symmetry

    @torch.no_grad()
    def _matrices(self, network: Network, datamodule: Any) -> tuple[Tensor, Tensor | None]:
        """Return the feature matrix, and the root of the AGOP where that is asked for."""
        features = network.feature_matrix()
        if self.matrix == "features":
            return features, None
        return features, matrix_power(network.agop(datamodule.part("train").tokens).detach(), 0.5)

    def _draw(self, trainer: Trainer, network: Network) -> None:
        folder = Path(trainer.default_root_dir)
        by_number, by_group = (self._group.inputs(network.vocabulary_size, ordered) for ordered in (False, True))
        orders = {"by number": by_number}
        if not torch.equal(by_number, by_group):
            orders["by the group's coordinates"] = by_group
        figures = {"features": feature_matrices(self.history, orders)}
        if (folder / METRICS_FILE).is_file():
            metrics = read_metrics(folder)
            metrics.pop("features/deviation", None)  # it would hide one of the two it is the smaller of
            figures["progress"] = progress_curves(metrics)
        keep_figures(trainer, figures)
