import re
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch.demos import boring_classes  # noqa: F401 - so that a recipe can call them by name

from grok_lightning.chain.faults import ChainError, Fault, RecipeError
from grok_lightning.chain.merge import dump_yaml
from grok_lightning.chain.recipe import (
    Recipe,
    Stage,
    TransferSpec,
    dump_recipe,
    is_file_source,
    load_recipe,
    parse_override,
)

CHAIN = """
model: {class_path: BoringModel}
data: {class_path: BoringDataModule}
trainer: {max_steps: 10, devices: [0, 1], callbacks: [Timer]}
seed_everything: 3
tiny: {trainer.max_steps: 2}
stages:
  first:
  second:
    trainer.max_steps: 20
    transfer: {from: first, parts: [layer], freeze: true}
    compare_to: first
"""


@pytest.fixture
def load(tmp_path):
    """Write a recipe and load it."""

    def write_and_load(text, *overrides, tiny=False):
        path = tmp_path / "chain.yaml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, [parse_override(*override) for override in overrides], tiny)

    return write_and_load


@pytest.fixture
def faults(load):
    """Load a recipe with faults; return them by place."""

    def load_and_catch(text, *overrides, tiny=False):
        with pytest.raises(RecipeError) as caught:
            load(text, *overrides, tiny=tiny)
        return {fault.where: fault.message for fault in caught.value.faults}

    return load_and_catch


def with_stages(text):
    return f"model: {{class_path: BoringModel}}\nstages:\n  one:\n  two: {{{text}}}\n"


def test_keys_at_the_top_are_the_defaults_of_all_stages(load):
    first, second = load(CHAIN).stages.values()
    assert first == Stage(
        "first",
        {
            "seed_everything": 3,
            "model": {"class_path": "BoringModel"},
            "data": {"class_path": "BoringDataModule"},
            "trainer": {"max_steps": 10, "devices": [0, 1], "callbacks": ["Timer"]},
        },
    )
    assert second.config == {**first.config, "trainer": {**first.config["trainer"], "max_steps": 20}}
    assert second.transfers == (TransferSpec("first", ("layer",), None, True),)
    assert (second.compare_to, second.replicates) == ("first", 1)


def test_a_file_without_stages_is_a_chain_of_one(load):
    recipe = load("model: BoringModel\nreplicates: 3\ntransfer: {from: logs/x, parts: [layer]}")
    transfers = (TransferSpec("logs/x", ("layer",)),)
    assert recipe.stages == {"run": Stage("run", {"seed_everything": 0, "model": "BoringModel"}, transfers, None, 3)}


@pytest.mark.parametrize(
    ("overrides", "tiny", "steps"),
    [
        ([], False, (10, 20)),
        ([], True, (2, 2)),
        ([("trainer.max_steps", "30")], False, (30, 30)),
        ([("trainer.max_steps", "30")], True, (30, 30)),
        ([("stages.first.trainer.max_steps", "40")], False, (40, 20)),
        ([("stages.first.trainer.max_steps", "40")], True, (40, 2)),
        ([("stages.first.trainer.max_steps", "40"), ("trainer.max_steps", "30")], True, (40, 30)),
        ([("trainer.max_steps", "30"), ("trainer.max_steps", "31")], False, (31, 31)),
        ([("trainer", "{max_steps: 30}")], False, (30, 30)),
    ],
)
def test_precedence(load, overrides, tiny, steps):
    recipe = load(CHAIN, *overrides, tiny=tiny)
    assert tuple(stage.config["trainer"]["max_steps"] for stage in recipe.stages.values()) == steps
    assert all(stage.config["trainer"]["devices"] == [0, 1] for stage in recipe.stages.values())


def test_lists_replace_and_a_plus_appends(load):
    replaced = load(CHAIN, ("trainer.devices", "[5]")).stages["first"].config["trainer"]
    assert replaced["devices"] == [5]
    text = CHAIN.replace("  first:", "  first: {trainer.callbacks+: {class_path: Lambda}}")
    trainer = load(text, ("stages.first.trainer.callbacks+", "[Third, Fourth]")).stages["first"].config["trainer"]
    assert trainer["callbacks"] == ["Timer", {"class_path": "Lambda"}, "Third", "Fourth"]


