"""Vectors that a transformer makes on its way, against a forward pass in numpy."""

import copy
import re

import numpy as np
import pytest
import torch

from grok_lightning.networks import ArithmeticTransformer, stream_vectors
from grok_lightning.networks.places import ALL, LAST

VOCABULARY, WIDTH, HEADS, LENGTH = 5, 12, 3, 6


def build(seed=0, **options):
    torch.manual_seed(seed)
    network = ArithmeticTransformer(VOCABULARY, LENGTH, **{"width": WIDTH, "heads": HEADS, "blocks": 2} | options)
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return network


def sequences(batch=40, seed=0):
    """So many that all tokens occur at all places, and training would gather from a table."""
    return torch.randint(VOCABULARY, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


def normed(weights, name, vectors):
    centred = vectors - vectors.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def turned(vectors, width):
    """Complex numbers, each pair of components one, turned by their places."""
    pairs = vectors[..., ::2] + 1j * vectors[..., 1::2]
    speeds = 10_000.0 ** (-np.arange(0, width, 2) / width)
    pairs = pairs * np.exp(1j * np.arange(LENGTH)[:, None] * speeds)
    return np.stack([pairs.real, pairs.imag], -1).reshape(vectors.shape)


def written(network, tokens, norm, rotary, causal):
    """What some modules give (batch, length, …), by name, from the definitions."""
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    stream = weights["embedding.table.weight"][tokens.numpy()]
    found = {"embedding": stream}
    stream = stream if rotary else stream + weights["decoder.positions.weight"]
    head_width = WIDTH // HEADS

    def linear(name, vectors):
        return vectors @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def branch(path, stream, function):
        if norm == "post":
            return normed(weights, f"{path}.norm", stream + function(stream))
        return stream + function(normed(weights, f"{path}.norm", stream) if norm == "pre" else stream)

    for number in range(2):
        path = f"decoder.blocks.{number}"

        def attend(states, path=f"{path}.attention"):
            query, key, value = (linear(f"{path}.{name}", states) for name in ("query", "key", "value"))
            found.update({f"{path}.query": query, f"{path}.key": key, f"{path}.value": value})
            heads = []
            for head in range(HEADS):
                its = slice(head * head_width, (head + 1) * head_width)
                q, k = (turned(v[..., its], head_width) if rotary else v[..., its] for v in (query, key))
                scores = np.einsum("bqd,bkd->bqk", q, k) / np.sqrt(head_width)
                scores = np.where(np.triu(np.ones((LENGTH, LENGTH)), 1) * causal > 0, -np.inf, scores)
                shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
                heads.append(shares @ value[..., its])
            return linear(f"{path}.output", np.concatenate(heads, -1))

        def perceive(states, path=f"{path}.mlp"):
            found[f"{path}.hidden"] = linear(f"{path}.hidden", states)
            return linear(f"{path}.output", found[f"{path}.hidden"].clip(0))

        stream = found[f"{path}.attention"] = branch(f"{path}.attention", stream, attend)
        stream = found[path] = found[f"{path}.mlp"] = branch(f"{path}.mlp", stream, perceive)
    found["decoder"] = normed(weights, "decoder.norm", stream) if norm == "pre" else stream
    found["classifier"] = linear("classifier.output", found["decoder"])
    return found


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_vectors_are_those_of_a_forward_pass_by_hand(norm, positions, causal):
    network, tokens = build(norm=norm, positions=positions, causal=causal, head_width=4), sequences()
    expected = written(network, tokens, norm, positions == "rotary", causal)
    found = stream_vectors(network, tokens, [*expected])
    assert found.keys() == expected.keys()
    for path, vectors in expected.items():
        tolerance = 1e-5 if positions == "rotary" else 1e-10  # the network keeps its angles in single precision
        np.testing.assert_allclose(found[path].numpy(), vectors, rtol=tolerance, atol=tolerance, err_msg=path)
    torch.testing.assert_close(found["classifier"][:, -1], network(tokens))
    for at in (LAST, 2, slice(1, None, 3)):
        for path, vectors in stream_vectors(network, tokens, [*expected], at).items():
            assert torch.equal(vectors, found[path][:, at]), (path, at)


def test_repeated_tokens_and_single_sequences_make_no_difference():
    network, tokens = build(), sequences()
    paths = ["decoder.blocks.0.attention.value", "decoder.blocks.1.attention"]
    together = stream_vectors(network, tokens, paths)
    for row in range(3):
        for path, alone in stream_vectors(network, tokens[[row]], paths).items():
            torch.testing.assert_close(alone[0], together[path][row])


def test_vectors_of_the_embedding_are_found_by_token():
    network, tokens = build(embedding_mlps=2), sequences()
    found = stream_vectors(network, tokens, ["embedding", "embedding.mlps.1"])
    assert torch.equal(found["embedding"], found["embedding.mlps.1"])
    assert torch.equal(found["embedding"], network.token_vectors()[tokens])


def test_asking_changes_nothing():
    network, tokens = build(dropout=0.5).train(), sequences()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    network.eval()
    found = stream_vectors(network, tokens, ["decoder"])["decoder"]
    assert not found.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(ValueError, match="shape"):
        stream_vectors(network, tokens[:, 1:], ["decoder"])
    assert not any(module._forward_hooks for module in network.modules())


def test_a_compiled_network_is_asked_too():
    network, tokens = build(), sequences()
    expected = stream_vectors(network, tokens, ["decoder.blocks.0"], ALL)["decoder.blocks.0"]
    network.compile(backend="eager")
    network(tokens)
    assert torch.equal(stream_vectors(network, tokens, ["decoder.blocks.0"])["decoder.blocks.0"], expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "decoder.blocks.1.atention",
            "no module 'decoder.blocks.1.atention'; did you mean 'decoder.blocks.1.attention'?",
        ),
        ("", "the network has no module ''; did you mean"),
        ("decoder.positions", "the module 'decoder.positions' gives no vector for each place"),
        ("decoder.blocks", "the module 'decoder.blocks' gives no vector for each place"),
        ("embedding.table", "the module 'embedding.table' gives no vector for each place"),
    ],
)
def test_names_of_no_vectors_are_refused(path, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        stream_vectors(build(), sequences(), ["decoder", path])


def test_what_is_turned_by_head_is_refused():
    with pytest.raises(ValueError, match="gives no vector for each place"):
        stream_vectors(build(positions="rotary"), sequences(), ["decoder.blocks.0.attention.rotary"])
