import json
import math
import re
import shutil
import signal
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch.demos import boring_classes  # noqa: F401 - so that a recipe can call them by name

from grok_lightning.chain.axes import read_axes
from grok_lightning.chain.faults import RecipeError
from grok_lightning.chain.merge import dump_yaml, parse_yaml
from grok_lightning.chain.plan import check_recipe, make_plan
from grok_lightning.chain.recipe import TransferSpec, dump_recipe, load_recipe, parse_override

CHAIN = """
model: {class_path: BoringModel}
data: {class_path: BoringDataModule}
trainer: {max_steps: 10}
stages:
  donor:
  plain: {compare_to: donor}
  heir: {transfer: {from: donor, parts: [layer]}, compare_to: plain}
  grandchild: {transfer: {from: heir, parts: [layer]}, compare_to: heir}
"""


@pytest.fixture(autouse=True)
def _no_diagrams(monkeypatch):
    """Leave out the phase diagrams, which cost more than the runs."""
    monkeypatch.setattr("grok_lightning.commands.save_phases", lambda report, choice: None)


@pytest.fixture
def load(tmp_path):
    """Write a recipe and load it, with more keys at its top and overrides."""

    def write_and_load(vary, *overrides, recipe=CHAIN, as_tiny=False, **more):
        path = tmp_path / "chain.yaml"
        given = parse_yaml(vary) if isinstance(vary, str) else vary
        path.write_text(dump_yaml({**({} if given is None else {"vary": given}), **more, **parse_yaml(recipe)}))
        return load_recipe(path, [parse_override(*override) for override in overrides], as_tiny)

    return write_and_load


@pytest.fixture
def faults(load):
    """Load a recipe with faults; return them by place."""

    def load_and_catch(*arguments, **options):
        with pytest.raises(RecipeError) as caught:
            load(*arguments, **options)
        assert all(len(str(fault)) < 250 and "\n" not in str(fault) for fault in caught.value.faults)
        return {fault.where: fault.message for fault in caught.value.faults}

    return load_and_catch


def axis_texts(*values):
    """The texts that the values of an axis have in the names of folders."""
    found = []
    (axis,) = read_axes({"model.x": list(values)}, [], found)
    assert found == []
    assert list(axis.values.values()) == list(values)
    return list(axis.values)


def steps(recipe):
    return {name: stage.config["trainer"]["max_steps"] for name, stage in recipe.stages.items()}


def sources(recipe):
    return {name: [spec.source for spec in stage.transfers] for name, stage in recipe.stages.items() if stage.transfers}


# the grid


def test_without_variation_stages_are_themselves(load):
    for vary in (None, "{}", "null"):
        recipe = load(vary)
        assert list(recipe.stages) == ["donor", "plain", "heir", "grandchild"]
        assert all(stage.folder == name and not stage.point for name, stage in recipe.stages.items())


def test_a_grid_is_every_combination_of_values(load):
    recipe = load("{trainer.max_steps: [1, 2], data.batch: [a, b, c]}", recipe="data: {batch: z}")
    assert [stage.point for stage in recipe.stages.values()] == [
        {"max_steps": steps, "batch": batch} for steps, batch in product("12", "abc")
    ]
    assert list(recipe.stages)[4] == "run[max_steps=2,batch=b]"
    stage = recipe.stages["run[max_steps=2,batch=b]"]
    assert (stage.config["trainer"], stage.config["data"]) == ({"max_steps": 2}, {"batch": "b"})
    assert (stage.base, stage.folder) == ("run", "run/max_steps=2,batch=b")


def test_a_key_of_all_stages_concerns_all_which_take_and_compare_at_the_same_point(load):
    recipe = load("trainer.max_steps: [1, 2]")
    assert steps(recipe) == {
        f"{name}[max_steps={n}]": n for name in ("donor", "plain", "heir", "grandchild") for n in (1, 2)
    }
    for n in (1, 2):
        grandchild, heir = recipe.stages[f"grandchild[max_steps={n}]"], recipe.stages[f"heir[max_steps={n}]"]
        assert heir.transfers == (TransferSpec(f"donor[max_steps={n}]", ("layer",)),)
        assert grandchild.transfers == (TransferSpec(f"heir[max_steps={n}]", ("layer",)),)
        assert (heir.compare_to, grandchild.compare_to) == (f"plain[max_steps={n}]", f"heir[max_steps={n}]")


