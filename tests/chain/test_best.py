"""The weights of the best evaluation: kept, saved, and taken by others; and what goes from one family to another."""

import json
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from grok_lightning import load
from grok_lightning.callbacks import BestWeights
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.plan import check_recipe, make_plan
from grok_lightning.chain.recipe import load_recipe
from grok_lightning.chain.transfer import transfer_table
from grok_lightning.chain.weights import read_weights, save_weights
from grok_lightning.cli import main
from grok_lightning.logger import read_metrics

TABLE = "embedding.table.weight"
HILL = """
import torch
from lightning.pytorch import Callback

class Hill(Callback):
    '''Lets a metric be highest at step 10, whatever is learned.'''

    def on_validation_epoch_end(self, trainer, pl_module):
        trainer.callback_metrics["hill"] = torch.tensor(float(-abs(trainer.global_step - 10)))
"""
CALLBACKS = """
    - {class_path: Evaluation, init_args: {every_n_steps: 5}}
    - {class_path: RunCheckpoint, init_args: {every_n_steps: 5}}
    - {class_path: Snapshots, init_args: {parts: [embedding, decoder, classifier], every_n_steps: 5}}
    - hill.Hill
"""
BEST = "    - {class_path: BestWeights, init_args: {monitor: hill}}\n"
MODEL = """
model:
  class_path: EquationTask
  init_args:
    network: {class_path: ArithmeticTransformer, init_args: {width: 8, heads: 2}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-2}}
data: {class_path: BinaryOperationDataModule, init_args: {modulus: 5, batch_size: 8}}
"""
RECIPE = f"""{MODEL}
trainer:
  max_steps: 20
  accelerator: cpu
  callbacks: {CALLBACKS}{BEST}
stages:
  donor: {{data.init_args.operation: add}}
  last:
    data.init_args.operation: sub
    transfer: {{from: donor, parts: [embedding], freeze: true}}
  best:
    data.init_args.operation: sub
    transfer: {{from: donor, weights: best, parts: [embedding], freeze: true}}
"""


def in_words(text):
    return " ".join(text.split())


# --- the callback -----------------------------------------------------------------------------------------------------


def evaluate(callback, module, step, sanity_checking=False, fn="fit", **metrics):
    trainer = SimpleNamespace(
        sanity_checking=sanity_checking,
        state=SimpleNamespace(fn=fn),
        callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
        global_step=step,
    )
    callback.on_validation_end(trainer, module)


def module_of(value):
    module = nn.Module()
    module.network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.network.weight, value)
    return module


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
def test_the_first_of_the_best_evaluations_is_kept_wherever_a_run_is_resumed(values, data):
    resumed_at = data.draw(st.integers(0, len(values) - 1))
    callback, module = BestWeights("score"), module_of(0)
    for step, value in enumerate(values):
        nn.init.constant_(module.network.weight, 10 + step)  # in place, as an optimiser does
        evaluate(callback, module, step, score=float(value))
        if step == resumed_at:
            state = callback.state_dict()
            callback = BestWeights("score")
            callback.load_state_dict(state)
    best = values.index(max(values))
    assert callback.results() == {"best_step": best, "best_score": max(values)}
    assert callback.tensors["weight"].item() == 10 + best


def test_the_smallest_loss_is_best_where_that_is_said():
    callback = BestWeights("val/loss", mode="min")
    for step, loss in enumerate([float("nan"), 0.5, 0.25, 0.25, 0.75]):
        evaluate(callback, module_of(step), step, **{"val/loss": loss})
    assert callback.results() == {"best_step": 2, "best_val_loss": 0.25}
    assert callback.tensors["weight"].item() == 2
    with pytest.raises(ValueError, match="monitor is 'val/loss', whose largest value is the worst: give mode: min"):
        BestWeights("val/loss")
    with pytest.raises(ValueError, match=r"mode is 'mim'.*did you mean 'min'"):
        BestWeights(mode="mim")


