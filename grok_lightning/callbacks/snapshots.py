"""Weights along the way, for whatever wants to look back over a run."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from safetensors.torch import save_file
from torch import nn

from grok_lightning.callbacks.cadence import Cadence
from grok_lightning.networks import named_tensors, network_of
from grok_lightning.optim import matches

SNAPSHOTS = "snapshots"
"""Folder of snapshots in a run folder."""


class Snapshots(Callback):
    """Saves chosen parts of the network to `snapshots/step_<step>.safetensors` of the run folder.

    There is one at step 0, at each step of the cadence, and at the last step.

    Args:
        parts: Parts of the network (`embedding`, `decoder`, `classifier`) or patterns of tensor names.
        every_n_steps: Smallest number of steps between snapshots.
        growth: Ratio of successive snapshot steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If no part is given or the cadence is out of range; if a part matches no tensor, before training.
    """

    def __init__(self, parts: list[str], every_n_steps: int = 100, growth: float = 1.0) -> None:
        if not parts or isinstance(parts, str):
            raise ValueError(f"parts is {parts!r}; expected a list of parts of the network, such as ['embedding']")
        self.parts = parts
        self.cadence = Cadence(every_n_steps, growth)
        self.next_step = 0

    def check_run(self, network: nn.Module, datamodule: LightningDataModule | None) -> None:
        """Refuse a network that lacks one of the parts.

        Raises:
            ValueError: If a part matches no tensor.
        """
        names = list(named_tensors(network))
        for part in self.parts:
            if not any(matches(name, part) for name in names):
                raise ValueError(f"Snapshots: the part {part!r} matches no tensor{_nearest(part, names)}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the untrained weights."""
        self.check_run(network_of(pl_module), None)
        self._save_if_due(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at the steps of the cadence and at the last step."""
        self._save_if_due(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step of a run that ended early."""
        if not _path(trainer).exists():
            self._save(trainer, pl_module)

    def state_dict(self) -> dict[str, int]:
        """Return the step of the next snapshot."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue with the next snapshot."""
        self.next_step = state_dict["next_step"]

    def _save_if_due(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if step >= self.next_step or step == trainer.max_steps:
            self._save(trainer, pl_module)
        self.next_step = self.cadence.beyond(step, self.next_step)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        tensors = named_tensors(network_of(pl_module))
        chosen = {name: tensor for name, tensor in tensors.items() if any(matches(name, part) for part in self.parts)}
        path = _path(trainer)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({name: tensor.cpu().contiguous() for name, tensor in chosen.items()}, partial)
        partial.replace(path)


def _path(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / SNAPSHOTS / f"step_{trainer.global_step:08d}.safetensors"


def _nearest(part: str, names: Iterable[str]) -> str:
    """Return the end of an error message: the part or tensor with the closest name."""
    words = [name.split(".") for name in names]
    parts = {".".join(path[:end]) for path in words for end in range(1, len(path) + 1)}
    closest = get_close_matches(part, sorted(parts), n=1)
    heads = ", ".join(sorted({path[0] for path in words}))
    return f"; did you mean {closest[0]!r}?" if closest else f"; the parts are {heads}"
