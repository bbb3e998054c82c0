import copy
import math
import re
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, stack_module_state, vmap

from grok_lightning.networks import ArithmeticTransformer, load_tensors, named_tensors, tied_names
from grok_lightning.networks.attention import SHORT
from grok_lightning.networks.places import ALL, LAST

VOCABULARY, LENGTH, BATCH = 11, 5, 7
LONG = SHORT + 3
"""A length at which torch's fused attention is used."""
POSITIONS = ["learned", "rotary", "none"]


def tokens(seed=0, batch=BATCH, length=LENGTH, vocabulary=VOCABULARY):
    return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(seed))


def in_order(words):
    """A pattern for a message that has these words, one after the other."""
    return "(?s)" + ".*".join(map(re.escape, words))


def build(seed=0, length=LENGTH, **options):
    torch.manual_seed(seed)
    network = ArithmeticTransformer(VOCABULARY, length, **{"width": 12, "heads": 3, **options}).double()
    with torch.no_grad():
        for parameter in network.parameters():  # biases and norms start at values that hide mistakes
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return network


def norm(layer, x):
    scaled = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
    return layer.weight * scaled + layer.bias


def linear(module, x):
    y = x @ module.weight.T
    return y if module.bias is None else y + module.bias


def branch(module, x, f, place):
    if place == "pre":
        return x + f(norm(module.norm, x))
    return norm(module.norm, x + f(x)) if place == "post" else x + f(x)


def turn(vectors):
    """Vectors (length, width) as complex numbers, each times e^{i m θ} of its place m."""
    pairs = torch.view_as_complex(vectors.unflatten(1, (-1, 2)))
    speeds = torch.tensor([10_000 ** (-2 * pair / vectors.shape[1]) for pair in range(pairs.shape[1])])
    angles = torch.arange(len(vectors))[:, None] * speeds.double()
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(1)


def attend(module, x, causal):
    """Every position of one sequence (length, width), head by head, from the definition."""
    outcomes = []
    size = module.head_width
    for head in range(module.heads):
        q, k, v = (linear(m, x)[:, head * size : (head + 1) * size] for m in (module.query, module.key, module.value))
        q, k = (q, k) if module.rotary is None else (turn(q), turn(k))
        rows = []
        for i in range(len(x)):
            seen = range(i + 1) if causal else range(len(x))
            scores = [float(q[i] @ k[j]) / math.sqrt(size) for j in seen]
            weights = [math.exp(score - max(scores)) for score in scores]
            rows.append(sum(w * v[j] for w, j in zip(weights, seen, strict=True)) / sum(weights))
        outcomes.append(torch.stack(rows))
    return linear(module.output, torch.cat(outcomes, -1))


def written_out(network, sequence, *, place, causal, activation, at=-1):
    """The logits of one sequence at some positions, every block at every position."""
    act = {"relu": lambda x: x.clamp(min=0), "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))}[activation]

    def mlp(module):
        return lambda x: linear(module.output, act(linear(module.hidden, x)))

    x = network.embedding.table.weight[sequence]
    for module in network.embedding.mlps:
        x = branch(module, x, mlp(module), place)
    if hasattr(network.decoder.input_norm, "weight"):
        x = norm(network.decoder.input_norm, x)
    if network.decoder.positions is not None:
        x = x + network.decoder.positions.weight
    for block in network.decoder.blocks:
        x = branch(block.attention, x, lambda s, a=block.attention: attend(a, s, causal), place)
        x = branch(block.mlp, x, mlp(block.mlp), place)
    if place == "pre":
        x = norm(network.decoder.norm, x)
    if hasattr(network.classifier, "hidden"):
        x = act(linear(network.classifier.hidden, x))
    return linear(network.classifier.output, x)[at]


@pytest.mark.parametrize(("place", "blocks"), [*product(["pre", "post", "none"], [1, 2])])
@pytest.mark.parametrize("causal", [True, False])
def test_last_position_equals_the_full_computation(place, blocks, causal):
    network = build(norm=place, blocks=blocks, causal=causal, embedding_mlps=2)
    batch = tokens()
    with torch.no_grad():
        expected = torch.stack(
            [written_out(network, row, place=place, causal=causal, activation="relu") for row in batch]
        )
        torch.testing.assert_close(network(batch), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "gelu"},
        {"positions": "none"},
        {"input_norm": True},
        {"input_norm": True, "positions": "none"},
        {"classifier": "mlp", "activation": "gelu"},
        {"bias": False},
        {"classifier_bias": False},
        {"head_width": 5, "heads": 2, "blocks": 2},
        {"mlp_width": 7},
    ],
)
def test_options_equal_the_full_computation(options):
    network = build(**options)
    batch = tokens(1)
    activation = options.get("activation", "relu")
    with torch.no_grad():
        expected = [written_out(network, row, place="pre", causal=True, activation=activation) for row in batch]
        torch.testing.assert_close(network(batch), torch.stack(expected))