def test_a_key_of_one_stage_concerns_those_too_that_take_its_weights_from_whoever_has_them(load):
    recipe = load("stages.donor.trainer.max_steps: [1, 2]", ("stages.plain.compare_to", "null"))
    assert steps(recipe) == {
        "donor[max_steps=1]": 1,
        "donor[max_steps=2]": 2,
        "plain": 10,
        "heir[max_steps=1]": 10,
        "heir[max_steps=2]": 10,
        "grandchild[max_steps=1]": 10,
        "grandchild[max_steps=2]": 10,
    }
    assert sources(recipe)["grandchild[max_steps=2]"] == ["heir[max_steps=2]"]
    assert recipe.stages["heir[max_steps=2]"].compare_to == "plain"


def test_a_key_of_the_last_stage_concerns_it_alone(load):
    recipe = load("stages.grandchild.trainer.max_steps: [1, 2]")
    assert list(recipe.stages) == ["donor", "plain", "heir", "grandchild[max_steps=1]", "grandchild[max_steps=2]"]
    assert sources(recipe)["grandchild[max_steps=1]"] == ["heir"]


def test_a_stage_with_two_donors_varies_along_the_keys_of_both(load):
    text = """
stages:
  one: {trainer.max_steps: 1}
  two: {trainer.max_steps: 2}
  both: {transfer: [{from: one, parts: [x]}, {from: two, parts: [y]}, {from: a/b, parts: [z]}]}
"""
    vary = {"stages.two.trainer.max_steps": [3, 4], "stages.one.trainer.max_steps": [5]}
    recipe = load(vary, recipe=text)
    name = "both[two.max_steps=4,one.max_steps=5]"
    assert list(recipe.stages)[-1] == name
    assert sources(recipe)[name] == ["one[one.max_steps=5]", "two[two.max_steps=4]", "a/b"]


def test_what_is_compared_to_a_stage_that_varies_must_vary_too(load, faults):
    vary = "stages.donor.trainer.max_steps: [1, 2]"
    mend = "vary the key for both, as stages.donor+plain.KEY or for all"
    message = f"'donor' varies along max_steps and 'plain' does not; {mend}"
    assert faults(vary) == {"stages.plain.compare_to": message}
    # the same key of another stage is another axis
    found = faults(f"{{{vary}, stages.plain.trainer.max_steps: [1, 2]}}")
    assert found["stages.plain.compare_to"].startswith("'donor' varies along donor.max_steps and 'plain'")
    assert found["stages.heir.compare_to"].startswith("'plain' varies along plain.max_steps and 'heir'")
    # what takes weights from it varies with it
    recipe = load(vary, ("stages.plain.compare_to", "null"), ("stages.heir.compare_to", "donor"))
    assert recipe.stages["heir[max_steps=2]"].compare_to == "donor[max_steps=2]"


def test_a_key_can_vary_for_some_stages_together(load, faults):
    """Both methods are tuned over the same values, on one and the same donor."""
    vary = {"stages.plain+heir.trainer.max_steps": [1, 2]}
    recipe = load(vary, ("stages.heir.compare_to", "plain"))
    assert list(recipe.stages) == [
        "donor",
        *(f"{name}[max_steps={n}]" for name in ("plain", "heir", "grandchild") for n in (1, 2)),
    ]
    assert recipe.stages["heir[max_steps=2]"].compare_to == "plain[max_steps=2]"
    assert sources(recipe)["heir[max_steps=2]"] == ["donor"]
    assert recipe.axes[0].key == "stages.plain+heir.trainer.max_steps"
    overlapping = "{stages.plain+heir.trainer.max_steps: [1, 2], stages.heir+donor.trainer.max_steps: [3]}"
    message = "the same key varies for one of these stages elsewhere too; name every stage once"
    assert set(faults(overlapping).values()) >= {message}
    found = faults("stages.plain+hier.trainer.max_steps: [1, 2]")
    assert "did you mean 'heir'?" in found["vary.stages.plain+hier.trainer.max_steps"]


def test_null_for_what_does_not_vary_is_a_fault(faults):
    found = faults("trainer.max_steps: [1, 2]", ("vary.trainer.max_stebs", "null"))
    assert found == {
        "--vary.trainer.max_stebs": "null ends a variation, but nothing varies here; did you mean 'trainer.max_steps'?"
    }


def test_faults_of_order_and_name_speak_of_stages_without_points(faults):
    text = (
        "stages: {first: {transfer: {from: second, parts: [x]}}, second: {compare_to: frist}, third: {compare_to: 5}}"
    )
    found = faults("{stages.second.trainer.max_steps: [1, 2], trainer.max_epochs: [3]}", recipe=text)
    assert found["stages.first[max_epochs=3].transfer.from"] == (
        "'second' comes after 'first'; stages run in order, so move 'second' before it (no cycles)"
    )
    assert found["stages.second[max_steps=1,max_epochs=3].compare_to"] == "no stage 'frist'; did you mean 'first'?"
    assert found["stages.third[max_epochs=3].compare_to"] == "expected the name of a stage, found 5"
    found = faults("trainer.max_steps: [1]", ("stages.heir.transfer.from", "donnor"))
    assert found["stages.heir[max_steps=1].transfer.from"].startswith("no stage 'donnor'; did you mean 'donor'?")
    found = faults("trainer.max_steps: [1]", ("stages.heir.transfer.from", "heir"))
    assert found == {"stages.heir[max_steps=1].transfer.from": "a stage cannot take weights from itself"}


