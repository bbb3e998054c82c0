"""A network as it was at one snapshot after another."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

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
        learned = {name for name, tensor in self.last.items() if tensor.is_floating_point()}
        embedding = {name for name in learned if name.startswith("embedding.")}
        held = {step: _names(path) for step, path in paths.items() if step < end}
        steps = [step for step, names in held.items() if embedding <= names]
        places = np.linspace(0, len(steps) - 1, min(len(steps), LARGEST - 1)).round().astype(int)
        self.found = len(steps)
        self.paths = {steps[place]: paths[steps[place]] for place in places}
        self.hold_all = all(learned <= held[step] for step in self.paths)

    def __iter__(self) -> Iterator[int]:
        """Put the network into one state after another, and yield the steps."""
        for step, path in self.paths.items():
            load_tensors(self.network, load_file(path))
            yield step
        load_tensors(self.network, self.last)
        yield self.end


def _names(path: Path) -> set[str]:
    """The names of the tensors of a snapshot, from its header alone."""
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise ChainError(f"{path}: cannot be read ({error}); delete this snapshot to go without it") from None
