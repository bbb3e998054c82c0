import copy
import re
from itertools import product

import numpy as np
import pytest
import torch

from grok_lightning.networks import ArithmeticTransformer, attention_maps, head_outputs, pruned
from grok_lightning.networks.attention import SHORT
from grok_lightning.networks.places import ALL, LAST

VOCABULARY, WIDTH, HEADS, BLOCKS = 11, 12, 3, 2
LENGTHS = [5, SHORT + 3]
"""Shorter and longer than what products of matrices are used for."""
EVERY = [*product(range(BLOCKS), range(HEADS))]


def build(length=5, seed=0, **options):
    torch.manual_seed(seed)
    options = {"width": WIDTH, "heads": HEADS, "blocks": BLOCKS, "positions": "rotary", "bias": False} | options
    network = ArithmeticTransformer(VOCABULARY, length, **options).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return network


def sequences(length=5, batch=7, seed=0):
    return torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


class Written:
    """A network with pre-norm and ReLU in numpy, from the definitions; heads can be replaced by their batch mean.

    Attributes:
        maps: For each block softmax(q · k / √d) of its heads (batch, heads, length, length).
        heads: For each block what its heads add to the stream (batch, length, heads, width).
        logits: At every place (batch, length, vocabulary).
    """

    def __init__(self, network, tokens, averaged=()):
        self.maps, self.heads = [], []
        weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
        self.causal = network.causal
        stream = weights["embedding.table.weight"][tokens.numpy()]
        if "decoder.positions.weight" in weights:
            stream = stream + weights["decoder.positions.weight"]
        for number, block in enumerate(network.decoder.blocks):
            its = {name: tensor.detach().numpy() for name, tensor in block.named_parameters()}
            attention = {name.removeprefix("attention."): tensor for name, tensor in its.items()}
            written = self.attend(attention, stream, block.attention.heads, block.attention.rotary is not None)
            for head in (head for place, head in averaged if place == number):
                written[:, :, head] = written[:, :, head].mean(0)
            self.heads.append(written)
            stream = stream + written.sum(2) + attention.get("output.bias", 0)
            hidden = norm(its, "mlp.norm", stream) @ its["mlp.hidden.weight"].T + its.get("mlp.hidden.bias", 0)
            stream = stream + hidden.clip(0) @ its["mlp.output.weight"].T + its.get("mlp.output.bias", 0)
        self.logits = norm(weights, "decoder.norm", stream) @ weights["classifier.output.weight"].T
        self.logits += weights.get("classifier.output.bias", 0)

    def attend(self, weights, stream, heads, rotary):
        states = norm(weights, "norm", stream)
        query, key, value = (
            (states @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)).reshape(
                *stream.shape[:2], heads, -1
            )
            for name in ("query", "key", "value")
        )
        width = query.shape[-1]
        if rotary:
            query, key = turn(query), turn(key)
        scores = np.einsum("bihd,bjhd->bhij", query, key) / np.sqrt(width)
        if self.causal:
            scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
        maps = np.exp(scores - scores.max(-1, keepdims=True))
        self.maps.append(maps / maps.sum(-1, keepdims=True))
        mixed = np.einsum("bhij,bjhd->bihd", self.maps[-1], value)
        output = weights["output.weight"].reshape(-1, heads, width)
        return np.einsum("bihd,whd->bihw", mixed, output)


def norm(weights, name, states):
    centred = states - states.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def turn(vectors):
    """Vectors (batch, length, heads, width), turned by their places."""
    numbers = vectors[..., ::2] + 1j * vectors[..., 1::2]
    speeds = 10_000.0 ** (-np.arange(0, vectors.shape[-1], 2) / vectors.shape[-1])
    turned = numbers * np.exp(1j * np.arange(vectors.shape[1])[:, None, None] * speeds)
    return np.stack([turned.real, turned.imag], -1).reshape(vectors.shape)


def assert_near(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-6)  # turned in single precision


OPTIONS = [{}, {"positions": "learned"}, {"positions": "none", "causal": False}, {"bias": True, "head_width": 6}]