@pytest.mark.parametrize("blocks", [1, 3])
def test_gradients_reach_every_parameter_and_equal_finite_differences(blocks):
    network = build(blocks=blocks, embedding_mlps=1, classifier="mlp", activation="gelu")
    batch, direction = tokens(2), torch.randn(BATCH, VOCABULARY, dtype=torch.double)
    (network(batch) * direction).sum().backward()
    for parameter in network.parameters():
        along = torch.randn_like(parameter)
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                parameter.add_(along, alpha=step)
                values.append((network(batch) * direction).sum())
            parameter.add_(along, alpha=1e-6)
        slope = (parameter.grad * along).sum()
        assert slope != 0
        torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False])
def test_earlier_blocks_see_the_future_only_without_the_mask(causal):
    network = build(blocks=2, causal=causal)
    block = network.decoder.blocks[0]
    stream = torch.randn(1, LENGTH, 12, dtype=torch.double)
    changed = stream.clone()
    changed[:, 3] += torch.randn(12, dtype=torch.double)
    before = (block(stream) - block(changed)).abs().sum(-1)[0] > 1e-9
    assert before.tolist() == [not causal] * 3 + [True] + [True]


def test_the_answer_depends_on_every_token_and_on_their_order_only_with_positions():
    batch = tokens(3)
    swapped = batch[:, [1, 0, 2, 3, 4]]
    with torch.no_grad():
        ordered, unordered = build(), build(positions="none")
        assert not torch.allclose(ordered(batch), ordered(swapped))
        torch.testing.assert_close(unordered(batch), unordered(swapped))
        for place in range(LENGTH):
            other = batch.clone()
            other[:, place] = (other[:, place] + 1) % VOCABULARY
            assert (ordered(batch) - ordered(other)).abs().amax(1).min() > 1e-9


def test_the_last_block_computes_one_position_and_the_embedding_each_token_once():
    network = ArithmeticTransformer(VOCABULARY, LENGTH, width=12, heads=3, blocks=2, embedding_mlps=1)
    shapes = {}
    for name in ("embedding.mlps.0.hidden", "decoder.blocks.0.mlp.hidden", "decoder.blocks.1.mlp.hidden"):
        network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: shapes.update({name: tuple(args[0].shape)})
        )
    network(tokens(batch=40))
    assert list(shapes.values()) == [(VOCABULARY, 12), (40, LENGTH, 12), (40, 12)]


