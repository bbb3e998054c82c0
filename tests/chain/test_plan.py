from dataclasses import replace

import pytest

from grok_lightning.chain.faults import RecipeError
from grok_lightning.chain.fingerprint import decisive
from grok_lightning.chain.plan import check_recipe, make_plan
from grok_lightning.chain.recipe import load_recipe, parse_override


def loaded(lab, *overrides, recipe=None):
    """Return a resolved recipe."""
    return load_recipe(lab.write(recipe or lab.CHAIN), [parse_override(*override) for override in overrides])


@pytest.fixture(scope="module")
def checked(finished_chain):
    """What a check finds in CHAIN; stages of that name differ from it in no more than replicates and seeds below."""
    return check_recipe(load_recipe(finished_chain / "small.yaml"))


@pytest.fixture
def plan(lab, checked):
    """Return the runs of CHAIN, with overrides that change no shapes, by folder name."""
    return lambda *overrides: {run.folder_name: run for run in make_plan(loaded(lab, *overrides), checked)}


def changed(run, key, value):
    """Return a run with a key of its typed config changed."""
    section, name = key.split(".")
    return replace(run, typed={**run.typed, section: {**run.typed[section], name: value}})


def test_equal_recipes_have_equal_fingerprints_and_different_stages_different_ones(lab, plan):
    again = loaded(lab)
    fingerprints = {run.folder_name: run.fingerprint for run in make_plan(again, check_recipe(again))}
    assert fingerprints == {name: run.fingerprint for name, run in plan().items()}
    assert len(set(fingerprints.values())) == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.logger", False),
        ("trainer.enable_progress_bar", False),
        ("trainer.enable_model_summary", True),
        ("trainer.log_every_n_steps", 7),
        ("trainer.accelerator", "cpu"),
        ("trainer.devices", 2),
        ("trainer.num_nodes", 2),
        ("trainer.strategy", "ddp"),
        ("trainer.default_root_dir", "elsewhere"),
    ],
)
def test_what_changes_display_or_rounding_only_keeps_the_fingerprint(plan, key, value):
    run = plan()["plain/seed_0"]
    assert changed(run, key, value).fingerprint == run.fingerprint


def test_replicates_and_comparisons_keep_the_fingerprints(plan):
    before, after = plan(), plan(("replicates", "2"), ("stages.heir.compare_to", "donor"))
    assert {name: after[name].fingerprint for name in before} == {name: run.fingerprint for name, run in before.items()}


def test_the_cadence_of_checkpoints_keeps_the_fingerprint_and_that_of_evaluations_does_not(plan):
    run = plan()["plain/seed_0"]
    evaluation, checkpoint = run.typed["trainer"]["callbacks"]
    rarer = {**checkpoint, "init_args": {"every_n_steps": 10}}
    assert changed(run, "trainer.callbacks", [evaluation, rarer]).fingerprint == run.fingerprint
    assert changed(run, "trainer.callbacks", [evaluation]).fingerprint == run.fingerprint
    rarer = {**evaluation, "init_args": {"every_n_steps": 10, "growth": 1.0}}
    assert changed(run, "trainer.callbacks", [rarer, checkpoint]).fingerprint != run.fingerprint


@pytest.mark.parametrize(
    ("key", "value"),
    [("trainer.max_steps", 25), ("trainer.precision", "64-true"), ("data.class_path", "other"), ("model.x", 1)],
)
def test_what_changes_the_numbers_changes_the_fingerprint_of_a_run_and_of_its_heirs(plan, key, value):
    run, heir = plan()["donor/seed_0"], plan()["heir/seed_0"]
    other = changed(run, key, value)
    assert other.fingerprint != run.fingerprint
    assert replace(heir, donors=(replace(heir.donors[0], run=other),)).fingerprint != heir.fingerprint


@pytest.mark.parametrize(
    "change", [{"parts": ("decoder",)}, {"freeze": False}, {"tokens": ("0", "1")}, {"match": "coordinates"}]
)
def test_a_changed_transfer_changes_the_fingerprint(plan, change):
    heir = plan()["heir/seed_0"]
    donor = replace(heir.donors[0], spec=replace(heir.donors[0].spec, **change))
    assert replace(heir, donors=(donor,)).fingerprint != heir.fingerprint


