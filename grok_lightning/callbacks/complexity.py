"""How complex a network has become: its weight matrices and its embedding, at evaluations and at the end."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor, nn

from grok_lightning.callbacks.history import History
from grok_lightning.callbacks.keeping import keep_figures, write_table
from grok_lightning.complexity import condensed_groups, cosine_by_difference, neuron_similarity, singular_values
from grok_lightning.figures import (
    cosine_curve,
    embedding_plane,
    similarity_map,
    singular_value_curves,
    spectrum_history,
)
from grok_lightning.metrics import EmbeddingComplexity, MatrixComplexity
from grok_lightning.networks import named_tensors, plain_named_parameters
from grok_lightning.optim import matches
from grok_lightning.optim.parameter_groups import nearest_part

LARGEST_ROWS = 2048
"""Neurons that are compared with each other at most."""
FIRST = (".query.weight", ".hidden.weight", "")
"""Ends of the names of the matrices that are measured by default, if there are such behind the embedding."""


class ComplexityProgress(Callback):
    """Logs at evaluations how complex weight matrices and the embedding have become, and shows both at the end.

    After Zhang et al. (arXiv 2405.05409): networks that infer have few directions, those that remember have many.
    Logged as `complexity/<matrix>/…`, see `MatrixComplexity`, and as `complexity/embedding/…`, see
    `EmbeddingComplexity`: of the tokens that are numbers in order (`number_tokens` of the data), or of all tokens where
    the data have no such numbers; the order is left out then.

    The spectrum of the embedding is kept over the run; where there would be more than 64, every second one is dropped.
    When training ends, these go to the run folder, the pictures to TensorBoard too:

    - `singular_values.csv` and `singular_values.png`: of every weight matrix, tables of tokens and positions included;
    - `embedding_spectrum.csv` and `embedding_spectrum.png`: eigenvalues of the embedding's covariance by step;
    - `neurons_<matrix>.png`: cosines of the rows of each chosen matrix, sorted by group, those alone at the end;
    - `embedding_plane.png`, the principal components, and for numbers `embedding_cosines.png`, the cosine of two of
      them by their difference: of the first system, where there are several side by side.

    Results: `stable_rank` and `condensed` of the first matrix; for numbers `embedding_order`.

    Args:
        matrices: Which weight matrices are measured: parts of the network (`decoder.blocks.0`) or patterns of names
            (`*.query.weight`). By default the first query map; in a network without one the first hidden map behind the
            embedding, or else any matrix there, or else that of the embedding.
        threshold: The cosine above which two rows are alike; 0.7 in the paper.
        every_n_steps: Smallest number of steps between spectra that are kept.
        growth: Ratio of their steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If an argument is out of range; before training, if a pattern matches no weight matrix, two of them
            match the same, or a matrix has more than 2048 rows.
    """

    def __init__(
        self,
        matrices: list[str] | None = None,
        threshold: float = 0.7,
        every_n_steps: int = 1,
        growth: float = 1.0,
    ) -> None:
        if matrices is not None and (not matrices or isinstance(matrices, str)):
            raise ValueError(f"matrices is {matrices!r}; expected a list, such as ['decoder.blocks.0'], or null")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}; expected a cosine above 0 and below 1")
        self.matrices, self.threshold = matrices, threshold
        self.history: History[Tensor] = History(every_n_steps, growth)
        self.found: dict[str, float] = {}
        self.chosen: list[str] = []

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Choose the matrices.

        Raises:
            ValueError: If a pattern matches none, two match the same one, or one is too large.
        """
        sizes = {name: len(matrix) for name, matrix in weight_matrices(network).items()}
        self.chosen = [_default(list(sizes))] if self.matrices is None else _matched(self.matrices, list(sizes))
        for name in self.chosen:
            if sizes[name] > LARGEST_ROWS:
                raise ValueError(
                    f"ComplexityProgress: {name} has {sizes[name]} rows; at most {LARGEST_ROWS} are compared with each "
                    "other: choose others with `matrices`"
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do the same where nobody has checked before."""
        self.check_run(pl_module.network, trainer.datamodule)  # type: ignore[arg-type, attr-defined]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, and keep the spectrum where that is due."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        network: Any = pl_module.network
        measured = self._measure(network)
        embedding = _embedding_metric(trainer)
        vectors = network.vectors_by_copy()
        if not measured or not vectors.isfinite().all():
            return  # the run fails, by its loss, and says so
        embedding.update(vectors)
        measured["embedding"] = embedding.compute()
        self.found = self._results(measured)
        pl_module.log_dict(
            {
                f"complexity/{name}/{measure}": value
                for name, measures in measured.items()
                for measure, value in measures.items()
                if value.isfinite()
            }
        )
        if self.history.is_due(trainer.global_step):
            self.history.keep(trainer.global_step, embedding.spectrum)

    # Not on_train_end, which a run does not come to that was cut short here and is taken up again.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and draw."""
        network: Any = pl_module.network
        matrices, embedding = weight_matrices(network), _embedding_metric(trainer)
        vectors = network.vectors_by_copy().detach().cpu()
        if not trainer.is_global_zero or not all(tensor.isfinite().all() for tensor in (*matrices.values(), vectors)):
            return
        embedding.update(vectors)
        history = dict(sorted((self.history | {trainer.global_step: embedding.spectrum}).items()))
        values = {_short(name): singular_values(matrix.cpu()) for name, matrix in matrices.items()}
        _write_tables(Path(trainer.default_root_dir), values, history)
        figures = {
            "singular_values": singular_value_curves(values, "Singular values of the weight matrices"),
            "embedding_spectrum": spectrum_history(history, "Eigenvalues of the embedding's covariance"),
            **{f"neurons_{_short(name)}": self._neurons(name, matrices[name].cpu()) for name in self.chosen},
            **dict(_embedding_pictures(embedding, vectors, trainer)),
        }
        keep_figures(trainer, figures)

    def results(self) -> dict[str, float]:
        """Return what was measured last."""
        return dict(self.found)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, when it is due again, and what was measured last."""
        return {**self.history.state_dict(), "found": dict(self.found)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history.load_state_dict(state_dict)
        self.found = dict(state_dict["found"])

    def _measure(self, network: nn.Module) -> dict[str, dict[str, Tensor]]:
        """The measures of each chosen matrix; nothing if one is not finite."""
        metric, tensors = MatrixComplexity(self.threshold), named_tensors(network)
        if not all(tensors[name].isfinite().all() for name in self.chosen):
            return {}
        measured = {}
        for name in self.chosen:
            metric.update(tensors[name])
            measured[_short(name)] = metric.compute()
            metric.reset()
        return measured

    def _results(self, measured: dict[str, dict[str, Tensor]]) -> dict[str, float]:
        first, embedding = measured[_short(self.chosen[0])], measured["embedding"]
        found = {name: float(first[name]) for name in ("stable_rank", "condensed")}
        if embedding["order"].isfinite():
            found["embedding_order"] = float(embedding["order"])
        return found

    def _neurons(self, name: str, matrix: Tensor) -> Figure:
        similarity = neuron_similarity(matrix)
        groups = condensed_groups(similarity, self.threshold)
        order = torch.tensor([neuron for group in groups for neuron in group])
        ends = accumulate(len(group) for group in groups if len(group) > 1)
        borders = [end for end in ends if end < len(order)]
        return similarity_map(similarity[order[:, None], order], f"Rows of {_short(name)}, by group", borders)


def weight_matrices(network: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network that are matrices, by plain name; a split table in full, a tied one once."""
    tensors = named_tensors(network)
    names = dict.fromkeys(name for name, _ in plain_named_parameters(network))
    return {name: tensors[name] for name in names if name in tensors and tensors[name].ndim == 2}


def _default(names: list[str]) -> str:
    behind = [name for name in names if not name.startswith("embedding.")]
    found = (name for end in FIRST for name in behind if name.endswith(end))
    return next(found, names[0])


def _matched(patterns: list[str], names: list[str]) -> list[str]:
    """The matrices that patterns match, in the order of the patterns."""
    chosen: dict[str, str] = {}
    for pattern in patterns:
        found = [name for name in names if matches(name, pattern)]
        if not found:
            raise ValueError(f"ComplexityProgress: {pattern!r} matches no weight matrix.{nearest_part(pattern, names)}")
        if twice := [name for name in found if name in chosen]:
            both = f"{chosen[twice[0]]!r} and {pattern!r}"
            raise ValueError(f"ComplexityProgress: {both} both match {twice[0]}; let one of them do so")
        chosen |= dict.fromkeys(found, pattern)
    return list(chosen)


def _short(name: str) -> str:
    return name.removesuffix(".weight")


def _embedding_metric(trainer: Trainer) -> EmbeddingComplexity:
    return EmbeddingComplexity(getattr(trainer.datamodule, "number_tokens", None))  # type: ignore[attr-defined]


def _write_tables(folder: Path, values: Mapping[str, Tensor], history: Mapping[int, Tensor]) -> None:
    rows = [[name, number, value] for name, its in values.items() for number, value in enumerate(its.tolist(), 1)]
    write_table(folder / "singular_values.csv", ["matrix", "number", "singular_value"], rows)
    spectra = [[step, *spectrum.tolist()] for step, spectrum in history.items()]
    write_table(folder / "embedding_spectrum.csv", ["step", *range(1, len(spectra[0]))], spectra)


def _embedding_pictures(metric: EmbeddingComplexity, vectors: Tensor, trainer: Trainer) -> Iterator[tuple[str, Figure]]:
    system = metric.chosen(vectors)[0].double()
    names = list(trainer.datamodule.vocabulary)  # type: ignore[attr-defined]
    chosen = [names[token] for token in metric.numbers] if metric.numbers is not None else names
    if min(system.shape) > 1:
        yield "embedding_plane", embedding_plane(system, chosen, None if metric.numbers is None else range(len(system)))
    if metric.numbers is not None and len(system) > 1:
        yield "embedding_cosines", cosine_curve(cosine_by_difference(system), "Cosine of the vectors of two numbers")
