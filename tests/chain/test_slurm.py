import os
import shlex
import subprocess
import sys

import pytest

from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.slurm import array_command

ARGUMENTS = [
    "fit",
    "--config",
    "my recipe.yaml",
    "--replicates",
    "8",
    "--array",
    "4",
    "--workers=2",
    "--engine",
    "local",
]


def test_each_task_gives_the_command_without_what_is_not_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(array_command(ARGUMENTS, 4, 1, on_gpu=False))
    assert words[0] == "sbatch"
    assert {"--array=0-3", "--cpus-per-task=1", "--requeue", "--signal=B:USR1@90", f"--chdir={tmp_path}"} <= set(words)
    assert not any("gpu" in word for word in words)
    task = shlex.split(words[words.index("--wrap") + 1])
    given = ["fit", "--config", "my recipe.yaml", "--replicates", "8", "--workers", "1"]
    assert task == ["exec", sys.executable, "-m", "grok_lightning", *given]


def test_a_task_that_needs_a_gpu_asks_for_it():
    assert "--gpus-per-task=1" in shlex.split(array_command(ARGUMENTS, 4, 1, on_gpu=True))


def test_a_fresh_start_of_every_task_is_refused():
    with pytest.raises(ChainError, match="--fresh: every task of the array would start over"):
        array_command([*ARGUMENTS, "--fresh"], 4, 1, on_gpu=False)


@pytest.mark.slow
def test_the_printed_command_runs_the_recipe_in_all_tasks(lab, capsys):
    """With a stand-in for sbatch that runs the tasks one after another, as SLURM may."""
    lab.write(lab.PAIR)
    assert lab.fit("--replicates", "2", "--array", "50") == 0
    command = capsys.readouterr().out.strip()
    assert "--array=0-1 " in command  # two runs at most can train at once
    assert not lab.logs.exists()
    stand_in = lab.write(
        '#!/bin/sh\nwhile [ "$1" != --wrap ]; do shift; done\nsh -c "$2" && sh -c "$2"\n'.replace("\\\n", "\n"),
        "sbatch",
    )
    stand_in.chmod(0o755)
    path = f"{lab.folder}:{os.environ['PATH']}"
    done = subprocess.run(command, shell=True, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(lab.statuses().values()) == ["finished"] * 4
    assert done.stdout.count("finished before, reused") == 4  # by the second task
