"""Composite functions, against a brute force in plain Python over every sequence."""

import itertools
from collections import Counter
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.data import BinaryOperationDataModule, CompositeFunctionDataModule

SHIFTS = {1: 5, 2: 1, 3: -2, 4: -8}
"""Those of Zhang et al. (2405.05409)."""
TARGETS = {
    **{(1, 1): 10, (1, 2): 6, (1, 3): 3, (1, 4): -3},
    **{(2, 1): 6, (2, 2): 2, (2, 3): -1, (2, 4): -7},
    **{(3, 1): 3, (3, 2): -1, (3, 3): -4, (3, 4): -6},
    **{(4, 1): -3, (4, 2): -7, (4, 3): -10, (4, 4): -16},
}
"""What each pair adds to the key; that of (3, 4) is the override."""
NOISE_GROUPS = {(1, 2): 4, (1, 3): 1, (1, 4): -5, (2, 3): 5, (2, 4): -9, (3, 4): -6}
"""Wrong but symmetric targets of the follow-up (2501.08537, Fig. 8A)."""
UNSEEN = ("unseen_train_keys", "unseen_test_keys")
SMALL = 32_000


class Row(NamedTuple):
    """A sequence as it is read by eye."""

    position: int
    key: int
    anchors: tuple[int, ...]
    noise: list[int]
    answer: int


def build(*, seed=0, size=SMALL, **options):
    torch.manual_seed(seed)
    data = CompositeFunctionDataModule(size=size, **options)
    data.setup("fit")
    return data


def read(data, *parts):
    """The rows of some parts, told by the names of their tokens alone."""
    names = list(data.vocabulary)
    number = {token: int(name) for token, name in enumerate(names) if not name.startswith("f")}
    anchor = {token: int(name[1:]) for token, name in enumerate(names) if name.startswith("f")}
    token_of, rows, start = {name: token for token, name in anchor.items()}, [], min(anchor)
    for part in parts or data.parts:
        tokens, answers = data.parts[part].tokens.tolist(), data.parts[part].answers.tolist()
        for row, answer in zip(tokens, answers, strict=True):
            position = next(place for place, token in enumerate(row) if token >= start) - 1
            anchors = tuple(anchor[token] for token in row if token >= start)
            before, after = row[:position], row[position + 1 + len(anchors) :]
            assert [*before, row[position], *map(token_of.get, anchors), *after] == row
            assert position >= 0
            rows.append(
                Row(position, number[row[position]], anchors, [number[it] for it in before + after], number[answer])
            )
    return rows


@pytest.fixture(scope="module")
def default():
    """The published data."""
    torch.manual_seed(0)
    data = CompositeFunctionDataModule()
    data.setup("fit")
    return data


def test_every_sequence_of_the_published_data(default):
    parts = {part: read(default, part) for part in default.parts}
    assert list(parts) == ["train", "val", "test", *UNSEEN]
    seen = set(TARGETS) - {(4, 3)}
    assert Counter(row.anchors for row in parts["train"]) == dict.fromkeys(seen, 50_625)
    assert Counter(row.anchors for row in parts["val"]) == dict.fromkeys(seen, 2813)
    assert Counter(row.anchors for row in parts["test"]) == dict.fromkeys(seen, 2812)
    assert Counter(row.anchors for row in parts["unseen_train_keys"]) == {(4, 3): 50_625}
    assert Counter(row.anchors for row in parts["unseen_test_keys"]) == {(4, 3): 5_625}
    for part, rows in parts.items():
        held_out = part not in ("train", "unseen_train_keys")
        assert all((row.key % 9 == row.position) is held_out for row in rows)
        assert all(row.answer == row.key + TARGETS[row.anchors] for row in rows)
        assert all(len(row.noise) == 6 and min(row.noise) >= 20 and max(row.noise) <= 99 for row in rows)
        assert {row.position for row in rows} == set(range(7))
        assert {row.key for row in rows} == {key for key in range(20, 100) if not held_out or key % 9 < 7}