def test_a_metric_of_training_is_not_there_before_it():
    callback = BestWeights("train/accuracy")
    evaluate(callback, module_of(1), 0, **{"val/accuracy": 0.5})
    evaluate(callback, module_of(2), 5, **{"train/accuracy": 0.0})
    assert callback.results() == {"best_step": 5, "best_train_accuracy": 0}
    with pytest.raises(ValueError, match="BestWeights needs the metric train/accuracy"):
        evaluate(callback, module_of(1), 10, **{"val/accuracy": 0.5})


def test_other_evaluations_do_not_count():
    callback = BestWeights()
    evaluate(callback, module_of(1), 0, sanity_checking=True)
    evaluate(callback, module_of(1), 0, fn="validate")
    assert callback.results() == {"best_step": None, "best_val_accuracy": None}
    evaluate(callback, module_of(2), 3, **{"val/accuracy": 0.0})
    assert callback.results() == {"best_step": 3, "best_val_accuracy": 0}


def test_a_number_is_better_than_none():
    callback = BestWeights("score")
    for step, value in enumerate([float("nan"), 0.1, float("nan"), 0.1]):
        evaluate(callback, module_of(step), step, score=value)
    assert callback.results()["best_step"] == 1
    assert callback.tensors["weight"].item() == 1


def test_a_metric_that_nobody_logs_is_told():
    with pytest.raises(ValueError, match="BestWeights needs the metric val/acuracy, which Module does not log"):
        evaluate(BestWeights("val/acuracy"), module_of(1), 0, **{"val/accuracy": 0.5})


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_lab):
    """A laboratory in which the recipe has run; not to be changed."""
    lab = make_lab(tmp_path_factory.mktemp("best"))
    lab.write(HILL, "hill.py")
    lab.write(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        patch.setattr("grok_lightning.commands.save_picture", lambda report: None)
        patch.syspath_prepend(str(lab.folder))
        assert lab.fit() == 0
    return lab


@pytest.fixture
def small(lab, monkeypatch):
    """An empty laboratory that knows the callback of the recipe."""
    lab.write(HILL, "hill.py")
    monkeypatch.syspath_prepend(str(lab.folder))
    return lab


def bits(path, lab):
    return lab.bits(load_file(path))


def test_the_best_weights_are_those_of_the_best_step(finished):
    folder = finished.run("donor")
    results = finished.manifest("donor")["results"]
    assert (results["best_step"], results["best_hill"]) == (10, 0)
    best = bits(folder / "best.safetensors", finished)
    assert best == bits(folder / "snapshots/step_00000010.safetensors", finished)
    assert finished.weights("donor") == bits(folder / "snapshots/step_00000020.safetensors", finished) != best


def test_by_default_the_best_is_the_first_highest_accuracy_on_validation(small):
    small.write(
        small.edited(MODEL, trainer__max_steps=20, trainer__accelerator="cpu", trainer__callbacks=["BestWeights"])
    )
    assert small.fit() == 0
    values = read_metrics(small.run("run"))["val/accuracy"]
    results = small.manifest("run")["results"]
    assert results["best_val_accuracy"] == max(values.values)
    assert results["best_step"] == values.steps[values.values.index(max(values.values))]


def test_a_transfer_takes_the_best_weights_and_not_the_last(finished):
    best = load_file(finished.run("donor") / "best.safetensors")[TABLE]
    last = load_file(finished.run("donor") / "network.safetensors")[TABLE]
    given = [0, 1, 2, 3, 4, 6]  # the residues and "="; the operator has another name
    for stage, table, other, file in (("best", best, last, "best"), ("last", last, best, "network")):
        taken = load_file(finished.run(stage) / "network.safetensors")[TABLE]
        assert torch.equal(taken[given], table[given])
        assert not torch.isclose(taken[given], other[given]).all(1).any()
        (landing,) = json.loads((finished.run(stage) / "transfer.json").read_text())
        assert landing["source"].endswith(f"donor/seed_0/{file}.safetensors")


def test_a_run_that_takes_the_best_is_another_than_one_that_takes_the_last(finished):
    runs = {stage: finished.manifest(stage) for stage in ("last", "best")}
    assert runs["last"]["fingerprint"] != runs["best"]["fingerprint"]
    assert runs["last"]["lineage"] != runs["best"]["lineage"]
    assert runs["last"]["donors"] == runs["best"]["donors"] == [finished.manifest("donor")["fingerprint"]]


@pytest.fixture
def elsewhere(finished, lab):
    """An empty laboratory, and the folder of the donor in another."""
    return lab, finished.run("donor")


def heir(*transfers):
    """Stages that take and freeze an embedding, each from a source, in the words of a recipe."""
    stages = "".join(
        f"  {name}:\n    transfer: {{from: {source}, {words} parts: [embedding], freeze: true}}\n"
        for name, source, words in transfers
    )
    trainer = "trainer: {max_steps: 2, accelerator: cpu}\ndata.init_args.operation: sub"
    return f"{MODEL}\n{trainer}\nstages:\n{stages}"


def test_weights_come_from_the_folder_of_another_run(elsewhere):
    lab, folder = elsewhere
    words = [("plain", ""), ("last", "weights: last,"), ("best", "weights: best,")]
    lab.write(heir(*((name, folder, word) for name, word in words)))
    runs = {run.stage.name: run.fingerprint for run in planned(lab)}
    assert runs["plain"] == runs["last"] != runs["best"]
    assert lab.fit() == 0
    given = [0, 1, 2, 3, 4, 6]
    for stage, file in (("last", "network"), ("best", "best")):
        table = load_file(folder / f"{file}.safetensors")[TABLE]
        assert torch.equal(load_file(lab.run(stage) / "network.safetensors")[TABLE][given], table[given])


def planned(lab):
    recipe = load_recipe(lab.folder / "small.yaml")
    return make_plan(recipe, check_recipe(recipe))


def test_a_finished_run_is_opened_with_the_best_weights(finished, monkeypatch):
    monkeypatch.syspath_prepend(str(finished.folder))
    folder = finished.run("donor")
    opened = {which: load(folder, weights=which) for which in ("last", "best")}
    for which, file in (("last", "network"), ("best", "best")):
        tensors = load_file(folder / f"{file}.safetensors")
        state = opened[which].network.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())
    tokens = opened["best"].data.parts["val"].tokens
    assert not torch.equal(opened["best"].network(tokens), opened["last"].network(tokens))
    assert torch.equal(load(folder).network(tokens), opened["last"].network(tokens))


