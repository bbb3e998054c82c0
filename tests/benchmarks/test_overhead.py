"""What the surroundings of a run cost: a stage's network and batches, with and without them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from grok_lightning.cli import main
from grok_lightning.logger import read_metrics

EVERY = 25
"""Steps between evaluations: the default."""

pytestmark = pytest.mark.benchmark


class Stock(LightningModule):
    """The same training, as a first tutorial has it."""

    def __init__(self, job: Any) -> None:
        super().__init__()
        self.job, self.network = job, job.network

    def configure_optimizers(self) -> Any:
        if self.job.scheduler is None:
            return self.job.optimizer
        return [self.job.optimizer], [{"scheduler": self.job.scheduler, "interval": "step"}]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step("val", batch)

    def _step(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        tokens, answers = batch
        logits = self.network(tokens)
        loss = self.job.loss(logits, answers)
        self.log(f"{part}/loss", loss)
        self.log(f"{part}/accuracy", (logits.argmax(-1) == answers).float().mean())
        return loss


class StockData(LightningDataModule):
    """DataLoaders over the same parts."""

    def __init__(self, job: Any) -> None:
        super().__init__()
        self.parts, self.batch_size = job.parts, job.rows.shape[1]

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.parts["train"]), self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*self.parts["val"]), self.batch_size)


def time_fit(bench: Any, recipe: str, stage: str, folder: Path) -> tuple[float, list[float]]:
    """Time the whole of `Trainer.fit` within `lightning fit`: logging, evaluation and checkpoints at their defaults."""
    seconds, fit = [], Trainer.fit
    callbacks = "[{class_path: Milestones, init_args: {stop: false}}]"
    options = ("--trainer.max_steps", bench.steps, "--trainer.accelerator", "cpu", "--trainer.callbacks", callbacks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Trainer, "fit", lambda *given, **named: seconds.append(bench.clocked(lambda: fit(*given, **named)))
        )
        words = ("fit", "--config", bench.RECIPES / recipe, "--only", stage, "--log_dir", folder, "--workers", 1)
        assert main([str(word) for word in (*words, *options)]) == 0
    [run] = folder.rglob("metrics.csv")
    assert list((run.parent / "checkpoints").iterdir())
    return seconds[0], read_metrics(run.parent)["val/loss"].values


def time_stock(bench: Any, job: Any, folder: Path) -> float:
    trainer = Trainer(
        max_steps=bench.steps,
        accelerator="cpu",
        val_check_interval=EVERY,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return bench.clocked(lambda: trainer.fit(Stock(job), datamodule=StockData(job)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("recipe", "stage", "bar"),
    [("transfer_add_to_sub.yaml", "scratch", 1.05), ("speed/open.yaml", "sub", 1.15)],
    ids=["transformer", "quadratic"],
)
def test_lightning_fit_against_a_plain_loop(bench, tmp_path, capsys, recipe, stage, bar):
    config = bench.stage_config(recipe, stage)
    plain, fit, stock = [], [], []
    for number in range(bench.rounds):
        job, losses = bench.Job(config, bench.steps), []
        plain.append(bench.clocked(lambda job=job, losses=losses: losses.extend(job.train(EVERY))))
        seconds, logged = time_fit(bench, recipe, stage, tmp_path / f"fit_{number}")
        fit.append(seconds)
        assert logged == pytest.approx(losses, rel=1e-4)  # the same training
        stock.append(time_stock(bench, bench.Job(config, bench.steps), tmp_path / f"stock_{number}"))
    with capsys.disabled():
        print(
            f"\n{recipe}: {bench.rounds} interleaved rounds of {bench.steps} steps, {torch.get_num_threads()} threads;"
        )
        print("start-up (imports, reading and checking the recipe, building) is left out, as are test and report")
        for name, times in (("plain PyTorch loop", plain), ("lightning fit", fit), ("stock Trainer", stock)):
            each = 1000 * min(times) / bench.steps
            print(f"{name:>20}: {min(times):7.3f} s, {each:6.2f} ms a step, {min(times) / min(plain):5.3f} of plain")
    ratio = min(fit) / min(plain)
    assert ratio <= bar, f"lightning fit takes {ratio:.3f} times the plain loop, at most {bar} is allowed"
