"""Learning in context: what surrounds a step, what a batch costs, and how much of a GPU a step uses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.flop_counter import FlopCounterMode

from grok_lightning.chain.build import RunCLI, connect
from grok_lightning.cli import main
from grok_lightning.data.in_context import SETS
from grok_lightning.logger import read_metrics

MINIATURE = "in_context/miniature.yaml"
STAGE = "run[functions=40]"
EVERY = 100
"""Steps between evaluations."""

pytestmark = pytest.mark.benchmark


class Plain:
    """The miniature trained by a plain loop, whose batches are there before the clock starts."""

    def __init__(self, config: Any, steps: int) -> None:
        cli = RunCLI(config, Path())
        connect(cli.model, cli.datamodule)
        self.task, self.data, self.network = cli.model, cli.datamodule, cli.model.network
        [self.optimizer], [self.scheduler] = self.task.configure_optimizers()
        self.stream = self.data.train_dataloader()
        self.batches = self.stream.chunk(0, steps)

    def step(self, number: int) -> None:
        tokens, answers = (tensor[number] for tensor in self.batches)
        loss = self.task.loss(self.network(tokens, self.data.reads), answers)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()

    def evaluate(self) -> float:
        """Return the loss on new functions and new inputs; all four sets are passed through, as by the task."""
        part = self.data.parts["val"]
        with torch.no_grad():
            logits = self.network(part.tokens, self.data.reads)
        hardest = part.sets == SETS.index("new_both")
        return float(self.task.loss(logits[hardest], part.answers[hardest]))

    def train(self) -> list[float]:
        losses = []
        for step in range(len(self.batches) + 1):
            if step % EVERY == 0:
                losses.append(self.evaluate())
            if step < len(self.batches):
                self.step(step)
        return losses


def time_fit(bench: Any, folder: Path) -> tuple[float, list[float]]:
    """Time the whole of `Trainer.fit` within `lightning fit`: logging, evaluation and checkpoints."""
    seconds, fit = [], Trainer.fit
    callbacks = f"[{{class_path: Evaluation, init_args: {{every_n_steps: {EVERY}}}}}]"
    options = ["--trainer.max_steps", bench.steps, "--trainer.accelerator", "cpu", "--trainer.callbacks", callbacks]
    options += ["--vary.data.functions", "[40]", "--replicates", 1, "--workers", 1, "--log_dir", folder]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda *some, **more: seconds.append(bench.clocked(lambda: fit(*some, **more))))
        words = ("fit", "--config", bench.RECIPES / MINIATURE, *options)
        assert main([str(word) for word in words]) == 0
    [run] = folder.rglob("metrics.csv")
    return seconds[0], read_metrics(run.parent)["val/loss"].values


def test_lightning_fit_of_the_miniature_against_a_plain_loop(bench, tmp_path, capsys):
    config = bench.stage_config(MINIATURE, STAGE)
    plain, fit, batches = [], [], []
    for number in range(bench.rounds):
        job, losses = Plain(config, bench.steps), []
        batches.append(bench.clocked(lambda job=job: job.stream.chunk(0, bench.steps)))
        plain.append(bench.clocked(lambda job=job, losses=losses: losses.extend(job.train())))
        seconds, logged = time_fit(bench, tmp_path / f"fit_{number}")
        fit.append(seconds)
        assert logged == pytest.approx(losses, rel=1e-3)  # the same training
    share = min(batches) / min(plain)
    with capsys.disabled():
        print(f"\n{MINIATURE}: {bench.rounds} rounds of {bench.steps} steps, {torch.get_num_threads()} threads")
        for name, times in (("plain loop", plain), ("lightning fit", fit), ("making its batches", batches)):
            each = 1000 * min(times) / bench.steps
            print(f"{name:>20}: {min(times):7.3f} s, {each:6.2f} ms a step, {min(times) / min(plain):6.4f} of plain")
    assert share <= 0.02, f"batches cost {share:.2%} of a step"
    ratio = min(fit) / min(plain)
    assert ratio <= 1.05, f"lightning fit takes {ratio:.3f} times the plain loop, at most 1.05 is allowed"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recipe", ["d2", "d4", "d6"])
def test_tokens_a_second_and_the_share_of_a_gpus_matrix_rate(bench, capsys, recipe):
    sizes = (("data.init_args.functions", "256"), ("data.init_args.batch_size", "1024"))
    stage, overrides = ("run[functions=256,train_fraction=0.8]", ()) if recipe == "d6" else ("run", sizes)
    config = bench.stage_config(f"in_context/{recipe}.yaml", stage, *overrides)
    job = Plain(config, 1)
    network, (tokens, answers) = job.network.cuda(), (tensor[0].cuda() for tensor in job.batches)
    [optimizer], _ = job.task.configure_optimizers()

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = job.task.loss(network(tokens, job.data.reads), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    network.compile(dynamic=False)
    seconds, rate = _cuda_seconds(step, 50), _matrix_rate()
    used = counter.get_total_flops() / seconds / rate
    with capsys.disabled():
        print(f"\n{recipe}: {tokens.numel() / seconds:,.0f} tokens/s, {1000 * seconds:.2f} ms a step of {len(tokens)}")
        print(f"    {used:.1%} of the matrix rate of {rate / 1e12:.0f} TFLOP/s measured here")
    assert used >= 0.4


def _cuda_seconds(function: Any, times: int) -> float:
    """Return the mean seconds of a call on the GPU, after a warm-up."""
    for _ in range(10):
        function()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / times


def _matrix_rate() -> float:
    """Return the floating-point operations a second of a large product of matrices in bf16."""
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    return 2 * 8192**3 / _cuda_seconds(lambda: a @ b, 50)