def test_a_changed_class_drops_the_old_arguments(load):
    text = "model: {class_path: A, init_args: {x: 1, net: {class_path: N, init_args: {y: 1e-3}}}}"
    kept = load(text, ("model.net.z", "2e-1")).stages["run"].config["model"]["init_args"]
    assert kept == {"x": 1, "net": {"class_path": "N", "init_args": {"y": 0.001, "z": 0.2}}}
    inner = load(text, ("model.net", "O"), ("model.net.z", "5")).stages["run"].config["model"]["init_args"]
    assert inner == {"x": 1, "net": {"class_path": "O", "init_args": {"z": 5}}}
    assert load(text, ("model.class_path", "B")).stages["run"].config["model"] == {"class_path": "B"}


def test_a_stage_switches_off_what_the_defaults_say(load):
    text = "model: M\ndata: D\ntransfer: {from: a/b, parts: [x]}\nstages: {one: {transfer: null, data: null}, two: }"
    one, two = load(text).stages.values()
    assert (one.transfers, one.config["data"]) == ((), None)
    assert (len(two.transfers), two.config["data"]) == (1, "D")


def test_several_transfers_are_a_list(load):
    text = """
stages:
  one: {model: M}
  two: {model: M}
  three:
    model: M
    transfer:
      - {from: one, parts: [embedding], tokens: [0, 1, "+"], freeze: true}
      - {from: two, parts: [decoder, "classifier.*"], freeze: [decoder]}
      - {from: old/run, parts: [x]}
"""
    assert load(text).stages["three"].transfers == (
        TransferSpec("one", ("embedding",), ("0", "1", "+"), True),
        TransferSpec("two", ("decoder", "classifier.*"), None, ("decoder",)),
        TransferSpec("old/run", ("x",), None, False),
    )


def test_a_saved_config_of_lightning_is_a_recipe(load):
    text = "seed_everything: 1\nmodel: M\noptimizer: null\nckpt_path: null\nweights_only: null\ntrainer: {}"
    recipe = load(text)
    assert recipe.stages["run"].config == {"seed_everything": 1, "model": "M", "optimizer": None, "trainer": {}}
    assert recipe.seed == 1


