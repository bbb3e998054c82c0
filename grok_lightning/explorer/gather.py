"""From a finished run to what the page shows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from torch import Tensor

from grok_lightning.chain.categories import counts_in
from grok_lightning.chain.evaluate import open_run
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.manifest import read_manifest
from grok_lightning.circulants import symmetry_of
from grok_lightning.explorer.exploration import ClassMap, Exploration, Pairs
from grok_lightning.explorer.frames import Frames
from grok_lightning.explorer.planes import axes_of, class_map, planes_of
from grok_lightning.metrics_table import read_metrics
from grok_lightning.networks import Network, ParticleSystem, named_tensors, network_of
from grok_lightning.networks.planar import Sum
from grok_lightning.pair_sums import PairSums
from grok_lightning.spectra import fourier_power

LARGEST_PAIRS = 2500
"""Pair sums that a browser draws with ease."""


class _Tokens(NamedTuple):
    """The tokens that are shown, and their names; the first so many are the elements of a cycle, in its order."""

    shown: list[int]
    names: list[str]
    in_cycle: int


def explore(folder: Path) -> Exploration:
    """Gather what a page shows of a finished run.

    Args:
        folder: Run folder.

    Raises:
        ChainError: If the folder is no finished run, its module no network with an embedding, or a snapshot cannot be
            read.
    """
    cli = open_run(folder)
    task, data = cli.model.eval(), cli.datamodule
    network, manifest = network_of(task), read_manifest(folder)
    if not isinstance(network, Network):
        raise ChainError(f"{folder}: a {type(network).__name__} has no embedding; the explorer is for our networks")
    assert manifest is not None
    frames = Frames(network, folder, int(manifest.results.get("steps", 0)))
    tokens, sums = _tokens(network, task, data), _sums(network, data)
    planar = network.vectors_by_copy().shape[::2] == (1, 2) and sums is not None
    mapped = planar and frames.hold_all and network.length == 2
    steps, vectors, maps = [], [], []
    for step in frames:
        by_copy = network.vectors_by_copy().detach().cpu().float()
        steps.append(step)
        vectors.append(by_copy[:, tokens.shown])
        if sums is not None and mapped:
            maps.append(class_map(network, sums.of(by_copy[0]), tokens.shown))
    planes, shares = planes_of(vectors)
    return Exploration(
        title=f"{manifest.recipe}: {manifest.stage}, seed {manifest.seed}",
        subtitle=f"{type(network).__name__}, {manifest.results.get('steps', 0)} steps",
        names=tokens.names,
        are_residues=tokens.in_cycle > 0,
        is_addition=_is_addition(sums, tokens),
        steps=steps,
        positions=planes,
        axes=axes_of(vectors),
        plane_share=shares,
        spectrum=_spectra(vectors, tokens.in_cycle) if tokens.in_cycle > 1 else None,
        pairs=_pairs(sums, data, tokens),
        class_map=ClassMap(*(np.stack(column) for column in zip(*maps, strict=True))) if maps else None,
        series=_series(folder),
        results={name: _text(value) for name, value in manifest.results.items()},
        forces=_forces(task, network),
        notes=_notes(network, frames, sums, planar and not mapped),
    )


def _tokens(network: Network, task: LightningModule, data: Any) -> _Tokens:
    """The elements, those of a cyclic group first and in its order; the residues; or all tokens."""
    vocabulary = list(getattr(task, "vocabulary", ())) or [str(token) for token in range(network.vocabulary_size)]
    residues = getattr(data, "residues", None)
    try:
        group = symmetry_of(data, "").group
    except ValueError:
        group = None
    cycle = list(group.members) if group is not None and len(group.orders) == 1 else list(residues or ())
    others = range(len(data.answer_names)) if cycle else range(len(vocabulary))
    shown = [*cycle, *(token for token in others if token not in set(cycle))]
    return _Tokens(shown, [vocabulary[token] for token in shown], len(cycle))


def _sums(network: Network, data: Any) -> PairSums | None:
    """All pairs whose sums the network sees."""
    if not isinstance(network.decoder, Sum) or not hasattr(data, "pair_sums"):
        return None
    sums: PairSums = data.pair_sums("all")
    return sums


def _pairs(sums: PairSums | None, data: Any, tokens: _Tokens) -> Pairs | None:
    """The pairs of shown tokens, as many as can be drawn, and which of them training does not see."""
    if sums is None:
        return None
    place = {token: number for number, token in enumerate(tokens.shown)}
    known = data.pair_sums("train")
    trained = set(zip(known.first.tolist(), known.second.tolist(), strict=True))
    rows = zip(sums.first.tolist(), sums.second.tolist(), sums.answers.tolist(), strict=True)
    kept = list(rows)[:: -(-len(sums) // LARGEST_PAIRS)]
    return Pairs(
        first=[place[a] for a, _, _ in kept],
        second=[place[b] for _, b, _ in kept],
        label=[place[answer] for _, _, answer in kept],
        held_out=[(a, b) not in trained for a, b, _ in kept],
    )


def _is_addition(sums: PairSums | None, tokens: _Tokens) -> bool:
    """Say whether the shown tokens are residues that are added."""
    if sums is None or tokens.shown != list(range(sums.tokens)):
        return False
    return torch.equal((sums.first + sums.second) % sums.tokens, sums.answers)


def _spectra(vectors: Sequence[Tensor], order: int) -> NDArray[np.float32]:
    """The share of the Fourier power at the frequencies of a cycle (frames, copies, order // 2)."""
    shares = [torch.stack([fourier_power(each[:order])[1:] for each in frame]) for frame in vectors]
    return torch.stack(shares).numpy().astype(np.float32)


def _series(folder: Path) -> Mapping[str, tuple[Sequence[int], Sequence[float]]]:
    try:
        return dict(read_metrics(folder))
    except FileNotFoundError:
        return {}


def _forces(task: Any, network: Network) -> dict[str, float | str] | None:
    """What particles felt, for the simulation to begin with."""
    if not isinstance(network, ParticleSystem):
        return None
    (optimizer,), _ = task.configure_optimizers()
    group = optimizer.param_groups[0]
    return {**asdict(task.forces), "decay": group.get("weight_decay", 0.0), "step_size": group["lr"]}


def _text(value: Any) -> str | int | float | None:
    """A result as the page shows it; counts of categories become text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in counts_in(value).items() if number)
    return value if isinstance(value, str | int | float | None) else str(value)


def _notes(network: Network, frames: Frames, sums: PairSums | None, lacks_map: bool) -> list[str]:
    """What the page cannot show, and what would help."""
    parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in named_tensors(network)))
    callback = f'--trainer.callbacks+ "{{class_path: Snapshots, init_args: {{parts: [{parts}]}}}}"'
    notes = []
    if not frames.found:
        notes.append(f"There is one frame, the end of training. For more, train with {callback}")
    elif frames.found > len(frames.paths):
        notes.append(f"{len(frames.paths)} of {frames.found} snapshots are shown.")
    if lacks_map and network.length != 2:
        notes.append("Predicted classes are mapped for sequences of two tokens alone: `layout: a b`.")
    elif lacks_map:
        notes.append(f"The snapshots lack the classifier, without which no classes are mapped; train with {callback}")
    if sums is not None and len(sums) > LARGEST_PAIRS:
        notes.append("Not every pair sum is drawn: there would be too many.")
    return notes
