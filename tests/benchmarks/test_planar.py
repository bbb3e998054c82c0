"""Sixteen planar networks by one command, and sixteen systems of particles side by side against one after another."""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.optim import SGD

from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.networks import ParticleSystem
from grok_lightning.tasks import ParticleTask

RECIPE = Path(__file__).parents[2] / "recipes/planar/network.yaml"
NETWORK_SECONDS, PARTICLE_SECONDS = 60, 10
STEPS, SYSTEMS = 1500, 16

pytestmark = pytest.mark.benchmark


def test_sixteen_networks_by_one_command(tmp_path, capsys):
    command = [sys.executable, "-m", "grok_lightning", "fit", "--config", str(RECIPE), "--log_dir", str(tmp_path)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    with capsys.disabled():
        print(f"\n16 networks of 6000 steps, the whole command: {seconds:.0f} s (bar {NETWORK_SECONDS} s)")
    assert seconds < NETWORK_SECONDS


def simulate(folder, copies):
    torch.manual_seed(0)
    data = BinaryOperationDataModule("add", 17, 0.9, layout="a b", batch_size=None, unordered_split=True)
    task = ParticleTask(partial(ParticleSystem, copies=copies), optimizer=partial(SGD, lr=0.2, weight_decay=0.02))
    trainer = Trainer(
        max_steps=STEPS,
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started = time.perf_counter()
    trainer.fit(task, datamodule=data)
    return time.perf_counter() - started


def test_sixteen_systems_of_particles(tmp_path, capsys):
    rounds = [(simulate(tmp_path, SYSTEMS), simulate(tmp_path, 1)) for _ in range(3)]
    together, alone = (min(column) for column in zip(*rounds, strict=True))
    with capsys.disabled():
        print(
            f"\n{SYSTEMS} systems of 17 particles, {STEPS} steps: {together:.1f} s (bar {PARTICLE_SECONDS} s), "
            f"{together / (SYSTEMS * alone):.2f} of one after another"
        )
    assert together < PARTICLE_SECONDS
