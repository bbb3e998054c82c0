from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.data.linear import choose_functions

seeds = st.integers(0, 2**63 - 1)
fitting = st.sampled_from([4, 5, 7, 11, 29]).flatmap(
    lambda modulus: st.tuples(st.just(modulus), st.integers(1, max(1, modulus**2 // 32)).map(lambda n: 4 * n))
)
"""A modulus and a number of functions so small that rectangles fit with every seed."""


def assert_all_there(functions, modulus, variables):
    rows = [tuple(row) for part in functions for row in part.tolist()]
    assert sorted(rows) == list(product(range(modulus), repeat=variables))
    assert all(part.dtype == torch.long and part.shape[1] == variables for part in functions)


def options(a, b, modulus):
    """All (a', b') that the rule allows where nothing is taken."""
    return [(c, d) for c in range(modulus) for d in range(modulus) if c not in (a, b) and d not in (a, b, c)]


@given(fitting, seeds)
def test_three_corners_follow_from_each_base(case, seed):
    modulus, count = case
    functions = choose_functions(modulus, count, seed)
    assert_all_there(functions, modulus, 2)
    known = [tuple(row) for row in functions.known.tolist()]
    assert len(known) == count
    bases, corners = known[: count // 4], known[count // 4 :]
    rebuilt = []
    for a, b in bases:
        other_a, other_b = corners[len(rebuilt) + 2]
        assert (other_a, other_b) in options(a, b, modulus)
        rebuilt += [(a, other_b), (other_a, b), (other_a, other_b)]
    assert corners == rebuilt


@pytest.mark.parametrize("base", [(1, 3), (2, 2)])
def test_every_rectangle_of_a_base_is_drawn_as_often(base):
    drawn = []
    for seed in range(6000):
        first, _, _, last = choose_functions(5, 4, seed).known.tolist()
        if tuple(first) == base:
            drawn.append(tuple(last))
    allowed = options(*base, 5)
    counts = np.array([drawn.count(option) for option in allowed])
    assert counts.sum() == len(drawn) > 150
    expected = len(drawn) / len(allowed)
    assert ((counts - expected) ** 2 / expected).sum() < 35  # χ² with at most 11 degrees of freedom: p > 2e-4


def test_every_function_is_a_base_at_times():
    firsts = {tuple(choose_functions(5, 4, seed).known[0].tolist()) for seed in range(300)}
    assert len(firsts) == 25


def test_the_grid_of_the_paper_fits():
    for exponent in range(3, 10):
        known, new = choose_functions(29, 2**exponent, exponent)
        assert len(known) == 2**exponent
        assert len(known) + len(new) == 841


@given(st.sampled_from([(2, 2), (5, 1), (5, 2), (29, 2), (3, 3), (5, 3), (3, 4)]), st.data(), seeds)
def test_random_functions_are_the_first_of_more(space, data, seed):
    modulus, variables = space
    few, many = sorted(data.draw(st.tuples(*[st.integers(1, modulus**variables - 1)] * 2)))
    fewer = choose_functions(modulus, few, seed, "random", variables)
    more = choose_functions(modulus, many, seed, "random", variables)
    for functions, count in ((fewer, few), (more, many)):
        assert_all_there(functions, modulus, variables)
        assert len(functions.known) == count
    assert torch.equal(more.known[:few], fewer.known)


def test_every_function_is_known_and_new_at_random():
    counts = sum(
        torch.bincount(known @ torch.tensor([9, 3, 1]), minlength=27)
        for known in (choose_functions(3, 9, seed, "random", 3).known for seed in range(900))
    )
    assert (counts - 300).abs().max() < 5 * 200**0.5  # five standard deviations


@pytest.mark.parametrize("selection", ["rectangular", "random"])
def test_the_seed_alone_decides(selection):
    expected = choose_functions(7, 8, 3, selection)
    numpy_before = np.random.get_state()[1].tolist()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    with torch.device("meta"):
        again = choose_functions(7, 8, 3, selection)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before
    assert all(torch.equal(one, other) for one, other in zip(expected, again, strict=True))
    assert not torch.equal(expected.known, choose_functions(7, 8, 4, selection).known)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"selection": "rectangle"}, "selection is 'rectangle'; expected .* did you mean 'rectangular'?"),
        ({"selection": "rand"}, "selection is 'rand'; expected .* did you mean 'random'?"),
        ({"selection": None}, "selection is None; expected one of"),
        ({"count": 0}, "functions is 0; expected 1 to 24"),
        ({"count": 25}, "functions is 25; expected 1 to 24, so that of the 25 functions of 2 variables modulo 5"),
        ({"count": 125, "selection": "random", "variables": 3}, "functions is 125; expected 1 to 124"),
        ({"count": 6}, "functions is 6; expected a multiple of 4 for rectangles, or selection: random"),
        ({"variables": 3}, "selection is 'rectangular', which needs 2 variables, not 3; expected 'random'"),
        ({"modulus": 2, "count": 1}, "functions is 1; expected a multiple of 4"),
        (
            {"modulus": 3, "seed": 0},
            "functions is 4, for which rectangles modulo 3 with seed 0 do not fit; expected selection: random$",
        ),
    ],
)
def test_what_is_impossible_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_functions(**{"modulus": 5, "count": 4, "seed": 0} | arguments)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_too_many_rectangles_are_refused_with_the_most_that_fit(seed):
    with pytest.raises(
        ValueError, match=r"expected \d+, the largest number below that fits, or selection: ran"
    ) as error:
        choose_functions(7, 48, seed)
    largest = int(str(error.value).split("expected ")[1].split(",")[0])
    assert len(choose_functions(7, largest, seed).known) == largest
    for count in range(largest + 4, 48, 4):
        with pytest.raises(ValueError, match=f"functions is {count}, .* expected {largest}, "):
            choose_functions(7, count, seed)


def test_the_stream_of_a_seed_stays_the_same():
    known, new = choose_functions(29, 8, 0)
    assert known.tolist() == [[9, 0], [25, 2], [9, 8], [20, 0], [20, 8], [25, 12], [13, 2], [13, 12]]
    assert new[:2].tolist() == [[22, 19], [18, 20]]
    assert choose_functions(5, 3, 0, "random", 3).known.tolist() == [[0, 2, 4], [3, 2, 0], [4, 3, 3]]
