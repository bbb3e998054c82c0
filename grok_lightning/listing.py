"""`lightning list`: what there is, in one page, at once."""

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from grok_lightning.catalogue import ROOMS, classes_in, find_recipe, recipe_names, stage_names, summary
from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.operations import Operation, list_operations
from grok_lightning.terminal import make_console

SECTIONS = {
    "recipes": "lightning fit --config NAME",
    "operations": "data.operation",
    "networks": "model.network.class_path",
    "tasks": "model.class_path",
    "data": "data.class_path",
    "callbacks": "trainer.callbacks",
}
"""What there is, and where its names are written."""


def print_list(sections: Sequence[str] = ()) -> int:
    """Print what there is to run and to build from; return the exit code.

    Args:
        sections: Some of SECTIONS; all of them if none is named.

    Raises:
        ChainError: If there is no such section.
    """
    for section in sections:
        if section not in SECTIONS:
            raise ChainError(f"lightning list: there are no {section!r} to list{nearest(section, SECTIONS)}")
    console = make_console()
    for section in sections or SECTIONS:
        if section == "recipes":
            _print_section(console, section, _recipes())
        elif section == "operations":
            _print_section(console, section, _operations(list_operations(), narrow=console.width < 110))
        else:
            _print_section(console, section, _classes(section))
    if any(section in ROOMS for section in sections or SECTIONS):
        console.print("What a class takes: [dim]lightning fit --model.help EquationTask[/]")
    return 0


def _print_section(console: Console, name: str, table: RenderableType) -> None:
    console.print(f"[bold]{name}[/]  [dim]{SECTIONS[name]}[/]")
    console.print(Padding(table, (0, 0, 0, 2), expand=False), "")


def _recipes() -> Table:
    """Return what each recipe shows, and its stages."""
    table = _table("name", "shows")
    for name in recipe_names():
        path = find_recipe(name)
        table.add_row(name, escape(summary(path)))
        if stages := stage_names(path):
            table.add_row("", f"[dim]{' → '.join(stages)}[/]")
    return table


def _operations(operations: Iterable[Operation], narrow: bool) -> Table:
    """Return sign, formula and properties of operations; a sign that is the formula itself is left out."""
    table = _table("name", "sign", "formula", "properties", header=True)
    if narrow:
        table.columns[2].max_width = 13
    for known in operations:
        own_sign = known.symbol != known.formula and "{" not in known.symbol
        table.add_row(known.signature, known.symbol if own_sign else "", known.formula, str(known.properties))
    return table


def _classes(room: str) -> Table:
    table = _table("name", "summary")
    for known in classes_in(room):
        table.add_row(known.name, escape(known.summary))
    return table


def _table(*columns: str, header: bool = False) -> Table:
    """Return an empty table without lines, whose first column is never broken."""
    table = Table(box=None, show_header=header, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    return table
