"""How a network learns functions in context: accuracy by number of shots over time, and at the end what it does."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from grok_lightning import in_context
from grok_lightning.callbacks.history import History
from grok_lightning.callbacks.in_context_pictures import SET_NAMES, network_pictures, shot_picture
from grok_lightning.callbacks.keeping import keep_figures, write_table
from grok_lightning.callbacks.pictures import evaluating
from grok_lightning.data import LinearInContextDataModule
from grok_lightning.data.in_context import SETS, require_sequences
from grok_lightning.figures import shot_history
from grok_lightning.metrics import CLASSES


class InContextProgress(Callback):
    """Keeps the accuracy by number of shots at evaluations, and shows at the end what the network has learned.

    Into the run folder go `shots.csv`, the accuracy of each set by step and number of shots; and at the end pictures,
    which TensorBoard has too: `shots.png` (accuracy by shots), `shots_over_time.png` (of new functions on new inputs),
    `attention_<block>.png` and `pruning.png` (accuracy without each head). For linear functions modulo a prime also
    `explained.csv`, how much of the right answers each reference solver explains (see `ExplainedAnswers`), and of two
    variables `grid.png`, the right answers to all queries of one new function beside what ratio matching solves, and
    `head.png` and `similarity.png`, principal components and cosines of what the head writes that is missed most.

    Results, for linear functions modulo a prime, of the answers with the most shots, on new functions and new inputs:
    `explained_copied`, `explained_ratio`, `explained_combined` and `explained_open`, shares of the right answers; and
    `accuracy_copied` and so on, the accuracy in each class of queries.

    Args:
        every_n_steps: Smallest number of steps between evaluations that are kept.
        growth: Ratio of their steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If the cadence is out of range; before training, if the data are no sequences of examples.
    """

    def __init__(self, every_n_steps: int = 1, growth: float = 1.0) -> None:
        self.history: History[Tensor] = History(every_n_steps, growth)
        self.explained: dict[str, Tensor] = {}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data that are no sequences of examples.

        Raises:
            ValueError: If they are not.
        """
        require_sequences(datamodule, "InContextProgress")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the same where nobody has checked before."""
        self.check_run(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the accuracy by shots where that is due."""
        step = trainer.global_step
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if not (self.history.is_due(step) or step == trainer.max_steps):
            return
        measure: Any = pl_module.measure("val", "shots")  # type: ignore[operator]
        with measure.sync_context():
            self.history.keep(step, measure.accuracy_by_shots().cpu())

    # Not on_train_end, which a run does not come to that was cut short here and is taken up again.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the network what it does, write and draw."""
        if not trainer.is_global_zero or not self.history:
            return
        data, network = trainer.datamodule, pl_module.network  # type: ignore[attr-defined]
        folder = Path(trainer.default_root_dir)
        write_table(folder / "shots.csv", ["step", "set", *range(data.examples)], self._history_rows())
        network.to(trainer.strategy.root_device)  # from where Lightning has moved it already
        with evaluating(pl_module):
            if isinstance(data, LinearInContextDataModule) and data.is_field:
                self.explained = in_context.explained(network, data)  # type: ignore[arg-type]
                write_table(folder / "explained.csv", ["shots", "class", *self.explained], self._explained_rows())
            figures = dict(network_pictures(network, data))
        network.cpu()
        by_shots = dict(sorted(self.history.items()))
        last = by_shots[max(by_shots)]
        figures["shots"] = shot_picture(last, self.explained.get("share"), 1 / len(data.vocabulary))
        figures["shots_over_time"] = shot_history(
            {step: its[-1] for step, its in by_shots.items()}, SET_NAMES[SETS[-1]]
        )
        keep_figures(trainer, figures)

    def results(self) -> dict[str, float | None]:
        """Return what explains the answers with the most shots, and how often those of each class are right."""
        if not self.explained:
            return {}
        measured = {name: self.explained[name][-1].tolist() for name in ("explained", "accuracy")}
        return {
            f"{what}_{name}": value if math.isfinite(value) else None  # there may be no query of a class
            for what, values in measured.items()
            for name, value in zip(CLASSES, values, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the history, and when it is due again."""
        return self.history.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history.load_state_dict(state_dict)

    def _history_rows(self) -> list[list[Any]]:
        return [
            [step, name, *by_shots[number].tolist()]
            for step, by_shots in sorted(self.history.items())
            for number, name in enumerate(SETS)
        ]

    def _explained_rows(self) -> list[list[Any]]:
        tables = list(self.explained.values())
        return [
            [shots, name, *(float(table[shots, number]) for table in tables)]
            for shots in range(len(tables[0]))
            for number, name in enumerate(CLASSES)
        ]
