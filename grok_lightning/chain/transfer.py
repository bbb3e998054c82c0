"""Parts of a finished run into a new network: what moves, row by row, and what of it stays as it is."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import LightningModule
from rich.markup import escape
from rich.table import Table

from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.manifest import write_atomically
from grok_lightning.chain.recipe import TransferSpec
from grok_lightning.chain.weights import Weights, weights_of
from grok_lightning.networks import freeze, load_tensors, network_of, plain_named_parameters
from grok_lightning.optim import matches

TRANSFER_FILE = "transfer.json"
TokenRow = tuple[str, int, int]
"""A token with its row in the donor and its row here."""


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
        tied: Other names of the same tensor in the network, which are filled and frozen with it.
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[int, ...] | None
    donor_rows: tuple[int, ...] | None
    tokens: tuple[str, ...]
    source: str
    frozen: bool
    tied: tuple[str, ...] = ()

    @property
    def filled(self) -> set[int]:
        """All rows that are filled; a number counts as one row."""
        return set(range(self.shape[0] if self.shape else 1) if self.rows is None else self.rows)

    @property
    def fills_all(self) -> bool:
        """Whether no row is left as it was, from whichever rows of the donor."""
        return self.rows is None or len(self.filled) == self.shape[0]


def plan_transfer(donor: Weights, target: Weights, spec: TransferSpec) -> list[Landing]:
    """Say what a transfer moves; tensors without storage are enough.

    Rows that stand for tokens are matched by the tokens' names; everything else must have the same shape.

    Raises:
        ChainError: If a part matches nothing, a selected tensor does not land, shapes differ, or no token is common;
            with all of these at once.
    """
    faults: list[str] = []
    names = _selected(donor, target, spec, faults)
    selected = [other for name in names for other in sorted(target.names_of(name))]
    _check_names("freeze", [] if isinstance(spec.freeze, bool) else spec.freeze, selected, faults)
    by_token = [name for name in names if target.has_tokens(name) and donor.has_tokens(name)]
    rows = _token_rows(donor, target, spec, by_token, faults)
    landings = []
    for name in names:
        here, there = tuple(target[name].shape), tuple(donor[name].shape)
        moves_rows = rows is not None and name in by_token
        if (here[1:] != there[1:]) if moves_rows else (here != there):
            faults.append(f"{name} has the shape {there} in the donor and {here} here; they must be alike")
        else:
            landings.append(_landing(name, rows if moves_rows else None, donor, target, spec))
    faults += [
        f"{landing.name} lands only in part and is tied to {landing.tied[0]}: it cannot be frozen in part"
        for landing in landings
        if landing.frozen and landing.tied and not landing.fills_all
    ]
    if faults:
        raise ChainError("\n".join(faults))
    return landings


def plan_transfers(donors: Iterable[tuple[Weights, TransferSpec]], target: Weights) -> list[list[Landing]]:
    """Say what all transfers of a stage move.

    Raises:
        ChainError: As `plan_transfer`; or if a tensor, or a row of it, is moved twice, or nothing is left to train.
    """
    faults, transfers = [], []
    for donor, spec in donors:
        try:
            transfers.append(plan_transfer(donor, target, spec))
        except ChainError as error:
            faults.append(str(error))
    moved: dict[frozenset[str], set[int]] = {}
    frozen: set[str] = set()
    for landing in (landing for landings in transfers for landing in landings):
        names = target.names_of(landing.name)
        if landing.filled & moved.setdefault(names, set()):
            faults.append(f"{landing.name} is moved twice, by two transfers; let each move other parts or other tokens")
        moved[names] |= landing.filled
        frozen |= names if landing.frozen and landing.fills_all else set()
    whole_numbers = {name for name, tensor in target.tensors.items() if not tensor.is_floating_point()}
    if not faults and frozen and frozen | whole_numbers >= set(target.names):
        faults.append("all that the network has is moved and frozen: nothing is left to train")
    if faults:
        raise ChainError("\n".join(dict.fromkeys(faults)))
    return transfers


def apply_transfer(module: LightningModule, donor: Weights, spec: TransferSpec) -> list[Landing]:
    """Move weights into a module and freeze what is to stay.

    Raises:
        ChainError: As `plan_transfer`; the module is then as it was.
    """
    network = network_of(module)
    landings = plan_transfer(donor, weights_of(module), spec)
    for landing in landings:
        values = donor[landing.name]
        if landing.donor_rows is not None:
            values = values[list(landing.donor_rows)]
        load_tensors(network, {landing.name: values}, landing.rows)
    parameters = {name for name, _ in plain_named_parameters(network)}
    for landing in landings:
        trained = parameters.intersection([landing.name, *landing.tied])  # empty for a buffer
        if landing.frozen and trained:
            freeze(network, trained.pop(), landing.rows)
    return landings


def save_transfers(transfers: Sequence[Sequence[Landing]], folder: Path) -> None:
    """Write what moved to transfer.json."""
    landings = [vars(landing) for landings in transfers for landing in landings]
    if landings:
        write_atomically(folder / TRANSFER_FILE, json.dumps(landings, indent=1, ensure_ascii=False) + "\n")


def transfer_table(transfers: Sequence[Sequence[Landing]]) -> Table:
    """Return what moved as a table for the terminal."""
    table = Table("tensor", "shape", "rows", "from", "", box=None, padding=(0, 2, 0, 2))
    for landing in (landing for landings in transfers for landing in landings):
        rows = "all" if landing.rows is None else f"{len(landing.rows)} of {landing.shape[0]}"
        shape = " × ".join(map(str, landing.shape))
        names = " = ".join([landing.name, *landing.tied])
        table.add_row(names, shape, rows, escape(landing.source), "frozen" if landing.frozen else "trained")
    return table


def _landing(
    name: str, rows: Sequence[TokenRow] | None, donor: Weights, target: Weights, spec: TransferSpec
) -> Landing:
    """Return a landing; rows that are all there in the same order are simply the whole tensor."""
    shape, names = tuple(target[name].shape), target.names_of(name)
    frozen = spec.freeze if isinstance(spec.freeze, bool) else any(matches(n, p) for n in names for p in spec.freeze)
    tokens, there, here = zip(*rows, strict=True) if rows else ((), (), ())
    whole = rows is None or (here == there == tuple(range(shape[0])) and len(here) == donor[name].shape[0])
    return Landing(
        name=name,
        shape=shape,
        rows=None if whole else here,
        donor_rows=None if whole else there,
        tokens=tokens,
        source=donor.source,
        frozen=frozen,
        tied=tuple(sorted(names - {name})),
    )


def _selected(donor: Weights, target: Weights, spec: TransferSpec, faults: list[str]) -> list[str]:
    """Return the names that the parts select, in this network's order; of one tensor here, the first name alone."""
    _check_names("parts", spec.parts, donor.names, faults)
    there, here = (
        [name for name in names if name not in target.own and any(matches(name, part) for part in spec.parts)]
        for names in (donor.names, target.names)
    )
    for part in spec.parts:
        replaced = [name for name in target.own if matches(name, part)]
        if replaced and not any(matches(name, part) for name in here):
            faults.append(f"parts: {part!r} is {_some(sorted(replaced))} here, which no transfer moves; leave it out")
    lost = [name for name in there if name not in target.names]
    empty = [name for name in here if name not in donor.names]
    if lost:
        faults.append(f"the donor has {_some(lost)}, this network has not{nearest(lost[0], target.names)}")
    if empty and there:
        faults.append(f"this network has {_some(empty)}, the donor has not; name the tensors to move by a pattern")
    first: dict[frozenset[str], str] = {}
    for name in (name for name in here if name in donor.names):
        kept = first.setdefault(target.names_of(name), name)
        if name not in donor.names_of(kept):
            faults.append(f"{kept} and {name} are one tensor here, but two in the donor; move one of them, by its name")
    return list(first.values())


