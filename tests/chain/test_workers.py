"""Runs side by side, each in a process of its own."""

import json
import os
import re
import shutil
import signal
import sys
import time
from io import StringIO

import pytest
import torch
from rich.console import Console

from grok_lightning.callbacks import StageInterrupted
from grok_lightning.chain.crew import Crew
from grok_lightning.chain.faults import ChainError
from grok_lightning.chain.plan import check_recipe, make_plan
from grok_lightning.chain.processes import Processes
from grok_lightning.chain.recipe import load_recipe, parse_override
from grok_lightning.chain.take import Outcome, Place, Taker
from grok_lightning.chain.team import Team, plan_team, threads, width
from grok_lightning.chain.walk import Walk
from grok_lightning.terminal import Screen

CALLBACKS = """
import os, signal, time
from pathlib import Path
from lightning.pytorch import Callback

class Dies(Callback):
    "Kills the process of seed 1, once the run has a checkpoint."
    def on_train_batch_end(self, trainer, pl_module, *args):
        if "seed_1" in trainer.default_root_dir and trainer.global_step == 15 and not Path("mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)

class Slow(Callback):
    def on_train_batch_end(self, trainer, pl_module, *args):
        time.sleep(0.2)

class Tells(Callback):
    "Writes down what its process sees."
    def on_train_start(self, trainer, pl_module):
        import torch
        seen = f"{os.getpid()} {torch.get_num_threads()} {os.environ.get('CUDA_VISIBLE_DEVICES')}"
        Path(trainer.default_root_dir, "seen").write_text(seen)
        time.sleep(1)  # so that the other worker gets a run too

class Refuses(Callback):
    "Cannot be built for seed 1."
    def __init__(self):
        import torch
        if torch.initial_seed() == 1:
            raise RuntimeError("not for this seed")
"""

LONG = ("--workers", "2", "--trainer.max_steps", "300")


def with_callback(lab, recipe, name):
    """Write a recipe whose runs have a callback of CALLBACKS."""
    lab.write(CALLBACKS, "mine.py")
    content = lab.edited(recipe)
    given = [{"class_path": "RunCheckpoint", "init_args": {"every_n_steps": 5}}, {"class_path": f"mine.{name}"}]
    evaluation = {"class_path": "Evaluation", "init_args": {"every_n_steps": 5}}
    return lab.write(lab.edited(content, trainer__callbacks=[evaluation, *given]))


def seen(lab, stage, seeds):
    return [(lab.run(stage, seed) / "seen").read_text().split() for seed in seeds]


# the same runs


def test_each_run_is_to_the_bit_what_it_is_alone(lab, capsys):
    lab.write(lab.PAIR)
    assert lab.fit("--replicates", "3", "--workers", "2") == 0
    said = capsys.readouterr().out
    assert all(f"{stage}, seed {seed}: ended at step 20" in said for stage in ("donor", "heir") for seed in range(3))
    assert said.count("embedding.table.weight") == 1  # what moved is shown for the first seed alone
    assert set(lab.statuses().values()) == {"finished"}
    with threads(1):
        assert lab.fit("--replicates", "3", "--workers", "1", "--fresh") == 0
    for stage in ("donor", "heir"):
        for seed in range(3):
            assert lab.weights(stage, seed) == lab.weights(stage, seed, number=1)
    report = json.loads((lab.logs / "small/run_000/report.json").read_text())
    assert [len(report["stages"][stage]["runs"]) for stage in ("donor", "heir")] == [3, 3]


def test_finished_runs_are_not_taken_again(lab):
    lab.write(lab.PAIR)
    assert lab.fit("--replicates", "2", "--workers", "2") == 0
    before = lab.times()
    assert lab.fit("--replicates", "2", "--workers", "2") == 0
    assert lab.times() == before


def test_two_stages_that_are_the_same_run_are_trained_once(lab):
    same = {"data.init_args.operation": "add"}
    lab.write(lab.edited(lab.SMALL, stages={"one": same, "two": same, "three": {"data.init_args.operation": "sub"}}))
    assert lab.fit("--workers", "3") == 0
    assert sum(path.is_symlink() for path in (lab.run("one"), lab.run("two"))) == 1
    assert len(lab.statuses()) == 2


def test_a_run_waits_for_the_folder_of_its_donor_though_the_donor_is_another_stages_run(lab):
    same, heir = {"data.init_args.operation": "add"}, {"transfer": {"from": "two", "parts": ["embedding"]}}
    lab.write(lab.edited(lab.SMALL, stages={"one": same, "two": same, "heir": heir}, data__init_args__operation="sub"))
    assert lab.fit("--workers", "2") == 0
    assert lab.manifest("heir")["status"] == "finished"


def test_a_worker_is_started_once_and_computes_on_its_share(lab):
    with_callback(lab, lab.SMALL, "Tells")
    with threads(4):
        assert lab.fit("--replicates", "5", "--workers", "2") == 0
    found = seen(lab, "run", range(5))
    assert len({process for process, _, _ in found}) == 2
    assert {number for _, number, _ in found} == {"2"}
    assert str(os.getpid()) not in {process for process, _, _ in found}