MANY = 64
"""Sequences of so many occurrences that the first block works once for each token and position."""


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"norm": place, "blocks": blocks, "causal": causal}
            for place, blocks, causal in product(["pre", "post", "none"], [1, 2], [True, False])
        ),
        {"positions": "none"},
        {"positions": "none", "blocks": 2, "bias": False},
        {"input_norm": True, "embedding_mlps": 2, "head_width": 5},
    ],
)
def test_what_is_made_once_for_each_token_equals_what_is_made_for_each_occurrence(options):
    network, many = build(**options), tokens(batch=MANY)
    few = torch.cat([network(sequences) for sequences in many.split(BATCH)])
    torch.testing.assert_close(network(many), few)
    wanted = torch.randn(few.shape, generator=torch.Generator().manual_seed(1), dtype=few.dtype)
    expected = torch.autograd.grad((few * wanted).sum(), list(network.parameters()))
    found = torch.autograd.grad((network(many) * wanted).sum(), list(network.parameters()))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("batch", "options", "vectors"),
    [
        (MANY, {}, (VOCABULARY * LENGTH,)),
        (MANY, {"positions": "none"}, (VOCABULARY,)),
        (MANY, {"positions": "rotary"}, (VOCABULARY,)),
        (MANY, {"dropout": 0.1}, (MANY, LENGTH)),
        (BATCH, {"blocks": 2}, (BATCH, LENGTH)),
    ],
)
def test_keys_are_made_once_for_each_token_and_position_where_there_are_fewer_of_those(batch, options, vectors):
    network, seen = build(**{"blocks": 2, **options}), []
    network.decoder.blocks[0].attention.key.register_forward_hook(lambda _, given, made: seen.append(given[0].shape))
    network(tokens(batch=batch))
    assert seen == [(*vectors, 12)]


@pytest.mark.parametrize("blocks", [1, 2])
def test_gradients_are_the_same_to_the_bit_each_time(blocks):
    torch.manual_seed(0)
    network = ArithmeticTransformer(97, 4, width=128, blocks=blocks)
    batch = torch.cat([tokens(batch=2048, length=3, vocabulary=96), torch.full((2048, 1), 96)], 1)

    def gradients():
        return torch.autograd.grad(F.cross_entropy(network(batch), batch[:, 0]), list(network.parameters()))

    first = gradients()
    assert all(torch.equal(one, other) for _ in range(5) for one, other in zip(first, gradients(), strict=True))


# reading at other places than the last


@pytest.mark.parametrize("length", [LENGTH, LONG])
@pytest.mark.parametrize(("positions", "causal"), [*product(POSITIONS, [True, False])])
def test_every_place_equals_the_full_computation(positions, causal, length):
    network, batch = build(length=length, positions=positions, causal=causal, blocks=2), tokens(batch=2, length=length)
    with torch.no_grad():
        rows = [written_out(network, row, place="pre", causal=causal, activation="relu", at=ALL) for row in batch]
        torch.testing.assert_close(network(batch, ALL), torch.stack(rows), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network(batch), torch.stack(rows)[:, -1], rtol=1e-5, atol=1e-6)


SOME = [LAST, ALL, slice(1, None, 3), slice(2, 4), 0, 2, LENGTH - 1]


@pytest.mark.parametrize(
    ("positions", "blocks", "length", "causal"), [*product(POSITIONS, [1, 3], [LENGTH, LONG], [True, False])]
)
def test_reading_at_places_equals_reading_everywhere_and_picking(positions, blocks, length, causal):
    network = build(length=length, positions=positions, blocks=blocks, causal=causal)
    batch = tokens(batch=MANY, length=length)  # what the first block makes, it makes once for each token
    with torch.no_grad():
        embedded = network.embedding(batch)  # and here for each occurrence
        everywhere = network.classifier(network.decoder(embedded, ALL))
        assert everywhere.shape == (MANY, length, VOCABULARY)
        for at in SOME:
            torch.testing.assert_close(network(batch, at), everywhere[:, at])
            torch.testing.assert_close(network(batch[:BATCH], at), everywhere[:BATCH, at])
            torch.testing.assert_close(network.classifier(network.decoder(embedded, at)), everywhere[:, at])