@pytest.mark.parametrize(
    ("source", "is_file"),
    [("first", False), ("logs/x/run_000/a/seed_0", True), ("./x", True), ("x.safetensors", True), ("x.ckpt", True)],
)
def test_what_is_a_file(source, is_file):
    assert is_file_source(source) is is_file


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("chain.yaml", "chain"),
        ("recipes/chain.yaml", "chain"),
        ("recipes/family/chain.v2.yaml", "family/chain.v2"),
        ("recipes/old/recipes/a/chain.yaml", "a/chain"),
        ("recipes.yaml", "recipes"),
    ],
)
def test_the_name_of_a_recipe(tmp_path, path, name):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("model: M")
    assert load_recipe(tmp_path / path).name == name


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("modle: M", "modle", "no such key; did you mean 'model'?"),
        ("model: M\ntraner:", "traner", "no such key; did you mean 'trainer'?"),
        ("model: M\ntraner.max_steps: 5", "traner", "no such key; did you mean 'trainer'?"),
        ("model: M\ntrainer+: {}", "trainer+", "no such key; did you mean 'trainer'?"),
        ("model: M\nstages+: {}", "stages+", "no such key; did you mean 'stages'?"),
        ("model: M\nckpt_path: x.ckpt", "ckpt_path", "a run resumes by itself; to start from other weights use"),
        ("model: M\ntiny: {trainr.max_steps: 1}", "tiny.trainr", "no such key; did you mean 'trainer'?"),
        ("model: M\ntiny: []", "tiny", "expected a mapping of keys to values, found []"),
        ("model: M\ntiny: false", "tiny", "expected a mapping of keys to values, found false"),
        ("model: M\nstages:", "stages", "expected a mapping of stage names to what differs from the defaults, found"),
        ("model: M\nstages: {}", "stages", "expected a mapping of stage names"),
        ("model: M\nstages: [one]", "stages", "expected a mapping of stage names to what differs from the defaults, f"),
        ("model: M\nstages: {one: 5}", "stages.one", "expected a mapping of keys to values, found 5"),
        ("model: M\nstages: {one: []}", "stages.one", "expected a mapping of keys to values, found []"),
        ("model: M\nstages: {a.b: }", "stages", "the name 'a.b': a stage's name is made of letters, digits, _ and -"),
        ("model: M\nstages: {on: }", "stages", "the name True: a stage's name is made of"),
        ("model: M\n5: 6", "", "the key 5 is not text; put it in quotes"),
        ("model: M\ntrainer.max_steps: 1\ntrainer: {max_steps: 2}", "trainer.max_steps", "given twice"),
        ("model: M\nstages.a.data.x: 1\nstages: {a: {data.x: 2}}", "stages.a.data.x", "given twice"),
        ("model: M\nreplicates: 0", "stages.run.replicates", "expected a positive whole number, found 0"),
        ("model: M\nreplicates: true", "stages.run.replicates", "expected a positive whole number, found true"),
        ("model: M\nreplicates: 2.0", "stages.run.replicates", "expected a positive whole number, found 2.0"),
        ("model: M\nreplicates:", "stages.run.replicates", "expected a positive whole number, found null"),
        ("model: M\nseed_everything: x", "stages.run.seed_everything", "expected a whole number from 0 to 2³² - 1, fo"),
        ("model: M\nseed_everything: -1", "stages.run.seed_everything", "found -1"),
        ("model: M\nseed_everything: true", "stages.run.seed_everything", "found true"),
        ("model: M\nseed_everything:", "stages.run.seed_everything", "found null"),
        ("model: M\nseed_everything: 4294967296", "stages.run.seed_everything", "found 4294967296"),
        ("model: M\nseed_everything: 4294967295\nreplicates: 2", "stages.run.seed_everything", "beyond the largest"),
    ],
)
def test_faults_of_a_recipe(faults, text, where, message):
    found = faults(text)
    assert where in found
    assert message in found[where]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("trainr: ", "trainr", "no such key; did you mean 'trainer'?"),
        ("stages: {}", "stages", "no such key"),
        ("compare_to: tow", "compare_to", "no stage 'tow'"),
        ("compare_to: oen", "compare_to", "no stage 'oen'; did you mean 'one'?"),
        ("compare_to: two", "compare_to", "a stage cannot be compared to itself"),
        ("compare_to: [one]", "compare_to", 'expected the name of a stage, found ["one"]'),
        ("compare_to: ''", "compare_to", "no stage ''"),
        (
            "transfer: one",
            "transfer",
            "expected a mapping with the keys from, weights, parts, tokens, match, freeze; found 'one'",
        ),
        ("transfer: false", "transfer", "found false"),
        ("transfer: ''", "transfer", "found ''"),
        ("transfer: [one]", "transfer[0]", "found 'one'"),
        ("transfer: {}", "transfer.from", "is missing; expected a stage or a path"),
        (
            "transfer: {from: , parts: [x]}",
            "transfer.from",
            "expected a stage, a run folder or a weights file",
        ),
        ("transfer: {from: 5, parts: [x]}", "transfer.from", "found 5"),
        ("transfer: {from: one}", "transfer.parts", "expected a list of names such as [embedding], found null"),
        ("transfer: {from: one, parts: embedding}", "transfer.parts", "found 'embedding'"),
        ("transfer: {from: one, parts: []}", "transfer.parts", "found []"),
        ("transfer: {from: one, parts: [5]}", "transfer.parts", "found [5]"),
        ("transfer: {from: one, parts: [x], freze: }", "transfer.freze", "no such key; did you mean 'freeze'?"),
        ("transfer: {form: one, parts: [x]}", "transfer.form", "no such key; did you mean 'from'?"),
        ("transfer: {from: one, parts: [x], freeze: }", "transfer.freeze", "or true or false, found null"),
        ("transfer: {from: one, parts: [x], freeze: 1}", "transfer.freeze", "found 1"),
        ("transfer: {from: one, parts: [x], tokens: 5}", "transfer.tokens", "expected a list of names such as [0, 1,"),
        ("transfer: {from: one, parts: [x], tokens: []}", "transfer.tokens", "found []"),
        ("transfer: {from: one, parts: [x], tokens: [1.5]}", "transfer.tokens", "found [1.5]"),
        (
            "transfer: {from: one, parts: [x], match: coordinate}",
            "transfer.match",
            "expected names or coordinates, found 'coordinate'; did you mean 'coordinates'?",
        ),
        ("transfer: {from: one, parts: [x], match: }", "transfer.match", "found null"),
        ("transfer: [{from: one, parts: [x]}, {parts: [x]}]", "transfer[1].from", "is missing"),
        ("transfer: {from: two, parts: [x]}", "transfer.from", "a stage cannot take weights from itself"),
        ("transfer: {from: oen, parts: [x]}", "transfer.from", "no stage 'oen'; did you mean 'one'? (a run folder or"),
        ("transfer: {from: zebra, parts: [x]}", "transfer.from", "no stage 'zebra'; there is one (a run folder"),
    ],
)
def test_faults_of_a_stage(faults, text, where, message):
    found = faults(with_stages(text))
    assert message in found[f"stages.two.{where}"]


