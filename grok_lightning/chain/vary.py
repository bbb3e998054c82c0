"""Variation: the stages of a recipe at every point of the grid that its axes span."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grok_lightning.chain.axes import Axis
from grok_lightning.chain.faults import Fault
from grok_lightning.chain.merge import CLASS_KEYS, Config, nest, overlay, spell_out
from grok_lightning.chain.stages import point_text, stage_name

LONGEST_FOLDER = 200
"""Characters that the name of a folder may have."""

Point = dict[str, str]
"""Where a stage stands in the grid: the name of each axis with the text of its value."""


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
            if len(point_text(point)) > LONGEST_FOLDER:
                faults.append(Fault(f"stages.{name}", f"{point_text(point)} is too long for a folder; vary fewer keys"))
            own = [(axis, text) for axis, text in chosen if axis.concerns(name)]
            relabelled = _relabel(name, _at(body, own), point, concerned, faults)
            variants.append(Variant(name, point, relabelled))
    return variants


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
            mend = f"vary the key for both, as stages.{other}+{name}.KEY or for all"
            message = f"{other!r} varies along {', '.join(missing)} and {name!r} does not; {mend}"
            faults.append(Fault(f"stages.{name}.compare_to", message))
        changed["compare_to"] = None if missing else there(other)
    if isinstance(given := body.get("transfer"), list | dict):
        changed["transfer"] = [served(spec) for spec in given] if isinstance(given, list) else served(given)
    return {**body, **changed}
