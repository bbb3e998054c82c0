import warnings
from functools import partial

import pytest
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import ArithmeticTransformer
from grok_lightning.tasks import EquationTask


class Kept(Logger):
    """Keeps what it is given, one row for each step and no value twice."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_metrics(self, metrics, step=None):
        row = self.rows.setdefault(step, {})
        values = {name: value for name, value in metrics.items() if name != "epoch"}
        assert not row.keys() & values.keys()
        row.update(values)

    def log_hyperparams(self, params, *args, **kwargs):
        pass


class Watch(Callback):
    """Notes the step after every chunk, and the steps of the evaluations."""

    def __init__(self):
        self.steps, self.evaluations = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(trainer.global_step)

    def on_validation_start(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.evaluations.append(trainer.global_step)


class Stop(Callback):
    """Asks the Trainer to stop after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.global_step >= self.step


class Interrupt(Callback):
    """Saves the run after the evaluation at a step, and ends it as an error would."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_validation_end(self, trainer, pl_module):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise InterruptedError


def make_task(dropout=0.0, **options):
    options.setdefault("optimizer", partial(AdamW, lr=1e-2, weight_decay=1.0))
    network = partial(ArithmeticTransformer, width=16, heads=2, dropout=dropout)
    return EquationTask(network, lr_scheduler=partial(LinearLR, total_iters=30), **options)


def run(
    folder, callbacks=(), steps=60, *, task=None, data=None, resume=None, seed=3, logger=False, modulus=7, **options
):
    """Trains a small task on addition, or on the data that a function makes, and returns its Trainer."""
    seed_everything(seed)
    data = BinaryOperationDataModule("add", modulus, batch_size=9) if data is None else data()
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[*callbacks],
        logger=logger,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        **options,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")
        trainer.fit(task or make_task(), datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer


@pytest.fixture(scope="session")
def train_in():
    """Trains a small task in a given folder."""
    return run


@pytest.fixture
def train(tmp_path):
    """Trains a small task in a folder of its own."""
    return partial(run, tmp_path)


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture(scope="session")
def small_task():
    return make_task


@pytest.fixture(scope="session")
def stop_after():
    return Stop


@pytest.fixture(scope="session")
def interrupt():
    return Interrupt