def test_a_fault_at_every_point_is_said_once(load):
    with pytest.raises(RecipeError) as caught:
        load(
            "trainer.max_steps: [1, 2]",
            recipe="model: {class_path: BoringModel}\nmodl: 1\nstages: {one: {transfer: 5}}",
        )
    assert str(caught.value).splitlines()[1:] == [
        "  modl: no such key; did you mean 'model'?",
        "  stages.one[max_steps=1].transfer: expected a mapping with the keys from, weights, parts, tokens, match, "
        "freeze; found 5 (also in one[max_steps=2])",
    ]


words = st.sampled_from(["alpha", "beta", "gamma"])
numbers = st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)
grids = st.dictionaries(
    st.builds("{}{}.{}".format, st.sampled_from(["", "stages.one.", "stages.two.", "stages.three."]), words, words).map(
        lambda key: re.sub(r"(^|\.)(alpha|beta|gamma)\.", r"\1trainer.\2.", key)
    ),
    numbers,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(grids, st.integers(1, 3), st.sampled_from(["one", "two", None]))
def test_a_stage_has_as_many_points_as_its_and_its_donors_values_multiply_to(load, grid, replicates, donor):
    """A chain of three, the last of which may take from the first, the second or nobody."""
    bodies = {"one": {}, "two": {"transfer": {"from": "one", "parts": ["x"]}}, "three": {}}
    if donor:
        bodies["three"] = {"transfer": {"from": donor, "parts": ["x"]}}
    everywhere = {key for key in grid if not key.startswith("stages")}
    if any(key.partition("stages.")[2].partition(".")[2] in everywhere for key in grid):
        return  # refused, see below
    recipe = load(grid, recipe=dump_yaml({"stages": bodies}), replicates=replicates)
    lineages = {"one": ["one"], "two": ["one", "two"], "three": {"one": ["one"], "two": ["one", "two"]}.get(donor, [])}
    lineages["three"] = [*lineages["three"], "three"]
    for name, lineage in lineages.items():
        keys = [key for key in grid if key in everywhere or key.split(".")[1] in lineage]
        mine = [stage for stage in recipe.stages.values() if stage.base == name]
        assert len(mine) == math.prod(len(grid[key]) for key in keys)
        assert all(len(stage.point) == len(keys) and stage.replicates == replicates for stage in mine)
        own = [key for key in keys if key in everywhere or key.split(".")[1] == name]
        configs = [json.dumps(stage.config) for stage in mine]
        assert len(set(configs)) == math.prod(len(grid[key]) for key in own)
    folders = [stage.folder for stage in recipe.stages.values()]
    assert len(set(folders)) == len(folders) == len({folder.casefold() for folder in folders})
    again = load(None, recipe=dump_recipe(recipe))
    assert again.stages == recipe.stages


# names of axes


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["model.init_args.optimizer.init_args.lr"], ["lr"]),
        (["model.optimizer.lr", "data.init_args.modulus"], ["lr", "modulus"]),
        (["model.optimizer.lr", "lr_scheduler.lr"], ["optimizer.lr", "lr_scheduler.lr"]),
        (["trainer.a.b.c", "trainer.x.b.c", "model.c"], ["a.b.c", "x.b.c", "model.c"]),
        (["stages.one.data.modulus", "stages.two.data.modulus"], ["one.modulus", "two.modulus"]),
        (["stages.one+two.data.modulus", "data.length"], ["modulus", "length"]),
        (["stages.one+two.model.lr", "data.lr"], ["one+two.lr", "data.lr"]),
        (["model.lr", "optimizer.model.lr"], ["model.lr", "optimizer.model.lr"]),
        (["model", "stages.one.data"], ["model", "data"]),
    ],
)
def test_an_axis_is_called_by_as_few_words_as_tell_it_from_the_others(keys, names):
    found = []
    axes = read_axes({key: [1, 2] for key in keys}, ["one", "two"], found)
    assert found == []
    assert [axis.name for axis in axes] == names
    assert [axis.key for axis in axes] == keys


