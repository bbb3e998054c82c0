import copy
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from grok_lightning import in_context
from grok_lightning.data import LinearInContextDataModule, OperationInContextDataModule
from grok_lightning.in_context import (
    accuracy,
    discrete_logarithms,
    explained,
    head_vectors,
    predictions,
    pruned_accuracy,
    queries,
    shot_grid,
    similarities,
)
from grok_lightning.networks import ArithmeticTransformer, head_outputs

SETS = ("known", "new_inputs", "new_functions", "new_both")
EXAMPLES = 6
SIZES = {"batch_size": 24, "evaluation_functions": 4, "evaluation_size": 40, "split_seed": 0}


def sequences(modulus=5, examples=EXAMPLES, functions=8, variables=2, **options):
    selection = "rectangular" if variables == 2 and modulus > 3 else "random"
    data = LinearInContextDataModule(modulus, examples, functions, selection, variables, 0.5, **(SIZES | options))
    data.setup("fit")
    return data


# reference solvers, by trying everything

NONE = -1


def copied(examples, values, query, modulus):
    return dict(zip(examples, values, strict=True)).get(query, NONE)


def matched(examples, values, query, modulus):
    multiples = {
        tuple(c * x % modulus for x in example): c * value % modulus
        for example, value in zip(examples, values, strict=True)
        for c in range(modulus)
    }
    return multiples.get(query, NONE)


def regressed(examples, values, query, modulus):
    span = {(0,) * len(query): 0}
    for example, value in zip(examples, values, strict=True):
        span = {
            tuple((s + c * x) % modulus for s, x in zip(point, example, strict=True)): (its + c * value) % modulus
            for point, its in span.items()
            for c in range(modulus)
        }
    return span.get(query, NONE)


SOLVERS = (copied, matched, regressed)


def solved(solver, data, tokens):
    """What a solver answers (rows, examples) in sequences of tokens."""
    answers = []
    for row in tokens.tolist():
        triples = [tuple(row[start : start + 3]) for start in range(0, len(row), 3)]
        points, values = [triple[:2] for triple in triples], [triple[2] for triple in triples[:-1]]
        answers.append([solver(points[:k], values[:k], points[k], data.modulus) for k in range(data.examples)])
    return np.array(answers)


class Solver:
    """A network that says what a solver does, and a fixed token where that does not answer."""

    def __init__(self, data, solver, guess=0):
        self.data, self.solver, self.guess = data, solver, guess

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, tokens, reads):
        assert reads == self.data.reads
        answers = solved(self.solver, self.data, tokens)
        said = torch.from_numpy(np.where(answers == NONE, self.guess, answers))
        return F.one_hot(said, self.data.modulus + 1).float()  # the largest token is never right


class Knowing:
    """A network that knows the function of every sequence, and is always right."""

    def __init__(self, known):
        self.answers = dict(zip(map(tuple, known.tokens.tolist()), known.answers, strict=True))

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, tokens, reads):
        return F.one_hot(torch.stack([self.answers[tuple(row)] for row in tokens.tolist()])).float()


def transformer(data, seed=0, **options):
    torch.manual_seed(seed)
    options = {"width": 8, "heads": 2, "blocks": 2, "positions": "rotary", "init_std": 0.4} | options
    return ArithmeticTransformer(len(data.vocabulary), data.length, **options)


def rows_of(data, kind, part):
    rows = data.parts[part]
    chosen = rows.sets == SETS.index(kind)
    return rows.tokens[chosen], rows.answers[chosen].numpy()


# answers


def test_predictions_are_the_largest_logits_at_the_values(monkeypatch):
    data = sequences()
    network, tokens = transformer(data), data.parts["val"].tokens
    with torch.no_grad():
        expected = network(tokens, data.reads).argmax(-1)
    assert expected.shape == (len(tokens), EXAMPLES)
    assert torch.equal(predictions(network, data, tokens), expected)
    monkeypatch.setattr(in_context, "AT_ONCE", 7)
    assert torch.equal(predictions(network, data, tokens), expected)


@pytest.mark.parametrize(("kind", "part"), [*product(SETS, ["val", "test"])])
def test_accuracy_is_the_share_of_right_answers_of_a_set(kind, part):
    data = sequences()
    tokens, answers = rows_of(data, kind, part)
    assert len(tokens) == 40
    network = transformer(data)
    right = predictions(network, data, tokens).numpy() == answers
    assert accuracy(network, data, kind, part) == pytest.approx(right.mean())
    assert accuracy(Knowing(data.parts[part]), data, kind, part) == 1


