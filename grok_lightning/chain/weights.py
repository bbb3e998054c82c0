"""Weights of a network with what is needed to move them: names, shapes, and the tokens their rows stand for."""

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from grok_lightning.chain.faults import ChainError
from grok_lightning.networks import NETWORK_PREFIX, joined_rows, named_tensors, network_of, tied_names

WEIGHTS_FILE, BEST_FILE = "network.safetensors", "best.safetensors"
FILES = {"last": WEIGHTS_FILE, "best": BEST_FILE}
"""Files of a run folder, by which of its weights they hold."""
METADATA = "grok_lightning"
"""Where a weights file says what is no tensor; a checkpoint has a key of that name too."""


@dataclass(frozen=True)
class Weights:
    """Tensors of a network by name, complete: rows that were frozen apart are joined again.

    Attributes:
        tensors: Each tensor once, by name.
        tied: Other names of tensors, with the name they are stored under.
        vocabulary: Names of the tokens, where the network has a vocabulary.
        token_parameters: Names of the tensors whose first dimension runs over the vocabulary.
        own: Names of tensors that no transfer moves into this network.
        coordinates: Second names of the tokens, by their place in the group behind the data, where there is one.
        source: Where they come from, for messages.
    """

    tensors: dict[str, Tensor]
    tied: dict[str, str] = field(default_factory=dict)
    vocabulary: tuple[str, ...] | None = None
    token_parameters: frozenset[str] = frozenset()
    coordinates: tuple[str, ...] | None = None
    own: frozenset[str] = frozenset()
    source: str = ""

    @property
    def names(self) -> list[str]:
        """All names, those of tied tensors included."""
        return [*self.tensors, *self.tied]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.tied.get(name, name)]

    def names_of(self, name: str) -> frozenset[str]:
        """Return all names of the tensor that has this name."""
        kept = self.tied.get(name, name)
        return frozenset([kept, *(other for other, target in self.tied.items() if target == kept)])

    def has_tokens(self, name: str) -> bool:
        """Say whether the first dimension of a tensor runs over the vocabulary."""
        return not self.names_of(name).isdisjoint(self.token_parameters)

    def digest(self) -> str:
        """Return a hash of the content: bits, names, and what the rows stand for."""
        words = [self.vocabulary, sorted(self.token_parameters), sorted(self.tied.items())]
        words += [self.coordinates] if self.coordinates else []
        digest = hashlib.sha256(json.dumps([*words, sorted(self.tensors)]).encode())
        for _, tensor in sorted(self.tensors.items()):
            digest.update(tensor_digest(tensor).encode())
        return digest.hexdigest()[:16]


def tensor_digest(tensor: Tensor) -> str:
    """Return a hash of a tensor of any type: its bits, type and shape."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def weights_of(module: LightningModule) -> Weights:
    """Return the weights of a module as they are now."""
    network = network_of(module)
    vocabulary, coordinates = getattr(module, "vocabulary", None), getattr(module, "coordinates", None)
    return Weights(
        tensors={name: tensor.detach() for name, tensor in named_tensors(network).items()},
        tied=tied_names(network),
        vocabulary=tuple(vocabulary) if vocabulary else None,
        token_parameters=frozenset(getattr(network, "token_parameters", ())),
        coordinates=tuple(coordinates) if coordinates else None,
        own=frozenset(getattr(network, "own_tensors", ())),
        source="this network",
    )


def save_weights(weights: Weights, path: Path) -> None:
    """Write weights as safetensors, at once or not at all; what is not a tensor goes into the metadata as JSON."""
    said = {
        "vocabulary": weights.vocabulary,
        **({"coordinates": weights.coordinates} if weights.coordinates else {}),
        "token_parameters": sorted(weights.token_parameters),
        "tied": dict(sorted(weights.tied.items())),
    }
    metadata = {METADATA: json.dumps(said)}  # one entry: safetensors writes several in any order
    # Clones: safetensors refuses tensors that share memory, as views of one parameter do.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.tensors.items()
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(save(tensors, metadata))  # save_file would let nobody else read it
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_weights(path: Path, which: str = "last") -> Weights:
    """Read weights from a run folder, a `.safetensors` file or a Lightning `.ckpt`; nothing in them is executed.

    Args:
        path: Folder or file.
        which: Which weights of a folder, see `FILES`.

    Raises:
        ChainError: If there are none, or the file is broken or holds more than plain data and tensors.
    """
    if path.is_dir():
        if which == "best" and not (path / BEST_FILE).is_file():
            raise ChainError(f"{path}: keeps no best weights; its stage needs the callback BestWeights")
        path = path / FILES[which]
    if not path.is_file():
        raise ChainError(f"{path}: no such file; expected a finished run's folder, a .safetensors or a .ckpt file")
    return _from_checkpoint(path) if path.suffix == ".ckpt" else _from_safetensors(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as plain data and tensors.

    Raises:
        ChainError: If the file is broken, or holds anything else, such as code.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        message = "holds more than tensors and plain data, such as code; it was not loaded, and nothing in it was run"
        raise ChainError(f"{path}: {message}. {_MEND}") from None
    except Exception as error:  # a damaged file can end in any
        brief = (str(error) or type(error).__name__).splitlines()[0]
        raise ChainError(f"{path}: is damaged or cut short ({brief}). {_MEND}") from None
    if not isinstance(checkpoint, dict):
        raise ChainError(f"{path}: holds a {type(checkpoint).__name__}, so it is no Lightning checkpoint. {_MEND}")
    return checkpoint


_MEND = "Name another file; if it is a run's own checkpoint, delete it to start that run over"


def _from_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
        said = json.loads(metadata.get(METADATA, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ChainError(f"{path}: is damaged or no safetensors file ({error}). {_MEND}") from None
    vocabulary, coordinates = said.get("vocabulary"), said.get("coordinates")
    return Weights(
        tensors=tensors,
        tied=said.get("tied", {}),
        vocabulary=tuple(vocabulary) if vocabulary else None,
        token_parameters=frozenset(said.get("token_parameters", ())),
        coordinates=tuple(coordinates) if coordinates else None,
        source=str(path),
    )


def _from_checkpoint(path: Path) -> Weights:
    checkpoint = read_checkpoint(path)
    if "state_dict" not in checkpoint:
        raise ChainError(f"{path}: has no state_dict, so it is no Lightning checkpoint")
    state: Mapping[str, Tensor] = checkpoint["state_dict"]
    is_task = all(name.startswith(NETWORK_PREFIX) for name in state)
    inner = {name.removeprefix(NETWORK_PREFIX) if is_task else name: tensor for name, tensor in state.items()}
    built = checkpoint.get(METADATA, {})
    vocabulary, coordinates, tensors = built.get("vocabulary"), built.get("coordinates"), joined_rows(inner)
    tied = _shared(tensors)
    return Weights(
        tensors={name: tensor for name, tensor in tensors.items() if name not in tied},
        tied=tied,
        vocabulary=tuple(vocabulary) if vocabulary else None,
        token_parameters=frozenset(built.get("token_parameters", ())),
        coordinates=tuple(coordinates) if coordinates else None,
        source=str(path),
    )


def _shared(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the other names of tensors that a checkpoint stores once, with the first name of each."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    names = {n: first.setdefault((t.data_ptr(), tuple(t.shape)), n) for n, t in tensors.items() if t.numel()}
    return {name: kept for name, kept in names.items() if name != kept}
