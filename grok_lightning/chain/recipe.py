"""A recipe: one YAML file that says which runs there are, and what each takes from another.

A recipe is a LightningCLI config with more keys: `stages`, `replicates`, `tiny`, and in a stage also `transfer` and
`compare_to`. Keys at the top are the defaults of all stages. Precedence: defaults < stage < tiny < `--key value` <
`--stages.NAME.key value`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from grok_lightning.chain.faults import ChainError, Fault, RecipeError, nearest
from grok_lightning.chain.merge import Config, expand, nest, overlay, parse_yaml, read_config, spell_out

RUN_KEYS = ("seed_everything", "model", "data", "trainer", "optimizer", "lr_scheduler")
"""Keys of one run: those of a LightningCLI config."""
STAGE_KEYS = (*RUN_KEYS, "transfer", "compare_to", "replicates")
RECIPE_KEYS = (*STAGE_KEYS, "stages", "tiny")
SOLE_STAGE = "run"
"""Name of the stage of a file without stages."""

Override = tuple[str, Any]
"""Dotted key and value from the command line."""


@dataclass(frozen=True)
class TransferSpec:
    """What a stage takes from another run before it trains.

    Attributes:
        source: Stage of this recipe, run folder, `.safetensors` or `.ckpt` file (`from` in YAML).
        parts: Parts of the network (`embedding`, `decoder`, `classifier`), or patterns of tensor names.
        tokens: Names of the tokens whose rows move, null for all that both vocabularies know.
        freeze: Whether what landed stays as it is; or the parts of which that is true.
    """

    source: str
    parts: tuple[str, ...]
    tokens: tuple[str, ...] | None = None
    freeze: bool | tuple[str, ...] = False


@dataclass(frozen=True)
class Stage:
    """One stage: a complete run config, what it takes over, and what it is compared to."""

    name: str
    config: Config
    transfers: tuple[TransferSpec, ...] = ()
    compare_to: str | None = None
    replicates: int = 1


@dataclass(frozen=True)
class Recipe:
    """A recipe with everything resolved: each stage stands for itself."""

    name: str
    path: Path
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Seed of the first replicate."""
        return int(next(iter(self.stages.values())).config["seed_everything"])


def load_recipe(path: Path, overrides: Sequence[Override] = (), tiny: bool = False) -> Recipe:
    """Read and resolve a recipe.

    Args:
        path: YAML file.
        overrides: Keys and values from the command line, later ones win.
        tiny: Whether to apply the overrides under `tiny`.

    Raises:
        ChainError: If the file cannot be read.
        RecipeError: With every fault in the recipe's own keys, transfers and comparisons.
    """
    faults: list[Fault] = []
    content = expand(read_config(path), "", faults)
    _check_keys(content, RECIPE_KEYS, "", faults)
    bodies = _stage_bodies(content, faults)
    defaults = {key: value for key, value in content.items() if key in STAGE_KEYS}
    smaller = _section(content, "tiny", faults) if tiny else {}
    resolved = {name: overlay(overlay(defaults, body), smaller) for name, body in bodies.items()}
    resolved = _override(resolved, overrides, faults)
    stages = {name: _stage(name, body, faults) for name, body in resolved.items()}
    _check_order(stages, faults)
    if faults:
        raise RecipeError(str(path), faults)
    return Recipe(_name(path), path, stages)


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML that can be run."""
    stages = {}
    for stage in recipe.stages.values():
        body: Config = dict(stage.config)
        if stage.transfers:
            body["transfer"] = [_plain_transfer(spec) for spec in stage.transfers]
        if stage.compare_to:
            body["compare_to"] = stage.compare_to
        stages[stage.name] = {**body, "replicates": stage.replicates}
    return yaml.safe_dump({"stages": stages}, sort_keys=False, allow_unicode=True, width=120)


def parse_override(key: str, text: str) -> Override:
    """Return a command-line key with its value read as YAML.

    Raises:
        ChainError: If the value is not YAML.
    """
    try:
        return key, parse_yaml(text)
    except yaml.YAMLError as error:
        raise ChainError(f"--{key}: the value {text!r} is not valid YAML: {error}") from None


def _name(path: Path) -> str:
    """Return the recipe's name: its path below a folder called recipes, else its file name."""
    parts = path.resolve().with_suffix("").parts
    below = parts[len(parts) - 1 - parts[::-1].index("recipes") + 1 :] if "recipes" in parts else parts[-1:]
    return "/".join(below)


def _check_keys(content: Mapping[str, Any], known: Sequence[str], where: str, faults: list[Fault]) -> None:
    for key in content:
        if key == "ckpt_path":
            faults.append(Fault(f"{where}{key}", "a run resumes by itself; to start from other weights use `transfer`"))
        elif key.removesuffix("+") not in known:
            faults.append(Fault(f"{where}{key}", f"no such key{nearest(key, known)}"))


def _section(content: Config, key: str, faults: list[Fault]) -> Config:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        faults.append(Fault(key, f"expected a mapping, found {value!r}"))
        return {}
    section = expand(value, f"{key}.", faults)
    _check_keys(section, STAGE_KEYS, f"{key}.", faults)
    return section


def _stage_bodies(content: Config, faults: list[Fault]) -> dict[str, Config]:
    if "stages" not in content:
        return {SOLE_STAGE: {}}
    stages = content["stages"]
    if not isinstance(stages, dict) or not stages:
        faults.append(Fault("stages", "expected a mapping of stage names to what differs from the defaults"))
        return {}
    # A stage may itself be called something dotted or None by mistake: each is checked by _section.
    bodies = {}
    for name in stages:
        if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
            faults.append(Fault(f"stages.{name}", "a stage's name is made of letters, digits, _ and -"))
            continue
        inner: list[Fault] = []
        bodies[name] = _section({name: stages[name]}, name, inner)
        faults.extend(Fault(f"stages.{fault.where}", fault.message) for fault in inner)
    return bodies