def test_accuracy_is_that_of_new_functions_on_new_inputs_of_the_validation_part():
    data = sequences()
    network = transformer(data)
    assert accuracy(network, data) == accuracy(network, data, "new_both", "val")
    assert len({accuracy(network, data, kind, part) for kind, part in product(SETS, ["val", "test"])}) > 4


def test_accuracy_is_for_operations_too():
    data = OperationInContextDataModule(["add", "sub"], ["mul", "sum_of_squares"], 5, 3, **SIZES)
    data.setup("fit")
    assert accuracy(Knowing(data.parts["val"]), data, "new_functions") == 1
    assert 0 <= accuracy(transformer(data), data) < 1


# what explains the answers


@pytest.mark.parametrize("guess", [0, 5])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("kind", "part"), [("known", "test"), ("new_both", "val")])
def test_what_a_solver_answers_is_explained_as_brute_force_says(monkeypatch, solver, guess, kind, part):
    monkeypatch.setattr(in_context, "AT_ONCE", 13)
    data = sequences()
    tokens, answers = rows_of(data, kind, part)
    found = np.stack([solved(each, data, tokens) != NONE for each in SOLVERS] + [np.full(answers.shape, True)])
    classes = found.argmax(0)
    said = solved(solver, data, tokens)
    right = np.where(said == NONE, guess, said) == answers
    is_class = classes[..., None] == np.arange(4)
    count, hits = is_class.sum(0), (is_class & right[..., None]).sum(0)
    measured = explained(Solver(data, solver, guess), data, kind, part)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(measured["share"], count / len(tokens), rtol=1e-6)
        np.testing.assert_allclose(measured["explained"], hits / hits.sum(1, keepdims=True), rtol=1e-6)
        np.testing.assert_allclose(measured["accuracy"], hits / count, rtol=1e-6)
    if guess == 5:  # nothing is right by chance
        simpler = SOLVERS.index(solver) + 1
        assert (hits[:, :simpler] == count[:, :simpler]).all()
        assert not hits[:, simpler:].any()


def test_what_is_always_right_is_explained_as_far_as_queries_are():
    data = sequences()
    measured = explained(Knowing(data.parts["val"]), data)
    torch.testing.assert_close(measured["explained"], measured["share"])
    assert (measured["accuracy"][measured["share"] > 0] == 1).all()
    torch.testing.assert_close(measured["share"].sum(1), torch.ones(EXAMPLES))


def test_without_a_prime_nothing_is_explained():
    data = sequences(6)
    with pytest.raises(ValueError, match="modulus is 6; expected a prime"):
        explained(transformer(data), data)


# queries


@pytest.mark.parametrize("shots", [0, 1, 3, EXAMPLES - 1])
def test_queries_differ_only_in_the_pair_asked_for_and_its_value(shots):
    data = sequences()
    asked = queries(data, (2, 3), shots)
    assert asked.tokens.shape == (25, 3 * EXAMPLES - 1)
    pairs = [*product(range(5), repeat=2)]
    assert [tuple(row) for row in asked.tokens[:, 3 * shots : 3 * shots + 2].tolist()] == pairs
    values = [(2 * x + 3 * y) % 5 for x, y in pairs]
    assert asked.answers[:, shots].tolist() == values
    assert shots == EXAMPLES - 1 or asked.tokens[:, 3 * shots + 2].tolist() == values
    triple = [3 * shots, 3 * shots + 1, 3 * shots + 2]
    others = [place for place in range(3 * EXAMPLES - 1) if place not in triple]
    assert (asked.tokens[:, others] == asked.tokens[0, others]).all()
    assert (asked.answers[:, [k for k in range(EXAMPLES) if k != shots]].diff(dim=0) == 0).all()


@pytest.mark.parametrize("modulus", [3, 5, 7])
def test_examples_are_distinct_and_the_same_for_every_function_and_number_of_shots(modulus):
    data = sequences(modulus, functions=4)
    whole = {
        (function, shots): data.inputs_of(queries(data, function, shots).tokens)[0]
        for function, shots in product([(0, 0), (1, 2), (2, 2)], range(EXAMPLES))
    }
    context = torch.cat([whole[(1, 2), 5][:5], whole[(1, 2), 0][5:]])
    assert len(set(map(tuple, context.tolist()))) == EXAMPLES
    for (_, shots), inputs in whole.items():
        others = [k for k in range(EXAMPLES) if k != shots]
        assert torch.equal(inputs[others], context[others])


def test_values_are_those_of_the_function():
    data = sequences(7)
    for function in ((0, 0), (1, 0), (4, 6)):
        asked = queries(data, function, 2)
        inputs = data.inputs_of(asked.tokens)
        assert torch.equal(asked.answers, (inputs * torch.tensor(function)).sum(-1) % 7)
        assert torch.equal(asked.tokens[:, 2::3], asked.answers[:, :-1])