@pytest.mark.parametrize("batch", [2, MANY])
@pytest.mark.parametrize(("positions", "blocks", "length"), [*product(POSITIONS, [1, 3], [LENGTH, LONG])])
def test_gradients_at_places_are_those_of_reading_everywhere(positions, blocks, length, batch):
    network = build(length=length, positions=positions, blocks=blocks, tied=True, classifier_bias=False)
    batch, parameters = tokens(batch=batch, length=length), list(network.parameters())
    for at in (LAST, slice(1, None, 3)):
        picked = network.classifier(network.decoder(network.embedding(batch), ALL))[:, at]
        wanted = torch.randn(picked.shape, generator=torch.Generator().manual_seed(1), dtype=picked.dtype)
        expected = torch.autograd.grad((picked * wanted).sum(), parameters)
        found = torch.autograd.grad((network(batch, at) * wanted).sum(), parameters)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch", [BATCH, MANY])
@pytest.mark.parametrize(
    ("positions", "blocks", "length", "causal"), [*product(POSITIONS, [1, 3], [LENGTH, LONG], [True, False])]
)
def test_a_place_knows_later_tokens_only_without_the_mask(positions, blocks, length, causal, batch):
    network = build(length=length, positions=positions, blocks=blocks, causal=causal)
    batch = tokens(batch=batch, length=length)
    other = batch.clone()
    other[:, 3] = (other[:, 3] + 1) % VOCABULARY
    with torch.no_grad():
        change = (network(batch, ALL) - network(other, ALL)).abs().amax((0, 2))
        assert (change > 1e-9).tolist() == [not causal] * 3 + [True] * (length - 3)
        alone = [(network(batch, place) - network(other, place)).abs().max().item() for place in range(3)]
        assert [one > 1e-9 for one in alone] == [not causal] * 3


def test_the_last_block_computes_only_what_is_read():
    network = ArithmeticTransformer(VOCABULARY, LENGTH, width=12, heads=3, blocks=2, positions="rotary")
    shapes = []
    for block in network.decoder.blocks:
        block.mlp.hidden.register_forward_hook(lambda module, args, output: shapes.append(tuple(args[0].shape)))
    assert network(tokens(batch=40), slice(1, None, 3)).shape == (40, 2, VOCABULARY)
    assert shapes == [(40, LENGTH, 12), (40, 2, 12)]


@pytest.mark.parametrize("length", [LENGTH, LONG])
def test_rotary_positions_work_in_half_precision(length):
    network, batch = build(length=length, positions="rotary", blocks=2).float(), tokens(length=length)
    with torch.no_grad():
        exact = network(batch, ALL)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(batch, ALL)
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


# one table at both ends


@pytest.mark.parametrize("options", [{}, {"blocks": 2, "positions": "rotary", "embedding_mlps": 1}])
def test_a_tied_classifier_has_the_rows_of_the_table(options):
    network, batch = build(tied=True, classifier_bias=False, **options), tokens()
    table = network.embedding.table.weight
    assert network.classifier.output.weight is table
    with torch.no_grad():
        torch.testing.assert_close(network(batch, ALL), network.decode(batch, ALL) @ table.T)
        table[3] += 1
        assert torch.equal(network.classifier.output.weight[3], table[3])
    assert not any(name.startswith("classifier") for name, _ in network.named_parameters())
    assert network.token_parameters == {"embedding.table.weight", "classifier.output.weight"}


def test_a_tied_classifier_can_have_biases():
    network, batch = build(tied=True), tokens()
    expected = network.decode(batch) @ network.embedding.table.weight.T + network.classifier.output.bias
    torch.testing.assert_close(network(batch), expected)
    assert "classifier.output.bias" in network.token_parameters


