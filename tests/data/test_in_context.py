import itertools
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import seed_everything

from grok_lightning.data import LinearInContextDataModule, OperationInContextDataModule
from grok_lightning.data.batches import EvaluationBatches
from grok_lightning.data.in_context import SETS, Sequences

seeds = st.integers(0, 2**32 - 1)
PARTS = ("val", "test")
LINEAR = {"modulus": 5, "examples": 4, "functions": 8, "selection": "random", "train_fraction": 0.6, "batch_size": 16}
LINEAR |= {"evaluation_functions": 6, "evaluation_size": 20}
OPERATIONS = {"operations": ["add", "sub"], "new_operations": ["mul", "sum_of_squares"], "modulus": 5, "examples": 3}
OPERATIONS |= {"train_fraction": 0.6, "batch_size": 8, "evaluation_size": 20}


def linear(seed=0, **options):
    torch.manual_seed(seed)
    data = LinearInContextDataModule(**LINEAR | options)
    data.setup("fit")
    return data


def hidden_operations(seed=0, **options):
    torch.manual_seed(seed)
    data = OperationInContextDataModule(**OPERATIONS | options)
    data.setup("fit")
    return data


def batch(data, number=0):
    """One training batch, however many sequences it has."""
    return type(next(iter(data.train_dataloader())))(*(t[0] for t in data.train_dataloader().chunk(number, 1)))


def examples(rows, variables=2):
    """The examples of each sequence, as ((x, y, …), z), read token by token."""
    sequences = []
    for tokens, values in zip(rows.tokens.tolist(), rows.answers.tolist(), strict=True):
        whole = [*tokens, values[-1]]
        parts = [whole[start : start + variables + 1] for start in range(0, len(whole), variables + 1)]
        assert [part[-1] for part in parts] == values
        sequences.append([(tuple(part[:-1]), part[-1]) for part in parts])
    return sequences


def dot(function, inputs, modulus):
    return sum(a * x for a, x in zip(function, inputs, strict=True)) % modulus


def tuples(tensor):
    return [tuple(row) for row in tensor.tolist()]


def the_set(data, part, kind):
    rows = data.parts[part]
    return rows.at(rows.sets == SETS.index(kind))


def hidden_in(sequences, candidates, modulus):
    """The candidates that all of these sequences may be of."""
    found = [x for sequence in sequences for x in sequence]
    return [f for f in candidates if all(dot(f, inputs, modulus) == z for inputs, z in found)]


def take(stream, steps):
    """The first batches of a stream one by one, as lists of tokens and answers, however chunks are cut."""
    batches = ((t.tolist(), a.tolist()) for chunk in stream for t, a in zip(chunk.tokens, chunk.answers, strict=True))
    return list(itertools.islice(batches, steps))


def every(cadence):
    return lambda step: (step // cadence + 1) * cadence


# --- sequences --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(3, 1), (5, 1), (2, 2), (3, 2), (5, 2), (7, 2), (3, 3), (2, 4)]),
    st.integers(1, 5),
    st.data(),
    st.booleans(),
    seeds,
)
def test_every_value_is_that_of_the_known_function(space, count, draw, shared, seed):
    modulus, variables = space
    known = draw.draw(st.integers(1, min(6, modulus**variables - 2)))
    data = linear(
        seed,
        modulus=modulus,
        variables=variables,
        examples=count,
        functions=known,
        train_fraction=1,
        batch_size=3 * known,
        shared_inputs=shared,
    )
    rows = batch(data, draw.draw(st.integers(0, 10**6)))
    assert rows.tokens.shape == (3 * known, count * (variables + 1) - 1) == (3 * known, data.length)
    assert rows.answers.shape == (3 * known, count)
    assert rows.tokens.dtype == rows.answers.dtype == torch.long
    functions = [function for function in tuples(data.functions.known) for _ in range(3)]
    for function, sequence in zip(functions, examples(rows, variables), strict=True):
        assert all(z == dot(function, inputs, modulus) for inputs, z in sequence)


