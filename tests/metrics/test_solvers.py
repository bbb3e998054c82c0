from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.metrics.solvers import UNSOLVED, copying, modular_regression, ratio_matching

SOLVERS = (copying, ratio_matching, modular_regression)
SPACES = [(2, 2), (2, 3), (3, 1), (3, 2), (3, 3), (5, 1), (5, 2), (7, 2)]
"""Modulus and variables."""
MOST_SHOTS = {2: 6, 3: 5, 5: 4, 7: 3}


def problems(modulus, variables, shots, batch, seed):
    """Random functions, examples and queries; examples, values, queries and their values."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(modulus, (batch, shots + 1, variables), generator=generator)
    functions = torch.randint(modulus, (batch, 1, variables), generator=generator)
    values = (inputs * functions).sum(-1) % modulus
    return inputs[:, :-1], values[:, :-1], inputs[:, -1], values[:, -1]


def combined(examples, values, query, modulus, coefficients):
    """Value of the query by those of the combinations that give it, −1 where none does."""
    examples, values, query = (tensor.numpy() for tensor in (examples, values, query))
    gives = (coefficients @ examples % modulus == query).all(-1)
    found = {int(value) for value in coefficients[gives] @ values % modulus}
    assert len(found) <= 1
    return found.pop() if found else -1


def coefficients_of(solver, modulus, shots):
    """All combinations of examples that a solver may use."""
    if solver is modular_regression:
        rows = list(product(range(modulus), repeat=shots))
    else:
        factors = [1] if solver is copying else range(modulus)
        rows = [factor * row for row in np.eye(shots, dtype=int) for factor in factors]
    return np.array(rows, dtype=int).reshape(len(rows), shots)


@pytest.mark.parametrize("solver", SOLVERS)
@given(st.sampled_from(SPACES), st.data(), st.integers(0, 2**31))
def test_answers_are_those_of_all_combinations(solver, space, data, seed):
    modulus, variables = space
    shots = data.draw(st.integers(0, MOST_SHOTS[modulus]))
    examples, values, queries, _ = problems(modulus, variables, shots, 20, seed)
    coefficients = coefficients_of(solver, modulus, shots)
    expected = [combined(*row, modulus, coefficients) for row in zip(examples, values, queries, strict=True)]
    answers = solver(examples, values, queries, modulus)
    assert answers.dtype == torch.long
    assert answers.tolist() == expected


@given(st.sampled_from([*SPACES, (11, 2), (29, 2), (29, 3)]), st.integers(0, 31), st.integers(0, 2**31))
def test_each_is_right_and_answers_whatever_the_one_before_does(space, shots, seed):
    modulus, variables = space
    examples, values, queries, right = problems(modulus, variables, shots, 50, seed)
    solved = []
    for solver in SOLVERS:
        answers = solver(examples, values, queries, modulus)
        solved.append(answers != UNSOLVED)
        assert torch.equal(answers[solved[-1]], right[solved[-1]])
    copied, matched, regressed = solved
    assert not (copied & ~matched).any()
    assert not (matched & ~regressed).any()


@given(st.sampled_from([(5, 2), (29, 2), (7, 3)]), st.integers(0, 8), st.integers(0, 2**31))
def test_any_representative_of_a_residue_will_do(space, shots, seed):
    modulus, variables = space
    *given_, _ = problems(modulus, variables, shots, 30, seed)
    generator = torch.Generator().manual_seed(seed)
    shifted = [tensor + modulus * torch.randint(-3, 4, tensor.shape, generator=generator) for tensor in given_]
    for solver in SOLVERS:
        assert torch.equal(solver(*shifted, modulus), solver(*given_, modulus))


def test_one_query_for_each_solver():
    examples, values = torch.tensor([[[1, 2], [0, 3]]]).expand(4, 2, 2), torch.tensor([[1, 2]]).expand(4, 2)
    queries = torch.tensor([[0, 3], [3, 6], [1, 5], [0, 0]])  # the function is 2x + 3y modulo 7
    assert copying(examples, values, queries, 7).tolist() == [2, -1, -1, -1]
    assert ratio_matching(examples, values, queries, 7).tolist() == [2, 3, -1, 0]
    assert modular_regression(examples, values, queries, 7).tolist() == [2, 3, 3, 0]


def test_the_first_example_that_matches_answers():
    examples = torch.tensor([[[1, 1], [1, 2], [2, 4], [1, 2]]])
    values = torch.tensor([[0, 3, 5, 4]])  # no function has these
    assert copying(examples, values, torch.tensor([[1, 2]]), 7).tolist() == [3]
    assert ratio_matching(examples, values, torch.tensor([[2, 4]]), 7).tolist() == [6]


def test_without_shots_only_the_empty_combination_is_left():
    queries = torch.tensor([[0, 0], [0, 1], [1, 0]])
    nothing = torch.zeros(3, 0, 2, dtype=torch.long), torch.zeros(3, 0, dtype=torch.long), queries, 5
    assert [solver(*nothing).tolist() for solver in SOLVERS] == [[-1] * 3, [-1] * 3, [0, -1, -1]]


def test_an_empty_batch_has_no_answers():
    nothing = torch.zeros(0, 4, 2, dtype=torch.long), torch.zeros(0, 4, dtype=torch.long)
    for solver in SOLVERS:
        assert solver(*nothing, torch.zeros(0, 2, dtype=torch.long), 5).shape == (0,)


@pytest.mark.parametrize("solver", [ratio_matching, modular_regression])
@pytest.mark.parametrize("modulus", [-5, 0, 1, 4, 9, 25, 91])
def test_only_primes_will_do(solver, modulus):
    with pytest.raises(ValueError, match=f"modulus is {modulus}; expected a prime"):
        solver(*problems(5, 2, 3, 1, 0)[:3], modulus)


# --- how much ratio matching can solve


@given(st.sampled_from([3, 5, 29]), st.integers(1, 40), st.booleans(), st.integers(0, 2**31))
def test_each_ratio_solves_its_line_of_the_grid(modulus, shots, few, seed):
    examples, values, _, _ = problems(modulus, 2, shots, 1, seed)
    if few:  # many examples of few ratios
        examples = examples[:, :1] * torch.arange(shots)[:, None] % modulus
    grid = torch.cartesian_prod(*[torch.arange(modulus)] * 2)
    answers = ratio_matching(examples.expand(len(grid), -1, -1), values.expand(len(grid), -1), grid, modulus)
    ratios = {
        "vertical" if x == 0 else y * pow(x, modulus - 2, modulus) % modulus for x, y in examples[0].tolist() if x or y
    }
    assert (answers != UNSOLVED).sum() == 1 + (modulus - 1) * len(ratios)


def expected_share(modulus, shots):
    """Share of all queries that ratio matching solves with random examples, by the number of ratios so far."""
    total, line = modulus**2, modulus - 1
    chances = {0: Fraction(1)}
    for _ in range(shots):
        after = dict.fromkeys([*chances, max(chances) + 1], Fraction(0))
        for ratios, chance in chances.items():
            stays = Fraction(1 + ratios * line, total)
            after[ratios] += chance * stays
            after[ratios + 1] += chance * (1 - stays)
        chances = {ratios: chance for ratios, chance in after.items() if chance}
    return sum(chance * Fraction(1 + line * ratios, total) for ratios, chance in chances.items())


@pytest.mark.parametrize(("modulus", "shots"), [(2, 1), (2, 3), (3, 1), (3, 2)])
def test_the_expected_share_is_that_of_all_examples(modulus, shots):
    points = list(product(range(modulus), repeat=2))
    cases = torch.tensor([[*examples, query] for examples in product(points, repeat=shots) for query in points])
    answers = ratio_matching(cases[:, :-1], torch.zeros(len(cases), shots, dtype=torch.long), cases[:, -1], modulus)
    assert Fraction(int((answers != UNSOLVED).sum()), len(cases)) == expected_share(modulus, shots)


@pytest.mark.parametrize(("shots", "percent"), [(1, 3.4), (13, 36), (31, 65)])
def test_random_examples_of_the_paper_leave_this_ceiling(shots, percent):
    expected = float(expected_share(29, shots))
    solved = ratio_matching(*problems(29, 2, shots, 20_000, shots)[:3], 29) != UNSOLVED
    assert abs(100 * expected - percent) < 0.5
    assert abs(solved.double().mean().item() - expected) < 0.01
