"""How a network learns functions in context: accuracy by number of shots over time, and at the end what it does."""

import csv
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure
from torch import Tensor, nn

from grok_lightning import in_context
from grok_lightning.callbacks.cadence import Cadence
from grok_lightning.callbacks.pictures import evaluating, figure_writers
from grok_lightning.data import InContextDataModule, LinearInContextDataModule
from grok_lightning.data.in_context import SETS
from grok_lightning.figures import attention_map, head_plane, pruning_chart, shot_curves, shot_grids, shot_history
from grok_lightning.metrics import CLASSES
from grok_lightning.metrics.solvers import is_prime
from grok_lightning.networks import attention_maps
from grok_lightning.spectra import principal_components

LARGEST_HISTORY = 64
"""Evaluations in a history at most: when there are more, every second one goes."""
SET_NAMES = {
    "known": "known functions, known inputs",
    "new_inputs": "known functions, new inputs",
    "new_functions": "new functions, known inputs",
    "new_both": "new functions, new inputs",
}
ATTENDED = 24
"""Tokens of the sequence whose attention is drawn, as in the official code of He et al."""


class InContextProgress(Callback):
    """Keeps the accuracy by number of shots at evaluations, and shows at the end what the network has learned.

    Into the run folder go `shots.csv`, the accuracy of each set by step and number of shots; and at the end pictures,
    which TensorBoard has too: `shots.png` (accuracy by shots), `shots_over_time.png` (of new functions on new inputs),
    `attention.png` and `pruning.png` (accuracy without each head). For linear functions modulo a prime also
    `explained.csv`, how much of the right answers each reference solver explains (see `ExplainedAnswers`), and of two
    variables `grid.png`, the right answers to all queries of one new function beside what ratio matching solves, and
    `head.png`, principal components of what the head writes that is missed most.

    Results, for linear functions modulo a prime: `explained_copied`, `explained_ratio`, `explained_combined` and
    `explained_open`, shares of the right answers with the most shots, on new functions and new inputs.

    Args:
        every_n_steps: Smallest number of steps between evaluations that are kept.
        growth: Ratio of their steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If the cadence is out of range; before training, if the data are no sequences of examples.
    """

    def __init__(self, every_n_steps: int = 1, growth: float = 1.0) -> None:
        self.cadence = Cadence(every_n_steps, growth)
        self.due = 0
        self.history: dict[int, Tensor] = {}
        self.explained: dict[str, Tensor] = {}

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse data that are no sequences of examples.

        Raises:
            ValueError: If they are not.
        """
        if not isinstance(datamodule, InContextDataModule):
            expected = "sequences of examples, as of LinearInContextDataModule"
            raise ValueError(f"InContextProgress is for {expected}, not for {type(datamodule).__name__}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse the same where nobody has checked before."""
        self.check_run(pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the accuracy by shots where that is due."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        measure: Any = pl_module.measure("val", "shots")  # type: ignore[operator]
        with measure.sync_context():
            by_shots = measure.accuracy_by_shots().cpu()
        step = trainer.global_step
        if step < self.due and step != trainer.max_steps:
            return
        self.history[step] = by_shots
        while self.due <= step:
            self.due = self.cadence.after(self.due)
        if len(self.history) > LARGEST_HISTORY:
            last = max(self.history)
            self.history = {kept: self.history[kept] for kept in [*sorted(self.history)[:-1:2], last]}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the network what it does, write and draw."""
        if not trainer.is_global_zero or not self.history:
            return
        folder, data = Path(trainer.default_root_dir), trainer.datamodule  # type: ignore[attr-defined]
        network: Any = pl_module.network
        figures: dict[str, Figure] = {}
        with evaluating(pl_module):
            if isinstance(data, LinearInContextDataModule) and is_prime(data.modulus):
                self.explained = in_context.explained(network, data)
                _write(folder / "explained.csv", ("shots", "class", *self.explained), self._explained_rows())
                if data.variables == 2:
                    figures |= {"grid": _grid(network, data)} | _head(network, data)
            figures |= {"attention": _attention(network, data), "pruning": _pruning(network, data)}
        history = {step: by_shots[-1] for step, by_shots in sorted(self.history.items())}
        figures |= {"shots": self._curves(data), "shots_over_time": shot_history(history, SET_NAMES[SETS[-1]])}
        _write(folder / "shots.csv", ("step", "set", *range(data.examples)), self._history_rows())
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=200)
            for writer in figure_writers(trainer):
                writer.add_figure(f"pictures/{name}", figure, global_step=trainer.global_step)

    def results(self) -> dict[str, float]:
        """Return what explains the right answers with the most shots."""
        shares = self.explained["explained"][-1].tolist() if self.explained else []
        return {f"explained_{name}": share for name, share in zip(CLASSES, shares, strict=False)}

    def state_dict(self) -> dict[str, Any]:
        """Return the history, and when it is due again."""
        return {"history": dict(self.history), "due": self.due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history, self.due = dict(state_dict["history"]), state_dict["due"]

    def _curves(self, data: InContextDataModule) -> Figure:
        last = self.history[max(self.history)]
        chance, ceilings = 1 / len(data.vocabulary), {}
        if self.explained:
            solved = self.explained["share"].cumsum(1)
            for name, place in (("ratio matching, else a guess", 1), ("modular regression, else a guess", 2)):
                ceilings[name] = solved[:, place] + (1 - solved[:, place]) * chance
        return shot_curves({SET_NAMES[name]: last[n] for n, name in enumerate(SETS)}, chance, ceilings)

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


def _grid(network: Any, data: LinearInContextDataModule) -> Figure:
    function = data.functions.new[0].tolist()
    shots = sorted({min(k, data.examples - 1) for k in (1, 2, data.examples // 2, data.examples - 1)})
    grids = {k: in_context.shot_grid(network, data, function, k) for k in shots}
    right, matched = ({k: pair[n] for k, pair in grids.items()} for n in (0, 1))
    return shot_grids(right, matched, f"new function {function[0]}·x + {function[1]}·y mod {data.modulus}")


def _head(network: Any, data: LinearInContextDataModule) -> dict[str, Figure]:
    left = in_context.pruned_accuracy(network, data)
    block, head = divmod(int(left.argmin()), left.shape[1])
    shots = data.examples - 1
    vectors = in_context.head_vectors(network, data, data.functions.new[0].tolist(), shots, (block, head))
    if not vectors.isfinite().all():
        rank_zero_warn("InContextProgress: what a head writes is not finite, and not drawn")
        return {}
    points, shares = principal_components(vectors, 2)
    residues = torch.arange(data.modulus)
    x, y = torch.cartesian_prod(residues, residues).unbind(1)
    logarithms = in_context.discrete_logarithms(data.modulus)
    labels = {"log x": logarithms[x], "log y": logarithms[y], "x": x, "y": y}
    title = f"head {head} of block {block}"
    return {"head": head_plane(points, labels, title, (float(shares[0]), float(shares[1])))}


def _attention(network: Any, data: InContextDataModule) -> Figure:
    tokens = data.part("val").tokens[-1:]
    maps = attention_maps(network, tokens)[0][0, :, :ATTENDED, :ATTENDED]
    names = [list(data.vocabulary)[token] for token in tokens[0, :ATTENDED].tolist()]
    return attention_map(maps.float().cpu(), names, "block 0, a new function on new inputs")


def _pruning(network: Any, data: InContextDataModule) -> Figure:
    left, whole = in_context.pruned_accuracy(network, data), in_context.accuracy(network, data)
    return pruning_chart(left, whole, SET_NAMES["new_both"])


def _write(path: Path, header: Any, rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
