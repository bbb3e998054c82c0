"""Feature machines as a task: iterations are steps, and everything else goes on as for any other task."""

import json

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from grok_lightning.callbacks import Evaluation, Milestones, RunCheckpoint, StageInterrupted
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import FeatureMachine
from grok_lightning.optim import ParameterRule
from grok_lightning.tasks import FeatureMachineTask

RECIPE = """\
# A feature machine whose features go on to another.
model:
  class_path: FeatureMachineTask
  init_args:
    network: {class_path: FeatureMachine}
data:
  class_path: BinaryOperationDataModule
  init_args: {modulus: 7, train_fraction: 0.6, layout: a b, batch_size: null}
trainer: {max_steps: 6, accelerator: cpu}
stages:
  first: {data.init_args.operation: add}
  kept:
    data.init_args.operation: mul
    transfer: {from: first, parts: [embedding], freeze: true}
  tuned:
    data.init_args.operation: mul
    transfer: {from: first, parts: [embedding]}
"""


class States(Callback):
    """Keeps the network after each step."""

    def __init__(self):
        self.at = {}

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.at[trainer.global_step] = {name: t.clone() for name, t in pl_module.network.state_dict().items()}


def data_of(seed=0, **arguments):
    torch.manual_seed(seed)
    arguments = {"operation": "add", "modulus": 11, "train_fraction": 0.6, "layout": "a b"} | arguments
    return BinaryOperationDataModule(batch_size=None, **arguments)


def train(folder, steps, callbacks=(), resume=None, data=None, **arguments):
    torch.manual_seed(3)
    task, states = FeatureMachineTask(FeatureMachine, **arguments), States()
    saves = [] if any(isinstance(callback, RunCheckpoint) for callback in callbacks) else [RunCheckpoint()]
    trainer = Trainer(
        max_steps=steps,
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[states, *callbacks, *saves],
    )
    trainer.fit(task, datamodule=data or data_of(), ckpt_path=resume, weights_only=True)
    return trainer, task, states.at


def test_a_step_is_an_iteration(tmp_path):
    trainer, _, states = train(tmp_path, 4, [Milestones(stop=False)])
    assert trainer.global_step == 4
    data = data_of()
    data.setup("fit")
    rows = next(iter(data.train_dataloader()))
    machine = FeatureMachine(11, 2)
    for step in range(1, 5):
        if step > 1:
            machine.learn_features(0.5, centred=True)
        fitted = machine.fit(rows.tokens[0], rows.answers[0])
        theirs = FeatureMachine(11, 2)
        theirs.embedding.load_state_dict({"table.weight": states[step]["embedding.table.weight"]})
        torch.testing.assert_close(theirs.feature_matrix(), machine.feature_matrix(), rtol=1e-5, atol=1e-7)
        assert (fitted.argmax(1) == rows.answers[0]).all()
    tokens, answers = data.parts["val"]
    accuracy = (machine(tokens).argmax(1) == answers).double().mean()
    assert trainer.callback_metrics["val/accuracy"] == pytest.approx(accuracy.item())
    assert trainer.callback_metrics["train/accuracy"] == 1
    assert trainer.callback_metrics["train/loss"] < 1e-20
    outcome = machine(tokens) - torch.nn.functional.one_hot(answers, 11)
    assert trainer.callback_metrics["val/loss"] == pytest.approx(outcome.square().mean().item())
    own = outcome[torch.arange(len(answers)), answers]
    assert trainer.callback_metrics["val/correct_class_loss"] == pytest.approx(own.square().mean().item())


def test_it_is_evaluated_after_every_step_unless_asked_otherwise(tmp_path):
    class Steps(Callback):
        def __init__(self):
            self.evaluated = []

        def on_validation_end(self, trainer, pl_module):
            self.evaluated.append(trainer.global_step)

    every, some = Steps(), Steps()
    train(tmp_path / "every", 5, [every])
    train(tmp_path / "some", 5, [some, Evaluation(every_n_steps=2)])
    assert every.evaluated == [0, 1, 2, 3, 4, 5]
    assert some.evaluated == [0, 2, 4, 5]


def test_resumed_is_uninterrupted_to_the_bit(tmp_path):
    whole = train(tmp_path / "whole", 6, [Milestones(stop=False)])[2]
    asked = RunCheckpoint(every_n_steps=1)
    asked.interrupted = lambda: True
    with pytest.raises(StageInterrupted):
        train(tmp_path / "part", 6, [Milestones(stop=False), asked])
    (checkpoint,) = (tmp_path / "part/checkpoints").glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] == 1
    assert {f"network.{name}" for name in whole[1]} == set(content["state_dict"])
    resumed = train(tmp_path / "part", 6, [Milestones(stop=False)], resume=checkpoint)[2]
    assert list(resumed) == [2, 3, 4, 5, 6]
    for step, state in resumed.items():
        for name, tensor in state.items():
            assert torch.equal(tensor, whole[step][name]), (step, name)