# texts of values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (0.001, "0.001"),
        (1e-5, "1e-05"),
        (-2.5, "-2.5"),
        (97, "97"),
        ("x/y if y odd else x-y", "x_y_if_y_odd_else_x-y"),
        ("a ∘ b = Ψ", "a_b_Ψ"),
        ("../../etc", ".._.._etc"),
        ("", "empty"),
        ("[/]", "empty"),
        ([], "empty"),
        (["embedding", "decoder"], "embedding+decoder"),
        ([1, [2.5, None]], "1+2.5+null"),
        ({"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.5}}, "AdamW"),
        ({"class_path": "Local"}, "Local"),
        ([{"class_path": "a.B"}, {"class_path": "c.D"}], "B+D"),
        ({"betas": 0.5}, "betas_0.5"),
        ("a" * 200, "a" * 40),
        ("a\nb\tc", "a_b_c"),
        ("x=1,y=2]", "x_1_y_2"),
    ],
)
def test_the_text_of_a_value(value, text):
    assert axis_texts(value) == [text]


def test_equal_texts_are_numbered():
    assert axis_texts("a b", "c", "a/b") == ["a_b~0", "c", "a_b~2"]
    assert axis_texts("null", None, "", []) == ["null~0", "null~1", "empty~2", "empty~3"]
    assert axis_texts("Add", "add") == ["Add~0", "add~1"]  # one folder where case does not count
    same = [{"class_path": "A", "init_args": {"x": x}} for x in (1, 2)]
    assert axis_texts(*same, "A.1") == ["A~0", "A~1", "A.1"]


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
structures = st.recursive(values, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def unique(items):
    return all(item not in items[:index] for index, item in enumerate(items))


@settings(deadline=None)
@given(st.lists(structures, min_size=1, max_size=6).filter(unique))
def test_every_value_has_a_text_of_its_own_that_can_stand_in_the_name_of_a_folder(given_values):
    texts = axis_texts(*given_values)
    assert len({text.casefold() for text in texts}) == len(given_values)
    assert all(re.fullmatch(r"[\w.+~-]{1,50}", text) for text in texts)


# keys


@pytest.mark.parametrize(
    "vary",
    [
        "model.init_args.network.init_args.width: [4, 8]",
        "model.network.width: [4, 8]",
        "model.network.init_args.width: [4, 8]",
        "model: {network: {width: [4, 8]}}",
        "model.init_args: {network.width: [4, 8]}",
        "stages.run.model.network.width: [4, 8]",
        "stages: {run: {model.network.width: [4, 8]}}",
    ],
)
def test_a_key_is_written_as_elsewhere(load, vary):
    text = "model: {class_path: M, init_args: {network: {class_path: N, init_args: {heads: 2}}}}"
    widths = {
        name: stage.config["model"]["init_args"]["network"]["init_args"]
        for name, stage in load(vary, recipe=text).stages.items()
    }
    assert widths == {"run[width=4]": {"heads": 2, "width": 4}, "run[width=8]": {"heads": 2, "width": 8}}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (("vary.trainer.max_steps", "[3]"), {"max_steps": ["3"], "seed": ["5", "6"]}),
        (("vary.trainer.max_steps", "null"), {"seed": ["5", "6"]}),
        (("vary.data.init_args.seed", "[7]"), {"max_steps": ["1", "2"], "seed": ["7"]}),
        (("vary.data.seed", "null"), {"max_steps": ["1", "2"]}),
        (("vary.model.x", "[a]"), {"max_steps": ["1", "2"], "seed": ["5", "6"], "x": ["a"]}),
        (("vary.stages.run.model.x", "[a]"), {"max_steps": ["1", "2"], "seed": ["5", "6"], "x": ["a"]}),
        (("vary", "{data.seed: [8], trainer: {max_steps: null}}"), {"seed": ["8"]}),
        (("vary", "null"), {}),
    ],
)
def test_the_command_line_and_tiny_replace_varied_keys_in_their_place_add_and_take_away(load, override, expected):
    vary, text = "{trainer.max_steps: [1, 2], data.seed: [5, 6]}", "data: {class_path: D}"

    def grid(recipe):
        return [(axis.name, list(axis.values)) for axis in recipe.axes]

    assert grid(load(vary, override, recipe=text)) == list(expected.items())
    tiny = {override[0]: parse_yaml(override[1])}
    assert grid(load(vary, recipe=text, as_tiny=True, tiny=tiny)) == list(expected.items())
    assert grid(load(vary, recipe=text, tiny=tiny)) == [("max_steps", ["1", "2"]), ("seed", ["5", "6"])]


def test_a_value_of_the_grid_is_laid_over_whatever_else_says_the_key(load):
    recipe = load("trainer.max_steps: [1]", as_tiny=True, tiny={"trainer.max_steps": 20})
    assert set(steps(recipe).values()) == {1}


