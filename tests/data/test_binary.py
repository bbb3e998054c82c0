import itertools
from math import gcd

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import seed_everything
from sympy.ntheory import discrete_log, is_primitive_root

from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule, TokenSubset
from grok_lightning.operations import list_operations, resolve

RESIDUE_OPERATIONS = [known.name for known in list_operations() if known.domain == "residues" and not known.parameters]
EVERY_OPERATION = [*RESIDUE_OPERATIONS, "linear(2,-3)"]
LAYOUTS = ["a op b =", "a op b", "a b"]
INDEPENDENT = {
    "add": lambda a, b, n: (a + b) % n,
    "sub": lambda a, b, n: (a - b) % n,
    "mul": lambda a, b, n: (a * b) % n,
    # the c with c·b = a, where multiplying by b is a bijection
    "div": lambda a, b, n: (
        next(c for c in range(n) if c * b % n == a) if len({c * b % n for c in range(n)}) == n else None
    ),
    "linear(2,-3)": lambda a, b, n: (2 * a - 3 * b) % n,
    "x_cubed_plus_product": lambda a, b, n: (a**3 + a * b) % n,
}


def build(operation="add", modulus=7, *, seed=0, **options):
    torch.manual_seed(seed)
    options.setdefault("train_fraction", 0.4)
    data = BinaryOperationDataModule(operation, modulus, **options)
    data.setup("fit")
    return data


def pairs(data, part):
    return list(zip(*(operand.tolist() for operand in data.operands(data.parts[part].tokens)), strict=True))


def table(function, n):
    """Every pair on which an operation is defined, with its result."""
    results = {(a, b): function(a, b, n) for a, b in itertools.product(range(n), repeat=2)}
    return {pair: result for pair, result in results.items() if result is not None}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("modulus", [2, 3, 5, 7])
@pytest.mark.parametrize("operation", EVERY_OPERATION)
def test_the_parts_together_are_the_table_of_the_operation(operation, modulus, layout, equations):
    data = build(operation, modulus, layout=layout, train_fraction=1, val_fraction=1)
    known = resolve(operation)
    sign = {"a op b =": "{a} {op} {b} =", "a op b": "{a} {op} {b}", "a b": "{a} {b}"}[layout]
    expected = [
        (sign.format(a=a, b=b, op=known.symbol), str(result))
        for (a, b), result in table(INDEPENDENT.get(operation, known.function), modulus).items()
    ]
    assert sorted(equations(data)) == sorted(expected)


@pytest.mark.parametrize("modulus", [9, 15, 21])
def test_division_modulo_a_composite_number_is_by_units(modulus):
    data = build("div", modulus)
    rows = [
        row for part in data.parts for row in zip(pairs(data, part), data.parts[part].answers.tolist(), strict=True)
    ]
    assert {b for (_, b), _ in rows} == {b for b in range(modulus) if gcd(b, modulus) == 1}
    assert all(b * answer % modulus == a for (a, b), answer in rows)
    units = sum(gcd(b, modulus) == 1 for b in range(modulus))
    assert sum(data.sizes().values()) == len(rows) == modulus * units


def test_permutations_are_composed():
    data = build("compose(3)", None)
    elements = list(itertools.permutations(range(3)))
    assert data.answer_names == tuple(f"({' '.join(map(str, element))})" for element in elements)
    rows = [
        row for part in data.parts for row in zip(pairs(data, part), data.parts[part].answers.tolist(), strict=True)
    ]
    assert len(rows) == len({pair for pair, _ in rows}) == 36
    for (a, b), answer in rows:
        assert elements[answer] == tuple(elements[a][elements[b][point]] for point in range(3))


def test_an_operation_by_import_path():
    data = build("grok_lightning.operations.residues.square_of_sum", 5)
    answers = data.parts["val"].answers.tolist()
    assert [(a + b) ** 2 % 5 for a, b in pairs(data, "val")] == answers


def place(name):
    """The coordinates that a token is named by, such as (2, 1)."""
    return tuple(map(int, name.strip("()").split(", ")))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation", ["add", "sub"])
def test_under_addition_and_subtraction_a_coordinate_is_the_residue(operation, layout):
    data = BinaryOperationDataModule(operation, 9, layout=layout)
    assert data.coordinates == (*(f"({x})" for x in range(9)), *list(data.vocabulary)[9:])


