"""A stage of a recipe trained by other means, and its matrix products alone.

As a script it measures one stage in a process of its own: `python jobs.py RECIPE STAGE STEPS ROUNDS [KEY=VALUE …]`
prints the seconds of a step, those of its matrix products, and the peak memory of the process in MiB, as JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import grok_lightning.commands  # noqa: F401 - recipes name classes by their short names
from grok_lightning.chain.build import RunCLI, connect
from grok_lightning.chain.merge import Config
from grok_lightning.chain.recipe import load_recipe, parse_override

RECIPES = Path(__file__).parents[2] / "recipes"
PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm")


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


class Products(TorchDispatchMode):
    """Takes down the matrix products of a step, and gives them again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(function).rpartition(".")[0] in PRODUCTS:
            self.calls.append((function, tuple(self._alike(item) for item in args)))
        return function(*args, **(kwargs or {}))

    @staticmethod
    def _alike(item: Any) -> Any:
        """Return a tensor of the same shape and layout, with a storage of its own."""
        if not isinstance(item, Tensor):
            return item
        storage = torch.randn(item.untyped_storage().nbytes() // item.element_size())
        return storage.as_strided(item.shape, item.stride(), item.storage_offset())

    @torch.no_grad()
    def again(self) -> None:
        for function, args in self.calls:
            function(*args)


def measure(config: Config, steps: int, rounds: int) -> tuple[float, float]:
    """Return the seconds of a step, and of its matrix products alone: minima of interleaved rounds."""
    job = Job(config, steps)
    with Products() as products:
        job.step(0)
    products.again()
    whole, alone = [], []
    for _ in range(rounds):
        whole.append(clocked(lambda: [job.step(step) for step in range(steps)]) / steps)
        alone.append(clocked(lambda: [products.again() for _ in range(steps)]) / steps)
    return min(whole), min(alone)


if __name__ == "__main__":
    recipe, stage, steps, rounds, *overrides = sys.argv[1:]
    config = stage_config(recipe, stage, *(tuple(word.split("=", 1)) for word in overrides))
    seconds = measure(config, int(steps), int(rounds))
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