def test_the_version_of_torch_is_part_of_the_fingerprint(plan, monkeypatch):
    before = plan()["plain/seed_0"].fingerprint
    monkeypatch.setattr("grok_lightning.chain.plan.package_versions", lambda: {"torch": "99"})
    assert plan()["plain/seed_0"].fingerprint != before


def test_runs_that_differ_in_length_alone_have_one_lineage(plan):
    short = plan()["plain/seed_0"]
    long = changed(short, "trainer.max_steps", 40)
    assert short.lineage == long.lineage != changed(long, "trainer.precision", "64-true").lineage
    assert (short.max_steps, long.max_steps) == (20, 40)


def test_replicates_count_seeds_up_and_take_from_the_donor_of_their_own_number(plan):
    runs = plan(("replicates", "2"), ("seed_everything", "4"))
    assert list(runs) == [f"{stage}/seed_{seed}" for seed in (4, 5) for stage in ("donor", "plain", "heir")]
    assert runs["heir/seed_5"].donors[0].run is runs["donor/seed_5"]
    assert runs["plain/seed_5"].config["seed_everything"] == 5


def test_a_donor_with_one_replicate_serves_all(plan):
    runs = plan(("stages.heir.replicates", "3"))
    assert all(runs[f"heir/seed_{seed}"].donors[0].run is runs["donor/seed_0"] for seed in range(3))


def test_a_replicate_is_the_run_with_its_seed(plan):
    second, solo = plan(("replicates", "2"))["heir/seed_1"], plan(("seed_everything", "1"))["heir/seed_1"]
    assert second.fingerprint == solo.fingerprint


def test_faults_come_all_at_once(lab):
    faulty = lab.edited(
        lab.CHAIN,
        stages__donor={"data.init_args.operation": "add", "replicates": 2},
        stages__plain={"model.init_args.network.init_args.heads": 3},
        stages__heir={
            "transfer": {"from": "donor", "parts": ["embeding"]},
            "replicates": 3,
            "compare_to": "plain",
        },
    )
    recipe = loaded(lab, recipe=faulty)
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe)
    text = str(caught.value)
    assert text.startswith(f"{lab.folder}/small.yaml: 3 faults")
    assert "stages.plain: `width` must divide by `heads`" in text
    assert "stages.heir.transfer: parts: 'embeding' matches nothing; did you mean 'embedding'?" in text
    assert "stages.heir.replicates: 3 replicates take weights from the 2 of 'donor'; give the donor 1 or" in text


def test_checking_writes_nothing_and_leaves_the_recipe_as_it_was(lab):
    recipe = loaded(lab)
    config = repr(recipe.stages["donor"].config)
    check_recipe(recipe)
    assert repr(recipe.stages["donor"].config) == config
    assert [path.name for path in lab.folder.iterdir()] == ["small.yaml"]


def test_a_trainer_without_checkpoints_is_a_fault(lab):
    recipe = loaded(lab, ("trainer.enable_checkpointing", "false"), ("trainer.callbacks", "null"))
    with pytest.raises(RecipeError, match="enable_checkpointing: a run needs its checkpoint"):
        check_recipe(recipe)


def test_the_fingerprint_of_a_file_donor_is_that_of_its_content(trained, checked):
    source = "logs/small/run_000/donor/seed_0"
    transfer = {"from": source, "parts": ["embedding"], "freeze": True}

    def fingerprint(path):
        spec = {**transfer, "from": path}
        recipe = loaded(trained, recipe=trained.edited(trained.CHAIN, stages__heir__transfer=spec))
        return make_plan(recipe, checked)[-1].fingerprint

    first = fingerprint(source)
    copied = trained.folder / "copy.safetensors"
    copied.write_bytes((trained.run("donor") / "network.safetensors").read_bytes())
    assert fingerprint("./copy.safetensors") == first
    copied.write_bytes((trained.run("plain") / "network.safetensors").read_bytes())
    assert fingerprint("./copy.safetensors") != first


def test_decisive_keeps_written_and_typed_callbacks_alike():
    config = {
        "trainer": {"max_steps": 3, "devices": 2, "callbacks": ["RunCheckpoint", {"class_path": "a.b.Pictures"}]},
        "compare_to": "x",
    }
    assert decisive(config) == {"trainer": {"max_steps": 3, "callbacks": [{"class_path": "a.b.Pictures"}]}}
    assert decisive({"trainer": None}) == decisive({}) == {"trainer": {"callbacks": []}}
