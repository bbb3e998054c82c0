"""Every recipe: sound, described, and run tiny to its end."""

import json
import re
from pathlib import Path

import pytest
import yaml

import grok_lightning.commands  # noqa: F401 - recipes name classes by their short names
from grok_lightning.catalogue import header, recipe_names, summary
from grok_lightning.chain.plan import check_recipe
from grok_lightning.chain.recipe import load_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".yaml", ".yml"))
"""At any depth: a check that only looks at the top folder is green for recipes nobody tried."""

each_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))


def test_there_are_recipes_and_all_are_listed():
    assert len(RECIPES) > 0
    assert recipe_names() == sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in RECIPES)


@each_recipe
def test_the_header_says_what_it_shows_and_how_to_run_it(path):
    assert len(summary(path)) > 20
    commands = re.findall(r"lightning fit --config (\S+)", header(path))
    assert commands
    assert set(commands) == {f"recipes/{path.relative_to(FOLDER)}"}
    assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 120


@pytest.mark.parametrize(
    ("name", "pairs", "epochs", "warmup"),
    [
        ("published", 15, 210, 10),
        ("phase_depth", 15, 210, 10),
        ("phase_decay", 14, 210, 10),
        ("follow_up", 14, 1050, 50),
    ],
)
def test_published_settings_have_the_steps_of_their_epochs(name, pairs, epochs, warmup):
    """Zhang et al. count epochs of whole batches of 2048 sequences, of which 9 of 10 have train keys."""
    recipe = yaml.safe_load((FOLDER / "composite" / f"{name}.yaml").read_text(encoding="utf-8"))
    size = recipe["data"]["init_args"].get("size", 900_000)
    batches = pairs * (size * 9 // 160) // 2048
    schedule = recipe["model"]["init_args"]["lr_scheduler"]["init_args"]
    assert recipe["trainer"]["max_steps"] == schedule["total_steps"] == epochs * batches
    assert schedule["warmup_steps"] == warmup * batches


@each_recipe
def test_it_is_sound(path):
    recipe = load_recipe(path)
    assert check_recipe(recipe).keys() == recipe.stages.keys()  # the tiny one is checked before it runs


ASKED = {
    "composite/addition_square": ("square_accuracy",),
    "composite/curriculum": ("solution",),
    "composite/miniature": ("solution", "inferential_best", "stable_rank", "embedding_order", "same_answer_similarity"),
    "composite/noise_groups": ("fitted_at", "grokked_at_f1_f2"),
    "composite/transfer_operations": ("solution",),
}
"""Results that answer what a recipe asks."""


@each_recipe
def test_it_runs_tiny_to_its_end(path, lightning, tmp_path):
    code, out, _ = lightning("fit", "--config", path, "--tiny", "--trainer.accelerator", "cpu")
    recipe = load_recipe(path, tiny=True)
    folder = tmp_path / "logs" / recipe.name / "run_000"
    assert code == 0, out
    report = json.loads((folder / "report.json").read_text())
    assert list(report["stages"]) == list(recipe.stages)
    for name, stage in recipe.stages.items():
        assert len(report["stages"][name]["runs"]) == stage.replicates
        assert name in (folder / "report.md").read_text()
        runs = [folder / stage.folder / f"seed_{recipe.seed + replicate}" for replicate in range(stage.replicates)]
        assert sorted((folder / stage.folder).glob("seed_*")) == sorted(runs)
        assert {json.loads((run / "manifest.json").read_text())["status"] for run in runs} == {"finished"}
    found = {name for path in folder.rglob("manifest.json") for name in json.loads(path.read_text())["results"]}
    assert found >= set(ASKED.get(str(recipe.name), ()))
