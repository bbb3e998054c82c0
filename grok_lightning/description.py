"""`lightning describe`: what a recipe shows and what it would run, before anything is run."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from grok_lightning.catalogue import header
from grok_lightning.chain.plan import CheckedStage
from grok_lightning.chain.recipe import Recipe, Stage


def print_description(recipe: Recipe, checked: Mapping[str, CheckedStage], console: Console) -> None:
    """Print the header of a recipe, and for each stage what is its own, its sizes, and what it takes over."""
    own = own_settings({stage.name: stage.config for stage in recipe.stages.values()})
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    for stage in recipe.stages.values():
        lines = [*_own_lines(own[stage.name]), _sizes(stage, checked[stage.name]), *_relations(stage)]
        table.add_row(f"[bold]{escape(stage.name)}[/]", "\n".join(map(escape, lines)))
    console.print(Group(escape(header(recipe.path)), ""), Padding(table, (0, 0, 0, 2), expand=False))


def own_settings(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return for each stage the settings that not all stages have in common, by their short dotted keys."""
    settings = {name: dict(flat_settings(config)) for name, config in configs.items()}
    common = set.intersection(*(set(values.items()) for values in settings.values()))
    return {name: dict(item for item in values.items() if item not in common) for name, values in settings.items()}


def flat_settings(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings in a config by dotted key, without the words that every class has."""
    if not isinstance(config, Mapping):
        yield key.removesuffix(".class_path"), str(config)
        return
    for name, value in config.items():
        yield from flat_settings(value, key if name == "init_args" else f"{key}.{name}".strip("."))


def _own_lines(settings: Mapping[str, str]) -> list[str]:
    return [f"{key}: {value}" for key, value in settings.items()]


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
        yield f"takes {', '.join(spec.parts)}{tokens} of {spec.source}{frozen}"
    if stage.compare_to:
        yield f"compared to {stage.compare_to}"
