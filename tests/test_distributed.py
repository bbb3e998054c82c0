"""Whole chains on several processes, each command in processes of its own.

A command's pipes are held by all its processes: that a command has returned says that none of them is left.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

import grok_lightning
from grok_lightning.chain.interruption import Interruption
from grok_lightning.data import BinaryOperationDataModule
from grok_lightning.logger import read_metrics

SECONDS = 240
"""No command takes as long, on the slowest machine; one that hangs does."""

RECIPE = """\
model:
  class_path: EquationTask
  init_args:
    network:
      class_path: ArithmeticTransformer
      init_args: {width: 16, heads: 2}
    optimizer:
      class_path: recording.SGD
      init_args: {lr: 0.1, momentum: 0.5, weight_decay: 0.01}
    lr_scheduler:
      class_path: torch.optim.lr_scheduler.LinearLR
      init_args: {start_factor: 0.1, total_iters: 10}
    gradient_clip_norm: 1.0
data:
  class_path: BinaryOperationDataModule
  init_args: {modulus: 7, batch_size: 8, operation: sub}
trainer:
  accelerator: cpu
  max_steps: 20
  callbacks:
    - {class_path: Evaluation, init_args: {every_n_steps: 5}}
    - {class_path: RunCheckpoint, init_args: {every_n_steps: 5}}
    - recording.Shares
stages:
  donor:
    data.init_args.operation: add
  whole:
    transfer: {from: donor, parts: [embedding], freeze: true}
  rows:
    transfer: {from: donor, parts: [embedding], tokens: ["0", "1", "5"], freeze: true}
"""
STAGES, STEPS = ("donor", "whole", "rows"), 20

RECORDING = """\
import json
import os
import signal
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch.distributed import get_rank, is_initialized


def rank():
    return get_rank() if is_initialized() else 0


class SGD(torch.optim.SGD):
    '''Keeps the gradients of each step; STRIKE, as rank:step:what, befalls one process before a step.'''

    taken = 0

    def step(self, closure=None):
        SGD.taken += 1
        who, when, what = os.environ.get("STRIKE", "-1:0:").split(":")
        if (int(who), int(when)) == (rank(), SGD.taken):
            if what == "raise":
                raise MemoryError("no memory on this rank")
            os.kill(os.getpid(), getattr(signal, what))
        gradients = {f"{i}_{j}": parameter.grad
                     for i, group in enumerate(self.param_groups) for j, parameter in enumerate(group["params"])}
        if folder := os.environ.get("GRADIENTS"):
            torch.save(gradients, Path(folder) / f"{rank()}_{SGD.taken}.pt")
        if os.environ.get("SPOIL") == str(SGD.taken):
            self.param_groups[0]["params"][0].data.fill_(float("nan"))
        return super().step(closure)


class Shares(Callback):
    '''Counts the rows that each rank evaluates.'''

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if folder := os.environ.get("GRADIENTS"):
            (Path(folder) / f"rows_{rank()}_{trainer.global_step}").write_text(json.dumps(len(batch)))
