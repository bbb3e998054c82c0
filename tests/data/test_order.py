"""Random orders of numbers, none twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.data.order import RandomOrder


@settings(deadline=None)
@given(total=st.integers(1, 5000), seed=st.integers(0, 2**40))
def test_an_order_is_a_permutation(total, seed):
    assert sorted(RandomOrder(total, seed).stretch(0, total)) == list(range(total))


@settings(deadline=None)
@given(total=st.integers(1, 2**62), seed=st.integers(0, 99), start=st.integers(0, 2**62 - 1), count=st.integers(0, 50))
def test_a_stretch_is_part_of_the_whole_at_any_size(total, seed, start, count):
    order = RandomOrder(total, seed)
    stretch = order.stretch(start % total, start % total + count)
    assert len(stretch) == min(count, total - start % total)
    assert len(set(stretch.tolist())) == len(stretch)
    assert all(0 <= number < total for number in stretch.tolist())
    for place, number in enumerate(stretch[:3].tolist(), start % total):
        assert order.stretch(place, place + 1).tolist() == [number]


def test_orders_differ_by_seed_and_look_random():
    orders = np.array([RandomOrder(50, (seed, 1)).stretch(0, 50) for seed in range(2000)])
    assert len({tuple(order) for order in orders.tolist()}) == 2000
    # Each number is at each place equally often; for sums of permutation matrices the mean is n (n − 1).
    counts = np.array([np.bincount(column, minlength=50) for column in orders.T])
    statistic = ((counts - 40) ** 2 / 40).sum()
    assert abs(statistic - 50 * 49) < 5 * 50 * 2**0.5
    # Neighbours in the order are not neighbours in size.
    steps = np.abs(np.diff(RandomOrder(10**12, 0).stretch(0, 2000).astype(float)))
    assert steps.mean() == pytest.approx(10**12 / 3, rel=0.05)


def test_more_rows_than_can_be_counted_are_refused():
    with pytest.raises(ValueError, match="expected 1 to 2⁶²"):
        RandomOrder(97**10, 0)