def test_what_is_left_of_a_plan_computes_as_the_whole_would(lab):
    with_callback(lab, lab.SMALL, "Tells")
    with threads(4):
        assert lab.fit("--replicates", "3", "--workers", "2") == 0
        shutil.rmtree(lab.run("run", 0))
        assert lab.fit("--replicates", "3", "--workers", "2") == 0
        assert torch.get_num_threads() == 4
    assert seen(lab, "run", [0]) == [[str(os.getpid()), "2", "None"]]


def test_every_worker_sees_a_device_of_its_own(lab, monkeypatch):
    monkeypatch.setattr("grok_lightning.chain.plan.spare_devices", lambda trainer: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with_callback(lab, lab.SMALL, "Tells")
    assert lab.fit("--replicates", "4", "--workers", "2") == 0
    devices = {process: device for process, _, device in seen(lab, "run", range(4))}
    assert sorted(devices.values()) == ["4", "7"]


# how many


@pytest.mark.parametrize(
    ("replicates", "asked", "devices", "team"),
    [
        (1, None, 0, Team(2, 4, 0)),  # donor and plain
        (2, None, 0, Team(4, 2, 0)),
        (8, None, 0, Team(8, 1, 0)),
        (8, 3, 0, Team(3, 2, 0)),
        (8, 20, 0, Team(16, 1, 0)),
        (8, 1, 0, Team()),
        (8, None, 4, Team(4, 2, 4)),
        (8, 8, 4, Team(8, 1, 4)),
    ],
)
def test_there_are_as_many_workers_as_cores_or_devices_can_serve(lab, monkeypatch, replicates, asked, devices, team):
    monkeypatch.setattr("grok_lightning.chain.plan.spare_devices", lambda trainer: devices)
    recipe = load_recipe(lab.write(lab.CHAIN), [parse_override("replicates", str(replicates))])
    checked = check_recipe(recipe)
    runs = make_plan(recipe, checked)
    assert width(runs) == 2 * replicates
    with threads(8):
        assert plan_team(runs, checked, asked) == team


def test_workers_and_several_processes_a_run_exclude_each_other(lab):
    options = ("trainer.accelerator", "cpu"), ("trainer.devices", "2"), ("trainer.strategy", "ddp")
    recipe = load_recipe(lab.write(lab.CHAIN), [parse_override(*option) for option in options])
    checked = check_recipe(recipe)
    runs = make_plan(recipe, checked)
    assert plan_team(runs, checked, None) == plan_team(runs, checked, 1) == Team()
    with pytest.raises(ChainError, match=r"--workers 2: each run takes several processes already \(trainer.devices\)"):
        plan_team(runs, checked, 2)


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_a_wrong_number_is_refused(lab, number, capsys):
    lab.write(lab.SMALL)
    assert lab.fit("--workers", number) == 2
    assert f"--workers: expected a positive whole number, found '{number}'" in capsys.readouterr().err


# when something goes wrong


def test_a_worker_that_dies_takes_nothing_with_it(lab, capsys):
    with_callback(lab, lab.PAIR, "Dies")
    assert lab.fit("--replicates", "3", "--workers", "2") == 1
    said = capsys.readouterr().out
    assert "donor, seed 1: failed: its process was ended by SIGKILL; the same command resumes it" in said
    assert "heir, seed 1: not trained: it needs donor/seed_1, which failed" in said
    assert lab.manifest("donor", 1)["status"] == "failed"
    assert lab.manifest("donor", 1)["error"].startswith("its process was ended by SIGKILL")
    statuses = lab.statuses()
    assert {name: status for name, status in statuses.items() if "seed_1" not in name} == {
        f"small/run_000/{stage}/seed_{seed}": "finished" for stage in ("donor", "heir") for seed in (0, 2)
    }
    lab.write("", "mended")
    assert lab.fit("--replicates", "3", "--workers", "2") == 0
    assert "donor, seed 1: resumed" in capsys.readouterr().out
    assert lab.fit("--replicates", "3", "--workers", "2", "--fresh") == 0
    assert lab.weights("heir", 1) == lab.weights("heir", 1, number=1)


def test_a_failing_run_is_told_by_its_worker(lab, capsys):
    lab.write(lab.CHAIN)
    assert lab.fit("--stages.donor.model.optimizer.lr", "1e30", "--workers", "2") == 1
    said = capsys.readouterr().out
    assert re.search("donor, seed 0: failed: (train|val)/loss is nan at step", said)
    assert "heir, seed 0: not trained: it needs donor/seed_0, which failed" in said
    assert lab.statuses() == {"small/run_000/donor/seed_0": "failed", "small/run_000/plain/seed_0": "finished"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_cannot_be_built_is_told_and_the_others_go_on(lab, capsys, workers):
    with_callback(lab, lab.SMALL, "Refuses")
    assert lab.fit("--replicates", "3", "--workers", workers) == 1
    said = capsys.readouterr().out
    assert "run, seed 1: failed: " in said
    assert "not for this seed" in (lab.run("run", 1) / "traceback.txt").read_text()
    assert sorted(lab.statuses().values()) == ["failed", "finished", "finished"]


@pytest.mark.parametrize(
    ("number", "replicates"), [pytest.param(signal.SIGINT, 4, marks=pytest.mark.slow), (signal.SIGTERM, 2)]
)
def test_an_interrupted_command_has_its_workers_save_and_stop(lab, number, replicates):
    """Also with no run left to wait for."""
    with_callback(lab, lab.SMALL, "Slow")
    process = lab.start("--replicates", str(replicates), *LONG)
    wait_for(lambda: both_saved(lab))
    os.kill(process.pid, number)
    process.join(60)
    said = (lab.folder / "other.txt").read_text()
    assert process.exitcode == 128 + number, said
    assert "interrupted at step" in said
    assert "; the same command goes on from there" in said
    assert list(lab.statuses().values()) == ["interrupted"] * 2
    lab.write(CALLBACKS.replace("time.sleep(0.2)", "pass"), "mine.py")
    sys.modules.pop("mine", None)
    assert lab.fit("--replicates", str(replicates), *LONG) == 0
    assert list(lab.statuses().values()) == ["finished"] * replicates


def test_workers_save_and_end_when_the_command_is_killed(lab):
    with_callback(lab, lab.SMALL, "Slow")
    process = lab.start("--replicates", "4", *LONG)
    wait_for(lambda: both_saved(lab))
    process.kill()
    process.join(60)
    wait_for(lambda: list(lab.statuses().values()) == ["interrupted"] * 2)


def both_saved(lab):
    return len(list(lab.logs.glob("small/run_000/run/seed_*/checkpoints/step_*.ckpt"))) == 2


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# one walk, any crew


class Scripted(Crew):
    """Says what becomes of each run, and in what order."""

    def __init__(self, size, outcomes):
        self.size, self.script, self.runs, self.given, self.told = size, outcomes, [], [], 0

    def _pass_on(self):
        self.told += 1

    def give(self, run):
        assert self.at_work < self.size
        self.at_work += 1
        self.runs.append(run)
        self.given.append(run.folder_name)

    def outcomes(self, seconds):
        if not self.runs:
            return []
        run = self.runs.pop(0)
        self.at_work -= 1
        outcomes = self.script.get(run.folder_name, [])
        return [(run, outcomes.pop(0) if outcomes else Outcome("finished"))]


def walk_of(lab, interruption=lambda: False):
    screen = Screen(Console(file=StringIO(), width=200))
    recipe = load_recipe(lab.write(lab.CHAIN), [parse_override("replicates", "2")])
    runs = make_plan(recipe, check_recipe(recipe))
    return Walk(recipe, Taker(Place("small", lab.logs, lab.logs), Processes(), interruption, screen)), runs


def test_a_run_waits_for_its_donors_and_for_a_free_hand(lab):
    walk, runs = walk_of(lab)
    crew = Scripted(3, {})
    walk.go(runs, crew)
    assert crew.given == ["donor/seed_0", "plain/seed_0", "donor/seed_1", "heir/seed_0", "plain/seed_1", "heir/seed_1"]
    assert walk.finished == {run.folder_name for run in runs}


def test_a_run_that_another_command_is_at_is_passed_by_and_tried_again(lab, monkeypatch):
    monkeypatch.setattr("grok_lightning.chain.walk.PATIENCE", 0.01)
    walk, runs = walk_of(lab)
    crew = Scripted(1, {"donor/seed_0": [Outcome("busy")] * 3})
    walk.go(runs, crew)
    assert crew.given[0] == "donor/seed_0"
    assert crew.given.count("donor/seed_0") == 4
    assert crew.given[-1] == "heir/seed_0"
    assert walk.finished == {run.folder_name for run in runs}


def test_those_at_work_are_told_once_to_stop_though_nothing_else_waits(lab):
    asked = []
    walk, runs = walk_of(lab, interruption=lambda: bool(asked))

    class Asked(Scripted):
        def outcomes(self, seconds):
            asked.append(True)
            return super().outcomes(seconds) if len(asked) > 4 else []

    crew = Asked(2, {"donor/seed_0": [Outcome("interrupted", "interrupted at step 5")]})
    with pytest.raises(StageInterrupted, match="interrupted at step 5"):
        walk.go(runs[:2], crew)
    assert crew.told == 1


def test_the_lines_of_all_workers_are_on_one_screen_with_the_count_of_runs(lab):
    walk, runs = walk_of(lab)
    walk.taker.screen.is_live = True
    shown = []
    walk.taker.screen.show = shown.append
    walk.go(runs, Scripted(2, {"donor/seed_1": [Outcome("failed", "why")]}))
    assert [(line.title, line.done, line.total) for line in shown][-1] == ("runs", 6, 6)
    assert shown[-1].state == "6 of 6, 2 failed"