"""
PAIR = ("--trainer.strategy", "ddp", "--trainer.devices", "2")
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
ARRAY = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "chain", "SLURM_NODEID": "0"}


class Lab(NamedTuple):
    """A folder with the recipe and what it is run with."""

    folder: Path

    def start(self, *words: str, launcher: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
        known = {k: v for k, v in os.environ.items() if k not in LAUNCHED and not k.startswith("SLURM_")}
        paths = [str(Path(grok_lightning.__file__).parents[1]), known.get("PYTHONPATH", "")]
        known |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [*(launcher or (sys.executable,)), "-m", "grok_lightning", "fit", "--config", "chain.yaml", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=known | variables, **pipes)

    def fit(self, *words: str, launcher: tuple[str, ...] = (), **variables: str) -> tuple[int, str]:
        """Exit code and output of the command."""
        return outcome(self.start(*words, launcher=launcher, **variables))

    def run(self, stage: str, logs: str = "logs") -> Path:
        return self.folder / logs / "chain/run_000" / stage / "seed_0"

    def status(self, stage: str) -> str:
        path = self.run(stage) / "manifest.json"
        return json.loads(path.read_text())["status"] if path.exists() else "absent"

    def weights(self, stage: str, logs: str = "logs") -> dict[str, torch.Tensor]:
        return load_file(self.run(stage, logs) / "network.safetensors")

    def records(self, logs: str) -> Path:
        return self.folder / f"records_{logs}"


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


def make_lab(folder: Path) -> Lab:
    (folder / "chain.yaml").write_text(RECIPE)
    (folder / "recording.py").write_text(RECORDING)
    return Lab(folder)


@pytest.fixture
def lab(tmp_path):
    return make_lab(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The chain on one device, in `single`, and on two, in `pair`."""
    lab = make_lab(tmp_path_factory.mktemp("finished"))
    for logs, options in (("single", ()), ("pair", PAIR)):
        lab.records(logs).mkdir()
        code, output = lab.fit("--log_dir", logs, *options, GRADIENTS=str(lab.records(logs)))
        assert code == 0, output
    return lab


def assert_same_runs(lab: Lab, expected: Lab, logs: str = "pair", stages: tuple[str, ...] = STAGES) -> None:
    """Assert that two labs have the same curves and weights, to the bit."""
    for stage in stages:
        curves = lab.run(stage) / "metrics.csv"
        assert curves.read_bytes() == (expected.run(stage, logs) / "metrics.csv").read_bytes(), stage
        weights, others = lab.weights(stage), expected.weights(stage, logs)
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[name], others[name]) for name in others), stage


