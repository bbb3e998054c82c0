import contextlib
import itertools
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from grok_lightning.callbacks import (
    Evaluation,
    Milestones,
    RunCheckpoint,
    RunRecord,
    Snapshots,
    StageInterrupted,
    newest_checkpoint,
)
from grok_lightning.callbacks.checkpoint import collect_generators, restore_generators


class Crash(Callback):
    """Fails after a step, before or after the evaluation that may follow."""

    def __init__(self, step, after_evaluation=False):
        self.step, self.after_evaluation = step, after_evaluation

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step >= self.step and not self.after_evaluation:
            raise InterruptedError

    def on_validation_end(self, trainer, pl_module):
        if trainer.global_step >= self.step and self.after_evaluation:
            raise InterruptedError


class Draws(Callback):
    """Draws from the other generators in every step, as a user's code may."""

    def __init__(self):
        self.drawn = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.drawn[trainer.global_step] = (random.random(), np.random.normal(), np.random.rand(), random.gauss(0, 1))


class Kept(Logger):
    """Keeps what is logged, by step."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(step, {}).update(metrics)

    def log_hyperparams(self, params, *args, **kwargs):
        pass


class Run:
    """A run with dropout, evaluations every 9 steps, snapshots every 4, and checkpoints at least 5 apart.

    It is started again and again in one folder, as the chain does it: from its newest checkpoint, after which what was
    logged is forgotten.
    """

    def __init__(self, folder, train_in, small_task):
        self.folder, self.train_in, self.small_task = folder, train_in, small_task
        self.logs, self.draws = Kept(), Draws()
        self.trainer = None

    def start(self, *more, checkpoint=None, path=None):
        path = path or newest_checkpoint(self.folder)
        since = -1 if path is None else read_step(path)
        for table in (self.logs.rows, self.draws.drawn):
            for step in [step for step in table if step > since]:
                del table[step]
        callbacks = [
            RunRecord(),
            checkpoint or RunCheckpoint(5),
            Evaluation(9),
            Milestones(threshold=0.15, stop=False),
            Snapshots(["embedding"], 4),
            self.draws,
            *more,
        ]
        seed_everything(3)
        task = self.small_task(dropout=0.1)
        self.trainer = self.train_in(self.folder, callbacks, 45, task=task, logger=self.logs, resume=path)

    @property
    def saved_at(self):
        path = newest_checkpoint(self.folder)
        return -1 if path is None else read_step(path)

    def tensors(self):
        """Weights, optimiser, random state and snapshots, by name."""
        tensors = {
            f"network.{name}": tensor for name, tensor in self.trainer.lightning_module.network.state_dict().items()
        }
        for index, state in self.trainer.optimizers[0].state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        for path in (self.folder / "snapshots").iterdir():
            tensors |= {f"{path.name}.{name}": tensor for name, tensor in load_file(path).items()}
        return tensors

    def numbers(self):
        """Logs, draws, schedule, and what the callbacks found and wait for."""
        results = [found() for callback in self.trainer.callbacks if (found := getattr(callback, "results", None))]
        next_steps = [callback.next_step for callback in self.trainer.callbacks if hasattr(callback, "next_step")]
        schedule = self.trainer.lr_scheduler_configs[0].scheduler.state_dict()
        return {"logs": self.logs.rows, "draws": self.draws.drawn, "found": results, "next": next_steps, **schedule}


def read_step(path):
    return torch.load(path, weights_only=True)["global_step"]


def assert_same(run, expected):
    tensors, others = run.tensors(), expected.tensors()
    assert tensors.keys() == others.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []
    assert run.numbers() == expected.numbers()


@pytest.fixture
def run(tmp_path, train_in, small_task):
    return Run(tmp_path, train_in, small_task)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, train_in, small_task):
    """The run that nothing interrupts."""
    run = Run(tmp_path_factory.mktemp("whole"), train_in, small_task)
    run.start()
    assert run.saved_at == 45
    return run


@pytest.mark.parametrize("after_evaluation", [False, True])
@pytest.mark.parametrize("step", [3, 9, 12, 20, 27, 45])
def test_a_run_that_failed_goes_on_to_the_same_bits(run, uninterrupted, step, after_evaluation):
    with pytest.raises(InterruptedError):
        run.start(Crash(step, after_evaluation))
    assert run.saved_at < 45
    run.start()
    assert_same(run, uninterrupted)


def test_a_run_that_failed_again_and_again(run, uninterrupted):
    for step in (7, 13, 19, 26, 38):
        with pytest.raises(InterruptedError):
            run.start(Crash(step))
    run.start()
    assert_same(run, uninterrupted)


@pytest.mark.parametrize("step", [1, 9, 16, 40])
def test_a_run_that_was_asked_to_stop_saves_itself(run, uninterrupted, step):
    checkpoint = RunCheckpoint(1000)
    checkpoint.interrupted = lambda: max(run.draws.drawn, default=0) >= step
    with pytest.raises(StageInterrupted, match=r"interrupted at step \d+"):
        run.start(checkpoint=checkpoint)
    assert step <= run.saved_at < step + 4
    run.start()
    assert_same(run, uninterrupted)


def test_a_run_goes_on_from_a_users_own_checkpoint_too(run, uninterrupted):
    run.start(ModelCheckpoint(run.folder, "{step}", every_n_train_steps=18, save_top_k=-1))
    del run.logs.rows[18]  # saved just before the evaluation at its step, which is made up for
    run.start(path=run.folder / "step=18.ckpt")
    assert_same(run, uninterrupted)


def test_checkpoints_are_also_taken_where_nothing_is_evaluated(run):
    class Look(Callback):
        steps = ()

        def on_train_batch_start(self, trainer, *args):
            self.steps = (*self.steps, run.saved_at)

    look = Look()
    run.start(look)
    steps = sorted(set(look.steps) - {-1})
    assert {8, 16, 24, 32} & set(steps)  # snapshots cut the chunks there, and nothing else
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(steps))


def test_a_request_to_stop_at_the_last_step_changes_nothing(train, tmp_path):
    checkpoint = RunCheckpoint()
    checkpoint.interrupted = lambda: True
    trainer = train([checkpoint], steps=25)
    assert trainer.global_step == read_step(newest_checkpoint(tmp_path)) == 25


def test_a_run_that_was_finished_trains_no_further(train, tmp_path, watch):
    train([RunCheckpoint(), Milestones(threshold=1e-6, patience=2), Evaluation(1)], steps=60)
    path = newest_checkpoint(tmp_path)
    train([RunCheckpoint(), watch, Milestones(threshold=1e-6, patience=2), Evaluation(1)], steps=60, resume=path)
    assert watch.steps == []
    assert newest_checkpoint(tmp_path) == path


def test_a_run_that_a_callback_has_stopped_trains_no_further(train, tmp_path, watch, stop_after):
    ended = train([RunCheckpoint(), stop_after(30), Evaluation(10)], steps=100)
    assert ended.global_step == 30
    again = train([RunCheckpoint(), Evaluation(10), watch], steps=100, resume=newest_checkpoint(tmp_path))
    assert (again.global_step, watch.steps) == (30, [])


def test_a_longer_run_goes_on_from_a_shorter_one(train, tmp_path, watch):
    train([RunCheckpoint(), Evaluation(10)], steps=20, task=None)
    extended = train([RunCheckpoint(), Evaluation(10), watch], steps=50, resume=newest_checkpoint(tmp_path))
    whole = train([Evaluation(10)], steps=50)
    assert watch.steps == [30, 40, 50]
    for name, tensor in whole.lightning_module.network.state_dict().items():
        assert torch.equal(extended.lightning_module.network.state_dict()[name], tensor)


def test_only_the_newest_is_kept(train, tmp_path):
    train([RunCheckpoint(10), Evaluation(5)], steps=33)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000033.ckpt"]
    assert newest_checkpoint(tmp_path).name == "step_00000033.ckpt"


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None


def test_what_cannot_be_written_leaves_the_older_checkpoint(train, tmp_path, monkeypatch):
    save = Trainer.save_checkpoint

    def full_disk(self, path, *args, **options):
        if self.global_step >= 20:
            path.write_bytes(b"half a checkp")
            raise OSError(28, "No space left on device")
        save(self, path, *args, **options)

    monkeypatch.setattr(Trainer, "save_checkpoint", full_disk)
    with pytest.raises(OSError, match="No space left"):
        train([RunCheckpoint(10), Evaluation(10)], steps=30)
    assert read_step(newest_checkpoint(tmp_path)) == 10


def test_an_evaluation_elsewhere_saves_nothing(train, tmp_path):
    trainer = train([RunCheckpoint(), Evaluation(10)], steps=20, num_sanity_val_steps=1)
    newest_checkpoint(tmp_path).unlink()
    trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert newest_checkpoint(tmp_path) is None


class Plain(LightningModule):
    """A module with epochs and automatic optimisation."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.dropout = torch.nn.Dropout(0.3)

    def training_step(self, batch, batch_idx):
        return (self.layer(self.dropout(batch)) - 1).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