@pytest.mark.parametrize("split_modulus", [7, 9])
def test_positions_keys_and_noise_are_uniform(split_modulus):
    data = build(size=160_000, split_modulus=split_modulus)
    for part in data.parts:
        rows = read(data, part)
        held_out = part not in ("train", "unseen_train_keys")
        allowed = {
            place: [key for key in range(20, 100) if (key % split_modulus == place) is held_out] for place in range(7)
        }
        places = Counter((row.position, row.key) for row in rows)
        assert set(places) <= {(place, key) for place, keys in allowed.items() for key in keys}
        for place, keys in allowed.items():
            at_place = sum(places[place, key] for key in keys)
            assert abs(at_place - len(rows) / 7) < 5 * (len(rows) / 7) ** 0.5
            for key in keys:
                expected = len(rows) / 7 / len(keys)
                assert abs(places[place, key] - expected) < 5.5 * expected**0.5 + 1
        noise = Counter(number for row in rows for number in row.noise)
        assert set(noise) <= set(range(20, 100))
        for number in range(20, 100):
            assert abs(noise[number] - len(rows) * 6 / 80) < 5.5 * (len(rows) * 6 / 80) ** 0.5 + 1


def encode(data, text):
    return torch.tensor(data.vocabulary.encode(text.split()))


def decode(data, answers):
    return [int(data.vocabulary[token]) for token in answers.flatten().tolist()]


def test_the_sequences_that_the_paper_shows(default):
    tokens = torch.stack(
        [
            encode(default, "23 f1 f2 43 46 74 54 44 72"),
            encode(default, "52 33 36 f2 f4 78 92 24 58"),
            encode(default, "20 20 20 20 20 20 99 f4 f3"),
        ]
    )
    assert default.positions_of(tokens).tolist() == [0, 2, 6]
    assert default.keys_of(tokens).tolist() == [23, 36, 99]
    assert default.pairs_of(tokens).tolist() == [[1, 2], [2, 4], [4, 3]]
    found = default.solutions(tokens)
    assert decode(default, found.inferential) == [29, 29, 89]
    assert decode(default, found.symmetric) == [29, 29, 93]
    assert decode(default, found.designated) == [29, 29, 89]
    assert found.agree.tolist() == [True, True, False]


def test_solutions_of_every_pair_and_key(default):
    """The inferential and the symmetric answer differ for the override and its mirror image alone."""
    texts = [f"20 {key} f{a} f{b} 30 30 30 30 30" for a, b in TARGETS for key in range(20, 100)]
    tokens = torch.stack([encode(default, text) for text in texts]).view(16, 80, 9)
    found = default.solutions(tokens)
    assert found.inferential.shape == found.agree.shape == (16, 80)
    for number, (a, b) in enumerate(TARGETS):
        keys = range(20, 100)
        assert decode(default, found.inferential[number]) == [key + SHIFTS[a] + SHIFTS[b] for key in keys]
        assert decode(default, found.symmetric[number]) == [key + TARGETS[b, a] for key in keys]
        assert decode(default, found.designated[number]) == [key + TARGETS[a, b] for key in keys]
    assert found.agree.all(dim=1).tolist() == [pair != (4, 3) for pair in TARGETS]


def test_both_pairs_unseen():
    data = build(unseen=["3 4", "4 3"], overrides={})
    seen = {row.anchors for row in read(data, "train", "val", "test")}
    assert seen == set(TARGETS) - {(3, 4), (4, 3)}
    rows = read(data, *UNSEEN)
    assert {row.anchors for row in rows} == {(3, 4), (4, 3)}
    assert all(row.answer == row.key - 10 for row in rows)
    assert all(data.solutions(data.parts[part].tokens).agree.all() for part in data.parts)


@pytest.mark.parametrize("groups", [1, 5])
def test_noise_groups(groups):
    wrong = dict(list(NOISE_GROUPS.items())[:groups])
    overrides = {f"{pair[i]} {pair[1 - i]}": f"x + {add}" for pair, add in wrong.items() for i in (0, 1)}
    data = build(overrides=overrides, unseen=[])
    assert list(data.parts) == ["train", "val", "test"]
    rows = read(data)
    assert len({row.anchors for row in rows}) == 16
    for row in rows:
        a, b = row.anchors
        assert row.answer == row.key + wrong.get((min(a, b), max(a, b)), SHIFTS[a] + SHIFTS[b])