def _check_names(key: str, parts: Iterable[str], names: Sequence[str], faults: list[str]) -> None:
    for part in parts:
        if not any(matches(name, part) for name in names):
            known = dict.fromkeys(word for name in names for word in (name.split(".")[0], name))
            faults.append(f"{key}: {part!r} matches nothing{nearest(part, known)}")


def _token_rows(
    donor: Weights, target: Weights, spec: TransferSpec, by_token: list[str], faults: list[str]
) -> list[TokenRow] | None:
    """Return the tokens that move, each with its row in the donor and here; None where rows mean no tokens."""
    if spec.tokens is not None and not by_token:
        faults.append(f"tokens are given, but nothing in {', '.join(spec.parts)} has rows for tokens")
    if spec.match != "names" and not by_token:
        faults.append(
            f"match is {spec.match}, but nothing in {', '.join(spec.parts)} has rows for tokens; leave it out"
        )
    by_name = spec.match == "names"
    names_there, names_here = (each.vocabulary if by_name else each.coordinates for each in (donor, target))
    if not by_name and (names_there is None or names_here is None):
        whose = "the donor" if names_there is None else "this network"
        faults.append(f"match is coordinates, but the operation of {whose} has no group to place tokens in; give names")
    if names_there is None or names_here is None:
        return None
    there = {token: row for row, token in enumerate(names_there)}
    common = {token: (there[token], row) for row, token in enumerate(names_here) if token in there}
    for token in spec.tokens or ():
        if token not in common:
            faults.append(f"tokens: {token!r} is not known to both{nearest(token, common)}")
    if not common and by_token:
        known = f"{_some(names_there)} there, {_some(names_here)} here"
        faults.append(f"donor and network have no token in common: {known}")
    return [(token, *rows) for token, rows in common.items() if spec.tokens is None or token in spec.tokens]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