def test_inputs_and_values_come_by_turns_and_the_last_value_is_left_out():
    data = linear(functions=2, batch_size=2, evaluation_functions=2)
    asked = torch.tensor([[1, 2], [3, 4], [0, 1], [4, 4]])
    rows = data.sequences(torch.tensor([[2, 3], [0, 1]]), asked[None, None])
    assert rows.tokens.tolist() == [[1, 2, 3, 3, 4, 3, 0, 1, 3, 4, 4], [1, 2, 2, 3, 4, 4, 0, 1, 1, 4, 4]]
    assert rows.answers.tolist() == [[3, 3, 3, 0], [2, 4, 1, 4]]
    assert data.length == 11
    assert data.inputs_of(rows.tokens).tolist() == [asked.tolist()] * 2


@given(st.integers(1, 4), st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_it_is_read_exactly_before_each_value(variables, count):
    data = linear(modulus=3, variables=variables, functions=1, batch_size=1, train_fraction=1, examples=count)
    rows, places = batch(data), range(data.length)
    values = [place for place in range(data.length + 1) if place % (variables + 1) == variables]
    assert list(places[data.reads]) == [place - 1 for place in values]
    assert places[data.reads][-1] == data.length - 1  # the value that comes last is not there to be seen
    assert [row[values[:-1]].tolist() for row in rows.tokens] == rows.answers[:, :-1].tolist()


def test_with_two_variables_it_is_read_at_1_4_7_and_so_on():
    assert list(range(95)[linear(examples=32).reads]) == [*range(1, 95, 3)]


@given(st.integers(1, 3), st.integers(1, 5), seeds)
@settings(deadline=None, max_examples=20)
def test_inputs_are_read_back_from_tokens(variables, count, seed):
    data = linear(seed, modulus=3, variables=variables, functions=1, batch_size=2, train_fraction=1, examples=count)
    rows = batch(data)
    expected = [[list(inputs) for inputs, _ in sequence] for sequence in examples(rows, variables)]
    assert data.inputs_of(rows.tokens).tolist() == expected


def test_the_vocabulary_is_the_residues():
    data = linear()
    assert tuple(data.vocabulary) == data.answer_names == ("0", "1", "2", "3", "4")
    assert data.residues == range(5)


# --- what is known and what is new ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([(5, 4, "rectangular"), (7, 4, "rectangular"), (5, 9, "random")]), st.booleans(), seeds)
def test_training_has_known_functions_on_known_inputs_alone(case, shared, seed):
    modulus, count, selection = case
    data = linear(
        seed, modulus=modulus, functions=count, selection=selection, batch_size=2 * count, shared_inputs=shared
    )
    grid = set(product(range(modulus), repeat=2))
    known, new = set(tuples(data.known_inputs)), set(tuples(data.new_inputs))
    assert known | new == grid
    assert not known & new
    assert len(known) == int(0.6 * modulus**2)
    known_functions, new_functions = map(tuples, data.functions)
    assert sorted(known_functions + new_functions) == sorted(grid)
    for number in range(3):
        sequences = examples(batch(data, number))
        assert {inputs for sequence in sequences for inputs, _ in sequence} <= known
        for row, sequence in enumerate(sequences):
            assert hidden_in([sequence], [known_functions[row // 2]], modulus)


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 12), st.integers(1, 30))
def test_the_four_sets_are_what_their_names_say(seed, functions, size):
    data = linear(seed, evaluation_functions=functions, evaluation_size=size, examples=6)
    known_inputs, new_inputs = set(tuples(data.known_inputs)), set(tuples(data.new_inputs))
    half = len(data.functions.new) // 2 + len(data.functions.new) % 2
    pools = dict(zip(PARTS, (tuples(data.functions.new)[:half], tuples(data.functions.new)[half:]), strict=True))
    for part in PARTS:
        assert data.parts[part].sets.bincount().shape == (4,)
        for kind in SETS:
            sequences = examples(the_set(data, part, kind))
            pool = tuples(data.functions.known) if kind in ("known", "new_inputs") else pools[part]
            chosen = min(functions, len(pool))
            lists = -(-size // chosen)  # rounded up to equally many of each
            assert len(sequences) == chosen * lists
            allowed = known_inputs if kind in ("known", "new_functions") else new_inputs
            assert {inputs for sequence in sequences for inputs, _ in sequence} <= allowed
            for start in range(0, len(sequences), lists):
                assert hidden_in(sequences[start : start + lists], pool, 5)


def test_each_evaluated_function_is_there_equally_often_and_is_another():
    data = linear(examples=8, evaluation_size=21)
    for part, kind in product(PARTS, SETS):
        sequences = examples(the_set(data, part, kind))
        blocks = [sequences[start : start + 4] for start in range(0, len(sequences), 4)]
        found = [hidden_in(block, product(range(5), repeat=2), 5) for block in blocks]
        assert [len(functions) for functions in found] == [1] * 6  # eight examples on four lists leave no doubt
        assert len({functions[0] for functions in found}) == 6


def test_validation_and_test_have_different_new_functions():
    data = linear(examples=8, evaluation_functions=9, evaluation_size=36)
    said = {}
    for part, lists in (("val", 4), ("test", 5)):
        for kind in ("new_functions", "new_both"):
            sequences = examples(the_set(data, part, kind))
            blocks = [sequences[start : start + lists] for start in range(0, len(sequences), lists)]
            said[part, kind] = {f for block in blocks for f in hidden_in(block, product(range(5), repeat=2), 5)}
        assert said[part, "new_functions"] == said[part, "new_both"]
    val, test = (said[part, "new_both"] for part in PARTS)
    assert (len(val), len(test)) == (9, 8)
    assert not val & test
    assert val | test == set(tuples(data.functions.new))


@pytest.mark.parametrize(
    ("functions", "size", "expected"),
    [
        (6, 20, [24] * 4),
        (6, 24, [24] * 4),
        (6, 25, [30] * 4),
        (8, 1, [8] * 4),
        (1, 7, [7] * 4),
        (3, 1, [3] * 4),
        (100, 20, [24, 24, 27, 27]),  # all 8 known functions, and 9 of the 17 new ones
    ],
)
def test_the_size_of_a_set_is_rounded_up_to_equally_many_of_each_function(functions, size, expected):
    data = linear(evaluation_functions=functions, evaluation_size=size)
    assert torch.bincount(data.parts["val"].sets).tolist() == expected


def test_sizes_are_told():
    data = linear(evaluation_functions=8)
    assert data.sizes() == {
        "known_functions": 8,
        "new_functions": 17,
        "known_inputs": 15,
        "new_inputs": 10,
        "val": 4 * 24,
        "test": 4 * 24,
    }
    assert LinearInContextDataModule(functions=256, batch_size=256).sizes() == {
        "known_functions": 256,
        "new_functions": 585,
        "known_inputs": 672,
        "new_inputs": 169,
    }


def test_a_number_of_inputs_may_be_given():
    data = linear(train_fraction=24)
    assert (len(data.known_inputs), len(data.new_inputs)) == (24, 1)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("functions", range(2, 8))
def test_no_evaluated_sequence_has_the_inputs_of_a_batch_of_its_seed(functions, shared):
    data = linear(functions=functions, batch_size=8 * functions, shared_inputs=shared, evaluation_size=60, examples=6)
    lists = {part: {str(inputs) for inputs in data.inputs_of(data.parts[part].tokens).tolist()} for part in PARTS}
    for number in range(4):
        trained = {str(inputs) for inputs in data.inputs_of(batch(data, number).tokens).tolist()}
        for part in PARTS:
            assert not trained & lists[part], (part, number)  # of 15⁶ lists none comes twice by chance


# --- batches ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 10), st.integers(1, 5), st.booleans(), seeds)
def test_a_batch_holds_each_known_function_equally_often(functions, lists, shared, seed):
    data = linear(seed, functions=functions, batch_size=functions * lists, shared_inputs=shared, examples=8)
    sequences, known = examples(batch(data)), tuples(data.functions.known)
    assert len(sequences) == functions * lists
    for number, function in enumerate(known):
        its = sequences[number * lists : (number + 1) * lists]
        assert len(its) == lists
        assert hidden_in(its, [function], 5)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 1000), seeds)
def test_shared_inputs_are_the_same_lists_in_the_same_order_for_all_functions(functions, lists, number, seed):
    data = linear(seed, functions=functions, batch_size=functions * lists)
    inputs = data.inputs_of(batch(data, number).tokens).view(functions, lists, 4, 2)
    assert (inputs == inputs[:1]).all()


def test_lists_of_a_batch_differ_from_one_another_and_between_functions_where_they_are_not_shared():
    for shared, number in ((True, 4), (False, 32)):
        data = linear(examples=8, batch_size=32, shared_inputs=shared)
        lists = {str(inputs) for inputs in data.inputs_of(batch(data).tokens).tolist()}
        assert len(lists) == number


def test_inputs_are_drawn_uniformly_with_replacement():
    data = linear(functions=2, batch_size=64, train_fraction=0.2, evaluation_functions=2)
    known = tuples(data.known_inputs)
    lists = [
        [known.index(tuple(pair)) for pair in inputs]
        for number in range(100)
        for inputs in data.inputs_of(batch(data, number).tokens)[:32].tolist()
    ]
    assert len(known) == 5
    counts = np.zeros((4, 5, 5))  # a list has four inputs: where, which, and which one comes next
    for numbers in lists:
        for place, one in enumerate(numbers):
            counts[place, one, numbers[(place + 1) % 4]] += 1
    expected = len(lists) / 25
    assert ((counts - expected) ** 2 / expected).sum() < 170  # χ², 96 degrees of freedom: p < 1e-5
    assert ((counts.sum((0, 2)) - 20 * expected) ** 2 / (20 * expected)).sum() < 30  # 4: p < 1e-5
    repeated = sum(len(set(numbers)) < 4 for numbers in lists) / len(lists)
    assert repeated == pytest.approx(1 - 5 * 4 * 3 * 2 / 5**4, abs=0.03)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(0, 400), st.booleans(), seeds)