@pytest.mark.parametrize(
    ("vary", "override"),
    [
        ("data.init_args.modulus: [5, 7]", ("data.modulus", "3")),
        ("data.modulus: [5, 7]", ("data.init_args.modulus", "3")),
        ("data.modulus: [5, 7]", ("stages.heir.data.modulus", "3")),
        ("stages.plain+heir.data.modulus: [5, 7]", ("stages.heir.data.modulus", "3")),
    ],
)
def test_an_override_that_the_grid_overrides_is_a_fault(faults, load, vary, override):
    key, recipe = next(iter(parse_yaml(vary))), CHAIN.replace("BoringData", "BinaryOperationData")
    assert faults(vary, override, recipe=recipe) == {
        f"--{override[0]}": f'varies here, over 5, 7: give --vary.{key} "[VALUE]", or null to let it vary no more'
    }
    mended = load(vary, override, (f"vary.{key}", "null"), recipe=recipe)
    assert mended.stages["heir"].config["data"]["init_args"]["modulus"] == 3


def test_neither_several_axes_nor_a_mapping_hide_an_override_from_the_grid(faults):
    recipe = CHAIN.replace("BoringData", "BinaryOperationData")
    grid = {"stages.donor.data.modulus": [5, 7], "stages.plain+heir+grandchild.data.modulus": [7, 11]}
    everywhere = {
        "--data.modulus": (
            "varies here, over 5, 7, 11: give --vary.stages.donor.data.modulus and "
            '--vary.stages.plain+heir+grandchild.data.modulus "[VALUE]", or null to let it vary no more'
        )
    }
    unpaired = "stages.plain.compare_to"
    found = faults(grid, ("data.modulus", "3"), recipe=recipe)
    assert {where: message for where, message in found.items() if where != unpaired} == everywhere
    assert "--data.init_args.modulus" in faults(
        "data.modulus: [5, 7]", ("data.init_args", "{modulus: 3}"), recipe=recipe
    )


def test_an_override_that_serves_a_stage_that_does_not_vary_is_none(load):
    recipe = load("stages.heir.trainer.max_steps: [1, 2]", ("trainer.max_steps", "30"))
    assert {stage.name: stage.config["trainer"]["max_steps"] for stage in recipe.stages.values()} == {
        "donor": 30,
        "plain": 30,
        "heir[max_steps=1]": 1,
        "heir[max_steps=2]": 2,
        "grandchild[max_steps=1]": 30,
        "grandchild[max_steps=2]": 30,
    }


def test_a_varied_class_drops_the_arguments_of_the_old_one(load):
    text = "data: {class_path: A, init_args: {x: 1}}"
    for vary in ("data.class_path: [A, B]", "data: [A, B]", "data: [{class_path: A}, {class_path: B}]"):
        first, second = load(vary, recipe=text).stages.values()
        assert first.config["data"] == {"class_path": "A", "init_args": {"x": 1}}
        assert second.config["data"] == {"class_path": "B"}


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("key", ["data.class_path", "data"])
def test_a_varied_class_keeps_its_varied_arguments_whichever_is_named_first(load, key, turn):
    vary = {key: ["A", "B"], "data.x": [3, 4]}
    recipe = load(dict(list(vary.items())[::turn]), recipe="data: {class_path: A, init_args: {x: 1}}")
    found = [
        (stage.config["data"]["class_path"], stage.config["data"]["init_args"]) for stage in recipe.stages.values()
    ]
    assert sorted(found, key=str) == [(name, {"x": x}) for name in "AB" for x in (3, 4)]


def test_values_that_are_mappings_and_lists(load):
    text = "trainer: {callbacks: [Timer], precision: 32}"
    recipe = load("{trainer: [{max_steps: 1}, {max_steps: 2}], trainer.callbacks+: [[Lambda], Third]}", recipe=text)
    assert recipe.stages["run[trainer=max_steps_2,callbacks+=Lambda]"].config["trainer"] == {
        "callbacks": ["Timer", "Lambda"],
        "precision": 32,
        "max_steps": 2,
    }


def test_what_is_taken_and_frozen_can_vary(load):
    recipe = load("{stages.heir.transfer.parts: [[a], [a, b]], stages.heir.transfer.freeze: [true, [x]]}")
    assert {name: stage.transfers for name, stage in recipe.stages.items() if stage.base == "heir"} == {
        "heir[parts=a,freeze=true]": (TransferSpec("donor", ("a",), None, True),),
        "heir[parts=a,freeze=x]": (TransferSpec("donor", ("a",), None, ("x",)),),
        "heir[parts=a+b,freeze=true]": (TransferSpec("donor", ("a", "b"), None, True),),
        "heir[parts=a+b,freeze=x]": (TransferSpec("donor", ("a", "b"), None, ("x",)),),
    }


