"""Learning in context on two processes: shares of a batch, in parts or whole, add up to what one process does."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import grok_lightning
from grok_lightning.logger import read_metrics

SECONDS = 240
"""No command takes as long, on the slowest machine; one that hangs does."""
STAGES = ("whole", "parts")

pytestmark = pytest.mark.slow
RECIPE = """\
model:
  class_path: InContextTask
  init_args:
    network:
      class_path: ArithmeticTransformer
      init_args: {width: 8, heads: 2, positions: rotary, tied: true, bias: false, classifier_bias: false}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-2, weight_decay: 1.0}}
    gradient_clip_norm: 0.5
data:
  class_path: LinearInContextDataModule
  init_args: {modulus: 5, examples: 4, functions: 4, batch_size: 16, evaluation_functions: 3, evaluation_size: 7}
trainer:
  accelerator: cpu
  precision: 64-true
  max_steps: 12
  callbacks:
    - &evaluation {class_path: Evaluation, init_args: {every_n_steps: 5}}
stages:
  whole: {}
  parts:
    model.init_args.accumulate: 2
    trainer.callbacks: [*evaluation, InContextProgress]
"""
PAIR = ("--trainer.strategy", "ddp", "--trainer.devices", "2")
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of the recipe, run on one device, with logs in `single`, and on two, with logs in `pair`."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "chain.yaml").write_text(RECIPE)
    known = {k: v for k, v in os.environ.items() if k not in LAUNCHED and not k.startswith("SLURM_")}
    paths = [str(Path(grok_lightning.__file__).parents[1]), known.get("PYTHONPATH", "")]
    known |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    for logs, options in (("single", ("--workers", "1")), ("pair", PAIR)):
        words = ["-m", "grok_lightning", "fit", "--config", "chain.yaml", "--log_dir", logs, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run([sys.executable, *words], cwd=folder, env=known, timeout=SECONDS, check=False, **pipes)
        assert done.returncode == 0, done.stdout
        assert not any(run_of(folder, logs, stage).is_symlink() for stage in STAGES)  # each has been trained
    return folder


def run_of(folder, logs, stage):
    return folder / logs / "chain/run_000" / stage / "seed_0"


def read_table(path):
    """The cells of a CSV file, numbers as numbers."""
    with path.open() as file:
        return [[float(cell) if cell[:1].isdigit() else cell for cell in row] for row in csv.reader(file)]


def assert_close(found, expected, rel=1e-5):
    for one, other in zip(found, expected, strict=True):
        assert one == (pytest.approx(other, rel=rel, abs=1e-6) if isinstance(other, float) else other)


@pytest.mark.parametrize("stage", STAGES)
def test_two_devices_give_the_curves_of_one(finished, stage):
    single, pair = (run_of(finished, logs, stage) for logs in ("single", "pair"))
    curves, expected = read_metrics(pair), read_metrics(single)
    assert curves.keys() == expected.keys() >= {"train/loss", "train/accuracy", "val/loss_known", "test/accuracy"}
    for name, series in expected.items():
        assert curves[name].steps == series.steps == ([12] if name.startswith("test/") else series.steps)
        assert_close(curves[name].values, series.values)
    assert expected["val/loss"].steps == [0, 5, 10, 12]
    results, others = (json.loads((folder / "manifest.json").read_text())["results"] for folder in (pair, single))
    assert results.keys() == others.keys() >= {"phase", "best_step"}
    assert_close(map(results.get, others), others.values())


@pytest.mark.parametrize("table", ["shots.csv", "explained.csv"])
def test_two_devices_find_what_one_finds_about_the_network(finished, table):
    pair, single = (read_table(run_of(finished, logs, "parts") / table) for logs in ("pair", "single"))
    assert len(single) > 4 * 4
    for row, other in zip(pair, single, strict=True):
        assert_close(row, other)


@pytest.mark.parametrize("file", ["network.safetensors", "best.safetensors"])
def test_two_devices_and_two_parts_give_the_weights_of_one_device_and_a_whole_batch(finished, file):
    expected = load_file(run_of(finished, "single", "whole") / file)
    for logs in ("single", "pair"):
        for stage in STAGES:
            weights = load_file(run_of(finished, logs, stage) / file)
            assert weights.keys() == expected.keys()
            for name, tensor in expected.items():
                assert tensor.dtype == torch.float64
                torch.testing.assert_close(weights[name], tensor, rtol=1e-9, atol=1e-11, msg=f"{logs}, {stage}: {name}")