def plant_requeue_checkpoints(*folders: Path) -> None:
    """What Lightning would resume from in a SLURM job, if it found it in the root folder of its Trainer."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hpc_ckpt_1.ckpt").write_bytes(b"of another job")


# one device and two


def test_two_devices_give_the_curves_of_one(finished):
    for stage in STAGES:
        single, pair = (read_metrics(finished.run(stage, logs)) for logs in ("single", "pair"))
        assert single.keys() == pair.keys() >= {"train/loss", "val/accuracy", "test/loss"}
        for name, series in single.items():
            assert pair[name].steps == series.steps
            assert pair[name].values == pytest.approx(series.values, rel=1e-4, abs=1e-6), (stage, name)


def test_two_devices_give_the_weights_of_one(finished):
    for stage in STAGES:
        single, pair = (finished.weights(stage, logs) for logs in ("single", "pair"))
        assert single.keys() == pair.keys()
        for name, tensor in single.items():
            torch.testing.assert_close(pair[name], tensor, rtol=1e-3, atol=1e-5, msg=f"{stage}: {name}")


def test_the_gradients_of_every_step_are_those_of_the_whole_batch(finished):
    # Chunks hold five steps: a mean over the devices at the first of them only would show here.
    for step in range(1, len(STAGES) * STEPS + 1):
        single, first, second = (
            torch.load(finished.records(logs) / f"{rank}_{step}.pt")
            for logs, rank in (("single", 0), ("pair", 0), ("pair", 1))
        )
        assert single.keys() == first.keys() == second.keys()
        for name, gradient in single.items():
            assert torch.equal(first[name], second[name]), step
            torch.testing.assert_close(first[name], gradient, rtol=1e-3, atol=1e-5, msg=f"step {step}: {name}")


def test_frozen_tensors_and_rows_keep_their_bits_on_two_devices(finished):
    donor = finished.weights("donor", "pair")["embedding.table.weight"]
    whole, rows = (finished.weights(stage, "pair")["embedding.table.weight"] for stage in ("whole", "rows"))
    both = torch.tensor([0, 1, 2, 3, 4, 5, 6, 8])  # the residues and "="; the operator of row 7 has another name
    assert torch.equal(whole[both], donor[both])
    kept = torch.tensor([0, 1, 5])
    assert torch.equal(rows[kept], donor[kept])
    moved = [row for row in range(9) if row not in (0, 1, 5)]
    assert not torch.isclose(rows[moved], donor[moved]).all(1).any()


def test_each_rank_evaluates_its_share(finished):
    rows = len(BinaryOperationDataModule(modulus=7).make_parts()["val"])
    for step in (0, 5, 20):
        shares = [int((finished.records("pair") / f"rows_{rank}_{step}").read_text()) for rank in (0, 1)]
        assert shares == [(rows + 1) // 2, rows // 2]
        assert int((finished.records("single") / f"rows_0_{step}").read_text()) == rows


# processes that somebody else started, and runs made elsewhere


def test_torchrun_needs_nothing_else_and_reuses_a_run_made_on_one_device(lab, finished):
    shutil.copytree(finished.folder / "single", lab.folder / "logs")
    for stage in ("whole", "rows"):
        shutil.rmtree(lab.run(stage))
    code, output = lab.fit(launcher=("torchrun", "--nproc_per_node", "2"))
    assert code == 0, output
    assert output.count("donor, seed 0: finished before, reused from") == 1
    assert output.count("whole, seed 0: ended at step 20") == 1
    assert {lab.status(stage) for stage in STAGES} == {"finished"}
    curve, expected = (read_metrics(where) for where in (lab.run("rows"), finished.run("rows", "pair")))
    assert curve["val/loss"].values == pytest.approx(expected["val/loss"].values, rel=1e-4)


def test_the_tasks_of_srun_are_the_processes(lab, finished):
    tasks = {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", **SLURM}
    started = [lab.start("--only", "whole", SLURM_PROCID=rank, SLURM_LOCALID=rank, **tasks) for rank in "01"]
    (code, output), (other_code, other_output) = map(outcome, started)
    assert (code, other_code) == (0, 0), output + other_output
    assert "whole, seed 0: ended at step 20" in output
    assert "ended" not in other_output
    assert_same_runs(lab, finished, stages=("donor", "whole"))


# interruptions


def test_a_chain_on_two_devices_survives_a_kill_and_an_interruption(lab, finished):
    code, output = lab.fit(*PAIR, STRIKE=f"0:{STEPS + 12}:SIGKILL")
    assert code == -signal.SIGKILL, output
    assert [lab.status(stage) for stage in STAGES] == ["finished", "running", "absent"]
    # It resumes at step 10 of the second stage.
    code, output = lab.fit(*PAIR, STRIKE="0:18:SIGTERM")
    assert code == 128 + signal.SIGTERM, output
    assert "donor, seed 0: finished before, reused" in output
    assert "whole, seed 0: resumed" in output
    assert "the same command goes on from there" in output
    assert [lab.status(stage) for stage in STAGES] == ["finished", "finished", "interrupted"]
    code, output = lab.fit(*PAIR)
    assert code == 0, output
    assert "rows, seed 0: resumed" in output
    assert_same_runs(lab, finished)


@pytest.mark.slow
def test_a_job_of_one_slurm_task_requeues_itself_and_resumes_only_its_own_checkpoint(lab, finished):
    tools, calls = lab.folder / "tools", lab.folder / "calls"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\n')
    (tools / "scontrol").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    plant_requeue_checkpoints(lab.folder, lab.folder / "logs", lab.folder / "logs/chain")
    job = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "PATH": path, **SLURM}
    code, output = lab.fit(*PAIR, "--only", "whole", STRIKE=f"1:{STEPS + 7}:SIGUSR1", **job)
    assert code == 128 + signal.SIGUSR1, output
    assert calls.read_text() == "requeue 4711\n"
    assert [lab.status(stage) for stage in ("donor", "whole")] == ["finished", "interrupted"]
    plant_requeue_checkpoints(lab.run("donor"), lab.run("rows"), lab.run("rows").parent)
    code, output = lab.fit(*PAIR, "--only", "whole", **job)
    assert code == 0, output
    assert calls.read_text() == "requeue 4711\n"
    assert_same_runs(lab, finished, stages=("donor", "whole"))


@pytest.mark.parametrize(
    ("variables", "number", "call"),
    [
        ({"SLURM_JOB_ID": "12"}, signal.SIGUSR1, "requeue 12"),
        (
            {"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"},
            signal.SIGUSR1,
            "requeue 12_3",
        ),
        ({"SLURM_JOB_ID": "12"}, signal.SIGTERM, ""),
        (ARRAY, signal.SIGTERM, ""),
        ({}, signal.SIGUSR1, ""),
    ],
)
def test_only_the_announced_end_of_a_slurm_job_requeues_it(monkeypatch, tmp_path, variables, number, call):
    script, calls = tmp_path / "scontrol", tmp_path / "calls"
    script.write_text(f'#!/bin/sh\necho "$@" > "{calls}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    interruption = Interruption()
    interruption.signal = number
    interruption.requeue()
    assert (calls.read_text().strip() if calls.exists() else "") == call


def test_a_requeue_that_fails_is_told(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    interruption = Interruption()
    interruption.signal = signal.SIGUSR1
    interruption.requeue()
    assert "job 12 is not requeued" in caplog.text


# failures


def test_a_rank_that_fails_alone_ends_all(lab):
    code, output = lab.fit(*PAIR, STRIKE=f"1:{STEPS + 3}:raise")
    assert code == 1, output
    assert "MemoryError: no memory on this rank" in output
    assert "whole, seed 0: failed" in output
    assert [lab.status(stage) for stage in STAGES] == ["finished", "failed", "absent"]


@pytest.mark.slow
def test_a_loss_that_is_nan_fails_its_run_and_the_others_go_on(lab, finished):
    code, output = lab.fit(*PAIR, SPOIL=str(STEPS + 3))
    assert code == 1, output
    assert output.count("whole, seed 0: failed: val/loss is nan at step 5") == 1, output
    assert "Traceback" not in output
    assert [lab.status(stage) for stage in STAGES] == ["finished", "failed", "finished"]
    assert_same_runs(lab, finished, stages=("donor", "rows"))


# refused before anything trains


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*PAIR, "--trainer.strategy", "ddp_spawn"), "trainer.strategy: a chain needs processes"),
        (
            ("--trainer.strategy", "ddp", "--trainer.devices", "3"),
            "a batch of 8 equations does not divide by 3 devices",
        ),
        ((*PAIR, "--data.val_fraction", "1"), "the val part has 1 rows for 2 devices"),
        ((*PAIR, "--stages.rows.trainer.devices", "1"), "stages.rows.trainer.devices: found 1: all stages are trained"),
    ],
)
def test_what_several_devices_cannot_do_is_refused(lab, monkeypatch, capsys, options, message):
    from grok_lightning.cli import main

    monkeypatch.chdir(lab.folder)
    assert main(["fit", "--config", "chain.yaml", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (lab.folder / "logs").exists()


def test_fewer_devices_than_processes_are_refused(lab, monkeypatch, capsys):
    from grok_lightning.cli import main

    monkeypatch.chdir(lab.folder)
    torchrun = {"RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "1"}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", "--config", "chain.yaml", "--trainer.devices", "1"]) == 2
    assert "the Trainer has 1 device, but torchrun or srun started 2 processes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_fault_is_said_once_by_all_processes_of_torchrun(lab):
    code, output = lab.fit("--trainer.devices", "1", launcher=("torchrun", "--nproc_per_node", "2"))
    assert code == 1
    assert output.count("chain.yaml: 3 faults") == 1, output  # one for each stage


def test_a_run_made_on_two_devices_is_evaluated_on_one(finished):
    from grok_lightning.chain.evaluate import evaluate_run

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(finished.folder))
        measured = evaluate_run(finished.run("rows", "pair"), "validate")
    expected = read_metrics(finished.run("rows", "pair"))
    assert measured["val/loss"] == pytest.approx(expected["val/loss"].values[-1], rel=1e-5)
