"""One stage of a recipe, typed: its run, what it takes from other runs, and what it is compared to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grok_lightning.chain.faults import Fault, nearest, shown
from grok_lightning.chain.merge import Config

RUN_KEYS = ("seed_everything", "model", "data", "trainer", "optimizer", "lr_scheduler")
"""Keys of one run: those of a LightningCLI config."""
STAGE_KEYS = (*RUN_KEYS, "transfer", "compare_to", "replicates")
TRANSFER_KEYS = ("from", "weights", "parts", "tokens", "match", "freeze")
WEIGHTS = ("last", "best")
"""Which weights of a run are taken over."""
MATCHES = ("names", "coordinates")
"""By what the tokens of two vocabularies are matched."""
CHOICES = {"match": MATCHES, "weights": WEIGHTS}
WEIGHTS_SUFFIXES = (".safetensors", ".ckpt")
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class TransferSpec:
    """What a stage takes from another run before it trains.

    Attributes:
        source: Stage of this recipe, run folder, `.safetensors` or `.ckpt` file (`from` in YAML).
        parts: Parts of the network (`embedding`, `decoder`, `classifier`), or patterns of tensor names.
        tokens: Names of the tokens whose rows move, null for all that both vocabularies know.
        freeze: Whether what landed stays as it is; or the parts of which that is true.
        match: What makes a token here that of the donor: the same name, or the same coordinates in the group behind
            the operation, such as the discrete logarithm for ·; `tokens` are then coordinates.
        weights: Which of a run's weights: the `last`, or the `best`, which the callback `BestWeights` keeps.
    """

    source: str
    parts: tuple[str, ...]
    tokens: tuple[str, ...] | None = None
    freeze: bool | tuple[str, ...] = False
    match: str = "names"
    weights: str = "last"

    @property
    def decisive(self) -> list[Any]:
        """What of it decides what a run becomes, beside the donor."""
        said: list[Any] = [self.parts, self.tokens, self.freeze]
        said += [] if self.match == "names" else [self.match]
        return said if self.weights == "last" else [*said, f"weights: {self.weights}"]


@dataclass(frozen=True)
class Stage:
    """One stage: a complete run config, what it takes over, and what it is compared to.

    Attributes:
        name: Its name; at a point of a grid with the point in brackets.
        config: Config of its runs.
        transfers: What it takes over.
        compare_to: Name of the stage that it is compared to.
        replicates: How many seeds it has.
        point: Where it stands in a grid: the names of the axes with the text of their values.
    """

    name: str
    config: Config
    transfers: tuple[TransferSpec, ...] = ()
    compare_to: str | None = None
    replicates: int = 1
    point: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Name of the stage, wherever in the grid."""
        return self.name.partition("[")[0]

    @property
    def folder(self) -> str:
        """Folder of its runs below the recipe's."""
        return "/".join([self.base, *([point_text(self.point)] if self.point else [])])


def point_text(point: Mapping[str, str]) -> str:
    """Return a point of a grid as text that can name a folder."""
    return ",".join(f"{name}={text}" for name, text in point.items())


def stage_name(base: str, point: Mapping[str, str]) -> str:
    """Return what a stage is called at a point: `scratch[lr=0.01,weight_decay=1.0]`."""
    return f"{base}[{point_text(point)}]" if point else base


def is_file_source(source: str) -> bool:
    """Say whether a transfer's source is a path and not the name of a stage."""
    return "/" in source or source.endswith(WEIGHTS_SUFFIXES)


def read_stage(base: str, body: Config, faults: list[Fault], point: Mapping[str, str] | None = None) -> Stage:
    """Return the typed form of a stage's mapping; what is wrong with it is added to the faults."""
    name = stage_name(base, point or {})
    where = f"stages.{name}."
    config = {"seed_everything": 0, **{key: body[key] for key in RUN_KEYS if key in body}}
    compare_to, replicates = body.get("compare_to"), body.get("replicates", 1)
    if not isinstance(compare_to, str | None):
        faults.append(Fault(f"{where}compare_to", f"expected the name of a stage, found {shown(compare_to)}"))
        compare_to = None
    if not _is_whole(replicates) or replicates < 1:
        faults.append(Fault(f"{where}replicates", f"expected a positive whole number, found {shown(replicates)}"))
        replicates = 1
    _check_seed(config["seed_everything"], replicates, f"{where}seed_everything", faults)
    return Stage(
        name, config, _read_transfers(body.get("transfer"), where, faults), compare_to, replicates, point or {}
    )


