import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.metrics import AnswerMetrics


def batch(rows, vocabulary=5, generator=None):
    logits = torch.randn(rows, vocabulary, generator=generator)
    return logits, torch.randint(vocabulary, (rows,), generator=generator)


def add(metrics, logits, answers):
    metrics.update(F.cross_entropy(logits, answers), logits.argmax(-1), answers)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 10**6))
def test_batches_of_any_size_measure_what_all_rows_at_once_do(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    batches = [batch(size, generator=generator) for size in sizes]
    metrics = AnswerMetrics()
    for logits, answers in batches:
        add(metrics, logits, answers)
    measured = metrics.compute()

    rows = [(row, int(answer)) for logits, answers in batches for row, answer in zip(logits, answers, strict=True)]
    losses = [float(row.double().logsumexp(0) - row[answer]) for row, answer in rows]
    right = [max(range(5), key=row.tolist().__getitem__) == answer for row, answer in rows]
    torch.testing.assert_close(measured["loss"].item(), sum(losses) / len(rows), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(measured["accuracy"].item(), sum(right) / len(rows), rtol=1e-6, atol=0.0)


def test_several_batches_at_once_count_as_one_after_another():
    batches = [batch(6, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    one_by_one, together = AnswerMetrics(), AnswerMetrics()
    for logits, answers in batches:
        add(one_by_one, logits, answers)
    logits, answers = (torch.stack(column) for column in zip(*batches, strict=True))
    losses = torch.stack([F.cross_entropy(*each) for each in batches])
    together.update(losses, logits.argmax(-1), answers)
    assert together.compute() == one_by_one.compute()  # to the bit
    assert together.totals()["rows"] == 24


def test_a_reset_forgets():
    metrics = AnswerMetrics()
    add(metrics, torch.tensor([[9.0, 0.0]]), torch.tensor([1]))
    metrics.reset()
    add(metrics, torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
    assert metrics.compute()["accuracy"] == 1
    assert metrics.compute()["loss"] < 1e-3


def test_without_rows_both_are_nan():
    metrics = AnswerMetrics()
    metrics.update(torch.tensor(0.0), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    assert all(value.isnan() for value in metrics.compute().values())


def test_no_graph_is_kept():
    logits = torch.randn(4, 3, requires_grad=True)
    metrics = AnswerMetrics()
    add(metrics, logits, torch.tensor([0, 1, 2, 0]))
    assert not any(value.requires_grad for value in metrics.compute().values())


def test_a_network_in_half_precision_is_measured_as_well():
    logits, answers = batch(4, generator=torch.Generator().manual_seed(0))
    exact, half = AnswerMetrics(), AnswerMetrics().to(torch.bfloat16)
    for _ in range(1000):
        add(exact, logits, answers)
        add(half, logits, answers)
    assert torch.equal(exact.compute()["loss"], half.compute()["loss"])


def test_totals_continue_a_count():
    generator = torch.Generator().manual_seed(1)
    first, second = batch(7, generator=generator), batch(9, generator=generator)
    whole, before, after = AnswerMetrics(), AnswerMetrics(), AnswerMetrics()
    add(before, *first)
    add(after, *second)  # forgotten
    after.restore(before.totals())
    for metrics in (whole, before):
        add(metrics, *(first if metrics is whole else second))
    add(whole, *second)
    add(after, *second)
    assert whole.compute() == before.compute() == after.compute()


def test_restored_totals_count_as_batches():
    before, after = AnswerMetrics(), AnswerMetrics()
    add(before, *batch(3))
    after.restore(before.totals())
    assert after.update_called
    assert after.compute() == before.compute()
