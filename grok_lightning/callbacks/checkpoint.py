"""The checkpoint a run resumes from."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

CHECKPOINTS = "checkpoints"
"""Folder of checkpoints in a run folder."""


class StageInterrupted(Exception):
    """Raised when a run was asked to stop and has saved itself."""


class RunCheckpoint(Checkpoint):
    """Saves the whole state of a run after an evaluation, to `checkpoints/` of the run folder; keeps the newest only.

    A checkpoint is written after the evaluation at its step is logged, so a resumed run repeats and loses nothing. The
    states of the random number generators are part of it. It takes its name, and the older one is deleted, only when
    it is whole. Every run of a chain has this callback; a recipe lists it among `trainer.callbacks` to set its cadence.

    Args:
        every_n_steps: Smallest number of steps between checkpoints; the last step always gets one.

    Attributes:
        interrupted: Asked after each chunk of batches; when true the run saves itself and stops.

    Raises:
        ValueError: If `every_n_steps` is not positive.
        StageInterrupted: After saving, if `interrupted` says so.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}; expected a positive number of steps")
        self.every_n_steps = every_n_steps
        self.interrupted: Callable[[], bool] = lambda: False
        self.saved_at = 0
        self.generators: dict[str, Any] | None = None
        self.has_ended = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random number generators of a resumed run; one that a callback had stopped ends again."""
        self.saved_at = trainer.global_step
        trainer.should_stop = trainer.should_stop or self.has_ended
        if self.generators is not None:
            restore_generators(self.generators)
            self.generators = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a run that is not evaluated after this chunk, where it is due."""
        if not self._evaluates_next(trainer):
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an evaluation, where it is due."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.global_step:
            self._save_if_due(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step of a run that nothing but its epochs ended."""
        if trainer.global_step > self.saved_at:
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the random number generators, and whether a callback has stopped the run."""
        return {"generators": self.generators or collect_generators(), "has_ended": self.has_ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts: building the rest may draw from the generators."""
        self.generators = state_dict["generators"]
        self.has_ended = state_dict.get("has_ended", False)

    def _evaluates_next(self, trainer: Trainer) -> bool:
        fetcher = trainer.fit_loop._data_fetcher
        return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)

    def _save_if_due(self, trainer: Trainer) -> None:
        step = trainer.global_step
        interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted(), all=False)
        self.has_ended = trainer.should_stop and trainer.fit_loop._can_stop_early
        last = step == trainer.max_steps or self.has_ended
        if last or interrupted or step - self.saved_at >= self.every_n_steps:
            self._save(trainer)
        if interrupted and not last:
            raise StageInterrupted(f"interrupted at step {step}")

    def _save(self, trainer: Trainer) -> None:
        self.saved_at = trainer.global_step
        folder = Path(trainer.default_root_dir) / CHECKPOINTS
        path = folder / f"step_{trainer.global_step:08d}.ckpt"
        # Lightning moves a finished file here from the system's temporary folder, which may lie on another disk: the
        # move is then a copy, and one that is cut short must not look like a checkpoint.
        partial = folder / "partial"
        try:
            trainer.save_checkpoint(partial)
        except OSError:
            partial.unlink(missing_ok=True)  # a full disk needs the room, to say that it was full
            raise
        if trainer.is_global_zero:
            partial.replace(path)
            for older in folder.glob("step_*.ckpt"):
                if older != path:
                    older.unlink()


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of the latest step in a run folder, if there is one."""
    return max((folder / CHECKPOINTS).glob("step_*.ckpt"), default=None)


def collect_generators() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators as plain data and tensors."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],  # of the device of the run
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Set the generators to states from `collect_generators`."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"][0].cpu())
