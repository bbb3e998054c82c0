"""Circles, lattices and lines of known shape, and plain loops for what is counted."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.pair_sums import PairSums
from grok_lightning.structure import (
    StructureThresholds,
    classify,
    common_steps,
    measure_structure,
    neighbour_share,
)

SHAPE = ("purity", "radius_spread", "lattice", "second_lattice", "flatness")
"""Measures that neither place nor size of an embedding changes."""


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def circle(n, frequency, phase=0.3):
    angles = [2 * math.pi * frequency * a / n + phase for a in range(n)]
    return torch.tensor([[math.cos(x), math.sin(x)] for x in angles], dtype=torch.double)


def grid(columns=5, rows=3):
    """Element i + columns · j at i u + j v."""
    u, v = np.array([1.0, 0.2]), np.array([-0.3, 0.9])
    return torch.from_numpy(np.array([i * u + j * v for j in range(rows) for i in range(columns)]))


def line(n, generator, slope=(0.6, 0.8)):
    """Element generator · i at i steps along a line."""
    vectors = torch.empty(n, 2, dtype=torch.double)
    for i in range(n):
        vectors[generator * i % n] = i * torch.tensor(slope, dtype=torch.double)
    return vectors


def addition(n):
    rows = torch.tensor([(a, b, (a + b) % n) for a in range(n) for b in range(a, n)])
    return PairSums(*rows.unbind(1), n)


def measured(vectors, tolerance=1 / 3):
    return {name: value.item() for name, value in measure_structure(vectors[None], tolerance).items()}


def kind(vectors, **thresholds):
    chosen = StructureThresholds(**thresholds)
    return classify(measure_structure(vectors[None], chosen.tolerance), chosen)[0]


def looped_steps(vectors, tolerance):
    """The share of elements with a common step for each generator, counted one by one."""
    rows, n = vectors.tolist(), len(vectors)
    mean = [sum(column) / n for column in zip(*rows, strict=True)]
    reach = tolerance * math.sqrt(2 * math.pi / n) * math.sqrt(sum(math.dist(row, mean) ** 2 for row in rows) / n)
    shares = []
    for generator in range(1, n // 2 + 1):
        steps = [[y - x for x, y in zip(rows[a], rows[(a + generator) % n], strict=True)] for a in range(n)]
        long = [own for own in steps if math.hypot(*own) > reach]
        alike = [sum(math.dist(own, other) < reach for other in steps) for own in long]
        shares.append(max(alike, default=0) / n)
    return shares


def looped_neighbours(vectors, pairs):
    """The share of pairs whose nearest other sum has the same answer, one after the other."""
    rows = list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.answers.tolist(), strict=True))
    sums = [[x + y for x, y in zip(vectors[a].tolist(), vectors[b].tolist(), strict=True)] for a, b, _ in rows]
    same = 0
    for p, (_, _, answer) in enumerate(rows):
        nearest = min((q for q in range(len(rows)) if q != p), key=lambda q: math.dist(sums[p], sums[q]))
        same += rows[nearest][2] == answer
    return same / len(rows)


# circles


@pytest.mark.parametrize(
    ("n", "frequency"), [(n, k) for n in (5, 8, 17) for k in range(1, n // 2 + 1) if 2 * k != n and math.gcd(n, k) == 1]
)
def test_a_circle_of_every_frequency(n, frequency):
    found = measured(2.5 * circle(n, frequency))
    assert found["purity"] == pytest.approx(1)
    assert found["frequency"] == frequency
    assert found["radius_spread"] == pytest.approx(0, abs=1e-12)
    assert found["flatness"] == pytest.approx(1)
    assert found["norm"] == pytest.approx(2.5)
    assert kind(circle(n, frequency)) == "circle"


def test_steps_of_a_circle_are_common_where_they_turn_by_little():
    # The steps of generator d are chords of length 2 sin(πd/n), a turn of 2π/n apart from each other; the shortest is
    # too short to be one.
    n, reach = 17, 0.5
    expected = []
    for d in range(1, n // 2 + 1):
        chord = 2 * math.sin(math.pi * d / n)
        near = sum(chord * 2 * abs(math.sin(math.pi * turn / n)) < reach for turn in range(n))
        expected.append(near / n if chord > reach else 0)
    tolerance = reach / math.sqrt(2 * math.pi / n)
    assert common_steps(circle(n, 1)[None], tolerance)[0].tolist() == pytest.approx(expected)


def test_an_alternating_line_has_the_highest_frequency():
    vectors = torch.tensor([[1.0, 2.0], [-1.0, -2.0]]).repeat(4, 1)
    found = measured(vectors)
    assert (found["purity"], found["frequency"]) == (pytest.approx(1), 4)


def test_two_circles_share_the_purity_by_their_squares():
    vectors = torch.cat([3 * circle(11, 2), circle(11, 5)], dim=1)
    found = measured(vectors)
    assert found["purity"] == pytest.approx(9 / 10)
    assert found["frequency"] == 2


def test_a_single_frequency_is_a_circle_only_where_it_is_round():
    round_one = circle(17, 3)
    assert kind(round_one * torch.tensor([1.0, 0.7])) == "circle"
    assert kind(round_one * torch.tensor([1.0, 0.3])) == "other"
    assert measured(round_one * torch.tensor([1.0, 0.0]))["purity"] == pytest.approx(1)
    assert kind(round_one * torch.tensor([1.0, 0.0])) == "other"


# lattices


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_grid_has_the_generators_and_shares_of_its_sides(noise):
    vectors = grid() + noise * drawn(15, 2)
    found = measured(vectors)
    # All but the last column take the step of generator 1, all but the last row that of generator 5.
    assert (found["lattice"], found["generator"]) == (pytest.approx(12 / 15), 1)
    assert (found["second_lattice"], found["second_generator"]) == (pytest.approx(10 / 15), 5)
    values = np.linalg.svd(vectors.numpy() - vectors.numpy().mean(0), compute_uv=False)
    assert found["flatness"] == pytest.approx(values[1] / values[0])
    powers = (np.abs(np.fft.fft(vectors.numpy(), axis=0)) ** 2).sum(1)
    shares = [(powers[k] + powers[-k]) / powers[1:].sum() for k in range(1, 8)]
    assert found["purity"] == pytest.approx(max(shares))
    assert found["frequency"] == 1 + int(np.argmax(shares))
    radii = np.linalg.norm(vectors.numpy() - vectors.numpy().mean(0), axis=1)
    assert found["radius_spread"] == pytest.approx(radii.std() / radii.mean())
    assert found["norm"] == pytest.approx(np.linalg.norm(vectors.numpy(), axis=1).mean())
    assert kind(vectors) == "grid"


@pytest.mark.parametrize("moved", [[7], [0, 8], [2, 7, 12]])
def test_tokens_out_of_place_lose_the_steps_from_and_to_them(moved):
    vectors = grid()
    vectors[moved] += torch.tensor([[30.0, 0.0], [0.0, 50.0], [70.0, 90.0]], dtype=torch.double)[: len(moved)]
    radius = float((vectors - vectors.mean(0)).square().sum(1).mean().sqrt())
    half_a_step = 0.5 / (math.sqrt(2 * math.pi / 15) * radius)
    stay = set(range(15)) - set(moved)
    first = sum({a, a + 1} <= stay for a in range(15) if a % 5 < 4)
    second = sum({a, a + 5} <= stay for a in range(10))
    shares = common_steps(vectors[None], half_a_step)[0]
    assert shares[0].item() == pytest.approx(first / 15)
    assert shares[4].item() == pytest.approx(second / 15)


@pytest.mark.parametrize("generator", [1, 2, 5, 7])
def test_steps_along_a_line_are_a_lattice_but_no_grid(generator):
    found = measured(line(17, generator))
    assert (found["lattice"], found["generator"]) == (pytest.approx(16 / 17), generator)
    second = min(2 * generator % 17, -2 * generator % 17)
    assert (found["second_lattice"], found["second_generator"]) == (pytest.approx(15 / 17), second)
    assert found["flatness"] == pytest.approx(0, abs=1e-12)
    # The power of a sawtooth at frequency k goes with 1 / sin²(πk/n).
    weights = [1 / math.sin(math.pi * k / 17) ** 2 for k in range(1, 9)]
    assert found["purity"] == pytest.approx(weights[0] / sum(weights))
    assert kind(line(17, generator)) == "line"


def test_no_structure_is_other():
    found = measured(drawn(17, 2, seed=4))
    assert found["purity"] < 0.9
    assert found["lattice"] < 0.6
    assert kind(drawn(17, 2, seed=4)) == "other"


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 12), st.integers(1, 12), st.floats(0.05, 1), st.booleans(), st.integers(0, 999))
def test_common_steps_are_counted(n, width, tolerance, rounded, seed):
    vectors = drawn(n, width, seed=seed)
    vectors = vectors.mul(1.5).round() if rounded else vectors
    found = common_steps(vectors[None], tolerance)[0].tolist()
    assert found == pytest.approx(looped_steps(vectors, tolerance))


def test_elements_on_one_another_are_no_lattice():
    pile = 0.01 * drawn(17, 2)
    pile[4] += 1
    assert common_steps(pile[None], 1 / 3)[0].max() <= 1 / 17 + 1e-9
    assert kind(pile) == "other"


def test_a_lattice_of_any_size_is_seen():
    columns, rows = 11, 9
    large = grid(columns, rows)
    shares = common_steps(large[None], 1 / 3)[0]
    assert shares[0].item() == pytest.approx((columns - 1) / columns)
    assert shares[columns - 1].item() == pytest.approx((rows - 1) / rows)
    assert kind(large) == "grid"
    assert kind(line(97, 5)) == "line"


def test_generators_and_their_inverses_take_the_same_steps():
    vectors = drawn(9, 2).round()
    backwards = vectors[[-a % 9 for a in range(9)]]
    assert torch.equal(common_steps(vectors[None], 0.4), common_steps(backwards[None], 0.4))


# neighbours


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 7), st.integers(1, 12), st.integers(0, 999))
def test_nearest_sums_are_looked_for_one_by_one(n, width, seed):
    vectors, pairs = drawn(2, n, width, seed=seed), addition(n)
    expected = [looped_neighbours(copy, pairs) for copy in vectors]
    assert neighbour_share(vectors, pairs).tolist() == pytest.approx(expected)


def test_sums_of_a_lattice_have_neighbours_with_the_same_answer():
    # {a, b} and {a + 1, b − 1} meet: all but {0, 0}, {0, 1}, {5, 6} and {6, 6} of 28 lie on another with their answer.
    pairs = addition(7)
    at = [a + b for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    assert neighbour_share(line(7, 1)[None], pairs).item() == pytest.approx(sum(at.count(x) > 1 for x in at) / 28)
    assert neighbour_share(line(7, 1)[None], pairs).item() == pytest.approx(24 / 28)


# what changes nothing


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 12), st.integers(1, 10), st.integers(0, 999), st.floats(0.01, 100))
def test_place_direction_and_size_mean_nothing_to_the_shape(n, width, seed, scale):
    vectors = drawn(n, width, seed=seed)
    turn = torch.linalg.qr(drawn(width, width, seed=seed + 1))[0]
    before, turned = measured(vectors), measured(scale * vectors @ turn)
    moved = measured(vectors + drawn(width, seed=seed + 2))
    assert turned["norm"] == pytest.approx(scale * before["norm"])
    for name in (*SHAPE, "frequency"):
        assert turned[name] == pytest.approx(before[name], abs=1e-9)
        assert moved[name] == pytest.approx(before[name], abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([(5, 2), (7, 3), (8, 3), (12, 5), (17, 6)]), st.integers(0, 999), st.booleans())
def test_elements_can_be_renumbered_by_an_automorphism(size_and_factor, seed, exact):
    n, factor = size_and_factor
    vectors = line(n, 1) if exact else drawn(n, 2, seed=seed)
    renumbered = torch.empty_like(vectors)
    renumbered[[factor * a % n for a in range(n)]] = vectors
    before, after = measured(vectors), measured(renumbered)
    for name in (*SHAPE, "norm"):
        assert after[name] == pytest.approx(before[name], abs=1e-12)
    inverse = pow(factor, -1, n)
    k = int(before["frequency"])
    assert after["frequency"] in (inverse * k % n, -inverse * k % n)
    if exact:
        assert after["generator"] in (factor, n - factor)


def test_each_copy_is_measured_for_itself():
    shapes = [circle(15, 2), grid(), line(15, 4), drawn(15, 2)]
    together = measure_structure(torch.stack(shapes), 1 / 3)
    for copy, vectors in enumerate(shapes):
        assert {name: value[copy].item() for name, value in together.items()} == pytest.approx(measured(vectors))
    assert classify(together, StructureThresholds()) == ["circle", "grid", "line", "other"]


def test_single_precision_with_a_graph_is_measured_too():
    found = measure_structure(circle(7, 3).float()[None].requires_grad_(), 0.2)
    assert found["purity"].item() == pytest.approx(1, abs=1e-6)
    assert not any(value.requires_grad for value in found.values())


# corners


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -7.7e8, 3e-20])
@pytest.mark.parametrize("n", [5, 7, 17])
@pytest.mark.parametrize("width", [1, 2])
def test_vectors_that_are_all_the_same_have_no_structure(value, n, width):
    vectors = torch.full((n, width), value, dtype=torch.double)
    found = measured(vectors)
    assert {name: found[name] for name in SHAPE} == dict.fromkeys(SHAPE, 0)
    assert found["norm"] == pytest.approx(abs(value) * math.sqrt(width))
    assert common_steps(vectors[None], 1 / 3).tolist() == [[0] * (n // 2)]
    assert kind(vectors) == "other"


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_vectors_that_are_not_finite_are_refused(fault):
    vectors = drawn(3, 7, 2)
    vectors[1, 4, 0] = fault
    with pytest.raises(ValueError, match="not finite"):
        measure_structure(vectors, 0.2)


@pytest.mark.parametrize("shape", [(7, 2), (1, 3, 2), (1, 2, 7, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(copies, four or more elements, width\)") as refused:
        measure_structure(torch.zeros(shape), 0.2)
    assert str(shape) in str(refused.value)


def test_one_dimension_is_flat_and_many_are_none_the_worse():
    assert measured(line(7, 1)[:, :1])["flatness"] == 0
    assert kind(line(7, 1)[:, :1]) == "line"
    wide = torch.cat([grid(), torch.zeros(15, 10, dtype=torch.double)], dim=1)
    assert measured(wide @ torch.linalg.qr(drawn(12, 12))[0]) == pytest.approx(measured(grid()))


# thresholds


def measures(**given):
    return {
        name: torch.tensor([given.get(name, 0.0)], dtype=torch.double)
        for name in ("purity", "radius_spread", "lattice", "second_lattice", "flatness")
    }


@pytest.mark.parametrize(
    ("given_measures", "expected"),
    [
        ({"purity": 0.9}, "circle"),
        ({"purity": 0.9, "lattice": 1, "second_lattice": 1}, "circle"),
        ({"purity": 0.8999}, "other"),
        ({"purity": 1.0, "radius_spread": 0.3}, "circle"),
        ({"purity": 1.0, "radius_spread": 0.3001}, "other"),
        ({"lattice": 3 / 5, "second_lattice": 1 / 2, "flatness": 0.5}, "grid"),
        ({"lattice": 0.5999, "second_lattice": 0.5999, "flatness": 0.5}, "other"),
        ({"lattice": 1, "second_lattice": 0.4999, "flatness": 0.5}, "other"),
        ({"lattice": 1, "second_lattice": 1, "flatness": 0.1}, "line"),
        ({"lattice": 1, "second_lattice": 1, "flatness": 0.1001}, "grid"),
        ({"flatness": 0.0}, "other"),
    ],
)
def test_a_threshold_is_met_at_its_very_value(given_measures, expected):
    assert classify(measures(**given_measures), StructureThresholds()) == [expected]


def test_a_share_at_the_threshold_counts_however_it_was_rounded():
    for n, d in itertools.product(range(4, 40), range(1, 40)):
        if d < n:
            share = torch.zeros(n, dtype=torch.double)
            share[:d] = 1
            found = measures(lattice=share.mean().item(), second_lattice=1.0, flatness=1.0)
            assert classify(found, StructureThresholds(lattice=d / n)) == ["grid"]
            assert classify(found, StructureThresholds(lattice=(d + 0.01) / n)) == ["other"]


def test_thresholds_are_heeded():
    noisy = circle(17, 3) + 0.3 * drawn(17, 2)
    purity = measured(noisy)["purity"]
    assert 0.5 < purity < 0.98
    assert kind(noisy, purity=purity + 0.01, radius_spread=1.0) != "circle"
    assert kind(noisy, purity=purity - 0.01, radius_spread=1.0) == "circle"
    assert kind(noisy, purity=purity - 0.01, radius_spread=0.01) != "circle"
    assert kind(grid(), flatness=1.0) == "line"
    assert kind(grid(), lattice=0.81) == "other"
    assert kind(grid(), second_lattice=0.67) == "other"


@pytest.mark.parametrize("name", ["purity", "radius_spread", "lattice", "second_lattice", "flatness", "tolerance"])
@pytest.mark.parametrize("value", [0, -0.1, 1.01, math.nan])
def test_thresholds_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be above 0 and at most 1, got {value}"):
        StructureThresholds(**{name: value})
    assert getattr(StructureThresholds(**{name: 1}), name) == 1
