"""What `list` and `copy` know without importing anything heavy."""

import importlib
import inspect
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningDataModule, LightningModule

from grok_lightning import catalogue, listing
from grok_lightning.chain.faults import ChainError
from grok_lightning.networks import Network
from grok_lightning.operations import list_operations

HEAVY = {"torch", "lightning", "numpy", "torchmetrics", "matplotlib", "jsonargparse", "tensorboard"}


def heavy_modules_after(code: str, folder: Path) -> set[str]:
    """Return the heavy packages that a fresh interpreter has imported after some code."""
    script = f"import sys\n{code}\nprint('MODULES', *sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return HEAVY & set(found.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import grok_lightning",
        "from grok_lightning.cli import main; assert main(['list']) == 0",
        "from grok_lightning.cli import main; assert main(['copy', 'transfer_add_to_sub']) == 0",
        "from grok_lightning.cli import main; assert main(['no_such_command']) == 2",
        "from grok_lightning.cli import main; assert main(['fit']) == 2",
    ],
)
def test_light_commands_import_nothing_heavy(code, tmp_path):
    assert heavy_modules_after(code, tmp_path) == set()


def test_heavy_modules_are_noticed(tmp_path):
    assert heavy_modules_after("import grok_lightning.commands", tmp_path) >= {"torch", "lightning", "numpy"}


def offered(room: str) -> set[str]:
    return {known.name for known in catalogue.classes_in(room)}


def test_rooms_offer_what_a_recipe_can_name_and_no_abstract_class():
    assert {"ArithmeticTransformer", "QuadraticMLP"} <= offered("networks")
    assert "Network" not in offered("networks")
    assert "EquationTask" in offered("tasks")
    assert "NetworkTask" not in offered("tasks")
    assert "BinaryOperationDataModule" in offered("data")
    assert offered("data").isdisjoint({"EquationDataModule", "Vocabulary", "BatchStream"})
    assert {"Evaluation", "Milestones", "Pictures", "Snapshots"} <= offered("callbacks")
    assert offered("callbacks").isdisjoint({"RunCheckpoint", "RunRecord", "StageProgress", "Cadence", "PictureData"})


def leaves_something_open(cls: type) -> bool:
    functions = [function for _, function in inspect.getmembers(cls, inspect.isfunction)]
    ours = [function for function in functions if function.__module__.startswith("grok_lightning")]
    return inspect.isabstract(cls) or any(
        hasattr(function, "__isabstractmethod__") or "raise NotImplementedError" in inspect.getsource(function)
        for function in ours
    )


