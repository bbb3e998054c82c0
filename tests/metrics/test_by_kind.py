import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.metrics import AccuracyByKind

NAMES = ("add", "sub", "mul")


def add(metric, rows):
    metric.update(*(torch.tensor(column, dtype=torch.long) for column in (list(zip(*rows, strict=True)) or [()] * 3)))


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)), max_size=30)
"""Kind, prediction and answer of some equations."""


@given(st.lists(rows, min_size=1, max_size=4))
def test_batches_of_any_size_measure_what_counting_rows_does(batches):
    metric = AccuracyByKind(NAMES)
    for batch in batches:
        add(metric, batch)
    measured = metric.compute()
    assert tuple(measured) == NAMES
    for kind, name in enumerate(NAMES):
        right = [prediction == answer for batch in batches for of, prediction, answer in batch if of == kind]
        if right:
            torch.testing.assert_close(measured[name].item(), sum(right) / len(right), rtol=1e-6, atol=0.0)
        else:
            assert measured[name].isnan()


@given(rows, rows)
def test_two_devices_measure_what_one_does(here, there):
    one, first, second = (AccuracyByKind(NAMES) for _ in range(3))
    add(one, here + there)
    add(first, here)
    add(second, there)
    first.merge_state(second)
    for value, expected in zip(first.compute().values(), one.compute().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


def test_a_reset_forgets():
    metric = AccuracyByKind(NAMES)
    add(metric, [(0, 1, 1), (1, 0, 1)])
    metric.reset()
    add(metric, [(1, 1, 1)])
    assert metric.compute()["sub"] == 1
    assert metric.compute()["add"].isnan()


def test_a_network_in_half_precision_is_counted_exactly():
    metric = AccuracyByKind(NAMES).to(torch.bfloat16)
    for _ in range(300):
        add(metric, [(0, 1, 1), (0, 1, 1), (0, 0, 1)])
    assert abs(metric.compute()["add"].item() - 2 / 3) < 1e-6


def test_no_state_is_among_the_weights():
    assert AccuracyByKind(NAMES).state_dict() == {}