@pytest.mark.parametrize("operation", ["mul", "div"])
@pytest.mark.parametrize("p", [3, 7, 31, 61])
def test_under_multiplication_and_division_a_coordinate_is_the_discrete_logarithm(operation, p):
    data = BinaryOperationDataModule(operation, p)
    names = list(data.vocabulary)
    generator = data.coordinates.index("(1)")
    assert is_primitive_root(generator, p)
    assert not any(is_primitive_root(x, p) for x in range(2, generator))
    logarithms = [f"({discrete_log(p, x, generator)})" for x in range(1, p)]
    assert list(data.coordinates) == ["0", *logarithms, *names[p:]]


@pytest.mark.parametrize("modulus", [9, 12, 15, 21, 24])
def test_coordinates_of_products_are_sums_of_coordinates_and_others_keep_their_names(modulus):
    data = BinaryOperationDataModule("mul", modulus, layout="a b")
    orders = data.symmetry().group.orders
    units = [x for x in range(modulus) if gcd(x, modulus) == 1]
    places = {x: place(data.coordinates[x]) for x in units}
    assert len(set(places.values())) == len(units)
    for x, y in itertools.product(units, repeat=2):
        sums = zip(places[x], places[y], orders, strict=True)
        assert places[x * y % modulus] == tuple((i + j) % order for i, j, order in sums)
    assert all(data.coordinates[x] == str(x) for x in range(modulus) if x not in units)
    assert len(set(data.coordinates)) == len(data.coordinates)


@pytest.mark.parametrize(("operation", "modulus"), [("sum_of_squares", 7), ("compose(3)", None), ("mul", 2)])
def test_without_a_group_there_are_no_coordinates_and_no_symmetry(operation, modulus):
    data = BinaryOperationDataModule(operation, modulus, train_fraction=1)
    assert data.coordinates is None
    with pytest.raises(ValueError, match="no abelian group"):
        data.symmetry()


def test_permutations_that_commute_have_coordinates():
    data = BinaryOperationDataModule("compose(2)", None, train_fraction=1)
    assert data.coordinates == ("(0)", "(1)", "∘", "=")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_symmetry_says_where_the_operands_are(layout):
    own = BinaryOperationDataModule("mul", 7, layout=layout).symmetry()
    words = layout.split()
    assert own.positions == (words.index("a"), words.index("b"))
    assert own.size == 7
    assert (own.group.zero, own.group.inverts, set(own.group.coordinates)) == (0, False, set(range(1, 7)))


def test_symmetry_of_another_operation_on_the_same_elements():
    data = BinaryOperationDataModule("sum_of_squares", 7)
    assert data.symmetry("add").group.members == list(range(7))
    assert data.symmetry("div").group.inverts
    with pytest.raises(ValueError, match="'x_cubed_plus_product'"):
        data.symmetry("x_cubed_plus_product")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vocabulary_and_length_follow_the_layout(layout):
    data = build(layout=layout)
    signs = {"a op b =": ("+", "="), "a op b": ("+",), "a b": ()}[layout]
    assert tuple(data.vocabulary) == (*map(str, range(7)), *signs)
    assert data.length == len(layout.split())
    assert data.parts["train"].tokens.shape == (19, data.length)
    assert data.answer_names == tuple(map(str, range(7)))


@given(st.integers(2, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6), st.booleans())
def test_sizes_are_met_and_parts_do_not_overlap(equations, modulus, train, val, seed, unordered):
    rows = modulus**2
    if train + val > rows:
        return
    data = build("sub", modulus, train_fraction=train, val_fraction=val, split_seed=seed)
    assert data.sizes() == {"train": train, "val": val, "test": rows - train - val}
    assert len({text for text, _ in equations(data)}) == rows


def test_held_out_rows_are_split_evenly():
    assert build("add", 97, train_fraction=0.5).sizes() == {"train": 4704, "val": 2352, "test": 2353}


def test_the_test_part_may_be_empty():
    data = build(val_fraction=1.0)
    assert data.sizes() == {"train": 19, "val": 30, "test": 0}
    assert len(data.test_dataloader()) == 0


@pytest.mark.parametrize("fractions", [(1.0, 0.5), (0.5, 0.0), (49, 0.5), (0.99, 0.5), (48, 0)])
def test_an_empty_validation_part_is_refused(fractions):
    train, val = fractions
    with pytest.raises(
        ValueError, match=f"train_fraction {train} and val_fraction {val} leave none of the 49 equations"
    ):
        build(train_fraction=train, val_fraction=val)


@pytest.mark.parametrize("operation", ["add", "sub", "mul"])
@pytest.mark.parametrize("seed", range(5))
def test_an_unordered_split_keeps_turned_pairs_together(operation, seed):
    data = build(operation, unordered_split=True, split_seed=seed)
    parts = {part: set(pairs(data, part)) for part in data.parts}
    assert sum(map(len, parts.values())) == 49
    for rows in parts.values():
        assert {(b, a) for a, b in rows} == rows


