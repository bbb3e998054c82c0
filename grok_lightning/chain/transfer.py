"""Parts of a finished run into a new network: what moves, row by row, and what of it stays as it is."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import LightningModule
from rich.console import Console
from rich.table import Table

from grok_lightning.chain.build import network_of
from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.manifest import write_atomically
from grok_lightning.chain.recipe import TransferSpec
from grok_lightning.chain.weights import Weights, weights_of
from grok_lightning.networks import freeze, load_tensors, plain_named_parameters, tied_names
from grok_lightning.optim import matches

TRANSFER_FILE = "transfer.json"


@dataclass(frozen=True)
class Landing:
    """One tensor that a transfer moves.

    Attributes:
        name: Its name in the network.
        shape: Its shape there.
        rows: Rows there that are filled, null for all.
        donor_rows: The donor's rows that fill them.
        tokens: Names of the tokens these rows stand for.
        source: Where it comes from.
        frozen: Whether what landed stays as it is.
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[int, ...] | None
    donor_rows: tuple[int, ...] | None
    tokens: tuple[str, ...]
    source: str
    frozen: bool


def plan_transfer(donor: Weights, target: Weights, spec: TransferSpec) -> list[Landing]:
    """Say what a transfer moves; tensors without storage are enough.

    Rows that stand for tokens are matched by the tokens' names; everything else must have the same shape.

    Raises:
        ChainError: If a part matches nothing, a selected tensor does not land, shapes differ, or no token is common;
            with all of these at once.
    """
    faults: list[str] = []
    names = _selected(donor, target, spec, faults)
    _check_names("freeze", [] if isinstance(spec.freeze, bool) else spec.freeze, names, faults)
    rows = _token_rows(donor, target, spec, names, faults)
    landings = []
    for name in names:
        here, there = tuple(target[name].shape), tuple(donor[name].shape)
        by_token = rows is not None and name in target.token_parameters and name in donor.token_parameters
        if (here[1:] != there[1:]) if by_token else (here != there):
            faults.append(
                f"{name} has the shape {there} in the donor and {here} here; the networks must be alike there"
            )
            continue
        landings.append(_landing(name, here, rows if by_token else None, donor, spec))
    if spec.tokens is not None and not any(landing.tokens for landing in landings):
        faults.append(f"tokens are given, but nothing in {', '.join(spec.parts)} has rows for tokens")
    if faults:
        raise ChainError("\n".join(faults))
    return landings


def apply_transfer(module: LightningModule, donor: Weights, spec: TransferSpec) -> list[Landing]:
    """Move weights into a module and freeze what is to stay.

    Raises:
        ChainError: As `plan_transfer`.
    """
    network = network_of(module)
    landings = plan_transfer(donor, weights_of(module), spec)
    for landing in landings:
        values = donor[landing.name]
        if landing.donor_rows is not None:
            values = values[list(landing.donor_rows)]
        load_tensors(network, {landing.name: values}, landing.rows)
    ties = tied_names(network)
    parameters = {name for name, _ in plain_named_parameters(network)}
    for landing in landings:
        name = ties.get(landing.name, landing.name)
        if landing.frozen and name in parameters:  # a buffer is not trained anyway
            freeze(network, name, landing.rows)
    return landings


def save_transfers(transfers: Sequence[Sequence[Landing]], folder: Path, console: Console) -> None:
    """Show what moved, and write it to transfer.json."""
    landings = [landing for landings in transfers for landing in landings]
    if not landings:
        return
    plain = [{**vars(landing), "tokens": list(landing.tokens)} for landing in landings]
    write_atomically(folder / TRANSFER_FILE, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    table = Table("tensor", "shape", "rows", "from", "", box=None, padding=(0, 2, 0, 2))
    for landing in landings:
        rows = "all" if landing.rows is None else f"{len(landing.rows)} of {landing.shape[0]}"
        shape = " × ".join(map(str, landing.shape))
        table.add_row(landing.name, shape, rows, landing.source, "frozen" if landing.frozen else "trained")
    console.print(table)


def _landing(
    name: str, shape: tuple[int, ...], rows: list[tuple[str, int, int]] | None, donor: Weights, spec: TransferSpec
) -> Landing:
    """Return a landing; rows that are all there in the same order are simply the whole tensor."""
    frozen = spec.freeze if isinstance(spec.freeze, bool) else any(matches(name, part) for part in spec.freeze)
    tokens = tuple(token for token, _, _ in rows or ())
    here = tuple(row for _, _, row in rows or ())
    there = tuple(row for _, row, _ in rows or ())
    whole = rows is None or (here == there == tuple(range(shape[0])) and len(here) == donor[name].shape[0])
    return Landing(name, shape, None if whole else here, None if whole else there, tokens, donor.source, frozen)


def _selected(donor: Weights, target: Weights, spec: TransferSpec, faults: list[str]) -> list[str]:
    """Return the names that the parts select, in the donor's order."""
    _check_names("parts", spec.parts, donor.names, faults)
    names = [name for name in donor.names if any(matches(name, part) for part in spec.parts)]
    here = [name for name in target.names if any(matches(name, part) for part in spec.parts)]
    lost = [name for name in names if name not in target.names]
    empty = [name for name in here if name not in donor.names]
    if lost:
        faults.append(f"the donor has {_some(lost)}, this network has not{nearest(lost[0], target.names)}")
    if empty and names:
        faults.append(f"this network has {_some(empty)}, the donor has not; name the tensors to move by a pattern")
    return [name for name in names if name in target.names]


def _check_names(key: str, parts: Iterable[str], names: Sequence[str], faults: list[str]) -> None:
    for part in parts:
        if not any(matches(name, part) for name in names):
            known = dict.fromkeys(word for name in names for word in (name.split(".")[0], name))
            faults.append(f"{key}: {part!r} matches nothing{nearest(part, known)}")


def _token_rows(
    donor: Weights, target: Weights, spec: TransferSpec, names: list[str], faults: list[str]
) -> list[tuple[str, int, int]] | None:
    """Return the tokens that move, each with its row in the donor and here; None where rows mean no tokens."""
    if donor.vocabulary is None or target.vocabulary is None:
        if spec.tokens is not None:
            faults.append("tokens are given, but donor or network has no vocabulary")
        return None
    there = {token: row for row, token in enumerate(donor.vocabulary)}
    common = {token: (there[token], row) for row, token in enumerate(target.vocabulary) if token in there}
    for token in spec.tokens or ():
        if token not in common:
            faults.append(f"tokens: {token!r} is not known to both{nearest(token, common)}")
    if not common and any(name in target.token_parameters for name in names):
        known = f"{_some(donor.vocabulary)} there, {_some(target.vocabulary)} here"
        faults.append(f"donor and network have no token in common: {known}")
    return [(token, *rows) for token, rows in common.items() if spec.tokens is None or token in spec.tokens]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