def test_another_seed_asks_after_other_examples_and_nothing_else_is_random():
    data, state = sequences(), torch.get_rng_state()
    first, again, other = (queries(data, (1, 1), 5, seed).tokens for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_there_can_be_more_examples_than_pairs():
    data = sequences(2, functions=2)
    inputs = data.inputs_of(queries(data, (1, 0), 5).tokens)
    assert inputs.shape == (4, EXAMPLES, 2)
    assert len(set(map(tuple, inputs[0, :4].tolist()))) == 4
    assert torch.equal(inputs[:, 4], inputs[:, 0])


@pytest.mark.parametrize("shots", [-1, EXAMPLES, 100])
def test_so_many_shots_must_fit(shots):
    message = f"shots is {shots}; expected 0 to 5, with 6 examples in all"
    with pytest.raises(ValueError, match=message):
        queries(sequences(), (1, 1), shots)


@pytest.mark.parametrize("variables", [1, 3])
def test_a_grid_needs_two_variables(variables):
    with pytest.raises(ValueError, match=f"the functions have {variables} variables; a grid of queries needs two"):
        queries(sequences(5, functions=3, variables=variables), (1, 1), 2)


# the grid after k examples


def grids(data, function, shots, seed=0):
    """Context and values, and what ratio matching solves by brute force (modulus, modulus)."""
    inputs = data.inputs_of(queries(data, function, shots, seed).tokens)[0, :shots].tolist()
    context = [tuple(point) for point in inputs]
    values = [(function[0] * x + function[1] * y) % data.modulus for x, y in context]
    asked = product(range(data.modulus), repeat=2)
    found = [matched(context, values, pair, data.modulus) != NONE for pair in asked]
    return context, np.array(found).reshape(data.modulus, data.modulus)


SHOTS = [0, 1, 2, EXAMPLES - 1]


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize(("modulus", "function"), [(2, (1, 1)), (3, (1, 2)), (5, (3, 0)), (7, (6, 2))])
def test_what_ratio_matching_solves_is_what_brute_force_says(modulus, function, shots):
    data = sequences(modulus, functions=2 if modulus == 2 else 4)
    network = Knowing(queries(data, function, shots, seed=3))
    right, mask = shot_grid(network, data, function, shots, seed=3)
    context, expected = grids(data, function, shots, seed=3)
    np.testing.assert_array_equal(mask, expected)
    assert right.dtype == mask.dtype == torch.bool
    assert right.shape == (modulus, modulus)
    assert right.all()
    lines = {frozenset(tuple(c * x % modulus for x in pair) for c in range(modulus)) for pair in context if any(pair)}
    assert mask.sum() == (1 + (modulus - 1) * len(lines) if shots else 0)


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize("guess", [0, 3, 5])
def test_a_network_that_matches_ratios_is_right_where_these_match_or_by_chance(guess, shots):
    data = sequences()
    right, mask = shot_grid(Solver(data, matched, guess), data, (3, 1), shots)
    values = np.add.outer(3 * np.arange(5), np.arange(5)) % 5
    np.testing.assert_array_equal(right, mask.numpy() | (values == guess))


def test_a_network_that_is_right_on_one_row_is_right_where_x_says_so():
    data, function = sequences(), (1, 3)
    asked = queries(data, function, 4)
    network = Knowing(asked)
    for row, (tokens, answers) in enumerate(zip(asked.tokens.tolist(), asked.answers, strict=True)):
        if row // 5 != 2:  # x
            network.answers[tuple(tokens)] = (answers + 1) % 5
    right, _ = shot_grid(network, data, function, 4)
    assert right.all(1).tolist() == [False, False, True, False, False]
    assert not right[[0, 1, 3, 4]].any()


def test_only_modulo_a_prime_is_there_a_grid():
    data = sequences(6)
    with pytest.raises(ValueError, match="modulus is 6; expected a prime"):
        shot_grid(transformer(data), data, (1, 1), 2)
    with pytest.raises(ValueError, match="shots is 6; expected 0 to 5"):
        shot_grid(transformer(sequences()), sequences(), (1, 1), 6)


# what heads hold


@pytest.mark.parametrize("shots", [0, 3, EXAMPLES - 1])
@pytest.mark.parametrize("head", [*product(range(2), range(2))])
def test_head_vectors_are_what_a_head_writes_at_both_inputs(monkeypatch, head, shots):
    monkeypatch.setattr(in_context, "AT_ONCE", 11)
    data = sequences()
    network = transformer(data)
    vectors = head_vectors(network, data, (2, 1), shots, head)
    assert vectors.shape == (25, 2 * 8)
    tokens = queries(data, (2, 1), shots).tokens
    for row, vector in zip(tokens, vectors, strict=True):
        written = head_outputs(network, row[None], head[0])[0, :, head[1]]
        torch.testing.assert_close(
            vector, torch.cat([written[3 * shots], written[3 * shots + 1]]), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("head", [*product(range(2), range(2))])
def test_head_vectors_vary_with_the_query_only(head):
    data = sequences()
    network = transformer(data)
    vectors = head_vectors(network, data, (2, 1), 3, head).view(5, 5, 2, 8)
    at_x, at_y = vectors.unbind(2)
    torch.testing.assert_close(at_x, at_x[:, :1].expand_as(at_x), atol=1e-5, rtol=1e-4)  # y comes later
    assert (at_x[:, 0, None] - at_x[:, 0]).norm(dim=-1)[~torch.eye(5, dtype=bool)].min() > 1e-4
    apart = (at_y.flatten(0, 1)[:, None] - at_y.flatten(0, 1)).norm(dim=-1)
    assert apart[~torch.eye(25, dtype=bool)].min() > 1e-5
    assert not torch.allclose(vectors, head_vectors(network, data, (2, 1), 3, head, seed=1).view(5, 5, 2, 8))


def test_a_wrong_block_is_refused():
    data = sequences()
    with pytest.raises(ValueError, match="The network has blocks 0 to 1, got 2"):
        head_vectors(transformer(data), data, (1, 1), 2, (2, 0))
    with pytest.raises(ValueError, match="shots is 6"):
        head_vectors(transformer(data), data, (1, 1), 6, (0, 0))


@pytest.mark.parametrize("dtype", [torch.double, torch.float, torch.bfloat16])
def test_similarities_are_correlations_of_rows(dtype):
    vectors = torch.randn(6, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    vectors[1], vectors[2], vectors[3] = 2 * vectors[0], -vectors[0], vectors[0] + 1
    found = similarities(vectors)
    np.testing.assert_allclose(found, np.corrcoef(vectors.double()), atol=1e-6)
    np.testing.assert_allclose(found[0, :4], [1, 1, -1, 1], atol=1e-2)


def test_what_does_not_vary_is_similar_to_nothing():
    found = similarities(torch.stack([torch.ones(4), torch.arange(4.0)]))
    np.testing.assert_allclose(found, [[0, 0], [0, 1]], atol=1e-6)


@pytest.mark.parametrize("modulus", [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31])
def test_logarithms_are_exponents_of_one_generator(modulus):
    logarithms = discrete_logarithms(modulus).tolist()
    assert logarithms[0] == -1
    assert sorted(logarithms[1:]) == [*range(modulus - 1)]
    base = logarithms.index(1) if modulus > 2 else 1
    assert all(pow(base, logarithms[residue], modulus) == residue for residue in range(1, modulus))


# what is left without heads


def right_of(network, data, kind, part):
    tokens, answers = rows_of(data, kind, part)
    with torch.no_grad():
        return (network(tokens, data.reads).argmax(-1).numpy() == answers).mean()


@pytest.mark.parametrize(("kind", "part"), [("new_both", "val"), ("known", "test")])
def test_accuracy_without_a_head_is_that_of_a_network_with_zeros_for_it(kind, part):
    data = sequences()
    network = transformer(data)
    whole = right_of(network, data, kind, part)
    left = pruned_accuracy(network, data, which=kind, part=part)
    assert left.shape == (2, 2)
    for block, head in product(range(2), range(2)):
        without = copy.deepcopy(network)
        without.decoder.blocks[block].attention.output.weight.data.view(8, 2, 4)[:, head] = 0
        assert left[block, head].item() == pytest.approx(right_of(without, data, kind, part))
    assert len({whole, *left.flatten().tolist()}) > 2
    assert right_of(network, data, kind, part) == whole


def test_accuracy_without_a_head_can_be_that_with_its_mean():
    data = sequences()
    network = transformer(data)
    left = pruned_accuracy(network, data, "mean")
    for block, head in product(range(2), range(2)):

        def average(module, inputs, head=head):
            mixed = inputs[0].clone()
            mixed[..., 4 * head : 4 * head + 4] = mixed[..., 4 * head : 4 * head + 4].mean(0)
            return (mixed,)

        handle = network.decoder.blocks[block].attention.output.register_forward_pre_hook(average)
        assert left[block, head].item() == pytest.approx(right_of(network, data, "new_both", "val"))
        handle.remove()
    assert not torch.equal(left, pruned_accuracy(network, data))


def test_a_wrong_replacement_is_refused():
    data = sequences()
    with pytest.raises(ValueError, match="`by` must be one of zero, mean, got 'median'"):
        pruned_accuracy(transformer(data), data, "median")