def test_an_unordered_split_of_a_partial_operation():
    data = build("div", 9, unordered_split=True)
    parts = {part: set(pairs(data, part)) for part in data.parts}
    everything = set().union(*parts.values())
    for rows in parts.values():
        assert {(b, a) for a, b in rows} & everything <= rows


@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize("operation", ["add", "div"])
@pytest.mark.parametrize(
    ("subset", "allowed"),
    [({"first": 9}, range(9)), ({"only": [6, 1, 2, 12, 10, 9]}, (1, 2, 6, 9, 10, 12)), ({"random": 13}, range(13))],
)
def test_training_is_limited_to_some_tokens_and_the_held_out_rows_are_not(subset, allowed, operation, unordered):
    data = build(operation, 13, train_fraction=0.5, train_tokens=TokenSubset(**subset), unordered_split=unordered)
    parts = {part: set(pairs(data, part)) for part in data.parts}
    everything = table(INDEPENDENT[operation], 13)
    possible = {pair for pair in everything if set(pair) <= set(allowed)}
    assert parts["train"] <= possible
    assert len(parts["train"]) == pytest.approx(len(possible) / 2, abs=2)
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(everything)
    assert len(parts["val"]) == pytest.approx(len(parts["test"]), abs=4)
    for part in ("val", "test"):  # neither gets only what could not be trained on
        assert parts[part] & possible


def test_random_tokens_are_the_same_for_a_donor_and_who_takes_over_from_it():
    donor = build("add", 31, train_tokens=TokenSubset(random=9))
    target = CompositionDataModule("a + b + c", 31, 50, 50, 50, train_tokens=TokenSubset(random=9), split_seed=0)
    assert {a for pair in pairs(donor, "train") for a in pair} == set(target.train_elements.tolist())


def test_augmentation_doubles_a_batch_with_turned_pairs_and_the_same_answers():
    plain, augmented = (build("mul", batch_size=6, commutative_augmentation=flag) for flag in (False, True))
    before, after = (next(iter(data.train_dataloader())) for data in (plain, augmented))
    assert before.tokens.shape == (1, 6, 4)
    assert after.tokens.shape == (1, 12, 4)
    assert torch.equal(after.tokens[:, :6], before.tokens)
    assert torch.equal(after.answers[:, :6], before.answers)
    for (a, op, b, equals), (turned, turned_answer), answer in zip(
        before.tokens[0].tolist(),
        zip(after.tokens[0, 6:].tolist(), after.answers[0, 6:].tolist(), strict=True),
        before.answers[0].tolist(),
        strict=True,
    ):
        assert turned == [b, op, a, equals]
        assert turned_answer == answer == a * b % 7


def test_augmentation_is_refused_where_it_would_lie():
    with pytest.raises(ValueError, match="sub is not commutative"):
        build("sub", commutative_augmentation=True)
    with pytest.raises(ValueError, match=r"wrong_answers is 5.*leave out one of them"):
        build("add", wrong_answers=5, commutative_augmentation=True)
    assert build("compose(2)", None, commutative_augmentation=True).commutative_augmentation


@given(st.integers(2, 9), st.data(), st.integers(0, 10**6))
def test_exactly_so_many_answers_are_wrong_and_only_in_training(equations, modulus, draw, seed):
    train = draw.draw(st.integers(1, modulus**2 - 1))
    wrong = draw.draw(st.integers(0, train))
    options = {"train_fraction": train, "val_fraction": 1, "split_seed": seed}
    clean, noisy = (build("add", modulus, wrong_answers=count, **options) for count in (0, wrong))
    assert (
        sum(answer != str(sum(map(int, text.split()[::2][:2])) % modulus) for text, answer in equations(noisy)) == wrong
    )
    assert equations(noisy, "val", "test") == equations(clean, "val", "test")
    assert torch.equal(noisy.parts["train"].tokens, clean.parts["train"].tokens)
    assert set(noisy.parts["train"].answers.tolist()) <= set(range(modulus))


def test_more_noise_keeps_the_rows_that_were_noisy():
    few, many = (build("add", wrong_answers=count).parts["train"].answers for count in (5, 12))
    clean = build("add").parts["train"].answers
    assert ((few != clean) <= (many != clean)).all()


def test_the_split_follows_the_seed_of_the_run(equations):
    seed_everything(3)
    first = BinaryOperationDataModule("add", 7)
    assert first.split_seed == first.seed == 3
    assert equations(build(seed=3), "train") == equations(build(split_seed=3, seed=8), "train")
    assert equations(build(seed=3), "train") != equations(build(seed=8), "train")