@pytest.mark.parametrize(("limits", "last"), [({"max_epochs": 3}, 24), ({"max_steps": 19, "max_epochs": -1}, 19)])
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 3}, {"limit_val_batches": 0}])
def test_other_modules_are_saved_and_resumed_too(tmp_path, limits, last, options):
    # Lightning starts an interrupted epoch from its first batch, so all batches are the same here. Saved at the end of
    # an epoch without validation, the next one's DataLoader draws its seed in another place; that end is left out.
    batches = DataLoader(torch.ones(16, 3), batch_size=2)

    def fit(folder, *crash):
        torch.manual_seed(1)
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[RunCheckpoint(2), *crash],
            **limits,
            **options,
        )
        module = Plain()
        with contextlib.suppress(InterruptedError):
            trainer.fit(module, batches, batches, ckpt_path=newest_checkpoint(folder), weights_only=True)
        return module.layer.weight.detach()

    whole = fit(tmp_path / "whole")
    for step in (5, 12, 19):
        fit(tmp_path / "interrupted", Crash(step))
        assert read_step(newest_checkpoint(tmp_path / "interrupted")) <= step
    assert torch.equal(fit(tmp_path / "interrupted"), whole)
    assert read_step(newest_checkpoint(tmp_path / "interrupted")) == last


def test_generators_are_plain_data_and_restored(tmp_path):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    np.random.normal()  # caches a second draw
    random.gauss(0, 1)
    torch.save(collect_generators(), tmp_path / "states")

    def draw():
        return random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand(), torch.rand(2).tolist()

    expected = draw()
    draw()
    restore_generators(torch.load(tmp_path / "states", weights_only=True))
    assert draw() == expected


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="every_n_steps is 0; expected a positive number"):
        RunCheckpoint(0)
