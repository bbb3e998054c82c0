"""Solutions, flow, complexity and further parts, measured on two processes: what one measures, and pictures once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import grok_lightning
from grok_lightning.logger import read_metrics

SECONDS = 240
"""No command takes as long, on the slowest machine; one that hangs does."""
RECIPE = """\
model:
  class_path: EquationTask
  init_args:
    network: {class_path: ArithmeticTransformer, init_args: {width: 8, heads: 2, blocks: 2}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-2}}
data:
  class_path: CompositeFunctionDataModule
  init_args: {keys: [20, 40], length: 5, size: 640, batch_size: 32, by_pair: true}
trainer:
  accelerator: cpu
  precision: 64-true
  max_steps: 10
  callbacks:
    - {class_path: Evaluation, init_args: {every_n_steps: 5}}
    - {class_path: SolutionProgress, init_args: {designated: {halfway: x - 8}}}
    - {class_path: PartAccuracy, init_args: {parts: [unseen_test_keys]}}
    - {class_path: ComplexityProgress}
    - {class_path: FlowProgress, init_args: {rows: 41, key: 40, lower: [[3, 3], [2, 2]]}}
stages: {one: {}}
"""
PAIR = ("--trainer.strategy", "ddp", "--trainer.devices", "2")
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")

pytestmark = pytest.mark.slow


def test_two_devices_measure_what_one_does(tmp_path):
    (tmp_path / "chain.yaml").write_text(RECIPE)
    known = {k: v for k, v in os.environ.items() if k not in LAUNCHED and not k.startswith("SLURM_")}
    paths = [str(Path(grok_lightning.__file__).parents[1]), known.get("PYTHONPATH", "")]
    known |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    found = {}
    for logs, options in (("single", ("--workers", "1")), ("pair", PAIR)):
        words = ["-m", "grok_lightning", "fit", "--config", "chain.yaml", "--log_dir", logs, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=known, timeout=SECONDS, check=False, **pipes)
        assert done.returncode == 0, done.stdout
        folder = tmp_path / logs / "chain/run_000/one/seed_0"
        pictures = {path.stem for path in folder.glob("*.png")}
        assert {"flow", "flow_roles", "pairs", "alike", "values", "singular_values"} <= pictures
        results = json.loads((folder / "manifest.json").read_text())["results"]
        found[logs] = read_metrics(folder), results
    (curves, results), (expected, others) = found["pair"], found["single"]
    assert curves.keys() == expected.keys()
    assert sum(name.startswith(("flow/", "alike/")) for name in curves) == 2 * (6 + 2)
    for name, series in expected.items():
        assert curves[name].steps == series.steps
        assert curves[name].values == pytest.approx(series.values, rel=1e-5, abs=1e-8, nan_ok=True), name
    measured = (
        "same_answer_similarity",
        "inferential",
        "symmetric",
        "halfway",
        "unseen_test_keys_accuracy",
        "stable_rank",
    )
    for name in measured:
        assert results[name] == pytest.approx(others[name], rel=1e-6), name