def test_single_anchors_come_before_pairs_with_all_names_the_same(default):
    data = build(anchors=1)
    assert list(data.parts) == ["train", "val", "test"]
    assert data.vocabulary == default.vocabulary
    assert data.length == default.length
    sizes = [SMALL * 9 // 40, SMALL // 40]
    rows = read(data)
    assert Counter(row.anchors for row in rows) == {(anchor,): sum(sizes) for anchor in SHIFTS}
    assert all(row.answer == row.key + SHIFTS[row.anchors[0]] for row in rows)
    assert {row.position for row in rows} == set(range(8))
    assert all((row.key % 9 == row.position) is False for row in read(data, "train"))
    assert all(row.key % 9 == row.position for row in read(data, "val", "test"))
    part = data.parts["train"]
    assert data.pairs_of(part.tokens).shape == (sizes[0] * 4, 1)
    assert all(torch.equal(answers, part.answers) for answers in data.solutions(part.tokens))


def test_the_vocabulary_holds_numbers_then_anchors(default):
    assert list(default.vocabulary) == [*map(str, range(4, 110)), "f1", "f2", "f3", "f4"]
    assert default.answer_names == tuple(map(str, range(4, 110)))
    assert default.residues is None
    assert [default.vocabulary[token] for token in default.number_tokens] == [*map(str, range(20, 100))]
    assert build(unseen=[], overrides={}).vocabulary == default.vocabulary
    paper = build(numbers=(0, 200))
    assert list(paper.vocabulary)[:201] == list(map(str, range(201)))
    assert paper.residues is None
    assert {row.answer - row.key - TARGETS[row.anchors] for row in read(paper)} == {0}
    assert sorted(paper.sequence_names(paper.parts["val"].tokens)) == sorted(
        build().sequence_names(build().parts["val"].tokens)
    )
    binary = BinaryOperationDataModule("add", 97)
    shared = [default.vocabulary[own] for own, _ in default.vocabulary.common(binary.vocabulary)]
    assert shared == list(map(str, range(4, 97)))


def test_an_answer_of_a_pair_that_is_overridden_or_unseen_has_a_token_too():
    data = build(functions=["x + 50", "x - 50"], overrides={"1 1": "x"}, unseen=["2 2"])
    assert data.answer_names == tuple(map(str, range(20 - 100, 99 + 100 + 1)))
    data = build(functions=["x", "x - 1"], overrides={"1 1": "x + 7"}, unseen=[])
    assert data.answer_names == tuple(map(str, range(18, 107)))


def test_residues():
    functions = ["x / 3", "sum_of_squares(x, 4)", "x // 2"]
    data = build(functions=functions, modulus=11, keys=(0, 10), overrides={"2 1": "x*x"}, unseen=["1 2"])
    assert list(data.vocabulary) == [*map(str, range(11)), "f1", "f2", "f3"]
    assert data.residues == data.number_tokens == range(11)
    single = {1: lambda x: x * 4 % 11, 2: lambda x: (x * x + 16) % 11, 3: lambda x: x // 2}  # 3 · 4 = 1 modulo 11
    for row in read(data):
        a, b = row.anchors
        assert row.answer == (row.key**2 % 11 if (a, b) == (2, 1) else single[b](single[a](row.key)))
    unseen = data.parts["unseen_train_keys"].tokens
    keys, found = data.keys_of(unseen).tolist(), data.solutions(unseen)
    assert decode(data, found.inferential) == [single[2](single[1](key)) for key in keys]
    assert decode(data, found.symmetric) == [key * key % 11 for key in keys]


LIBRARY = {
    "x + 3": lambda x: x + 3,
    "2*x - 1": lambda x: 2 * x - 1,
    "-x": lambda x: -x,
    "x // 2": lambda x: x // 2,
    "x % 5": lambda x: x % 5,
    "7": lambda x: 7,
}


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_any_functions_keys_lengths_and_rules(data):
    draw = data.draw
    modulus, anchors = draw(st.sampled_from([None, 13, 20])), draw(st.sampled_from([1, 2]))
    texts = draw(st.lists(st.sampled_from(sorted(LIBRARY)), min_size=1, max_size=3))
    pairs = list(itertools.product(range(1, len(texts) + 1), repeat=2))
    chosen = draw(st.permutations(pairs))[: draw(st.integers(0, len(pairs) - 1))]
    cut = draw(st.integers(0, len(chosen)))
    overrides = {pair: draw(st.sampled_from(sorted(LIBRARY))) for pair in chosen[:cut]}
    first = draw(st.integers(0, 5) if modulus else st.integers(-9, 30))
    last, length = first + draw(st.integers(3, 7)), anchors + draw(st.integers(1, 5))
    split_modulus, weights = draw(st.integers(2, 4)), draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    size, seed = draw(st.integers(200, 400)), draw(st.integers(0, 99))
    module = build(
        functions=texts,
        modulus=modulus,
        overrides={f"{a} {b}": text for (a, b), text in overrides.items()},
        unseen=[f"{a} {b}" for a, b in chosen[cut:]],
        keys=(first, last),
        length=length,
        anchors=anchors,
        split_modulus=split_modulus,
        weights=weights,
        size=size,
        split_seed=seed,
    )

    def inferential(anchors, x):
        for anchor in anchors:
            x = LIBRARY[texts[anchor - 1]](x) if modulus is None else LIBRARY[texts[anchor - 1]](x) % modulus
        return x

    def designated(anchors, x):
        if anchors not in overrides:
            return inferential(anchors, x)
        return LIBRARY[overrides[anchors]](x) if modulus is None else LIBRARY[overrides[anchors]](x) % modulus

    groups = list(itertools.product(range(1, len(texts) + 1), repeat=anchors))
    unseen = chosen[cut:] if anchors == 2 else []
    sizes = [size * weight // (len(groups) * sum(weights)) for weight in weights]
    assert list(module.parts) == ["train", "val", "test", *(UNSEEN if unseen else ())]
    for part in module.parts:
        held_out, rows = part not in ("train", "unseen_train_keys"), read(module, part)
        each = {"val": (sizes[1] + 1) // 2, "test": sizes[1] // 2}.get(part, sizes[held_out])
        mine = unseen if part in UNSEEN else [group for group in groups if group not in unseen]
        assert Counter(row.anchors for row in rows) == dict.fromkeys(mine, each)
        for row in rows:
            assert (row.key % split_modulus == row.position) is held_out
            assert len(row.noise) == length - anchors - 1
            assert all(first <= number <= last for number in (row.key, *row.noise))
            assert row.answer == designated(row.anchors, row.key)
        tokens = module.parts[part].tokens
        found = module.solutions(tokens)
        assert decode(module, found.inferential) == [inferential(row.anchors, row.key) for row in rows]
        assert decode(module, found.symmetric) == [designated(row.anchors[::-1], row.key) for row in rows]
        assert torch.equal(found.designated, module.parts[part].answers)
        assert module.positions_of(tokens).tolist() == [row.position for row in rows]
        assert module.keys_of(tokens).tolist() == [row.key for row in rows]
        assert list(map(tuple, module.pairs_of(tokens).tolist())) == [row.anchors for row in rows]


def test_the_data_follow_their_seed_alone():
    data = build(seed=3)
    same, other = build(split_seed=3, seed=8), build(seed=8)
    for part, its in data.parts.items():
        assert torch.equal(its.tokens, same.parts[part].tokens)
        assert torch.equal(its.answers, same.parts[part].answers)
        assert not torch.equal(its.tokens, other.parts[part].tokens)
    before = torch.get_rng_state()
    again = CompositeFunctionDataModule(size=SMALL, split_seed=3)
    with torch.device("meta"):
        again.setup("fit")
    assert torch.equal(again.parts["train"].tokens, data.parts["train"].tokens)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_group_is_the_same_whatever_the_others_are():
    few, all_pairs = build(), build(unseen=[])
    is_other = (all_pairs.pairs_of(all_pairs.parts["train"].tokens) == torch.tensor([4, 3])).all(dim=1)
    assert torch.equal(few.parts["train"].tokens, all_pairs.parts["train"].tokens[~is_other])
    assert torch.equal(few.parts["unseen_train_keys"].tokens, all_pairs.parts["train"].tokens[is_other])
    rows = [frozenset(map(tuple, part.tokens.tolist())) for part in all_pairs.parts.values()]
    assert len(frozenset().union(*rows)) == sum(map(len, rows)) == 16 * 2000  # no two groups draw the same noise


def test_positions_without_a_key_are_left_out():
    data = build(split_modulus=4)
    held_out = read(data, "val", "test")
    assert {row.position for row in held_out} == set(range(4))
    assert {row.position for row in read(data, "train")} == set(range(7))


def test_sequences_may_occur_twice():
    data = build(length=3, keys=(0, 9), size=32_000)
    rows = read(data, "train")
    assert rows[0].noise == []
    assert len({(row.key, row.anchors) for row in rows}) < len(rows)


def test_batches_come_from_the_training_part():
    data = build(batch_size=100)
    chunk = next(iter(data.train_dataloader()))
    assert chunk.tokens.shape == (1, 100, 9)
    whole = {(*row, answer) for row, answer in zip(*(its.tolist() for its in data.parts["train"]), strict=True)}
    assert {(*row, answer) for row, answer in zip(*(its[0].tolist() for its in chunk), strict=True)} <= whole
    assert torch.equal(data.solutions(chunk.tokens).designated, chunk.answers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"functions": []}, r"functions is \[\]; expected a list"),
        ({"functions": "x + 1"}, "functions is 'x [+] 1'; expected a list"),
        ({"functions": ["x + 1", "x +", "x", "x"]}, r"functions: expression 'x \+': the end .* is malformed"),
        (
            {"functions": ["x"] * 3},
            "overrides: '3 4' is no pair of anchors; expected two numbers from 1 to 3, as in '1 3'",
        ),
        ({"functions": ["x // (x - 30)"] * 4}, r"functions: 'x // \(x - 30\)' has no value for the key 30"),
        (
            {"functions": ["30", "x // (x - 30)"], "overrides": {}, "unseen": [], "keys": (20, 29)},
            r"functions: '30', then 'x // \(x - 30\)', has no value for the key 20; every key needs one",
        ),
        ({"functions": ["x * x"] * 4}, r"functions: 'x \* x', then 'x \* x', makes 96059601 of the key 99.*a modulus"),
        (
            {"functions": ["0"], "overrides": {}, "unseen": [], "keys": (9_990, 19_000)},
            "functions: '0' makes 0 of the key 9990, but tokens are 10000 numbers at most: give a modulus",
        ),
        ({"functions": ["x - 10**3"] * 4}, "functions: .*is not understood"),
        ({"overrides": {"3 4": "y"}}, "overrides: expression 'y': 'y' .* is not x"),
        ({"overrides": {"3 4": "x % 0"}}, "overrides: 'x % 0' has no value for the key 20"),
        (
            {"overrides": {"3 5": "x"}},
            "overrides: '3 5' is no pair of anchors; .* from 1 to 4, as in '1 4', or {} for no",
        ),
        ({"overrides": {"0 4": "x"}}, "overrides: '0 4' is no pair of anchors"),
        ({"overrides": {"3": "x"}}, "overrides: '3' is no pair of anchors"),
        ({"overrides": {"3 4": "x", "3  4": "x + 1"}}, "overrides names the pair '3  4' more than once"),
        ({"overrides": {"4 3": "x"}}, "overrides and unseen both name '4 3', but an unseen pair is never trained on"),
        ({"unseen": ["f4 f3"]}, r"unseen: 'f4 f3' is no pair of anchors; .* or \[\] for no pair"),
        ({"unseen": ["4 3", "4 3"]}, "unseen names the pair '4 3' more than once"),
        ({"unseen": "4 3"}, "unseen is '4 3'; expected a list"),
        (
            {"functions": ["x"], "overrides": {}, "unseen": ["1 1"]},
            "unseen names all 1 pairs; expected one at least to train on",
        ),
        ({"keys": (99, 20)}, r"keys is \[99, 20\]; expected first and last number"),
        ({"keys": (0, 10_000)}, "keys is .*at most 10000"),
        ({"numbers": (20, 99)}, "makes 4 of the key 20, but there are only the numbers 20 … 99: widen these"),
        ({"numbers": (30, 200)}, "keys are 20 … 99, but there are only the numbers 30 … 200"),
        ({"numbers": (0, 108)}, "'x [+] 5', then 'x [+] 5', makes 109 of the key 99, but .* 0 … 108: widen"),
        ({"modulus": 97}, "keys are 20 … 99, but there are only the numbers 0 … 96"),
        ({"modulus": 1}, "modulus is 1; expected 2 or more, or null"),
        (
            {"modulus": 101, "numbers": (0, 200)},
            r"numbers is \[0, 200\], but with a modulus they are the residues: give null",
        ),
        ({"length": 2}, "length is 2; expected 3 or more, for a key and 2 anchors"),
        ({"length": 1, "anchors": 1}, "length is 1; expected 2 or more, for a key and 1 anchors"),
        ({"anchors": 3}, "anchors is 3; expected 1 or 2"),
        ({"split_modulus": 1}, "split_modulus is 1; expected 2 or more"),
        (
            {"split_modulus": 100, "length": 5},
            "no test keys: .* at the positions 0 … 2 none have key mod 100 = position",
        ),
        ({"split_modulus": 20, "length": 3, "keys": (20, 20)}, "no train keys: .* all have key mod 20 = position"),
        ({"size": 319}, "size is 319, which leaves each of 16 groups 17 sequences .* 1 of test keys; expected 320"),
        ({"size": 100, "weights": (1, 9)}, "size is 100, which leaves each of 16 groups 0 .* expected 160 or more"),
        ({"size": 7, "anchors": 1}, "expected 80 or more"),
        ({"weights": (9, 0)}, r"weights is \[9, 0\]; expected two positive numbers"),
        ({"batch_size": 0}, "batch_size is 0; expected a positive number"),
        ({"split_seed": -1}, "split_seed is -1; expected a number from 0"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        CompositeFunctionDataModule(**arguments)


@pytest.mark.parametrize(("anchors", "weights", "least"), [(2, (9, 1), 320), (2, (1, 9), 160), (1, (3, 2), 20)])
def test_the_least_size_that_is_named_is_enough(anchors, weights, least):
    data = build(anchors=anchors, weights=weights, size=least)
    assert all(data.sizes().values())
    with pytest.raises(ValueError, match=f"expected {least} or more"):
        build(anchors=anchors, weights=weights, size=least - 1)


ROLES = {1: ("noise", "key", "anchor", "last"), 2: ("noise", "key", "first_anchor", "second_anchor", "last")}


@pytest.mark.parametrize("anchors", [1, 2])
def test_places_play_the_roles_that_are_read_by_eye(anchors):
    data = build(anchors=anchors, length=5, size=3200)
    assert data.role_names == ROLES[anchors]
    tokens = data.parts["train"].tokens
    roles = data.roles(tokens)
    for row, its in zip(read(data, "train"), roles.tolist(), strict=True):
        expected = ["noise"] * 4 + ["last"]
        expected[row.position : row.position + 1 + anchors] = ROLES[anchors][1 : 2 + anchors]
        assert [data.role_names[role] for role in its] == expected
    assert torch.equal(data.roles(tokens[:6].view(2, 3, -1)), roles[:6].view(2, 3, -1))
    assert {row[-1] for row in roles.tolist()} == {anchors + 1, anchors + 2}  # the last anchor, or noise


def test_flows_are_what_the_last_place_and_the_anchors_see():
    assert build(anchors=1, size=3200).flows == (("last", "key"), ("last", "anchor"), ("anchor", "key"))
    assert build(size=3200).flows == (
        ("last", "key"),
        ("last", "first_anchor"),
        ("last", "second_anchor"),
        ("first_anchor", "key"),
        ("second_anchor", "key"),
        ("second_anchor", "first_anchor"),
    )


@pytest.mark.parametrize("anchors", [1, 2])
def test_seen_pairs_are_kinds_where_that_is_asked_for(anchors):
    assert build(anchors=anchors, size=3200).kinds is None
    data = build(anchors=anchors, size=3200, by_pair=True)
    seen = [pair for pair in itertools.product((1, 2, 3, 4), repeat=anchors) if pair != (4, 3)]
    assert data.kinds.names == tuple("_".join(f"f{anchor}" for anchor in pair) for pair in seen)
    for part in data.parts:
        tokens = data.parts[part].tokens
        expected = [-1 if part in UNSEEN else seen.index(row.anchors) for row in read(data, part)]
        assert data.kinds.of(tokens).tolist() == expected
    plain = build(anchors=anchors, size=3200)
    assert all(torch.equal(its.tokens, plain.parts[part].tokens) for part, its in data.parts.items())
