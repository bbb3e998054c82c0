"""The axes of a grid: keys of a recipe that take several values."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grok_lightning.chain.faults import Fault, nearest, shown
from grok_lightning.chain.merge import Config
from grok_lightning.chain.stages import STAGE_KEYS

VARY = "vary"
OVERRIDE_KEYS = (*STAGE_KEYS, VARY)
"""What `tiny` and the command line can override."""
FIXED = {
    "seed_everything": "seeds are what `replicates` counts up",
    "replicates": "every point of the grid has as many seeds",
    "compare_to": "it changes no run",
}
"""Keys of a stage that cannot vary, and why."""
LONGEST_TEXT = 40


@dataclass(frozen=True)
class Axis:
    """One varied key.

    Attributes:
        name: The last words of the key, as many as tell it from other axes.
        stages: The stages it belongs to; all if empty.
        path: The words of the key, without the stages.
        values: Its values, by the text they have in the names of folders.
    """

    name: str
    stages: tuple[str, ...]
    path: tuple[str, ...]
    values: dict[str, Any]

    @property
    def key(self) -> str:
        """The key as a recipe has it."""
        return ".".join([*(["stages", "+".join(self.stages)] if self.stages else []), *self.path])

    def concerns(self, stage: str) -> bool:
        """Say whether the key belongs to a stage."""
        return not self.stages or stage in self.stages


def merge_vary(base: Any, over: Any, where: str, faults: list[Fault]) -> Any:
    """Return varied keys laid over others: a key given again takes its new values, or varies no more if null.

    It keeps its place and its spelling, so that the points and their folders are called as before.

    Args:
        base: Keys with their values.
        over: What is laid over them.
        where: Where that comes from.
        faults: What is wrong is added here.
    """
    if not isinstance(base, dict | None) or not isinstance(over, dict):
        return over
    merged = dict(_leaves(base or {}))
    for key, values in _leaves(over):
        same = next((other for other in merged if _plain(other) == _plain(key)), None)
        if values is not None:
            merged[same or key] = values
        elif same is not None:
            del merged[same]
        else:
            faults.append(
                Fault(f"{where}.{key}", f"null ends a variation, but nothing varies here{nearest(key, merged)}")
            )
    return merged


def overridden_axes(overrides: Config, axes: Sequence[Axis], stages: Sequence[str]) -> Iterator[Fault]:
    """Yield a fault for each key of the command line whose value nobody would read, as it varies wherever it counts."""
    for key, _ in _leaves(overrides):
        named, path = _split(_plain(key))
        same = [axis for axis in axes if _split(_plain(axis.key))[1] == path]
        if same and all(any(axis.concerns(stage) for axis in same) for stage in named or stages):
            values = ", ".join(dict.fromkeys(text for axis in same for text in axis.values))
            keys = " and ".join(f"--{VARY}.{axis.key}" for axis in same)
            yield Fault(
                f"--{key}", f'varies here, over {values}: give {keys} "[VALUE]", or null to let it vary no more'
            )


def read_axes(vary: Any, stages: Sequence[str], faults: list[Fault]) -> list[Axis]:
    """Return the axes that a recipe's `vary` describes, a mapping of keys to lists of values, dotted or nested.

    A key is one of a stage, `data.train_fraction`, or belongs to some stages, `stages.scratch+transfer.model.lr`.
    """
    if not isinstance(vary, dict | None):
        faults.append(Fault(VARY, f"expected a mapping of keys to lists of values, found {shown(vary)}"))
        return []
    leaves = list(_leaves(vary or {}))
    for key, message in _doubles([key for key, _ in leaves]):
        faults.append(Fault(f"{VARY}.{key}", message))
    given = {key: values for key, values in leaves if _is_sound(key, values, stages, faults)}
    names = _short_names(list(given))
    return [
        Axis(names[key], *_split(key), dict(zip(_texts(values), values, strict=True))) for key, values in given.items()
    ]


def _plain(key: str) -> str:
    """Return a key without the words that the command line may leave out."""
    return ".".join(word for word in key.split(".") if word != "init_args")


def _split(key: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stages that a key names, none if it is for all, and its other words."""
    first, *rest = key.split(".")
    return (tuple(rest[0].split("+")), tuple(rest[1:])) if first == "stages" and rest else ((), (first, *rest))


def _leaves(vary: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in vary.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _doubles(keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys that are given more than once for a stage, with what is wrong."""
    plain = [_split(_plain(key)) for key in keys]
    for index, (stages, path) in enumerate(plain):
        others = [other for place, (other, its_path) in enumerate(plain) if place != index and its_path == path]
        if stages in others:
            yield keys[index], "the same key is given twice, dotted and nested or with and without init_args"
        elif stages and any(not other or set(other) & set(stages) for other in others):
            yield keys[index], "the same key varies for one of these stages elsewhere too; name every stage once"


def _is_sound(key: str, values: Any, stages: Sequence[str], faults: list[Fault]) -> bool:
    names, path = _split(key)
    unknown = [name for name in names if name not in stages]
    found = ""
    if unknown or not path or path[0] == "stages":
        hint = nearest(unknown[0], stages) if unknown else ""
        found = f"expected stages.NAME.KEY, with the name of a stage, or names with +, and a key of it{hint}"
    elif path[0] in FIXED:
        found = f"cannot vary: {FIXED[path[0]]}"
    elif path[0] not in STAGE_KEYS:
        found = f"no such key{nearest(path[0], STAGE_KEYS)}"
    elif not isinstance(values, list) or not values:
        found = f"expected a list of values, found {shown(values)}"
    elif any(value in values[:index] for index, value in enumerate(values)):
        found = f"a value is given twice in {shown(values)}"
    faults.extend([Fault(f"{VARY}.{key}", found)] if found else [])
    return not found


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return for each key as few of its last words, and then its stages, as no other key has."""
    candidates = {key: list(_candidates(key)) for key in keys}
    names = {}
    for key in keys:
        others = {name for other in keys if other != key for name in candidates[other]}
        names[key] = next((name for name in candidates[key] if name not in others), _plain(key))
    return names


def _candidates(key: str) -> Iterator[str]:
    stages, path = _split(_plain(key))
    for count in range(1, len(path) + 1):
        last = ".".join(path[-count:])
        yield last
        if stages:
            yield f"{'+'.join(stages)}.{last}"


def _texts(values: Sequence[Any]) -> list[str]:
    """Return a short text for each value that can stand in the name of a folder; numbered where two would be equal."""
    texts = [re.sub(r"[^\w.+-]+", "_", _text(value)).strip("_")[:LONGEST_TEXT] or "empty" for value in values]
    folders = [text.casefold() for text in texts]  # some file systems do not tell A from a
    return [text if folders.count(text.casefold()) == 1 else f"{text}~{number}" for number, text in enumerate(texts)]


def _text(value: Any) -> str:
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return json.dumps(value, default=str) if isinstance(value, bool | dict | None) else str(value)