def test_a_transfer_from_a_later_stage_and_a_cycle(faults):
    text = """
model: {class_path: BoringModel}
stages:
  a: {transfer: {from: c, parts: [x]}}
  b: {transfer: {from: a, parts: [x]}}
  c: {transfer: {from: b, parts: [x]}}
"""
    message = "'c' comes after 'a'; stages run in order, so move 'c' before it (no cycles)"
    assert faults(text) == {"stages.a.transfer.from": message}


@pytest.mark.parametrize(
    ("key", "value", "where", "message"),
    [
        ("modle.x", "1", "--modle", "no such key; did you mean 'model'?"),
        ("stages", "{}", "--stages", "expected --stages.NAME.KEY"),
        ("stages.first", "{}", "--stages.first", "expected --stages.NAME.KEY"),
        ("stages.frist.seed_everything", "1", "--stages.frist.seed_everything", "no stage 'frist'; did you mean 'firs"),
        ("stages.first.sede_everything", "1", "--stages.first.sede_everything", "did you mean 'seed_everything'?"),
        ("tiny.seed_everything", "1", "--tiny", "no such key"),
        ("ckpt_path", "x", "--ckpt_path", "a run resumes by itself"),
        ("seed_everything", "x", "stages.second.seed_everything", "found 'x'"),
        ("stages.second.transfer.from", "frist", "stages.second.transfer.from", "did you mean 'first'?"),
        ("stages.second.transfer.part", "", "stages.second.transfer.part", "did you mean 'parts'?"),
    ],
)
def test_faults_on_the_command_line(faults, key, value, where, message):
    found = faults(CHAIN, (key, value))
    assert message in found[where]


def test_a_value_on_the_command_line_is_yaml():
    assert parse_override("a.b", "1e-3") == ("a.b", 0.001)
    assert parse_override("a", "x/y if y odd else x-y") == ("a", "x/y if y odd else x-y")
    assert parse_override("a", "") == ("a", None)
    with pytest.raises(ChainError, match=r"^--a: the value '\[1' is not valid YAML: line 1, column 3: expected"):
        parse_override("a", "[1")


def test_all_faults_come_at_once(faults):
    text = """
modl: x
model: {class_path: BoringModle}
data: {class_path: BoringDataModule, init_args: {siz: }}
trainer: {max_steps: abc, devices: 1}
tiny: {trainr: }
stages:
  one: {compare_to: one, seed_everything: x}
  two:
    transfer: {from: three, parts: x}
    replicates: 0
    trainer.max_epochs: 1.5
"""
    places = {
        "modl",
        "tiny.trainr",
        "stages.one.compare_to",
        "stages.one.seed_everything",
        "stages.two.transfer.parts",
        "stages.two.replicates",
        "stages.one.model.class_path",
        "stages.one.data.init_args.siz",
        "stages.one.trainer.max_steps",
        "stages.two.model.class_path",
        "stages.two.data.init_args.siz",
        "stages.two.trainer.max_steps",
        "stages.two.trainer.max_epochs",
    }
    assert set(faults(text)) == places


