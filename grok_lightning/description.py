"""`lightning describe`: what a recipe shows and what it would run, before anything is run."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from grok_lightning.catalogue import header
from grok_lightning.chain.plan import CheckedStage
from grok_lightning.chain.recipe import Recipe, Stage

Settings = dict[str, str]
"""Settings of a run by their short dotted keys."""


def print_description(recipe: Recipe, checked: Mapping[str, CheckedStage], console: Console) -> None:
    """Print the header of a recipe, what its stages have in common, and what each does of its own.

    Of a grid the first point is shown, and beside it what varies.
    """
    first = {stage.base: stage for stage in reversed(recipe.stages.values())}
    stages = [first[base] for base in recipe.bodies]
    common, own = split_settings({stage.name: stage.config for stage in stages})
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    if common:
        table.add_row("all stages", escape("\n".join(settings_lines(common))))
    for stage in stages:
        lines = [*settings_lines(own[stage.name]), _sizes(stage, checked[stage.name]), *_relations(stage)]
        table.add_row(f"[bold]{escape(stage.base)}[/]", escape("\n".join(lines)))
    if recipe.axes:
        axes = (f"{axis.key}: {', '.join(axis.values)}" for axis in recipe.axes)
        runs = sum(stage.replicates for stage in recipe.stages.values())
        table.add_row("varied", escape("\n".join([*axes, f"{len(recipe.stages)} points, {runs} runs"])))
    if text := header(recipe.path):
        console.print(escape(f"{text}\n"))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def split_settings(configs: Mapping[str, Mapping[str, Any]]) -> tuple[Settings, dict[str, Settings]]:
    """Return the settings that all of several stages have in common, and for each stage the others."""
    settings = {name: dict(flat_settings(config)) for name, config in configs.items()}
    if len(settings) == 1:
        return {}, settings
    shared = set.intersection(*(set(each.items()) for each in settings.values()))
    first = next(iter(settings.values()))
    own = {name: {k: v for k, v in each.items() if (k, v) not in shared} for name, each in settings.items()}
    return {key: value for key, value in first.items() if (key, value) in shared}, own


def flat_settings(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings in a config by dotted key, without `init_args`."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from flat_settings(value, key if name == "init_args" else f"{key}.{name}".strip("."))
    elif isinstance(config, list):
        items = (item.get("class_path", item) if isinstance(item, Mapping) else item for item in config)
        yield key, f"[{', '.join(map(str, items))}]"
    else:
        yield key, str(config)


def settings_lines(settings: Settings) -> list[str]:
    """Return one line for each class among settings, with its arguments."""
    lines: dict[str, list[str]] = {}
    for key, value in settings.items():
        owner, _, name = key.rpartition(".")
        words = lines.setdefault(owner, [])
        words.append(value.rpartition(".")[2] if name == "class_path" else f"{name} {value}")
    return [f"{owner}: {', '.join(words)}".removeprefix(": ") for owner, words in lines.items()]


def _sizes(stage: Stage, checked: CheckedStage) -> str:
    """Return the sizes of data and network, and how long the stage trains."""
    data = ", ".join(f"{part} {size:,}" for part, size in checked.sizes.items())
    parameters = f"{sum(tensor.numel() for tensor in checked.weights.tensors.values()):,} parameters"
    max_steps = checked.typed["trainer"]["max_steps"]
    steps = f"at most {max_steps:,} steps" if max_steps >= 0 else ""
    seeds = f"{stage.replicates} seeds" if stage.replicates > 1 else ""
    return " · ".join(word for word in (data, parameters, steps, seeds) if word)


def _relations(stage: Stage) -> Iterator[str]:
    """Yield what a stage takes from others, and what it is compared to."""
    for spec in stage.transfers:
        if isinstance(spec.freeze, bool):
            frozen = ", frozen" if spec.freeze else ""
        else:
            frozen = f", of which {', '.join(spec.freeze)} frozen"
        tokens = "" if spec.tokens is None else f" for {len(spec.tokens)} tokens"
        match = "" if spec.match == "names" else f", matched by {spec.match}"
        yield f"takes {', '.join(spec.parts)}{tokens} of {spec.source}{match}{frozen}"
    if stage.compare_to:
        yield f"compared to {stage.compare_to}"
