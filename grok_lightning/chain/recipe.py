"""A recipe: one YAML file that says which runs there are, and what each takes from another.

A recipe is a LightningCLI config with more keys: `stages`, `vary`, `tiny`, and for a stage `transfer`, `compare_to` and
`replicates`. Keys at the top are the defaults of all stages. Precedence: defaults < stage < tiny < `--key value` <
`--stages.NAME.key value` < a value of `vary`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from grok_lightning.chain.axes import OVERRIDE_KEYS, VARY, Axis, merge_vary, overridden_axes, read_axes
from grok_lightning.chain.faults import ChainError, Fault, RecipeError, nearest, shown
from grok_lightning.chain.merge import Config, dump_yaml, expand, nest, overlay, parse_yaml, read_config, spell_out
from grok_lightning.chain.schema import KnownBlocks, config_faults
from grok_lightning.chain.stages import (
    STAGE_KEYS,
    Stage,
    TransferSpec,
    check_order,
    is_file_source,
    read_stage,
)
from grok_lightning.chain.vary import vary_stages

__all__ = ["Recipe", "Stage", "TransferSpec", "dump_recipe", "is_file_source", "load_recipe", "parse_override"]

RECIPE_KEYS = (*OVERRIDE_KEYS, "stages", "tiny")
SOLE_STAGE = "run"
"""Name of the stage of a file without stages."""
OURS_TO_SAY = ("ckpt_path", "weights_only")
"""Keys of a config that LightningCLI saved which say how a run starts: that is the chain's business."""

Override = tuple[str, Any]
"""Dotted key and value from the command line."""


