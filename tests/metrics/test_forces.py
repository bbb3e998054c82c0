"""How much of a force clustering and alignment explain, on forces made of known parts."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.metrics import ExplainedGradient
from grok_lightning.metrics.forces import embedding_force, explained_share, share_beyond
from grok_lightning.networks import AdditiveNetwork, ArithmeticTransformer, PlanarNetwork
from grok_lightning.pair_sums import PairSums

NAMES = {
    "explained",
    "clustering_alone",
    "alignment_alone",
    "radial_alone",
    "beyond_radial",
    "chance",
    "chance_beyond_radial",
    "clustering",
    "alignment",
    "range",
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def addition(n):
    rows = torch.tensor([(a, b, (a + b) % n) for a in range(n) for b in range(a, n)])
    return PairSums(*rows.unbind(1), n)


def tendencies(vectors, pairs, reach, kernel):
    """Clustering and alignment on the tokens, up to a factor, in numpy; the range in root mean square lengths."""
    e, n = vectors.numpy(), pairs.tokens
    a, b, y = (each.numpy() for each in (pairs.first, pairs.second, pairs.answers))
    s = e[a] + e[b]
    w = (y[:, None] == y) - 1 / n
    apart = s[None] - s[:, None]
    r2 = (apart**2).sum(-1)
    sigma = reach * np.sqrt((s**2).sum(1).mean())
    fall = np.exp(-r2 / (2 * sigma**2)) if kernel == "gaussian" else 1 / (sigma**2 + r2)
    u = s / np.linalg.norm(s, axis=1, keepdims=True)
    cos = u @ u.T
    on_sums = (w * fall)[..., None] * apart, (w * cos)[..., None] * (u[None] - cos[..., None] * u[:, None])
    result = []
    for force in on_sums:
        tokens = np.zeros_like(e)
        np.add.at(tokens, a, force.sum(1))
        np.add.at(tokens, b, force.sum(1))
        result.append(torch.from_numpy(tokens))
    return result


def unexplained(force, columns):
    """The share of a force that numpy's least squares leave."""
    matrix, target = np.stack([np.ravel(each) for each in columns], axis=1), np.ravel(force)
    solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return ((target - matrix @ solution) ** 2).sum() / (target**2).sum()


def orthogonal(vector, columns):
    matrix = np.stack([np.ravel(each) for each in columns], axis=1)
    target = np.ravel(vector)
    left = target - matrix @ np.linalg.lstsq(matrix, target, rcond=None)[0]
    return torch.from_numpy(left.reshape(vector.shape))


def measured(force, vectors, pairs, kernel="rational", ranges=(0.5,)):
    metric = ExplainedGradient(pairs, kernel, ranges)
    metric.update(force, vectors)
    return {name: value.item() for name, value in metric.compute().items()}


# a known force


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([5, 7, 11]),
    st.integers(2, 4),
    st.sampled_from(["gaussian", "rational"]),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(0, 2),
    st.integers(0, 99),
)
def test_a_force_is_taken_apart_again(n, width, kernel, x, y, noise, seed):
    if abs(x) + abs(y) + noise < 0.1:
        return
    pairs, vectors = addition(n), drawn(n, width, seed=seed)
    c, a = tendencies(vectors, pairs, 0.5, kernel)
    c, a = c / c.norm(), a / a.norm()
    error = orthogonal(drawn(n, width, seed=seed + 1), (c, a))
    error = noise * error / error.norm()
    force = x * c + y * a + error
    found = measured(force, vectors, pairs, kernel)
    length = force.norm().item()
    assert found.keys() == NAMES
    assert found["explained"] == pytest.approx(1 - noise**2 / length**2, abs=1e-9)
    assert found["clustering"] == pytest.approx(x / length, abs=1e-6)
    assert found["alignment"] == pytest.approx(y / length, abs=1e-6)
    assert found["clustering_alone"] == pytest.approx(((force * c).sum() / length).item() ** 2, abs=1e-9)
    assert found["alignment_alone"] == pytest.approx(((force * a).sum() / length).item() ** 2, abs=1e-9)
    assert found["radial_alone"] == pytest.approx(1 - unexplained(force, [vectors]), abs=1e-9)
    beyond = 1 - unexplained(force, [vectors, c, a]) / unexplained(force, [vectors])
    assert found["beyond_radial"] == pytest.approx(beyond, abs=1e-7)
    assert found["range"] == 0.5


