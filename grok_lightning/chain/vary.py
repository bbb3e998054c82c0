"""Variation: keys that take several values, and the grid of stages that they span."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grok_lightning.chain.faults import Fault, nearest, shown
from grok_lightning.chain.merge import CLASS_KEYS, Config, nest, overlay, spell_out
from grok_lightning.chain.stages import STAGE_KEYS, stage_name

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

Point = dict[str, str]
"""Where a stage stands in the grid: the name of each axis with the text of its value."""


@dataclass(frozen=True)
class Axis:
    """One varied key.

    Attributes:
        name: The last words of the key, as many as tell it from other axes.
        stage: The stage it belongs to, None for all.
        path: The words of the key, without the stage.
        values: Its values, by the text they have in the names of folders.
    """

    name: str
    stage: str | None
    path: tuple[str, ...]
    values: dict[str, Any]

    @property
    def key(self) -> str:
        """The key as a recipe has it."""
        return ".".join([*(["stages", self.stage] if self.stage else []), *self.path])

    def concerns(self, stage: str) -> bool:
        """Say whether the key belongs to a stage."""
        return self.stage in (None, stage)


@dataclass(frozen=True)
class Variant:
    """A stage at one point of the grid, not typed yet.

    Attributes:
        base: Name of the stage.
        point: The names of the axes that matter to it, with the text of their values.
        body: Its mapping there.
    """

    base: str
    point: Point
    body: Config


def merge_vary(base: Any, over: Any) -> Any:
    """Return varied keys laid over others: a key given again takes its new values, or varies no more if null.

    It keeps its place and its spelling, so that the points and their folders are called as before.
    """
    if not isinstance(base, dict | None) or not isinstance(over, dict):
        return over
    merged = dict(_leaves(base or {}))
    for key, values in _leaves(over):
        same = next((other for other in merged if _plain(other) == _plain(key)), key)
        if values is None:
            merged.pop(same, None)
        else:
            merged[same] = values
    return merged


def read_axes(vary: Any, stages: Sequence[str], faults: list[Fault]) -> list[Axis]:
    """Return the axes that a recipe's `vary` describes, a mapping of keys to lists of values, dotted or nested."""
    if not isinstance(vary, dict | None):
        faults.append(Fault(VARY, f"expected a mapping of keys to lists of values, found {shown(vary)}"))
        return []
    leaves = list(_leaves(vary or {}))
    for key, message in _doubles([key for key, _ in leaves]):
        faults.append(Fault(f"{VARY}.{key}", message))
    given = {key: values for key, values in leaves if _is_sound(key, values, stages, faults)}
    names = _short_names(list(given))
    axes = []
    for key, values in given.items():
        words = key.split(".")
        stage = words[1] if words[0] == "stages" else None
        path = tuple(words[2:] if stage else words)
        axes.append(Axis(names[key], stage, path, dict(zip(_texts(values), values, strict=True))))
    return axes


def vary_stages(bodies: Mapping[str, Config], axes: Sequence[Axis], faults: list[Fault]) -> list[Variant]:
    """Return every stage at every point of the axes that matter to it: its own, and those of its donors.

    A stage takes its weights from its donors at the same point, and is compared to another at the same point.
    """
    concerned: dict[str, list[Axis]] = {}
    for name, body in bodies.items():
        inherited = [axis for donor in _donors(body, name, axes) for axis in concerned.get(donor, ())]
        concerned[name] = [axis for axis in axes if axis.concerns(name) or axis in inherited]
    variants = []
    for name, body in bodies.items():
        for texts in itertools.product(*(axis.values for axis in concerned[name])):
            chosen = list(zip(concerned[name], texts, strict=True))
            point = {axis.name: text for axis, text in chosen}
            own = [(axis, text) for axis, text in chosen if axis.concerns(name)]
            relabelled = _relabel(name, _at(body, own), point, concerned, faults)
            variants.append(Variant(name, point, relabelled))
    return variants


def _plain(key: str) -> str:
    """Return a key without the words that the command line may leave out."""
    return ".".join(word for word in key.split(".") if word != "init_args")


