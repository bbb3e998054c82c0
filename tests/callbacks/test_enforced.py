"""A copy of a feature machine with exactly circulant features, against numpy; the machine itself is left alone."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from grok_lightning.callbacks import EnforcedCirculant, Evaluation, Milestones
from grok_lightning.data import BinaryOperationDataModule, CompositionDataModule, MixedOperationDataModule
from grok_lightning.data.subset import TokenSubset
from grok_lightning.networks import FeatureMachine, QuadraticMLP
from grok_lightning.tasks import FeatureMachineTask

LOGARITHMS = [1, 3, 2, 6, 4, 5]
"""The powers of 3 modulo 7."""
RIDGE = 1e-3


class Matrices(Callback):
    """Keeps the feature matrix at every evaluation, from the table."""

    def __init__(self):
        self.at = {}

    def on_validation_start(self, trainer, pl_module):
        table = pl_module.network.embedding.table.weight.detach().numpy()
        vectors = np.concatenate(np.split(table, pl_module.network.length, axis=1))
        self.at[trainer.global_step] = vectors @ vectors.T


@pytest.fixture
def fit(train):
    """Fits a small feature machine modulo 7."""

    def fit_machine(callbacks, operation="add", steps=5, kernel="quadratic", **options):
        data = partial(BinaryOperationDataModule, operation, 7, train_fraction=0.7, layout="a b", batch_size=None)
        task = FeatureMachineTask(partial(FeatureMachine, kernel=kernel), ridge=RIDGE)
        return train([Milestones(stop=False), *callbacks], steps, task=task, data=data, **options)

    return fit_machine


def enforced_features(matrix, operation):
    """D^−½ M D^−½ with blocks I − 11ᵀ/7, and a circulant of its first column; negative eigenvalues are cut off."""
    scaled = matrix / np.sqrt(np.outer(matrix.diagonal(), matrix.diagonal()))
    order = LOGARITHMS if operation in ("mul", "div") else range(7)
    sign = 1 if operation in ("sub", "div") else -1
    result = np.kron(np.eye(2), np.eye(7) - 1 / 7)
    for row, y in enumerate(order):
        for column, x in enumerate(order):
            # In the first column the entry of the same diagonal is as far down as the sum, or the difference, says.
            down = (row + sign * column) % len(order)
            result[7 + y, x] = result[x, 7 + y] = scaled[7 + order[down], order[0]]
    values, vectors = np.linalg.eigh(result)
    return (vectors * values.clip(0)) @ vectors.T


def kernel_values(kernel, features, left, right):
    products = left @ features @ right.T
    if kernel == "quadratic":
        return products**2
    own, others = (np.einsum("ij,jk,ik->i", rows, features, rows) for rows in (left, right))
    return np.exp(-(own[:, None] + others - 2 * products) / 12.5)


def one_hot(tokens):
    rows = np.zeros((len(tokens), 14))
    for row, (a, b) in zip(rows, tokens.tolist(), strict=True):
        row[a] = row[7 + b] = 1
    return rows


@pytest.mark.parametrize(
    ("operation", "kernel"),
    [("add", "quadratic"), ("sub", "gaussian"), ("mul", "gaussian"), ("div", "quadratic")],
)
def test_what_is_logged_is_what_a_machine_with_circulant_features_answers(fit, kept, operation, kernel):
    matrices = Matrices()
    trainer = fit([matrices, EnforcedCirculant()], operation, kernel=kernel, logger=kept)
    parts = trainer.datamodule.parts
    known, asked = (one_hot(parts[name].tokens) for name in ("train", "val"))
    targets, wanted = (np.eye(7)[parts[name].answers.tolist()] for name in ("train", "val"))
    assert {step for step, row in kept.rows.items() if "enforced/loss" in row} == {1, 2, 3, 4, 5}
    for step in range(1, 6):
        features = enforced_features(matrices.at[step], operation)
        within = kernel_values(kernel, features, known, known) + RIDGE * np.eye(len(known))
        answers = kernel_values(kernel, features, asked, known) @ np.linalg.solve(within, targets)
        right = answers.argmax(1) == wanted.argmax(1)
        assert kept.rows[step]["enforced/loss"] == pytest.approx(((answers - wanted) ** 2).mean(), rel=1e-5)
        assert kept.rows[step]["enforced/accuracy"] == pytest.approx(right.mean())
    assert len({kept.rows[step]["enforced/loss"] for step in range(1, 6)}) == 5


def test_the_machine_goes_on_as_if_nothing_had_been_measured(fit, kept):
    alone, other = fit([], steps=4, logger=kept), type(kept)()
    beside = fit([EnforcedCirculant()], steps=4, logger=other)
    networks = [trainer.lightning_module.network.state_dict() for trainer in (alone, beside)]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(networks[1][name], tensor) for name, tensor in networks[0].items())
    without = {
        step: {n: v for n, v in row.items() if not n.startswith("enforced/")} for step, row in other.rows.items()
    }
    assert without == kept.rows


def test_it_is_measured_at_evaluations_and_not_before_the_first_fit(fit, kept):
    fit([Evaluation(3), EnforcedCirculant()], steps=7, logger=kept)
    assert {step for step, row in kept.rows.items() if "enforced/accuracy" in row} == {3, 6, 7}
    assert "val/accuracy" in kept.rows[0]


@pytest.mark.parametrize("threshold", [1 / 7, 0.4, 1.0])
def test_the_result_is_the_first_step_at_or_above_the_threshold(fit, kept, threshold):
    callback = EnforcedCirculant(threshold)
    assert callback.results() == {"enforced_grokked_at": None}
    fit([callback], steps=9, logger=kept)
    accuracies = {step: row["enforced/accuracy"] for step, row in kept.rows.items() if step}
    assert threshold != 1 / 7 or threshold in accuracies.values()
    reached = [step for step in sorted(accuracies) if accuracies[step] >= threshold]
    assert callback.results() == {"enforced_grokked_at": reached[0] if reached else None}
    assert bool(reached) == (threshold < 1)


def test_an_interrupted_run_measures_what_an_uninterrupted_one_does(fit, kept, tmp_path, interrupt):
    whole, first, second = (EnforcedCirculant(1 / 7) for _ in range(3))
    before, after = type(kept)(), type(kept)()
    fit([Evaluation(1), whole], steps=9, logger=kept)
    with pytest.raises(InterruptedError):
        fit([Evaluation(1), first, interrupt(8, tmp_path / "run.ckpt")], steps=9, logger=before)
    fit([Evaluation(1), second], steps=9, logger=after, resume=tmp_path / "run.ckpt")
    assert after.rows.keys() == {9}
    assert before.rows | after.rows == kept.rows
    assert second.results() == first.results() == whole.results()
    assert whole.results()["enforced_grokked_at"] < 8


@pytest.mark.parametrize("threshold", [0, -0.5, 1.5, float("nan")])
def test_a_threshold_that_is_no_accuracy_is_refused(threshold):
    with pytest.raises(ValueError, match=f"threshold is {threshold}; expected an accuracy above 0 and at most 1"):
        EnforcedCirculant(threshold)


def test_other_networks_are_refused():
    data = BinaryOperationDataModule("add", 5)
    with pytest.raises(ValueError, match="EnforcedCirculant is for a FeatureMachine, not for a QuadraticMLP"):
        EnforcedCirculant().check_run(QuadraticMLP(7, 4, width=2), data)
    EnforcedCirculant().check_run(FeatureMachine(7, 4), data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (partial(CompositionDataModule, "a + b * c", 5, 50, 20, 20), "EnforcedCirculant.* binary operation"),
        (partial(BinaryOperationDataModule, "sum_of_squares", 5), "EnforcedCirculant.* no abelian group"),
        (partial(MixedOperationDataModule, ["add", "sub"], 5), "EnforcedCirculant.* several operations"),
    ],
)
def test_data_without_a_group_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        EnforcedCirculant().check_run(FeatureMachine(7, 4), data())


def test_elements_that_training_never_saw_are_no_trouble(train, kept):
    options = {"train_fraction": 0.9, "layout": "a b", "batch_size": None, "train_tokens": TokenSubset(first=5)}
    data = partial(BinaryOperationDataModule, "add", 7, **options)
    task = FeatureMachineTask(FeatureMachine, ridge=RIDGE)
    train([EnforcedCirculant(), Milestones(stop=False)], 3, task=task, data=data, logger=kept)
    assert [0 <= row["enforced/accuracy"] <= 1 for step, row in sorted(kept.rows.items()) if 0 < step <= 3] == [
        True
    ] * 3


def test_it_is_solved_on_what_the_machine_is_solved_on(train, kept, monkeypatch):
    points = []
    fit = FeatureMachine.fit

    def counted(machine, tokens, *rest):
        points.append(len(tokens))
        return fit(machine, tokens, *rest)

    monkeypatch.setattr(FeatureMachine, "fit", counted)
    options = {"layout": "a b", "batch_size": None, "commutative_augmentation": True, "unordered_split": True}
    data = partial(BinaryOperationDataModule, "add", 7, **options)
    train([EnforcedCirculant()], 2, task=FeatureMachineTask(FeatureMachine, ridge=RIDGE), data=data)
    assert len(points) == 4
    assert len(set(points)) == 1


def test_other_networks_are_refused_before_training_without_the_command_too(train, watch):
    data = partial(BinaryOperationDataModule, "add", 7, layout="a b")
    with pytest.raises(ValueError, match="EnforcedCirculant is for a FeatureMachine"):
        train([EnforcedCirculant(), watch], 5, data=data)
    assert not watch.steps