def test_the_range_that_explains_most_is_found():
    pairs, vectors = addition(11), drawn(11, 2)
    ranges = (0.125, 0.25, 0.5, 1.0, 2.0)
    for reach in ranges:
        c, a = tendencies(vectors, pairs, reach, "gaussian")
        found = measured(2 * c - a, vectors, pairs, "gaussian", ranges)
        assert found["range"] == reach
        assert found["explained"] == pytest.approx(1)


def test_ranges_are_in_lengths_of_the_sums():
    pairs, vectors, force = addition(7), drawn(7, 2), drawn(7, 2, seed=1)
    small, large = (measured(force, size * vectors, pairs, "gaussian", (0.25, 1.0)) for size in (0.01, 1000))
    assert small == pytest.approx(large, abs=1e-9)
    assert measured(1e-8 * force, vectors, pairs, "gaussian", (0.25, 1.0)) == pytest.approx(small, abs=1e-9)


def test_pairs_of_the_training_part_alone_act():
    pairs, vectors = addition(11), drawn(11, 2)
    some = PairSums(pairs.first[:40], pairs.second[:40], pairs.answers[:40], 11)
    c, a = tendencies(vectors, some, 0.5, "rational")
    assert measured(c + a, vectors, some)["explained"] == pytest.approx(1)
    assert measured(c + a, vectors, pairs)["explained"] < 0.99


def test_a_radial_force_leaves_nothing_to_explain_besides():
    found = measured(3 * drawn(7, 2), drawn(7, 2), addition(7))
    assert found["radial_alone"] == pytest.approx(1)
    assert math.isnan(found["beyond_radial"])
    assert math.isnan(found["chance_beyond_radial"])
    assert 0 < found["explained"] < 1


def test_shuffled_answers_explain_little_of_many_tokens():
    pairs, vectors = addition(31), drawn(31, 2, seed=2)
    c, a = tendencies(vectors, pairs, 0.25, "rational")
    found = measured(c / c.norm() + a / a.norm(), vectors, pairs, ranges=(0.25,))
    assert found["explained"] == pytest.approx(1)
    assert found["beyond_radial"] == pytest.approx(1)
    assert found["chance"] < 0.25
    assert found["chance_beyond_radial"] < 0.15
    noise = measured(drawn(31, 2, seed=3), vectors, pairs, ranges=(0.25,))  # 2 dimensions of 62
    assert noise["explained"] < 0.15
    assert noise["chance"] < 0.15


def test_chance_is_the_mean_over_shuffles():
    pairs, vectors, force = addition(7), drawn(7, 2), drawn(7, 2, seed=1)
    generator = torch.Generator().manual_seed(0)
    shares, beyond = [], []
    for _ in range(5):
        order = torch.randperm(len(pairs), generator=generator)
        shuffled = PairSums(pairs.first, pairs.second, pairs.answers[order], 7)
        columns = np.stack([each.flatten().numpy() for each in tendencies(vectors, shuffled, 0.5, "rational")], axis=1)
        radial = vectors.flatten().numpy()[:, None]
        target = force.flatten().numpy()
        left = [
            ((target - x @ np.linalg.lstsq(x, target, rcond=None)[0]) ** 2).sum()
            for x in (columns, radial, np.hstack([radial, columns]))
        ]
        shares.append(1 - left[0] / (target**2).sum())
        beyond.append(1 - left[2] / left[1])
    metric = ExplainedGradient(pairs, "rational", (0.5,), shuffles=5)
    metric.update(force, vectors)
    found = metric.compute()
    assert found["chance"].item() == pytest.approx(np.mean(shares))
    assert found["chance_beyond_radial"].item() == pytest.approx(np.mean(beyond))


def test_chance_is_drawn_once_and_leaves_the_generator_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    force, vectors = drawn(7, 2, seed=1), drawn(7, 2)
    one, other = (measured(force, vectors, addition(7)) for _ in range(2))
    assert one == other
    assert torch.equal(torch.get_rng_state(), state)


# corners


