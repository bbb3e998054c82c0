import io

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon
from torch.optim.lr_scheduler import LambdaLR

from grok_lightning.networks import ArithmeticTransformer
from grok_lightning.optim import MuonAdamW, ParameterRule, build_optimizer

OPTIONS = {"lr": 3e-2, "weight_decay": 0.3}


def build(**options):
    torch.manual_seed(0)
    return ArithmeticTransformer(7, 3, width=8, heads=2, blocks=2, **options)


def step(network, optimizer, number):
    tokens = torch.randint(7, (16, 3), generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(tokens), tokens.sum(1) % 7).backward()
    optimizer.step()


def train(network, optimizer, steps):
    for number in steps:
        step(network, optimizer, number)
    return network.state_dict()


def hidden_matrices(network):
    return [n for n, p in network.named_parameters() if n.startswith("decoder.blocks") and p.ndim == 2]


def assert_equal(state, other):
    assert state.keys() == other.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, other[name]), name


class Both:
    """What the optimiser must be, put together by hand."""

    def __init__(self, network, embedding_decay=1.0):
        named = dict(network.named_parameters())
        matrices = [named.pop(name) for name in hidden_matrices(network)]
        table = named.pop("embedding.table.weight")
        self.parts = [
            Muon(matrices, **OPTIONS, momentum=0.9, adjust_lr_fn="match_rms_adamw"),
            AdamW([table], lr=OPTIONS["lr"], weight_decay=OPTIONS["weight_decay"] * embedding_decay, betas=(0.8, 0.9)),
            AdamW(named.values(), **OPTIONS, betas=(0.8, 0.9)),
        ]

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()


def make(params):
    return MuonAdamW(params, **OPTIONS, momentum=0.9, betas=(0.8, 0.9))


def test_matrices_of_the_blocks_are_stepped_by_muon_and_all_else_by_adamw():
    ours, theirs = build(), build()
    rules = [ParameterRule("embedding", weight_decay=0.5)]
    optimizer = build_optimizer(make, ours.named_parameters(), rules)
    assert_equal(train(ours, optimizer, range(5)), train(theirs, Both(theirs, embedding_decay=0.5), range(5)))


def test_a_tied_table_is_adamws():
    network = build(tied=True, classifier_bias=False)
    optimizer = make(network.named_parameters())
    muon, adamw = optimizer.parts
    held = {id(parameter) for group in muon.param_groups for parameter in group["params"]}
    assert held == {id(dict(network.named_parameters())[name]) for name in hidden_matrices(network)}
    assert sum(len(group["params"]) for part in (muon, adamw) for group in part.param_groups) == len(
        list(network.parameters())
    )


def test_patterns_say_what_is_left_to_adamw():
    network = build()
    optimizer = MuonAdamW(network.named_parameters(), adamw=["embedding", "classifier", "decoder.positions", "*.mlp.*"])
    (group,) = optimizer.parts[0].param_groups
    assert len(group["params"]) == 2 * 4  # query, key, value and output of each block


def test_a_scheduler_moves_both():
    network = build()
    optimizer = make(network.named_parameters())
    scheduler = LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    before = train(network, optimizer, [0])
    before = {name: tensor.clone() for name, tensor in before.items()}
    scheduler.step()
    assert_equal(train(network, optimizer, [1, 2]), before)


def test_a_loaded_state_goes_on_as_if_nothing_had_been():
    whole, first, second = build(), build(), build()
    expected = train(whole, make(whole.named_parameters()), range(6))
    optimizer = make(first.named_parameters())
    train(first, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"network": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second.load_state_dict(saved["network"])
    resumed = make(second.named_parameters())
    resumed.load_state_dict(saved["optimizer"])
    assert_equal(train(second, resumed, range(3, 6)), expected)


def test_frozen_parameters_stay():
    network = build()
    rules = [ParameterRule("decoder.blocks.0", lr=0), ParameterRule("embedding", lr=0)]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = train(network, build_optimizer(make, network.named_parameters(), rules), range(3))
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == name.startswith(("decoder.blocks.0", "embedding")), name


def test_the_closure_is_called_with_gradients_and_its_loss_returned():
    network = build()
    optimizer = make(network.named_parameters())
    tokens = torch.zeros(2, 3, dtype=torch.long)

    def closure():
        loss = network(tokens).square().mean()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() > 0


def test_nothing_but_vectors_needs_no_muon():
    vector = nn.Parameter(torch.ones(3))
    optimizer = MuonAdamW([("bias", vector)])
    vector.grad = torch.ones(3)
    optimizer.step()
    assert (vector < 1).all()


def test_parameters_without_names_are_refused():
    with pytest.raises(ValueError, match="by name"):
        MuonAdamW(build().parameters())