def test_the_donor_can_vary_and_only_what_is_a_donor_somewhere_lends_its_keys(load):
    vary = {
        "stages.plain.trainer.max_steps": [1, 2],
        "stages.donor.trainer.max_epochs": [3, 4],
        "stages.heir.transfer.from": ["plain", "logs/a/run_000/b/seed_0"],
    }
    recipe = load(vary, recipe=CHAIN.replace("{compare_to: donor}", ""))
    assert {name: spec for name, spec in sources(recipe).items() if name.startswith("heir")} == {
        "heir[max_steps=1,from=plain]": ["plain[max_steps=1]"],
        "heir[max_steps=1,from=logs_a_run_000_b_seed_0]": ["logs/a/run_000/b/seed_0"],
        "heir[max_steps=2,from=plain]": ["plain[max_steps=2]"],
        "heir[max_steps=2,from=logs_a_run_000_b_seed_0]": ["logs/a/run_000/b/seed_0"],
    }
    assert len([name for name in recipe.stages if name.startswith("grandchild")]) == 4


def test_a_transfer_can_vary_whole_and_be_left_out(load):
    vary = "stages.plain.transfer: [null, {from: donor, parts: [layer]}]"
    recipe = load(f"{{stages.donor.trainer.max_steps: [1, 2], {vary}}}", ("stages.heir.compare_to", "null"))
    assert {name: spec for name, spec in sources(recipe).items() if name.startswith("plain")} == {
        f"plain[max_steps={n},transfer=from_donor_parts_layer]": [f"donor[max_steps={n}]"] for n in (1, 2)
    }
    assert [name for name in recipe.stages if name.endswith("transfer=null]")] == [
        f"plain[max_steps={n},transfer=null]" for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("vary", "where", "message"),
    [
        ("5", "vary", "expected a mapping of keys to lists of values, found 5"),
        ("[model.x]", "vary", "expected a mapping of keys to lists of values, found"),
        ("model.x: 5", "vary.model.x", "expected a list of values, found 5"),
        ("model.x: a", "vary.model.x", "expected a list of values, found 'a'"),
        ("model.x: null", "vary.model.x", "expected a list of values, found null"),
        ("model.x: []", "vary.model.x", "expected a list of values, found []"),
        ("model.x: {}", "vary.model.x", "expected a list of values, found {}"),
        ("model.x: [1, 2, 1]", "vary.model.x", "a value is given twice in [1, 2, 1]"),
        ("model.x: [[1], [1]]", "vary.model.x", "a value is given twice"),
        ("modle.x: [1]", "vary.modle.x", "no such key; did you mean 'model'?"),
        ("tiny.x: [1]", "vary.tiny.x", "no such key"),
        ("vary.model.x: [1]", "vary.vary.model.x", "no such key"),
        ("1: [1]", "vary.1", "no such key"),
        (
            "stages.hier.model.x: [1]",
            "vary.stages.hier.model.x",
            "with the name of a stage, or names with +, and a key of it; did you mean",
        ),
        ("stages.heir: [1]", "vary.stages.heir", "expected stages.NAME.KEY"),
        ("stages: [1]", "vary.stages", "expected stages.NAME.KEY"),
        ("stages.heir.modle: [1]", "vary.stages.heir.modle", "no such key; did you mean 'model'?"),
        ("replicates: [1, 2]", "vary.replicates", "cannot vary: every point of the grid has as many seeds"),
        ("seed_everything: [1, 2]", "vary.seed_everything", "cannot vary: seeds are what `replicates` counts up"),
        ("stages.heir.seed_everything: [1]", "vary.stages.heir.seed_everything", "cannot vary: seeds are"),
        ("stages.heir.replicates: [1]", "vary.stages.heir.replicates", "cannot vary"),
        ("compare_to: [plain]", "vary.compare_to", "cannot vary: it changes no run"),
        ("{model.x: [1], model.init_args.x: [2]}", "vary.model.x", "the same key is given twice"),
        ("{model.x: [1], model.init_args.x: [2]}", "vary.model.init_args.x", "the same key is given twice"),
        ("{model.x: [1], model: {x: [2]}}", "vary.model.x", "the same key is given twice"),
        (
            "{trainer.x: [1], stages.heir.trainer.x: [2]}",
            "vary.stages.heir.trainer.x",
            "varies for one of these stages elsewhere too",
        ),
    ],
)
def test_faults_of_vary(faults, vary, where, message):
    assert message in faults(vary)[where]


