"""Whether the embedding is a circle, a grid, a line or none of these, at evaluations and at the end."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn

from grok_lightning.circulants import symmetry_of
from grok_lightning.metrics import EmbeddingStructure
from grok_lightning.pair_sums import pair_sums_of
from grok_lightning.structure import StructureThresholds

TABLE = "structure.csv"


class StructureProgress(Callback):
    """Logs at evaluations which structure the embedding has, as `structure/…`, see `EmbeddingStructure`.

    The elements are put in the order of the operation's group, which must be cyclic. When training ends, the measures
    of each system are written to `structure.csv` in the run folder.

    Results: `structure`, the class (of several systems how many are of each), which reports count over seeds; of a
    single system also `frequency`, `generator` and `second_generator`.

    Args:
        thresholds: From where on an embedding is a circle, a grid or a line.

    Raises:
        ValueError: Before training, if the data are not of binary operations with a cyclic group.
    """

    def __init__(self, thresholds: StructureThresholds | None = None) -> None:
        self.thresholds = StructureThresholds() if thresholds is None else thresholds
        self.metric: EmbeddingStructure | None = None
        self.found: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data whose elements make no cycle.

        Raises:
            ValueError: If they make none.
        """
        group = symmetry_of(datamodule, "StructureProgress").group
        if len(group.orders) > 1 or len(group.members) < 4:
            raise ValueError(
                f"StructureProgress: the operation's group has the cyclic factors {list(group.orders)}; expected one, "
                "of order 4 or more, such as that of add, or of mul modulo a prime"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the group and the pairs."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        network: Any = pl_module.network
        self.check_run(network, data)
        members = symmetry_of(data, "StructureProgress").order
        self.metric = EmbeddingStructure(members, pair_sums_of(data, "StructureProgress"), self.thresholds)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the embedding."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.metric is None:
            return
        network: Any = pl_module.network
        vectors = network.vectors_by_copy()
        if not vectors.isfinite().all():
            return  # the run fails, by its loss, and says so
        self.metric.update(vectors)
        pl_module.log_dict({f"structure/{name}": value for name, value in self.metric.compute().items()})
        self.metric.reset()
        classes = self.metric.classes()
        systems = {name: values.tolist() for name, values in self.metric.systems.items()}
        self.rows = [
            {"system": number, "structure": kind, **{name: values[number] for name, values in systems.items()}}
            for number, kind in enumerate(classes)
        ]
        self.found = {"structure": self.metric.counts() if len(classes) > 1 else classes[0]}
        if len(classes) == 1:
            self.found |= {name: self.rows[0][name] for name in ("frequency", "generator", "second_generator")}

    # Not on_train_end, which a run does not come to that was cut short here and is taken up again.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table."""
        if trainer.is_global_zero and self.rows:
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)  # nothing else may have been written
            with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.rows[0])
                writer.writeheader()
                writer.writerows(self.rows)

    def results(self) -> dict[str, Any]:
        """Return what the embedding is."""
        return dict(self.found)

    def state_dict(self) -> dict[str, Any]:
        """Return what was found last."""
        return {"found": self.found, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what was found last."""
        self.found, self.rows = state_dict["found"], state_dict["rows"]
