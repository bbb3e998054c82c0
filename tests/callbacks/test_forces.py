"""The force on a trained embedding over training, recomputed from what the network was."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from torch.optim import SGD, AdamW

from grok_lightning.callbacks import Evaluation, MeasuredForces
from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule
from grok_lightning.metrics import ExplainedGradient
from grok_lightning.networks import ArithmeticTransformer, FeatureMachine, ParticleSystem, PlanarNetwork, QuadraticMLP
from grok_lightning.optim import ParameterRule
from grok_lightning.pair_sums import PairSums
from grok_lightning.tasks import EquationTask, FeatureMachineTask, ParticleTask


class Networks(Callback):
    """Keeps a copy of the network at every evaluation."""

    def __init__(self):
        self.at = {}

    def on_validation_end(self, trainer, pl_module):
        self.at[trainer.global_step] = copy.deepcopy(pl_module.network).double().eval()


def addition(modulus=7, **options):
    options = {"layout": "a b", "batch_size": None, "train_fraction": 0.7} | options
    return partial(BinaryOperationDataModule, "add", modulus, **options)


def task_of(network=PlanarNetwork, **options):
    torch.manual_seed(0)
    if network is PlanarNetwork:
        network = partial(PlanarNetwork, mlp_width=16)
    return EquationTask(network, partial(AdamW, lr=0.05, weight_decay=1.0), **options)


def about(row):
    return {name.removeprefix("forces/"): v for name, v in row.items() if name.startswith("forces/")}


def recomputed(network, data, loss, **options):
    """What is to be logged, with the force from the gradient of the loss to the whole table."""
    train, n = data.parts["train"], len(data.table.elements)
    value = loss(network(train.tokens), train.answers)
    (gradient,) = torch.autograd.grad(value, network.embedding.table.weight)
    a, b = data.operands(train.tokens)
    rows = {(*sorted(pair), sum(pair) % n) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    pairs = PairSums(*torch.tensor(sorted(rows)).unbind(1), n)
    metric = ExplainedGradient(pairs, **({"kernel": "rational", "ranges": (0.125, 0.25, 0.5, 1.0, 2.0)} | options))
    metric.update(-gradient[:n], network.embedding.table.weight[:n])
    return {name: value.item() for name, value in metric.compute().items()}


def mse(logits, answers):
    return F.mse_loss(logits, F.one_hot(answers, logits.shape[1]).double())


@pytest.mark.parametrize(
    ("task", "data", "loss"),
    [
        (task_of, addition(), F.cross_entropy),
        (partial(task_of, loss="mse"), addition(), mse),
        (task_of, addition(layout="a op b =", batch_size=9), F.cross_entropy),
        (partial(task_of, partial(ArithmeticTransformer, width=8, heads=2, dropout=0.3)), addition(), F.cross_entropy),
    ],
)
def test_what_is_logged_is_what_the_network_had(train, kept, task, data, loss):
    networks = Networks()
    trainer = train([Evaluation(5), MeasuredForces(), networks], 10, task=task(), data=data, logger=kept)
    assert networks.at.keys() == {0, 5, 10}
    assert {step for step, row in kept.rows.items() if about(row)} == {0, 5, 10}
    for step, network in networks.at.items():
        expected = recomputed(network, trainer.datamodule, loss)
        assert 0 < expected["explained"] < 1
        assert about(kept.rows[step]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_kernel_and_ranges_are_heeded(train, kept):
    networks = Networks()
    callback = MeasuredForces(kernel="gaussian", ranges=[0.3, 0.7])
    trainer = train([Evaluation(3), callback, networks], 3, task=task_of(), data=addition(), logger=kept)
    expected = recomputed(networks.at[3], trainer.datamodule, F.cross_entropy, kernel="gaussian", ranges=(0.3, 0.7))
    assert about(kept.rows[3]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert about(kept.rows[3])["range"] in (pytest.approx(0.3), pytest.approx(0.7))


def test_it_has_a_cadence_of_its_own_among_the_evaluations(train, kept):
    callback = MeasuredForces(every_n_steps=4, growth=2.0)
    train([Evaluation(1), callback], 11, task=task_of(), data=addition(), logger=kept)
    assert [step for step, row in sorted(kept.rows.items()) if about(row)] == [0, 4, 8, 11]


def test_without_a_force_nothing_is_logged(train, kept):
    class Deaf(PlanarNetwork):
        """A network whose answer is the same whatever it is asked."""

        def __init__(self, *sizes):
            super().__init__(*sizes, mlp_width=4)
            torch.nn.init.zeros_(self.classifier.output.weight)

    torch.manual_seed(0)
    task = EquationTask(Deaf, partial(SGD, lr=0.1), parameter_groups=[ParameterRule("classifier", lr=0)])
    train([MeasuredForces()], 1, task=task, data=addition(), logger=kept)
    assert all(about(row) == {} for row in kept.rows.values())
    assert "val/accuracy" in kept.rows[1]


@pytest.mark.parametrize("network", [PlanarNetwork, partial(ArithmeticTransformer, width=8, heads=2, dropout=0.3)])
def test_measuring_leaves_the_training_alone(train, network):
    states = []
    for callbacks in ([], [MeasuredForces()]):
        task = task_of(network)
        train([Evaluation(2), *callbacks], 6, task=task, data=addition(batch_size=9))
        states.append(task.network.state_dict())
        assert task.network.training
    assert all(torch.equal(states[1][name], tensor) for name, tensor in states[0].items())


def test_a_resumed_run_logs_what_an_uninterrupted_one_does(train, kept, tmp_path, interrupt):
    before, after = type(kept)(), type(kept)()
    train([Evaluation(2), MeasuredForces()], 6, task=task_of(), data=addition(), logger=kept)
    callbacks = [Evaluation(2), MeasuredForces(), interrupt(4, tmp_path / "run.ckpt")]
    with pytest.raises(InterruptedError):
        train(callbacks, 6, task=task_of(), data=addition(), logger=before)
    resume = tmp_path / "run.ckpt"
    train([Evaluation(2), MeasuredForces()], 6, task=task_of(), data=addition(), logger=after, resume=resume)
    for step in kept.rows:
        assert about(before.rows.get(step, {}) | after.rows.get(step, {})) == about(kept.rows[step]) != {}


def test_validating_afterwards_measures_nothing(train):
    trainer = train([MeasuredForces()], 2, task=task_of(), data=addition())
    (found,) = trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert "val/accuracy" in found
    assert about(found) == {}


# refusals


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (lambda: task_of(partial(QuadraticMLP, width=8)), "QuadraticMLP"),
        (lambda: FeatureMachineTask(FeatureMachine), "FeatureMachine"),
        (lambda: ParticleTask(ParticleSystem), "ParticleSystem"),
    ],
)
def test_networks_without_such_a_force_are_refused_before_training(train, watch, task, name):
    message = f"MeasuredForces is for networks trained by gradients with one vector a token, not {name}"
    with pytest.raises(ValueError, match=message):
        train([watch, MeasuredForces()], task=task(), data=addition())
    assert watch.steps == watch.evaluations == []


def test_other_data_are_refused_before_training(train, watch):
    data = partial(CompositionDataModule, "a + b * c", 5, 50, 20, 20)
    with pytest.raises(ValueError, match="MeasuredForces: CompositionDataModule has no equations of two operands"):
        train([watch, MeasuredForces()], task=task_of(), data=data)
    assert watch.steps == watch.evaluations == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "rationl"}, "`kernel` must be one of gaussian, rational, got 'rationl'.* Did you mean 'rational'"),
        ({"ranges": []}, r"ranges is \[\]; expected at least one, all of them positive"),
        ({"ranges": [0.5, 0.0]}, r"ranges is \[0.5, 0.0\]; expected at least one, all of them positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MeasuredForces(**arguments)