def test_tied_weights_are_one_tensor_when_they_are_copied_saved_and_loaded():
    network, other, batch = build(0, tied=True), build(1, tied=True), tokens()
    assert tied_names(network) == {"classifier.output.weight": "embedding.table.weight"}
    assert "classifier.output.weight" not in named_tensors(network)
    load_tensors(other, named_tensors(network), strict=True)
    again = build(2, tied=True)
    again.load_state_dict(network.state_dict())
    for its in (other, again, copy.deepcopy(network)):
        assert its.classifier.output.weight is its.embedding.table.weight
        assert torch.equal(its(batch), network(batch))


def test_the_gradient_of_a_tied_table_is_the_sum_of_both_ends():
    tied, free, batch = build(tied=True, classifier_bias=False), build(1, classifier_bias=False), tokens()
    with torch.no_grad():
        free.load_state_dict(tied.state_dict())
    for network in (tied, free):
        F.cross_entropy(network(batch, ALL).flatten(0, 1), batch.flatten()).backward()
    ends = free.embedding.table.weight.grad + free.classifier.output.weight.grad
    torch.testing.assert_close(tied.embedding.table.weight.grad, ends)


def test_tying_begins_with_the_weights_of_the_free_network():
    networks = []
    for tied in (False, True):
        torch.manual_seed(0)
        networks.append(ArithmeticTransformer(VOCABULARY, LENGTH, width=12, heads=3, blocks=2, tied=tied))
    free, tied = (network.state_dict() for network in networks)
    tied["classifier.output.weight"] = free["classifier.output.weight"]
    assert free.keys() == tied.keys()
    assert all(torch.equal(tied[name], tensor) for name, tensor in free.items())


# initial size of the branches


@pytest.mark.parametrize("blocks", [1, 2, 6])
@pytest.mark.parametrize("std", [0.02, None])
@pytest.mark.parametrize(("scaling", "branches"), [("mlp", ["mlp"]), ("all", ["attention", "mlp"])])
def test_scaling_changes_the_output_maps_of_its_branches_alone(scaling, branches, blocks, std):
    options = {"width": 8, "heads": 2, "blocks": blocks, "embedding_mlps": 1, "init_std": std}
    torch.manual_seed(0)
    plain = ArithmeticTransformer(VOCABULARY, LENGTH, **options).state_dict()
    torch.manual_seed(0)
    scaled = ArithmeticTransformer(VOCABULARY, LENGTH, residual_scaling=scaling, **options).state_dict()
    assert plain.keys() == scaled.keys()
    names = {f"decoder.blocks.{block}.{branch}.output.weight" for block in range(blocks) for branch in branches}
    assert names < plain.keys()
    for name, tensor in plain.items():
        expected = tensor / math.sqrt(2 * blocks) if name in names else tensor
        torch.testing.assert_close(scaled[name], expected, rtol=1e-6 if name in names else 0, atol=0)


# sizes


def test_parameter_counts_equal_hand_arithmetic():
    def count(**options):
        return sum(p.numel() for p in ArithmeticTransformer(99, 4, **options).parameters())

    attention = 128 * 128 * 4 + 128 * 3  # query, value and output have biases
    mlp = 128 * 512 * 2 + 512 + 128
    base = 99 * 128 + 4 * 128 + (attention + 256 + mlp + 256) + 256 + (128 * 99 + 99)
    assert count() == base == 224_355
    assert count(blocks=2) == base + attention + mlp + 512
    assert count(norm="none") == base - 3 * 256
    assert count(norm="post") == base - 256
    assert count(positions="none") == base - 4 * 128
    assert count(positions="rotary") == base - 4 * 128
    assert count(tied=True) == base - 128 * 99
    assert count(tied=True, classifier_bias=False) == base - 128 * 99 - 99
    assert count(residual_scaling="all") == base
    assert count(bias=False) == base - 3 * 128 - 512 - 128
    assert count(classifier_bias=False) == base - 99
    assert count(embedding_mlps=4) == base + 4 * (mlp + 256)
    assert count(classifier="mlp") == base - 128 * 99 + (128 * 512 + 512 + 512 * 99)
    assert count(heads=1, head_width=64) == base - 4 * 128 * 64 - 64 * 2
    assert count(mlp_width=100) == base - mlp + 128 * 100 * 2 + 100 + 128