@pytest.mark.parametrize("room", catalogue.ROOMS)
def test_rooms_offer_the_classes_that_importing_them_gives(room):
    kinds = {"networks": Network, "tasks": LightningModule, "data": LightningDataModule, "callbacks": Callback}
    module = importlib.import_module(f"grok_lightning.{room}")
    classes = {name: getattr(module, name) for name in module.__all__ if inspect.isclass(getattr(module, name))}
    complete = {
        name
        for name, cls in classes.items()
        if issubclass(cls, kinds[room]) and cls is not kinds[room] and not leaves_something_open(cls)
    }
    assert offered(room) == complete - set(catalogue.PART_OF_EVERY_RUN)
    assert all(
        known.summary == inspect.getdoc(classes[known.name]).splitlines()[0] for known in catalogue.classes_in(room)
    )


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose only room is made by the test."""
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path)
    monkeypatch.setattr(catalogue, "ROOMS", {"pets": "Pet"})
    catalogue._classes.cache_clear()
    (tmp_path / "pets").mkdir()

    def write(exported: list[str], code: str) -> None:
        (tmp_path / "pets/__init__.py").write_text(f"__all__ = {exported}\n")
        (tmp_path / "pets/some.py").write_text(code)

    yield write
    catalogue._classes.cache_clear()


def test_a_class_is_abstract_until_every_open_method_is_defined(package):
    package(
        ["Pet", "Animal", "Cat", "Kitten", "Dog", "Stone"],
        "class Animal(lib.Pet):\n"
        "    @abc.abstractmethod\n    def name(self): ...\n"
        "    def sound(self):\n        '''Doc.'''\n        raise NotImplementedError\n"
        "class Cat(Animal):\n    '''A cat.\n\n    More.'''\n    def sound(self): return 'miaow'\n"
        "class Kitten(Cat):\n    '''A kitten.'''\n    def name(self): return 'x'\n"
        "class Dog(Animal):\n    '''A dog.'''\n    def name(self): ...\n"
        "    def sound(self):\n        if x:\n            y\n        raise NotImplementedError\n"
        "class Stone:\n    '''Nobody's pet.'''\n",
    )
    assert [(known.name, known.summary) for known in catalogue.classes_in("pets")] == [
        ("Dog", "A dog."),
        ("Kitten", "A kitten."),
    ]


def test_what_is_not_exported_is_not_offered(package):
    package(["Cat"], "class Cat(Pet):\n    '''A cat.'''\nclass Dog(Pet):\n    '''A dog.'''\n")
    assert offered("pets") == {"Cat"}


def test_recipes_are_found_in_folders_by_their_path(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "recipes_folder", lambda: tmp_path)
    (tmp_path / "family").mkdir()
    for name in ("b.yaml", "family/a.yaml", "family/notes.txt"):
        (tmp_path / name).write_text("# It shows\n# this.\n#\n# More.\n\n# no header\nstages: {one: , two: }\n")
    assert catalogue.recipe_names() == ["b", "family/a"]
    for name in ("family/a", "family/a.yaml", "recipes/family/a.yaml", str(tmp_path / "family/a.yaml")):
        assert catalogue.find_recipe(name) == tmp_path / "family/a.yaml"
    assert catalogue.header(tmp_path / "b.yaml") == "It shows\nthis.\n\nMore."
    assert catalogue.summary(tmp_path / "b.yaml") == "It shows this."
    assert catalogue.stage_names(tmp_path / "b.yaml") == ["one", "two"]
    with pytest.raises(ChainError, match=r"famly/a: no such file.*did you mean 'family/a'"):
        catalogue.find_recipe("famly/a")
    with pytest.raises(ChainError, match="is a folder"):
        catalogue.find_recipe(str(tmp_path))


def test_a_file_here_comes_before_a_recipe_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("transfer_add_to_sub").write_text("mine: 1")
    assert catalogue.find_recipe("transfer_add_to_sub") == Path("transfer_add_to_sub")


def test_copies_never_overwrite(tmp_path):
    packaged = catalogue.find_recipe("transfer_add_to_sub").read_bytes()
    into_folder = catalogue.copy_recipe("transfer_add_to_sub", str(tmp_path))
    assert into_folder == tmp_path / "transfer_add_to_sub.yaml"
    assert catalogue.copy_recipe("transfer_add_to_sub", f"{tmp_path}/new/") == tmp_path / "new/transfer_add_to_sub.yaml"
    mine = catalogue.copy_recipe("transfer_add_to_sub", str(tmp_path / "deep/mine.yaml"))
    assert into_folder.read_bytes() == mine.read_bytes() == packaged
    mine.write_text("edited")
    for to in (mine, tmp_path):
        with pytest.raises(ChainError, match=r"yaml: exists already and is not overwritten"):
            catalogue.copy_recipe("transfer_add_to_sub", str(to))
    assert mine.read_text() == "edited"
    with pytest.raises(ChainError, match=r"mine.yaml/x.yaml: cannot be written"):
        catalogue.copy_recipe("transfer_add_to_sub", str(mine / "x.yaml"))


def printed_list(columns: int | None, monkeypatch, capsys, *sections: str) -> list[str]:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    assert listing.print_list(sections) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [80, 100, 120, None])
def test_the_list_shows_everything_at_any_width(columns, monkeypatch, capsys):
    lines = printed_list(columns, monkeypatch, capsys)
    assert columns is None or max(map(len, lines)) <= columns
    words = set(" ".join(lines).split())
    for section in listing.SECTIONS:
        assert any(line.startswith(section) for line in lines)
    for known in list_operations():
        assert {known.signature, *known.formula.split()} <= words
    for room in catalogue.ROOMS:
        assert offered(room) <= words
    assert set(catalogue.recipe_names()) <= words


def test_operations_are_listed_with_sign_formula_and_properties(monkeypatch, capsys):
    lines = printed_list(120, monkeypatch, capsys, "operations")
    rows = {line.split()[0]: line.split() for line in lines if line.startswith("  ")}
    assert rows["add"] == ["add", "+", "x+y", "commutative,", "abelian", "group,", "undone", "by", "sub"]
    assert rows["sub"] == ["sub", "-", "x−y", "anti-abelian,", "undone", "by", "add"]
    assert rows["div_if_y_odd_else_sub"] == ["div_if_y_odd_else_sub", "/|-", *["x/y", "if", "y", "odd", "else", "x−y"]]
    assert rows["compose(degree)"][:3] == ["compose(degree)", "∘", "ab"]
    # The sign of these is the formula, said once.
    assert rows["sum_of_squares"] == ["sum_of_squares", "x²+y²", "commutative"]
    assert rows["linear(alpha,beta)"] == ["linear(alpha,beta)", "αx+βy"]


def test_piped_rows_are_single_lines(monkeypatch, capsys):
    lines = printed_list(None, monkeypatch, capsys, "callbacks")
    assert len([line for line in lines if line.startswith("  ")]) == len(catalogue.classes_in("callbacks"))


def test_a_section_that_does_not_exist_is_refused():
    with pytest.raises(ChainError, match="did you mean 'networks'"):
        listing.print_list(["network"])


def test_docstrings_with_brackets_are_printed_as_they_are(package, monkeypatch, capsys):
    package(["Cat"], "class Cat(Pet):\n    '''Likes [bold] food [/].'''\n")
    monkeypatch.setattr(listing, "SECTIONS", {"pets": "here"})
    assert "Likes [bold] food [/]." in "\n".join(printed_list(120, monkeypatch, capsys, "pets"))


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_recipes(tmp_path):
    pytest.importorskip("hatchling")
    source = catalogue.PACKAGE.parent
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("grok_lightning-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        packed = set(archive.namelist())
    for folder, inside in (("grok_lightning", "grok_lightning"), ("recipes", "grok_lightning/recipes")):
        for path in (source / folder).rglob("*"):
            if path.suffix in (".py", ".yaml"):
                assert f"{inside}/{path.relative_to(source / folder).as_posix()}" in packed
    assert not any(name.startswith(("tests", "logs")) for name in packed)
    [entry_points] = [name for name in packed if name.endswith("entry_points.txt")]
    assert "grok-lightning = grok_lightning.__main__:main" in (tmp_path / "installed" / entry_points).read_text()

    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    for words in (["list", "recipes"], ["copy", "transfer_add_to_sub"]):  # far from any checkout
        command = [sys.executable, "-m", "grok_lightning", *words]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    original = source / "recipes/transfer_add_to_sub.yaml"
    assert (tmp_path / "transfer_add_to_sub.yaml").read_bytes() == original.read_bytes()