def test_faults_of_vary_on_the_command_line_and_in_tiny(faults):
    assert faults(None, ("vary.model.x", "8")) == {"vary.model.x": "expected a list of values, found 8"}
    assert "did you mean 'model'" in faults(None, ("vary.modle.x", "[8]"))["vary.modle.x"]
    assert faults("model.x: [1]", as_tiny=True, tiny={"vary": 5}) == {
        "vary": "expected a mapping of keys to lists of values, found 5"
    }


def test_vary_is_no_key_of_a_stage(faults):
    assert "no such key" in faults(None, recipe="stages: {one: {vary: {model.x: [1]}}}")["stages.one.vary"]
    assert "no such key" in faults(None, ("stages.heir.vary.model.x", "[1]"))["--stages.heir.vary"]


def test_all_faults_come_at_once_with_those_of_the_runs(faults):
    text = CHAIN.replace("max_steps: 10", "max_stesp: 10").replace("parts: [layer]}, compare_to: plain", "parts: x}")
    found = faults({"modle.x": [1], "trainer.max_epochs": 3, "data.size": [1]}, recipe=text)
    assert found.keys() >= {
        "vary.modle.x",
        "vary.trainer.max_epochs",
        "stages.heir[size=1].transfer.parts",
        "stages.donor[size=1].data.init_args.size",
        "stages.donor[size=1].trainer.max_stesp",
    }


def test_an_unknown_argument_is_found_at_its_point(load, lab):
    recipe = load("model.optimizer.wieght_decay: [0.1, 1.0]", recipe=lab.SMALL)
    with pytest.raises(
        RecipeError, match=r"1 fault\n  stages\.run\[wieght_decay=0\.1\]\.model.*also in run\[wieght_decay=1\.0"
    ):
        check_recipe(recipe)


# runs