def test_the_network_of_composite_functions_has_its_known_size():
    network = ArithmeticTransformer(
        201, 20, width=400, heads=1, blocks=2, head_width=200, mlp_width=1200, norm="post", bias=False
    )
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2.73e6, rel=0.002)


@pytest.mark.parametrize("blocks", [1, 2, 4, 6])
def test_the_network_of_functions_in_context_has_its_known_size(blocks):
    with torch.device("meta"):
        network = ArithmeticTransformer(
            29,
            95,
            width=512,
            blocks=blocks,
            positions="rotary",
            tied=True,
            bias=False,
            classifier_bias=False,
            residual_scaling="mlp",
        )
    weights, norms = 12 * 512**2, 2 * 2 * 512
    assert sum(p.numel() for p in network.parameters()) == 29 * 512 + blocks * (weights + norms) + 2 * 512
    assert {p.shape for name, p in network.named_parameters() if ".output." in name} == {(512, 512), (512, 2048)}


def test_token_vectors_are_the_table_after_its_mlps():
    plain, refined = build(), build(embedding_mlps=2)
    assert plain.token_vectors() is plain.embedding.table.weight
    assert refined.token_vectors().shape == (VOCABULARY, 12)
    assert not torch.allclose(refined.token_vectors(), refined.embedding.table.weight)
    batch = tokens(4)
    torch.testing.assert_close(refined.embedding(batch), refined.token_vectors()[batch])


def test_token_parameters_have_one_row_for_each_token():
    names = {"embedding.table.weight", "classifier.output.weight", "classifier.output.bias"}
    assert build(classifier="mlp").token_parameters == names
    assert build(classifier_bias=False).token_parameters == names - {"classifier.output.bias"}
    for name in names:
        assert build().get_parameter(name).shape[0] == VOCABULARY


def test_the_three_parts_make_the_network():
    network = build(blocks=2)
    assert [name for name, _ in network.named_children()] == ["embedding", "decoder", "classifier"]
    batch = tokens()
    torch.testing.assert_close(network(batch), network.classifier(network.decoder(network.embedding(batch))))
    assert network.decoder(network.embedding(batch)).shape == (BATCH, 12)


def test_dropout_acts_in_training_on_the_input_and_on_each_branch_of_the_decoder():
    network = build(dropout=0.5, embedding_mlps=1, blocks=2)
    batch = tokens()
    stream = torch.full((1, LENGTH, 12), 2.0, dtype=torch.double)
    seen = []
    network.decoder.blocks[0].register_forward_hook(lambda module, args, output: seen.append(args[0]))
    network.decoder(network.embedding(batch))
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.5, abs=0.15)
    for branch_ in (network.decoder.blocks[0].attention, network.decoder.blocks[0].mlp):
        change = branch_(stream) - stream
        assert 0 < (change == 0).sum() < change.numel()
    assert torch.equal(network.token_vectors(), network.token_vectors())


def test_dropout_rests_in_evaluation():
    network = build(dropout=0.5, embedding_mlps=1, blocks=2)
    batch = tokens()
    network.eval()
    with torch.no_grad():
        expected = [written_out(network, row, place="pre", causal=True, activation="relu") for row in batch]
        torch.testing.assert_close(network(batch), torch.stack(expected))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # scaled_dot_product_attention on a CPU
def test_a_stack_of_networks_under_vmap_equals_each_alone():
    networks = [build(seed, blocks=2, embedding_mlps=1) for seed in range(3)]
    batches = torch.stack([tokens(seed) for seed in range(3)])
    parameters, buffers = stack_module_state(networks)

    def loss(parameters, batch):
        return functional_call(networks[0], (parameters, buffers), batch).square().mean()

    gradients = vmap(torch.func.grad(loss))(parameters, batches)
    for place, (network, batch) in enumerate(zip(networks, batches, strict=True)):
        network(batch).square().mean().backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(gradients[name][place], parameter.grad)