def test_a_batch_is_a_function_of_the_seed_and_its_number(cadence, number, shared, seed):
    fresh, used = linear(seed, shared_inputs=shared), linear(seed, shared_inputs=shared)
    used.boundary = every(cadence)
    chunked = take(used.train_dataloader(), 2 * cadence + 3)
    assert chunked == take(fresh.train_dataloader(), 2 * cadence + 3)  # which has chunks of one
    torch.manual_seed(number)
    one, other = batch(fresh, number), used.train_dataloader().chunk(number, 3)
    assert torch.equal(one.tokens, other.tokens[0])
    assert torch.equal(one.answers, other.answers[0])


def test_chunks_end_where_the_module_is_told_even_after_the_loader_is_made():
    data = linear()
    loader = data.train_dataloader()
    data.boundary = every(5)
    assert [len(chunk) for chunk in itertools.islice(loader, 3)] == [5, 5, 5]


def test_batches_differ_from_one_another_and_between_seeds():
    first, second = linear(0, split_seed=1), linear(1, split_seed=1)
    batches = [str(tokens) for data in (first, second) for tokens, _ in take(data.train_dataloader(), 5)]
    assert len(set(batches)) == 10


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 7), st.integers(0, 5), seeds)
def test_a_state_continues_where_it_was_taken(cadence, chunks_before, seed):
    before, after = (linear(seed) for _ in range(2))
    before.boundary = after.boundary = every(cadence)
    stream = before.train_dataloader()
    position = sum(len(chunk) for chunk in itertools.islice(stream, chunks_before))
    assert stream.state_dict() == {"position": position}
    resumed = after.train_dataloader()
    resumed.load_state_dict(stream.state_dict())
    assert take(resumed, 6) == take(linear(seed).train_dataloader(), position + 6)[position:]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.booleans(), seeds)
