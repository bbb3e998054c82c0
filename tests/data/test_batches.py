import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_lightning.data import batches
from grok_lightning.data.batches import BatchStream, Equations, EvaluationBatches

rows_and_batches = st.integers(1, 60).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(1, rows)))
seeds = st.integers(0, 2**63 - 1)


def stream(rows, batch_size, seed=0, **options):
    """A stream whose chunks are the row numbers themselves."""
    return BatchStream(rows, batch_size, seed, gather=lambda chunk: chunk, **options)


def take(chunks, steps):
    """The first batches of a stream, one by one, however they are cut."""
    return list(itertools.islice((batch.tolist() for chunk in chunks for batch in chunk), steps))


def every(cadence):
    return lambda step: (step // cadence + 1) * cadence


@given(rows_and_batches, seeds, st.integers(0, 500))
def test_a_batch_is_a_function_of_the_seed_and_its_number(sizes, seed, number):
    fresh, used = stream(*sizes, seed), stream(*sizes, seed)
    used.batch_rows(number + 3, 2)
    list(itertools.islice(used, 5))
    torch.manual_seed(number)
    assert torch.equal(fresh.batch_rows(number, 1), used.batch_rows(number, 1))


@given(rows_and_batches, seeds, st.integers(1, 5))
def test_every_row_is_seen_equally_often(sizes, seed, rounds):
    rows, batch_size = sizes
    steps = rounds * rows // torch.tensor(rows).gcd(torch.tensor(batch_size)).item()  # ends where a shuffle ends
    seen = Counter(itertools.chain.from_iterable(take(stream(rows, batch_size, seed), steps)))
    assert set(seen) == set(range(rows))
    assert set(seen.values()) == {steps * batch_size // rows}


@given(rows_and_batches, seeds)
def test_no_row_comes_again_before_all_have_been_seen(sizes, seed):
    rows, batch_size = sizes
    order = list(itertools.chain.from_iterable(take(stream(rows, batch_size, seed), 3 * rows)))
    for start in range(0, len(order) - rows + 1, rows):
        assert sorted(order[start : start + rows]) == list(range(rows))


def test_shuffles_differ_from_one_another_and_between_seeds():
    first, second = take(stream(50, 50), 2)
    assert first != second
    assert first != take(stream(50, 50, seed=1), 1)[0]
    # neighbouring seeds do not share their shuffles
    assert second not in take(stream(50, 50, seed=1), 4)


@given(rows_and_batches, seeds, st.lists(st.integers(1, 200), min_size=1, max_size=8, unique=True))
def test_chunks_end_exactly_at_the_boundaries(sizes, seed, boundaries):
    last = max(boundaries)
    ends, position = set(), 0
    chunks = iter(stream(*sizes, seed, boundary=lambda step: min(b for b in [*boundaries, 10**9] if b > step)))
    while position < last:
        position += len(next(chunks))
        ends.add(position)
    assert position == last
    assert set(boundaries) <= ends


@given(rows_and_batches, seeds, st.integers(1, 90))
def test_chunked_is_one_by_one(sizes, seed, cadence):
    steps = 2 * cadence + 3
    assert take(stream(*sizes, seed, boundary=every(cadence)), steps) == take(stream(*sizes, seed), steps)


def test_chunks_stay_small_before_a_distant_boundary(monkeypatch):
    assert len(next(iter(stream(60, 6, boundary=lambda step: 10**6)))) == batches.MAX_CHUNK_STEPS
    monkeypatch.setattr(batches, "MAX_CHUNK_ROWS", 50)
    assert len(next(iter(stream(60, 6, boundary=lambda step: 10**6)))) == 8
    assert len(next(iter(stream(60, 60, boundary=lambda step: 10**6)))) == 1


@given(st.integers(1, 4), st.integers(1, 10), st.integers(0, 30), seeds)
def test_the_shares_of_the_ranks_are_the_batch_of_a_single_device(world_size, share, more, seed):
    batch_size = share * world_size
    sizes = batch_size + more, batch_size
    whole = take(stream(*sizes, seed, boundary=every(4)), 9)
    shares = [
        take(stream(*sizes, seed, boundary=every(4), rank=rank, world_size=world_size), 9) for rank in range(world_size)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [len(part) for part in parts] == [share] * world_size
        assert sorted(itertools.chain(*parts)) == sorted(batch)


@given(rows_and_batches, seeds, st.integers(1, 20), st.integers(0, 6))
def test_a_state_continues_where_it_was_taken(sizes, seed, cadence, chunks_before):
    before = stream(*sizes, seed, boundary=every(cadence))
    position = sum(len(chunk) for chunk in itertools.islice(before, chunks_before))
    state = before.state_dict()
    assert state == {"position": position}

    after = stream(*sizes, seed, boundary=every(cadence))
    after.load_state_dict(state)
    assert take(after, 10) == take(stream(*sizes, seed), position + 10)[position:]


@pytest.mark.parametrize(("given_size", "size"), [(None, 7), (100, 7), (7, 7), (3, 3)])
def test_a_batch_is_at_most_the_whole_set(given_size, size):
    assert [len(batch) for batch in take(stream(7, given_size), 20)] == [size] * 20


def test_the_epoch_is_endless_and_its_length_exact():
    assert len(stream(3, 2)) == float(len(stream(3, 2))) > 10**12


def test_drawing_batches_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    take(stream(9, 4), 10)
    assert torch.equal(state, torch.get_rng_state())


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="training set is empty"):
        stream(0, 4)


@pytest.mark.parametrize("batch_size", [5, None])
def test_a_batch_that_does_not_divide_by_the_devices_is_refused(batch_size):
    with pytest.raises(ValueError, match=r"batch of (5|9) equations does not divide by 2 devices"):
        stream(9, batch_size, world_size=2)


@given(st.integers(0, 40), st.integers(1, 4))
def test_evaluation_batches_hold_every_row_once(rows, world_size):
    part = Equations(torch.arange(rows)[:, None].expand(-1, 3), torch.arange(rows))
    ranks = [EvaluationBatches(part, rank, world_size) for rank in range(world_size)]
    seen = torch.cat([batch.answers for rank in ranks for batch in rank] or [torch.empty(0)])
    assert sorted(seen.tolist()) == list(range(rows))
    assert all(len(rank) == len(list(rank)) <= 1 for rank in ranks)
    assert all(torch.equal(batch.tokens[:, 1], batch.answers) for rank in ranks for batch in rank)


def test_a_large_part_is_evaluated_in_several_batches(monkeypatch):
    monkeypatch.setattr(batches, "EVALUATION_TOKENS", 4 * 3)
    part = Equations(torch.zeros(10, 3), torch.arange(10))
    assert [batch.answers.tolist() for batch in EvaluationBatches(part)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_equations_at_rows_keep_the_shape_of_the_rows():
    equations = Equations(torch.arange(20).view(5, 4), torch.arange(5))
    chunk = equations.at(torch.tensor([[4, 0, 1], [2, 2, 3]]))
    assert chunk.tokens.shape == (2, 3, 4)
    assert chunk.answers.tolist() == [[4, 0, 1], [2, 2, 3]]
    assert chunk.tokens[0, 0].tolist() == [16, 17, 18, 19]
    assert len(equations) == 5
    assert equations.to(torch.device("meta")).tokens.device.type == "meta"
