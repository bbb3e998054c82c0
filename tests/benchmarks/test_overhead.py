"""What the surroundings of a run cost: the main job's network and batches, with and without them.

Run on demand, on a quiet machine: `pytest -m benchmark -s tests/benchmarks`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import grok_lightning.commands  # noqa: F401 - the recipe names classes by their short names
from grok_lightning.chain.build import RunCLI, connect
from grok_lightning.chain.merge import Config
from grok_lightning.chain.recipe import load_recipe
from grok_lightning.cli import main
from grok_lightning.logger import read_metrics

RECIPE = Path(__file__).parents[2] / "recipes/transfer_add_to_sub.yaml"
STAGE = "scratch"
ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "8"))
STEPS = int(os.environ.get("BENCHMARK_STEPS", "500"))
"""One checkpoint falls into as many steps, as in a long run."""
EVERY = 25
"""Steps between evaluations: the default."""
BAR = 1.10

pytestmark = pytest.mark.benchmark


class Job:
    """The main job's stage as `lightning fit` builds it, to be trained by other means.

    Attributes:
        network: The network, with its weights at the beginning.
        optimizer: Its optimiser.
        scheduler: Its scheduler.
        parts: Tokens and answers of "train" and "val".
        rows: Row numbers (steps, batch) of the training batches.
    """

    def __init__(self, config: Config) -> None:
        cli = RunCLI(config, Path())
        connect(cli.model, cli.datamodule)
        task, data = cli.model, cli.datamodule
        self.network: nn.Module = task.network
        self.optimizer = task.make_optimizer(self.network.parameters())
        self.scheduler = task.make_lr_scheduler(self.optimizer)
        self.parts = data.parts
        self.rows = data.train_dataloader().batch_rows(0, STEPS)


class Stock(LightningModule):
    """The same training, as a first tutorial has it."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.network = job, job.network

    def configure_optimizers(self) -> Any:
        return [self.job.optimizer], [{"scheduler": self.job.scheduler, "interval": "step"}]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step("val", batch)

    def _step(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        tokens, answers = batch
        logits = self.network(tokens)
        loss = F.cross_entropy(logits, answers)
        self.log(f"{part}/loss", loss)
        self.log(f"{part}/accuracy", (logits.argmax(-1) == answers).float().mean())
        return loss


class StockData(LightningDataModule):
    """DataLoaders over the same parts."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.parts, self.batch_size = job.parts, job.rows.shape[1]

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.parts["train"]), self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.parts["val"]), self.batch_size)


def plain_loop(job: Job, losses: list[float]) -> None:
    """Train and evaluate with torch alone; row numbers come ready, and nothing is logged, saved or shown."""
    network, (tokens, answers) = job.network, job.parts["train"]
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            losses.append(evaluate(network, *job.parts["val"])[0])
        if step < STEPS:
            rows = job.rows[step]
            loss = F.cross_entropy(network(tokens[rows]), answers[rows])
            job.optimizer.zero_grad()
            loss.backward()
            job.optimizer.step()
            job.scheduler.step()


def evaluate(network: nn.Module, tokens: Tensor, answers: Tensor) -> tuple[float, float]:
    """Loss and accuracy of a part."""
    network.eval()
    with torch.no_grad():
        logits = network(tokens)
        loss, accuracy = F.cross_entropy(logits, answers), (logits.argmax(-1) == answers).float().mean()
    network.train()
    return loss.item(), accuracy.item()


def clocked(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def time_plain(config: Config, folder: Path) -> tuple[float, list[float]]:
    job, losses = Job(config), []
    return clocked(lambda: plain_loop(job, losses)), losses


def time_fit(folder: Path) -> tuple[float, list[float]]:
    """Time the whole of `Trainer.fit` within `lightning fit`: logging, evaluation and checkpoints at their defaults."""
    seconds, fit = [], Trainer.fit
    options = ("--trainer.max_steps", STEPS, "--trainer.accelerator", "cpu", "--trainer.callbacks", "null")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda *given, **named: seconds.append(clocked(lambda: fit(*given, **named))))
        words = ("fit", "--config", RECIPE, "--only", STAGE, "--log_dir", folder, *options)
        assert main([str(word) for word in words]) == 0
    [run] = folder.rglob("metrics.csv")
    assert list((run.parent / "checkpoints").iterdir())
    return seconds[0], read_metrics(run.parent)["val/loss"].values


def time_stock(config: Config, folder: Path) -> float:
    job = Job(config)
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        val_check_interval=EVERY,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return clocked(lambda: trainer.fit(Stock(job), datamodule=StockData(job)))


def test_the_surroundings_of_a_run_cost_a_tenth_at_most(tmp_path, capsys):
    config = load_recipe(RECIPE).stages[STAGE].config
    assert config["trainer"]["max_steps"] >= STEPS
    plain, fit, stock = [], [], []
    for number in range(ROUNDS):
        seconds, losses = time_plain(config, tmp_path)
        plain.append(seconds)
        seconds, logged = time_fit(tmp_path / f"fit_{number}")
        fit.append(seconds)
        assert logged == pytest.approx(losses, rel=1e-4)  # the same training
        stock.append(time_stock(config, tmp_path / f"stock_{number}"))
    with capsys.disabled():
        print(f"\n{ROUNDS} interleaved rounds of {STEPS} steps on {torch.get_num_threads()} threads;")
        print("start-up (imports, reading and checking the recipe, building) is left out, as are test and report")
        for name, times in (("plain PyTorch loop", plain), ("lightning fit", fit), ("stock Trainer", stock)):
            each = 1000 * min(times) / STEPS
            print(f"{name:>20}: {min(times):7.3f} s, {each:6.2f} ms a step, {min(times) / min(plain):5.3f} of plain")
    ratio = min(fit) / min(plain)
    assert ratio <= BAR, f"lightning fit takes {ratio:.3f} times the plain loop, at most {BAR} is allowed"
