"""From a finished run to what the page shows of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from grok_lightning.callbacks.snapshots import SNAPSHOTS
from grok_lightning.chain.categories import counts_in
from grok_lightning.chain.evaluate import open_run
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import Manifest, read_manifest
from grok_lightning.explorer.exploration import ClassMap, Exploration, Pairs
from grok_lightning.explorer.planes import axes_of, planes_of
from grok_lightning.metrics_table import read_metrics
from grok_lightning.networks import Network, load_tensors, named_tensors, network_of
from grok_lightning.networks.planar import Sum
from grok_lightning.spectra import fourier_power

FRAMES = 200
"""Frames of a page at most."""
PAIRS = 2500
"""Pair sums that a browser draws with ease."""
RESOLUTION = 72
"""Places of the map of classes along each side."""
NO_SNAPSHOTS = (
    "There is one frame, the end of training. For more, train with the callback Snapshots: "
    "--trainer.callbacks+ Snapshots --trainer.callbacks.parts '[embedding, decoder, classifier]'."
)


def explore(folder: Path) -> Exploration:
    """Gather what a page shows of a finished run.

    Args:
        folder: Run folder.

    Raises:
        ChainError: If the folder is no finished run, or its module no network with an embedding.
    """
    cli = open_run(folder)
    network = network_of(cli.model.eval())
    if not isinstance(network, Network):
        raise ChainError(f"{folder}: a {type(network).__name__} has no embedding; the explorer is for our networks")
    manifest = read_manifest(folder)
    assert manifest is not None
    data: Any = cli.datamodule
    shown = list(data.residues or range(len(data.vocabulary)))
    pairs = _pairs(network, data)
    steps, vectors, maps = [], [], []
    for step in _frames(network, folder, manifest):
        by_copy = network.vectors_by_copy().detach().cpu().float()
        steps.append(step)
        vectors.append(by_copy[:, shown])
        if pairs is not None and by_copy.shape[0] == 1 and by_copy.shape[-1] == 2:
            maps.append(_map(network, by_copy[0], pairs))
    planes, shares = planes_of(vectors)
    return Exploration(
        title=f"{manifest.recipe}: {manifest.stage}, seed {manifest.seed}",
        subtitle=f"{type(network).__name__}, {manifest.results.get('steps', 0)} steps",
        names=[data.vocabulary[token] for token in shown],
        are_residues=data.residues is not None,
        steps=steps,
        positions=planes,
        axes=axes_of(vectors),
        plane_share=shares,
        spectrum=None if data.residues is None else _spectra(vectors),
        pairs=pairs,
        class_map=ClassMap(*(np.stack(column) for column in zip(*maps, strict=True))) if maps else None,
        series=dict(read_metrics(folder)),
        results={name: _text(value) for name, value in manifest.results.items()},
        notes=[NO_SNAPSHOTS] if len(steps) == 1 else [],
    )


def _frames(network: Network, folder: Path, manifest: Manifest) -> Iterator[int]:
    """Put the network into the state of one snapshot after another, then into its last, and yield the steps."""
    last, end = dict(named_tensors(network)), int(manifest.results.get("steps", 0))
    last = {name: tensor.clone() for name, tensor in last.items()}
    paths = {int(path.stem.partition("_")[2]): path for path in sorted((folder / SNAPSHOTS).glob("step_*.safetensors"))}
    paths = {step: path for step, path in paths.items() if step < end}
    places = np.linspace(0, len(paths) - 1, min(len(paths), FRAMES - 1)).round().astype(int)
    for step in (list(paths)[place] for place in places):
        tensors = load_file(paths[step])
        if _has_embedding(tensors, last):
            load_tensors(network, tensors)
            yield step
    load_tensors(network, last)
    yield end


def _has_embedding(tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> bool:
    return all(name in tensors for name in whole if name.startswith("embedding."))


def _pairs(network: Network, data: Any) -> Pairs | None:
    """The pairs of tokens whose sums the network sees, and which of them training does not."""
    if not isinstance(network.decoder, Sum) or not hasattr(data, "pair_sums"):
        return None
    known, all_pairs = data.pair_sums("train"), data.pair_sums("all")
    if len(all_pairs) > PAIRS:
        return None
    trained = set(zip(known.first.tolist(), known.second.tolist(), strict=True))
    first, second = all_pairs.first.tolist(), all_pairs.second.tolist()
    held_out = [pair not in trained for pair in zip(first, second, strict=True)]
    return Pairs(first, second, all_pairs.answers.tolist(), held_out)


@torch.no_grad()
def _map(network: Network, vectors: Tensor, pairs: Pairs) -> tuple[NDArray[Any], NDArray[Any]]:
    """The class of each place of the plane, and half the width of the square that holds all pair sums."""
    sums = vectors[list(pairs.first)] + vectors[list(pairs.second)]
    half = 1.1 * float(sums.abs().max()) or 1.0
    line = torch.linspace(-half, half, RESOLUTION)
    up, across = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([across, up], dim=-1).flatten(0, 1)
    embedded = torch.stack([points, *[torch.zeros_like(points)] * (network.length - 1)], dim=1)
    embedded = embedded.to(next(network.parameters()))
    classes = network.answer(embedded).argmax(-1).view(RESOLUTION, RESOLUTION)
    return classes.cpu().numpy().astype(np.uint16), np.array(half, dtype=np.float32)


def _spectra(vectors: list[Tensor]) -> NDArray[np.float32]:
    """The share of the Fourier power at the frequencies 1 … n // 2 (frames, copies, n // 2)."""
    shares = [torch.stack([fourier_power(each)[1:] for each in frame]) for frame in vectors]
    return torch.stack(shares).numpy().astype(np.float32)


def _text(value: Any) -> str | int | float | None:
    """A result as the page shows it; counts of categories become text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in counts_in(value).items() if number)
    return value if isinstance(value, str | int | float | None) else str(value)
