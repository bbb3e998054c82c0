"""What the benchmarks share: a stage of a recipe to be trained by other means, a clock, and how often it is read.

Run on demand, on a quiet machine: `pytest -m benchmark -s tests/benchmarks`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import grok_lightning.commands  # noqa: F401 - recipes name classes by their short names
from grok_lightning.chain.build import RunCLI, connect
from grok_lightning.chain.merge import Config
from grok_lightning.chain.recipe import load_recipe, parse_override

RECIPES = Path(__file__).parents[2] / "recipes"


class Job:
    """A stage as `lightning fit` builds it, to be trained by a plain loop.

    Attributes:
        network: The network, with its weights at the beginning.
        optimizer: Its optimiser.
        scheduler: Its scheduler, if it has one.
        parts: Tokens and answers of "train" and "val".
        rows: Row numbers (steps, batch) of the training batches.
    """

    def __init__(self, config: Config, steps: int) -> None:
        cli = RunCLI(config, Path())
        connect(cli.model, cli.datamodule)
        task, data = cli.model, cli.datamodule
        self.network: nn.Module = task.network
        self.optimizer = task.make_optimizer(self.network.parameters())
        self.scheduler = None if task.make_lr_scheduler is None else task.make_lr_scheduler(self.optimizer)
        self.loss: Callable[[Tensor, Tensor], Tensor] = task.loss
        self.parts = data.parts
        self.rows = data.train_dataloader().batch_rows(0, steps)

    def step(self, number: int) -> None:
        """Take one optimiser step."""
        tokens, answers = self.parts["train"]
        rows = self.rows[number]
        loss = self.loss(self.network(tokens[rows]), answers[rows])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()

    def evaluate(self) -> tuple[float, float]:
        """Return loss and accuracy on the validation part."""
        tokens, answers = self.parts["val"]
        self.network.eval()
        with torch.no_grad():
            logits = self.network(tokens)
            loss, accuracy = self.loss(logits, answers), (logits.argmax(-1) == answers).float().mean()
        self.network.train()
        return loss.item(), accuracy.item()

    def train(self, every: int) -> list[float]:
        """Train and evaluate with torch alone: nothing is logged, saved or shown. Return the losses of evaluations."""
        losses = []
        for step in range(len(self.rows) + 1):
            if step % every == 0:
                losses.append(self.evaluate()[0])
            if step < len(self.rows):
                self.step(step)
        return losses


def clocked(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def stage_config(recipe: str, stage: str, *overrides: tuple[str, str]) -> Config:
    """Return the config of a stage of one of the project's recipes."""
    return load_recipe(RECIPES / recipe, [parse_override(*item) for item in overrides]).stages[stage].config


@pytest.fixture(scope="session")
def bench() -> Any:
    """The tools above, and how much is measured: 8 interleaved rounds of 300 steps unless the environment says else."""

    class Bench:
        rounds = int(os.environ.get("BENCHMARK_ROUNDS", "8"))
        steps = int(os.environ.get("BENCHMARK_STEPS", "300"))
        recipes = RECIPES

    Bench.Job, Bench.clocked, Bench.stage_config = Job, staticmethod(clocked), staticmethod(stage_config)
    return Bench
