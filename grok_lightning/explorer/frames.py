"""A network as it was at one snapshot after another."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from grok_lightning.callbacks.snapshots import SNAPSHOTS
from grok_lightning.chain.faults import ChainError
from grok_lightning.networks import Network, load_tensors, named_tensors

LARGEST = 200
"""Frames of a page at most."""


class Frames:
    """The states of a network over training: those of the snapshots of a run that hold its embedding, and the last.

    Args:
        network: The network in its last state, to which it returns.
        folder: Run folder.
        end: The last step.

    Attributes:
        found: How many snapshots there are.
        paths: Those that are shown, by step.
        hold_all: Whether each of them holds everything that is learned, the classifier too.

    Raises:
        ChainError: If a snapshot cannot be read.
    """

    def __init__(self, network: Network, folder: Path, end: int) -> None:
        self.network, self.end = network, end
        self.last = {name: tensor.clone() for name, tensor in named_tensors(network).items()}
        files = sorted((folder / SNAPSHOTS).glob("step_*.safetensors"))
        paths = {int(path.stem.partition("_")[2]): path for path in files}
        paths = {step: path for step, path in paths.items() if step < end and self._holds(path, "embedding.")}
        places = np.linspace(0, len(paths) - 1, min(len(paths), LARGEST - 1)).round().astype(int)
        steps = list(paths)
        self.found = len(paths)
        self.paths = {steps[place]: paths[steps[place]] for place in places}
        self.hold_all = all(self._holds(path, "") for path in self.paths.values())

    def __iter__(self) -> Iterator[int]:
        """Put the network into one state after another, and yield the steps."""
        for step, path in self.paths.items():
            load_tensors(self.network, _tensors(path))
            yield step
        load_tensors(self.network, self.last)
        yield self.end

    def _holds(self, path: Path, prefix: str) -> bool:
        """Say whether a snapshot holds all that is learned whose name begins so."""
        held = _tensors(path)
        learned = (name for name, tensor in self.last.items() if tensor.is_floating_point())
        return all(name in held for name in learned if name.startswith(prefix))


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ChainError(f"{path}: cannot be read ({error}); delete this snapshot to go without it") from None
