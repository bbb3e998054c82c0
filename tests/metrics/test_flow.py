"""Attention between roles, against loops over every place."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_lightning.metrics import AttentionFlow


def drawn(blocks, batch, heads, length, roles, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(batch, heads, length, length, generator=generator).softmax(-1) for _ in range(blocks)]
    return maps, torch.randint(roles, (batch, length), generator=generator)


def looped(maps, roles, count):
    """The mean over places that look of what they see of each role, place by place."""
    flow = np.full((len(maps), count, count), np.nan)
    for block, weights in enumerate(maps):
        for looks in range(count):
            seen = [
                [sum(row[place] for place in range(len(row)) if its[place] == role) for role in range(count)]
                for shares, its in zip(weights.double().mean(1).tolist(), roles.tolist(), strict=True)
                for row, mine in zip(shares, [*its[:-1], count - 1], strict=True)  # the reader is the last role
                if mine == looks
            ]
            if seen:
                flow[block, looks] = np.mean(seen, axis=0)
    return flow


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99)
)
def test_the_flow_is_that_of_a_loop_over_places(blocks, batch, heads, length, roles, seed):
    maps, its = drawn(blocks, batch, heads, length, roles, seed)
    metric = AttentionFlow(blocks, roles + 1)  # and the last role, as which nothing is looked at
    for row in range(batch):
        metric.update([weights[[row]] for weights in maps], its[[row]])
    flow = metric.compute().numpy()
    np.testing.assert_allclose(flow, looped(maps, its, roles + 1), rtol=1e-9)
    played = np.isin(np.arange(roles + 1), [*its[:, :-1].flatten().tolist(), roles])
    assert (np.isnan(flow).all(2) == ~played).all()
    np.testing.assert_allclose(flow[:, played].sum(2), 1, rtol=1e-6)


def test_several_places_of_a_role_are_looked_at_together():
    weights = torch.tensor([[[1.0, 0, 0], [0.25, 0.75, 0], [0.125, 0.375, 0.5]]])[:, None]
    metric = AttentionFlow(1, 2)
    metric.update([weights], torch.tensor([[0, 0, 1]]))
    assert metric.compute().tolist() == [[[1, 0], [0.5, 0.5]]]


def test_a_reset_forgets():
    metric = AttentionFlow(1, 2)
    metric.update([torch.ones(1, 1, 1, 1)], torch.tensor([[0]]))
    metric.reset()
    assert all(math.isnan(value) for value in metric.compute().flatten())
    metric.update([torch.ones(1, 1, 1, 1)], torch.tensor([[1]]))
    assert metric.compute()[0, 1].tolist() == [0, 1]
    assert metric.compute()[0, 0].tolist() == pytest.approx([math.nan] * 2, nan_ok=True)
