from functools import partial
from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback
from torch.optim import SGD

from grok_lightning.callbacks import Evaluation, RunRecord, record


class Clock(Callback):
    """A clock that goes on by a second with each chunk and by ten with each evaluation."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.now += 1

    def on_validation_epoch_start(self, trainer, pl_module):
        self.now += 10


class Crash(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step >= self.step:
            raise InterruptedError


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(record, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def test_results_are_the_last_metrics_and_the_steps(train, kept):
    runs = RunRecord()
    assert runs.results() == {"steps": 0}
    trainer = train([runs], steps=60, logger=kept)
    last = {name.replace("/", "_"): value for name, value in kept.rows[60].items()}
    assert runs.results() == {**last, "steps": 60}
    [tested] = trainer.test(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert runs.results() == {
        **last,
        "test_loss": tested["test/loss"],
        "test_accuracy": tested["test/accuracy"],
        "steps": 60,
    }


def test_seconds_are_split(train, clock):
    runs = RunRecord()
    train([runs, clock], steps=60)  # 3 chunks, evaluations at 0, 25, 50, 60
    assert runs.seconds == {"training": 3.0, "evaluation": 40.0}
    clock.now += 1000
    assert runs.seconds == {"training": 3.0, "evaluation": 40.0}


def test_what_callbacks_do_with_an_evaluation_belongs_to_it(train, clock):
    class Draws(Callback):
        def on_validation_end(self, trainer, pl_module):
            clock.now += 100

    runs = RunRecord()
    train([runs, clock, Draws()], steps=60)
    assert runs.seconds == {"training": 3.0, "evaluation": 440.0}


def test_a_running_clock_can_be_read(train, clock):
    class Read(Callback):
        read = ()

        def on_train_batch_end(self, trainer, *args):
            self.read = (*self.read, runs.seconds["training"])

    runs, read = RunRecord(), Read()
    train([runs, clock, read], steps=60)
    assert read.read == (1.0, 2.0, 3.0)


def test_a_crash_stops_the_clock(train, clock):
    runs = RunRecord()
    with pytest.raises(InterruptedError):
        train([runs, clock, Crash(50)], steps=60)
    clock.now += 1000
    assert runs.seconds == {"training": 2.0, "evaluation": 20.0}


def test_a_resumed_run_goes_on_with_what_was_recorded(train, clock, tmp_path):
    before, after = RunRecord(), RunRecord()
    train([before, clock], steps=50).save_checkpoint(tmp_path / "run.ckpt")
    train([after, clock], steps=60, resume=tmp_path / "run.ckpt")
    assert after.seconds == {"training": 3.0, "evaluation": 40.0}
    assert after.results()["steps"] == 60
    assert before.results()["steps"] == 50
    assert after.results().keys() == before.results().keys()


def test_a_finished_run_that_is_opened_again_keeps_its_record(train, tmp_path):
    before, after = RunRecord(), RunRecord()
    train([before], steps=50).save_checkpoint(tmp_path / "run.ckpt")
    train([after], steps=50, resume=tmp_path / "run.ckpt")
    assert after.results() == before.results()
    assert after.seconds == before.seconds


@pytest.mark.parametrize("rate", [1e4, 1e30])
def test_a_loss_that_is_not_finite_ends_the_run(train, small_task, rate):
    task = small_task(optimizer=partial(SGD, lr=rate))
    with pytest.raises(
        FloatingPointError, match=r"(train|val)/loss is (nan|inf) at step 10: try a lower learning rate"
    ):
        train([Evaluation(10), RunRecord()], task=task)


def test_a_sanity_check_is_not_recorded(train):
    runs = RunRecord()
    train([runs], steps=25, num_sanity_val_steps=1)
    assert runs.results()["steps"] == 25
