"""What a transformer makes of composite functions, against plain loops over sequences."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from grok_lightning.composite import (
    Around,
    answer_offsets,
    attention_flow,
    common_values,
    cosines,
    equal_answers,
    pair_accuracies,
    pair_similarities,
    sequences,
    value_similarities,
)
from grok_lightning.data import CompositeFunctionDataModule
from grok_lightning.networks import ArithmeticTransformer, attention_maps, stream_vectors

SHIFTS = {1: 5, 2: 1, 3: -2, 4: -8}
PAIRS = [*product(SHIFTS, repeat=2)]


def build(**options):
    data = CompositeFunctionDataModule(**{"size": 3200, "split_seed": 0} | options)
    data.setup("fit")
    return data


def transformer(data, **options):
    torch.manual_seed(0)
    options = {"width": 8, "heads": 2, "blocks": 2, "init_std": 0.5} | options
    return ArithmeticTransformer(len(data.vocabulary), data.length, **options).eval()


@pytest.fixture(scope="module")
def data():
    return build()


@pytest.fixture(scope="module")
def network(data):
    return transformer(data)


class Told(torch.nn.Module):
    """A network that answers what a function makes of key and anchors, read token by token."""

    def __init__(self, data, rule):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.data, self.rule = data, rule

    def forward(self, tokens):
        names, answers = list(self.data.vocabulary), []
        for row in tokens.tolist():
            words = [names[token] for token in row]
            place = next(i for i, word in enumerate(words) if word.startswith("f"))
            anchors = [int(word[1:]) for word in words if word.startswith("f")]
            answers.append(names.index(str(self.rule(int(words[place - 1]), *anchors))))
        return torch.nn.functional.one_hot(torch.tensor(answers), len(names)).float()


def inferred(key, *anchors):
    return key + sum(SHIFTS[anchor] for anchor in anchors)


def trained(key, first, second):
    return key - 6 if (first, second) == (3, 4) else inferred(key, first, second)


def copied(key, first, second):
    return trained(key, *sorted((first, second)))


def cosine(one, other):
    return one @ other / (np.linalg.norm(one) * np.linalg.norm(other))


# sequences


@pytest.mark.parametrize(("position", "expected"), [(None, 3), (0, 0), (6, 6)])
def test_sequences_differ_by_pair_and_key_alone(data, position, expected):
    pairs, keys = [(4, 3), (1, 1)], [99, 20, 57]
    rows = sequences(data, pairs, keys, Around(position))
    assert rows.shape == (2, 3, 9)
    names = list(data.vocabulary)
    around = {tuple(np.delete(row, range(expected, expected + 3))) for row in rows.flatten(0, 1).numpy()}
    assert len(around) == 1
    for pair, its in zip(pairs, rows.tolist(), strict=True):
        for key, row in zip(keys, its, strict=True):
            words = [names[token] for token in row]
            assert words[expected : expected + 3] == [str(key), *(f"f{anchor}" for anchor in pair)]
            assert all(20 <= int(word) <= 99 for word in words if not word.startswith("f"))


def test_the_noise_follows_its_seed(data):
    state = torch.get_rng_state()
    first, again, other = (sequences(data, [(1, 1)], [50], Around(seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([(1, 5)], [50]), r"there are no anchors \(1, 5\); the data have \(1, 1\) … \(4, 4\)"),
        (([(1,)], [50]), r"there are no anchors \(1,\)"),
        (([(1, 1)], [50, 100]), "there is no key 100; the data have 20 … 99"),
        (([(1, 1)], [50], Around(7)), "position is 7; expected 0 to 6, where a key can stand"),
    ],
)
def test_what_the_data_do_not_have_is_refused(data, arguments, message):
    with pytest.raises(ValueError, match=message):
        sequences(data, *arguments)


# attention and similarities


def test_the_flow_of_a_network_in_half_precision_can_be_drawn(data, network):
    tokens = sequences(data, [(4, 3)], [99])[0, 0]
    half = attention_flow(transformer(data).to(torch.bfloat16), tokens)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, attention_flow(network, tokens), rtol=0.05, atol=0.02)


def test_functions_without_a_value_in_common_have_none():
    assert common_values(build(functions=["x", "x + 100"], overrides={}, unseen=[])) == []
    assert common_values(build(functions=["x", "x + 78"], overrides={}, unseen=[])) == [98, 99]
    assert common_values(build()) == list(range(53, 63))


def test_the_flow_of_a_sequence_is_the_mean_attention_of_its_heads(data, network):
    tokens = data.parts["val"].tokens[5]
    flow = attention_flow(network, tokens)
    for block, weights in enumerate(attention_maps(network, tokens[None])):
        torch.testing.assert_close(flow[block], (weights[0, 0] + weights[0, 1]) / 2)


def test_cosines_are_those_of_every_two_vectors():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(3, 4)), random.normal(size=(5, 4))
    found = cosines(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    np.testing.assert_allclose(found, [[cosine(a, b) for b in other] for a in one], rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"norm": "post", "blocks": 1}, {"positions": "rotary"}])
def test_pairs_are_compared_at_the_last_place_after_the_last_attention(data, options):
    network, keys, around = transformer(data, **options), range(30, 34), Around(2, seed=3)
    found = pair_similarities(network, data, (3, 3), (2, 2), keys, around)
    rows = sequences(data, [(3, 3), (2, 2)], keys, around)
    attention, streams = network.decoder.blocks[-1].attention, []
    attention.register_forward_hook(lambda module, inputs, outcome: streams.append(outcome[:, -1]))
    with torch.no_grad():
        for its in rows:
            network(its, slice(None))
    one, other = (vectors.numpy() for vectors in streams)
    np.testing.assert_allclose(found, [[cosine(a, b) for b in other] for a in one], rtol=1e-4, atol=1e-6)


def test_equal_answers_are_those_of_the_shifts(data):
    for first, second in (((3, 3), (2, 2)), ((1, 2), (1, 3)), ((3, 4), (4, 4))):
        expected = [[trained(x, *first) == trained(y, *second) for y in range(30, 41)] for x in range(30, 41)]
        assert equal_answers(data, first, second).tolist() == expected
    assert equal_answers(data, (3, 3), (2, 2))[36 - 30, 30 - 30]  # 36 − 4 = 30 + 2, as in the paper


@pytest.mark.parametrize("anchors", [1, 2])
def test_values_are_compared_at_the_place_of_the_first_anchor(anchors):
    data = build(anchors=anchors)
    network = transformer(data)
    matrix, targets = value_similarities(network, data, [51, 52], Around(1))
    assert targets == [(value, anchor, value - SHIFTS[anchor]) for value in (51, 52) for anchor in SHIFTS]
    vectors = []
    for _, anchor, key in targets:
        group = (anchor, 1)[:anchors]
        tokens = sequences(data, [group], [key], Around(1))[0]
        path = "decoder.blocks.1.attention.value"
        vectors.append(stream_vectors(network, tokens, [path])[path][0, 2].numpy())
    np.testing.assert_allclose(matrix, [[cosine(a, b) for b in vectors] for a in vectors], rtol=1e-4, atol=1e-6)


def test_the_values_in_the_middle_are_compared_unless_others_are_named(data, network):
    matrix, targets = value_similarities(network, data)
    assert matrix.shape == (40, 40)
    assert [target.value for target in targets[::4]] == [*range(53, 63)]  # of 25 … 91, which all four make
    assert value_similarities(network, data, [104])[1] == [(104, 1, 99)]
    with pytest.raises(ValueError, match=r"values is \[300\]; expected some that the anchors make of a key"):
        value_similarities(network, data, [300])


# answers


@pytest.mark.parametrize(("rule", "offset"), [(inferred, 0), (copied, 4), (lambda key, *_: key, 10)])
def test_offsets_tell_inferential_from_symmetric_answers(data, rule, offset):
    rows = len(data.parts["unseen_train_keys"])
    assert answer_offsets(Told(data, rule), data, (4, 3)) == {offset: rows}


def test_offsets_are_counted_and_what_is_no_number_stands_apart(data):
    def rule(key, *anchors):
        return "f2" if key % 3 == 0 else inferred(key, *anchors) + (key % 3 - 2) * 7

    keys = data.keys_of(data.parts["unseen_test_keys"].tokens).tolist()
    expected = Counter(None if key % 3 == 0 else (key % 3 - 2) * 7 for key in keys)
    found = answer_offsets(Told(data, rule), data, (4, 3), "unseen_test_keys")
    assert found == expected
    assert [*found] == [-7, 0, None]


def test_offsets_of_residues_are_residues():
    data = build(modulus=101)
    found = answer_offsets(Told(data, lambda key, *_: (key - 12) % 101), data, (4, 3))
    assert found == {99: len(data.parts["unseen_train_keys"])}


@pytest.mark.parametrize(("pair", "part"), [((1, 2), "unseen_train_keys"), ((4, 3), "val"), ((1, 2), "trian")])
def test_parts_without_the_pair_are_refused(data, pair, part):
    with pytest.raises(
        ValueError, match=f"the part '{part}' has no sequences of the pair .*; the parts are train, val"
    ):
        answer_offsets(Told(data, inferred), data, pair, part)


def test_accuracies_are_those_of_each_pair(data):
    def rule(key, first, second):
        return trained(key, first, second) if key % first == 0 or second < 3 else 20

    found = pair_accuracies(Told(data, rule), data)
    for name, parts in (
        ("train keys", ("train", "unseen_train_keys")),
        ("test keys", ("val", "test", "unseen_test_keys")),
    ):
        right = {pair: [] for pair in PAIRS}
        for part in parts:
            tokens = data.parts[part].tokens
            for key, pair in zip(data.keys_of(tokens).tolist(), data.pairs_of(tokens).tolist(), strict=True):
                right[tuple(pair)].append(rule(key, *pair) == trained(key, *pair))
        expected = np.reshape([np.mean(right[pair]) for pair in PAIRS], (4, 4))
        np.testing.assert_allclose(found[name], expected)
    assert 0 < found["train keys"].min() < found["train keys"].max() == 1


def test_no_more_sequences_are_asked_than_wanted(data):
    asked = []
    told = Told(data, inferred)
    told.register_forward_hook(lambda module, inputs, outcome: asked.append(len(outcome)))
    pair_accuracies(told, data, rows=3)
    assert asked == [3] * 32


def test_single_anchors_have_a_row_of_accuracies():
    data = build(anchors=1)
    found = pair_accuracies(Told(data, lambda key, anchor: inferred(key, min(anchor, 3))), data)
    assert {name: table.tolist() for name, table in found.items()} == {
        "train keys": [1, 1, 1, 0],
        "test keys": [1, 1, 1, 0],
    }


def test_a_compiled_network_is_not_compiled_for_every_size(data):
    network, compiled = transformer(data), []
    expected = pair_accuracies(network, data, rows=4)
    network.compile(backend=lambda module, inputs: compiled.append(module) or module.forward)
    found = pair_accuracies(network, data, rows=4)
    assert all(torch.equal(found[name], table) for name, table in expected.items())
    assert compiled == []
