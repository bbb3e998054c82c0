"""A finished run in a notebook."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

from grok_lightning import commands as commands  # imports every room, so that configs resolve
from grok_lightning.chain.evaluate import open_run
from grok_lightning.chain.manifest import Manifest, read_manifest
from grok_lightning.logger import Series, read_metrics
from grok_lightning.networks import network_of


@dataclass(frozen=True)
class LoadedRun:
    """A finished run.

    Attributes:
        network: The network with its weights, in evaluation mode.
        vocabulary: Names of its tokens; empty for a module without one.
        data: The data module, set up, with the run's own split.
        task: The LightningModule.
        manifest: What the run is and what it found.
        metrics: Everything it logged: steps and values by name.
    """

    network: nn.Module
    vocabulary: tuple[str, ...]
    data: LightningDataModule | None
    task: LightningModule
    manifest: Manifest
    metrics: dict[str, Series]


def load(folder: str | Path, weights: Literal["last", "best"] = "last") -> LoadedRun:
    """Open a finished run.

    Args:
        folder: Run folder, such as `logs/transfer_add_to_sub/run_000/scratch/seed_0`.
        weights: Those it ended with, or the best, which the callback `BestWeights` kept.

    Raises:
        ChainError: If the folder is no finished run, or keeps no best weights.
    """
    folder = Path(folder)
    cli = open_run(folder, weights)
    manifest = read_manifest(folder)
    assert manifest is not None
    task = cli.model.eval()
    vocabulary = tuple(getattr(task, "vocabulary", ()))
    return LoadedRun(network_of(task), vocabulary, cli.datamodule, task, manifest, read_metrics(folder))