def test_the_shares_of_the_ranks_are_disjoint_and_together_the_batch(world_size, lists, shared, seed):
    options = {"functions": 4, "batch_size": 4 * lists * world_size, "shared_inputs": shared}
    whole = linear(seed, **options)
    shares = []
    for rank in range(world_size):
        data = linear(seed, **options)
        data.check(world_size)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, strategy=strategy)
        data.boundary = every(3)
        shares.append(take(data.train_dataloader(), 4))
        evaluated = [batch.answers for batch in data.val_dataloader()]
        assert torch.equal(torch.cat(evaluated), whole.parts["val"].answers[rank::world_size])
    for (tokens, answers), *parts in zip(take(whole.train_dataloader(), 4), *shares, strict=True):
        assert [len(rows) for rows, _ in parts] == [4 * lists] * world_size
        for rank, (rows, values) in enumerate(parts):
            assert rows == tokens[rank::world_size]  # no row is in two shares
            assert values == answers[rank::world_size]


def test_a_part_is_evaluated_row_by_row_in_order():
    data = linear()
    for loader, part in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
        assert isinstance(loader, EvaluationBatches)
        for name, tensor in zip(Sequences._fields, data.parts[part], strict=True):
            assert torch.equal(torch.cat([getattr(rows, name) for rows in loader]), tensor)
        assert len(data.parts[part]) == len(data.parts[part].answers)