def _leaves(vary: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in vary.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _doubles(keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys that are given more than once, with what is wrong."""
    plain = [_plain(key) for key in keys]
    for key, same in zip(keys, plain, strict=True):
        stage, _, rest = same.removeprefix("stages.").partition(".")
        if plain.count(same) > 1:
            yield key, "the same key is given twice, dotted and nested or with and without init_args; write it one way"
        elif same == f"stages.{stage}.{rest}" and rest in plain:
            yield key, "the same key varies for all stages too; vary it for all, or for each by its name"


def _is_sound(key: str, values: Any, stages: Sequence[str], faults: list[Fault]) -> bool:
    words = key.split(".")
    in_stage = words[0] == "stages"
    first = words[2] if in_stage and len(words) > 2 else words[0]
    found = ""
    if in_stage and (len(words) < 3 or words[1] not in stages):
        hint = nearest(words[1], stages) if len(words) > 1 else ""
        found = f"expected stages.NAME.KEY, with the name of a stage and a key of it{hint}"
    elif first in FIXED:
        found = f"cannot vary: {FIXED[first]}"
    elif first not in STAGE_KEYS:
        found = f"no such key{nearest(first, STAGE_KEYS)}"
    elif not isinstance(values, list) or not values:
        found = f"expected a list of values, found {shown(values)}"
    elif any(value in values[:index] for index, value in enumerate(values)):
        found = f"a value is given twice in {shown(values)}"
    faults.extend([Fault(f"{VARY}.{key}", found)] if found else [])
    return not found


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return for each key as many of its last words as no other key ends with."""
    words = {key: _plain(key).split(".") for key in keys}
    names = {}
    for key in keys:
        counts = range(1, len(words[key]) + 1)
        same = [[other for other in keys if words[other][-n:] == words[key][-n:]] for n in counts]
        n = next((n for n, others in zip(counts, same, strict=True) if others == [key]), len(words[key]))
        names[key] = ".".join(words[key][-n:])
    return names


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


def _donors(body: Config, name: str, axes: Sequence[Axis]) -> set[str]:
    """Return the stages that a stage takes weights from, at any point."""
    own = [axis for axis in axes if axis.concerns(name) and axis.path[0] == "transfer"]
    points = itertools.product(*([(axis, text) for text in axis.values] for axis in own))
    specs = (spec for point in points for spec in _specs(_at(body, point)) if isinstance(spec, dict))
    return {spec["from"] for spec in specs if isinstance(spec.get("from"), str)}


def _at(body: Config, chosen: Sequence[tuple[Axis, str]]) -> Config:
    """Return a stage's body with the values of some axes: what stands deeper is laid over what holds it."""
    for axis, text in sorted(chosen, key=lambda item: sum(word not in CLASS_KEYS for word in item[0].path)):
        body = overlay(body, nest(spell_out(list(axis.path), body), axis.values[text]))
    return body


def _specs(body: Config) -> list[Any]:
    given = body.get("transfer")
    return given if isinstance(given, list) else [] if given is None else [given]


def _relabel(
    name: str, body: Config, point: Point, concerned: Mapping[str, Sequence[Axis]], faults: list[Fault]
) -> Config:
    """Return a body whose donors and comparison are the stages at the same point."""

    def there(other: Any) -> Any:
        if not isinstance(other, str) or other not in concerned or lacking(other):
            return other  # a file, or a fault that is found later
        return stage_name(other, {axis.name: point[axis.name] for axis in concerned[other]})

    def lacking(other: str) -> list[str]:
        return [axis.name for axis in concerned.get(other, ()) if axis.name not in point]

    def served(spec: Any) -> Any:
        return {**spec, "from": there(spec["from"])} if isinstance(spec, dict) and "from" in spec else spec

    changed: Config = {}
    if isinstance(other := body.get("compare_to"), str):
        if missing := lacking(other):
            message = f"{other!r} varies along {', '.join(missing)} and {name!r} does not; vary the key for all stages"
            faults.append(Fault(f"stages.{name}.compare_to", message))
        changed["compare_to"] = None if missing else there(other)
    if isinstance(given := body.get("transfer"), list | dict):
        changed["transfer"] = [served(spec) for spec in given] if isinstance(given, list) else served(given)
    return {**body, **changed}