@pytest.mark.parametrize("std", [0.02, 0.3, None])
def test_weights_begin_with_the_documented_spread(std):
    torch.manual_seed(0)
    network = ArithmeticTransformer(500, 4, width=256, blocks=2, embedding_mlps=1, classifier="mlp", init_std=std)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif ".norm." in name:
            assert (parameter == 1).all()
        else:
            expected = parameter.shape[-1] ** -0.5 if std is None else std
            assert parameter.std().item() == pytest.approx(expected, rel=0.1), name
            assert abs(parameter.mean().item()) < 0.1 * parameter.std().item()


def test_building_on_the_meta_device_needs_no_memory():
    with torch.device("meta"):
        network = ArithmeticTransformer(10**9, 4, width=1024, blocks=3, embedding_mlps=2)
        assert network(torch.zeros(2, 4, dtype=torch.long)).shape == (2, 10**9)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_the_last_position_shortcut_learns():
    network = ArithmeticTransformer(7, 2, width=32, heads=2)
    a, b = torch.cartesian_prod(torch.arange(7), torch.arange(7)).unbind(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(network(torch.stack([a, b], 1)), (a + b) % 7).backward()
        optimizer.step()
    assert (network(torch.stack([a, b], 1)).argmax(1) == (a + b) % 7).float().mean() > 0.95


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 10, "heads": 4}, ["`width`", "`heads`", "10", "4"]),
        ({"heads": 0}, ["`heads`", "0"]),
        ({"width": 0}, ["`width`", "0"]),
        ({"blocks": 0}, ["`blocks`", "0"]),
        ({"blocks": -2}, ["`blocks`", "-2"]),
        ({"mlp_width": 0}, ["`mlp_width`", "0"]),
        ({"head_width": 0}, ["`head_width`", "0"]),
        ({"embedding_mlps": -1}, ["`embedding_mlps`", "-1"]),
        ({"dropout": 1.0}, ["`dropout`", "1.0"]),
        ({"dropout": -0.1}, ["`dropout`", "-0.1"]),
        ({"init_std": 0.0}, ["`init_std`", "0.0"]),
        ({"activation": "rleu"}, ["`activation`", "'rleu'", "Did you mean 'relu'?"]),
        ({"norm": "prenorm"}, ["`norm`", "pre, post, none"]),
        ({"positions": "rotray"}, ["`positions`", "learned, rotary, none", "Did you mean 'rotary'?"]),
        ({"classifier": "linaer"}, ["`classifier`", "Did you mean 'linear'?"]),
        ({"positions": "rotary", "width": 9, "heads": 3}, ["head width must be even", "3"]),
        ({"positions": "rotary", "head_width": 5}, ["head width must be even", "5"]),
        ({"residual_scaling": "mpl"}, ["`residual_scaling`", "none, mlp, all", "Did you mean 'mlp'?"]),
        ({"residual_scaling": ""}, ["`residual_scaling`", "none, mlp, all"]),
        ({"tied": True, "classifier": "mlp"}, ["`tied`", "linear classifier", "'mlp'"]),
    ],
)
def test_wrong_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=in_order(words)):
        ArithmeticTransformer(VOCABULARY, LENGTH, **options)


@pytest.mark.parametrize(("vocabulary", "length", "name"), [(0, 4, "vocabulary_size"), (5, 0, "length")])
def test_wrong_sizes_are_named(vocabulary, length, name):
    with pytest.raises(ValueError, match=name):
        ArithmeticTransformer(vocabulary, length)


@pytest.mark.parametrize("shape", [(3, LENGTH + 1), (LENGTH,), (2, 3, LENGTH)])
def test_sequences_of_another_length_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch, 5\)"):
        build()(torch.zeros(shape, dtype=torch.long))
