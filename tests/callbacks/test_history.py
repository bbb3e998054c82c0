"""Histories: what is due, what is dropped, what a resumed run goes on with."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.callbacks.history import History

increasing_steps = st.lists(st.integers(0, 1000), min_size=65, max_size=300, unique=True).map(sorted)


def filled(steps, every_n_steps=1, growth=1.0):
    history = History(every_n_steps, growth)
    for step in steps:
        if history.is_due(step):
            history.keep(step, f"at {step}")
    return history


def test_the_first_step_at_or_after_each_of_the_cadence_is_kept():
    assert list(filled(range(0, 14, 2), every_n_steps=3)) == [0, 4, 6, 10, 12]
    assert list(filled(range(40), every_n_steps=5, growth=2)) == [0, 5, 10, 20]


def test_an_entry_may_be_kept_before_it_is_due():
    history = filled([0], every_n_steps=10)
    history.keep(4, "the last step")
    assert (list(history), history.due) == ([0, 4], 10)


def test_more_than_64_entries_lose_every_second_one_but_the_ends():
    assert list(filled(range(0, 320, 5))) == [*range(0, 320, 5)]
    odd, even = filled([*range(0, 320, 5), 400]), filled([*range(0, 315, 5), 400, 401])
    assert list(odd) == [*range(0, 320, 10), 400]
    assert list(even) == [*range(0, 320, 10), 401]
    assert odd == {step: f"at {step}" for step in odd}


@settings(deadline=None, max_examples=20)
@given(increasing_steps)
def test_it_is_never_too_long_and_holds_both_ends(steps):
    for count in range(1, len(steps) + 1):
        history = filled(steps[:count])
        assert min(count, 33) <= len(history) <= 64
        assert list(history) == sorted(set(history) & set(steps))
        assert (min(history), max(history)) == (steps[0], steps[count - 1])
        assert history == {step: f"at {step}" for step in history}


def test_a_state_is_a_copy_and_all_it_takes_to_go_on():
    history, resumed = filled([0, 7], every_n_steps=5), History(5)
    resumed.keep(3, "forgotten")
    resumed.load_state_dict({**history.state_dict(), "something": "else"})
    assert (resumed, resumed.due) == (history, 10)
    history.keep(12, "later")
    assert (list(resumed), resumed.due) == ([0, 7], 10)


@pytest.mark.parametrize(("arguments", "named"), [((0, 1.0), "every_n_steps is 0"), ((1, 0.5), "growth is 0.5")])
def test_a_cadence_out_of_range_is_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        History(*arguments)