DECAYS, FRACTIONS = ("0.1", "1.0"), ("0.3", "0.5")
AXES = {"model.optimizer.weight_decay": [0.1, 1.0], "stages.heir.data.train_fraction": [0.3, 0.5]}
DONORS = [f"donor/weight_decay={decay}" for decay in DECAYS]
HEIRS = [f"heir/weight_decay={decay},train_fraction={part}" for decay, part in product(DECAYS, FRACTIONS)]
DIES = """
import os, signal
from lightning.pytorch import Callback

class Dies(Callback):
    next_step = -1

    def setup(self, trainer, pl_module, stage):
        if os.environ["DIES"] in trainer.default_root_dir:
            self.next_step = 7

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.next_step:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def grid_of(lab, **changes):
    """The pair of stages as a grid, short."""
    return lab.edited(lab.PAIR, trainer__max_steps=10, **{"vary": AXES, **changes})


def fingerprints(lab, folders, number=0, recipe="small"):
    return {folder: lab.manifest(folder, number=number, recipe=recipe)["fingerprint"] for folder in folders}


def last_written(lab):
    """When each run was last written, wherever in the grid."""
    return {str(path.parent): path.stat().st_mtime_ns for path in lab.logs.rglob("network.safetensors")}


@pytest.fixture(scope="module")
def finished_grid(tmp_path_factory, make_lab):
    """A folder in which a grid has run in one go; not to be changed."""
    lab = make_lab(tmp_path_factory.mktemp("grid"))
    lab.write(grid_of(lab))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        for name in ("save_picture", "save_phases"):
            patch.setattr(f"grok_lightning.commands.{name}", lambda *arguments: None)
        assert lab.fit() == 0
    return lab


@pytest.fixture
def grid(lab, finished_grid):
    """A laboratory in which a grid has run."""
    shutil.copytree(finished_grid.folder, lab.folder, dirs_exist_ok=True, symlinks=True)
    return lab


def test_every_point_has_a_run_that_takes_its_weights_at_the_same_point(finished_grid):
    lab = finished_grid
    assert lab.statuses() == {f"small/run_000/{stage}/seed_0": "finished" for stage in sorted(DONORS + HEIRS)}
    assert len(set(fingerprints(lab, DONORS + HEIRS).values())) == 6
    for heir, decay in zip(HEIRS, (0, 0, 1, 1), strict=True):
        assert lab.manifest(heir)["donors"] == [lab.manifest(DONORS[decay])["fingerprint"]]


def test_replicates_are_runs_of_every_point(load, lab):
    recipe = load(AXES, ("replicates", "3"), recipe=lab.PAIR)
    runs = {run.folder_name: run for run in make_plan(recipe, check_recipe(recipe))}
    assert set(runs) == {f"{stage}/seed_{seed}" for stage in DONORS + HEIRS for seed in range(3)}
    donor = runs[f"{HEIRS[2]}/seed_2"].donors[0].run
    assert (donor.stage.folder, donor.seed) == (DONORS[1], 2)


def test_more_values_train_only_the_new_points_in_the_same_folder(grid):
    before = last_written(grid)
    assert grid.fit("--vary.model.optimizer.weight_decay", "[2.0, 1.0, 0.1]") == 0
    after = last_written(grid)
    assert {name: after[name] for name in before} == before
    assert {name.partition("run_000/")[2] for name in set(after) - set(before)} == {
        "donor/weight_decay=2.0/seed_0",
        "heir/weight_decay=2.0,train_fraction=0.3/seed_0",
        "heir/weight_decay=2.0,train_fraction=0.5/seed_0",
    }
    report = json.loads((grid.logs / "small/run_000/report.json").read_text())
    assert len(report["stages"]) == 9


def test_fewer_or_other_values_take_a_new_folder_and_leave_the_report_that_is_there(grid):
    before, report = last_written(grid), (grid.logs / "small/run_000/report.json").read_text()
    assert (
        grid.fit("--vary.stages.heir.data.train_fraction", "[0.5]", "--vary.model.optimizer.weight_decay", "[1.0]") == 0
    )
    assert last_written(grid) == before
    assert (grid.logs / "small" / "latest").read_text() == "run_001\n"
    assert (grid.logs / "small/run_000/report.json").read_text() == report
    fewer = json.loads((grid.logs / "small/run_001/report.json").read_text())
    assert list(fewer["stages"]) == ["donor[weight_decay=1.0]", "heir[weight_decay=1.0,train_fraction=0.5]"]
    assert grid.fit() == 0
    assert (grid.logs / "small" / "latest").read_text() == "run_000\n"


def test_other_axes_take_a_new_folder_and_reuse_the_runs(grid):
    before = last_written(grid)
    assert grid.fit("--vary.model.optimizer.lr", "[1e-2]") == 0
    assert last_written(grid) == before
    new = grid.logs / "small" / "run_001"
    for decay in DECAYS:
        link = new / "donor" / f"weight_decay={decay},lr=0.01" / "seed_0"
        assert link.resolve() == grid.run(f"donor/weight_decay={decay}").resolve()


def test_a_point_is_the_run_with_that_value_on_the_command_line(grid):
    before = last_written(grid)
    arguments = ["--model.optimizer.weight_decay", "1.0", "--stages.heir.data.train_fraction", "0.3"]
    grid.write(grid.edited(grid.PAIR, trainer__max_steps=10), "alone.yaml")
    assert grid.fit(*arguments, recipe="alone.yaml") == 0
    assert last_written(grid) == before
    assert grid.run("heir", recipe="alone").resolve() == grid.run(HEIRS[2]).resolve()
    assert grid.fit(*arguments, "--fresh", recipe="alone.yaml") == 0
    assert not grid.run("heir", number=1, recipe="alone").is_symlink()
    for alone, point in (("donor", DONORS[1]), ("heir", HEIRS[2])):
        assert grid.weights(alone, number=1, recipe="alone") == grid.weights(point)
        assert grid.manifest(alone, number=1, recipe="alone")["results"] == grid.manifest(point)["results"]


def test_the_printed_grid_runs_again_and_finds_its_runs(grid, capsys):
    before = last_written(grid)
    assert grid.fit("--print_config") == 0
    grid.write(capsys.readouterr().out)
    assert grid.fit() == 0
    assert last_written(grid) == before
    assert not (grid.logs / "small" / "run_001").exists()


def test_an_interrupted_grid_goes_on_to_the_same_bits(lab, finished_grid, monkeypatch, capsys):
    lab.write(DIES, "dying_point.py")
    callbacks = [*parse_yaml(lab.SMALL)["trainer"]["callbacks"], {"class_path": "dying_point.Dies"}]
    lab.write(grid_of(lab, trainer__callbacks=callbacks))
    monkeypatch.setenv("DIES", HEIRS[1])
    assert lab.fit() == 128 + signal.SIGTERM
    assert lab.statuses()[f"small/run_000/{HEIRS[1]}/seed_0"] == "interrupted"
    assert "finished" not in [lab.statuses().get(f"small/run_000/{heir}/seed_0") for heir in HEIRS[1:]]
    before = last_written(lab)
    monkeypatch.setenv("DIES", "nowhere")
    capsys.readouterr()
    assert lab.fit() == 0
    said = capsys.readouterr().out
    assert "heir[weight_decay=0.1,train_fraction=0.5], seed 0: resumed" in said
    after = last_written(lab)
    assert {name: after[name] for name in before} == before
    for stage in DONORS + HEIRS:
        assert lab.weights(stage) == finished_grid.weights(stage)


def test_only_a_stage_means_all_its_points(lab):
    lab.write(grid_of(lab))
    assert lab.fit("--only", "donor") == 0
    assert lab.statuses() == {f"small/run_000/{stage}/seed_0": "finished" for stage in DONORS}
