"""Pictures of a network in training, for TensorBoard.

Grokking happens on a logarithmic scale of steps, so the pictures are drawn on one: a run of any length costs a dozen
drawings or two, each a small part of a second, between two training steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure
from torch import Tensor

from grok_lightning.figures import embedding_plane, error_grid, fourier_spectrum

Picture = Literal["errors", "plane", "spectrum"]


@dataclass(frozen=True, eq=False)
class AnswerGrid:
    """The answers to all equations ``a ∘ b``, for the picture of errors.

    Attributes:
        elements: The names of the elements, in the order of the rows and columns.
        symbol: The sign of the operation.
        correct: 1 where the answer is right, 0 where it is wrong, −1 where a ∘ b is undefined, (elements, elements).
        part: Where each equation belongs: 0 train, 1 validation, 2 test, (elements, elements).
    """

    elements: Sequence[str]
    symbol: str
    correct: Tensor
    part: Tensor


@dataclass(frozen=True, eq=False)
class PictureData:
    """What a task offers to be drawn.

    Attributes:
        names: The name of every token.
        vectors: The embedding vector of every token, (tokens, width).
        residues: The tokens that stand for 0, 1, …, n − 1, in this order, for the spectrum; None where the elements are
            no residues.
        grid: The answers, for the picture of errors; None where they make no table.
    """

    names: Sequence[str]
    vectors: Tensor
    residues: Sequence[int] | None = None
    grid: AnswerGrid | None = None


@runtime_checkable
class OffersPictures(Protocol):
    """A LightningModule that can be drawn.

    ``picture_data`` is called on rank zero alone, with the modules in evaluation mode and without gradients. It must
    neither communicate with other ranks nor use up random numbers, or a run would depend on its pictures.
    """

    def picture_data(self) -> PictureData:
        """Returns the present state of the network, to be drawn."""
        ...


class Pictures(Callback):
    """Draws the network at evaluations on a logarithmic scale of steps.

    - ``pictures/errors``: which equations are answered right, see `grok_lightning.figures.error_grid`;
    - ``pictures/plane``: the embedding in its first two principal components, see `embedding_plane`;
    - ``pictures/spectrum``: the Fourier spectrum of the embedding over the residues, see `fourier_spectrum`.

    They are drawn at the first evaluation, then at the first one at or after ``start`` and at each one whose step is at
    least ``factor`` times that of the drawing before, and when training ends. They go to every logger that takes
    figures. A resumed run draws at the same steps as one that was never interrupted.

    Args:
        which: The pictures to draw; None for all that the task has data for.
        factor: How many times larger the step is from one drawing to the next, at least.
        start: The first step after the first evaluation at which to draw.

    Raises:
        ValueError: If a picture is unknown or named twice, ``factor`` is not above 1 or ``start`` is not positive.
    """

    def __init__(self, which: Sequence[Picture] | None = None, factor: float = 2.0, start: int = 100) -> None:
        known = get_args(Picture)
        for name in which or ():
            if name not in known:
                near = get_close_matches(str(name), known, 1, 0)
                raise ValueError(f"which={name!r}: expected one of {', '.join(known)}; did you mean {near[0]!r}?")
        if which is not None and not 0 < len(which) == len(set(which)):
            raise ValueError(f"which={list(which)}: expected some pictures, each once")
        if not 1 < factor < math.inf:
            raise ValueError(f"factor={factor}: expected a number above 1")
        if start < 1:
            raise ValueError(f"start={start}: expected at least 1")
        self.which = None if which is None else tuple(which)
        self.factor = factor
        self.start = start
        self.last_step: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks that the task can be drawn.

        Raises:
            TypeError: If it offers no ``picture_data``.
        """
        if stage == "fit":
            _offering(pl_module)
            if not figure_writers(trainer):
                rank_zero_warn("Pictures draws nothing: no logger takes figures, as TensorBoardLogger does")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws if the step is far enough from that of the last drawing."""
        if trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking:
            return
        step = trainer.global_step
        if self.last_step is None or step >= max(self.start, self.factor * self.last_step):
            self.last_step = step
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the last step, which leaves the scale as it is: a run that is extended draws as if it had not ended."""
        if self.last_step != trainer.global_step:
            self._draw(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Returns the step of the last drawing on the scale."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the step of the last drawing on the scale."""
        self.last_step = state_dict["last_step"]

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writers = figure_writers(trainer) if trainer.is_global_zero else []
        if not writers:
            return
        with evaluating(pl_module):
            data = _offering(pl_module).picture_data()
        for name, draw in self._chosen(data, trainer.global_step).items():
            figure = draw()
            for writer in writers:
                writer.add_figure(f"pictures/{name}", figure, global_step=trainer.global_step)

    def _chosen(self, data: PictureData, step: int) -> dict[Picture, Callable[[], Figure]]:
        drawings = _drawings(data)
        chosen = self.which or tuple(drawings)
        absent = [name for name in chosen if name not in drawings]
        if absent:
            raise ValueError(f"which={list(chosen)}: the task has no data for {', '.join(absent)}")
        if not data.vectors.isfinite().all():
            rank_zero_warn(f"step {step}: embedding vectors that are not finite are not drawn")
            chosen = tuple(name for name in chosen if name == "errors")
        return {name: drawings[name] for name in chosen}


def _drawings(data: PictureData) -> dict[Picture, Callable[[], Figure]]:
    """Everything the data can be drawn as, each drawn by a call."""
    drawings: dict[Picture, Callable[[], Figure]] = {}
    if (grid := data.grid) is not None:
        drawings["errors"] = partial(error_grid, grid.correct, grid.elements, grid.symbol, grid.part)
    drawings["plane"] = partial(embedding_plane, data.vectors, data.names, data.residues)
    if data.residues is not None:
        drawings["spectrum"] = partial(fourier_spectrum, data.vectors[list(data.residues)])
    return drawings


def _offering(module: LightningModule) -> OffersPictures:
    if not isinstance(module, OffersPictures):
        raise TypeError(f"{type(module).__name__} has no picture_data(): the callback Pictures has nothing to draw")
    return module


def figure_writers(trainer: Trainer) -> list[Any]:
    """The experiments of a Trainer's loggers that take figures."""
    experiments = [getattr(logger, "experiment", None) for logger in trainer.loggers]
    return [experiment for experiment in experiments if hasattr(experiment, "add_figure")]


@contextmanager
def evaluating(module: LightningModule) -> Iterator[None]:
    """Puts a module in evaluation mode without gradients, and every part of it back into the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training
