import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.networks import ArithmeticTransformer
from grok_lightning.networks.rotary import Rotary

lengths, widths, seeds = st.integers(1, 40), st.integers(1, 8).map(lambda half: 2 * half), st.integers(0, 2**31)


def draw(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def as_complex(vectors):
    """Neighbouring components as the two parts of complex numbers."""
    return vectors.numpy()[..., ::2] + 1j * vectors.numpy()[..., 1::2]


def turns(length, width):
    """e^{i m θ} for every place m and pair of components."""
    speeds = np.array([10_000 ** (-2 * pair / width) for pair in range(width // 2)])
    return np.exp(1j * np.arange(length)[:, None] * speeds)


@settings(deadline=None)
@given(lengths, widths, seeds)
def test_turning_multiplies_complex_numbers(length, width, seed):
    vectors = draw((2, 3, length, width), seed)
    turned = Rotary(length, width)(vectors)
    np.testing.assert_allclose(as_complex(turned), as_complex(vectors) * turns(length, width), atol=2e-5)


@settings(deadline=None)
@given(lengths, widths, seeds)
def test_inner_products_know_the_distance_of_two_places_alone(length, width, seed):
    query, key = draw((2, width), seed)
    rotary = Rotary(length, width)
    scores = (rotary(query.expand(length, width)) @ rotary(key.expand(length, width)).T).numpy()
    product = as_complex(query) * as_complex(key).conj()
    for distance in range(-length + 1, length):
        along = np.exp(1j * distance * np.angle(turns(2, width)[1]))
        np.testing.assert_allclose(np.diagonal(scores, -distance), (product * along).real.sum(), atol=5e-4)


def test_scores_differ_between_distances():
    vectors = torch.ones(6, 4)
    turned = Rotary(6, 4)(vectors)
    scores = turned @ turned[0]
    assert len(set(scores.tolist())) == 6


@settings(deadline=None)
@given(lengths, widths, seeds)
def test_the_first_place_is_not_turned_and_lengths_stay(length, width, seed):
    vectors = draw((4, length, width), seed)
    turned = Rotary(length, width)(vectors)
    assert torch.equal(turned[:, 0], vectors[:, 0])
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1), rtol=1e-5, atol=1e-6)


def test_the_first_pair_turns_by_one_radian_a_place_and_the_last_much_slower():
    turned = Rotary(3, 128)(torch.tensor([1.0, 0.0]).repeat(3, 64))
    angles = torch.atan2(turned[:, 1::2], turned[:, ::2])
    torch.testing.assert_close(angles[:, 0], torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(angles[1, -1].item(), 10_000 ** (-126 / 128))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_vectors_keep_their_precision(dtype):
    vectors = draw((2, 5, 6)).to(dtype)
    turned = Rotary(5, 6)(vectors)
    assert turned.dtype == dtype
    exact = Rotary(5, 6)(vectors.double())
    torch.testing.assert_close(turned, exact.to(dtype))


def test_nothing_is_learned_or_saved():
    rotary = Rotary(7, 4)
    assert rotary.state_dict() == {}
    assert not list(rotary.parameters())
    assert {buffer.device.type for buffer in rotary.to("meta").buffers()} == {"meta"}


def test_weights_load_into_a_network_of_another_length_which_says_the_same():
    options = {"width": 12, "heads": 3, "blocks": 2, "positions": "rotary", "init_std": 0.4}
    torch.manual_seed(0)
    short, long = (ArithmeticTransformer(11, length, **options) for length in (5, 23))
    long.load_state_dict(short.state_dict())
    tokens = torch.randint(11, (7, 23), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(long(tokens, slice(0, 5)), short(tokens[:, :5], slice(None)))


@pytest.mark.parametrize(
    ("length", "width", "message"),
    [
        (4, 3, "the head width must be even, got 3"),
        (4, 1, "the head width must be even, got 1"),
        (0, 4, "`length` must be at least 1, got 0"),
        (4, 0, "`width` must be at least 1, got 0"),
    ],
)
def test_wrong_sizes_are_refused(length, width, message):
    with pytest.raises(ValueError, match=message):
        Rotary(length, width)
