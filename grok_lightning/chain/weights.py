"""Weights of a network with what is needed to move them: names, shapes, and the tokens their rows stand for."""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from grok_lightning.chain.build import network_of
from grok_lightning.chain.faults import ChainError
from grok_lightning.networks import joined_rows, named_tensors, tied_names

WEIGHTS_FILE = "network.safetensors"
NETWORK_PREFIX = "network."


@dataclass(frozen=True)
class Weights:
    """Tensors of a network by name, complete: rows that were frozen apart are joined again.

    Attributes:
        tensors: Each tensor once, by name.
        tied: Other names of tensors, with the name they are stored under.
        vocabulary: Names of the tokens, where the network has a vocabulary.
        token_parameters: Names of the tensors whose first dimension runs over the vocabulary.
        source: Where they come from, for messages.
    """

    tensors: dict[str, Tensor]
    tied: dict[str, str] = field(default_factory=dict)
    vocabulary: tuple[str, ...] | None = None
    token_parameters: frozenset[str] = frozenset()
    source: str = ""

    @property
    def names(self) -> list[str]:
        """All names, those of tied tensors included."""
        return [*self.tensors, *self.tied]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.tied.get(name, name)]

    def digest(self) -> str:
        """Return a hash of the content."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def weights_of(module: LightningModule) -> Weights:
    """Return the weights of a module as they are now."""
    network = network_of(module)
    vocabulary = getattr(module, "vocabulary", None)
    return Weights(
        tensors={name: tensor.detach() for name, tensor in named_tensors(network).items()},
        tied=tied_names(network),
        vocabulary=tuple(vocabulary) if vocabulary else None,
        token_parameters=frozenset(getattr(network, "token_parameters", ())),
        source="this network",
    )


def save_weights(weights: Weights, path: Path) -> None:
    """Write weights as safetensors, at once or not at all; what is not a tensor goes into the metadata as JSON."""
    metadata = {
        "vocabulary": json.dumps(weights.vocabulary),
        "token_parameters": json.dumps(sorted(weights.token_parameters)),
        "tied": json.dumps(weights.tied),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({n: t.detach().cpu().contiguous() for n, t in weights.tensors.items()}, temporary, metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_weights(path: Path) -> Weights:
    """Read weights from a run folder, a `.safetensors` file or a Lightning `.ckpt`; nothing in them is executed.

    Raises:
        ChainError: If there are none, or the file is broken or holds more than plain data and tensors.
    """
    if path.is_dir():
        path = path / WEIGHTS_FILE
    if not path.is_file():
        raise ChainError(f"{path}: no such file; expected a finished run's folder, a .safetensors or a .ckpt file")
    return _from_checkpoint(path) if path.suffix == ".ckpt" else _from_safetensors(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as plain data and tensors.

    Raises:
        ChainError: If the file is broken, or holds anything else, such as code.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Both a foreign object and a cut file end here: only a whole file has the archive's directory at its end.
        message = "is damaged" if not zipfile.is_zipfile(path) else "holds objects other than tensors and plain data"
        raise ChainError(f"{path}: {message}; it was not loaded, and nothing in it was run. {_MEND}") from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        brief = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ChainError(f"{path}: is damaged or cut short ({brief}). {_MEND}") from None
    return checkpoint


_MEND = "Name another file; if it is a run's own checkpoint, delete it to start that run over"


def _from_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ChainError(f"{path}: is damaged or no safetensors file ({error}). {_MEND}") from None
    vocabulary = json.loads(metadata.get("vocabulary", "null"))
    return Weights(
        tensors=tensors,
        tied=json.loads(metadata.get("tied", "{}")),
        vocabulary=tuple(vocabulary) if vocabulary else None,
        token_parameters=frozenset(json.loads(metadata.get("token_parameters", "[]"))),
        source=str(path),
    )


def _from_checkpoint(path: Path) -> Weights:
    checkpoint = read_checkpoint(path)
    if "state_dict" not in checkpoint:
        raise ChainError(f"{path}: has no state_dict, so it is no Lightning checkpoint")
    state: Mapping[str, Tensor] = checkpoint["state_dict"]
    if any(name.startswith(NETWORK_PREFIX) for name in state):
        inner = {n.removeprefix(NETWORK_PREFIX): t for n, t in state.items() if n.startswith(NETWORK_PREFIX)}
    else:
        inner = dict(state)
    built = checkpoint.get("grok_lightning", {})
    vocabulary = built.get("vocabulary")
    return Weights(
        tensors=joined_rows(inner),
        vocabulary=tuple(vocabulary) if vocabulary else None,
        token_parameters=frozenset(built.get("token_parameters", ())),
        source=str(path),
    )
