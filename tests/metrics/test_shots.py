import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.metrics.shots import ShotMetrics

SETS = ("known", "new_inputs", "new_functions", "new_both")
EXAMPLES = 5


def sequences(rows, seed, sets=4, examples=EXAMPLES):
    """Sets, losses, predictions and answers; sums of these losses are exact."""
    random = np.random.default_rng(seed)
    kinds = random.integers(sets, size=rows)
    losses = random.integers(0, 64, (rows, examples)) / 16
    return kinds, losses.astype(np.float32), *random.integers(0, 3, (2, rows, examples))


def add(metric, columns):
    metric.update(*map(torch.from_numpy, columns))


def assert_equal(one, other):
    """To the bit."""
    assert list(one) == list(other)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, equal_nan=True)


@given(st.integers(1, 60), st.integers(0, 2**31))
def test_every_value_is_what_numpy_says(rows, seed):
    metric = ShotMetrics(SETS, EXAMPLES)
    kinds, losses, predictions, answers = columns = sequences(rows, seed)
    add(metric, columns)
    right, by_shots = predictions == answers, np.full((len(SETS), EXAMPLES), np.nan)
    measured = metric.compute()
    for number, name in enumerate(SETS):
        of_set = kinds == number
        for key, values in (("accuracy", right), ("last_accuracy", right[:, -1]), ("loss", losses)):
            expected = values[of_set].mean(dtype=float) if of_set.any() else np.nan
            np.testing.assert_allclose(measured.pop(f"{key}_{name}").item(), expected, rtol=1e-6)
            if name == SETS[-1]:
                np.testing.assert_allclose(measured.pop(key).item(), expected, rtol=1e-6)
        if of_set.any():
            by_shots[number] = right[of_set].mean(0)
    assert not measured
    np.testing.assert_allclose(metric.accuracy_by_shots().numpy(), by_shots, rtol=1e-6)


def test_exact_numbers():
    metric = ShotMetrics(("easy", "empty", "hard"), 2)
    kinds, answers = torch.tensor([0, 2, 0, 2, 0, 0]), torch.zeros(6, 2, dtype=torch.long)
    predictions = torch.tensor([[0, 0], [1, 0], [1, 0], [1, 1], [1, 0], [1, 1]])
    losses = torch.tensor([[1.0, 3.0], [4.0, 2.0], [0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    metric.update(kinds, losses, predictions, answers)
    measured = {name: value.item() for name, value in metric.compute().items() if "empty" not in name}
    easy = {"accuracy_easy": 0.5, "last_accuracy_easy": 0.75, "loss_easy": 1.0}
    hard = {"accuracy_hard": 0.25, "last_accuracy_hard": 0.5, "loss_hard": 2.0}
    assert measured == easy | hard | {"accuracy": 0.25, "last_accuracy": 0.5, "loss": 2.0}
    by_shots = metric.accuracy_by_shots()
    assert by_shots[::2].tolist() == [[0.25, 0.75], [0.0, 0.5]]
    assert by_shots[1].isnan().all()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 2**31))
def test_batches_of_any_size_measure_what_all_at_once_do(sizes, seed):
    whole, split = ShotMetrics(SETS, EXAMPLES), ShotMetrics(SETS, EXAMPLES)
    columns = sequences(sum(sizes), seed)
    add(whole, columns)
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends, strict=True):
        add(split, [column[start:end] for column in columns])
    assert_equal(whole.compute(), split.compute())


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 2**31))
def test_two_devices_measure_what_one_does(here, there, seed):
    one, first, second = (ShotMetrics(SETS, EXAMPLES) for _ in range(3))
    columns = sequences(here + there, seed)
    add(one, columns)
    add(first, [column[:here] for column in columns])
    add(second, [column[here:] for column in columns])
    first.merge_state(second)
    assert_equal(first.compute(), one.compute())


def test_a_set_without_rows_is_nan():
    metric = ShotMetrics(SETS, EXAMPLES)
    add(metric, sequences(20, 0, sets=3))
    measured = metric.compute()
    missing = {name for name, value in measured.items() if value.isnan()}
    keys = {"accuracy", "last_accuracy", "loss"}
    assert missing == keys | {f"{key}_new_both" for key in keys}
    assert metric.accuracy_by_shots().isnan().all(1).tolist() == [False, False, False, True]


def test_a_loss_that_is_nan_stays_in_its_set():
    metric = ShotMetrics(("one", "other"), 1)
    right = torch.zeros(2, 1, dtype=torch.long)
    metric.update(torch.tensor([0, 1]), torch.tensor([[float("nan")], [2.0]]), right, right)
    assert metric.compute()["loss_one"].isnan()
    assert metric.compute()["loss_other"] == 2


def test_losses_keep_no_graph():
    metric = ShotMetrics(("one",), 1)
    right = torch.zeros(3, 1, dtype=torch.long)
    metric.update(right[:, 0], torch.ones(3, 1, requires_grad=True), right, right)
    assert not metric.loss_sum.requires_grad


def test_a_reset_forgets():
    metric = ShotMetrics(SETS, EXAMPLES)
    add(metric, sequences(20, 0))
    metric.reset()
    add(metric, sequences(20, 1))
    fresh = ShotMetrics(SETS, EXAMPLES)
    add(fresh, sequences(20, 1))
    assert_equal(metric.compute(), fresh.compute())


def test_a_network_in_half_precision_is_summed_exactly():
    metric = ShotMetrics(("one",), 2).to(torch.bfloat16)
    right = torch.zeros(3, 2, dtype=torch.long)
    for _ in range(400):
        metric.update(right[:, 0], torch.full((3, 2), 1.5, dtype=torch.bfloat16), right, right)
    assert metric.compute()["loss"] == 1.5
    assert metric.compute()["accuracy"] == 1


def test_no_state_is_among_the_weights():
    assert ShotMetrics(SETS, EXAMPLES).state_dict() == {}
