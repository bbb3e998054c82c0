"""What there is to run and to build from, read from the files themselves; needs no torch, so it answers at once."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.merge import read_config

PACKAGE = Path(__file__).parent


def recipes_folder() -> Path:
    """Return the folder of the recipes that come with the package, in a checkout or installed."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = recipes_folder()
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given by path, or by the name `lightning list` shows.

    Raises:
        ChainError: If there is none.
    """
    given = Path(name)
    if given.is_file():
        return given
    packaged = recipes_folder() / Path(name.removeprefix("recipes/")).with_suffix(".yaml")
    if packaged.is_file():
        return packaged
    raise ChainError(f"{name}: no such file, and no recipe of that name{nearest(name, recipe_names())}")


def header(path: Path) -> str:
    """Return the comment at the top of a recipe: what it shows, its cost, what to expect."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines).strip()


def stage_names(path: Path) -> list[str]:
    """Return the stages of a recipe, in order."""
    stages = read_config(path).get("stages")
    return list(stages) if isinstance(stages, dict) else []


def copy_recipe(name: str, to: Path) -> Path:
    """Copy a recipe to a file or into a folder, to be edited.

    Raises:
        ChainError: If the recipe does not exist, or the file does.
    """
    source = find_recipe(name)
    target = to / source.name if to.is_dir() else to
    if target.exists():
        raise ChainError(f"{target}: exists already and is not overwritten; name another: lightning copy {name} TO")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def classes_in(room: str) -> Iterator[tuple[str, str]]:
    """Yield name and first line of the classes a room offers by name in a recipe.

    Those are the classes in the `__all__` of the room that can be built: an abstract one says so by its methods.
    """
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    offered = {name for node in assigned for name in ast.literal_eval(node.value)}
    for path in sorted((PACKAGE / room).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in offered and not _is_abstract(node):
                yield node.name, (ast.get_docstring(node) or "").splitlines()[0]


def _is_abstract(node: ast.ClassDef) -> bool:
    methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
    return any(isinstance(mark, ast.Name) and mark.id == "abstractmethod" for m in methods for mark in m.decorator_list)
