import math
import random
from fractions import Fraction
from itertools import product
from statistics import median, median_low

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.statistics import bootstrap_interval, kaplan_meier_quantile, quartiles

pytestmark = pytest.mark.filterwarnings("error")

INF, NAN = math.inf, math.nan
NUMBERS = st.floats(-1e6, 1e6)
STEPS = st.integers(0, 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], (7, 7, 7)),
        ([4, 1, 3, 2], (1.75, 2.5, 3.25)),
        ([5, 1, 3, 4, 2], (2, 3, 4)),
        ([1, 2, 3, 4, INF], (2, 3, 4)),
        ([1, 2, 3, INF, INF], (2, 3, INF)),
        ([1, 2, INF], (1.5, 2, INF)),
        ([1, INF], (INF, INF, INF)),
        ([INF, INF, INF], (INF, INF, INF)),
        ([0.99, 0.99, 0.99, 0.99], (0.99, 0.99, 0.99)),
    ],
)
def test_quartiles_lie_on_the_line_between_neighbours(values, expected):
    assert quartiles(values) == expected


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1))
def test_quartiles_of_numbers_are_numpys(values):
    assert quartiles(values) == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]).tolist(), rel=1e-12, abs=1e-9)


@settings(deadline=None)
@given(st.lists(NUMBERS | st.just(INF), min_size=1))
def test_a_quartile_is_infinite_exactly_if_the_neighbour_above_is(values):
    above = np.quantile(values, [0.25, 0.5, 0.75], method="higher")
    assert np.isinf(quartiles(values)).tolist() == np.isinf(above).tolist()
    assert not np.isnan(quartiles(values)).any()


def test_kaplan_meier_of_a_small_example_by_hand():
    # Of 6 seeds one has it at 100 (5/6), one is lost at 150, one of 4 has it at 200 (5/8), one is lost at 250, and one
    # of 2 has it at 300 (5/16).
    reached, followed = [100, None, 200, None, 300, None], [500, 150, 500, 250, 500, 400]
    assert kaplan_meier_quantile(reached, followed) == 300
    # Had all been followed to the end, the share after the third event would be just one half: the same step.
    assert kaplan_meier_quantile(reached, [500] * 6) == 300
    # Lost after it, the last one changes nothing; lost before the first event, two of the others no longer count.
    assert kaplan_meier_quantile([100, None, 200, None, 300, None], [500, 50, 500, 50, 500, 400]) == 200


@pytest.mark.parametrize(
    ("reached", "followed", "expected"),
    [
        ([5], [9], 5),
        ([None], [9], INF),
        ([None, None, None], [1, 2, 3], INF),
        ([5, None], [9, 9], 5),  # one half is enough
        ([5, None, None], [9, 9, 9], INF),
        ([5, None], [5, 5], 5),  # lost at the step of the event: still followed there
        ([5, None], [5, 4], 5),
        ([0, 0, 3], [3, 3, 3], 0),
        ([7, None, 3, None], [7.5, 2, 7.5, 2], 3),  # 2/2 followed, 1/2 after 3
    ],
)
def test_kaplan_meier_at_the_edges(reached, followed, expected):
    assert kaplan_meier_quantile(reached, followed) == expected


def product_limit(reached, followed):
    share = Fraction(1)
    for event in sorted({step for step in reached if step is not None}):
        ends = [last if step is None else step for step, last in zip(reached, followed, strict=True)]
        share *= 1 - Fraction(reached.count(event), sum(end >= event for end in ends))
        if share <= Fraction(1, 2):
            return event
    return INF


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), STEPS, STEPS), min_size=1, max_size=12))
def test_kaplan_meier_is_the_product_limit(seeds):
    reached = [step if had else None for had, step, _ in seeds]
    followed = [step + more for _, step, more in seeds]
    assert kaplan_meier_quantile(reached, followed) == product_limit(reached, followed)