def test_the_commands_evaluate_with_the_weights_they_are_told(finished, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(finished.folder))
    monkeypatch.setenv("COLUMNS", "400")
    folder = finished.run("donor")
    metrics = read_metrics(folder)["val/loss"]
    said = {}
    for which in ("last", "best"):
        assert main(["validate", str(folder), "--weights", which]) == 0
        header, row = capsys.readouterr().out.strip().splitlines()
        said[which] = dict(zip(header.split(), row.split(), strict=True))
    for which, step in (("last", 20), ("best", 10)):
        logged = metrics.values[metrics.steps.index(step)]
        assert float(said[which]["val/loss"]) == pytest.approx(logged, rel=1e-4)


def test_best_weights_know_their_vocabulary_and_what_is_tied(finished, tmp_path):
    last, best = (read_weights(finished.run("donor"), which) for which in ("last", "best"))
    assert (best.vocabulary, best.token_parameters) == (last.vocabulary, last.token_parameters)
    assert best.coordinates == last.coordinates is not None
    assert best.names == last.names
    assert best.digest() != last.digest()
    save_weights(best, tmp_path / "again.safetensors")
    assert read_weights(tmp_path / "again.safetensors").digest() == best.digest()


# --- refused ----------------------------------------------------------------------------------------------------------


def test_the_best_of_a_stage_that_keeps_none_is_refused_before_training(small, capsys):
    small.write(RECIPE.replace(BEST, ""))
    assert small.fit() == 2
    said = in_words(capsys.readouterr().err)
    assert "stages.best.transfer.weights: 'donor' keeps no best weights; give it the callback BestWeights" in said
    assert "1 fault" in said
    assert not small.logs.exists()