# where heads look


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("options", OPTIONS)
def test_maps_are_those_of_numpy(options, length):
    network, tokens = build(length, **options), sequences(length)
    written = Written(network, tokens)
    assert_near(network(tokens, ALL), written.logits)
    maps = attention_maps(network, tokens)
    assert len(maps) == BLOCKS
    for found, expected in zip(maps, written.maps, strict=True):
        assert_near(found, expected)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("causal", [True, False])
def test_rows_add_up_to_1_and_nothing_looks_ahead(causal, length):
    for its in attention_maps(build(length, causal=causal), sequences(length)):
        assert its.shape == (7, HEADS, length, length)
        assert not its.requires_grad
        torch.testing.assert_close(its.sum(-1), torch.ones(7, HEADS, length, dtype=its.dtype))
        assert (its >= 0).all()
        assert (its.triu(1) == 0).all().item() is causal


def test_a_single_place_looks_at_itself():
    maps = attention_maps(build(1), sequences(1))
    assert all(torch.equal(its, torch.ones_like(its)) for its in maps)


# what heads write


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("batch", [3, 64])  # with 64 the network gathers what it makes once for each token
def test_outputs_are_those_of_numpy(options, length, batch):
    network, tokens = build(length, **options), sequences(length, batch)
    for block, expected in enumerate(Written(network, tokens).heads):
        found = head_outputs(network, tokens, block)
        assert found.shape == (batch, length, HEADS, WIDTH)
        assert not found.requires_grad
        assert_near(found, expected)


@pytest.mark.parametrize("place", ["pre", "none"])
def test_outputs_of_all_heads_are_what_attention_adds(place):
    network, tokens = build(norm=place), sequences()
    with torch.no_grad():
        stream = network.decoder.begin(network.embedding(tokens))
        for block, its in enumerate(network.decoder.blocks):
            added = its.attention(stream) - stream
            torch.testing.assert_close(head_outputs(network, tokens, block).sum(2), added)
            stream = its(stream)


def test_biases_are_left_out():
    network, tokens = build(bias=True), sequences()
    attention = network.decoder.blocks[0].attention
    stream = network.decoder.begin(network.embedding(tokens))
    added = head_outputs(network, tokens, 0).sum(2) + attention.output.bias
    torch.testing.assert_close(added, attention(stream) - stream)


@pytest.mark.parametrize("at", [ALL, LAST, 0, 2, slice(1, None, 3), slice(3, 5), slice(0)])
def test_places_are_picked(at):
    network, tokens = build(), sequences()
    for block in range(BLOCKS):
        everywhere = head_outputs(network, tokens, block)
        torch.testing.assert_close(head_outputs(network, tokens, block, at), everywhere[:, at])


# what is left without heads


def without(network, heads):
    """A copy of a network in which the output maps have zeros for some heads."""
    network = copy.deepcopy(network)
    for block, head in heads:
        attention = network.decoder.blocks[block].attention
        size = attention.head_width
        attention.output.weight.data[:, head * size : (head + 1) * size] = 0
    return network


SETS = [[], [(0, 1)], [(1, 2)], [(0, 0), (0, 2)], [(1, 0), (0, 1)], [(0, 1), (0, 1)], EVERY]


@pytest.mark.parametrize(("options", "length", "batch"), [*product(OPTIONS, LENGTHS, [3, 64])])
def test_a_head_pruned_by_zero_has_zeros_for_its_columns(options, length, batch):
    network, tokens = build(length, **options), sequences(length, batch)
    for heads in SETS:
        expected = without(network, heads)
        with torch.no_grad(), pruned(network, heads):
            for at in (LAST, ALL, slice(1, None, 3)):
                torch.testing.assert_close(network(tokens, at), expected(tokens, at))


@pytest.mark.parametrize(("options", "length", "batch"), [*product(OPTIONS, LENGTHS, [3, 64])])
def test_a_head_pruned_by_its_mean_writes_the_same_at_a_place_in_all_sequences(options, length, batch):
    network, tokens = build(length, **options), sequences(length, batch)
    for heads in SETS:
        expected = Written(network, tokens, averaged=heads).logits
        with torch.no_grad(), pruned(network, heads, "mean"):
            for at in (LAST, ALL, slice(1, None, 3)):
                assert_near(network(tokens, at), expected[:, at])


