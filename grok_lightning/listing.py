"""`lightning list`: what there is, in one page, at once."""

from rich.console import Console
from rich.table import Table

from grok_lightning.catalogue import classes_in, find_recipe, header, recipe_names, stage_names
from grok_lightning.operations import list_operations


def print_list() -> int:
    """Print recipes, operations, networks, tasks, data and callbacks; return the exit code."""
    console = Console()
    recipes = Table("recipe", "stages", "what it shows", title="recipes", title_justify="left", box=None)
    for name in recipe_names():
        path = find_recipe(name)
        recipes.add_row(name, ", ".join(stage_names(path)), (header(path).splitlines() or [""])[0])
    operations = Table("operation", "sign", "formula", "properties", title="operations", title_justify="left", box=None)
    for known in list_operations():
        operations.add_row(known.signature, known.symbol, known.formula, str(known.properties))
    console.print(recipes, "", operations, "")
    for room in ("networks", "tasks", "data", "callbacks"):
        classes = Table(room.removesuffix("s"), "", title=room, title_justify="left", box=None, show_header=False)
        for name, summary in classes_in(room):
            classes.add_row(name, summary)
        console.print(classes, "")
    return 0