def test_the_best_of_a_folder_that_has_none_is_refused_before_training(trained, capsys):
    trained.write(heir(("run", trained.run("donor"), "weights: best,")), "heir.yaml")
    assert trained.fit(recipe="heir.yaml") == 2
    said = in_words(capsys.readouterr().err)
    assert "donor/seed_0: keeps no best weights; its stage needs the callback BestWeights" in said
    assert not trained.run("run", recipe="heir").exists()
    with pytest.raises(ChainError, match="keeps no best weights; its stage needs the callback BestWeights"):
        load(trained.run("donor"), weights="best")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "from: donor, weights: bset,",
            "transfer.weights: expected last or best, found 'bset'; did you mean 'best'?",
        ),
        (
            "from: donor, weights: lst,",
            "transfer.weights: expected last or best, found 'lst'; did you mean 'last'?",
        ),
        ("from: donor, weights: 3,", "transfer.weights: expected last or best, found 3"),
        ("from: donor, weight: best,", "transfer.weight: no such key; did you mean 'weights'?"),
        (
            "from: a/network.safetensors, weights: best,",
            "transfer.weights: 'best' is for runs, and a/network.safetensors is a file; leave it out",
        ),
        (
            "from: a/step.ckpt, weights: best,",
            "transfer.weights: 'best' is for runs, and a/step.ckpt is a file; leave it out",
        ),
    ],
)
def test_what_no_transfer_can_take_is_refused(small, capsys, words, message):
    assert RECIPE.count("from: donor, weights: best,") == 1
    small.write(RECIPE.replace("from: donor, weights: best,", words))
    assert small.fit() == 2
    assert f"stages.best.{message}" in in_words(capsys.readouterr().err)
    assert not small.logs.exists()


# --- from one family to another ---------------------------------------------------------------------------------------

FAMILIES = """
model: &sums
  class_path: EquationTask
  init_args:
    network: &network
      class_path: ArithmeticTransformer
      init_args: &sizes {width: 8, heads: 2, blocks: 2, positions: rotary, bias: false, classifier_bias: false}
    optimizer: &optimizer {class_path: torch.optim.AdamW, init_args: {lr: 1e-2, weight_decay: 1.0}}
data: &equations {class_path: BinaryOperationDataModule, init_args: {modulus: 5, batch_size: 8}}
trainer:
  max_steps: 4
  accelerator: cpu
  callbacks:
    - {class_path: Evaluation, init_args: {every_n_steps: 2}}
stages:
  sums: {}
  context:
    model: &context
      class_path: InContextTask
      init_args:
        network: {class_path: ArithmeticTransformer, init_args: {<<: *sizes, tied: true}}
        optimizer: *optimizer
    data: &sequences
      class_path: LinearInContextDataModule
      init_args: {modulus: 5, examples: 6, functions: 4, batch_size: 8, evaluation_size: 10}
    transfer: {from: sums, parts: [embedding]}
  frozen:
    model: *context
    data: *sequences
    transfer: {from: sums, parts: [embedding], freeze: true}
  more_sums:
    transfer: {from: context, weights: best, parts: [decoder], freeze: true}
  more_context:
    model: *context
    data: *sequences
    transfer: {from: context, weights: best, parts: [embedding, decoder.blocks.0]}
"""


@pytest.fixture(scope="module")
def families(tmp_path_factory, make_lab):
    """A laboratory in which sums and functions in context have learned from each other; and what was printed."""
    lab = make_lab(tmp_path_factory.mktemp("families"))
    lab.write(FAMILIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab.folder)
        patch.setattr("grok_lightning.commands.save_picture", lambda report: None)
        printed = []
        patch.setattr("grok_lightning.chain.run.transfer_table", lambda transfers: printed.append(transfers) or "")
        assert lab.fit() == 0
    return lab, printed


def landings(lab, stage):
    return {landing["name"]: landing for landing in json.loads((lab.run(stage) / "transfer.json").read_text())}


