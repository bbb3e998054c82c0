import itertools
import math
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from grok_lightning.callbacks import Cadence, Evaluation, Snapshots, next_boundary


def steps(cadence, count):
    return list(itertools.islice(itertools.accumulate(itertools.repeat(0), lambda step, _: cadence.after(step)), count))


@given(st.integers(1, 1000))
def test_a_growth_of_one_is_evenly_spaced(every):
    assert steps(Cadence(every), 20) == list(range(0, 20 * every, every))


@given(st.integers(1, 200), st.floats(1, 3))
@example(93, 1.1)
def test_the_next_step_is_the_next_multiple_or_the_growth_where_that_is_later(every, growth):
    for step, following in itertools.pairwise(steps(Cadence(every, growth), 30)):
        multiple = next(number for number in itertools.count(step + 1) if number % every == 0)
        grown = round(step * growth, 6)
        assert following == multiple if multiple >= grown else grown <= following < grown + 1
        assert following > step


def test_growth_makes_the_end_logarithmic():
    spaced = steps(Cadence(25, 1.5), 12)
    assert spaced[:4] == [0, 25, 50, 75]
    assert all(math.isclose(b / a, 1.5, rel_tol=0.02) for a, b in itertools.pairwise(spaced[4:]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0), "every_n_steps is 0; expected a positive number"),
        ((25, 0.9), "growth is 0.9; expected 1"),
        ((25, math.nan), "growth is nan"),
        ((25, math.inf), "growth is inf"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cadence(*arguments)


def boundaries(max_steps, *callbacks):
    trainer = SimpleNamespace(max_steps=max_steps, callbacks=callbacks)
    return [next_boundary(trainer, step) for step in range(12)]


def at(callback, next_step):
    callback.next_step = next_step
    return callback


def test_the_next_boundary_is_the_nearest_of_all():
    checkpoint = ModelCheckpoint(every_n_train_steps=4)
    assert boundaries(11, at(Evaluation(), 6), checkpoint, EarlyStopping("x"))[:11] == [
        *[4] * 4,
        *[6] * 2,
        *[8] * 2,
        *[11] * 3,
    ]
    assert boundaries(10, at(Evaluation(), 6), at(Snapshots(["decoder"]), 5))[:10] == [5] * 5 + [6] + [10] * 4


def test_a_checkpoint_by_epochs_is_no_boundary():
    assert boundaries(100, ModelCheckpoint(), ModelCheckpoint(every_n_epochs=2)) == [100] * 12


def test_where_nothing_is_due_every_batch_stands_alone():
    assert boundaries(-1) == list(range(1, 13))
    assert boundaries(-1, at(Evaluation(), 5)) == [5] * 5 + list(range(6, 13))


@given(st.integers(1, 40), st.floats(1, 3), st.integers(0, 3000))
def test_the_step_beyond_any_is_the_first_of_the_cadence_after_it(every, growth, step):
    cadence = Cadence(every, growth)
    steps = [0]
    while steps[-1] <= step:
        steps.append(cadence.after(steps[-1]))
    assert cadence.beyond(step, 0) == steps[-1]
    assert cadence.beyond(step, steps[-1]) == steps[-1]
