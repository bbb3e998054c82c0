import warnings
from contextlib import suppress

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from grok_lightning.callbacks.pictures import AnswerGrid, PictureData, Pictures

EVERY = ["errors", "plane", "spectrum"]


class Drawn:
    """Stands in for a TensorBoard writer: keeps what it is given."""

    def __init__(self):
        self.figures = []

    def add_figure(self, tag, figure, global_step):
        self.figures.append((global_step, tag, figure))

    def steps(self, tag="pictures/plane"):
        return [step for step, given, _ in self.figures if given == tag]


class FigureLogger(Logger):
    name, version = "figures", 0

    def __init__(self):
        super().__init__()
        self.experiment = Drawn()

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


class Plain(LightningModule):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(6, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def training_step(self, batch, index):
        return self.embedding(batch).square().mean()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Drawable(Plain):
    residues = (0, 1, 2, 3, 4)
    grid = AnswerGrid(
        ["0", "1"], "+", torch.tensor([[1, 0], [-1, 1]], dtype=torch.int8), torch.tensor([[0, 1], [2, 0]])
    )

    def picture_data(self):
        assert not torch.is_grad_enabled()
        assert not any(part.training for part in self.modules())
        return PictureData([*"01234="], self.embedding.weight, self.residues, self.grid)


def fit(folder, pictures, *, steps=40, task=None, loggers=None, callbacks=(), resume=None, **options):
    loggers = [FigureLogger()] if loggers is None else loggers
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        val_check_interval=2,
        check_val_every_n_epoch=None,
        logger=loggers,
        callbacks=[pictures, *callbacks],
        default_root_dir=folder,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    batches = DataLoader(torch.arange(6).repeat(4), batch_size=4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*logging interval.*")
        with suppress(InterruptedError):
            trainer.fit(task or Drawable(), batches, batches, ckpt_path=resume)
    return loggers[0].experiment if loggers else None


def test_draws_each_time_the_step_has_doubled_and_at_the_end(tmp_path):
    drawn = fit(tmp_path, Pictures(start=7))
    # Evaluations are at 2, 4, 6, …; the first, the first from 7 on, each twice as far, the last.
    assert drawn.steps() == [2, 8, 16, 32, 40]
    assert [tag for _, tag, _ in drawn.figures[:3]] == [f"pictures/{name}" for name in EVERY]


def test_factor_sets_the_spacing(tmp_path):
    assert fit(tmp_path, Pictures(start=1, factor=3.0)).steps() == [2, 6, 18, 40]


def test_a_last_step_that_was_due_is_drawn_once(tmp_path):
    assert fit(tmp_path, Pictures(start=10), steps=20).steps() == [2, 10, 20]


def test_the_sanity_check_is_not_drawn(tmp_path):
    assert fit(tmp_path, Pictures(), steps=4, num_sanity_val_steps=1).steps() == [2, 4]


def test_other_validation_is_not_drawn(tmp_path):
    logger = FigureLogger()
    batches = DataLoader(torch.arange(4))
    trainer = Trainer(accelerator="cpu", logger=logger, callbacks=[Pictures()], default_root_dir=tmp_path)
    trainer.validate(Plain(), batches, verbose=False)
    assert logger.experiment.figures == []


@pytest.mark.parametrize("interruption", [6, 12, 20, 30])
def test_a_resumed_run_draws_at_the_steps_of_an_uninterrupted_one(tmp_path, interruption, interrupt):
    whole = fit(tmp_path, Pictures(start=5)).steps()
    checkpoint = tmp_path / "run.ckpt"
    before = fit(tmp_path, Pictures(start=5), callbacks=[interrupt(interruption, checkpoint)]).steps()
    resumed = fit(tmp_path, Pictures(start=5), resume=checkpoint).steps()
    assert before == [step for step in whole if step <= interruption]
    assert resumed == [step for step in whole if step > interruption]


def test_a_run_that_is_extended_draws_as_if_it_had_not_ended(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, save_last=True)
    assert fit(tmp_path, Pictures(start=5), steps=14, callbacks=[checkpoint]).steps() == [2, 6, 12, 14]
    assert fit(tmp_path, Pictures(start=5), resume=tmp_path / "last.ckpt").steps() == [24, 40]


def test_drawing_changes_nothing_in_the_training(tmp_path):
    tables, modes = [], []
    for pictures in (Pictures(start=1, factor=1.01), Pictures(start=1000)):
        torch.manual_seed(3)
        task = Drawable()
        task.dropout.eval()
        fit(tmp_path, pictures, task=task)
        tables.append(task.embedding.weight.detach())
        modes.append((task.training, task.embedding.training, task.dropout.training))
    assert torch.equal(*tables)
    assert modes == [(True, True, False)] * 2


def test_only_the_pictures_asked_for_are_drawn(tmp_path):
    drawn = fit(tmp_path, Pictures(["spectrum", "errors"]), steps=2)
    assert [tag for _, tag, _ in drawn.figures] == ["pictures/spectrum", "pictures/errors"]


def test_by_default_all_the_task_has_data_for_are_drawn(tmp_path):
    task = Drawable()
    task.residues = task.grid = None
    drawn = fit(tmp_path, Pictures(), steps=2, task=task)
    assert [tag for _, tag, _ in drawn.figures] == ["pictures/plane"]


def test_a_picture_asked_for_without_data_is_an_error(tmp_path):
    task = Drawable()
    task.residues = None
    with pytest.raises(ValueError, match="no data for spectrum"):
        fit(tmp_path, Pictures(["plane", "spectrum"]), steps=2, task=task)


def test_an_embedding_that_is_not_finite_is_left_out_with_a_warning(tmp_path):
    task = Drawable()
    task.embedding.weight.data[0, 0] = torch.nan
    with pytest.warns(UserWarning, match="step 2: embedding vectors that are not finite"):
        drawn = fit(tmp_path, Pictures(), steps=2, task=task)
    assert [tag for _, tag, _ in drawn.figures] == ["pictures/errors"]


def test_a_task_that_cannot_be_drawn_is_refused_at_setup(tmp_path):
    with pytest.raises(TypeError, match=r"Plain has no picture_data\(\)"):
        fit(tmp_path, Pictures(), task=Plain())


def test_loggers_that_take_no_figures_are_passed_over(tmp_path):
    csv, figures = CSVLogger(tmp_path), FigureLogger()
    fit(tmp_path, Pictures(), steps=2, loggers=[csv, figures])
    assert figures.experiment.steps() == [2]


def test_without_a_logger_for_figures_nothing_is_drawn_and_a_warning_given(tmp_path, monkeypatch):
    monkeypatch.setattr(Drawable, "picture_data", lambda self: pytest.fail("nothing to draw for"))
    with pytest.warns(UserWarning, match="Pictures draws nothing"):
        fit(tmp_path, Pictures(), steps=2, loggers=[])


def test_tensorboard_receives_images(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    fit(tmp_path, Pictures(), steps=4, loggers=[logger])
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert events.Tags()["images"] == [f"pictures/{name}" for name in EVERY]
    assert [image.step for image in events.Images("pictures/errors")] == [2, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"which": ["spektrum"]}, "which='spektrum'.*did you mean 'spectrum'"),
        ({"which": []}, "which="),
        ({"which": ["plane", "plane"]}, "each once"),
        ({"factor": 1.0}, "factor=1.0"),
        ({"factor": float("nan")}, "factor=nan"),
        ({"start": 0}, "start=0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pictures(**arguments)
