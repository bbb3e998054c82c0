import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch import nn

from grok_lightning.optim import ParameterRule, build_optimizer, matches, parameter_groups


def in_order(words):
    """A pattern for a message that has these words, one after the other."""
    return "(?s)" + ".*".join(map(re.escape, words))


def build():
    torch.manual_seed(0)
    network = nn.Module()
    network.embedding = nn.Embedding(5, 3)
    network.decoder = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network.classifier = nn.Linear(3, 5)
    return network


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5, fused=True)


def rates(network, optimizer):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_the_first_rule_that_matches_wins():
    network = build()
    rules = [
        ParameterRule("decoder.1", lr=0.5, weight_decay=4),
        ParameterRule("*.bias", weight_decay=0),
        ParameterRule("decoder", lr=2),
    ]
    optimizer = build_optimizer(adamw, network.named_parameters(), rules)
    assert rates(network, optimizer) == {
        "embedding.weight": (0.1, 0.5),
        "decoder.0.weight": (0.2, 0.5),
        "decoder.0.bias": (0.1, 0.0),
        "decoder.1.weight": (0.05, 2.0),
        "decoder.1.bias": (0.05, 2.0),
        "classifier.weight": (0.1, 0.5),
        "classifier.bias": (0.1, 0.0),
    }
    assert [group["name"] for group in optimizer.param_groups] == ["decoder.1", "*.bias", "decoder", "*"]


def test_without_rules_the_optimiser_is_the_plain_one():
    network, twin = build(), build()
    ours, plain = build_optimizer(adamw, network.named_parameters()), adamw(twin.parameters())
    for net, optimizer in ((network, ours), (twin, plain)):
        net.classifier(net.decoder(net.embedding(torch.arange(5)))).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


@given(lr=st.floats(0.01, 10), decay=st.floats(0, 10), rate=st.floats(1e-3, 1e-1), weight_decay=st.floats(0, 1))
def test_a_step_shrinks_by_rate_times_decay_with_their_multipliers(lr, decay, rate, weight_decay):
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.double))
    other = nn.Parameter(torch.tensor([2.0], dtype=torch.double))
    optimizer = build_optimizer(
        lambda groups: torch.optim.AdamW(groups, lr=rate, weight_decay=weight_decay),
        [("a.weight", weight), ("b.weight", other)],
        [ParameterRule("a", lr=lr, weight_decay=decay)],
    )
    weight.grad, other.grad = torch.zeros_like(weight), torch.zeros_like(other)
    optimizer.step()
    assert weight.item() == pytest.approx(2 * (1 - rate * lr * weight_decay * decay))
    assert other.item() == pytest.approx(2 * (1 - rate * weight_decay))


def test_multiplier_zero_freezes_and_leaves_out():
    network = build()
    optimizer = build_optimizer(adamw, network.named_parameters(), [ParameterRule("embedding", lr=0)])
    assert not network.embedding.weight.requires_grad
    assert len(optimizer.param_groups) == 1
    assert "embedding.weight" not in rates(network, optimizer)
    before = network.embedding.weight.clone()
    network.classifier(network.decoder(network.embedding(torch.arange(5)))).square().sum().backward()
    optimizer.step()
    assert torch.equal(before, network.embedding.weight)


def test_parameters_frozen_before_are_matched_but_not_trained():
    network = build()
    network.embedding.weight.requires_grad_(False)
    network.classifier.bias.requires_grad_(False)
    rules = [ParameterRule("embedding", lr=2), ParameterRule("classifier", lr=3)]
    groups = parameter_groups(network.named_parameters(), rules)
    assert [(rule.pattern, [tuple(p.shape) for _, p in named]) for rule, named in groups] == [
        ("classifier", [(5, 3)]),
        ("*", [(3, 3), (3,), (3, 3), (3,)]),
    ]


def test_schedulers_keep_the_ratios():
    network = build()
    optimizer = build_optimizer(adamw, network.named_parameters(), [ParameterRule("decoder", lr=0.5)])
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.005, 0.01])
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.1])


def test_a_shared_tensor_as_rate_is_not_scaled_twice():
    network, rate = build(), torch.tensor(0.1)
    rules = [ParameterRule("embedding", lr=2), ParameterRule("decoder", lr=3)]
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, lr=rate), network.named_parameters(), rules)
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.2, 0.3, 0.1])
    assert rate.item() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("decoder", ["decoder.0.weight", "decoder.0.bias", "decoder.1.weight", "decoder.1.bias"]),
        ("decoder.1", ["decoder.1.weight", "decoder.1.bias"]),
        ("decoder.1.bias", ["decoder.1.bias"]),
        ("de", []),
        ("weight", []),
        ("*.bias", ["decoder.0.bias", "decoder.1.bias", "classifier.bias"]),
        ("*der.[12].*", ["decoder.1.weight", "decoder.1.bias"]),
        ("classifier.????", ["classifier.bias"]),
        ("Decoder", []),
    ],
)
def test_a_pattern_is_a_part_or_a_shell_pattern(pattern, matched):
    assert [name for name, _ in build().named_parameters() if matches(name, pattern)] == matched


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([("embeding", 1)], ["'embeding' matches no parameter", "Did you mean 'embedding'?"]),
        ([("decoder.0.weigth", 1)], ["Did you mean 'decoder.0.weight'?"]),
        ([("*.scale", 1), ("qqqq", 1)], ["'*.scale' matches no", "'qqqq' matches no"]),
        ([("decoder", 1), ("decoder.0.bias", 0)], ["Earlier rules", "'decoder.0.bias'"]),
        ([("decoder", 1), ("decoder", 0)], ["Earlier rules", "'decoder'"]),
        ([("*", 0)], ["All 7 parameters are frozen"]),
    ],
)
def test_rules_without_effect_are_errors(rules, words):
    with pytest.raises(ValueError, match=in_order(words)):
        parameter_groups(build().named_parameters(), [ParameterRule(pattern, lr=lr) for pattern, lr in rules])


def test_an_optimiser_without_weight_decay_is_told():
    rules = [ParameterRule("embedding", weight_decay=0.5)]
    with pytest.raises(ValueError, match=r"Rprop has no `weight_decay` for the rule of 'embedding'"):
        build_optimizer(torch.optim.Rprop, build().named_parameters(), rules)


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_multipliers_are_finite_and_not_negative(name, value):
    with pytest.raises(ValueError, match=f"`{name}` of 'decoder'"):
        ParameterRule("decoder", **{name: value})


def test_an_empty_pattern_is_refused():
    with pytest.raises(ValueError, match="pattern"):
        ParameterRule("")


class Task:
    def __init__(self, parameter_groups: list[ParameterRule] | None = None) -> None:
        self.rules = parameter_groups


def test_rules_are_written_as_mappings_in_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Task, "task")
    yaml = "task: {parameter_groups: [{pattern: embedding, lr: 0}, {pattern: '*.bias', weight_decay: 0.5}]}"
    task = parser.instantiate(parser.parse_string(yaml)).task
    assert task.rules == [ParameterRule("embedding", lr=0), ParameterRule("*.bias", weight_decay=0.5)]
