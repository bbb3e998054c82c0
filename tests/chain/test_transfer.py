import json
from functools import partial
from io import StringIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console
from safetensors.torch import load_file
from sympy.ntheory import discrete_log, is_primitive_root
from torch import nn

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.recipe import TransferSpec
from grok_lightning.chain.transfer import apply_transfer, plan_transfer, plan_transfers, save_transfers, transfer_table
from grok_lightning.chain.weights import Weights, read_weights, save_weights, weights_of
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import ArithmeticTransformer, frozen_rows, named_tensors
from grok_lightning.tasks import EquationTask

TABLE = "embedding.table.weight"


class Task(LightningModule):
    """The least a task has: a network, a vocabulary, and where the tokens are in a group."""

    def __init__(self, vocabulary, coordinates=None, **options):
        super().__init__()
        self.vocabulary, self.coordinates = tuple(vocabulary), coordinates
        self.network = ArithmeticTransformer(len(self.vocabulary), 4, **{"width": 8, "heads": 2, **options})


class Tied(LightningModule):
    """A module of no network of ours, whose classifier reads with the table of its embedding."""

    def __init__(self, tokens, tie=True):
        super().__init__()
        self.vocabulary = tuple(tokens)
        self.network = nn.Module()
        self.network.embedding, self.network.classifier = nn.Embedding(len(tokens), 3), nn.Linear(3, len(tokens))
        self.network.token_parameters = frozenset(["embedding.weight"])
        if tie:
            self.network.classifier.weight = self.network.embedding.weight


def tokens(modulus, sign="+"):
    return [*map(str, range(modulus)), sign, "="]


def spec(*parts, freeze=False, only=None):
    return TransferSpec("donor", parts, only, freeze)


def for_operation(operation, modulus):
    data = BinaryOperationDataModule(operation, modulus)
    return Task(data.vocabulary, data.coordinates)


def by_coordinates(*parts, only=None, freeze=False):
    return TransferSpec("donor", parts, only, freeze, match="coordinates")


