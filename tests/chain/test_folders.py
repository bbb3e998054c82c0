import pytest

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.folders import RunIndex, enter_recipe_folder, link_run
from grok_lightning.chain.manifest import Manifest
from grok_lightning.chain.plan import check_recipe, make_plan
from grok_lightning.chain.recipe import load_recipe, parse_override


@pytest.fixture(scope="module")
def checked(finished_chain):
    """What a check finds in CHAIN."""
    return check_recipe(load_recipe(finished_chain / "small.yaml"))


@pytest.fixture
def enter(lab, checked):
    """Enter the folder of CHAIN with overrides; return its name."""
    path = lab.write(lab.CHAIN)

    def enter(*overrides, fresh=False):
        recipe = load_recipe(path, [parse_override(*override) for override in overrides])
        return enter_recipe_folder(lab.logs, recipe, make_plan(recipe, checked), fresh).name

    return enter


def test_the_same_recipe_enters_the_same_folder_and_another_the_next(enter, lab):
    assert enter() == enter() == "run_000"
    assert enter(("model.optimizer.lr", "0.5")) == "run_001"
    assert enter() == "run_000"
    assert enter(fresh=True) == "run_002"
    assert enter() == "run_002"
    assert (lab.logs / "small" / "latest").read_text() == "run_002\n"


@pytest.mark.parametrize(
    "override",
    [("replicates", "4"), ("stages.heir.compare_to", "donor"), ("trainer.enable_progress_bar", "false")],
)
def test_what_leaves_the_runs_as_they_are_leaves_the_folder(enter, lab, override):
    assert enter() == enter(override) == "run_000"
    key, value = override
    assert f"{key.rpartition('.')[2]}: {value}" in (lab.logs / "small" / "run_000" / "recipe.yaml").read_text()


def test_a_folder_is_not_the_same_if_a_run_in_it_is_another_one(enter, lab):
    """As with another version of torch, or a donor's file that was replaced."""
    enter()
    Manifest("small", "heir", 0, "another fingerprint").write(lab.run("heir"))
    assert enter() == "run_001"


@pytest.mark.parametrize("text", ["", "stages: [", "- a"])
def test_a_folder_with_a_damaged_recipe_is_left_alone(enter, lab, text):
    enter()
    (lab.logs / "small" / "run_000" / "recipe.yaml").write_text(text)
    assert enter() == "run_001"
    assert (lab.logs / "small" / "run_000" / "recipe.yaml").read_text() == text


def test_numbers_go_on_after_the_largest_and_other_names_do_not_count(enter, lab):
    for name in ("run_007", "run_0x", "notes", "run_1234"):
        (lab.logs / "small" / name).mkdir(parents=True)
    assert enter() == "run_1235"


def test_the_written_recipe_is_a_recipe(enter, lab, checked):
    enter(("replicates", "2"))
    again = load_recipe(lab.logs / "small" / "run_000" / "recipe.yaml")
    first = make_plan(load_recipe(lab.folder / "small.yaml", [("replicates", 2)]), checked)
    assert [run.fingerprint for run in make_plan(again, checked)] == [run.fingerprint for run in first]


def test_a_folder_that_cannot_be_written_is_told(enter, lab, monkeypatch):
    def read_only(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    with pytest.raises(ChainError, match=r"small: cannot be written \(Permission denied\); choose another folder"):
        enter()


def test_only_finished_runs_are_found(lab):
    for name, status in (("a", "running"), ("b", "failed"), ("c", "interrupted"), ("d", "finished")):
        Manifest("r", "s", 0, "f", status=status).write(lab.logs / name)
        (lab.logs / name / "network.safetensors").touch()
    assert RunIndex(lab.logs).finished("f") == lab.logs / "d"
    assert RunIndex(lab.logs).finished("g") is None
    assert RunIndex(lab.folder / "nowhere").finished("f") is None
    (lab.logs / "d" / "network.safetensors").unlink()
    assert RunIndex(lab.logs).finished("f") is None


def test_runs_that_ended_before_their_last_step_have_no_longer_form(trained, checked):
    recipe = load_recipe(trained.folder / "small.yaml", [("trainer.max_steps", 30)])
    typed = {name: stage.typed for name, stage in checked.items()}
    assert typed["plain"]["trainer"]["max_steps"] == 20
    runs = {run.stage.name: run for run in make_plan(recipe, check_recipe(recipe))}
    assert RunIndex(trained.logs).shorter(runs["plain"]) == trained.run("plain")
    assert RunIndex(trained.logs).shorter(runs["heir"]) is None  # its donor is another one now
    results = {**trained.manifest("plain")["results"], "steps": 15}
    Manifest(**{**trained.manifest("plain"), "results": results}).write(trained.run("plain"))
    assert RunIndex(trained.logs).shorter(runs["plain"]) is None


def test_a_link_is_relative_and_made_once(tmp_path):
    target, place = tmp_path / "a" / "run", tmp_path / "b" / "c" / "run"
    target.mkdir(parents=True)
    link_run(place, target)
    link_run(place, target)
    assert str(place.readlink()) == "../../a/run"
    assert place.resolve() == target
