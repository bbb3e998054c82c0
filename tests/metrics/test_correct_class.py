import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.metrics import CorrectClassLoss


def batch(rows, seed, vocabulary=5, dtype=torch.float):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=generator, dtype=dtype)
    return logits, torch.randint(vocabulary, (rows,), generator=generator)


def value(metric):
    return metric.compute()["correct_class_loss"]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 10**6))
def test_batches_of_any_size_measure_what_all_rows_at_once_do(sizes, seed):
    batches = [batch(size, seed + place) for place, size in enumerate(sizes)]
    metric = CorrectClassLoss()
    for each in batches:
        metric.update(*each)
    errors = [
        (row[answer] - 1) ** 2
        for logits, answers in batches
        for row, answer in zip(logits.tolist(), answers.tolist(), strict=True)
    ]
    torch.testing.assert_close(value(metric).item(), sum(errors) / len(errors), rtol=1e-5, atol=1e-6)


def test_it_is_the_squared_error_of_all_outputs_without_that_of_the_wrong_ones():
    logits, answers = batch(50, 0)
    metric = CorrectClassLoss()
    metric.update(logits, answers)
    one_hot = F.one_hot(answers, 5).float()
    wrong_ones = (logits * (1 - one_hot)).square().sum(1).mean()
    torch.testing.assert_close(value(metric) + wrong_ones, F.mse_loss(logits, one_hot) * 5)


def test_two_devices_measure_what_one_does():
    here, there = batch(30, 0), batch(17, 1)
    one, first, second = (CorrectClassLoss() for _ in range(3))
    one.update(*(torch.cat(columns) for columns in zip(here, there, strict=True)))
    first.update(*here)
    second.update(*there)
    first.merge_state(second)
    torch.testing.assert_close(value(first), value(one))


def test_a_reset_forgets():
    metric = CorrectClassLoss()
    metric.update(*batch(10, 0))
    metric.reset()
    metric.update(torch.tensor([[7.0, 3.0]]), torch.tensor([1]))
    assert value(metric) == 4


def test_without_rows_it_is_nan():
    metric = CorrectClassLoss()
    metric.update(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    assert value(metric).isnan()


def test_no_graph_is_kept():
    logits, answers = batch(4, 0)
    metric = CorrectClassLoss()
    metric.update(logits.requires_grad_(), answers)
    assert not value(metric).requires_grad


def test_a_network_in_half_precision_is_measured_as_well():
    logits, answers = batch(4, 0)
    half = CorrectClassLoss().to(torch.bfloat16)
    for _ in range(1000):
        half.update(logits.bfloat16(), answers)
    exact = (logits.bfloat16().double()[range(4), answers] - 1).square().mean()
    torch.testing.assert_close(value(half).item(), exact.item(), rtol=1e-5, atol=0.0)


def test_double_precision_is_kept():
    logits, answers = batch(100, 0, dtype=torch.double)
    metric = CorrectClassLoss()
    metric.update(logits, answers)
    exact = (logits[range(100), answers] - 1).square().mean()
    torch.testing.assert_close(value(metric), exact, rtol=1e-14, atol=0.0)


def test_no_state_is_among_the_weights():
    assert CorrectClassLoss().state_dict() == {}
