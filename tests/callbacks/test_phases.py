import io
from functools import partial
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import AdamW
from torch.utils.data import DataLoader

from grok_lightning.callbacks import BestWeights, Evaluation, Phases
from grok_lightning.data import BinaryOperationDataModule, LinearInContextDataModule
from grok_lightning.networks import ArithmeticTransformer
from grok_lightning.tasks import InContextTask

SETS = ("known", "new_inputs", "new_functions", "new_both")
MARKS = ("id_memorised_at", "id_generalised_at", "ood_memorised_at", "ood_generalised_at")
NOTHING = {"phase": 0, "highest_phase": 0} | dict.fromkeys(MARKS)

accuracies = st.sampled_from([0.0, 0.5, 0.79, 0.8, 0.81, 1.0, float("nan")])
runs = st.lists(st.tuples(*[accuracies] * 4), max_size=20)


def in_sets(row):
    return dict(zip(SETS, row, strict=True))


def observe(phases, run, start=0):
    for place, row in enumerate(run, start):
        phases.observe(10 * place, in_sets(row))
    return phases


def oracle(run, threshold, apart=10):
    """Results by looking at a whole run, whose evaluations are so many steps apart."""
    numbers = [max((n for n, accuracy in enumerate(row, 1) if accuracy >= threshold), default=0) for row in run]
    first = [next((apart * place for place, row in enumerate(run) if row[n] >= threshold), None) for n in range(4)]
    seen = {"phase": numbers[-1] if run else 0, "highest_phase": max(numbers, default=0)}
    return seen | dict(zip(MARKS, first, strict=True))


# which phase it is


@pytest.mark.parametrize(
    ("phase", "row"),
    [
        (1, (1.0, 0.05, 0.03, 0.03)),
        (2, (1.0, 0.95, 0.03, 0.03)),
        (3, (1.0, 0.05, 0.9, 0.1)),
        (4, (1.0, 0.95, 0.9, 0.85)),
        (0, (0.2, 0.1, 0.1, 0.1)),
    ],
)
def test_the_phases_are_those_of_the_paper(phase, row):
    assert observe(Phases(), [row]).results()["phase"] == phase


@pytest.mark.parametrize("pattern", [*product([False, True], repeat=4)])
def test_every_pattern_has_the_phase_of_the_hardest_set_that_is_answered_well(pattern):
    results = observe(Phases(), [[0.9 if well else 0.1 for well in pattern]]).results()
    known, new_inputs, new_functions, new_both = pattern
    phase = 4 if new_both else 3 if new_functions else 2 if new_inputs else 1 if known else 0
    assert (results["phase"], results["highest_phase"]) == (phase, phase)
    assert [results[mark] for mark in MARKS] == [0 if well else None for well in pattern]


@settings(deadline=None)
@given(runs, st.sampled_from([0.5, 0.8, 1.0]))
def test_results_are_those_of_the_whole_run(run, threshold):
    assert observe(Phases(threshold), run).results() == oracle(run, threshold)


@settings(deadline=None)
@given(runs, st.integers(0, 20))
def test_a_state_continues(run, end):
    before, after = observe(Phases(), run[:end]), Phases()
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after.load_state_dict(torch.load(file, weights_only=True))
    assert after.results() == before.results()
    assert observe(after, run[end:], start=len(run[:end])).results() == oracle(run, 0.8)
    assert before.results() == oracle(run[:end], 0.8)  # what it saved is not its own


def test_a_phase_that_passes_is_remembered():
    good, bad = (1.0, 1.0, 1.0, 0.9), (1.0, 1.0, 0.3, 0.2)
    results = observe(Phases(), [(0.1,) * 4, bad, good, bad]).results()
    steps = {"id_memorised_at": 10, "id_generalised_at": 10, "ood_memorised_at": 20, "ood_generalised_at": 20}
    assert results == {"phase": 2, "highest_phase": 4, **steps}


@pytest.mark.parametrize(("threshold", "phase"), [(0.3, 4), (0.5, 3), (0.7, 2), (0.9, 1), (0.95, 0)])
def test_the_threshold_says_what_is_well(threshold, phase):
    assert observe(Phases(threshold), [(0.9, 0.7, 0.5, 0.3)]).results()["phase"] == phase


# in a Trainer


