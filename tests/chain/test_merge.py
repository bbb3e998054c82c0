import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.merge import dump_yaml, expand, nest, overlay, parse_yaml, read_config, spell_out

names = st.text(string.ascii_lowercase, min_size=1, max_size=2)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
leaves = scalars | st.lists(scalars, max_size=3)
trees = st.recursive(
    st.dictionaries(names, leaves, min_size=1, max_size=3),
    lambda inner: st.dictionaries(names, leaves | inner, min_size=1, max_size=3),
    max_leaves=8,
)


def flat(tree, path=()):
    """The leaves of a tree of non-empty mappings, by path."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {at: leaf for key, inner in tree.items() for at, leaf in flat(inner, (*path, key)).items()}


def same(left, right):
    """Equality that tells 1, 1.0 and True apart."""
    return repr(left) == repr(right)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2e+3", -2e3),
        (".5e1", 5.0),
        ("3.e2", 300.0),
        ("1.5e-4", 1.5e-4),
        ("100000", 100000),
        ("'1e-3'", "1e-3"),
        ("e3", "e3"),
        ("1e", "1e"),
        ("1e3x", "1e3x"),
        ("x/y if y odd else x-y", "x/y if y odd else x-y"),
        ("[1e-3, {a: 2e1}]", [1e-3, {"a": 20.0}]),
        ("", None),
        ("~", None),
    ],
)
def test_scalars(text, value):
    assert same(parse_yaml(text), value)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 2\na: 3", 3), ("a: {x: 1, x: 1}", 1), ("a:\n  - b: 1\n    c: 2\n    b: 3", 4), ("a: 1\n'a': 2", 2)],
)
def test_a_key_given_twice_is_refused_with_its_line(text, line):
    with pytest.raises(yaml.YAMLError, match=rf"^line {line}: the key '[abx]' is given twice, first in line \d$"):
        parse_yaml(text)


def test_merge_keys_are_no_duplicates():
    text = "base: &base {a: 1, b: 2}\nover: &over {<<: *base, b: 3}\nlast: {<<: *over, a: 4}"
    assert parse_yaml(text) == {"base": {"a": 1, "b": 2}, "over": {"a": 1, "b": 3}, "last": {"a": 4, "b": 3}}
    assert parse_yaml("all: {x: &x {<<: {a: 1}, a: 2}, <<: *x}") == {"all": {"x": {"a": 2}, "a": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: b: c",
        "a:\n\t- 1",
        "a: &x {b: *x}",
        "a: &x [1, *x]",
        "a: *unknown",
        "a: 1\n---\nb: 2",
        "!!python/object/apply:os.getcwd []",
        "{[1, 2]: 3}",
        "a: '\x00'",
        "[" * 1500,
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_one_line(text):
    with pytest.raises(yaml.YAMLError) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@settings(deadline=None)
@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10))
def test_what_is_dumped_is_read_back(data):
    assert same(parse_yaml(dump_yaml(data)), data)


@pytest.mark.parametrize("text", ["1e-3", "1E5", "yes", "null", "2024-01-01", "0x10", "1_0", "+", "=", "<<", "a: b"])
def test_text_that_looks_like_something_else_stays_text(text):
    assert parse_yaml(dump_yaml({text: text})) == {text: text}


def test_dump_writes_shared_values_out():
    shared = {"a": [1]}
    assert dump_yaml({"x": shared, "y": shared}) == "x:\n  a: [1]\ny:\n  a: [1]\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n- b\n", "expected a mapping of keys to values, found a list"),
        (b"text", "expected a mapping of keys to values, found a str"),
        (b"a: [1,\nb: 2", "not valid YAML: line 2, column 5: expected ',' or ']'"),
        (b"a: 1\nb: 2\na: 3\n", "not valid YAML: line 3: the key 'a' is given twice, first in line 1"),
        (b"a: \xff\xfe", "expected a text file in UTF-8"),
        (b"a: 1\n---\nb: 2", "line 2, column 1: expected a single document in the stream, but found another"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, content, problem):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ChainError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ChainError, match=r"missing\.yaml: no such file; `lightning list` shows"):
        read_config(tmp_path / "missing.yaml")
    with pytest.raises(ChainError, match=r": cannot be read \(Is a directory\)$"):
        read_config(tmp_path)


def test_dotted_keys_are_nested():
    faults = []
    config = {"a.b.c": 1, "a": {"d": 2}, "a.b.e": {"f": 3}, "g": None}
    assert expand(config, "", faults) == {"a": {"b": {"c": 1, "e": {"f": 3}}, "d": 2}, "g": None}
    assert faults == []


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"a.b": 1, "a": {"b": 1}}, "in.a.b"),
        ({"a": {"b": 1}, "a.b": 2}, "in.a.b"),
        ({"a": 5, "a.b": 2}, "in.a.b"),
        ({"a": None, "a.b": 2}, "in.a.b"),
        ({"a.b": 2, "a": None}, "in.a"),
        ({"a.b.c": 2, "a.b": 3}, "in.a.b"),
        ({"a": {"b": {"c": 1}}, "a.b": {"d": 1, "c": 2}}, "in.a.b.c"),
        ({"a": [1], "a.b": 2}, "in.a.b"),
    ],
)
def test_a_key_both_dotted_and_nested_is_a_fault(config, where):
    faults = []
    expand(config, "in.", faults)
    assert [fault.where for fault in faults] == [where]
    assert "write it one way" in faults[0].message


def test_a_key_that_is_no_text_is_a_fault():
    faults = []
    assert expand({True: 1, "a": 2}, "stages.x.", faults) == {"a": 2}
    assert [str(fault) for fault in faults] == ["stages.x: the key True is not text; put it in quotes"]


def test_expanding_leaves_the_file_alone():
    shared = {"b": {"c": 1}}
    first, second = {"a": shared, "a.b.d": 2}, {"a": shared}
    assert expand(first, "", []) == {"a": {"b": {"c": 1, "d": 2}}}
    assert expand(second, "", []) == {"a": {"b": {"c": 1}}}


@settings(deadline=None)
@given(trees)
def test_expanding_undoes_flattening(tree):
    faults = []
    assert same(flat(expand({".".join(path): leaf for path, leaf in flat(tree).items()}, "", faults)), flat(tree))
    assert faults == []


@settings(deadline=None)
@given(trees, trees)
def test_mappings_merge_and_anything_else_replaces(base, over):
    below, above, merged = flat(base), flat(over), flat(overlay(base, over))
    kept = {
        path: leaf
        for path, leaf in below.items()
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in above)
    }
    assert {path: repr(leaf) for path, leaf in merged.items()} == {
        path: repr(leaf) for path, leaf in (kept | above).items()
    }


@settings(deadline=None)
@given(trees, trees)
def test_overlay_is_idempotent_and_has_a_neutral_element(base, over):
    once = overlay(base, over)
    assert same(overlay(once, over), once)
    assert same(overlay(base, {}), base)
    assert same(overlay({}, base), base)


@settings(deadline=None)
@given(st.lists(st.dictionaries(names, leaves, min_size=1), min_size=3, max_size=3))
def test_overlay_is_associative_where_shapes_agree(mappings):
    first, second, third = ({"model": {"init_args": mapping}} for mapping in mappings)
    assert same(overlay(overlay(first, second), third), overlay(first, overlay(second, third)))


@settings(deadline=None)
@given(trees, trees)
def test_overlay_changes_neither_side(base, over):
    before = repr((base, over))
    overlay(base, over)
    assert repr((base, over)) == before


def test_lists_replace():
    assert overlay({"a": [1, 2], "b": 1}, {"a": [3]}) == {"a": [3], "b": 1}


def test_a_changed_class_drops_the_arguments_of_the_old_one():
    base = {"class_path": "A", "init_args": {"x": 1}, "dict_kwargs": {"y": 2}}
    assert overlay(base, {"class_path": "B"}) == {"class_path": "B"}
    assert overlay(base, {"class_path": "B", "init_args": {"z": 3}}) == {"class_path": "B", "init_args": {"z": 3}}
    assert overlay({"model": base}, {"model": "B"}) == {"model": {"class_path": "B"}}


def test_the_same_class_keeps_its_arguments():
    base = {"class_path": "A", "init_args": {"x": 1}}
    over = {"class_path": "A", "init_args": {"y": 2}}
    assert overlay(base, over) == {"class_path": "A", "init_args": {"x": 1, "y": 2}}
    assert overlay(base, "A") == base
    assert overlay({"init_args": {"x": 1}}, {"class_path": "A"}) == base


def test_a_class_given_by_its_name_takes_arguments():
    assert overlay("A", {"init_args": {"x": 1}}) == {"class_path": "A", "init_args": {"x": 1}}
    assert overlay("cpu", {"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": [1]}, {"a+": 2}, {"a": [1, 2]}),
        ({"a": [1]}, {"a+": [2, 3]}, {"a": [1, 2, 3]}),
        ({"a": {"b": 1}}, {"a+": {"c": 2}}, {"a": [{"b": 1}, {"c": 2}]}),
        ({"a": None}, {"a+": 2}, {"a": [2]}),
        ({}, {"a+": 2}, {"a": [2]}),
        ({}, {"x": {"a+": 2}}, {"x": {"a": [2]}}),
        ({"x": 5}, {"x": {"a+": 2}}, {"x": {"a": [2]}}),
        ({"a": [1]}, {"a+": 3, "a": [2]}, {"a": [2, 3]}),
        ({"a": {"+": 1}}, {"a": {"+": 2, "-": 3}}, {"a": {"+": 2, "-": 3}}),
    ],
)
def test_a_plus_appends(base, over, merged):
    assert overlay(base, over) == merged


def test_keys_that_are_no_text_merge_too():
    assert overlay({"a": {1: "x", 2: "y"}}, {"a": {2: "z"}}) == {"a": {1: "x", 2: "z"}}


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        ("data.modulus", "data.init_args.modulus"),
        ("data.init_args.modulus", "data.init_args.modulus"),
        ("data.class_path", "data.class_path"),
        ("data", "data"),
        ("model.network.width", "model.init_args.network.init_args.width"),
        ("model.init_args.network.width", "model.init_args.network.init_args.width"),
        ("model.network", "model.init_args.network"),
        ("model.optimizer.lr", "model.init_args.optimizer.lr"),
        ("trainer.max_steps", "trainer.max_steps"),
        ("trainer.callbacks+", "trainer.callbacks+"),
        ("trainer.logger.save_dir", "trainer.logger.init_args.save_dir"),
        ("optimizer.lr", "optimizer.lr"),
    ],
)
def test_init_args_may_be_left_out(path, spelled):
    config = {
        "data": {"class_path": "D", "init_args": {"modulus": 97}},
        "model": {"class_path": "M", "init_args": {"network": {"class_path": "N", "init_args": {}}}},
        "trainer": {"max_steps": 5, "logger": "CSVLogger"},
    }
    assert ".".join(spell_out(path.split("."), config)) == spelled


@settings(deadline=None)
@given(st.lists(names, min_size=1, max_size=4), leaves)
def test_nest_is_what_flattening_undoes(path, leaf):
    assert same(flat(nest(path, leaf)), {tuple(path): leaf})