@dataclass(frozen=True)
class Recipe:
    """A recipe with everything resolved: each stage stands for itself.

    Attributes:
        name: Its name.
        path: Its file.
        stages: Its stages by name, at every point of its grid.
        bodies: The stages as they are without variation.
        axes: The axes of its grid.
    """

    name: str
    path: Path
    stages: dict[str, Stage] = field(default_factory=dict)
    bodies: dict[str, Config] = field(default_factory=dict)
    axes: tuple[Axis, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of the first replicate."""
        return int(next(iter(self.stages.values())).config["seed_everything"])

    @property
    def is_wide(self) -> bool:
        """Whether several of its runs might train at once."""
        return sum(stage.replicates for stage in self.stages.values()) > 1


def load_recipe(path: Path, overrides: Sequence[Override] = (), tiny: bool = False) -> Recipe:
    """Read and resolve a recipe.

    Args:
        path: YAML file.
        overrides: Keys and values from the command line, later ones win.
        tiny: Whether to apply the overrides under `tiny`.

    Raises:
        ChainError: If the file cannot be read.
        RecipeError: With every fault in the recipe's own keys, transfers and comparisons; and if there is one, with
            those of the runs' configs too.
    """
    faults: list[Fault] = []
    content = expand(read_config(path), "", faults)
    _check_keys(content, RECIPE_KEYS, "", faults)
    smaller = _section(content.get("tiny"), "tiny", faults, OVERRIDE_KEYS)
    vary, smaller_grid = content.get(VARY), smaller.pop(VARY, {})
    if tiny:
        vary = merge_vary(vary, smaller_grid, f"tiny.{VARY}", faults)
    defaults = overlay({}, {key: value for key, value in content.items() if key in STAGE_KEYS or key == "transfer+"})
    bodies = _stage_bodies(content, faults)
    bodies = {name: overlay(overlay(defaults, body), smaller if tiny else {}) for name, body in bodies.items()}
    bodies = _override(bodies, [item for item in overrides if not _varies(item)], faults)
    for key, value in filter(_varies, overrides):
        vary = merge_vary(vary, nest(key.split(".")[1:], value), f"--{VARY}", faults)
    return _resolve(path, bodies, vary, faults, overrides)


def _resolve(
    path: Path, bodies: dict[str, Config], vary: Any, faults: list[Fault], overrides: Sequence[Override] = ()
) -> Recipe:
    """Return a recipe whose stages are typed, at every point of its grid.

    Raises:
        RecipeError: If there is a fault.
    """
    axes = read_axes(vary, list(bodies), faults)
    faults += overridden_axes(dict(overrides), axes, list(bodies))
    variants = vary_stages(bodies, axes, faults)
    read = [read_stage(variant.base, variant.body, faults, variant.point) for variant in variants]
    stages = {stage.name: stage for stage in read}
    check_order(stages, faults)
    if faults:
        raise RecipeError(str(path), [*faults, *_faults_of_runs(stages, faults)])
    return Recipe(_name(path), path, stages, bodies, tuple(axes))


def load_resolved(path: Path) -> Recipe:
    """Read what `dump_recipe` wrote.

    Raises:
        ChainError: If the file is not that.
    """
    content = read_config(path)
    return _resolve(path, dict(content.get("stages") or {}), content.get(VARY), [])


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML that can be run."""
    grid = {VARY: {axis.key: list(axis.values.values()) for axis in recipe.axes}} if recipe.axes else {}
    stages = {
        name: {"seed_everything": 0, **body, "replicates": body.get("replicates", 1)}
        for name, body in recipe.bodies.items()
    }
    return dump_yaml({**grid, "stages": stages})


def parse_override(key: str, text: str) -> Override:
    """Return a command-line key with its value read as YAML.

    Raises:
        ChainError: If the value is not YAML.
    """
    try:
        return key, parse_yaml(text)
    except yaml.YAMLError as error:
        raise ChainError(f"--{key}: the value {shown(text)} is not valid YAML: {error}") from None


def _name(path: Path) -> str:
    """Return the recipe's name: its path below a folder called recipes, else its file name."""
    *folders, name = path.resolve().with_suffix("").parts
    below = folders[len(folders) - folders[::-1].index("recipes") :] if "recipes" in folders else []
    return "/".join([*below, name])


def _check_keys(content: Config, known: Sequence[str], where: str, faults: list[Fault]) -> None:
    for key, value in content.items():
        if key in OURS_TO_SAY:
            message = "a run resumes by itself; to start from other weights use `transfer`"
            faults.extend([] if value is None else [Fault(f"{where}{key}", message)])
        elif key not in (*known, "transfer+"):
            faults.append(Fault(f"{where}{key}", f"no such key{nearest(key, known)}"))


def _faults_of_runs(stages: dict[str, Stage], faults: list[Fault]) -> list[Fault]:
    """Return what else is wrong, in the configs of the runs."""
    known = {fault.where for fault in faults}
    known_blocks: KnownBlocks = {}
    found = [
        fault
        for stage in stages.values()
        for fault in config_faults(stage.config, f"stages.{stage.name}.", known_blocks)
    ]
    return [fault for fault in found if fault.where not in known]


def _varies(override: Override) -> bool:
    return override[0].split(".")[0] == VARY


def _section(value: Any, where: str, faults: list[Fault], known: Sequence[str] = STAGE_KEYS) -> Config:
    """Return the expanded mapping of a stage, or of `tiny`; null stands for an empty one."""
    if not isinstance(value, dict | None):
        faults.append(Fault(where, f"expected a mapping of keys to values, found {shown(value)}"))
        return {}
    section = expand(value or {}, f"{where}.", faults)
    _check_keys(section, known, f"{where}.", faults)
    return section


def _stage_bodies(content: Config, faults: list[Fault]) -> dict[str, Config]:
    """Return for each stage what differs from the defaults."""
    if "stages" not in content:
        return {SOLE_STAGE: {}}
    stages = content["stages"]
    if not isinstance(stages, dict) or not stages:
        message = f"expected a mapping of stage names to what differs from the defaults, found {shown(stages)}"
        faults.append(Fault("stages", message))
        return {}
    bodies = {}
    for name, body in stages.items():
        if isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum():
            bodies[name] = _section(body, f"stages.{name}", faults)
        else:
            faults.append(Fault("stages", f"the name {name!r}: a stage's name is made of letters, digits, _ and -"))
    return bodies


def _override(stages: dict[str, Config], overrides: Iterable[Override], faults: list[Fault]) -> dict[str, Config]:
    """Apply the command line: keys for all stages first, then those for one stage."""
    given = [(key.split("."), value) for key, value in overrides]
    for path, value in (item for item in given if item[0][0] != "stages"):
        _check_keys({path[0]: value}, STAGE_KEYS, "--", faults)
        stages = {name: _set(body, path, value) for name, body in stages.items()}
    for (_, *path), value in (item for item in given if item[0][0] == "stages"):
        option = f"--{'.'.join(['stages', *path])}"
        if path and path[0] not in stages:
            faults.append(Fault(option, f"no stage {path[0]!r}{nearest(path[0], stages)}"))
        elif len(path) < 2:
            faults.append(Fault(option, "expected --stages.NAME.KEY, with the name of a stage and a key of it"))
        else:
            _check_keys({path[1]: value}, STAGE_KEYS, f"--stages.{path[0]}.", faults)
            stages = {**stages, path[0]: _set(stages[path[0]], path[1:], value)}
    return stages


def _set(body: Config, path: list[str], value: Any) -> Config:
    merged: Config = overlay(body, nest(spell_out(path, body), value))
    return merged