def test_without_a_force_there_is_nothing_to_explain():
    found = measured(torch.zeros(7, 2), drawn(7, 2), addition(7), ranges=(0.25, 0.5))
    assert found.keys() == NAMES
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_a_force_that_is_not_finite_has_no_parts(fault):
    force = drawn(7, 2)
    force[3, 1] = fault
    assert all(math.isnan(value) for value in measured(force, drawn(7, 2), addition(7)).values())


def test_where_all_vectors_are_at_the_origin_nothing_explains_a_force():
    found = measured(drawn(7, 2), torch.zeros(7, 2), addition(7))
    nothing = ("explained", "radial_alone", "clustering", "alignment", "chance", "beyond_radial")
    assert [found[name] for name in nothing] == pytest.approx([0] * len(nothing), abs=1e-12)


def test_the_last_force_counts_and_a_call_returns_it():
    pairs, vectors = addition(7), drawn(7, 2)
    metric = ExplainedGradient(pairs, "rational", (0.5,))
    for seed in (1, 2, 3):
        force = drawn(7, 2, seed=seed).float().requires_grad_()
        found = {name: value.item() for name, value in metric(force, vectors).items()}
        assert found == measured(force.double(), vectors, pairs)
    metric.reset()
    assert all(math.isnan(value) for value in metric.compute().values())


# least squares


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_shares_are_those_of_numpy(n, width, count, seed):
    force, known = drawn(n, width, seed=seed), drawn(n, width, seed=seed + 1)
    others = list(drawn(count, n, width, seed=seed + 2))
    share, weights = explained_share(force, others)
    assert share.item() == pytest.approx(1 - unexplained(force, others), abs=1e-9)
    if count < n * width:
        sizes = np.array([each.norm().item() for each in others])
        matrix = np.stack([each.numpy().ravel() for each in others], axis=1)
        solution = np.linalg.lstsq(matrix, force.numpy().ravel(), rcond=None)[0]
        np.testing.assert_allclose(weights, solution * sizes / force.norm().item(), rtol=1e-6, atol=1e-8)
    if count + 1 < n * width:
        expected = 1 - unexplained(force, [known, *others]) / unexplained(force, [known])
        assert share_beyond(force, known, others).item() == pytest.approx(expected, abs=1e-8)


def test_the_same_tendency_twice_explains_no_more():
    force, one = drawn(6, 2), drawn(6, 2, seed=1)
    share = explained_share(force, (one,))[0]
    both, weights = explained_share(force, (one, 5 * one))
    assert both.item() == pytest.approx(share.item())
    assert weights.isfinite().all()


# the force on an embedding


def planar():
    return PlanarNetwork(5, 2, mlp_width=6)


def additive():
    return AdditiveNetwork(5, 2, width=3, mlp_width=6)


def transformer():
    return ArithmeticTransformer(5, 2, width=4, heads=2)


@pytest.mark.parametrize("build", [planar, additive, transformer])
def test_it_is_minus_the_slope_of_the_loss_by_finite_differences(build):
    torch.manual_seed(0)
    network = build().double().eval()
    tokens = torch.tensor([(0, 1), (1, 2), (3, 3), (2, 0)])  # 4 is in no equation
    answers = tokens.sum(1) % 5
    force, vectors = embedding_force(network, tokens, answers, F.cross_entropy)
    assert torch.equal(vectors, network.token_vectors())
    table, step = network.embedding.table.weight, 1e-5
    slopes = torch.zeros_like(force)
    with torch.no_grad():
        for token in range(5):
            for place in range(table.shape[1]):
                losses = []
                for sign in (1, -1):
                    table[token, place] += sign * step
                    losses.append(F.cross_entropy(network(tokens), answers).item())
                    table[token, place] -= sign * step
                slopes[token, place] = (losses[0] - losses[1]) / (2 * step)
    torch.testing.assert_close(force, -slopes, rtol=1e-5, atol=1e-8)
    assert force[4].tolist() == [0] * table.shape[1]
    assert force[:4].abs().max() > 1e-4


def test_the_network_is_left_without_a_trace():
    network = planar()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        force, vectors = embedding_force(network, torch.tensor([(0, 1)]), torch.tensor([1]), F.cross_entropy)
    assert force.abs().max() > 0
    assert not force.requires_grad
    assert not vectors.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