@pytest.mark.parametrize("size", range(1, 60))
def test_one_half_is_one_half_in_whatever_steps_it_is_reached(size):
    # Without losses the share is exactly one half after half the seeds, however the product is rounded.
    reached = list(range(size)) + [None] * size
    assert kaplan_meier_quantile(reached, [1000] * len(reached)) == size - 1


@settings(deadline=None)
@given(st.lists(STEPS, min_size=1))
def test_kaplan_meier_without_losses_is_the_lower_median(steps):
    assert kaplan_meier_quantile(steps, [20] * len(steps)) == median_low(steps)


def exact_medians(values):
    return sorted(median(resample) for resample in product(values, repeat=len(values)))


@pytest.mark.parametrize("values", [[1, 2, 4, 8], [300, 200, 200, 400], [1, 2, 3, INF], [1, INF, INF, INF]])
@pytest.mark.parametrize("confidence", [0.5, 0.68, 0.8, 0.9, 0.95, 0.99])
def test_bootstrap_is_that_of_all_resamples_within_sampling_error(values, confidence):
    medians = exact_medians(values)
    bounds = bootstrap_interval(values, confidence)
    for bound, share in zip(bounds, [(1 - confidence) / 2, (1 + confidence) / 2], strict=True):
        error = 4 * math.sqrt(share * (1 - share) / 9999)
        below = sum(middle < bound for middle in medians) / len(medians)
        to_here = sum(middle <= bound for middle in medians) / len(medians)
        assert below - error <= share <= to_here + error


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 2], (1, 3)),
        ([175, 200, 200, 225, 300], (175, 300)),
        ([1, 2, INF], (1, INF)),
        ([INF, INF, INF, INF], (INF, INF)),
        ([1e20, INF, INF], (1e20, INF)),
        ([-5, -3, INF], (-5, INF)),
    ],
)
def test_bootstrap_of_few_values_is_their_range(values, expected):
    assert bootstrap_interval(values) == expected


def test_bootstrap_of_many_values_is_narrower_than_their_range():
    low, high = bootstrap_interval([*range(1, 40), INF])
    assert 10 < low < 20.5 < high < 31
    wide = bootstrap_interval(range(40), 0.99)
    narrow = bootstrap_interval(range(40), 0.8)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@settings(deadline=None)
@given(st.lists(NUMBERS | st.just(INF), min_size=3, max_size=9), st.randoms(use_true_random=False))
def test_bootstrap_is_the_same_again_in_any_order_and_within_the_values(values, order: random.Random):
    low, high = bootstrap_interval(values, resamples=200)
    assert min(values) <= low <= high <= max(values)
    order.shuffle(values)
    assert bootstrap_interval(values, resamples=200) == (low, high)


@settings(deadline=None)
@given(NUMBERS, st.integers(3, 8))
def test_bootstrap_of_equal_values_is_that_value(value, count):
    assert bootstrap_interval([value] * count, resamples=50) == (value, value)


@pytest.mark.parametrize("values", [[], [1], [1, 2]])
def test_two_values_have_no_interval(values):
    assert bootstrap_interval(values) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quartiles([]), "at least one value"),
        (lambda: quartiles([1, NAN]), "each a number"),
        (lambda: quartiles([1, -INF]), "each a number"),
        (lambda: kaplan_meier_quantile([], []), "at least one"),
        (lambda: kaplan_meier_quantile([1], [1, 2]), "1 seeds reached, 2 followed"),
        (lambda: kaplan_meier_quantile([INF], [INF]), "not finite"),
        (lambda: kaplan_meier_quantile([None], [NAN]), "not finite"),
        (lambda: kaplan_meier_quantile([5, None], [4, 9]), "after the last step"),
        (lambda: bootstrap_interval([1, 2, NAN]), "each a number"),
        (lambda: bootstrap_interval([1, 2, 3], confidence=0), "between 0 and 1"),
        (lambda: bootstrap_interval([1, 2, 3], confidence=95), "between 0 and 1"),
        (lambda: bootstrap_interval([1, 2, 3], resamples=0), "must be positive"),
    ],
)
def test_what_is_no_sample_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
