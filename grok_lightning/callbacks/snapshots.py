"""Weights along the way, for whatever wants to look back over a run."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import save_file

from grok_lightning.callbacks.cadence import Cadence
from grok_lightning.networks import named_tensors
from grok_lightning.optim import matches


class Snapshots(Callback):
    """Saves chosen parts of the network to `snapshots/step_<step>.safetensors` of the run folder.

    Args:
        parts: Parts of the network (`embedding`, `decoder`, `classifier`) or patterns of tensor names.
        every_n_steps: Smallest number of steps between snapshots.
        growth: Ratio of successive snapshot steps, 1 for evenly spaced ones.

    Raises:
        ValueError: If a part matches no tensor, when training starts.
    """

    def __init__(self, parts: list[str], every_n_steps: int = 100, growth: float = 1.0) -> None:
        self.parts = parts
        self.cadence = Cadence(every_n_steps, growth)
        self.next_step = self.cadence.after(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the untrained weights."""
        if trainer.global_step == 0:
            self._save(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at the steps of the cadence and at the last step."""
        step = trainer.global_step
        if step >= self.next_step or step == trainer.max_steps:
            self._save(trainer, pl_module)
        while self.next_step <= step:
            self.next_step = self.cadence.after(self.next_step)

    def state_dict(self) -> dict[str, int]:
        """Return the step of the next snapshot."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue with the next snapshot."""
        self.next_step = state_dict["next_step"]

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tensors = named_tensors(getattr(pl_module, "network", pl_module))
        chosen = {name: tensor for name, tensor in tensors.items() if any(matches(name, part) for part in self.parts)}
        for part in self.parts:
            if not any(matches(name, part) for name in tensors):
                raise ValueError(f"Snapshots: the part {part!r} matches no tensor; there are {', '.join(tensors)}")
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir) / "snapshots"
            folder.mkdir(parents=True, exist_ok=True)
            clones = {name: tensor.detach().cpu().contiguous() for name, tensor in chosen.items()}
            save_file(clones, folder / f"step_{trainer.global_step:08d}.safetensors")
