import math
import warnings

import numpy as np
import pytest

from grok_lightning.curves import Curve, Trace, median_curve, spread

NAN = math.nan


def test_median_holds_the_last_value_of_grokked_runs_only():
    early = Curve([0, 10], [NAN, 1.0], [0.0, 1.0], grokked_at=10)
    broken = Curve([0, 10], [NAN, 0.6], [0.1, 0.2])
    long = Curve([0, 10, 20, 30], [NAN, 0.5, 0.7, 0.9], [0.2, 0.4, 0.6, 0.8])
    steps, train, validation = median_curve([early, broken, long])
    assert steps.tolist() == [0, 10, 20, 30]
    assert train.tolist()[1:] == pytest.approx([0.6, 0.85, 0.95])
    assert math.isnan(train[0])
    assert validation.tolist() == pytest.approx([0.1, 0.4, 0.8, 0.9])


def test_median_interpolates_between_evaluations():
    sparse = Curve([0, 20], [NAN, NAN], [0.0, 0.4])
    dense = Curve([0, 5, 20], [NAN, NAN, NAN], [0.0, 0.3, 0.4])
    steps, train, validation = median_curve([sparse, dense])
    assert steps.tolist() == [0, 5, 20]
    assert np.isnan(train).all()
    assert validation.tolist() == pytest.approx([0.0, 0.2, 0.4])


def test_spread_is_over_the_runs_that_count_at_each_step():
    grokked = Trace([0, 10], [0.0, 1.0], lasts=True)
    stopped = Trace([0, 20], [0.2, 0.6], lasts=False)
    late = Trace([5, 30], [3.0, 8.0], lasts=False)
    steps, median, lowest, highest = spread([grokked, stopped, late])
    assert steps.tolist() == [0, 5, 10, 20, 30]
    assert median.tolist() == pytest.approx([0.1, 0.5, 1.0, 1.0, 4.5])
    assert lowest.tolist() == pytest.approx([0.0, 0.3, 0.4, 0.6, 1.0])
    assert highest.tolist() == pytest.approx([0.2, 3.0, 4.0, 6.0, 8.0])


def test_what_is_not_finite_is_as_not_measured():
    broken = Trace([0, 10, 20, 30], [1.0, NAN, math.inf, 4.0], lasts=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spread([broken, Trace([5, 40], [NAN, NAN], lasts=True)])
    assert found.steps.tolist() == [0, 5, 10, 20, 30, 40]
    for levels in found[1:]:
        assert levels.tolist()[:5] == pytest.approx([1.0, 1.5, 2.0, 3.0, 4.0])
        assert np.isnan(levels[5])


@pytest.mark.parametrize("columns", [([], [], []), ([0, 1], [0], [0, 1]), ([0, 0], [0, 0], [0, 0])])
def test_malformed_curves_are_refused(columns):
    with pytest.raises(ValueError, match=r"curve with|steps must rise"):
        Curve(*columns)