def test_a_checkpoint_alone_is_enough(tmp_path):
    task = train(tmp_path, 3)[1]
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    again = FeatureMachineTask.load_from_checkpoint(checkpoint, network=FeatureMachine, weights_only=True)
    tokens = torch.cartesian_prod(torch.arange(11), torch.arange(11))
    assert torch.equal(again(tokens), task(tokens))


@pytest.mark.parametrize(("power", "centred"), [(0.5, True), (1.0, False)])
def test_power_and_centring_are_heeded(tmp_path, power, centred):
    states = train(tmp_path, 2, power=power, centred=centred)[2]
    machine = FeatureMachine(11, 2)
    machine.place_centres(states[1]["decoder.centres"])
    machine.load_state_dict(states[1])
    machine.learn_features(power, centred)
    assert torch.equal(machine.embedding.table.weight, states[2]["embedding.table.weight"])


def test_a_ridge_is_heeded(tmp_path):
    trainer, _, states = train(tmp_path, 1, ridge=0.5)
    assert trainer.callback_metrics["train/loss"] > 1e-4
    machine = FeatureMachine(11, 2)
    machine.fit(rows := states[1]["decoder.centres"], rows.sum(1) % 11, ridge=0.5)
    torch.testing.assert_close(states[1]["classifier.output.weight"], machine.classifier.output.weight)


def test_frozen_features_stay(tmp_path):
    states = train(tmp_path, 3, parameter_groups=[ParameterRule("embedding", lr=0)])[2]
    identity = FeatureMachine(11, 2).embedding.table.weight
    assert all(torch.equal(state["embedding.table.weight"], identity) for state in states.values())


def test_the_table_of_an_augmented_batch_has_a_point_for_each_equation(tmp_path):
    states = train(tmp_path, 2, data=data_of(commutative_augmentation=True, unordered_split=True), ridge=1e-6)[2]
    assert len(states[1]["decoder.centres"]) == 2 * data_of(unordered_split=True).part_of_row.eq(0).sum()


def test_batches_are_refused_without_the_command_too(tmp_path):
    torch.manual_seed(0)
    data = BinaryOperationDataModule("add", 11, layout="a b", batch_size=16)
    with pytest.raises(ValueError, match=r"data\.batch_size is 16"):
        train(tmp_path, 2, data=data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"power": 0.0}, "power is 0.0; expected a positive number"),
        ({"ridge": -1.0}, "ridge is -1.0; expected 0 or more"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureMachineTask(FeatureMachine, **arguments)


def test_features_go_from_one_operation_to_another(lightning, tmp_path):
    (tmp_path / "machine.yaml").write_text(RECIPE)
    code, out, _ = lightning("fit", "--config", "machine.yaml")
    assert code == 0, out
    from grok_lightning import load

    runs = {stage: load(f"logs/machine/run_000/{stage}/seed_0") for stage in ("first", "kept", "tuned")}
    first, kept, tuned = (run.network.feature_matrix() for run in runs.values())
    assert torch.equal(first, kept)
    assert not torch.allclose(first, tuned)
    (landing,) = json.loads((tmp_path / "logs/machine/run_000/kept/seed_0/transfer.json").read_text())
    assert (landing["name"], landing["rows"], landing["frozen"]) == ("embedding.table.weight", None, True)
    assert runs["kept"].manifest.results["test_correct_class_loss"] > 0
    code, out, _ = lightning("test", "logs/machine/run_000/tuned/seed_0")
    assert code == 0
    assert f"{runs['tuned'].manifest.results['test_accuracy']:.4g}" in out


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("batch_size: null", "batch_size: 16"), "data.batch_size is 16: a machine is solved on all training"),
        (("max_steps: 6", "devices: 2, max_steps: 6"), "trainer.devices: a feature machine is solved on one device"),
        (("class_path: FeatureMachine}", "class_path: QuadraticMLP}"), "stages.first.model.init_args.network"),
        (("layout: a b,", "layout: a b, commutative_augmentation: true,"), "repeats equations"),
        (("max_steps: 6", "precision: bf16-true, max_steps: 6"), "trainer.precision is bf16-true"),
        (("parts: [embedding], freeze: true", "parts: [classifier]"), "'classifier' is classifier.output.weight here"),
        (("parts: [embedding], freeze: true", "parts: [decoder]"), "which no transfer moves; leave it out"),
        (
            ("FeatureMachine}", "FeatureMachine}\n    parameter_groups: [{pattern: classifier, lr: 0}]"),
            "freezes the classifier",
        ),
        (
            ("operation: add", "operation: sum_of_squares, model.init_args.network.init_args.inputs: random_circulant"),
            "no abelian",
        ),
    ],
)
def test_what_it_cannot_work_with_is_refused_before_training(edit, message, lightning, tmp_path):
    assert edit[0] in RECIPE
    (tmp_path / "machine.yaml").write_text(RECIPE.replace(*edit, 1))
    code, out, err = lightning("check", "machine.yaml")
    assert code != 0
    assert message in " ".join((out + err).split())
