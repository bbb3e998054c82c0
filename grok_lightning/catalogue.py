"""What there is to run and to build from, read from the files themselves; needs no torch, so it answers at once."""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from grok_lightning.chain.faults import ChainError, nearest
from grok_lightning.chain.merge import read_config

PACKAGE = Path(__file__).parent
ROOMS = {
    "networks": "Network",
    "tasks": "LightningModule",
    "data": "LightningDataModule",
    "callbacks": "Callback",
}
"""Rooms whose classes a recipe names, each with what its classes descend from."""
PART_OF_EVERY_RUN = ("RunCheckpoint", "RunRecord", "StageProgress")
"""Callbacks that the chain gives to every run, so that no recipe names them."""


def recipes_folder() -> Path:
    """Return the folder of the recipes that come with the package, in a checkout or installed."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = recipes_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given by path, or by the name `lightning list` shows.

    Raises:
        ChainError: If there is none.
    """
    given = Path(name)
    if given.is_file():
        return given
    packaged = recipes_folder() / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    if packaged.is_file():
        return packaged
    problem = "is a folder, not a recipe" if given.is_dir() else "no such file, and no recipe of that name"
    raise ChainError(f"{name}: {problem}{nearest(name, recipe_names())}")


def header(path: Path) -> str:
    """Return the comment at the top of a recipe: what it shows, its cost, what to expect."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines).strip()


def summary(path: Path) -> str:
    """Return the first paragraph of a recipe's header, in one line."""
    return " ".join(header(path).partition("\n\n")[0].split())


def stage_names(path: Path) -> list[str]:
    """Return the stages of a recipe, in order."""
    stages = read_config(path).get("stages")
    return list(stages) if isinstance(stages, dict) else []


def copy_recipe(name: str, to: str) -> Path:
    """Copy a recipe to a file or into a folder, to be edited.

    Args:
        name: Path or name of the recipe.
        to: File, or folder; one that ends in a slash is made.

    Raises:
        ChainError: If the recipe does not exist, or the file does, or it cannot be written.
    """
    source = find_recipe(name)
    target = Path(to) / source.name if to.endswith("/") or Path(to).is_dir() else Path(to)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy)
    except OSError as error:
        if target.exists():
            raise ChainError(
                f"{target}: exists already and is not overwritten; give another file: lightning copy {name} TO"
            ) from None
        raise ChainError(f"{target}: cannot be written ({error.strerror})") from None
    return target


@dataclass(frozen=True)
class SourceClass:
    """A class as its source file has it.

    Attributes:
        name: Its name.
        summary: First line of its docstring.
        bases: Names of its bases, without the modules they come from.
        methods: Names of the methods it defines, with whether each is left to subclasses.
    """

    name: str
    summary: str
    bases: tuple[str, ...]
    methods: dict[str, bool]


def classes_in(room: str) -> list[SourceClass]:
    """Return the classes that a recipe can name from a room, by name.

    They are in the `__all__` of the room, descend from the room's kind of class, and leave no method to subclasses.
    """
    kind = ROOMS[room]
    offered = _exported(room) - {kind, *PART_OF_EVERY_RUN}
    found = [known for name, known in _classes().items() if name in offered]
    return sorted((c for c in found if _descends(c.name, kind) and not _open_methods(c.name)), key=lambda c: c.name)


@cache
def _classes() -> dict[str, SourceClass]:
    """Return all public classes of the package, by name."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))
    nodes = (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name: _read_class(node) for node in nodes if not node.name.startswith("_")}


def _read_class(node: ast.ClassDef) -> SourceClass:
    methods = {item.name: _is_open(item) for item in node.body if isinstance(item, ast.FunctionDef)}
    bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
    return SourceClass(node.name, (ast.get_docstring(node) or "").partition("\n")[0], bases, methods)


def _is_open(method: ast.FunctionDef) -> bool:
    """Say whether a method is left to subclasses: marked abstract, or raising NotImplementedError at once."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in method.decorator_list}
    first, *others = method.body[1:] if ast.get_docstring(method) and len(method.body) > 1 else method.body
    raised = ast.unparse(first.exc) if isinstance(first, ast.Raise) and first.exc and not others else ""
    return "abstractmethod" in marks or raised.startswith("NotImplementedError")


def _lineage(name: str) -> Iterator[SourceClass]:
    """Yield a class and the classes of the package it descends from, nearest first."""
    if known := _classes().get(name):
        yield known
        for base in known.bases:
            yield from _lineage(base)


def _descends(name: str, kind: str) -> bool:
    return any(kind in known.bases for known in _lineage(name))


def _open_methods(name: str) -> list[str]:
    """Return the methods that neither a class nor what it descends from defines."""
    nearest_first: dict[str, bool] = {}
    for known in _lineage(name):
        nearest_first = {**known.methods, **nearest_first}
    return [method for method, is_open in nearest_first.items() if is_open]


def _exported(room: str) -> set[str]:
    """Return the names in the `__all__` of a room."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()