def check_order(stages: Mapping[str, Stage], faults: list[Fault]) -> None:
    """Check that a stage takes weights from earlier stages only, and is compared to another one."""
    names, bases = list(stages), [stage.base for stage in stages.values()]
    for position, stage in enumerate(stages.values()):
        where = f"stages.{stage.name}."
        for spec in stage.transfers:
            problem = None if spec.source in names[:position] else _source_problem(spec.source, stage, names, bases)
            faults.extend([Fault(f"{where}transfer.from", problem)] if problem else [])
        if stage.compare_to == stage.name:
            faults.append(Fault(f"{where}compare_to", "a stage cannot be compared to itself"))
        elif stage.compare_to is not None and stage.compare_to not in stages:
            hint = nearest(stage.compare_to, [base for base in bases if base != stage.base])
            faults.append(Fault(f"{where}compare_to", f"no stage {stage.compare_to!r}{hint}"))


def _source_problem(source: str, stage: Stage, names: list[str], bases: list[str]) -> str | None:
    if is_file_source(source):
        return None
    if source == stage.name:
        return "a stage cannot take weights from itself"
    if source in names or source in bases:
        source = source.partition("[")[0]
        return f"{source!r} comes after {stage.base!r}; stages run in order, so move {source!r} before it (no cycles)"
    hint = nearest(source, [base for base in bases if base != stage.base])
    return f"no stage {source!r}{hint} (a run folder or file is written with a /)"


def _check_seed(seed: Any, replicates: int, where: str, faults: list[Fault]) -> None:
    if not _is_whole(seed) or not 0 <= seed <= LARGEST_SEED:
        faults.append(Fault(where, f"expected a whole number from 0 to 2³² - 1, found {shown(seed)}"))
    elif seed + replicates - 1 > LARGEST_SEED:
        faults.append(Fault(where, f"{replicates} replicates count up from {seed}, beyond the largest seed, 2³² - 1"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _read_transfers(given: Any, where: str, faults: list[Fault]) -> tuple[TransferSpec, ...]:
    """Read one transfer, or a list of them, or null."""
    if isinstance(given, list):
        specs = [_read_transfer(item, f"{where}transfer[{index}]", faults) for index, item in enumerate(given)]
    else:
        specs = [] if given is None else [_read_transfer(given, f"{where}transfer", faults)]
    return tuple(spec for spec in specs if spec is not None)


def _read_transfer(item: Any, where: str, faults: list[Fault]) -> TransferSpec | None:
    if not isinstance(item, dict):
        message = f"expected a mapping with the keys {', '.join(TRANSFER_KEYS)}; found {shown(item)}"
        faults.append(Fault(where, message))
        return None
    before = len(faults)
    for key in item:
        if key not in TRANSFER_KEYS:
            faults.append(Fault(f"{where}.{key}", f"no such key{nearest(key, TRANSFER_KEYS)}"))
    source = item.get("from")
    if not isinstance(source, str):
        message = f"expected a stage, a run folder or a weights file, found {shown(source)}"
        faults.append(Fault(f"{where}.from", message if "from" in item else "is missing; expected a stage or a path"))
    parts = _read_names(item.get("parts"), "[embedding]", f"{where}.parts", faults)
    tokens, freeze = item.get("tokens"), item.get("freeze", False)
    if tokens is not None:
        tokens = _read_names(_as_texts(tokens), "[0, 1, 2]", f"{where}.tokens", faults)
    if not isinstance(freeze, bool):
        freeze = _read_names(freeze, "[embedding], or true or false", f"{where}.freeze", faults)
    match, weights = (_read_choice(item, key, choices, where, faults) for key, choices in CHOICES.items())
    if weights != WEIGHTS[0] and str(source).endswith(WEIGHTS_SUFFIXES):
        faults.append(Fault(f"{where}.weights", f"{shown(weights)} is for runs, and {source} is a file; leave it out"))
    return TransferSpec(str(source), parts, tokens, freeze, match, weights) if len(faults) == before else None


def _read_choice(item: Config, key: str, choices: tuple[str, ...], where: str, faults: list[Fault]) -> str:
    """Return one of some values, the first of which is the default."""
    choice = item.get(key, choices[0])
    if choice not in choices:
        message = f"expected {' or '.join(choices)}, found {shown(choice)}{nearest(str(choice), choices)}"
        faults.append(Fault(f"{where}.{key}", message))
    return str(choice)


def _as_texts(tokens: Any) -> Any:
    """Return tokens by name: 3 in YAML means the token "3"."""
    return [str(token) if _is_whole(token) else token for token in tokens] if isinstance(tokens, list) else tokens


def _read_names(names: Any, example: str, where: str, faults: list[Fault]) -> tuple[str, ...]:
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    faults.append(Fault(where, f"expected a list of names such as {example}, found {shown(names)}"))
    return ()
