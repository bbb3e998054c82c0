"""Replicates side by side against one after another."""

import pytest
import torch

from grok_lightning.chain.manifest import all_manifests
from grok_lightning.chain.walk import Walk
from grok_lightning.cli import main

BAR = 1.1
REPLICATES = 4

pytestmark = pytest.mark.benchmark


def time_walk(bench, folder, workers):
    """Time a walk through the runs of one stage: the start of the workers, building, training, test, all that is saved.

    Reading and checking the recipe, and the report, are the same for both and left out.
    """
    seconds, go = [], Walk.go
    options = ("--trainer.max_steps", bench.steps, "--trainer.accelerator", "cpu", "--replicates", REPLICATES)
    callbacks = ("--trainer.callbacks", "[{class_path: Milestones, init_args: {stop: false}}]")
    words = ("fit", "--config", bench.RECIPES / "transfer_add_to_sub.yaml", "--only", "scratch", "--log_dir", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walk, "go", lambda *given: seconds.append(bench.clocked(lambda: go(*given))))
        assert main([str(word) for word in (*words, "--workers", workers, *options, *callbacks)]) == 0
    manifests = [manifest for _, manifest in all_manifests(folder)]
    assert [manifest.results["steps"] for manifest in manifests] == [bench.steps] * REPLICATES
    return seconds[0]


def test_side_by_side_against_one_after_another(bench, tmp_path, capsys):
    cores = torch.get_num_threads()
    alone, together = [], []
    for number in range(bench.rounds):
        alone.append(time_walk(bench, tmp_path / f"alone_{number}", 1))
        together.append(time_walk(bench, tmp_path / f"together_{number}", cores))
    rate = REPLICATES * bench.steps
    with capsys.disabled():
        print(f"\n{bench.rounds} interleaved rounds of {REPLICATES} replicates of {bench.steps} steps on {cores} cores")
        print(f"one after another on {cores} threads: {rate / min(alone):6.1f} replicate-steps a second")
        times = min(alone) / min(together)
        print(f"{cores} workers on a thread each:      {rate / min(together):6.1f}, {times:.3f} times as many")
    assert min(alone) >= BAR * min(together)