def state(module):
    return {name: tensor.detach().clone() for name, tensor in named_tensors(module.network).items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def faults(donor, target, *specs):
    """Return the messages of transfers that cannot be."""
    with pytest.raises(ChainError) as caught:
        plan_transfers([(weights_of(donor), one) for one in specs], weights_of(target))
    return str(caught.value).splitlines()


# what moves


def test_a_part_moves_whole_between_equal_vocabularies():
    donor, module = Task(tokens(7)), Task(tokens(7))
    before = state(module)
    landings = apply_transfer(module, weights_of(donor), spec("embedding", "decoder"))
    after = state(module)
    for name, tensor in after.items():
        moved = name.startswith(("embedding.", "decoder."))
        assert torch.equal(tensor, state(donor)[name] if moved else before[name])
    assert {landing.name for landing in landings} == {n for n in after if not n.startswith("classifier.")}
    assert all(landing.rows is None and not landing.frozen for landing in landings)


@settings(max_examples=40, deadline=None)
@given(
    there=st.permutations([*map(str, range(5)), "+", "="]).flatmap(lambda t: st.just(t[: max(2, len(t) - 1)])),
    here=st.permutations([*map(str, range(6)), "-", "="]),
    freeze=st.booleans(),
)
def test_rows_move_by_the_names_of_their_tokens(there, here, freeze):
    donor, module = Task(there), Task(here)
    before, given = state(module)[TABLE], state(donor)[TABLE]
    (landing,) = apply_transfer(module, weights_of(donor), spec("embedding", freeze=freeze))
    after = state(module)[TABLE]
    for row, token in enumerate(here):
        expected = given[there.index(token)] if token in there else before[row]
        assert torch.equal(after[row], expected)
    common = [row for row, token in enumerate(here) if token in there]
    assert landing.filled == set(common)
    assert [here[row] for row in landing.rows] == list(landing.tokens)
    frozen = frozen_rows(module.network).get(TABLE, [])
    assert frozen == (sorted(common) if freeze else [])


def test_chosen_tokens_move_alone():
    donor, module = Task(tokens(7)), Task(tokens(11, "-"))
    before = state(module)[TABLE]
    apply_transfer(module, weights_of(donor), spec("embedding", only=("3", "=")))
    changed = [row for row in range(13) if not torch.equal(state(module)[TABLE][row], before[row])]
    assert [module.vocabulary[row] for row in changed] == ["3", "="]


def test_the_classifier_has_rows_for_tokens_too():
    donor, module = Task(tokens(5)), Task(tokens(7))
    apply_transfer(module, weights_of(donor), spec("classifier"))
    for name in ("classifier.output.weight", "classifier.output.bias"):
        assert torch.equal(state(module)[name][:5], state(donor)[name][:5])
        assert torch.equal(state(module)[name][7:], state(donor)[name][5:])  # "+" and "="


def test_parts_can_be_patterns():
    donor, module = Task(tokens(5), blocks=2), Task(tokens(5), blocks=2)
    landings = apply_transfer(module, weights_of(donor), spec("decoder.blocks.1", "*.norm.weight"))
    expected = {n for n in state(module) if n.startswith("decoder.blocks.1.") or n.endswith(".norm.weight")}
    assert {landing.name for landing in landings} == expected != set()


def test_freezing_some_parts_freezes_these():
    donor, module = Task(tokens(5)), Task(tokens(5))
    apply_transfer(module, weights_of(donor), spec("embedding", "decoder", freeze=("embedding", "*.bias")))
    moved = [name for name in state(module) if not name.startswith("classifier.")]
    chosen = {name for name in moved if name.startswith("embedding.") or name.endswith(".bias")}
    assert set(frozen_rows(module.network)) == chosen


def test_several_transfers_may_share_a_table_row_by_row():
    first, second, module = Task(tokens(5)), Task(tokens(5, "-")), Task([*tokens(5), "-"])
    specs = [spec("embedding", freeze=True, only=("0", "1")), spec("embedding", freeze=True, only=("-",))]
    donors = [(weights_of(first), specs[0]), (weights_of(second), specs[1])]
    plan_transfers(donors, weights_of(module))
    for donor, one in donors:
        apply_transfer(module, donor, one)
    table = state(module)[TABLE]
    assert torch.equal(table[:2], state(first)[TABLE][:2])
    assert torch.equal(table[7], state(second)[TABLE][5])
    assert frozen_rows(module.network) == {TABLE: [0, 1, 7]}


# where it comes from


@pytest.mark.parametrize("source", ["folder", "safetensors", "ckpt"])
def test_folders_and_files_give_the_same(tmp_path, source):
    donor, module = Task(tokens(7)), Task(tokens(11))
    path = tmp_path / {"folder": "network.safetensors"}.get(source, f"w.{source}")
    if source == "ckpt":
        built = {"vocabulary": list(donor.vocabulary), "token_parameters": sorted(donor.network.token_parameters)}
        torch.save({"state_dict": donor.state_dict(), "grok_lightning": built}, path)
    else:
        save_weights(weights_of(donor), path)
    weights = read_weights(tmp_path if source == "folder" else path)
    (landing,) = apply_transfer(module, weights, spec("embedding"))
    assert torch.equal(state(module)[TABLE][:7], state(donor)[TABLE][:7])
    assert landing.source == str(path)


# by coordinates


def test_rows_of_addition_land_at_the_powers_of_a_generator():
    donor, module = for_operation("add", 60), for_operation("mul", 61)
    before, given = state(module)[TABLE], state(donor)[TABLE]
    (landing,) = apply_transfer(module, weights_of(donor), by_coordinates("embedding"))
    after = state(module)[TABLE]
    (generator,) = (x for x in range(61) if torch.equal(after[x], given[1]))
    assert is_primitive_root(generator, 61)
    for x in range(1, 61):
        assert torch.equal(after[x], given[discrete_log(61, x, generator)])
    assert torch.equal(after[0], before[0])  # which has no logarithm
    assert torch.equal(after[61], before[61])  # "·"
    assert torch.equal(after[62], given[61])  # "=", which has a name only
    assert landing.filled == {*range(1, 61), 62}


@pytest.mark.parametrize(("there", "here"), [("mul", "div"), ("div", "mul"), ("sub", "add")])
def test_operations_of_one_group_have_the_same_coordinates(there, here):
    donor, module = for_operation(there, 11), for_operation(here, 11)
    apply_transfer(module, weights_of(donor), by_coordinates("embedding"))
    assert torch.equal(state(module)[TABLE][:11], state(donor)[TABLE][:11])


def test_only_coordinates_that_both_have_move():
    donor, module = for_operation("add", 7), for_operation("mul", 11)
    before, given = state(module)[TABLE], state(donor)[TABLE]
    apply_transfer(module, weights_of(donor), by_coordinates("embedding"))
    powers = [pow(2, exponent, 11) for exponent in range(10)]  # 2 is the least generator
    for exponent, x in enumerate(powers):
        assert torch.equal(state(module)[TABLE][x], given[exponent] if exponent < 7 else before[x])


def test_chosen_coordinates_move_alone():
    donor, module = for_operation("add", 4), for_operation("mul", 5)
    before = state(module)
    only = ("(0)", "(3)", "=")
    (landing,) = apply_transfer(module, weights_of(donor), by_coordinates("embedding", only=only, freeze=True))
    after = state(module)[TABLE]
    moved = {1: 0, 3: 3, 6: 5}  # 2⁰ = 1 and 2³ = 3 modulo 5
    for row in range(7):
        assert torch.equal(after[row], state(donor)[TABLE][moved[row]] if row in moved else before[TABLE][row])
    assert set(zip(landing.tokens, landing.donor_rows, landing.rows, strict=True)) == {
        ("(0)", 0, 1),
        ("(3)", 3, 3),
        ("=", 5, 6),
    }
    assert frozen_rows(module.network) == {TABLE: [1, 3, 6]}
    (message,) = faults(donor, module, by_coordinates("embedding", only=("3",)))
    assert message.startswith("tokens: '3' is not known to both; there is (0), (1), (2), (3), =")


def test_rows_of_a_classifier_are_matched_too_and_other_tensors_move_whole():
    donor, module = for_operation("add", 4), for_operation("mul", 5)
    apply_transfer(module, weights_of(donor), by_coordinates("classifier", "decoder"))
    for name in ("classifier.output.weight", "classifier.output.bias"):
        assert torch.equal(state(module)[name][[1, 2, 4, 3]], state(donor)[name][:4])
    assert all(torch.equal(state(module)[n], t) for n, t in state(donor).items() if n.startswith("decoder."))


def test_without_coordinates_names_are_what_is_matched():
    donor, module = for_operation("add", 4), for_operation("mul", 5)
    apply_transfer(module, weights_of(donor), spec("embedding"))
    assert torch.equal(state(module)[TABLE][:4], state(donor)[TABLE][:4])


@pytest.mark.parametrize(
    ("there", "here", "whose"),
    [("sum_of_squares", "mul", "the donor"), ("mul", "sum_of_squares", "this network")],
)
def test_networks_without_coordinates_are_refused(there, here, whose):
    (message,) = faults(for_operation(there, 5), for_operation(here, 5), by_coordinates("embedding"))
    assert message.startswith(f"match is coordinates, but the operation of {whose} has no group")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A task that has seen · modulo 7, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    task = EquationTask(partial(ArithmeticTransformer, width=8, heads=2))
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(task, datamodule=BinaryOperationDataModule("mul", 7, batch_size=9))
    trainer.save_checkpoint(folder / "run.ckpt")
    return task, folder / "run.ckpt"


@pytest.mark.parametrize("source", ["safetensors", "ckpt"])
def test_coordinates_survive_in_files(trained, tmp_path, source):
    task, path = trained
    if source == "safetensors":
        path = tmp_path / "w.safetensors"
        save_weights(weights_of(task), path)
    weights, module = read_weights(path), for_operation("add", 6)
    assert weights.coordinates == BinaryOperationDataModule("mul", 7).coordinates
    assert weights.digest() == weights_of(task).digest()
    apply_transfer(module, weights, by_coordinates("embedding"))
    powers = [pow(3, exponent, 7) for exponent in range(6)]  # 3 is the least generator
    assert torch.equal(state(module)[TABLE][:6], state(task)[TABLE][powers])


def test_a_task_from_a_checkpoint_knows_its_coordinates(trained):
    task, path = trained
    again = EquationTask(partial(ArithmeticTransformer, width=8, heads=2))
    again.on_load_checkpoint(torch.load(path, weights_only=True))
    assert again.coordinates == task.coordinates == BinaryOperationDataModule("mul", 7).coordinates


def test_files_that_know_no_coordinates_are_read_and_refused(tmp_path):
    donor = Task(tokens(5))
    save_weights(weights_of(donor), tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors")
    assert weights.coordinates is None
    with pytest.raises(ChainError, match="match is coordinates, but the operation of the donor"):
        plan_transfer(weights, weights_of(for_operation("add", 5)), by_coordinates("embedding"))


def test_the_digest_knows_coordinates():
    names, places = tokens(5), BinaryOperationDataModule("add", 5).coordinates
    torch.manual_seed(0)
    donor = Task(names)
    plain = weights_of(donor)
    donor.coordinates = places
    assert weights_of(donor).digest() != plain.digest()


def test_a_chain_moves_features_by_coordinates(lab):
    chain = """
  donor: {data.init_args: {operation: add, modulus: 4}}
  heir:
    data.init_args.operation: mul
    transfer: {from: donor, parts: [embedding], match: coordinates, tokens: ["(1)", "(2)", "(3)"], freeze: true}
"""
    lab.write(lab.SMALL + "stages:" + chain)
    assert lab.fit("--trainer.max_steps", "2") == 0
    tables = {name: load_file(lab.run(name) / "network.safetensors")[TABLE] for name in ("donor", "heir")}
    assert torch.equal(tables["heir"][[2, 4, 3]], tables["donor"][1:4])  # 2, 2², 2³ modulo 5
    assert not torch.equal(tables["heir"][1], tables["donor"][0])
    (written,) = json.loads((lab.run("heir") / "transfer.json").read_text())
    assert sorted(zip(written["tokens"], written["donor_rows"], written["rows"], strict=True)) == [
        ("(1)", 1, 2),
        ("(2)", 2, 4),
        ("(3)", 3, 3),
    ]


# tied tensors


def test_a_tied_tensor_moves_once_and_its_other_name_is_said():
    donor, module = Tied("abc"), Tied("abc")
    landings = apply_transfer(module, weights_of(donor), spec("embedding", "classifier.weight", freeze=True))
    assert [(landing.name, landing.tied) for landing in landings] == [("embedding.weight", ("classifier.weight",))]
    assert module.network.classifier.weight is module.network.embedding.weight
    assert torch.equal(module.network.embedding.weight, donor.network.embedding.weight)
    assert not module.network.embedding.weight.requires_grad


def test_a_tied_donor_fills_both_tensors_of_an_untied_network():
    donor, module = Tied("abc"), Tied("abc", tie=False)
    landings = apply_transfer(module, weights_of(donor), spec("embedding", "classifier.weight"))
    assert {landing.name for landing in landings} == {"embedding.weight", "classifier.weight"}
    assert torch.equal(module.network.classifier.weight, donor.network.embedding.weight)


def test_one_tensor_cannot_take_two_of_the_donor():
    message = "embedding.weight and classifier.weight are one tensor here, but two in the donor; move one of them, by"
    assert faults(Tied("abc", tie=False), Tied("abc"), spec("embedding", "classifier.weight"))[0].startswith(message)


def test_a_tied_tensor_cannot_be_frozen_in_part():
    (message,) = faults(Tied("abc"), Tied("abd"), spec("embedding", freeze=True))
    assert (
        message == "embedding.weight lands only in part and is tied to classifier.weight: it cannot be frozen in part"
    )
    donor = Tied("abc")
    (landing,) = apply_transfer(Tied("abd"), weights_of(donor), spec("embedding"))
    assert landing.rows == (0, 1)


def test_a_tied_tensor_whose_rows_all_land_is_frozen_wherever_they_come_from():
    donor, module = Tied("dcba"), Tied("abc")
    (landing,) = apply_transfer(module, weights_of(donor), spec("embedding", freeze=True))
    assert (landing.rows, landing.donor_rows) == ((0, 1, 2), (3, 2, 1))
    assert torch.equal(module.network.classifier.weight, donor.network.embedding.weight[[3, 2, 1]])
    assert not module.network.embedding.weight.requires_grad
    assert module.network.classifier.weight is module.network.embedding.weight


# what cannot be


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (spec("embeding"), "parts: 'embeding' matches nothing; did you mean 'embedding'?"),
        (spec("embedding", freeze=("decoder",)), "freeze: 'decoder' matches nothing"),
        (spec("embedding", only=("0", "x")), "tokens: 'x' is not known to both"),
        (spec("decoder.blocks", only=("0",)), "tokens are given, but nothing in decoder.blocks has rows for tokens"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(one, message):
    assert faults(Task(tokens(5)), Task(tokens(5)), one)[0].startswith(message)


def test_selected_tensors_that_do_not_land_are_refused():
    (message,) = faults(Task(tokens(5), blocks=2), Task(tokens(5)), spec("decoder"))
    assert message.startswith("the donor has decoder.blocks.1.")
    assert "this network has not" in message
    (message,) = faults(Task(tokens(5)), Task(tokens(5), blocks=2), spec("decoder"))
    assert message.startswith("this network has decoder.blocks.1.")
    assert "the donor has not" in message


def test_different_widths_are_refused_tensor_by_tensor():
    messages = faults(Task(tokens(5), width=16), Task(tokens(5)), spec("embedding", "classifier.output.weight"))
    assert messages == [
        f"{TABLE} has the shape (7, 16) in the donor and (7, 8) here; they must be alike",
        "classifier.output.weight has the shape (7, 16) in the donor and (7, 8) here; they must be alike",
    ]


def test_vocabularies_without_a_common_token_are_refused():
    (message,) = faults(Task(tokens(5)), Task(["a", "b", "c", "d"]), spec("embedding"))
    assert message == "donor and network have no token in common: 0, 1, 2 and 4 more there, a, b, c and 1 more here"


def test_a_donor_without_a_vocabulary_must_have_the_same_shape():
    donor = Weights({TABLE: torch.zeros(7, 8)})
    module = Task(tokens(5))
    assert plan_transfer(donor, weights_of(module), spec("embedding"))[0].rows is None
    with pytest.raises(ChainError, match=r"has the shape \(7, 8\) in the donor and \(9, 8\) here"):
        plan_transfer(donor, weights_of(Task(tokens(7))), spec("embedding"))


def test_moving_a_tensor_twice_is_refused():
    messages = faults(Task(tokens(5)), Task(tokens(5)), spec("embedding"), spec("*.table.weight", only=("0",)))
    assert messages == [f"{TABLE} is moved twice, by two transfers; let each move other parts or other tokens"]


def test_freezing_everything_is_refused():
    everything = spec("embedding", "decoder", "classifier", freeze=True)
    assert "nothing is left to train" in faults(Task(tokens(5)), Task(tokens(5)), everything)[0]
    assert "nothing is left to train" in faults(Task(tokens(7)), Task(tokens(5)), everything)[0]
    plan_transfers([(weights_of(Task(tokens(5))), everything)], weights_of(Task(tokens(5, "-"))))  # a row is left


def test_all_faults_come_at_once_and_nothing_has_changed():
    donor, module = Task(tokens(5), width=16), Task(tokens(5))
    before, names = state(module), dict(module.named_parameters())
    with pytest.raises(ChainError) as caught:
        apply_transfer(module, weights_of(donor), spec("embedding", "decodr", freeze=("x",), only=("y",)))
    messages = str(caught.value).splitlines()
    assert len(messages) == 4
    assert same(state(module), before)
    assert dict(module.named_parameters()).keys() == names.keys()
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_fault_in_the_last_tensor_leaves_the_first_alone():
    donor, module = Task(tokens(5)), Task(tokens(5))
    weights = weights_of(donor)
    weights.tensors["classifier.output.weight"] = torch.zeros(1, 1)
    before = state(module)
    with pytest.raises(ChainError):
        apply_transfer(module, weights, spec("embedding", "classifier", freeze=True))
    assert same(state(module), before)
    assert frozen_rows(module.network) == {}


def test_shapes_are_checked_without_storage():
    with torch.device("meta"):
        donor, target = Task(tokens(5)), Task(tokens(7))
    landings = plan_transfer(weights_of(donor), weights_of(target), spec("embedding", "decoder"))
    assert landings[0].tokens == (*map(str, range(5)), "+", "=")


# what is said


def test_the_report_says_what_moved(tmp_path):
    donor, module = Tied("abc"), Tied("abc")
    partial, other = Task(tokens(5)), Task(tokens(7))
    transfers = [
        apply_transfer(module, weights_of(donor), spec("embedding", freeze=True)),
        apply_transfer(other, weights_of(partial), spec("embedding")),
    ]
    save_transfers(transfers, tmp_path)
    shown = StringIO()
    Console(file=shown, width=200).print(transfer_table(transfers))
    lines = shown.getvalue().splitlines()
    assert " ".join(lines[1].split()) == "embedding.weight = classifier.weight 3 × 3 all this network frozen"
    assert " ".join(lines[2].split()) == f"{TABLE} 9 × 8 7 of 9 this network trained"
    written = json.loads((tmp_path / "transfer.json").read_text())
    assert [entry["frozen"] for entry in written] == [True, False]
    assert written[1]["tokens"] == tokens(5)
    assert written[1]["donor_rows"] == list(range(7))
    assert written[1]["rows"] == [0, 1, 2, 3, 4, 7, 8]
    assert written[0]["tied"] == ["classifier.weight"]


def test_without_transfers_nothing_is_written(tmp_path):
    save_transfers([], tmp_path)
    assert list(tmp_path.iterdir()) == []
