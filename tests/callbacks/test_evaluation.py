import pytest
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from grok_lightning.callbacks import Cadence, Evaluation, Milestones


def test_by_default_every_25_steps(train, watch):
    train([watch, Milestones(stop=False)], steps=100)
    assert watch.evaluations == [0, 25, 50, 75, 100]


@pytest.mark.parametrize(
    ("every", "growth", "steps", "expected"),
    [
        (20, 1.0, 60, [0, 20, 40, 60]),
        (20, 1.0, 50, [0, 20, 40, 50]),
        (20, 1.0, 41, [0, 20, 40, 41]),
        (7, 1.0, 5, [0, 5]),
        (1, 1.0, 4, [0, 1, 2, 3, 4]),
        (200, 1.0, 150, [0, 150]),
        (5, 2.0, 60, [0, 5, 10, 20, 40, 60]),
        (5, 2.0, 80, [0, 5, 10, 20, 40, 80]),
    ],
)
def test_the_start_the_cadence_and_the_end(train, watch, every, growth, steps, expected):
    trainer = train([Evaluation(every, growth), watch, Milestones(stop=False)], steps=steps)
    assert watch.evaluations == expected
    assert trainer.global_step == watch.steps[-1] == steps
    assert set(expected) - {0} <= set(watch.steps)


def test_a_distant_evaluation_is_reached_in_several_chunks(train, watch):
    train([Evaluation(100), watch], steps=150)
    assert watch.steps == [64, 100, 150]
    assert watch.evaluations == [0, 100, 150]


def test_a_run_that_is_stopped_is_evaluated_at_its_last_step(train, watch, stop_after):
    train([stop_after(30), Evaluation(20), watch], steps=100)
    assert watch.evaluations == [0, 20, 40]
    train([stop_after(60), Evaluation(200), again := type(watch)()], steps=100)
    assert again.evaluations == [0, 64]


@pytest.mark.parametrize("first", [True, False])
def test_lightnings_own_early_stop_goes_by_evaluations(train, watch, first):
    stop = EarlyStopping("val/loss", patience=2, mode="max")  # which falls
    callbacks = [stop, Evaluation(5)] if first else [Evaluation(5), stop]
    trainer = train([*callbacks, watch], steps=100)
    assert trainer.global_step == 10
    assert watch.evaluations == [0, 5, 10]


def test_an_early_stop_is_not_asked_for_what_the_untrained_network_does_not_have(train):
    with pytest.raises(ValueError, match=r"EarlyStopping monitors train/loss, .* give it strict: false"):
        train([EarlyStopping("train/loss"), Evaluation(5)], steps=10)
    stop = EarlyStopping("train/loss", patience=1, mode="max", strict=False)
    assert train([stop, Evaluation(5)], steps=100).global_step == 10


def test_lightnings_own_checkpoints_are_of_the_best_evaluations(train, kept, tmp_path):
    best = ModelCheckpoint(tmp_path / "best", "{step}", "val/loss", mode="min", save_top_k=2)
    train([Evaluation(10), best], steps=60, logger=kept)
    losses = {step: row["val/loss"] for step, row in kept.rows.items() if step and "val/loss" in row}
    expected = sorted(losses, key=losses.__getitem__)[:2]
    assert {path.name for path in (tmp_path / "best").iterdir()} == {f"step={step}.ckpt" for step in expected}


def test_lightnings_own_monitor_sees_learning_rates_by_step(train, kept):
    train([Evaluation(10), LearningRateMonitor()], steps=40, logger=kept)
    rates = {step: row["lr-AdamW/*"] for step, row in kept.rows.items() if "lr-AdamW/*" in row}
    assert list(rates) == [0, 11, 21, 31]  # the first step after each evaluation
    for step, taken in zip(rates, (0, 10, 20, 30), strict=True):  # from a third to the whole in 30 steps
        assert rates[step] == pytest.approx(1e-2 * (1 / 3 + 2 / 3 * taken / 30))


def test_a_sanity_check_does_not_take_the_place_of_the_first_evaluation(train, watch):
    train([watch], steps=25, num_sanity_val_steps=1)
    assert watch.evaluations == [0, 25]


def test_other_validation_leaves_the_cadence_alone(train, watch):
    evaluation = Evaluation(20)
    trainer = train([evaluation, watch], steps=20)
    trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert evaluation.next_step == 40


def test_a_run_is_resumed_with_its_cadence(train, watch, tmp_path):
    train([Evaluation(8, 1.5)], steps=40).save_checkpoint(tmp_path / "run.ckpt")
    train([Evaluation(8, 1.5), watch], steps=100, resume=tmp_path / "run.ckpt")
    spaced, step = [], 0
    while step < 100:
        step = Cadence(8, 1.5).after(step)
        spaced.append(step)
    assert watch.evaluations == [step for step in spaced if 40 < step < 100] + [100]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="every_n_steps is 0"):
        Evaluation(0)