def test_pruning_changes_the_answers_and_one_sequence_is_its_own_mean():
    network, tokens = build(), sequences()
    whole = network(tokens)
    for head in EVERY:
        for by in ("zero", "mean"):
            with pruned(network, [head], by):
                assert (network(tokens) - whole).abs().amax(1).min() > 1e-9
        with pruned(network, [head], "mean"):
            torch.testing.assert_close(network(tokens[:1]), whole[:1])


def test_outputs_of_a_pruned_head_are_zero():
    network, tokens = build(), sequences()
    whole = head_outputs(network, tokens, 0)
    with pruned(network, [(0, 1)]):
        left = head_outputs(network, tokens, 0)
    assert not left[:, :, 1].any()
    assert torch.equal(left[:, :, [0, 2]], whole[:, :, [0, 2]])


def test_pruned_heads_add_up_where_contexts_are_nested():
    network, tokens = build(), sequences()
    expected = without(network, [(0, 1), (1, 0)])(tokens)
    with pruned(network, [(0, 1)]), pruned(network, [(1, 0)]):
        torch.testing.assert_close(network(tokens), expected)


def test_gradients_pass_by_a_pruned_head():
    network, tokens = build(), sequences()
    with pruned(network, [(0, 1)]):
        network(tokens, ALL).square().sum().backward()
    gradient = network.decoder.blocks[0].attention.output.weight.grad.view(WIDTH, HEADS, -1)
    assert not gradient[:, 1].any()
    assert gradient[:, [0, 2]].abs().amax((0, 2)).min() > 0


# nothing is left behind


def hooks(network):
    return [hook for module in network.modules() for hook in module._forward_pre_hooks.values()]


class Broken(Exception):
    pass


def test_a_network_is_whole_again_afterwards():
    network, tokens = build(), sequences()
    whole = network(tokens)
    attention_maps(network, tokens)
    head_outputs(network, tokens, 1)
    for by in ("zero", "mean"):
        with pruned(network, EVERY, by):
            assert len(hooks(network)) == BLOCKS
    assert not hooks(network)
    assert torch.equal(network(tokens), whole)


def test_a_network_is_whole_again_after_an_error():
    network = build()
    with pytest.raises(Broken), pruned(network, EVERY):
        raise Broken
    assert not hooks(network)
    with pytest.raises(ValueError, match=r"\(batch, 5\)"):
        head_outputs(network, sequences(6), 0)
    assert not hooks(network)


def test_what_was_compiled_before_does_not_pass_a_pruned_head_by():
    network, tokens = build(), sequences()
    expected = [head_outputs(network, tokens, block) for block in range(BLOCKS)]
    network.compile(backend="eager", dynamic=False)
    with torch.no_grad():
        whole = network(tokens)
        for head in EVERY:
            with pruned(network, [head]):
                torch.testing.assert_close(network(tokens), without(network, [head])(tokens))
        torch.testing.assert_close(network(tokens), whole)
    network(tokens, ALL)
    for block in range(BLOCKS):
        torch.testing.assert_close(head_outputs(network, tokens, block), expected[block])


# refusals


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([(2, 0)], "blocks 0 to 1, got 2"),
        ([(-1, 0)], "blocks 0 to 1, got -1"),
        ([(0, 3)], "Block 0 has heads 0 to 2, got 3"),
        ([(1, -1)], "Block 1 has heads 0 to 2, got -1"),
        ([(0, 0), (1, 5)], "Block 1 has heads 0 to 2, got 5"),
    ],
)
def test_a_wrong_head_is_refused(heads, message):
    network = build()
    with pytest.raises(ValueError, match=message), pruned(network, heads):
        raise Broken
    assert not hooks(network)


@pytest.mark.parametrize("block", [-1, 2])
def test_a_wrong_block_is_refused(block):
    with pytest.raises(ValueError, match=f"The network has blocks 0 to 1, got {block}"):
        head_outputs(build(), sequences(), block)


def test_a_wrong_replacement_is_refused():
    message = re.escape("`by` must be one of zero, mean, got 'maen'. Did you mean 'mean'?")
    with pytest.raises(ValueError, match=message), pruned(build(), [], "maen"):
        raise Broken
