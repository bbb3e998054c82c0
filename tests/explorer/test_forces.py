"""The mathematics of the simulation against loops in numpy, written from the formulae alone."""

import math

import numpy as np
import pytest

KERNELS = {
    "gaussian": lambda r, sigma: np.exp(-(r**2) / (2 * sigma**2)),
    "rational": lambda r, sigma: 1 / (sigma**2 + r**2),
}
ON_TOKENS = """([positions, settings]) => {
    const {pairsOf, onTokens} = GrokExplorer.forces;
    return [...onTokens(Float64Array.from(positions), pairsOf(positions.length / 2), settings)] }"""
PURITY = "(positions) => GrokExplorer.structure.purity(Float64Array.from(positions))"
SAME = """(positions) => {
    const pairs = GrokExplorer.forces.pairsOf(positions.length / 2);
    const sums = GrokExplorer.forces.sums(Float64Array.from(positions), pairs);
    return GrokExplorer.structure.sameLabelShare(sums, pairs.label) }"""
START = "([n, seed]) => [...GrokExplorer.particles.randomStart(n, seed)]"


def pairs_of(n):
    return [(a, b) for a in range(n) for b in range(a, n)]


def unit(vector):
    length = np.linalg.norm(vector)
    return vector / length if length else np.zeros(2)


def force_on_pair(p, e, pairs, settings):
    """Return c times the clustering force plus beta times the alignment force on one pair."""
    n, total = len(e), np.zeros(2)
    (a, b), s = pairs[p], [e[a] + e[b] for a, b in pairs]
    for q, (other, another) in enumerate(pairs):
        weight = float((a + b) % n == (other + another) % n) - 1 / n
        reach = KERNELS[settings["kernel"]](np.linalg.norm(s[q] - s[p]), settings["sigma"])
        cosine = unit(s[p]) @ unit(s[q])
        total = total + settings["c"] * weight * reach * (s[q] - s[p])
        total = total + settings["beta"] * weight * cosine * (unit(s[q]) - cosine * unit(s[p]))
    return 10 / len(pairs) * total


def forces(e, settings):
    pairs, force = pairs_of(len(e)), np.zeros_like(e)
    for p, (a, b) in enumerate(pairs):
        on_pair = force_on_pair(p, e, pairs, settings) / len(e)
        force[a] += 2 * on_pair if a == b else on_pair
        if a != b:
            force[b] += on_pair
    return force


def opposed(n, seed):
    """Some of whose sums lie at the origin: a particle there, and two that cancel each other."""
    e = np.random.default_rng(seed).normal(size=(n, 2))
    e[0], e[1] = 0, -e[2]
    return e


@pytest.fixture
def page(shared):
    return shared.page


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [3, 4, 7, 12])
@pytest.mark.parametrize("make", [lambda n: np.random.default_rng(n).normal(size=(n, 2)), lambda n: opposed(n, n)])
@pytest.mark.parametrize("strengths", [(1.0, 0.0), (0.0, 1.0), (2.5, 0.7)])
def test_forces(page, n, kernel, make, strengths):
    e, (beta, c) = make(n), strengths
    settings = {"beta": beta, "c": c, "sigma": 0.6, "kernel": kernel}
    found = page.evaluate(ON_TOKENS, [e.ravel().tolist(), settings])
    assert np.allclose(np.reshape(found, (n, 2)), forces(e, settings), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [3, 8, 17])
@pytest.mark.parametrize("seed", range(3))
def test_purity(page, n, seed):
    e = np.random.default_rng(seed).normal(size=(n, 2))
    waves = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
    power = (np.abs(waves @ e) ** 2).sum(1)
    at = {k: power[k] + (power[n - k] if 2 * k != n else 0) for k in range(1, n // 2 + 1)}
    found = page.evaluate(PURITY, e.ravel().tolist())
    assert found["purity"] == pytest.approx(max(at.values()) / power[1:].sum(), rel=1e-12)
    assert found["frequency"] == max(at, key=at.get)


def test_purity_of_equal_particles_and_of_a_circle(page):
    assert page.evaluate(PURITY, [0.5] * 8)["purity"] == pytest.approx(0, abs=1)
    assert page.evaluate(PURITY, [0.0] * 8) == {"purity": 0, "frequency": 0}
    angles = 2 * np.pi * 3 * np.arange(11) / 11
    found = page.evaluate(PURITY, np.stack([np.cos(angles), np.sin(angles)], 1).ravel().tolist())
    assert found == {"purity": pytest.approx(1), "frequency": 3}


@pytest.mark.parametrize("n", [3, 6, 13])
def test_same_label_share(page, n):
    e = np.random.default_rng(n).normal(size=(n, 2))
    pairs = np.array(pairs_of(n))
    sums, labels = e[pairs].sum(1), pairs.sum(1) % n
    distances = np.linalg.norm(sums[:, None] - sums, axis=-1)
    np.fill_diagonal(distances, np.inf)
    expected = np.mean(labels[distances.argmin(1)] == labels)
    assert page.evaluate(SAME, e.ravel().tolist()) == pytest.approx(expected, abs=1e-15)


def mulberry32(seed):
    while True:
        seed = (seed + 0x6D2B79F5) % 2**32
        t = (seed ^ (seed >> 15)) * (seed | 1) % 2**32
        t ^= (t + (t ^ (t >> 7)) * (t | 61)) % 2**32
        yield (t ^ (t >> 14)) / 2**32


@pytest.mark.parametrize("seed", [0, 1, 4_294_967_295])
def test_start(page, seed):
    drawn, expected = mulberry32(seed), []
    for _ in range(31):
        radius, angle = 0.5 * math.sqrt(-2 * math.log(1 - next(drawn))), 2 * math.pi * next(drawn)
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    assert np.allclose(page.evaluate(START, [31, seed]), expected, rtol=1e-12, atol=1e-12)


def test_start_is_normal(page):
    coordinates = np.ravel([page.evaluate(START, [31, seed]) for seed in range(100)])
    assert coordinates.mean() == pytest.approx(0, abs=0.02)
    assert coordinates.std() == pytest.approx(0.5, abs=0.02)
    assert (np.abs(coordinates) < 0.5).mean() == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.02)
