from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.chain.categories import counts_in, in_order


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ("grid", {"grid": 1}),
        ("", {"": 1}),
        ({"circle": 2, "grid": 13}, {"circle": 2, "grid": 13}),
        ({"grid": 0}, {"grid": 0}),
        ({"grid": 3.0}, {"grid": 3}),
        ({}, {}),
        ({"grid": 0.5}, {}),
        ({"grid": float("inf")}, {}),
        ({"grid": -1}, {}),
        ({"grid": None}, {}),
        ({"grid": True}, {}),
        ({"grid": "many"}, {}),
        (None, {}),
        (3, {}),
        (True, {}),
        (["grid"], {}),
    ],
)
def test_what_a_result_counts(value, counts):
    found = counts_in(value)
    assert found == counts
    assert all(type(number) is int for number in found.values())


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([], []),
        (["b", "a", "c"], ["a", "b", "c"]),
        (["wide", "grid"], ["grid", "wide"]),
        (["zwide", "zcb"], ["zcb", "zwide"]),
    ],
)
def test_texts_are_in_alphabetical_order(found, order):
    assert in_order({name: 1} for name in found) == order


@pytest.mark.parametrize(
    ("mappings", "order"),
    [
        (["zay"], "zay"),
        (["za", "zay", "y"], "zay"),
        (["zay", "x", "b"], "zaybx"),
        (["za", "az"], "az"),
        (["za", "az", "zac"], "zac"),
    ],
)
def test_the_order_is_that_of_the_largest_mapping_whichever_run_comes_first(mappings, order):
    for arranged in permutations(mappings):
        assert in_order(dict.fromkeys(mapping, 1) for mapping in arranged) == list(order)


@given(st.lists(st.dictionaries(st.text(max_size=2), st.integers(0, 3), max_size=4)), st.randoms())
def test_the_order_has_every_category_once_and_does_not_depend_on_that_of_runs(found, random):
    order = in_order(found)
    assert len(order) == len(set(order))
    assert set(order) == {category for counts in found for category in counts}
    assert in_order(random.sample(found, len(found))) == order
