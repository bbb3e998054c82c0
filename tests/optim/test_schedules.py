import io
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from grok_lightning.optim import ParameterRule, WarmupCosine, build_optimizer

TOP = 1.5e-4


def optimiser(*rates):
    return SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (TOP,)])


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def advance(optimizer, scheduler, steps=1):
    """The learning rates of the first group before each of some steps and after the last."""
    seen = rates(optimizer)[:1]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        seen += rates(optimizer)[:1]
    return seen


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.01),
        (1, 0.010099),
        (5000, 0.505),
        (9999, 0.999901),
        (10_000, 1.0),
        (57_500, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2),
        (105_000, 0.55),
        (200_000, 0.1),
        (200_001, 0.1),
        (1_000_000, 0.1),
    ],
)
def test_the_defaults_are_those_of_the_paper(step, share):
    optimizer = optimiser()
    scheduler = WarmupCosine(optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * TOP, rel=1e-12)
    scheduler.last_epoch = step - 1
    if step:
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(share * TOP, rel=1e-12)
    assert scheduler.get_last_lr() == rates(optimizer)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 60), st.floats(0.001, 1), st.floats(0, 1))
def test_every_step_is_that_of_the_pieces_torch_has(warmup, cosine, start, floor):
    optimizer, reference = optimiser(TOP), optimiser(TOP)
    scheduler = WarmupCosine(optimizer, warmup + cosine, warmup, start, floor)
    rise = LinearLR(reference, start_factor=start, total_iters=warmup)
    fall = CosineAnnealingLR(reference, T_max=cosine, eta_min=floor * TOP)
    pieces = SequentialLR(reference, [rise, fall], milestones=[warmup])
    expected = advance(reference, pieces, warmup + cosine)
    found = advance(optimizer, scheduler, warmup + cosine)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12 * TOP)


def test_it_rises_in_equal_steps_then_falls_and_stays():
    optimizer = optimiser(1.0)
    seen = advance(optimizer, WarmupCosine(optimizer, 20, 8, start=0.2, floor=0.25), 40)
    assert [after - before for before, after in pairwise(seen[:9])] == pytest.approx([0.1] * 8)
    assert max(seen) == seen[8] == 1
    assert all(after < before for before, after in pairwise(seen[8:21]))
    assert seen[20:] == pytest.approx([0.25] * 21)


def test_without_a_warmup_it_begins_at_the_top():
    optimizer = optimiser(2.0)
    assert advance(optimizer, WarmupCosine(optimizer, 2, 0, floor=0.0), 3) == pytest.approx([2, 1, 0, 0])


def test_rates_of_several_groups_keep_their_ratios():
    optimizer = optimiser(1e-3, 3e-3, 0.0)
    scheduler = WarmupCosine(optimizer, 20, 5)
    for _ in range(25):
        first, second, third = rates(optimizer)
        assert first > 0
        assert second == pytest.approx(3 * first, rel=1e-12)
        assert third == 0
        advance(optimizer, scheduler)


def test_rules_multiply_the_scheduled_rates():
    network = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "rest": nn.Linear(2, 2)})
    rules = [ParameterRule("embedding", lr=0.5)]
    optimizer = build_optimizer(lambda groups: AdamW(groups, lr=TOP), network.named_parameters(), rules)
    scheduler = WarmupCosine(optimizer, 20, 5)
    advance(optimizer, scheduler, 5)
    assert rates(optimizer) == pytest.approx([0.5 * TOP, TOP])
    advance(optimizer, scheduler, 30)
    assert rates(optimizer) == pytest.approx([0.05 * TOP, 0.1 * TOP])


@pytest.mark.parametrize("end", [0, 3, 8, 15, 30])
def test_a_saved_schedule_goes_on(end):
    whole, first, second = optimiser(), optimiser(), optimiser()
    expected = advance(whole, WarmupCosine(whole, 20, 8), 30)
    scheduler = WarmupCosine(first, 20, 8)
    advance(first, scheduler, end)
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = WarmupCosine(second, 20, 8)
    second.load_state_dict(saved["optimizer"])
    again.load_state_dict(saved["scheduler"])
    assert advance(second, again, 30 - end) == expected[end:]


def test_the_state_has_the_numbers_of_the_schedule():
    numbers = {"total_steps": 20, "warmup_steps": 8, "start": 0.2, "floor": 0.3}
    scheduler = WarmupCosine(optimiser(), **numbers)
    assert scheduler.state_dict()["lr_lambdas"] == [numbers]
    other = optimiser()
    resumed = WarmupCosine(other)  # asked for something else, it goes on with what it was
    resumed.load_state_dict(scheduler.state_dict())
    assert advance(other, resumed, 25)[-1] == pytest.approx(0.3 * TOP)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_steps": -1}, "warmup_steps is -1; expected 0 or more and fewer than 200000, the total"),
        ({"warmup_steps": 200_000}, "warmup_steps is 200000; expected 0 or more and fewer than 200000"),
        ({"total_steps": 10_000}, "warmup_steps is 10000; expected 0 or more and fewer than 10000"),
        ({"total_steps": 0, "warmup_steps": 0}, "warmup_steps is 0; expected 0 or more and fewer than 0"),
        ({"start": -0.1}, "start is -0.1; expected a share of the learning rate, from 0 to 1"),
        ({"start": 1.5}, "start is 1.5; expected a share"),
        ({"floor": 1.1}, "floor is 1.1; expected a share"),
        ({"floor": -1e-5}, "floor is -1e-05; expected a share"),
        ({"floor": float("nan")}, "floor is nan; expected a share"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WarmupCosine(optimiser(), **options)