def test_a_given_split_seed_leaves_the_batches_to_the_seed_of_the_run(equations):
    first, second, third = (build(split_seed=5, seed=seed, batch_size=19) for seed in (0, 1, 0))
    assert equations(first) == equations(second)
    batches = [next(iter(data.train_dataloader())).tokens for data in (first, second, third)]
    assert not torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])


def test_building_data_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    data = BinaryOperationDataModule("add", 7, wrong_answers=3)
    data.setup("fit")
    next(iter(data.train_dataloader()))
    assert torch.equal(state, torch.get_rng_state())


def test_batches_come_from_the_training_part(equations):
    data = build(batch_size=19)
    chunk = next(iter(data.train_dataloader()))
    rows = set(zip(data.sequence_names(chunk.tokens[0]), chunk.answers[0].tolist(), strict=True))
    assert rows == {(text, int(answer)) for text, answer in equations(data, "train")}


def test_evaluation_and_prediction_see_their_parts_in_order():
    data = build()
    for loader, part in (
        (data.val_dataloader(), "val"),
        (data.test_dataloader(), "test"),
        *zip(data.predict_dataloader(), data.parts, strict=True),
    ):
        assert torch.equal(torch.cat([batch.tokens for batch in loader]), data.parts[part].tokens)


def test_what_does_not_divide_by_the_devices_is_refused():
    data = build(batch_size=9, val_fraction=2)
    for devices in (1, 2):
        data.batch_size = 9 * devices
        data.check(devices)
    data.batch_size = 9
    with pytest.raises(ValueError, match="batch of 9 equations does not divide by 2 devices"):
        data.check(2)
    with pytest.raises(ValueError, match="the val part has 2 rows"):
        data.check(3)


def pair_sums(data, which):
    pairs = data.pair_sums(which)
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.answers.tolist(), strict=True))


def as_pairs(rows):
    """The rows ((a, b), answer), whichever operand comes first."""
    return sorted({(min(a, b), max(a, b), answer) for (a, b), answer in rows})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation", INDEPENDENT)
def test_pair_sums_are_those_of_the_table_or_of_the_training_equations(operation, layout):
    data = build(operation, 7, layout=layout)
    train = zip(pairs(data, "train"), data.parts["train"].answers.tolist(), strict=True)
    assert pair_sums(data, "all") == as_pairs(table(INDEPENDENT[operation], 7).items())
    assert pair_sums(data, "train") == as_pairs(train)
    assert data.pair_sums().tokens == 7


def test_a_pair_held_out_one_way_around_is_trained_the_other():
    together, apart = (build("add", 11, unordered_split=flag) for flag in (True, False))
    held_out = {(min(pair), max(pair)) for part in ("val", "test") for pair in pairs(together, part)}
    assert held_out.isdisjoint((a, b) for a, b, _ in pair_sums(together, "train"))
    held_out = {(min(pair), max(pair)) for part in ("val", "test") for pair in pairs(apart, part)}
    assert not held_out.isdisjoint((a, b) for a, b, _ in pair_sums(apart, "train"))


def test_pair_sums_of_the_training_part_have_its_wrong_answers():
    clean, noisy = (build("add", 7, wrong_answers=count, unordered_split=True) for count in (0, 6))
    train = zip(pairs(noisy, "train"), noisy.parts["train"].answers.tolist(), strict=True)
    assert pair_sums(noisy, "train") == as_pairs(train) != pair_sums(clean, "train")


def test_pair_sums_need_no_set_up():
    torch.manual_seed(0)
    bare = BinaryOperationDataModule("mul", 7, train_fraction=0.4)
    assert pair_sums(bare, "train") == pair_sums(build("mul"), "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operation": "ad"}, "did you mean 'add'"),
        ({"operation": "div", "modulus": 8}, "odd modulus"),
        ({"modulus": 1}, "modulus of at least 2"),
        ({"modulus": None}, "modulus of at least 2"),
        ({"operation": "compose(3)", "modulus": 7}, "takes no modulus"),
        ({"batch_size": 0}, "batch_size is 0; expected a positive number"),
        ({"train_fraction": 0.0}, "selects none of 49 trainable rows"),
        ({"train_fraction": 1.5}, "expected 0 to 49 trainable rows, or a fraction"),
        ({"layout": "a op b="}, "layout is 'a op b='.*did you mean 'a op b ='"),
        ({"wrong_answers": -1}, "wrong_answers is -1; expected 0 to 19"),
        ({"wrong_answers": 20}, "wrong_answers is 20; expected 0 to 19, the size of the training set"),
        ({"split_seed": -1}, "split_seed is -1; expected a number from 0 to 4294967295"),
        ({"split_seed": 2**32}, "split_seed is 4294967296"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)