class Scripted(LightningModule):
    """Logs the accuracies it is told to, those of the last answers; the opposite for all answers."""

    def __init__(self, rows, names=SETS):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.rows, self.names = rows, names

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            row = dict(zip(SETS, self.rows[self.global_step // 2], strict=True))
            self.log_dict({f"val/last_accuracy_{name}": row[name] for name in self.names})
            self.log_dict({f"val/accuracy_{name}": 1 - row[name] for name in self.names})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, module, phases, resume=None, **options):
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[phases],
        default_root_dir=folder,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_steps": 8, "enable_checkpointing": False, "logger": False, **options},
    )
    trainer.fit(module, DataLoader(torch.ones(8, 1)), DataLoader(torch.ones(1, 1)), ckpt_path=resume)
    return trainer


RUN = [(0.0,) * 4, (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 0.5)]


def test_evaluations_are_observed_and_logged(tmp_path, kept):
    phases = Phases()
    fit(tmp_path, Scripted(RUN), phases, logger=kept)
    steps = {"id_memorised_at": 2, "id_generalised_at": 4, "ood_memorised_at": 6, "ood_generalised_at": 6}
    assert phases.results() == {"phase": 3, "highest_phase": 4, **steps}
    logged = {step: row["val/phase"] for step, row in kept.rows.items() if "val/phase" in row}
    assert logged == {2: 1.0, 4: 2.0, 6: 4.0, 8: 3.0}


def test_all_answers_are_observed_where_that_is_asked_for(tmp_path):
    phases = Phases(answers="all")
    fit(tmp_path, Scripted(RUN), phases)
    assert phases.results() == NOTHING | {
        "highest_phase": 4,
        "ood_generalised_at": 2,
        "ood_memorised_at": 2,
        "id_generalised_at": 2,
    }


def test_a_resumed_run_goes_on(tmp_path):
    whole, first, second = Phases(), Phases(), Phases()
    fit(tmp_path, Scripted(RUN), whole)
    fit(tmp_path, Scripted(RUN), first, max_steps=4).save_checkpoint(tmp_path / "run.ckpt")
    assert first.results()["highest_phase"] == 2
    fit(tmp_path, Scripted(RUN), second, resume=tmp_path / "run.ckpt")
    assert second.results() == whole.results()


def test_what_is_not_training_is_not_observed(tmp_path):
    phases = Phases()
    trainer = fit(tmp_path, Scripted([(0.0,) * 4] * 5), phases, num_sanity_val_steps=1)
    trainer.validate(Scripted([(1.0,) * 4] * 5), DataLoader(torch.ones(1, 1)), verbose=False)
    assert phases.results() == NOTHING


@pytest.mark.parametrize(
    ("answers", "name"), [("last", "val/last_accuracy_new_both"), ("all", "val/accuracy_new_both")]
)
def test_a_module_that_does_not_measure_a_set_is_refused(tmp_path, answers, name):
    with pytest.raises(ValueError, match=f"Phases needs the metric {name}, which Scripted does not log"):
        fit(tmp_path, Scripted(RUN, SETS[:3]), Phases(answers=answers))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, "threshold is 0.0; expected an accuracy above 0 and at most 1"),
        ({"threshold": 1.1}, "threshold is 1.1"),
        ({"threshold": 80}, "threshold is 80"),
        ({"answers": "lats"}, "answers is 'lats'; expected one of .*all.*last.*did you mean 'last'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Phases(**arguments)


def test_data_without_examples_are_refused():
    with pytest.raises(ValueError, match=r"Phases is for sequences .* not for BinaryOperationDataModule"):
        Phases().check_run(None, BinaryOperationDataModule("add", 5))
    Phases().check_run(None, DATA())


# a task that learns in context


class States(Callback):
    """Keeps the logged accuracies and a copy of the weights at every evaluation."""

    def __init__(self):
        self.metrics, self.weights = {}, {}

    def on_validation_end(self, trainer, pl_module):
        step = trainer.global_step
        self.metrics[step] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.weights[step] = {name: tensor.clone() for name, tensor in pl_module.network.state_dict().items()}


def make_task():
    torch.manual_seed(0)
    network = partial(ArithmeticTransformer, width=8, heads=2, positions="rotary", tied=True)
    return InContextTask(network, partial(AdamW, lr=1e-2))


DATA = partial(LinearInContextDataModule, 5, 4, 4, batch_size=24, evaluation_functions=4, evaluation_size=20)


def test_a_task_is_observed(train):
    states, given = States(), Phases(threshold=0.3)
    trainer = train([Evaluation(4), given, states], 20, task=make_task(), data=DATA)
    run = [[row[f"val/last_accuracy_{name}"] for name in SETS] for row in states.metrics.values()]
    assert given.results() == oracle(run, 0.3, apart=4)
    assert given.results()["highest_phase"] > 0
    assert sum(isinstance(callback, Phases) for callback in trainer.callbacks) == 1


def test_a_task_brings_its_callbacks(train):
    trainer = train([], 1, task=make_task(), data=DATA)
    (phases,) = (callback for callback in trainer.callbacks if isinstance(callback, Phases))
    assert (phases.threshold, phases.prefix) == (0.8, "val/last_accuracy_")
    assert sum(isinstance(callback, BestWeights) for callback in trainer.callbacks) == 1


# the best weights


def evaluation(value, step, name="val/accuracy", fn="fit", sanity_checking=False):
    """A Trainer that has just evaluated."""
    state = SimpleNamespace(fn=fn)
    metrics = {name: torch.tensor(value)}
    return SimpleNamespace(global_step=step, callback_metrics=metrics, state=state, sanity_checking=sanity_checking)


class Task(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Linear(1, 1, bias=False)


def follow(best, values, start=0, **options):
    """Evaluates a network whose weights are its step, 10 steps apart."""
    module = Task()
    for step in range(10 * start, 10 * (start + len(values)), 10):
        nn.init.constant_(module.network.weight, step)
        best.on_validation_end(evaluation(values[step // 10 - start], step, **options), module)
    return best


shares = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan")]), min_size=1, max_size=12)


def first_best(values):
    """The place of the first largest number; NaN is less than any."""
    return max(range(len(values)), key=lambda place: values[place] if values[place] >= 0 else -1)


@settings(deadline=None)
@given(shares)
def test_the_weights_of_the_first_best_evaluation_are_kept(values):
    best, place = follow(BestWeights(), values), first_best(values)
    if values[place] >= 0:
        assert best.results() == {"best_step": 10 * place, "best_val_accuracy": values[place]}
        assert {name: tensor.tolist() for name, tensor in best.tensors.items()} == {"weight": [[10 * place]]}
    else:
        assert best.results()["best_val_accuracy"] != best.results()["best_val_accuracy"]


@settings(deadline=None)
@given(shares.filter(lambda values: values[0] >= 0), st.integers(1, 12))
def test_saved_best_weights_go_on(values, end):
    before, after = follow(BestWeights(), values[:end]), BestWeights()
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after.load_state_dict(torch.load(file, weights_only=True))
    follow(after, values[end:], start=len(values[:end]))
    whole = follow(BestWeights(), values)
    assert after.results() == whole.results()
    assert after.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in whole.tensors.items())


def test_before_any_evaluation_nothing_is_best():
    assert BestWeights().results() == {"best_step": None, "best_val_accuracy": None}
    assert BestWeights().state_dict() == {"step": None, "value": None, "tensors": {}}


def test_another_metric_can_be_watched():
    best = follow(BestWeights("val/last_accuracy"), [0.1, 0.7, 0.2], name="val/last_accuracy")
    assert best.results() == {"best_step": 10, "best_val_last_accuracy": pytest.approx(0.7)}


def test_what_is_not_training_is_not_kept():
    best = follow(BestWeights(), [0.5])
    follow(best, [1.0], start=1, fn="validate")
    follow(best, [1.0], start=1, fn="test")
    follow(best, [1.0], start=1, sanity_checking=True)
    assert best.results() == {"best_step": 0, "best_val_accuracy": 0.5}


def test_a_module_without_a_network_is_one():
    best, module = BestWeights(), nn.Linear(2, 1)
    best.on_validation_end(evaluation(0.5, 7), module)
    assert best.tensors.keys() == {"weight", "bias"}


def test_a_metric_that_is_not_logged_is_refused():
    message = "BestWeights needs the metric val/last_accuracy, which Task does not log"
    with pytest.raises(ValueError, match=message):
        follow(BestWeights("val/last_accuracy"), [0.5])


def test_the_best_weights_of_a_task_are_those_it_had(train):
    best, states = BestWeights("val/accuracy_known"), States()
    train([Evaluation(4), best, states], 32, task=make_task(), data=DATA)
    values = [row["val/accuracy_known"] for row in states.metrics.values()]
    step = 4 * first_best(values)
    assert best.results() == {"best_step": step, "best_val_accuracy_known": max(values)}
    assert best.tensors.keys() == states.weights[step].keys() - {"classifier.output.weight"}  # tied, and there once
    assert all(torch.equal(tensor, states.weights[step][name]) for name, tensor in best.tensors.items())
    assert not any(tensor.requires_grad for tensor in best.tensors.values())


def test_an_interrupted_task_has_the_best_weights_of_an_uninterrupted_one(train, tmp_path, interrupt):
    whole, first, second = BestWeights(), BestWeights(), BestWeights()
    train([Evaluation(4), whole], 16, task=make_task(), data=DATA)
    with pytest.raises(InterruptedError):
        train([Evaluation(4), first, interrupt(8, tmp_path / "run.ckpt")], 16, task=make_task(), data=DATA)
    train([Evaluation(4), second], 16, task=make_task(), data=DATA, resume=tmp_path / "run.ckpt")
    assert second.results() == whole.results()
    assert all(torch.equal(second.tensors[name], tensor) for name, tensor in whole.tensors.items())