def test_the_message_names_the_file_and_says_a_fault_of_the_defaults_once(load, tmp_path):
    with pytest.raises(RecipeError) as caught:
        load("model: {class_path: BoringModel}\ntraner:\ntrainer: {max_steps: abc}\nstages: {one: , two: , three: }")
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'chain.yaml'}: 2 faults",
        "  traner: no such key; did you mean 'trainer'?",
        "  stages.one.trainer.max_steps: expected a whole number, found 'abc' (also in two, three)",
    ]
    assert len(caught.value.faults) == 4


def test_only_the_same_key_of_several_stages_is_said_once():
    places = [
        "modle",
        "mdoel",
        "tiny.modle",
        "tiny.mdoel",
        "stages.a.modle",
        "stages.b.modle",
        "stages.b.mdoel",
        "stages.c",
    ]
    error = RecipeError("r.yaml", [Fault(place, "no such key") for place in places])
    assert [line.strip() for line in str(error).splitlines()[1:]] == [
        "modle: no such key",
        "mdoel: no such key",
        "tiny.modle: no such key",
        "tiny.mdoel: no such key",
        "stages.a.modle: no such key (also in b)",
        "stages.b.mdoel: no such key",
        "stages.c: no such key",
    ]


def test_a_message_of_several_lines_is_indented():
    error = RecipeError("r.yaml", [Fault("stages.a.transfer", "x\ny"), Fault("", "z"), Fault("", "z")])
    assert str(error) == "r.yaml: 2 faults\n  stages.a.transfer: x\n    y\n  z"


def test_the_printed_recipe_is_the_same_recipe(load):
    recipe = load(CHAIN, ("seed_everything", "7"), tiny=True)
    again = load(dump_recipe(recipe))
    assert again.stages == recipe.stages
    assert "&id" not in dump_recipe(recipe)


identifiers = st.text(string.ascii_lowercase, min_size=1, max_size=3)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(identifiers, inner, max_size=3),
    max_leaves=6,
)
words = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3).map(tuple)
specs = st.builds(TransferSpec, st.just("first") | st.just("a/b"), words, st.none() | words, st.booleans() | words)
configs = st.fixed_dictionaries(
    {"seed_everything": st.integers(0, 2**31), "model": plain}, optional={"data": plain, "trainer": plain}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(configs, configs, st.lists(specs, max_size=2).map(tuple), st.none() | st.just("first"), st.integers(1, 9))
def test_any_recipe_survives_being_printed(load, first, second, transfers, compare_to, replicates):
    stages = {"first": Stage("first", first), "second": Stage("second", second, transfers, compare_to, replicates)}
    takes = [
        {"from": spec.source, "parts": [*spec.parts], "tokens": spec.tokens and [*spec.tokens], "freeze": spec.freeze}
        for spec in transfers
    ]
    others = {"transfer": takes or None, "compare_to": compare_to, "replicates": replicates}
    bodies = {"first": first, "second": {**second, **others}}
    again = load(dump_recipe(Recipe("r", Path("r.yaml"), stages, bodies)))
    assert sorted(again.stages) == sorted(stages)
    for name, stage in stages.items():
        assert again.stages[name] == stage
        assert repr(sorted(again.stages[name].config.items())) == repr(sorted(stage.config.items()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(configs, st.dictionaries(identifiers, configs, min_size=1, max_size=3))
def test_defaults_that_every_stage_overrides_do_not_matter(load, defaults, bodies):
    replaced = dict.fromkeys(defaults, 0)
    bodies = {name: {**replaced, **body} for name, body in bodies.items()}
    with_defaults = load(dump_yaml({**{key: [value] for key, value in defaults.items()}, "stages": bodies}))
    assert repr(with_defaults.stages) == repr(load(dump_yaml({"stages": bodies})).stages)


def test_a_file_is_named_in_what_is_wrong_with_it(tmp_path):
    for content in (None, "", "a: [", "- 1"):
        path = tmp_path / "chain.yaml"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ChainError, match=re.escape(str(path))):
            load_recipe(path)
