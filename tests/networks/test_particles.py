"""Particles that answer by the nearest sum, looked for one after the other."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.networks import ParticleSystem, PlanarNetwork, named_tensors

OPERATIONS = {"add": lambda a, b, n: (a + b) % n, "sub": lambda a, b, n: (a - b) % n}


def rows_of(operation, n, seed=None):
    """First token, second token and answer of pairs; some of them, in any order, if there is a seed."""
    table = {(min(a, b), max(a, b), OPERATIONS[operation](a, b, n)) for a, b in itertools.product(range(n), repeat=2)}
    rows = sorted(table)
    if seed is None:
        return rows
    chosen = np.random.default_rng(seed).permutation(len(rows))[: max(2, len(rows) // 2)]
    return [rows[place] for place in chosen]


def system(n, rows, **options):
    particles = ParticleSystem(n, 2, **options).double()
    particles.place_pairs(torch.tensor(rows).T)
    return particles


def all_pairs(n):
    return torch.cartesian_prod(torch.arange(n), torch.arange(n))


def looped_logits(vectors, rows, tokens):
    """Minus the squared distance from the nearest sum of another pair with each answer."""
    n, logits = len(vectors), []
    for a, b in tokens.tolist():
        point = vectors[a] + vectors[b]
        found: dict[int, list[float]] = {}
        for c, d, answer in rows:
            if {a, b} != {c, d}:
                found.setdefault(answer, []).append(float(((vectors[c] + vectors[d] - point) ** 2).sum()))
        farthest = max((x for each in found.values() for x in each), default=0.0)
        logits.append([-min(found.get(answer, [farthest])) for answer in range(n)])
    return np.array(logits)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["add", "sub"]), st.integers(2, 6), st.integers(1, 10), st.integers(0, 999), st.booleans())
def test_an_answer_is_that_of_the_nearest_sum_of_another_pair(operation, n, width, seed, some):
    torch.manual_seed(seed)
    rows = rows_of(operation, n, seed if some else None)
    particles = system(n, rows, width=width)
    vectors = particles.token_vectors().detach().numpy()
    expected = looped_logits(vectors, rows, all_pairs(n))
    np.testing.assert_allclose(particles(all_pairs(n)).detach(), expected, rtol=1e-7, atol=1e-9)


def test_a_pair_never_answers_itself():
    particles = system(5, rows_of("add", 5))
    with torch.no_grad():
        particles.embedding.table.weight.copy_(torch.tensor([[0.0, 0], [9, 0], [0, 99], [999, 0], [0, 9999]]))
    logits = particles(torch.tensor([[0, 1], [1, 0]]))
    assert torch.equal(logits[0], logits[1])
    others = [(a, b) for a, b, _ in rows_of("add", 5) if (a, b) != (0, 1)]
    nearest = min(others, key=lambda pair: math.dist((9, 0), particles.token_vectors()[list(pair)].sum(0).tolist()))
    assert logits[0].argmax() == sum(nearest) % 5
    assert logits[0].max() < 0


def test_an_answer_that_no_other_pair_has_is_as_far_as_the_farthest():
    particles = system(3, [(0, 0, 0), (1, 1, 2), (2, 2, 1)], width=1)
    with torch.no_grad():
        particles.embedding.table.weight.copy_(torch.tensor([[0.0], [1.0], [3.0]]))
    assert particles(torch.tensor([[0, 0]])).tolist() == [[-36, -36, -4]]  # 0 is its own answer alone
    assert particles(torch.tensor([[0, 1]])).tolist() == [[-1, -25, -1]]


def test_the_answer_to_a_pair_does_not_hang_on_what_else_is_asked():
    particles = system(5, rows_of("add", 5, seed=1))
    together = particles(all_pairs(5))
    for row, tokens in enumerate(all_pairs(5)):
        torch.testing.assert_close(particles(tokens[None])[0], together[row])


def test_the_only_pair_has_no_answer_to_prefer():
    particles = system(3, [(0, 1, 1)])
    assert particles(torch.tensor([[0, 1]])).tolist() == [[0, 0, 0]]


def test_copies_side_by_side_are_each_alone():
    rows = rows_of("sub", 5, seed=2)
    particles = system(5, rows, copies=3, width=2)
    logits = particles.logits_by_copy(all_pairs(5))
    assert logits.shape == (3, 25, 5)
    table = particles.embedding.table.weight.detach()
    for copy in range(3):
        vectors = table[:, 2 * copy : 2 * copy + 2]
        assert torch.equal(particles.vectors_by_copy()[copy], vectors)
        alone = system(5, rows)
        with torch.no_grad():
            alone.embedding.table.weight.copy_(vectors)
        torch.testing.assert_close(alone(all_pairs(5)), logits[copy])
        np.testing.assert_allclose(logits[copy].detach(), looped_logits(vectors.numpy(), rows, all_pairs(5)))
    torch.testing.assert_close(particles(all_pairs(5)), logits.mean(0))


def test_vectors_of_no_token_are_answered_with_no_pair_left_out():
    rows = rows_of("add", 5, seed=3)
    particles = system(5, rows, copies=2, width=3)
    embedded = torch.randn(4, 2, 6, dtype=torch.double)
    expected = []
    for one, other in embedded.numpy():
        logits = np.zeros(5)
        for copy, vectors in enumerate(particles.vectors_by_copy().detach().numpy()):
            point = (one + other)[3 * copy : 3 * copy + 3]
            far = {}
            for a, b, answer in rows:
                far.setdefault(answer, []).append(((vectors[a] + vectors[b] - point) ** 2).sum())
            farthest = max(max(each) for each in far.values())
            logits -= [min(far.get(answer, [farthest])) / 2 for answer in range(5)]
        expected.append(logits)
    np.testing.assert_allclose(particles.answer(embedded).detach(), expected)


# what it consists of


def test_the_positions_of_one_system_have_the_shape_of_an_embedding_in_the_plane():
    particles, network = ParticleSystem(17, 2), PlanarNetwork(17, 2)
    tensors = named_tensors(particles)
    assert set(tensors) == {"embedding.table.weight", "classifier.pairs"}
    assert tensors["embedding.table.weight"].shape == named_tensors(network)["embedding.table.weight"].shape
    assert [name for name, _ in particles.named_parameters()] == ["embedding.table.weight"]
    assert particles.token_parameters == {"embedding.table.weight"}
    assert particles.own_tensors == {"classifier.pairs"}
    assert [name for name, _ in particles.named_children()] == ["embedding", "decoder", "classifier"]


def test_pairs_are_kept_in_the_state():
    rows = rows_of("add", 4)
    particles = system(4, rows)
    other = ParticleSystem(4, 2)
    other.place_pairs(torch.zeros(3, len(rows), dtype=torch.long))
    other.load_state_dict(particles.state_dict())
    pairs = other.pairs
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.answers.tolist(), strict=True)) == rows
    assert pairs.tokens == 4


def test_positions_begin_normal():
    torch.manual_seed(0)
    for std, options in ((0.5, {}), (0.2, {"init_std": 0.2})):
        positions = ParticleSystem(3000, 2, copies=2, **options).vectors_by_copy()
        assert positions.shape == (2, 3000, 2)
        assert positions.std(1).flatten().tolist() == pytest.approx([std] * 4, rel=0.05)
        assert abs(np.corrcoef(positions.detach().numpy()[:, :, 0])[0, 1]) < 0.06


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary_size": 0}, "`vocabulary_size` must be at least 1, got 0"),
        ({"length": 4}, r"for pairs \(`layout: a b`\), not for sequences of 4 tokens"),
        ({"copies": 0}, "`copies` must be at least 1, got 0"),
        ({"width": 0}, "`width` must be at least 1, got 0"),
        ({"init_std": -1.0}, "`init_std` must be positive.*got -1.0"),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParticleSystem(**({"vocabulary_size": 5, "length": 2} | arguments))


def test_sequences_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(batch, 2\), got \(4, 3\)"):
        ParticleSystem(5, 2)(torch.zeros(4, 3, dtype=torch.long))


def test_without_pairs_it_says_whose_task_it_is_for():
    with pytest.raises(ValueError, match="knows no pairs yet: it is for ParticleTask"):
        ParticleSystem(5, 2)(torch.tensor([[0, 1]]))