def test_an_embedding_of_sums_begins_learning_in_context_and_the_report_says_that_it_is_tied(families):
    lab, printed = families
    donor = load_file(lab.run("sums") / "network.safetensors")
    assert donor[TABLE].shape == (7, 8)  # with "+" and "="
    for stage, frozen in (("context", False), ("frozen", True)):
        (landing,) = landings(lab, stage).values()
        assert (landing["name"], landing["tied"], landing["frozen"]) == (TABLE, ["classifier.output.weight"], frozen)
        assert landing["shape"] == [5, 8]
        assert landing["tokens"] == ["0", "1", "2", "3", "4"]
        assert landing["rows"] == landing["donor_rows"] == [0, 1, 2, 3, 4]
    shown = StringIO()
    Console(file=shown, width=200).print(transfer_table(printed[0]))
    assert in_words(shown.getvalue().splitlines()[1]).startswith(f"{TABLE} = classifier.output.weight 5 × 8 5 of 5 ")
    frozen = load_file(lab.run("frozen") / "network.safetensors")
    assert torch.equal(frozen[TABLE], donor[TABLE][:5])
    assert "classifier.output.weight" not in frozen  # it is the same tensor, stored once
    trained = load_file(lab.run("context") / "network.safetensors")
    assert not torch.isclose(trained[TABLE], donor[TABLE][:5]).all(1).any()
    total = sum(tensor.numel() for tensor in frozen.values())
    assert lab.manifest("frozen")["parameters"] == {"total": total, "trainable": total - 5 * 8}


def test_a_decoder_of_functions_in_context_serves_sums_of_another_length(families):
    lab, _ = families
    given = load_file(lab.run("context") / "best.safetensors")
    taken = load_file(lab.run("more_sums") / "network.safetensors")
    moved = {name for name in taken if name.startswith("decoder.")}
    assert moved == {name for name in given if name.startswith("decoder.")}
    assert all(torch.equal(taken[name], given[name]) for name in moved)
    assert set(landings(lab, "more_sums")) == moved
    data = {stage: load(lab.run(stage)).data for stage in ("context", "more_sums")}
    assert (data["context"].length, data["more_sums"].length) == (17, 4)


def test_the_best_of_functions_in_context_are_there_without_asking(families):
    lab, _ = families
    results = lab.manifest("context")["results"]
    assert results["best_step"] in (0, 2, 4)
    assert results["best_val_accuracy"] == max(read_metrics(lab.run("context"))["val/accuracy"].values)
    landed = landings(lab, "more_context")
    source = lab.run("context").relative_to(lab.folder) / "best.safetensors"
    assert {landing["source"] for landing in landed.values()} == {str(source)}
    assert landed[TABLE]["rows"] is None
    opened = load(lab.run("context"), weights="best").network
    best = load_file(lab.run("context") / "best.safetensors")
    assert torch.equal(opened.classifier.output.weight, best[TABLE])
    assert opened.classifier.output.weight is opened.embedding.table.weight


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            ("from: sums, parts: [embedding], freeze", "from: sums, parts: [embedding, classifier], freeze"),
            f"{TABLE} and classifier.output.weight are one tensor here, but two in the donor; move one of them",
        ),
        (("positions: rotary", "positions: learned"), "decoder.positions.weight has the shape (17, 8) in the donor"),
        (
            ("init_args: {modulus: 5, examples: 6", "init_args: {modulus: 7, examples: 6"),
            f"stages.frozen.transfer: {TABLE} lands only in part and is tied to classifier.output.weight: it cannot be",
        ),
        (
            (
                "from: sums, parts: [embedding], freeze: true",
                'from: sums, parts: [embedding], tokens: ["1"], freeze: true',
            ),
            f"{TABLE} lands only in part and is tied to classifier.output.weight: it cannot be frozen in part",
        ),
    ],
)
def test_what_does_not_fit_the_other_family_is_refused(lab, capsys, edit, message):
    assert FAMILIES.count(edit[0]) == 1
    lab.write(FAMILIES.replace(*edit))
    assert lab.fit() == 2
    assert message in in_words(capsys.readouterr().err)