def test_sequences_of_rows_keep_their_fields_together():
    part = linear().parts["val"]
    rows = part.at(torch.tensor([70, 3]))
    assert rows.tokens.tolist() == [part.tokens[70].tolist(), part.tokens[3].tolist()]
    assert rows.answers.tolist() == [part.answers[70].tolist(), part.answers[3].tolist()]
    assert rows.sets.tolist() == [2, 0]
    assert {tensor.device.type for tensor in part.to(torch.device("meta"))} == {"meta"}


# --- operations -------------------------------------------------------------------------------------------------------

INDEPENDENT = {
    "add": lambda a, b, n: (a + b) % n,
    "sub": lambda a, b, n: (a - b) % n,
    "mul": lambda a, b, n: a * b % n,
    "div": lambda a, b, n: next((c for c in range(n) if c * b % n == a), None) if b else None,
    "sum_of_squares": lambda a, b, n: (a * a + b * b) % n,
    "linear(2,3)": lambda a, b, n: (2 * a + 3 * b) % n,
}


@pytest.mark.parametrize(
    ("known", "new"),
    [
        (["add", "sub"], ["mul", "sum_of_squares"]),
        (["add", "div", "linear(2,3)"], ["sub", "mul"]),
        (["mul"], ["add", "div", "sub"]),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_hidden_operations_are_what_they_are(known, new, shared):
    data = hidden_operations(
        operations=known, new_operations=new, modulus=7, batch_size=4 * len(known), shared_inputs=shared, examples=5
    )
    defined = {
        pair for pair in product(range(7), repeat=2) if all(INDEPENDENT[o](*pair, 7) is not None for o in known + new)
    }
    assert len(defined) == (42 if "div" in known + new else 49)
    inputs = [set(tuples(tensor)) for tensor in (data.known_inputs, data.new_inputs)]
    assert inputs[0] | inputs[1] == defined
    assert not inputs[0] & inputs[1]
    for row, sequence in enumerate(examples(batch(data))):
        assert all(z == INDEPENDENT[known[row // 4]](*pair, 7) for pair, z in sequence)
        assert {pair for pair, _ in sequence} <= inputs[0]
    half = -(-len(new) // 2)
    for part, its in (("val", new[:half]), ("test", new[half:])):
        for kind in SETS:
            sequences = examples(the_set(data, part, kind))
            pool = known if kind in ("known", "new_inputs") else its
            lists = -(-20 // len(pool))
            assert len(sequences) == len(pool) * lists
            found = set()
            for start in range(0, len(sequences), lists):
                asked = [x for sequence in sequences[start : start + lists] for x in sequence]
                assert {pair for pair, _ in asked} <= inputs[kind in ("new_inputs", "new_both")]
                (operation,) = (o for o in pool if all(INDEPENDENT[o](*pair, 7) == z for pair, z in asked))
                found.add(operation)
            assert found == set(pool)


def test_hidden_operations_may_be_of_permutations():
    data = hidden_operations(
        operations=["compose(3)"], new_operations=["conjugate(3)", "aba(3)"], modulus=None, examples=6
    )
    elements = list(itertools.permutations(range(3)))
    assert tuple(data.vocabulary) == tuple(f"({' '.join(map(str, element))})" for element in elements)
    assert data.residues is None
    assert len(data.known_inputs) + len(data.new_inputs) == 36

    def product_of(*factors):
        images = range(3)
        for factor in reversed(factors):  # the right one acts first
            images = [factor[image] for image in images]
        return tuple(images)

    inverse = {a: tuple(sorted(range(3), key=a.__getitem__)) for a in elements}
    rules = {
        "compose": lambda a, b: product_of(a, b),
        "conjugate": lambda a, b: product_of(a, b, inverse[a]),
        "aba": lambda a, b: product_of(a, b, a),
    }

    def assert_is(rule, rows):
        for sequence in examples(rows):
            assert all(elements[z] == rules[rule](elements[a], elements[b]) for (a, b), z in sequence)

    assert_is("compose", batch(data))
    for part, new in (("val", "conjugate"), ("test", "aba")):
        for kind, rule in zip(SETS, ("compose", "compose", new, new), strict=True):
            assert_is(rule, the_set(data, part, kind))


def test_sizes_of_hidden_operations_are_told():
    assert hidden_operations(operations=["div"], new_operations=["add", "sub", "mul"]).sizes() == {
        "known_functions": 1,
        "new_functions": 3,
        "known_inputs": 12,
        "new_inputs": 8,
        "val": 4 * 20,
        "test": 4 * 20,
    }


# --- seeds and devices ------------------------------------------------------------------------------------------------


def everything(data):
    """All that the split decides."""
    return [data.functions.known, data.functions.new, data.known_inputs, data.new_inputs]


def same(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("build", [linear, hidden_operations])
def test_a_given_split_seed_leaves_the_batches_to_the_seed_of_the_run(build):
    first, second, third = (build(seed, split_seed=5) for seed in (0, 1, 0))
    assert same(everything(first), everything(second))
    for part in PARTS:
        assert same(first.parts[part], second.parts[part])
    batches = [batch(data).tokens for data in (first, second, third)]
    assert not torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])


@pytest.mark.parametrize("build", [linear, hidden_operations])
def test_the_split_follows_the_seed_of_the_run(build):
    seed_everything(3)
    fresh = LinearInContextDataModule(**LINEAR)
    assert fresh.seed == fresh.split_seed == 3
    assert same(everything(build(3)), everything(build(8, split_seed=3)))
    assert not same([build(3).known_inputs], [build(8).known_inputs])


def test_a_split_seed_makes_one_split_for_a_donor_and_who_takes_over_from_it():
    donor = linear(1, split_seed=4)
    heir = linear(2, split_seed=4, examples=7, batch_size=64, shared_inputs=False, evaluation_size=3)
    assert same(everything(donor), everything(heir))
    others = linear(1, split_seed=5)
    assert not torch.equal(others.functions.known, donor.functions.known)
    assert not torch.equal(others.known_inputs, donor.known_inputs)


@pytest.mark.parametrize("build", [linear, hidden_operations])
def test_the_global_generator_is_left_alone_and_its_state_does_not_matter(build):
    expected = build()
    torch.manual_seed(0)
    data = (LinearInContextDataModule if build is linear else OperationInContextDataModule)(
        **(LINEAR if build is linear else OPERATIONS)
    )
    torch.rand(7)
    state = torch.get_rng_state()
    data.setup("fit")
    tokens = batch(data).tokens
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(tokens, batch(expected).tokens)
    assert same(data.parts["val"], expected.parts["val"])


@pytest.mark.parametrize("build", [linear, hidden_operations])
def test_data_built_under_another_device_are_on_the_cpu(build):
    expected = build()
    with torch.device("meta"):
        data = build()
        rows = batch(data)
        loaders = data.val_dataloader(), data.test_dataloader()
        evaluated = [tensor for loader in loaders for part in loader for tensor in part]
    tensors = [*everything(data), *data.parts["val"], *data.parts["test"], *rows, *evaluated]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert same(everything(data), everything(expected))
    assert torch.equal(rows.tokens, batch(expected).tokens)
    assert same(data.parts["test"], expected.parts["test"])


def test_parts_are_made_once():
    data = linear()
    before = data.parts["val"]
    data.setup("test")
    assert data.parts["val"] is before


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "examples is 0; expected a positive number"),
        ({"batch_size": 0}, "batch_size is 0; expected a positive number"),
        ({"evaluation_functions": -1}, "evaluation_functions is -1; expected a positive number"),
        ({"evaluation_size": 0}, "evaluation_size is 0; expected a positive number"),
        ({"batch_size": 20}, "batch_size is 20; expected a multiple of the 8 known functions, as 16 is"),
        ({"batch_size": 21}, "batch_size is 21; expected a multiple of the 8 known functions, as 24 is"),
        ({"batch_size": 3}, "batch_size is 3; expected a multiple of the 8 known functions, as 8 is"),
        ({"functions": 24, "batch_size": 24}, "1 functions are new; expected one for validation and one for the test"),
        ({"functions": 25}, "functions is 25; expected 1 to 24"),
        ({"functions": 0}, "functions is 0; expected 1 to 24"),
        ({"functions": 6, "selection": "rectangular"}, "functions is 6; expected a multiple of 4"),
        ({"selection": "rectangle"}, "selection is 'rectangle'; .* did you mean 'rectangular'"),
        ({"selection": "rectangular", "variables": 3}, "selection is 'rectangular', which needs 2 variables, not 3"),
        ({"train_fraction": 1.0}, "train_fraction is 1.0, which leaves no input to be new; lower it"),
        ({"train_fraction": 25}, "train_fraction is 25, which leaves no input to be new; lower it"),
        ({"train_fraction": 26}, "train_fraction=26: expected 0 to 25"),
        ({"train_fraction": 0.0}, "train_fraction=0.0 selects none of 25"),
        ({"train_fraction": 1.5}, "train_fraction=1.5"),
        ({"split_seed": -1}, "split_seed is -1; expected a number from 0 to 4294967295, or null"),
        ({"split_seed": 2**32}, "split_seed is 4294967296"),
    ],
)
def test_linear_functions_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operations": ["ad", "sub"]}, "did you mean 'add'"),
        ({"new_operations": ["mul", "sum_of_square"]}, "did you mean 'sum_of_squares'"),
        ({"new_operations": ["mul", "add"]}, "operations and new_operations name add more than once; expected each"),
        ({"operations": ["sub", "sub"]}, "name sub more than once"),
        ({"operations": ["linear(2,3)"], "new_operations": ["linear(2, 3)", "add"]}, r"name linear\(2,3\) more than"),
        ({"operations": "add"}, r"operations is 'add'; expected a list of names, such as \[add, sub\]"),
        ({"new_operations": []}, r"new_operations is \[\]; expected a list of names"),
        ({"new_operations": ["mul"]}, "1 functions are new; expected one for validation and one for the test"),
        ({"batch_size": 7}, "batch_size is 7; expected a multiple of the 2 known functions, as 8 is"),
        ({"new_operations": ["mul", "compose(3)"]}, "takes no modulus"),
        (
            {"operations": ["compose(3)"], "new_operations": ["aba(3)", "aba(4)"], "modulus": None},
            r"compose\(3\) and aba\(4\) are on different elements",
        ),
        ({"modulus": None}, "modulus of at least 2"),
        ({"modulus": 1}, "modulus of at least 2"),
        ({"train_fraction": 1.0}, "train_fraction is 1.0, which leaves no input to be new"),
    ],
)
def test_operations_that_cannot_be_hidden_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        hidden_operations(**arguments)


def test_what_does_not_divide_by_the_devices_is_refused():
    data = linear(functions=3, batch_size=9)
    data.check(1)
    data.check(3)
    with pytest.raises(ValueError, match="batch_size is 9; expected a multiple of the 2 devices"):
        data.check(2)
    few = linear(functions=1, batch_size=100, evaluation_functions=1, evaluation_size=1)
    with pytest.raises(ValueError, match="the val part has 4 rows for 5 devices"):
        few.check(5)


def test_the_largest_columns_of_the_paper_can_be_built():
    data = LinearInContextDataModule(split_seed=0)
    assert (data.length, len(data.vocabulary)) == (95, 29)
    assert len(data.functions.known) == 512
    assert len(set(tuples(data.functions.known))) == 512
    rows = batch(data)
    assert rows.tokens.shape == (1024, 95)
    lists = {str(inputs) for inputs in data.inputs_of(rows.tokens).tolist()}
    assert len(lists) == 2  # each asked of 512 functions