def _override(stages: dict[str, Config], overrides: Sequence[Override], faults: list[Fault]) -> dict[str, Config]:
    """Apply the command line: keys for all stages first, then those for one stage."""
    general = [(key.split("."), value) for key, value in overrides if not key.startswith("stages.")]
    particular = [(key.split(".")[1:], value) for key, value in overrides if key.startswith("stages.")]
    for path, value in general:
        _check_keys({path[0]: value}, STAGE_KEYS, "--", faults)
        stages = {name: overlay(body, nest(spell_out(path, body), value)) for name, body in stages.items()}
    for path, value in particular:
        if path[0] not in stages:
            faults.append(Fault(f"--stages.{'.'.join(path)}", f"no stage {path[0]!r}{nearest(path[0], stages)}"))
        elif len(path) < 2:
            faults.append(Fault(f"--stages.{path[0]}", "expected a key of the stage after its name"))
        else:
            _check_keys({path[1]: value}, STAGE_KEYS, f"--stages.{path[0]}.", faults)
            body = stages[path[0]]
            stages = {**stages, path[0]: overlay(body, nest(spell_out(path[1:], body), value))}
    return stages


def _stage(name: str, body: Config, faults: list[Fault]) -> Stage:
    where = f"stages.{name}."
    given = body.get("transfer") or []
    specs = [_transfer(item, f"{where}transfer", faults) for item in (given if isinstance(given, list) else [given])]
    replicates, compare_to = body.get("replicates", 1), body.get("compare_to")
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 1:
        faults.append(Fault(f"{where}replicates", f"expected a positive whole number, found {replicates!r}"))
    if not isinstance(compare_to, str | None):
        faults.append(Fault(f"{where}compare_to", f"expected the name of a stage, found {compare_to!r}"))
        compare_to = None
    config = {"seed_everything": 0, **{key: body[key] for key in RUN_KEYS if key in body}}
    seed = config["seed_everything"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        faults.append(Fault(f"{where}seed_everything", f"expected a whole number from 0 to 2³² - 1, found {seed!r}"))
    return Stage(name, config, tuple(spec for spec in specs if spec), compare_to, replicates)


def _transfer(item: Any, where: str, faults: list[Fault]) -> TransferSpec | None:
    keys = ("from", "parts", "tokens", "freeze")
    if not isinstance(item, dict):
        faults.append(Fault(where, f"expected a mapping with the keys {', '.join(keys)}; found {item!r}"))
        return None
    before = len(faults)
    for key in item:
        if key not in keys:
            faults.append(Fault(f"{where}.{key}", f"no such key{nearest(key, keys)}"))
    source, freeze = item.get("from"), item.get("freeze", False)
    if not isinstance(source, str):
        faults.append(Fault(f"{where}.from", "expected a stage, a run folder or a weights file"))
    if not isinstance(freeze, bool):
        freeze = _names(item, "freeze", where, faults)
    parts, tokens = _names(item, "parts", where, faults), item.get("tokens")
    if tokens is not None:
        tokens = _names(
            {"tokens": [str(t) for t in tokens] if isinstance(tokens, list) else tokens}, "tokens", where, faults
        )
    return TransferSpec(str(source), parts, tokens, freeze) if len(faults) == before else None


def _names(item: Config, key: str, where: str, faults: list[Fault]) -> tuple[str, ...]:
    names = item.get(key)
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    faults.append(Fault(f"{where}.{key}", f"expected a list of names such as [embedding], found {names!r}"))
    return ()


def _plain_transfer(spec: TransferSpec) -> Config:
    plain: Config = {"from": spec.source, "parts": list(spec.parts)}
    if spec.tokens is not None:
        plain["tokens"] = list(spec.tokens)
    plain["freeze"] = spec.freeze if isinstance(spec.freeze, bool) else list(spec.freeze)
    return plain


def is_file_source(source: str) -> bool:
    """Say whether a transfer's source is a path and not the name of a stage."""
    return "/" in source or source.endswith((".safetensors", ".ckpt"))


def _check_order(stages: Mapping[str, Stage], faults: list[Fault]) -> None:
    names = list(stages)
    for position, stage in enumerate(stages.values()):
        where = f"stages.{stage.name}."
        for spec in stage.transfers:
            if not is_file_source(spec.source):
                message = _order_message(spec.source, stage.name, names[:position], names)
                faults.extend([Fault(f"{where}transfer.from", message)] if message else [])
        if stage.compare_to is not None and (stage.compare_to not in stages or stage.compare_to == stage.name):
            others = [name for name in names if name != stage.name]
            problem = "is the stage itself" if stage.compare_to == stage.name else "is no stage"
            faults.append(
                Fault(f"{where}compare_to", f"{stage.compare_to!r} {problem}{nearest(stage.compare_to, others)}")
            )


def _order_message(source: str, stage: str, earlier: list[str], names: list[str]) -> str | None:
    if source in earlier:
        return None
    if source == stage:
        return "a stage cannot take weights from itself"
    if source in names:
        return f"{source!r} comes after {stage!r}; stages run in order, so move {source!r} before it (no cycles)"
    return f"no stage {source!r}{nearest(source, names)} (a run folder or file is written with a /)"
