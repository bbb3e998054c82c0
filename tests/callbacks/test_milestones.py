import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from grok_lightning.callbacks import Milestones

NOTHING = {"memorised_at": None, "grokked_at": None, "sustained_at": None}
accuracies = st.sampled_from([0.0, 0.5, 0.985, 0.99, 1.0])
runs = st.lists(st.tuples(accuracies, accuracies), max_size=30)


def oracle(run, threshold, patience):
    """The milestones by looking at a whole run, whose evaluations are 10 steps apart."""
    train, val = (
        ([accuracy >= threshold for accuracy in column] for column in zip(*run, strict=True)) if run else ([], [])
    )
    sustained = [i for i in range(len(val) - patience + 1) if all(val[i : i + patience])]

    def first(places):
        return next((10 * place for place in places), None)

    return {
        "memorised_at": first(i for i, learned in enumerate(train) if learned),
        "grokked_at": first(i for i, learned in enumerate(val) if learned),
        "sustained_at": first(sustained),
    }


def observe(milestones, run, start=0):
    for place, (train, val) in enumerate(run, start):
        milestones.observe(10 * place, train, val)
    return milestones


@given(runs, st.sampled_from([0.5, 0.99, 1.0]), st.integers(1, 6))
def test_milestones_are_those_of_the_whole_run(run, threshold, patience):
    milestones = observe(Milestones(threshold, patience), run)
    assert milestones.results() == oracle(run, threshold, patience)


@given(runs, st.integers(0, 30), st.integers(1, 6))
def test_a_state_continues(run, end, patience):
    before = observe(Milestones(patience=patience), run[:end])
    after = Milestones(patience=patience)
    after.load_state_dict(before.state_dict())
    assert observe(after, run[end:], start=len(run[:end])).results() == oracle(run, 0.99, patience)


def test_a_spike_is_no_sustained_grokking():
    run = [(1.0, val) for val in (0.1, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0, 0.98, 1.0, 1.0, 1.0, 1.0, 1.0)]
    assert observe(Milestones(), run).results() == {"memorised_at": 0, "grokked_at": 10, "sustained_at": 80}


class Scripted(LightningModule):
    """Logs the accuracies it is told to."""

    def __init__(self, accuracies, name="val/accuracy"):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.accuracies, self.name = accuracies, name

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        if not self.trainer.sanity_checking:
            self.log(self.name, self.accuracies[self.global_step // 2])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, module, milestones, resume=None, **options):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[milestones],
        default_root_dir=folder,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_steps": 40, "enable_checkpointing": False, **options},
    )
    batches = DataLoader(torch.ones(8, 1))
    trainer.fit(module, batches, DataLoader(torch.ones(1, 1)), ckpt_path=resume)
    return trainer


GROKS = [0.0, 0.3, 1.0, 0.5, *[1.0] * 30]


def test_a_run_stops_once_grokking_is_sustained(tmp_path):
    milestones = Milestones(patience=3)
    trainer = fit(tmp_path, Scripted(GROKS), milestones)
    assert milestones.results() == {**NOTHING, "grokked_at": 4, "sustained_at": 8}
    assert trainer.global_step == 12


def test_a_run_that_is_not_to_stop_goes_on(tmp_path):
    milestones = Milestones(patience=3, stop=False)
    assert fit(tmp_path, Scripted(GROKS), milestones).global_step == 40
    assert milestones.results()["sustained_at"] == 8


def test_a_run_resumed_after_it_had_grokked_trains_no_further(tmp_path):
    module = Scripted(GROKS)
    fit(tmp_path, module, Milestones(patience=3)).save_checkpoint(tmp_path / "run.ckpt")
    weight = module.layer.weight.clone()
    milestones, again = Milestones(patience=3), Scripted(GROKS)
    trainer = fit(tmp_path, again, milestones, resume=tmp_path / "run.ckpt")
    assert trainer.global_step == 12
    assert torch.equal(again.layer.weight, weight)
    assert milestones.results()["sustained_at"] == 8


def test_what_is_not_training_is_not_observed(tmp_path):
    milestones = Milestones(patience=1)
    trainer = fit(tmp_path, Scripted([0.0] * 30), milestones, max_steps=4, num_sanity_val_steps=1)
    trainer.validate(Scripted([1.0] * 30), DataLoader(torch.ones(1, 1)), verbose=False)
    assert milestones.results() == NOTHING


def test_a_module_that_measures_no_accuracy_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs the metric val/accuracy, which Scripted does not log"):
        fit(tmp_path, Scripted(GROKS, name="val/loss"), Milestones())


def test_a_task_is_observed(train):
    milestones = Milestones(threshold=0.01, patience=2, stop=False)
    train([milestones], steps=75)
    assert milestones.results()["memorised_at"] == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, "threshold is 0.0; expected an accuracy"),
        ({"threshold": 1.1}, "threshold is 1.1"),
        ({"threshold": 99}, "threshold is 99"),
        ({"patience": 0}, "patience is 0; expected a positive number"),
        ({"fitted_loss": 0.0}, "fitted_loss is 0.0; expected a positive loss, or null"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Milestones(**arguments)


def test_the_training_loss_is_fitted_once_it_is_below():
    milestones = Milestones(fitted_loss=0.1)
    assert milestones.results() == NOTHING | {"fitted_at": None}
    for step, loss in enumerate([0.5, 0.1, 0.09, 0.2, 0.01]):
        milestones.observe_loss(step, loss)
    assert milestones.results() == NOTHING | {"fitted_at": 2}


def test_a_loss_nobody_asks_for_is_not_observed():
    milestones = Milestones()
    milestones.observe_loss(3, 0.0)
    assert milestones.results() == NOTHING


def test_the_loss_of_a_task_is_observed(train):
    milestones = Milestones(threshold=0.01, patience=2, stop=False, fitted_loss=100.0)
    train([milestones], steps=75)
    assert milestones.results()["fitted_at"] == 25


def test_each_kind_of_equations_groks_by_itself():
    milestones = Milestones(threshold=0.9)
    for step, (one, other) in enumerate([(0.1, 0.95), (0.9, 0.5), (1.0, 0.5)]):
        milestones.observe_kind(step, "add", one)
        milestones.observe_kind(step, "sum_of_squares", other)
        milestones.observe_kind(step, "mul", 0.0)
    found = {"grokked_at_add": 1, "grokked_at_sum_of_squares": 0, "grokked_at_mul": None}
    assert milestones.results() == NOTHING | found
    again = Milestones(threshold=0.9)
    again.load_state_dict(milestones.state_dict())
    again.observe_kind(7, "mul", 1.0)
    assert again.results() == NOTHING | found | {"grokked_at_mul": 7}
